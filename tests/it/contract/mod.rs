//! Both ends of each protocol, over loopback sockets: the registry's client, the reference registry, hostile
//! registries, the demo's API server, and the connections to the API server.

mod cluster_connections;
mod conformance;
mod demo_api;
mod demo_cmdb;
mod demo_life;
mod hostile_registry;
mod hostile_target;
mod reference;
mod registry_client;
mod registry_connections;
mod target_connections;
mod watch;
