//! Observes the byte stream of a watch, as a layer around the client of kube's watcher.
//!
//! | kube's watcher | this layer |
//! | --- | --- |
//! | lists pods itself, without a limit on bytes | answers with an empty list at the version where the watch starts |
//! | resumes an ended watch without reporting the end | fails the next request once with [`StreamEnd`] |
//! | skips a truncated line, and buffers lines of any length | fails the watch with [`LineError`] |
//!
//! ```text
//! begin(version) --list--> empty list at that version --watch--> passes --end--> StreamEnd --watch--> passes ...
//! ```
//!
//! The layer stores no bytes. It searches them for line ends, as kube's codec does again, because the watcher offers no
//! hook between its codec and its decoder.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tower::{BoxError, Layer, Service};

use crate::connect::failures::causes;

/// Time limit for the response headers of a watch.
const HEADERS_WITHIN: Duration = Duration::from_secs(25);
/// The longest line of a watch. API servers accept objects of a few megabytes.
const LONGEST_LINE: usize = 32 << 20;

#[derive(Debug, thiserror::Error)]
#[error("the watch ended after {lasted:?}: {cause}")]
pub(crate) struct StreamEnd {
    pub(crate) cause: EndCause,
    /// Time since the response headers.
    pub(crate) lasted: Duration,
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndCause {
    /// The server ended the response.
    #[error("the server closed it")]
    Closed,
    /// The watcher stopped waiting for data, because the server kept the watch open longer than its timeout.
    #[error("the server sent nothing for longer than it was asked to keep the watch open")]
    Silent,
    #[error("{0}")]
    Broken(String),
    #[error(transparent)]
    Line(#[from] LineError),
}

/// Why a line is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    /// The line does not end like a JSON object.
    #[error("a line of the watch is truncated; look for a proxy that cuts responses")]
    Truncated,
    #[error("a line of the watch is longer than {LONGEST_LINE} bytes; is the address that of an API server?")]
    TooLong,
}

#[derive(Debug, thiserror::Error)]
#[error("the API server did not accept the watch within {} s", HEADERS_WITHIN.as_secs())]
struct NoHeaders;

/// The informer's side of the layer. Clones share their state.
#[derive(Clone, Default)]
pub(crate) struct StreamObserver(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Where the watcher starts.
    version: String,
    /// The end that fails the watcher's next request.
    ended: Option<StreamEnd>,
}

impl StreamObserver {
    /// Sets the version from which the next watcher starts.
    pub(crate) fn begin(&self, version: &str) {
        self.change(|state| *state = State { version: version.to_owned(), ended: None });
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock())
    }

    /// The response to the list that a watcher begins with.
    fn empty_list(&self) -> Bytes {
        let version = self.change(|state| state.version.clone());
        let metadata = serde_json::json!({"resourceVersion": version});
        serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": []}).to_string().into()
    }
}

impl<S> Layer<S> for StreamObserver {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observer: self.clone() }
    }
}

/// A client whose watches are observed.
#[derive(Clone)]
pub(crate) struct Observed<S> {
    inner: S,
    observer: StreamObserver,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Observed<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    ReqBody: Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<Either<Full<Bytes>, ObservedBody<ResBody>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let observer = self.observer.clone();
        // `poll_ready` made this service ready, not its clone.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            if !is_watch(request.uri().query().unwrap_or_default()) {
                return Ok(Response::new(Either::Left(Full::new(observer.empty_list()))));
            }
            if let Some(ended) = observer.change(|state| state.ended.take()) {
                return Err(ended.into());
            }
            let response = timeout(HEADERS_WITHIN, inner.call(request)).await.map_err(|_| NoHeaders)?;
            let response = response.map_err(Into::into)?;
            let end = response.status().is_success().then(|| End { observer, begun: Instant::now() });
            Ok(response.map(|inner| Either::Right(ObservedBody { inner: Box::pin(inner), line: Line::default(), end })))
        })
    }
}

fn is_watch(query: &str) -> bool {
    query.split('&').any(|pair| pair == "watch=true")
}

/// The response body of a watch.
pub(crate) struct ObservedBody<B> {
    inner: Pin<Box<B>>,
    line: Line,
    /// None after the end was reported, and for a response that is not a watch.
    end: Option<End>,
}

/// Reports why a watch ended. A watcher that stops waiting drops the body, which reports [`EndCause::Silent`].
struct End {
    observer: StreamObserver,
    begun: Instant,
}

impl End {
    fn report(&self, cause: EndCause) {
        let lasted = self.begun.elapsed();
        self.observer.change(|state| _ = state.ended.get_or_insert(StreamEnd { cause, lasted }));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.report(EndCause::Silent);
    }
}

impl<B> ObservedBody<B> {
    fn ended(&mut self, cause: EndCause) {
        if let Some(end) = self.end.take() {
            end.report(cause);
        }
    }
}

impl<B: Body<Data = Bytes>> Body for ObservedBody<B>
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
                let cause = self.line.end().map_or_else(EndCause::Line, |()| EndCause::Closed);
                self.ended(cause);
                None
            }
            Some(Err(error)) => {
                let error = error.into();
                self.ended(EndCause::Broken(causes(&*error)));
                Some(Err(error))
            }
            Some(Ok(frame)) => match frame.data_ref().map_or(Ok(()), |data| self.line.take(data)) {
                Ok(()) => Some(Ok(frame)),
                Err(error) => {
                    self.ended(EndCause::Line(error));
                    Some(Err(error.into()))
                }
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        // Until the end was reported, hyper must poll for it.
        self.end.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The line that is arriving.
#[derive(Debug, Default)]
struct Line {
    length: usize,
    /// The last byte that is not white space; zero in an empty line.
    last: u8,
}

impl Line {
    /// Checks a part of the body.
    fn take(&mut self, mut data: &[u8]) -> Result<(), LineError> {
        while let Some(end) = memchr::memchr(b'\n', data) {
            let (line, rest) = data.split_at(end);
            self.add(line)?;
            self.end()?;
            data = rest.get(1..).unwrap_or_default();
        }
        self.add(data)
    }

    fn add(&mut self, part: &[u8]) -> Result<(), LineError> {
        self.length += part.len();
        if self.length > LONGEST_LINE {
            return Err(LineError::TooLong);
        }
        if let Some(last) = part.iter().rfind(|byte| !byte.is_ascii_whitespace()) {
            self.last = *last;
        }
        Ok(())
    }

    /// The line, or the body, ends here.
    fn end(&mut self) -> Result<(), LineError> {
        match std::mem::take(self).last {
            0 | b'}' => Ok(()),
            _ => Err(LineError::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_lines_pass_wherever_they_are_divided() {
        let text = b"{\"type\":\"ADDED\",\"object\":{}}\n\r\n{\"type\":\"ERROR\",\"object\":{}} \n";
        for first in 0..text.len() {
            let mut line = Line::default();
            let (a, b) = text.split_at(first);
            assert_eq!((line.take(a), line.take(b), line.end()), (Ok(()), Ok(()), Ok(())), "{first}");
        }
    }

    #[test]
    fn truncated_line_is_an_error() {
        let mut line = Line::default();
        assert_eq!(line.take(br#"{"type":"ADDED","object":{"#), Ok(()));
        assert_eq!(line.take(b"\n"), Err(LineError::Truncated));
        assert_eq!(Line::default().take(b"<html>\n"), Err(LineError::Truncated));
        assert_eq!(
            (line.take(br#"{"type":"#), line.end()),
            (Ok(()), Err(LineError::Truncated)),
            "at the end of the body"
        );
    }

    #[test]
    fn endless_line_is_an_error() {
        let (mut line, part) = (Line::default(), vec![b'x'; 1 << 20]);
        let taken = std::iter::from_fn(|| Some(line.take(&part))).take(40).find(|taken| taken.is_err());
        assert_eq!(taken, Some(Err(LineError::TooLong)));
    }
}
