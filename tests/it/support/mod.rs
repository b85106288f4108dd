//! What the tests of the whole program have in common: processes, the registry, a proxy before it, and waiting.
//!
//! The program runs as a process of its own, as it does in a cluster: it is started, asked, stopped and killed from
//! outside. Nothing here sleeps and hopes: every wait polls a condition until a deadline, and says at the end of it how
//! things stand.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these helpers are part of tests")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "shown by the test runner if the test fails")]

pub(crate) mod apiserver;
mod child;
mod controller;
mod cuts;
mod poll;
mod proxy;
mod registry;
mod tls;
mod watcher;

pub(crate) use child::Child;
pub(crate) use controller::Controller;
pub(crate) use cuts::{Cuttable, Fault, Faults};
pub(crate) use poll::{SOON, eventually, notice, seed, until};
pub(crate) use proxy::{Exchange, Garble, Proxy};
pub(crate) use registry::{Reader, RegistryProcess, RegistryTask, http_client};
pub(crate) use tls::{ForwardProxy, TlsFront};
pub(crate) use watcher::Watcher;
