//! Lists pods page by page. Each page is bounded in bytes and in time.
//!
//! The bytes of a page are collected, then decoded at once. [`Paging`] decides what follows a failure. [`PageTurns`]
//! limits how many pages all watches read at a time.

mod page;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, Request, Response, header};
use http_body_util::BodyExt;
use kube::{Client, Resource, api::ListParams, client::Body, core::Request as Requests};
use tokio::sync::Semaphore;

use super::pod_object::Watched;
use crate::{
    clock::Clock,
    connect::failures::causes,
    kubernetes::{
        client::PodSelection,
        failures::{document, refusal, words},
    },
    model::moment::Moment,
    reconcile::paging::{NextPage, PageFailure, Paging, RETRY_AFTER_MAX, WHOLE},
};
use page::{Document, ListKind};

/// The largest page. 500 ordinary pods take about 4 MB.
const PAGE_BYTES: usize = 16 << 20;
/// The largest body of an error status.
const REFUSAL_BYTES: usize = 64 << 10;
/// Number of pages that all watches of the process read at a time.
const PAGES_AT_ONCE: usize = 4;

/// Limits how many pages are read at a time. Clones share the limit.
#[derive(Clone, Debug)]
pub(crate) struct PageTurns(Arc<Semaphore>);

impl Default for PageTurns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PAGES_AT_ONCE)))
    }
}

/// Why a page did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server answered with an error status.
    #[error("the API server answers {code}: {message}")]
    Refused {
        code: u16,
        message: String,
        retry_after: Option<Duration>,
        /// The continue token of an expired list (410).
        token: Option<String>,
    },
    #[error("{0}")]
    Connection(String),
    #[error("a page did not arrive within {} s; the next attempt may take longer, up to 60 s", .0.as_secs())]
    TooSlow(Duration),
    #[error("a page requested with limit={0} has more than {PAGE_BYTES} bytes")]
    TooLarge(u32),
    #[error("the answer is not a list of pods: {0}; is there a proxy in between, or is the address wrong?")]
    NotAList(String),
}

impl Error {
    fn fault(&self, is_continued: bool) -> PageFailure {
        match self {
            Self::Refused { code: 410, token, .. } if is_continued => PageFailure::Expired { offered: token.clone() },
            Self::Refused { code, retry_after, .. } => {
                PageFailure::Refused { status: *code, retry_after: *retry_after }
            }
            Self::Connection(_) | Self::NotAList(_) => PageFailure::Broken,
            Self::TooSlow(_) => PageFailure::TooSlow,
            Self::TooLarge(_) => PageFailure::TooLarge,
        }
    }

    /// The status code of the answer, if the API server refused.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct PodPage {
    /// When the list began.
    pub(crate) begun: Moment,
    pub(crate) version: String,
    pub(crate) items: Vec<Watched>,
    pub(crate) is_first: bool,
    /// None on the last page.
    pub(crate) next: Option<String>,
    /// Number of pods after this page. API servers omit it for lists with selectors.
    pub(crate) remaining: Option<usize>,
    /// Whether all pages so far have the same version.
    pub(crate) is_consistent: bool,
    /// The limits of the next request.
    pub(crate) paging: Paging,
}

#[derive(Debug)]
pub(crate) enum ListStep {
    /// The next step requests the first page, perhaps not for the first time.
    Begins,
    Page(PodPage),
    Failed(FailedAttempt),
}

/// A failed attempt. The list retries it.
#[derive(Debug)]
pub(crate) struct FailedAttempt {
    pub(crate) error: Error,
    /// Whether retries are unlikely to help soon.
    pub(crate) is_stuck: bool,
    /// Number of failures in a row.
    pub(crate) failures: u32,
    pub(crate) retry_in: Duration,
    /// The limits of the next request.
    pub(crate) paging: Paging,
}

/// Which pods are listed, and how.
#[derive(Clone)]
pub(crate) struct ListSource {
    pub(crate) client: Client,
    pub(crate) namespace: Option<String>,
    pub(crate) label_selector: Option<String>,
    pub(crate) field_selector: Option<String>,
    /// Whether only the metadata of pods is requested.
    pub(crate) only_metadata: bool,
    pub(crate) turns: PageTurns,
    pub(crate) clock: Clock,
}

impl ListSource {
    pub(crate) fn new(
        client: Client,
        namespace: Option<String>,
        scope: &PodSelection,
        turns: PageTurns,
        clock: Clock,
    ) -> Self {
        let (label_selector, field_selector) = (scope.label_selector.clone(), scope.fields());
        Self { client, namespace, label_selector, field_selector, only_metadata: false, turns, clock }
    }

    /// Starts a list. The request names no resource version, so the list is at least as new as the request. Failed
    /// pages are retried; the stream ends after the last page.
    pub(crate) fn list(&self, paging: Paging) -> BoxStream<'static, ListStep> {
        let list = List {
            source: self.clone(),
            paging,
            rng: fastrand::Rng::new(),
            begun: self.clock.now(),
            is_begun: false,
            token: None,
            version: None,
            is_consistent: true,
            is_over: false,
            wait: Duration::ZERO,
        };
        stream::unfold(list, |mut list| async { Some((list.step().await?, list)) }).boxed()
    }

    /// The cluster's newest version, from a list of at most one pod.
    pub(crate) async fn newest_version(&self, within: Duration) -> Result<String, Error> {
        let request = self.requests().list_metadata(&self.params(1, None));
        let answered = tokio::time::timeout(within, fetch(&self.client, request, 1)).await;
        let body = answered.map_err(|_| Error::TooSlow(within))??;
        let document = Document::read(&body, ListKind::Metadata).map_err(|error| not_a_list(&body, &error))?;
        Ok(document.metadata.resource_version)
    }

    fn requests(&self) -> Requests {
        Requests::new(Watched::url_path(&(), self.namespace.as_deref()))
    }

    fn request(&self, limit: u32, token: Option<&str>) -> BuiltRequest {
        let (requests, params) = (self.requests(), self.params(limit, token));
        if self.only_metadata { requests.list_metadata(&params) } else { requests.list(&params) }
    }

    fn params(&self, limit: u32, token: Option<&str>) -> ListParams {
        ListParams {
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            limit: (limit != WHOLE).then_some(limit),
            continue_token: token.map(str::to_owned),
            ..ListParams::default()
        }
    }
}

/// The state of a running list.
struct List {
    source: ListSource,
    paging: Paging,
    rng: fastrand::Rng,
    begun: Moment,
    /// Whether [`ListStep::Begins`] was reported for the next request for the first page.
    is_begun: bool,
    /// The continue token of the next page. None for the first page.
    token: Option<String>,
    version: Option<String>,
    is_consistent: bool,
    is_over: bool,
    /// The delay before the next attempt.
    wait: Duration,
}

impl List {
    async fn step(&mut self) -> Option<ListStep> {
        if self.is_over {
            return None;
        }
        tokio::time::sleep(std::mem::take(&mut self.wait)).await;
        if self.token.is_none() && !std::mem::replace(&mut self.is_begun, true) {
            (self.begun, self.version, self.is_consistent) = (self.source.clock.now(), None, true);
            return Some(ListStep::Begins);
        }
        Some(match self.page().await {
            Ok(document) => ListStep::Page(self.arrived(document)),
            Err(error) => ListStep::Failed(self.failed(error)),
        })
    }

    fn arrived(&mut self, document: Document) -> PodPage {
        let Document { metadata, items, .. } = document;
        let (version, next, remaining) = (metadata.resource_version, metadata.next, metadata.remaining);
        let is_first = self.token.is_none();
        // All pages of a consistent list name the version of its first page.
        self.is_consistent &= self.version.get_or_insert_with(|| version.clone()) == &version;
        self.paging.arrived(next.is_none());
        self.is_over = next.is_none();
        self.token.clone_from(&next);
        PodPage {
            begun: self.begun,
            version,
            items,
            is_first,
            next,
            remaining,
            is_consistent: self.is_consistent,
            paging: self.paging,
        }
    }

    fn failed(&mut self, error: Error) -> FailedAttempt {
        let is_continued = self.token.is_some();
        let fault = error.fault(is_continued);
        let next = self.paging.failed(&fault, is_continued, self.rng.u64(..));
        let retry_in = match next {
            NextPage::Page(wait) => wait,
            NextPage::Whole(wait) => {
                self.token = None;
                wait
            }
            NextPage::Rest(token, wait) => {
                self.token = Some(token);
                self.is_consistent = false;
                wait
            }
        };
        (self.wait, self.is_begun) = (retry_in, false);
        let paging = self.paging;
        let is_stuck = paging.is_stuck(&fault);
        FailedAttempt { error, is_stuck, failures: paging.failures, retry_in, paging }
    }

    /// Reads a page. Waits first until fewer than `PAGES_AT_ONCE` are being read.
    async fn page(&self) -> Result<Document, Error> {
        let turns = self.source.turns.0.clone();
        // The semaphore is never closed, so there is always a permit in the end.
        let _turn = turns.acquire().await;
        let (source, Paging { within, limit, .. }) = (&self.source, self.paging);
        let fetched = fetch(&source.client, source.request(limit, self.token.as_deref()), limit);
        let body = tokio::time::timeout(within, fetched).await.map_err(|_| Error::TooSlow(within))??;
        let of = if source.only_metadata { ListKind::Metadata } else { ListKind::Pods };
        Document::read(&body, of).map_err(|error| not_a_list(&body, &error))
    }
}

/// The items of a list of pods, or of their metadata.
pub(crate) fn items(bytes: &[u8]) -> Result<Vec<Watched>, serde_json::Error> {
    Ok(Document::read(bytes, ListKind::Metadata)?.items)
}

fn not_a_list(body: &[u8], error: &serde_json::Error) -> Error {
    Error::NotAList(format!("{}, {error}", document(body)))
}

pub(crate) type BuiltRequest = Result<Request<Vec<u8>>, kube::core::request::Error>;

/// Sends a request for at most `limit` pods and reads the answer.
pub(crate) async fn fetch(client: &Client, request: BuiltRequest, limit: u32) -> Result<Vec<u8>, Error> {
    let request = request.map_err(|error| Error::Connection(causes(&error)))?;
    let response = send(client, request).await?;
    collect(response.into_body(), PAGE_BYTES).await?.ok_or(Error::TooLarge(limit))
}

/// Sends a request. Any status but success is an error.
async fn send(client: &Client, request: Request<Vec<u8>>) -> Result<Response<Body>, Error> {
    let sent = client.send(request.map(Body::from)).await;
    let response = sent.map_err(|error| Error::Connection(words(&error)))?;
    if response.status().is_success() {
        return Ok(response);
    }
    let (code, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = collect(response.into_body(), REFUSAL_BYTES).await.ok().flatten();
    let message = match &body {
        Some(body) => refusal(code, body, location.as_deref()),
        None => format!("the answer broke off or has more than {REFUSAL_BYTES} bytes"),
    };
    let token = page::offered_token(&body.unwrap_or_default());
    Err(Error::Refused { code, message, retry_after, token })
}

/// The `Retry-After` of a refusal in seconds. API servers do not send dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// The bytes of a body. None if there are more than `limit`.
async fn collect(mut body: Body, limit: usize) -> Result<Option<Vec<u8>>, Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::Connection(causes(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes))
}
