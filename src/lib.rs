//! pod-registrar keeps an external registry of systems equal to the pods of a Kubernetes cluster.
//!
//! This is the map. Data flows one way, from the cluster to the registry; verdicts flow back.
//!
//! ```text
//!  API server --list, watch--> cluster::watch --writes-----> store (packed pods, by UID)
//!                                    |  sighting: a key        |  read when a key's turn comes
//!                                    v                         v
//!                               sync::registrar --> model::plan::decide <--> model::ledger
//!                                    ^                         |  keys            ^
//!                                    |  verdicts               v                  |
//!                               registry::v1 <-- batches -- sync::queue      model::brake
//!                                    |                                            |  is it really gone?
//!                                    v                                            v
//!                            external registry (HTTP)                     cluster::confirm
//! ```
//!
//! The informer lists pods page by page while its watch goes on, and each page reaches the store as it arrives.
//!
//! Of several processes one writes: [`cluster::lease::elector`] carries out what [`model::lease`] decides and tells the event loop
//! until when it leads. The others stand by with the same store and say nothing to the registry.
//!
//! What the brake cannot confirm, and what changed settings no longer select, waits for a person: the loop shows how it
//! stands ([`model::Standing`]), [`cluster::lease::approvals`] tells of it in an Event and reads the approval from the Lease.
//!
//! Five sentences that hold everywhere:
//! 1. The store says what should be registered. Pods are decoded straight into a small type and kept by UID, packed into
//!    some hundred bytes, with the fingerprint that decisions are made by.
//! 2. The ledger says what the registry is believed to hold. It is seeded from the registry's inventory, so that nothing
//!    is stored on disk and no deletion is forgotten by a restart.
//! 3. One pure function decides, [`model::decide`], for one key that an event woke and for all keys after a list or a
//!    comparison. There is no second path.
//! 4. The queue holds keys. A body is built from the store when its turn comes, so that what is sent is never stale.
//! 5. Every answer of a registry becomes a verdict in one pure function, and the verdict goes to the ledger. What is owed
//!    leaves memory only when it was acknowledged.
//!
//! | room | owns | may use |
//! | --- | --- | --- |
//! | [`model`] | every decision: record, ledger, plan, verdict, brake, session, takeover, lease, retry, budget, pace, silence; time and seeds come in, values go out | nothing of ours |
//! | [`telemetry`] | logs, metrics, health: handles that others write to | nothing of ours |
//! | [`clock`] | the one monotonic clock | `model` |
//! | [`connect`] | which servers are trusted, and what a failed connection tells a person | nothing of ours |
//! | [`listen`] | sockets for both address families, and an HTTP server whose connections are bounded | nothing of ours |
//! | [`store`] | the pods that the watches show: one writer a watch, and the view over all of them | `model` |
//! | [`cluster`] | everything said to Kubernetes: clients, informers, identity, confirmation and approval of deletions, the lease | `clock`, `connect`, `model`, `store`, `telemetry` |
//! | [`registry`] | everything said to a registry: the [`registry::Registry`] trait, protocol v1 | `connect`, `model` |
//! | [`sync`] | the queue and the event loop, sole owner of the ledger | `clock`, `model`, `registry`, `store`, `telemetry` |
//! | [`admin`] | health, metrics and a status page over HTTP | `listen`, `telemetry` |
//! | [`mod@reference`] | the reference registry: protocol v1 on SQLite, with a page | `listen`, `model`, `registry::v1::wire` |
//! | [`demo`] | a stand-in for the API server's pod endpoints, and a small living cluster in it | `model` |
//! | [`settings`] | flags and environment, validated | `model`, `telemetry` |
//! | [`app`] | the composition root: settings in, exit code out | everything |
//!
//! Tests have one room more, `fuzz`: random inputs for everything that parses what others wrote.
//!
//! `cluster`, `registry` and `sync` meet only in `app`, but for the trait and the store. `tests/it/tidy.rs` holds these
//! arrows.
#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod clock;
pub mod cluster;
pub mod connect;
pub mod demo;
#[cfg(test)]
mod fuzz;
pub mod listen;
pub mod model;
pub mod reference;
pub mod registry;
pub mod settings;
pub mod store;
pub mod sync;
pub mod telemetry;
