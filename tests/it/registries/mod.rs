//! What the presets rely on, pinned against the registries themselves: raw requests, without the program.
//!
//! A registry that answers differently after an update fails here first. `tests/registries/build` builds the
//! registries; without them, these tests print that they are skipped. Consul is a stand-in, which Consul's own Go
//! client judges. The receivers of messages are made of the libraries of Standard Webhooks and CloudEvents.

mod consul;
mod etcd;
mod json_server;
mod nautobot;
mod pocketbase;
mod presets;
mod skydns;
