//! The informer's lists. Pages go into the store as they arrive, and a complete list starts a watch.

use std::collections::HashMap;

use super::{reports::FailureReport, *};
use crate::{
    kubernetes::watch::list::{Error as ListError, FailedAttempt, ListStep, PodPage},
    model::uid::Uid,
    reconcile::{freshness::ListAge, pod_event::WatchList},
};

/// Deletion events that are remembered while a list runs. After more of them, the watch pauses until the list is
/// complete.
const DELETIONS_KEPT: usize = 50_000;

/// A running list.
pub(super) struct Listing {
    pub(super) steps: BoxStream<'static, ListStep>,
    begun: Moment,
    /// Known after the first page.
    version: Option<String>,
    expected: ExpectedItems,
    pods: usize,
    /// Number of items without a valid UID.
    unidentified: usize,
    /// Pods with a deletion event since the list began, and the versions of these events.
    deletions: HashMap<Uid, Box<str>>,
}

/// The number of items in all pages, from the first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExpectedItems {
    OnePage,
    Items(usize),
    /// There are several pages without `remainingItemCount`, as with selectors.
    Unknown,
}

impl Listing {
    /// Whether all expected items arrived. False if their number is unknown.
    fn is_whole(&self) -> bool {
        match self.expected {
            ExpectedItems::OnePage => true,
            ExpectedItems::Items(items) => items == self.pods + self.unidentified,
            ExpectedItems::Unknown => false,
        }
    }

    /// Whether a deletion event of this pod is newer than the list.
    fn is_deleted(&self, uid: &str) -> bool {
        !self.deletions.is_empty() && self.deletions.contains_key(&Uid::from(uid))
    }

    /// Forgets deletions that the list already includes.
    fn keep_deletions_after(&mut self, version: &str) {
        self.deletions.retain(|_, deletion| !is_not_after(deletion, version));
    }

    /// Remembers a deletion event. False if there are too many of them.
    pub(super) fn note_deletion(&mut self, uid: &Uid, version: &str) -> bool {
        if self.version.as_deref().is_none_or(|list| !is_not_after(version, list)) {
            self.deletions.insert(uid.clone(), version.into());
        }
        self.deletions.len() <= DELETIONS_KEPT
    }

    /// An event has shown the pod again: it had left the selection and came back.
    pub(super) fn forget_deletion(&mut self, uid: &Uid) {
        self.deletions.remove(uid);
    }
}

/// Whether a version is known not to be after another.
fn is_not_after(version: &str, other: &str) -> bool {
    compare_resource_versions(version, other).is_some_and(|order| order.is_le())
}

impl Informer {
    pub(super) fn begin_list(&mut self, reason: RelistReason, now: Moment) {
        self.setup.metrics.relisted(reason);
        tracing::debug!(namespace = &*self.namespace, ?reason, "list begins");
        (self.list_at, self.relist_requested) = (None, false);
        self.newest.begin_list();
        self.list = Some(Listing {
            steps: self.source.list(self.paging),
            begun: now,
            version: None,
            expected: ExpectedItems::OnePage,
            pods: 0,
            unidentified: 0,
            deletions: HashMap::new(),
        });
    }

    pub(super) async fn take_step(&mut self, step: Option<ListStep>) -> Result<(), Stop> {
        let now = self.setup.clock.now();
        match step {
            Some(ListStep::Page(page)) => {
                self.note_alive(now);
                self.take_page(page, now).await
            }
            Some(ListStep::Failed(failed)) => self.list_failed(&failed, now).await,
            // The last page ends the list, so this is not reached.
            None => {
                self.drop_watch(RelistReason::Error, now);
                Ok(())
            }
        }
    }

    async fn list_failed(&mut self, failed: &FailedAttempt, now: Moment) -> Result<(), Stop> {
        let FailedAttempt { error, is_stuck, failures, retry_in, begins_again, paging } = failed;
        self.paging = *paging;
        if *begins_again {
            // Events may have arrived since the first request.
            self.newest.begin_list();
        }
        if error.status().is_some() {
            self.liveness.answers(now);
        }
        if let ListError::TooLarge(_) = error {
            tracing::info!(namespace = &*self.namespace, %error, "page too large; requesting fewer pods per page");
            return Ok(());
        }
        self.setup.metrics.watch_failed();
        let selects = self.setup.scope.label_selector.is_some() || self.setup.scope.fields().is_some();
        if error.status() == Some(400) && selects && !self.ever_listed {
            return Err(Stop::Refused(error.to_string()));
        }
        self.log_failure(&FailureReport {
            what: "list",
            cause: &error.to_string(),
            failures: *failures,
            retry_in: *retry_in,
            forbidden: error.status() == Some(403),
        });
        if *is_stuck {
            self.send(PodEvent::ListFailed { watch: self.watch }).await?;
        }
        Ok(())
    }

    async fn take_page(&mut self, page: PodPage, now: Moment) -> Result<(), Stop> {
        let PodPage { begun, version, items, is_first, next, remaining, is_consistent, paging } = page;
        self.paging = paging;
        if is_first && !self.first_page(&version, begun, now) {
            return Ok(());
        }
        let Some(list) = &mut self.list else { return Ok(()) };
        if is_first {
            list.expected = match (&next, remaining) {
                (None, _) => ExpectedItems::OnePage,
                (Some(_), Some(remaining)) => ExpectedItems::Items(items.len() + remaining),
                (Some(_), None) => ExpectedItems::Unknown,
            };
        }
        let uids = self.take_items(items);
        self.send(PodEvent::Page { watch: self.watch, uids, at: begun }).await?;
        if next.is_none() { self.listed(is_consistent, now).await } else { Ok(()) }
    }

    /// Starts the list in the store, unless its version is older than what was seen. False if the list is discarded.
    fn first_page(&mut self, version: &str, begun: Moment, now: Moment) -> bool {
        match self.newest.list(Some(version), now) {
            ListAge::Older => {
                let pause = self.older_backoff();
                let (namespace, retry_in_ms) = (&*self.namespace, pause.as_millis());
                tracing::warn!(namespace, retry_in_ms, "list is older than what was seen before; listing pods again");
                self.list = None;
                self.list_at = Some((now + pause, RelistReason::Stale));
                return false;
            }
            ListAge::Restored => {
                let namespace = &*self.namespace;
                tracing::warn!(
                    namespace,
                    "the cluster was restored to an earlier state; inferred deletions will be confirmed first"
                );
            }
            ListAge::Fresh => {}
        }
        let Some(list) = &mut self.list else { return false };
        (list.begun, list.pods, list.unidentified) = (begun, 0, 0);
        list.version = Some(version.to_owned());
        // Events may have shown later versions, even if their watch has ended by now. If versions cannot be compared,
        // the list would undo events. After a restore, pods with later versions would stay although they no longer
        // exist.
        let is_comparable = !self.newest.is_restoring() && compare_resource_versions(version, version).is_some();
        if is_comparable {
            list.keep_deletions_after(version);
        } else {
            self.events = None;
            list.deletions.clear();
        }
        self.writer.begin_list(is_comparable.then_some(version));
        true
    }

    /// Puts the items of a page into the store. Returns the pods that are new or changed.
    fn take_items(&mut self, items: Vec<Watched>) -> Vec<Uid> {
        let mut changed = Vec::new();
        for item in items {
            let is_deleted = self.list.as_ref().is_some_and(|list| item.uid().is_some_and(|uid| list.is_deleted(uid)));
            let pod = if is_deleted { None } else { self.pod(item) };
            let Some(list) = &mut self.list else { break };
            match pod {
                None if is_deleted => list.pods += 1,
                None => list.unidentified += 1,
                Some(pod) => {
                    list.pods += 1;
                    if self.writer.list_item(&pod) {
                        changed.push(pod.uid);
                    }
                }
            }
        }
        changed
    }

    async fn listed(&mut self, is_consistent: bool, now: Moment) -> Result<(), Stop> {
        let Some(list) = self.list.take() else { return Ok(()) };
        let (namespace, pods) = (&*self.namespace, list.pods);
        let is_whole = list.is_whole();
        if !is_consistent {
            tracing::warn!(
                namespace,
                "list expired and was finished at a later version; no deletions are inferred from it"
            );
        } else if !is_whole {
            let expected = list.expected;
            tracing::info!(namespace, ?expected, "list may be incomplete; inferred deletions will be confirmed first");
        }
        if is_consistent {
            self.writer.end_list();
        }
        self.log_list(pods, now);
        (self.ever_listed, self.older) = (true, 0);
        self.setup.health.watch_listed(self.watch);
        if self.watch_failures.failures() == 0 {
            self.log_recovery();
        }
        self.begin_watch(now);
        let is_restored = is_consistent && self.newest.completes_restore();
        let trusted = is_consistent && is_whole && !is_restored;
        let identified = is_consistent && list.unidentified == 0;
        self.request_not_before = now + self.paging.listed(identified, self.rng.u64(..));
        if self.relist_requested {
            self.list_at = Some((self.request_not_before, RelistReason::Requested));
        }
        let list = WatchList { begun: list.begun, pods, trusted, identified };
        self.send(PodEvent::Listed { watch: self.watch, list }).await
    }
}
