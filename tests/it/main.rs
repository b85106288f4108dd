//! The integration tests. One folder per kind of test, cheapest first:
//!
//! | folder | needs | takes |
//! | --- | --- | --- |
//! | `project/` | only files: rules for sources, documents, manifests and dependencies | seconds |
//! | `contract/` | loopback sockets: both protocols, client against server | a minute or two |
//! | `informer/` | loopback sockets: watches against the demo's API server with faults | a minute or two |
//! | `event_loop/` | the event loop with a fake registry, paused clock | minutes |
//! | `envelope/` | the code of the measurements | seconds |
//! | `process/` | the built program, over HTTP | minutes |
//! | `upgrade/` | an executable of the previous version; without it, only files of earlier versions | a minute |
//! | `registries/` | registries of others, from `tests/registries/build`; skipped without them | seconds |
//! | `browser/` | `chromium`; skipped without it | seconds |
//! | `chart/` | the tools from `tests/chart/build`; skipped without them | seconds |
//! | `prometheus/` | the tools from `tests/chart/build`; skipped without them | minutes |
//! | `cluster/` | a cluster named by `POD_REGISTRAR_TEST_KUBECONFIG`; skipped without one | minutes to hours |
//!
//! `support/` is shared by these folders.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod browser;
mod chart;
mod cluster;
mod contract;
mod envelope;
mod event_loop;
#[path = "../support/fake_registry.rs"]
mod fake_registry;
mod informer;
mod process;
mod project;
mod prometheus;
mod registries;
mod support;
mod upgrade;
