//! Listens in on a watch's HTTP traffic for what kube's watcher keeps to itself: signs of life (bookmarks are swallowed
//! there), what the head of a list says about the whole of it, and lines that break off.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

use super::lines::{Heard, Lines};

/// How much of a list is searched for its metadata, which come before the items.
pub(super) const SEARCHED_BYTES: usize = 2048;
/// A watch that ends sooner and has told nothing is begun again after a pause.
const HASTY: Duration = Duration::from_secs(1);
/// The pause after the first of them, doubled with each further one,
const HASTY_PAUSE: Duration = Duration::from_millis(100);
/// up to so many times.
const HASTY_DOUBLED: u32 = 6;

/// What is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// The server answered something, be it a refusal.
    Answered,
    /// The view is up to date: a part of a list, an event, a bookmark, or the regular end of a watch.
    Alive,
}

/// How many items the pages of a list have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Announced {
    /// There is one page.
    #[default]
    OnePage,
    /// So many.
    Items(usize),
    /// There are several pages, and the server does not say.
    Unknown,
}

/// What the head of a list says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListHead {
    /// Its resource version, if it was found.
    pub(super) version: Option<String>,
    /// How long it is.
    pub(super) announced: Announced,
}

/// An ear on the traffic of one watch.
#[derive(Clone)]
pub(super) struct Tap {
    tell: Arc<dyn Fn(Sign) + Send + Sync>,
    heard: Arc<Mutex<Traffic>>,
}

#[derive(Default)]
struct Traffic {
    list: ListHead,
    /// Watches in a row that ended at once and told nothing.
    hasty: u32,
}

impl Tap {
    /// Calls `tell` with each sign.
    pub(super) fn new(tell: impl Fn(Sign) + Send + Sync + 'static) -> Self {
        Self { tell: Arc::new(tell), heard: Arc::default() }
    }

    /// What the newest list said about itself.
    pub(super) fn list_head(&self) -> ListHead {
        self.change(|heard| heard.list.clone())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Traffic) -> T) -> T {
        change(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long to wait before the next watch: kube begins it at once, however soon the last one ended.
    fn pause(&self) -> Duration {
        self.change(|heard| match heard.hasty {
            0 => Duration::ZERO,
            hasty => HASTY_PAUSE * (1 << hasty.min(HASTY_DOUBLED)),
        })
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
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    ReqBody: Send + 'static,
{
    type Response = Response<TappedBody<ResBody>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let asked = Asked::by(request.uri().query().unwrap_or_default());
        let tap = self.tap.clone();
        // The one that is ready is used, and a clone of it becomes ready for the next call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            if asked.watch {
                tokio::time::sleep(tap.pause()).await;
            }
            let response = inner.call(request).await?;
            (tap.tell)(Sign::Answered);
            // A refusal is no sign of life: a view that is refused grows old.
            let part = match response.status().is_success() {
                false => Part::Refusal,
                true if asked.watch => Part::watch(),
                true => {
                    if !asked.continued {
                        tap.change(|heard| heard.list = ListHead::default());
                    }
                    Part::List { asked, head: Some(Vec::new()) }
                }
            };
            Ok(response.map(|inner| TappedBody { inner: Box::pin(inner), tap, part }))
        })
    }
}

/// What a request asks for, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) watch: bool,
    continued: bool,
    pub(super) limit: usize,
}

impl Asked {
    pub(super) fn by(query: &str) -> Self {
        let mut asked = Self::default();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("watch", value)) => asked.watch = value == "true",
                Some(("continue", token)) => asked.continued = !token.is_empty(),
                Some(("limit", limit)) => asked.limit = limit.parse().unwrap_or_default(),
                _ => {}
            }
        }
        asked
    }
}

/// What a body is a part of.
enum Part {
    Refusal,
    /// A list's page, with its first bytes until its metadata were found in them.
    List {
        asked: Asked,
        head: Option<Vec<u8>>,
    },
    Watch {
        begun: Instant,
        lines: Lines,
        heard: Heard,
        broken: bool,
    },
}

impl Part {
    fn watch() -> Self {
        Self::Watch { begun: Instant::now(), lines: Lines::default(), heard: Heard::Nothing, broken: false }
    }
}

/// A body that is listened in on.
pub(super) struct TappedBody<B> {
    inner: Pin<Box<B>>,
    tap: Tap,
    part: Part,
}

impl<B> TappedBody<B> {
    fn heard(&mut self, data: &[u8]) -> Result<(), BoxError> {
        let alive = match &mut self.part {
            Part::Refusal => false,
            Part::List { asked, head } => {
                if let Some(bytes) = head {
                    bytes.extend(data.iter().take(SEARCHED_BYTES - bytes.len().min(SEARCHED_BYTES)));
                    let found = metadata_in(bytes);
                    if found.is_some() || bytes.len() >= SEARCHED_BYTES {
                        let asked = *asked;
                        self.tap.change(|heard| heard.list.page(asked, found.unwrap_or_default()));
                        *head = None;
                    }
                }
                true
            }
            Part::Watch { lines, heard, broken, .. } => {
                let piece = lines.take(data).inspect_err(|_| *broken = true)?;
                if piece != Heard::Nothing {
                    *heard = piece;
                    self.tap.change(|heard| heard.hasty = 0);
                }
                piece == Heard::News
            }
        };
        if alive {
            (self.tap.tell)(Sign::Alive);
        }
        Ok(())
    }

    /// The body's regular end. That of a watch says that there was nothing more to tell.
    fn ended(&mut self) {
        let Part::Watch { begun, heard, broken: false, .. } = &self.part else { return };
        match heard {
            Heard::Refusal => return,
            Heard::Nothing if begun.elapsed() < HASTY => self.tap.change(|heard| heard.hasty += 1),
            Heard::Nothing | Heard::News => self.tap.change(|heard| heard.hasty = 0),
        }
        (self.tap.tell)(Sign::Alive);
    }

    fn is_broken(&self) -> bool {
        matches!(self.part, Part::Watch { broken: true, .. })
    }
}

/// A list's metadata, as far as they matter here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) version: Option<String>,
    /// What the next page is asked for with.
    pub(super) next: Option<String>,
    remaining: Option<usize>,
}

impl ListHead {
    /// Takes note of a page. How long the list is, is said by its first one.
    fn page(&mut self, asked: Asked, metadata: Metadata) {
        self.version = metadata.version;
        if !asked.continued {
            self.announced = match metadata.remaining {
                _ if metadata.next.is_none() => Announced::OnePage,
                Some(remaining) => Announced::Items(asked.limit + remaining),
                None => Announced::Unknown,
            };
        }
    }
}

/// The metadata in a list's first bytes, once the items begin.
pub(super) fn metadata_in(head: &[u8]) -> Option<Metadata> {
    let head = String::from_utf8_lossy(head);
    let (list, _) = head.split_once("\"items\":")?;
    let after = |name: &str| list.split_once(name).map(|(_, rest)| rest);
    let text = |name: &str| after(name)?.split_once('"').map(|(value, _)| value).filter(|value| !value.is_empty());
    let remaining = after("\"remainingItemCount\":").and_then(|rest| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..digits)?.parse().ok()
    });
    Some(Metadata {
        version: text("\"resourceVersion\":\"").map(str::to_owned),
        next: text("\"continue\":\"").map(str::to_owned),
        remaining,
    })
}

impl<B: Body<Data = Bytes>> Body for TappedBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.is_broken() {
            return Poll::Ready(None);
        }
        let polled = self.inner.as_mut().poll_frame(cx);
        Poll::Ready(match std::task::ready!(polled) {
            None => {
                self.ended();
                None
            }
            Some(Ok(frame)) => {
                let heard = frame.data_ref().map_or(Ok(()), |data| self.heard(data));
                Some(heard.map(|()| frame))
            }
            Some(Err(error)) => Some(Err(error.into())),
        })
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

    const LIST: &[u8] = br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"812","continue":"x","remainingItemCount":41},"items":[{"#;

    #[test]
    fn a_lists_metadata_are_found_before_its_items() {
        let expected = Metadata { version: Some("812".into()), next: Some("x".into()), remaining: Some(41) };
        assert_eq!(metadata_in(LIST), Some(expected));
        assert_eq!(metadata_in(&LIST[..60]), None, "not yet");
        let item = br#"{"items":[{"metadata":{"resourceVersion":"5","continue":"x"}}]}"#;
        assert_eq!(metadata_in(item), Some(Metadata::default()), "an item's are not the list's");
    }

    #[test]
    fn a_lists_length_is_what_its_first_page_says() {
        let mut head = ListHead::default();
        let page = |continued: bool, remaining| {
            let next = continued.then(|| "abc".to_owned());
            Metadata { version: Some("1".into()), next, remaining }
        };
        let first = Asked::by("limit=500&labelSelector=a");
        head.page(first, page(true, Some(700)));
        assert_eq!(head.announced, Announced::Items(1_200));
        head.page(Asked::by("limit=500&continue=abc"), page(false, None));
        assert_eq!(head.announced, Announced::Items(1_200));
        head.page(first, page(true, None));
        assert_eq!(head.announced, Announced::Unknown);
        head.page(first, page(false, None));
        assert_eq!(head.announced, Announced::OnePage);
    }
}
