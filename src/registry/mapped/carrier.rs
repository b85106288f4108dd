//! Carries requests to the registry: over HTTP, or in tests to a registry in the same process.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::{
    mapping::{answer::Answer, request::RenderedRequest},
    reconcile::outcome::Failure,
    registry::http::Connection,
};

/// An answer, and how long the registry asks to wait.
pub struct Exchanged {
    pub answer: Answer,
    pub retry_after: Option<Duration>,
}

/// A registry in the same process. It is asked as one over HTTP would be, so that tests need neither sockets nor real
/// time.
pub trait LocalRegistry: Send + Sync + 'static {
    /// Answers one request, which needs no credentials. It ends within the request timeout.
    fn exchange(&self, request: RenderedRequest) -> BoxFuture<'static, Result<Exchanged, Failure>>;
}

/// How requests reach the registry.
pub(super) enum Carrier {
    Http(Connection),
    Local(Box<dyn LocalRegistry>),
}
