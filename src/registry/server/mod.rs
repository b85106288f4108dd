//! The reference registry: protocol v1 over HTTP, kept in SQLite, with a page for people.
//!
//! It is what the protocol's words mean when they are run: others test their clients against it, and small
//! installations may use it as it is. `serve` listens (with `tls`, on the server of `crate::listen`), `http` turns requests
//! into calls, `record` and `json` decide what is well-formed, `store` decides what is in order and remembers it.
//! `page/` and `openapi.json` are served from the binary.

pub mod clock;
pub mod http;
mod json;
pub mod problem;
mod record;
pub mod serve;
pub mod store;
pub mod tls;
pub mod tokens;
