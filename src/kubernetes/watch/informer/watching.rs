//! The informer's watches. Events go into the store, and every end of a watch leads to a resumed watch or to a list.

use kube::Error as ClientError;

use super::{reports::FailureReport, *};
use crate::{
    kubernetes::{
        explain::words,
        watch::stream::{EndCause, StreamEnd},
    },
    model::uid::Uid,
    reconcile::{
        deletion::Deletion,
        watch_ends::{WATCH, WatchEnd},
    },
};

/// A watch that fails this often in a row is replaced by a list.
const RESUME_TRIES: u32 = 5;

/// What follows an error of kube's watcher.
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

impl Informer {
    /// Starts a watch at the newest version of the list and the events so far.
    pub(super) fn begin_watch(&mut self, now: Moment) {
        // The old watch must end before the observer begins, or its end would be reported for the new one.
        self.events = None;
        let Some(version) = self.newest.begin_watch() else {
            self.drop_watch(RelistReason::Error, now);
            return;
        };
        self.observer.begin(&version);
        let config = watcher::Config {
            label_selector: self.setup.scope.label_selector.clone(),
            field_selector: self.setup.scope.fields(),
            timeout: u32::try_from(WATCH.as_secs()).ok(),
            ..watcher::Config::default()
        };
        self.events = Some(watcher::watcher(self.api.clone(), config).boxed());
        (self.events_at, self.news, self.refusal) = (now, false, None);
        self.relist_at = now + self.jittered(self.setup.relist_interval);
        self.liveness.note_event(now);
    }

    pub(super) async fn take_event(
        &mut self,
        event: Option<Result<Event<Watched>, watcher::Error>>,
    ) -> Result<(), Stop> {
        let now = self.setup.clock.now();
        if matches!(event, Some(Ok(_))) {
            self.liveness.note_event(now);
        }
        match event {
            // The watcher begins with the empty list of `StreamObserver`.
            Some(Ok(Event::Init | Event::InitApply(_) | Event::InitDone)) => Ok(()),
            Some(Ok(Event::Apply(object))) => self.applied(object, now).await,
            Some(Ok(Event::Delete(object))) => self.deleted(&object, now).await,
            Some(Err(error)) => {
                self.watch_failed(&error, now);
                Ok(())
            }
            None => {
                self.drop_watch(RelistReason::Error, now);
                Ok(())
            }
        }
    }

    fn watch_failed(&mut self, error: &watcher::Error, now: Moment) {
        let random = self.rng.u64(..);
        if let Some(ended) = stream_end(error) {
            return self.watch_ended(ended, now, random);
        }
        if let watcher::Error::WatchStartFailed(ClientError::Api(_)) = error {
            self.liveness.answers(now);
        }
        let meaning = meaning(error, self.watch_failures.failures() + 1);
        if meaning == Meaning::Ends {
            if let watcher::Error::WatchError(_) = error {
                self.refusal = Some(text_of(error));
            }
            return;
        }
        let delay = self.watch_failures.failed(now, random);
        let forbidden =
            matches!(error, watcher::Error::WatchStartFailed(ClientError::Api(status)) if status.code == 403);
        self.count_failure(&text_of(error), delay, forbidden);
        self.events_at = now + delay;
        match meaning {
            Meaning::List(reason) => self.drop_watch(reason, now + delay),
            _ => self.give_up_if_silent(now),
        }
    }

    /// Resumes an ended watch at the same version, at once or after a backoff.
    fn watch_ended(&mut self, ended: &StreamEnd, now: Moment, random: u64) {
        if let EndCause::Closed | EndCause::Line(_) = ended.cause {
            self.liveness.answers(now);
        }
        let refusal = self.refusal.take();
        let orderly = matches!(ended.cause, EndCause::Closed) && refusal.is_none();
        let end = WatchEnd { orderly, lasted: ended.lasted, news: std::mem::take(&mut self.news) };
        match self.watch_failures.ended(end, now, random) {
            None => {
                // The server had no further events.
                self.note_alive(now);
                self.log_recovery();
            }
            Some(delay) => {
                self.count_failure(&refusal.unwrap_or_else(|| ended.cause.to_string()), delay, false);
                self.events_at = now + delay;
                self.give_up_if_silent(now);
            }
        }
    }

    /// Replaces a failed watch by a list if it was silent for long.
    fn give_up_if_silent(&mut self, now: Moment) {
        if self.list.is_none() && self.list_at.is_none() && self.liveness.is_given_up(now) {
            self.log_given_up(now);
            self.drop_watch(RelistReason::Silent, self.events_at);
        }
    }

    fn count_failure(&mut self, cause: &str, delay: Duration, forbidden: bool) {
        self.liveness.failed(self.setup.clock.now());
        self.setup.metrics.watch_failed();
        let failures = self.watch_failures.failures();
        self.log_failure(&FailureReport { what: "watch", cause, failures, retry_in: delay, forbidden });
    }

    /// Whether an event is accepted. One that is older than the event before drops the watch.
    fn accept_or_drop_watch(&mut self, version: &str, now: Moment) -> bool {
        if self.newest.event(version) {
            self.news = true;
            self.note_alive(now);
            return true;
        }
        let random = self.rng.u64(..);
        let pause = self.watch_failures.failed(now, random).max(self.older_backoff());
        self.count_failure("an event is older than the one before", pause, false);
        // The running list may come from the same lagging server.
        self.list = None;
        self.drop_watch(RelistReason::Stale, now + pause);
        false
    }

    async fn applied(&mut self, object: Watched, now: Moment) -> Result<(), Stop> {
        if !self.accept_or_drop_watch(object.resource_version(), now) {
            return Ok(());
        }
        let Some(pod) = self.pod(object) else { return Ok(()) };
        if let Some(list) = &mut self.list {
            list.forget_deletion(&pod.uid);
        }
        if let Some(before) = self.writer.apply(&pod) {
            // The name belongs to another pod now, so the one before is gone, even without a DELETED event.
            self.note_deletion(&before, &pod.resource_version);
            self.send(PodEvent::Deletion { uid: before, why: Deletion::Deleted, at: now }).await?;
        }
        let Pod { uid, name, .. } = pod;
        self.send(PodEvent::Applied { uid, name, watch: self.watch, at: now }).await
    }

    async fn deleted(&mut self, object: &Watched, now: Moment) -> Result<(), Stop> {
        if !self.accept_or_drop_watch(object.resource_version(), now) {
            return Ok(());
        }
        let Some(uid) = object.uid().filter(|uid| is_valid_id(uid)).map(Uid::from) else {
            // The event does not say which pod is gone, but a list shows the others.
            let delay = self.watch_failures.failed(now, self.rng.u64(..));
            self.count_failure("a DELETED event has no valid UID", delay, false);
            self.drop_watch(RelistReason::Undecodable, now + delay);
            return Ok(());
        };
        if !self.writer.remove(&uid, object.resource_version()) {
            return Ok(());
        }
        self.note_deletion(&uid, object.resource_version());
        let why = if self.setup.scope.can_be_left() { Deletion::DeletedOrLeftRule } else { Deletion::Deleted };
        self.send(PodEvent::Deletion { uid, why, at: now }).await
    }

    /// Remembers a deletion that the running list may not include.
    fn note_deletion(&mut self, uid: &Uid, version: &str) {
        if let Some(list) = &mut self.list
            && !list.note_deletion(uid, version)
        {
            tracing::info!(
                namespace = &*self.namespace,
                "very many pods are deleted during a list; the watch pauses until the list is complete"
            );
            self.events = None;
        }
    }
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
