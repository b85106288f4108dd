//! Listens in on a watch's HTTP traffic for what kube's watcher keeps to itself: signs of life (bookmarks are swallowed
//! there), and the resource version of a list.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service};

/// How much of a list is searched for its resource version. It is in the metadata, which come before the items.
const SEARCHED_BYTES: usize = 2048;

/// What was heard.
#[derive(Clone)]
pub(super) struct Tap {
    alive: Arc<dyn Fn() + Send + Sync>,
    list_version: Arc<Mutex<Option<String>>>,
}

impl Tap {
    /// Calls `alive` with each sign of life.
    pub(super) fn new(alive: impl Fn() + Send + Sync + 'static) -> Self {
        Self { alive: Arc::new(alive), list_version: Arc::default() }
    }

    /// The resource version of the newest list, if it was found.
    pub(super) fn list_version(&self) -> Option<String> {
        self.list_version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_list_version(&self, version: Option<String>) {
        *self.list_version.lock().unwrap_or_else(PoisonError::into_inner) = version;
    }
}

impl<S> Layer<S> for Tap {
    type Service = Tapped<S>;

    fn layer(&self, inner: S) -> Tapped<S> {
        Tapped { inner, tap: self.clone() }
    }
}

/// A client that is listened in on.
#[derive(Clone)]
pub(super) struct Tapped<S> {
    inner: S,
    tap: Tap,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Tapped<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Future: Send + 'static,
{
    type Response = Response<TappedBody<ResBody>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let is_watch = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let tap = self.tap.clone();
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            // A refusal is no sign of life: a view that is refused grows old.
            let success = response.status().is_success();
            if success {
                (tap.alive)();
            }
            let head = (!is_watch && success).then(Vec::new);
            if head.is_some() {
                tap.set_list_version(None);
            }
            Ok(response.map(|inner| TappedBody { inner: Box::pin(inner), tap, success, head }))
        })
    }
}

/// A body that is listened in on.
pub(super) struct TappedBody<B> {
    inner: Pin<Box<B>>,
    tap: Tap,
    success: bool,
    /// The list's first bytes, until its version was found in them.
    head: Option<Vec<u8>>,
}

impl<B> TappedBody<B> {
    fn heard(&mut self, data: &[u8]) {
        if self.success {
            (self.tap.alive)();
        }
        let Some(head) = &mut self.head else { return };
        head.extend(data.iter().take(SEARCHED_BYTES - head.len().min(SEARCHED_BYTES)));
        let found = version_in(head);
        if found.is_some() || head.len() >= SEARCHED_BYTES {
            self.tap.set_list_version(found);
            self.head = None;
        }
    }
}

/// The first resource version in a list's first bytes, as long as that is the list's and not an item's.
fn version_in(head: &[u8]) -> Option<String> {
    const MEMBER: &str = "\"resourceVersion\":\"";
    let head = String::from_utf8_lossy(head);
    let list = head.split("\"items\":").next()?;
    let (version, _) = list.split_once(MEMBER)?.1.split_once('"')?;
    Some(version.to_owned())
}

impl<B: Body<Data = Bytes>> Body for TappedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = self.inner.as_mut().poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.heard(data);
        }
        polled
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
    fn a_lists_version_is_found_before_its_items() {
        let list =
            br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"812","continue":"x"},"items":[{"#;
        assert_eq!(version_in(list), Some("812".into()));
        assert_eq!(version_in(&list[..60]), None, "not yet");
        assert_eq!(
            version_in(br#"{"items":[{"metadata":{"resourceVersion":"5"}}]}"#),
            None,
            "an item's is not the list's"
        );
    }
}
