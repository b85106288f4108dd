//! A layer around the client of one watch: it lets kube's watcher start where a list ended, and reports every end.
//!
//! kube's watcher lists by itself, without a limit on bytes or a retry of pages. Its list is answered here, with an empty
//! one at the version from which the watch is to start. The watcher also resumes a watch that ended without telling. So
//! after each watch that ended, the watcher's next request fails once with [`Ended`]; the one after it passes.
//!
//! ```text
//! begin(version) --list--> empty list at that version --watch--> passes --end--> Ended --watch--> passes ...
//! ```

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

use super::lines::{self, Lines};
use crate::connect::causes;

/// The API server sends the headers of a watch within this time.
const HEADERS_WITHIN: Duration = Duration::from_secs(25);

/// A watch ended.
#[derive(Debug, thiserror::Error)]
#[error("the watch ended after {lasted:?}: {how}")]
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) how: How,
    /// How long after its headers.
    pub(crate) lasted: Duration,
}

/// How a watch ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum How {
    /// The server ended its answer.
    #[error("the server closed it")]
    Closed,
    /// Nothing came for longer than a watch lasts.
    #[error("nothing came for longer than the server was asked to keep it")]
    Silent,
    /// The connection failed.
    #[error("{0}")]
    Broken(String),
    /// A line of it is not an event.
    #[error("{0}")]
    Line(#[from] lines::Error),
}

/// The server sends no headers.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not accept the watch within {} s", HEADERS_WITHIN.as_secs())]
struct NoHeaders;

/// What the watcher's requests go through. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Tap(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: String,
    ended: Option<Ended>,
}

impl Tap {
    /// The next watcher starts from this version.
    pub(crate) fn begin(&self, version: &str) {
        self.change(|state| *state = State { version: version.to_owned(), ended: None });
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The list that a watcher begins with.
    fn list(&self) -> Bytes {
        let version = self.change(|state| state.version.clone());
        let metadata = serde_json::json!({"resourceVersion": version});
        serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": []}).to_string().into()
    }
}

impl<S> Layer<S> for Tap {
    type Service = Tapped<S>;

    fn layer(&self, inner: S) -> Tapped<S> {
        Tapped { inner, tap: self.clone() }
    }
}

/// A client with a tap.
#[derive(Clone)]
pub(crate) struct Tapped<S> {
    inner: S,
    tap: Tap,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Tapped<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    ReqBody: Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<Either<Full<Bytes>, TappedBody<ResBody>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let tap = self.tap.clone();
        // The service that is ready is used, and a clone of it becomes ready for the next call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            if !is_watch(request.uri().query().unwrap_or_default()) {
                let mut response = Response::new(Either::Left(Full::new(tap.list())));
                *response.status_mut() = StatusCode::OK;
                return Ok(response);
            }
            if let Some(ended) = tap.change(|state| state.ended.take()) {
                return Err(ended.into());
            }
            let response = tokio::time::timeout(HEADERS_WITHIN, inner.call(request));
            let response = response.await.map_err(|_| NoHeaders)?.map_err(Into::into)?;
            let end = response.status().is_success().then(|| End { tap, begun: Instant::now() });
            Ok(response.map(|inner| Either::Right(TappedBody { inner: Box::pin(inner), lines: Lines::default(), end })))
        })
    }
}

fn is_watch(query: &str) -> bool {
    query.split('&').any(|pair| pair == "watch=true")
}

/// The body of a watch.
pub(crate) struct TappedBody<B> {
    inner: Pin<Box<B>>,
    lines: Lines,
    /// None once it has ended, or if the watch was refused.
    end: Option<End>,
}

/// Reports how a watch ended: silent, if it is dropped before anything else was reported.
struct End {
    tap: Tap,
    begun: Instant,
}

impl End {
    fn report(&self, how: How) {
        let lasted = self.begun.elapsed();
        self.tap.change(|state| _ = state.ended.get_or_insert(Ended { how, lasted }));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.report(How::Silent);
    }
}

impl<B> TappedBody<B> {
    fn ended(&mut self, how: How) {
        if let Some(end) = self.end.take() {
            end.report(how);
        }
    }
}

impl<B: Body<Data = Bytes>> Body for TappedBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = std::task::ready!(self.inner.as_mut().poll_frame(cx));
        if self.end.is_none() {
            return Poll::Ready(polled.map(|frame| frame.map_err(Into::into)));
        }
        Poll::Ready(match polled {
            None => {
                let how = self.lines.end().map_or_else(How::Line, |()| How::Closed);
                self.ended(how);
                None
            }
            Some(Err(error)) => {
                let error = error.into();
                self.ended(How::Broken(causes(&*error)));
                Some(Err(error))
            }
            Some(Ok(frame)) => match frame.data_ref().map_or(Ok(()), |data| self.lines.take(data)) {
                Ok(()) => Some(Ok(frame)),
                Err(error) => {
                    self.ended(How::Line(error));
                    Some(Err(error.into()))
                }
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        // The end is reported when it is reached.
        self.end.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
