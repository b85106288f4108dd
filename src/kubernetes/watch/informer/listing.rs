//! The informer's list side: pages go into the store as they arrive, and a complete list starts the watch.

use std::collections::HashMap;

use super::{reports::FailureReport, *};
use crate::{
    kubernetes::watch::list::{Error as ListError, FailedAttempt, ListStep, PodPage},
    model::uid::Uid,
    reconcile::{freshness::ListAge, pod_event::WatchList},
};

/// Ends that are remembered while a list comes in. Beyond it, the watch pauses until the list is complete.
const ENDS_KEPT: usize = 50_000;

/// A list that comes in.
pub(super) struct Listing {
    pub(super) steps: BoxStream<'static, ListStep>,
    begun: Moment,
    /// The version that it shows.
    version: Option<String>,
    announced: Announced,
    pods: usize,
    unidentified: usize,
    /// Pods whose end an event has shown since the list was begun, and the versions of those events.
    ends: HashMap<Uid, Box<str>>,
}

/// How many items the pages of a list have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    OnePage,
    Items(usize),
    /// There are several pages, and the server does not say.
    Unknown,
}

impl Listing {
    /// Whether as many pods came in as were announced, where it can be told.
    fn is_whole(&self) -> bool {
        match self.announced {
            Announced::OnePage => true,
            Announced::Items(items) => items == self.pods + self.unidentified,
            Announced::Unknown => false,
        }
    }

    /// Whether an event has shown the end of this pod after the list's version.
    fn is_ended(&self, uid: &str) -> bool {
        !self.ends.is_empty() && self.ends.contains_key(&Uid::from(uid))
    }

    /// Forgets ends that the list itself shows.
    fn keep_ends_after(&mut self, version: &str) {
        self.ends.retain(|_, end| !is_up_to(end, version));
    }

    /// An event has shown the end of a pod. False if there are too many of them.
    pub(super) fn ended(&mut self, uid: &Uid, version: &str) -> bool {
        if self.version.as_deref().is_none_or(|list| !is_up_to(version, list)) {
            self.ends.insert(uid.clone(), version.into());
        }
        self.ends.len() <= ENDS_KEPT
    }

    /// An event has shown a pod, which may have ended before: it was selected again.
    pub(super) fn shown(&mut self, uid: &Uid) {
        self.ends.remove(uid);
    }
}

/// Whether a version is known not to be after another.
fn is_up_to(version: &str, other: &str) -> bool {
    compare_resource_versions(version, other).is_some_and(|order| order.is_le())
}

impl Informer {
    pub(super) fn begin_list(&mut self, reason: RelistReason, now: Moment) {
        self.setup.metrics.relisted(reason);
        tracing::debug!(namespace = &*self.namespace, ?reason, "list begins");
        (self.list_at, self.again) = (None, false);
        self.newest.begin_list();
        self.list = Some(Listing {
            steps: self.source.list(self.paging),
            begun: now,
            version: None,
            announced: Announced::OnePage,
            pods: 0,
            unidentified: 0,
            ends: HashMap::new(),
        });
    }

    pub(super) async fn take_step(&mut self, step: Option<ListStep>) -> Result<(), Stop> {
        let now = self.setup.clock.now();
        match step {
            Some(ListStep::Page(page)) => {
                self.is_alive(now);
                self.take_page(page, now).await
            }
            Some(ListStep::Failed(failed)) => self.list_failed(&failed, now).await,
            // It ends with its last page only.
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
            // Events may have been applied since the first request.
            self.newest.begin_list();
        }
        if error.status().is_some() {
            self.liveness.answers(now);
        }
        if let ListError::TooLarge(_) = error {
            tracing::info!(namespace = &*self.namespace, %error, "page too large; asking for fewer pods");
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
            self.tell(PodEvent::ListFailed { watch: self.watch }).await?;
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
            list.announced = match (&next, remaining) {
                (None, _) => Announced::OnePage,
                (Some(_), Some(remaining)) => Announced::Items(items.len() + remaining),
                (Some(_), None) => Announced::Unknown,
            };
        }
        let uids = self.take_items(items);
        self.tell(PodEvent::Page { watch: self.watch, uids, at: begun }).await?;
        if next.is_none() { self.listed(is_consistent, now).await } else { Ok(()) }
    }

    /// The first page of a list: one that is older than what was seen must not reach the store. False if it is discarded.
    fn first_page(&mut self, version: &str, begun: Moment, now: Moment) -> bool {
        match self.newest.list(Some(version), now) {
            ListAge::Older => {
                let pause = self.older_backoff();
                let (namespace, retry_in_ms) = (&*self.namespace, pause.as_millis());
                tracing::warn!(namespace, retry_in_ms, "list is older than what was seen before; listing again");
                self.list = None;
                self.list_at = Some((now + pause, RelistReason::Stale));
                return false;
            }
            ListAge::Restored => {
                let namespace = &*self.namespace;
                tracing::warn!(namespace, "the cluster has gone back in time; deletions will be confirmed first");
            }
            ListAge::Fresh => {}
        }
        let Some(list) = &mut self.list else { return false };
        (list.begun, list.pods, list.unidentified) = (begun, 0, 0);
        list.version = Some(version.to_owned());
        // Events may have shown later versions, even if their watch has ended by now. Where the versions cannot be compared,
        // the list would undo events, and it would keep pods of a time before the cluster was restored.
        let is_comparable = !self.newest.is_restoring() && compare_resource_versions(version, version).is_some();
        if is_comparable {
            list.keep_ends_after(version);
        } else {
            self.events = None;
            list.ends.clear();
        }
        self.writer.begin_list(is_comparable.then_some(version));
        true
    }

    /// Puts the items of a page into the store. Gives the pods that are new or were changed by it.
    fn take_items(&mut self, items: Vec<Watched>) -> Vec<Uid> {
        let mut changed = Vec::new();
        for item in items {
            let is_ended = self.list.as_ref().is_some_and(|list| item.uid().is_some_and(|uid| list.is_ended(uid)));
            let pod = if is_ended { None } else { self.pod(item) };
            let Some(list) = &mut self.list else { break };
            match pod {
                None if is_ended => list.pods += 1,
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
            tracing::warn!(namespace, "list expired and was finished at a later version; it proves no deletion");
        } else if !is_whole {
            let announced = list.announced;
            tracing::info!(namespace, ?announced, "list may lack pages; what it lacks will be confirmed first");
        }
        if is_consistent {
            self.writer.end_list();
        }
        self.log_list(pods, now);
        (self.ever_listed, self.older) = (true, 0);
        self.setup.health.watch_listed(self.watch);
        if self.ends.failures() == 0 {
            self.log_recovery();
        }
        self.begin_watch(now);
        let is_restored = is_consistent && self.newest.completes_restore();
        let trusted = is_consistent && is_whole && !is_restored;
        let identified = is_consistent && list.unidentified == 0;
        self.ask_again_at = now + self.paging.listed(identified, self.rng.u64(..));
        if self.again {
            self.list_at = Some((self.ask_again_at, RelistReason::Requested));
        }
        let list = WatchList { begun: list.begun, pods, trusted, identified };
        self.tell(PodEvent::Listed { watch: self.watch, list }).await
    }
}
