//! The watch of an informer: kube's watcher, and what follows when it fails or ends.

use std::time::Duration;

use futures::{StreamExt, stream::BoxStream};
use kube::{Api, Client, Error as ClientError};
use kube_runtime::watcher::{self, Event};
use tower::Layer as _;

use super::log::RequestFailure;
use crate::{
    clock::Clock,
    kubernetes::{
        client::{ClusterConnection, PodSelection},
        failures::words,
        watch::{
            pod_object::Watched,
            stream::{EndCause, StreamEnd, StreamObserver},
        },
    },
    model::moment::Moment,
    reconcile::watch_ends::{WATCH, WatchEnd, WatchFailures},
    telemetry::metrics::labels::RelistReason,
};

/// A watch that fails this often in a row is replaced by a list.
const RESUME_TRIES: u32 = 5;

pub(super) type EventResult = Result<Event<Watched>, watcher::Error>;

/// A watch that runs, or that waits for a list.
pub(super) struct PodWatch {
    /// The watcher's client; `observer` sees its streams.
    api: Api<Watched>,
    observer: StreamObserver,
    config: watcher::Config,
    /// None while the informer waits for a list.
    events: Option<BoxStream<'static, EventResult>>,
    /// The watcher is not polled before this.
    resume_at: Moment,
    failures: WatchFailures,
    /// Whether this watch has delivered a newer version.
    news: bool,
    /// The message of an ERROR event of this watch.
    refusal: Option<String>,
    rng: fastrand::Rng,
}

/// What follows an error of the watcher.
#[must_use]
pub(super) enum WatchEffect {
    /// The watcher's next request reports the end of the watch.
    None,
    /// The server had no further events. The watch is resumed at once.
    Ended,
    /// The watch is resumed at the same version after a backoff.
    Resume(RequestFailure),
    /// A list replaces the watch after a backoff.
    List(RequestFailure, RelistReason),
}

impl PodWatch {
    pub(super) fn new(
        namespace: Option<&str>,
        cluster: &ClusterConnection,
        scope: &PodSelection,
        rng: fastrand::Rng,
        now: Moment,
    ) -> Self {
        let observer = StreamObserver::default();
        let client = Client::new(observer.layer(cluster.transport()), "default");
        let api = match namespace {
            None => Api::all(client),
            Some(namespace) => Api::namespaced(client, namespace),
        };
        let config = watcher::Config {
            label_selector: scope.label_selector.clone(),
            field_selector: scope.fields(),
            timeout: u32::try_from(WATCH.as_secs()).ok(),
            ..watcher::Config::default()
        };
        Self {
            api,
            observer,
            config,
            events: None,
            resume_at: now,
            failures: WatchFailures::default(),
            news: false,
            refusal: None,
            rng,
        }
    }

    /// Starts a watch at a version. It replaces the one before.
    pub(super) fn begin(&mut self, version: &str, now: Moment) {
        // The old watch must end before the observer begins, or its end would be reported for the new one.
        self.stop();
        self.observer.begin(version);
        self.events = Some(watcher::watcher(self.api.clone(), self.config.clone()).boxed());
        (self.resume_at, self.news, self.refusal) = (now, false, None);
    }

    pub(super) fn stop(&mut self) {
        self.events = None;
    }

    /// The next event or error, not before the watch may be resumed. Pending without a watch.
    pub(super) async fn next(&mut self, clock: Clock) -> Option<EventResult> {
        match &mut self.events {
            Some(events) => {
                clock.sleep_until(self.resume_at).await;
                events.next().await
            }
            None => std::future::pending().await,
        }
    }

    /// An event is newer than all before.
    pub(super) fn note_news(&mut self) {
        self.news = true;
    }

    /// Whether the last attempt failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures.failures() > 0
    }

    /// Decides what follows an error of the watcher.
    pub(super) fn failed(&mut self, error: &watcher::Error, now: Moment) -> WatchEffect {
        if let Some(ended) = stream_end(error) {
            return self.ended(ended, now);
        }
        let meaning = meaning(error, self.failures.failures() + 1);
        if meaning == Meaning::Ends {
            if let watcher::Error::WatchError(_) = error {
                self.refusal = Some(text_of(error));
            }
            return WatchEffect::None;
        }
        let delay = self.failures.failed(now, self.rng.u64(..));
        let forbidden =
            matches!(error, watcher::Error::WatchStartFailed(ClientError::Api(status)) if status.code == 403);
        let failure = RequestFailure { forbidden, ..self.retry(text_of(error), delay, now) };
        match meaning {
            Meaning::List(reason) => WatchEffect::List(failure, reason),
            _ => WatchEffect::Resume(failure),
        }
    }

    /// Resumes an ended watch at the same version, at once or after a backoff.
    fn ended(&mut self, ended: &StreamEnd, now: Moment) -> WatchEffect {
        let refusal = self.refusal.take();
        let orderly = matches!(ended.cause, EndCause::Closed) && refusal.is_none();
        let end = WatchEnd { orderly, lasted: ended.lasted, news: std::mem::take(&mut self.news) };
        match self.failures.ended(end, now, self.rng.u64(..)) {
            None => WatchEffect::Ended,
            Some(delay) => {
                let cause = refusal.unwrap_or_else(|| ended.cause.to_string());
                WatchEffect::Resume(self.retry(cause, delay, now))
            }
        }
    }

    /// An event is invalid. A list replaces the watch after a backoff of at least this time.
    pub(super) fn reject(&mut self, cause: &str, reason: RelistReason, at_least: Duration, now: Moment) -> WatchEffect {
        let delay = self.failures.failed(now, self.rng.u64(..)).max(at_least);
        WatchEffect::List(self.retry(cause.to_owned(), delay, now), reason)
    }

    fn retry(&mut self, cause: String, retry_in: Duration, now: Moment) -> RequestFailure {
        self.resume_at = now + retry_in;
        RequestFailure { what: "watch", cause, failures: self.failures.failures(), retry_in, forbidden: false }
    }
}

/// Whether the API server answered, as far as an error of the watcher tells.
pub(super) fn is_answer(error: &watcher::Error) -> bool {
    match stream_end(error) {
        Some(ended) => matches!(ended.cause, EndCause::Closed | EndCause::Line(_)),
        None => matches!(error, watcher::Error::WatchStartFailed(ClientError::Api(_))),
    }
}

/// What an error of kube's watcher means.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// Nothing: the watch ends, and the watcher's next request fails with a [`StreamEnd`].
    Ends,
    /// The watch did not start. It starts again at the same version.
    NotStarted,
    /// A list. The watcher alone would skip the event, or retry for ever.
    List(RelistReason),
}

fn meaning(error: &watcher::Error, failures: u32) -> Meaning {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    match error {
        WatchError(status) if status.code == 410 => Meaning::List(RelistReason::Gone),
        WatchStartFailed(ClientError::Api(status)) if status.code == 410 => Meaning::List(RelistReason::Gone),
        WatchStartFailed(ClientError::Api(status))
            if failures >= RESUME_TRIES && !matches!(status.code, 401 | 403 | 429 | 500..) =>
        {
            Meaning::List(RelistReason::Error)
        }
        WatchStartFailed(_) => Meaning::NotStarted,
        WatchError(_) if failures >= RESUME_TRIES => Meaning::List(RelistReason::Error),
        WatchError(_)
        | WatchFailed(ClientError::ReadEvents(_) | ClientError::HyperError(_) | ClientError::Service(_)) => {
            Meaning::Ends
        }
        WatchFailed(_) => Meaning::List(RelistReason::Undecodable),
        InitialListFailed(_) | NoResourceVersion => Meaning::List(RelistReason::Error),
    }
}

fn text_of(error: &watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => words(error),
        WatchError(status) => format!("the API server ends the watch: {}", status.message),
        NoResourceVersion => "the list has no resource version".to_owned(),
    }
}

/// The end of the watch before, if a request failed with it.
fn stream_end(error: &watcher::Error) -> Option<&StreamEnd> {
    let watcher::Error::WatchStartFailed(ClientError::Service(error)) = error else { return None };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(ended) = error.downcast_ref() {
            return Some(ended);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn status(code: u16) -> Box<Status> {
        Status::failure("refused", "Refused").with_code(code).boxed()
    }

    #[test]
    fn failed_watch_is_reported_without_debug_text() {
        let refused = watcher::Error::WatchStartFailed(ClientError::Api(status(500)));
        assert_eq!(text_of(&refused), "the API server answered 500: refused");
    }

    #[test]
    fn errors_that_kube_mishandles_lead_to_a_relist() {
        // kube alone would skip these errors or retry for ever.
        use watcher::Error::*;
        let undecodable = WatchFailed(ClientError::SerdeError(serde_json::from_str::<u8>("x").unwrap_err()));
        let reset = WatchFailed(ClientError::ReadEvents(std::io::Error::other("reset")));
        let cases = [
            (WatchStartFailed(ClientError::Api(status(410))), 1, Meaning::List(RelistReason::Gone)),
            (WatchStartFailed(ClientError::Api(status(401))), 99, Meaning::NotStarted),
            (WatchStartFailed(ClientError::Api(status(400))), 1, Meaning::NotStarted),
            (WatchStartFailed(ClientError::Api(status(400))), 5, Meaning::List(RelistReason::Error)),
            (WatchError(status(410)), 9, Meaning::List(RelistReason::Gone)),
            (WatchError(status(500)), 1, Meaning::Ends),
            (WatchError(status(500)), 5, Meaning::List(RelistReason::Error)),
            (undecodable, 1, Meaning::List(RelistReason::Undecodable)),
            (reset, 1, Meaning::Ends),
            (WatchStartFailed(ClientError::Api(status(403))), 99, Meaning::NotStarted),
        ];
        for (error, failures, expected) in cases {
            assert_eq!(meaning(&error, failures), expected, "{error}");
        }
    }
}
