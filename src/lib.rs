//! pod-registrar keeps an external registry of systems equal to the pods of a Kubernetes cluster.
//!
//! This page is the map of the code. Data flows one way, from the cluster to the registry; outcomes flow back.
//!
//! ```text
//!   API server              store               controller                         registry (HTTP)
//!       |                     ^                     |                                     ^
//!  list, watch                | pods                | reads a pod when it is sent         |
//!       v                     |                     v                                     |
//!  kubernetes::watch ---------+----pod events--> event_loop --delivery--> registry::client
//!                                                 |      ^                     |
//!                                  asks           v      |      outcomes       |
//!                                 reconcile: decide, ledger, absence  <--------+
//! ```
//!
//! | you look for | it is in |
//! | --- | --- |
//! | how a registry's list becomes ledger entries | `registry::mapped::kinds` pages what `registry::mapped::list` read; `controller::inventory` checks the pages, `controller::resync` and its `learning` take them, and `Ledger::inventory_has` sets the entries |
//! | what is sent for a pod | [`reconcile::decide`], one pure function for events and for full reconciles, asked by `controller::comparison` |
//! | which record a pod has in a registry | [`registry::Registry::project`], kept by `controller::records` |
//! | what the registry is believed to hold | [`reconcile::ledger`], owned by `controller::comparison` |
//! | whether an absent pod is a deletion | [`reconcile::absence`], driven by `controller::absences` |
//! | how writes are limited and retried | the table in `controller::delivery` |
//! | in which order records that belong together are written | [`reconcile::order`], asked by `controller::comparison::relatives` |
//! | what a registry's answer means | [`registry::client::judge`] |
//! | what follows when an answer is lost | `controller::delivery::answers` and `Ledger::fail`: the entry becomes uncertain and is retried; [`reconcile::early_resync`] reads the inventory if there are many |
//! | how a registry that a file describes is written and read | [`registry::mapped`] |
//! | what a file remembers of a registry that cannot be listed | [`registry::mapped::memory`] |
//! | how pods are listed and watched | [`kubernetes::watch`] |
//! | who leads, and how approvals are read | [`kubernetes::lease`], decided by [`reconcile::election`] |
//! | how a pod shows that it is registered | [`kubernetes::receipts`], decided by [`reconcile::receipts`]; `controller::comparison::registration` says what the registry holds |
//! | what people are shown of one pod | [`controller::explain`], asked by the page in `commands::run::pod_page` |
//! | what people are shown of a target | `controller::display` collects it, [`admin::page`] and `commands::status` show it |
//! | a flag | [`cli`] |
//! | a new command | [`commands`], a file or folder with the name of the command |
//! | a rule of protocol v1 that `conformance` checks | [`conformance`], by the part of the protocol |
//! | which changes are traced, and what a trace has | [`reconcile::trace`]; [`otlp`] sends it |
//! | another kind of registry | the [`registry::Registry`] trait |
//! | how several registries share one process | `commands::run`: one event loop per target |
//! | what a targets file may say | [`mapping::spec`], one type per member |
//! | what a template may use | [`mapping::words`], [`mapping::engine`] and [`mapping::filters`] |
//!
//! Five rules hold everywhere:
//! 1. The store holds what should be registered: packed pods by UID. With its ledger entry, each takes 256 bytes.
//! 2. The ledger holds what the registry is believed to hold. It is filled from the registry's inventory, so nothing is
//!    kept on disk, and a restart forgets no deletion. Only if a registry cannot be listed, a file is its inventory:
//!    [`registry::mapped::memory`].
//! 3. One pure function decides about a pod. Events, full reconciles and resyncs all call it.
//! 4. The queue holds UIDs. A request's body is built from the store when it is sent, so it is never out of date.
//! 5. A pending change is dropped only after the registry acknowledges it, with these exceptions: the registry is known
//!    to hold the desired record, or neither it nor the cluster has the pod; the pod cannot be read, so its record
//!    stays as it is; or this process stops leading, and the next leader finds the change again.
//!
//! | room | what it owns | what it may use |
//! | --- | --- | --- |
//! | [`model`] | pods and records: UIDs, points in time, digests, lenient decoding. Pure | nothing |
//! | [`reconcile`] | every decision. Pure: time and seeds are arguments | `model` |
//! | [`mapping`] | registries that a targets file describes: the file's format and presets. Pure | `model`, `reconcile` |
//! | [`store`] | the pods of all watches, packed | `model` |
//! | [`telemetry`] | logs, metrics and health | nothing |
//! | [`clock`] | the monotonic clock | `model` |
//! | [`connect`] | trusted certificates, and the causes of failed connections | nothing |
//! | [`files`] | reading small files, and the token in one | nothing |
//! | [`listen`] | listening sockets, a bounded HTTP server, and the headers of web pages | nothing |
//! | [`kubernetes`] | all requests to the API server: watches, cluster identity, checks of absent pods, the Lease, receipts | `clock`, `connect`, `files`, `model`, `reconcile`, `store`, `telemetry` |
//! | [`registry`] | the trait, the clients of protocol v1 and of mapped targets, and the reference registry (`server`) | `connect`, `files`, `listen`, `mapping`, `model`, `reconcile` |
//! | [`conformance`] | the rules of protocol v1, the requests that show whether a registry follows them, and the report | `connect`, `files`, `model` |
//! | [`controller`] | the event loop and its parts | `clock`, `model`, `reconcile`, `registry`, `store`, `telemetry` |
//! | [`otlp`] | traces and log lines for a collector: the format, and the task that sends them | `clock`, `connect`, `files`, `model`, `reconcile`, `telemetry` |
//! | [`admin`] | health, metrics and status over HTTP, and the words of the status | `listen`, `telemetry` |
//! | [`demo`] | a small API server, a living cluster in it, and an ordinary inventory | `listen`, `model` |
//! | [`cli`] | flags and environment variables, checked | `files`, `model`, `reconcile`, `telemetry` |
//! | [`commands`] | each command in a file or folder of its name, and files that commands share: tasks, signals, output | everything |
//!
//! Unit tests stand at the end of a file, or in `tests.rs` below it when they are long. Tests share `fuzz`, the source
//! of random input. `tests/it/project/tidy.rs` checks the arrows of this table, and `tests/it/project/naming.rs` the
//! names.
#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod conformance;
pub mod connect;
pub mod controller;
pub mod demo;
pub mod files;
#[cfg(test)]
mod fuzz;
pub mod kubernetes;
pub mod listen;
pub mod mapping;
pub mod model;
pub mod otlp;
pub mod reconcile;
pub mod registry;
pub mod store;
pub mod telemetry;
