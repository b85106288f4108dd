//! The reference registry: protocol v1 over HTTP, records in SQLite, and a web page.
//!
//! Others test their clients against it, and small installations can use it as it is.
//!
//! | part | does |
//! | --- | --- |
//! | `serve`, `tls` | listen, renew the certificate, stop |
//! | `http` | turns requests into calls of the store; `page/` and `openapi.json` are part of the binary |
//! | `record`, `json` | check that input is well-formed |
//! | `store` | checks sessions and versions, and keeps records |

pub mod clock;
pub mod http;
mod json;
pub mod problem;
mod record;
pub mod serve;
pub mod store;
pub mod tls;
pub mod tokens;
