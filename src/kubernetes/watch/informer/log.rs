//! The log lines of one watch: few lines for many failures.
//!
//! The watches of a process often fail together. The first few failures get a line each, the others one count per
//! minute. A recovery is logged if its failure was, and when no watch fails any more.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::listing::ExpectedItems;
use crate::{
    kubernetes::{failures::Right, watch::list},
    model::moment::Moment,
    reconcile::{
        fault_log::{FaultLog, FaultSummary, Reminder},
        silence::OLD_AFTER,
    },
    telemetry::{
        health::{Health, WatchFailure},
        metrics::labels::RelistReason,
    },
};

/// What was logged about all watches of the process.
#[derive(Default)]
pub(super) struct Reports {
    failures: FaultLog,
    unreadable: FaultLog,
    lists: FaultLog,
    /// The numbers of the watches that fail now.
    failing: BTreeSet<usize>,
}

/// Logs one watch, and knows what was logged about it.
pub(super) struct WatchLog {
    watch: usize,
    /// `*` stands for all namespaces.
    namespace: Box<str>,
    reports: Arc<Mutex<Reports>>,
    /// What people see of the failure.
    health: Health,
    reminder: Reminder,
    /// When the watch was last up to date before the current silence. None while it is not silent for long.
    old_since: Option<Moment>,
    /// Whether the current failure has a line.
    failure: bool,
    /// Whether a missing right was logged since requests last succeeded.
    forbidden: bool,
    /// Whether the current silence has a line.
    age: bool,
}

/// A request for pods that failed.
pub(super) struct RequestFailure {
    /// `list` or `watch`.
    pub(super) what: &'static str,
    pub(super) cause: String,
    /// Number of failures in a row.
    pub(super) failures: u32,
    pub(super) retry_in: Duration,
    pub(super) forbidden: bool,
}

impl WatchLog {
    pub(super) fn new(watch: usize, namespace: Option<&str>, reports: Arc<Mutex<Reports>>, health: Health) -> Self {
        Self {
            watch,
            health,
            namespace: namespace.unwrap_or("*").into(),
            reports,
            reminder: Reminder::default(),
            old_since: None,
            failure: false,
            forbidden: false,
            age: false,
        }
    }

    /// Shows a failure, and logs it unless that was done recently.
    pub(super) fn failed(&mut self, failure: &RequestFailure, now: Moment) {
        let RequestFailure { what, cause, failures, retry_in, forbidden } = failure;
        self.reports.lock().failing.insert(self.watch);
        let fix = forbidden.then(|| self.missing_right());
        let shown = fix.as_ref().map_or_else(|| cause.clone(), |fix| format!("{cause}; {fix}"));
        self.health.watch_failed(self.watch, WatchFailure { namespace: self.namespace.to_string(), cause: shown });
        // A revoked right closes the watch first, so the 403 is the second failure. It must be logged as well.
        let is_news = *forbidden && !self.forbidden;
        if !(self.reminder.is_due(now) || is_news) {
            return;
        }
        // Otherwise the failures of a minute that is over could suppress this line, and the next one would be late.
        self.summaries(now);
        if !self.reports.lock().failures.note(&self.namespace, cause, now) {
            return;
        }
        (self.failure, self.forbidden) = (true, *forbidden);
        let (namespace, retry_in_ms) = (&*self.namespace, retry_in.as_millis());
        if let Some(fix) = fix {
            if self.reminder.is_repeated() {
                tracing::error!(
                    namespace,
                    what,
                    cause,
                    fix,
                    failures,
                    retry_in_ms,
                    "the right to read pods is still missing; retrying. Grant it as the field fix says"
                );
            } else {
                tracing::warn!(
                    namespace,
                    what,
                    cause,
                    fix,
                    failures,
                    retry_in_ms,
                    "the right to read pods is missing; retrying"
                );
            }
        } else {
            tracing::warn!(namespace, what, cause, failures, retry_in_ms, "request for pods failed; retrying");
        }
    }

    /// How to grant the right that is missing.
    fn missing_right(&self) -> String {
        Right::to_pods(Some(&*self.namespace).filter(|namespace| *namespace != "*")).advice()
    }

    pub(super) fn recovered(&mut self) {
        self.forbidden = false;
        if !self.reminder.over() {
            return;
        }
        let failing = {
            let mut reports = self.reports.lock();
            reports.failing.remove(&self.watch);
            reports.failing.len()
        };
        if std::mem::take(&mut self.failure) || failing == 0 {
            tracing::info!(namespace = &*self.namespace, failing, "requests for pods succeed again");
        }
    }

    pub(super) fn given_up(&self, now: Moment) {
        let namespace = &*self.namespace;
        if self.reports.lock().failures.note(namespace, "silent", now) {
            tracing::warn!(namespace, "the API server answers but the watch is silent; listing pods again");
        }
    }

    pub(super) fn deletions_exceed_limit(&self) {
        tracing::info!(
            namespace = &*self.namespace,
            "very many pods are deleted during a list; the watch pauses until the list is complete"
        );
    }

    pub(super) fn list_began(&self, reason: RelistReason) {
        tracing::debug!(namespace = &*self.namespace, ?reason, "list begins");
    }

    pub(super) fn page_too_large(&self, error: &list::Error) {
        tracing::info!(namespace = &*self.namespace, %error, "page too large; requesting fewer pods per page");
    }

    pub(super) fn list_older(&self, retry_in: Duration) {
        let (namespace, retry_in_ms) = (&*self.namespace, retry_in.as_millis());
        tracing::warn!(namespace, retry_in_ms, "list is older than what was seen before; listing pods again");
    }

    pub(super) fn cluster_restored(&self) {
        let namespace = &*self.namespace;
        tracing::warn!(
            namespace,
            "the cluster was restored to an earlier state; inferred deletions will be confirmed first"
        );
    }

    pub(super) fn list_inconsistent(&self) {
        tracing::warn!(
            namespace = &*self.namespace,
            "list expired and was finished at a later version; no deletions are inferred from it"
        );
    }

    pub(super) fn list_incomplete(&self, expected: ExpectedItems) {
        let namespace = &*self.namespace;
        tracing::info!(namespace, ?expected, "list may be incomplete; inferred deletions will be confirmed first");
    }

    pub(super) fn listed(&self, pods: usize, now: Moment) {
        let namespace = &*self.namespace;
        if self.reports.lock().lists.note(namespace, namespace, now) {
            tracing::info!(namespace, pods, "pods listed");
        }
    }

    pub(super) fn pod_unreadable(&self, namespace: &str, name: &str, cause: &str, now: Moment) {
        if self.reports.lock().unreadable.note(&format!("{namespace}/{name}"), cause, now) {
            tracing::warn!(namespace, name, cause, "pod cannot be decoded; its record stays as it is");
        }
    }

    /// Logs that the watch has been silent for long, and the end of the silence.
    pub(super) fn silence(&mut self, last_alive: Moment, now: Moment) {
        match self.old_since {
            None if now >= last_alive + OLD_AFTER => {
                self.old_since = Some(last_alive);
                let is_logged = self.reports.lock().failures.note(&self.namespace, "old", now);
                self.age = is_logged;
                if is_logged {
                    let (namespace, seconds) = (&*self.namespace, now.since(last_alive).as_secs());
                    tracing::warn!(namespace, seconds, "the view of the cluster is old; changes are not seen");
                }
            }
            Some(since) if last_alive > since => {
                self.old_since = None;
                if std::mem::take(&mut self.age) {
                    let (namespace, seconds) = (&*self.namespace, last_alive.since(since).as_secs());
                    tracing::info!(namespace, seconds, "the view of the cluster is up to date again");
                }
            }
            _ => {}
        }
    }

    /// Logs the counts of the last minute.
    pub(super) fn summaries(&self, now: Moment) {
        let (failures, unreadable, lists, failing) = {
            let mut reports = self.reports.lock();
            let Reports { failures, unreadable, lists, failing } = &mut *reports;
            (failures.summary(now), unreadable.summary(now), lists.summary(now), failing.len())
        };
        if let Some(FaultSummary { count, first }) = failures {
            tracing::warn!(
                count,
                failing,
                namespaces = first,
                "more requests for pods failed in the last minute; retrying"
            );
        }
        if let Some(FaultSummary { count, first }) = unreadable {
            let pods = first;
            tracing::warn!(
                count,
                pods,
                "more pods could not be decoded in the last minute; their records stay as they are"
            );
        }
        if let Some(FaultSummary { count, first }) = lists {
            tracing::info!(count, namespaces = first, "more namespaces were listed in the last minute");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::tests::logs::Log;

    #[test]
    fn lasting_missing_right_is_an_error() {
        let (lines, _guard) = Log::start();
        let health = Health::new(1);
        let mut log = WatchLog::new(0, Some("shop"), Arc::default(), health.clone());
        let mut fail_at = |seconds| {
            let (cause, retry_in) = ("the API server answered 403".to_owned(), Duration::from_secs(1));
            let failure = RequestFailure { what: "list", cause, failures: 1, retry_in, forbidden: true };
            log.failed(&failure, Moment::from_secs(seconds));
        };
        fail_at(0);
        fail_at(30);
        assert_eq!(
            (lines.count(" WARN ", "right to read pods"), lines.count("ERROR ", "")),
            (1, 0),
            "{}",
            lines.text()
        );
        fail_at(60);
        assert_eq!(lines.count("ERROR ", "right to read pods is still missing"), 1, "{}", lines.text());
        assert!(lines.text().contains("in the namespace shop"), "{}", lines.text());
        let [shown] = &health.watch_failures()[..] else { panic!("it is not shown") };
        assert!(shown.cause.contains("answered 403; add") && shown.namespace == "shop", "{shown:?}");
    }

    #[test]
    fn silence_and_its_end_are_logged_once() {
        let at = Moment::from_secs;
        let mut log = WatchLog::new(0, None, Arc::default(), Health::new(1));
        let mut has_line = |last_alive, now| {
            log.silence(at(last_alive), at(now));
            log.age
        };
        assert_eq!((has_line(10, 39), has_line(10, 41), has_line(10, 70)), (false, true, true));
        assert_eq!(log.reports.lock().failures.summary(at(500)), None, "it was noted once");
        log.silence(at(501), at(502));
        assert!(!log.age);
        log.silence(at(501), at(531));
        assert!(log.age, "another silence");
    }
}
