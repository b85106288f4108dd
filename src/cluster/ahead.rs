//! Asks for the next page of a list while the one before is still being read.
//!
//! kube's watcher takes pages one after another: the API server would rest while a page is decoded, and the decoder while
//! the server writes the next one. The first bytes of a page name the next one, so it is asked for at once, and its
//! answer waits, unread, until the watcher asks. There are no other requests than the watcher's own, but for one page of
//! a list that is given up.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri, uri::PathAndQuery};
use http_body::{Body, Frame, SizeHint};
use kube::client::Body as Sent;
use tokio_util::task::AbortOnDropHandle;
use tower::{BoxError, Layer, Service, ServiceExt as _};

use super::tap::{Asked, SEARCHED_BYTES, metadata_in};

/// A client that asks ahead.
pub(super) struct AsksAhead<S: Service<Request<Sent>>> {
    inner: S,
    next: Next<S::Response>,
}

/// The page that was asked for ahead, if any.
type Next<R> = Arc<Mutex<Option<Page<R>>>>;

struct Page<R> {
    /// Its address.
    uri: Uri,
    answer: AbortOnDropHandle<Result<R, BoxError>>,
}

/// The layer that makes clients ask ahead. Each has pages of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead;

impl<S: Service<Request<Sent>>> Layer<S> for Ahead {
    type Service = AsksAhead<S>;

    fn layer(&self, inner: S) -> AsksAhead<S> {
        AsksAhead { inner, next: Arc::default() }
    }
}

impl<S: Service<Request<Sent>> + Clone> Clone for AsksAhead<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), next: self.next.clone() }
    }
}

fn swap<R>(next: &Next<R>, page: Option<Page<R>>) -> Option<Page<R>> {
    std::mem::replace(&mut *next.lock().unwrap_or_else(PoisonError::into_inner), page)
}

impl<S, B> Service<Request<Sent>> for AsksAhead<S>
where
    S: Service<Request<Sent>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<PageBody<S, B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Sent>) -> Self::Future {
        let asked = Asked::by(request.uri().query().unwrap_or_default());
        let (uri, headers) = (request.uri().clone(), request.headers().clone());
        let ahead = swap(&self.next, None).filter(|page| page.uri == uri);
        let next = self.next.clone();
        // The one that is ready is used, and a clone of it becomes ready for the next call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let response = match ahead {
                Some(page) => page.answer.await.map_err(BoxError::from)??,
                None => inner.call(request).await.map_err(Into::into)?,
            };
            let is_page = !asked.watch && asked.limit > 1 && response.status().is_success();
            let head = is_page.then(|| Head { bytes: Vec::new(), uri, headers, inner, next });
            Ok(response.map(|inner| PageBody { inner: Box::pin(inner), head }))
        })
    }
}

/// The first bytes of a page, until they have told of the next one.
struct Head<S: Service<Request<Sent>>> {
    bytes: Vec<u8>,
    uri: Uri,
    headers: HeaderMap,
    inner: S,
    next: Next<S::Response>,
}

impl<S> Head<S>
where
    S: Service<Request<Sent>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Into<BoxError>,
{
    /// Takes note of the next bytes, and asks once they have told. Says whether more are needed.
    fn take(&mut self, data: &[u8]) -> bool {
        self.bytes.extend(data.iter().take(SEARCHED_BYTES - self.bytes.len().min(SEARCHED_BYTES)));
        match metadata_in(&self.bytes) {
            None => self.bytes.len() < SEARCHED_BYTES,
            Some(metadata) => {
                if let Some(uri) = metadata.next.and_then(|token| page_after(&self.uri, &token)) {
                    self.ask(uri);
                }
                false
            }
        }
    }

    fn ask(&mut self, uri: Uri) {
        let mut request = Request::new(Sent::empty());
        (*request.uri_mut(), *request.headers_mut()) = (uri.clone(), std::mem::take(&mut self.headers));
        let inner = self.inner.clone();
        let answer = tokio::spawn(async move { inner.oneshot(request).await.map_err(Into::into) });
        swap(&self.next, Some(Page { uri, answer: AbortOnDropHandle::new(answer) }));
    }
}

/// The address of the page after one, as kube's watcher will ask for it.
fn page_after(uri: &Uri, token: &str) -> Option<Uri> {
    // A token with an escape in it is another text than the one that was found.
    let token =
        (!token.contains('\\')).then(|| form_urlencoded::byte_serialize(token.as_bytes()).collect::<String>())?;
    let first_only = ["continue=", "resourceVersion=", "resourceVersionMatch="];
    let pairs = uri.query()?.split('&').filter(|pair| !first_only.iter().any(|name| pair.starts_with(name)));
    let query = pairs.chain([format!("continue={token}").as_str()]).collect::<Vec<_>>().join("&");
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{}?{query}", uri.path())).ok()?);
    Uri::from_parts(parts).ok()
}

/// A body in whose first bytes the next page is looked for.
pub(super) struct PageBody<S: Service<Request<Sent>>, B> {
    inner: Pin<Box<B>>,
    head: Option<Head<S>>,
}

// Nothing in it is pinned in its place: the body has a place of its own.
impl<S: Service<Request<Sent>>, B> Unpin for PageBody<S, B> {}

impl<S, B> Body for PageBody<S, B>
where
    S: Service<Request<Sent>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = std::task::ready!(self.inner.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &polled
            && let Some(data) = frame.data_ref()
            && let Some(head) = &mut self.head
            && !head.take(data)
        {
            self.head = None;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_asked_for_as_the_watcher_will_ask_for_it() {
        let after = |query: &str, token: &str| {
            let uri: Uri = format!("https://api:6443/api/v1/pods?{query}").parse().unwrap();
            page_after(&uri, token).map(|uri| uri.to_string())
        };
        let expected = "https://api:6443/api/v1/pods?&labelSelector=a&limit=500&continue=eyJ2%3D";
        assert_eq!(after("&labelSelector=a&limit=500", "eyJ2=").as_deref(), Some(expected));
        assert_eq!(after("&labelSelector=a&limit=500&continue=x", "eyJ2=").as_deref(), Some(expected));
        assert_eq!(after("&limit=500", "a\\u003d"), None);
    }
}
