//! Logs of lists and watches: few lines for many failures.
//!
//! The watches of a process often fail together. The first few failures get a line each, the others one count per
//! minute. A recovery is logged if its failure was, and when no watch fails any more.

use std::{collections::BTreeSet, time::Duration};

use parking_lot::MutexGuard;

use super::Informer;
use crate::{
    kubernetes::explain::Right,
    model::moment::Moment,
    reconcile::{
        notices::{NoticeSummary, Notices, Reminder},
        silence::{Silence, SilenceNotice},
    },
};

/// What was logged about all watches of the process.
#[derive(Default)]
pub(super) struct Reports {
    failures: Notices,
    unreadable: Notices,
    lists: Notices,
    /// The numbers of the watches that fail now.
    failing: BTreeSet<usize>,
}

/// What was logged about one watch.
#[derive(Default)]
pub(super) struct WatchLog {
    reminder: Reminder,
    silence: Silence,
    /// Whether the current failure has a line.
    failure: bool,
    /// Whether a missing right was logged since requests last succeeded.
    forbidden: bool,
    /// Whether the current silence has a line.
    age: bool,
}

pub(super) struct FailureReport<'a> {
    pub(super) what: &'static str,
    pub(super) cause: &'a str,
    /// Number of failures in a row.
    pub(super) failures: u32,
    pub(super) retry_in: Duration,
    pub(super) forbidden: bool,
}

impl Informer {
    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.setup.common.reports.lock()
    }

    /// Logs a failure, unless it was logged recently.
    pub(super) fn log_failure(&mut self, failure: &FailureReport<'_>) {
        let now = self.setup.clock.now();
        let FailureReport { what, cause, failures, retry_in, forbidden } = failure;
        self.reports().failing.insert(self.watch);
        // A revoked right closes the watch first, so the 403 is the second failure. It must be logged as well.
        let is_news = *forbidden && !self.logged.forbidden;
        if !(self.logged.reminder.is_due(now) || is_news) || !self.reports().failures.note(&self.namespace, cause, now)
        {
            return;
        }
        (self.logged.failure, self.logged.forbidden) = (true, *forbidden);
        let (namespace, retry_in_ms) = (&*self.namespace, retry_in.as_millis());
        if *forbidden {
            let in_namespace = (namespace != "*").then_some(namespace);
            let verbs = &["get", "list", "watch"];
            let fix = Right { group: "", resource: "pods", verbs, name: None, namespace: in_namespace }.advice();
            tracing::warn!(
                namespace,
                what,
                cause,
                fix,
                failures,
                retry_in_ms,
                "the right to read pods is missing; retrying"
            );
        } else {
            tracing::warn!(namespace, what, cause, failures, retry_in_ms, "request for pods failed; retrying");
        }
    }

    pub(super) fn log_recovery(&mut self) {
        self.logged.forbidden = false;
        if !self.logged.reminder.over() {
            return;
        }
        let failing = {
            let mut reports = self.reports();
            reports.failing.remove(&self.watch);
            reports.failing.len()
        };
        if std::mem::take(&mut self.logged.failure) || failing == 0 {
            tracing::info!(namespace = &*self.namespace, failing, "requests for pods succeed again");
        }
    }

    pub(super) fn log_given_up(&self, now: Moment) {
        let namespace = &*self.namespace;
        if self.reports().failures.note(namespace, "silent", now) {
            tracing::warn!(namespace, "the API server answers but the watch is silent; listing pods again");
        }
    }

    pub(super) fn log_list(&self, pods: usize, now: Moment) {
        let namespace = &*self.namespace;
        if self.reports().lists.note(namespace, namespace, now) {
            tracing::info!(namespace, pods, "pods listed");
        }
    }

    pub(super) fn log_unreadable(&self, namespace: &str, name: &str, cause: &str) {
        let now = self.setup.clock.now();
        if self.reports().unreadable.note(&format!("{namespace}/{name}"), cause, now) {
            tracing::warn!(namespace, name, cause, "pod cannot be decoded; its record stays as it is");
        }
    }

    /// Logs that the watch has been silent for long, and the end of the silence.
    pub(super) fn log_age(&mut self, now: Moment) {
        let namespace = &*self.namespace;
        match self.logged.silence.look(self.liveness.last_alive(), now) {
            Some(SilenceNotice::Old { silence }) if self.reports().failures.note(namespace, "old", now) => {
                let seconds = silence.as_secs();
                tracing::warn!(namespace, seconds, "the view of the cluster is old; changes are not seen");
                self.logged.age = true;
            }
            Some(SilenceNotice::Renewed { after }) if std::mem::take(&mut self.logged.age) => {
                tracing::info!(namespace, seconds = after.as_secs(), "the view of the cluster is up to date again");
            }
            _ => {}
        }
    }

    /// Logs the counts of the last minute.
    pub(super) fn log_summaries(&self, now: Moment) {
        let (failures, unreadable, lists, failing) = {
            let mut reports = self.reports();
            let Reports { failures, unreadable, lists, failing } = &mut *reports;
            (failures.summary(now), unreadable.summary(now), lists.summary(now), failing.len())
        };
        if let Some(NoticeSummary { count, first }) = failures {
            tracing::warn!(
                count,
                failing,
                namespaces = first,
                "more requests for pods failed in the last minute; retrying"
            );
        }
        if let Some(NoticeSummary { count, first }) = unreadable {
            let pods = first;
            tracing::warn!(
                count,
                pods,
                "more pods could not be decoded in the last minute; their records stay as they are"
            );
        }
        if let Some(NoticeSummary { count, first }) = lists {
            tracing::info!(count, namespaces = first, "more namespaces were listed in the last minute");
        }
    }
}
