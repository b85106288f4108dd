//! The reference registry: protocol v1 over HTTP, kept in SQLite, with a page for people.
//!
//! It is what the protocol's words mean when they are run: others test their clients against it, and small
//! installations may use it as it is. `serve` listens (with `tls`, on the server of `crate::listen`), `http` turns requests
//! into calls, `record` and `json` decide what is well-formed, `store` decides what is in order and remembers it.
//! `page/` and `openapi.json` are served from the binary.

mod clock;
mod http;
mod json;
mod problem;
mod record;
mod serve;
mod store;
mod tls;
mod tokens;

pub use clock::Clock;
pub use http::{OPENAPI, endpoints};
pub use problem::Kind as ProblemKind;
pub use serve::{Error, Options, Registry, serve};
pub use store::{Change, Fault, OpenError, Retention, Store, StoredRecord};
pub use tls::TlsFiles;
pub use tokens::Error as TokensError;
