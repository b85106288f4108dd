//! What the tests of the whole program share: processes, the registry, proxies, and waiting.
//!
//! The program runs as a child process, as in a cluster: it is started, queried, stopped and killed from outside. No
//! test sleeps and hopes: every wait polls a condition until a deadline, and then reports the last state.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these helpers are part of tests")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "shown by the test runner if the test fails")]

pub(crate) mod apiserver;
mod broken_registry;
pub(crate) mod chart;
mod child;
mod collector;
pub(crate) mod container;
mod controller;
mod faulty_proxy;
mod log;
mod poll;
mod proxy;
pub(crate) mod registries;
mod registry;
mod rest;
mod series;
mod tls;
mod version;
mod watcher;

pub(crate) use broken_registry::{BrokenRegistry, Defect, ProxiedAnswer, ProxiedRequest};
pub(crate) use child::Child;
pub(crate) use collector::{Collector, attribute};
pub(crate) use controller::Controller;
pub(crate) use faulty_proxy::{Fault, Faults, FaultyProxy};
pub(crate) use log::Log;
pub(crate) use poll::{SOON, eventually, notice, seed, until};
pub(crate) use proxy::{Exchange, Garble, Proxy};
pub(crate) use registry::{Reader, RegistryProcess, RegistryTask, http_client};
pub(crate) use rest::RestRegistry;
pub(crate) use series::series;
pub(crate) use tls::{ForwardProxy, TlsFront};
pub(crate) use version::Version;
pub(crate) use watcher::Watcher;
