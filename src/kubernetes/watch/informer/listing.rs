//! The lists of an informer: when the next one begins, how it is paged, and which pods it may not bring back.

use std::{collections::HashMap, time::Duration};

use futures::{StreamExt, stream::BoxStream};

use crate::{
    kubernetes::watch::list::{Error as ListError, FailedAttempt, ListSource, ListStep, PodPage},
    model::{ids::compare_resource_versions, moment::Moment, uid::Uid},
    reconcile::{
        freshness::{ListAge, NewestVersion},
        paging::Paging,
        pod_event::WatchList,
        retry,
    },
    telemetry::{health::ListRead, metrics::labels::RelistReason},
};

/// Deletion events that are remembered while a list runs. After more of them, the watch pauses until the list is
/// complete.
const DELETIONS_KEPT: usize = 50_000;
/// Delays after lists that are older than what was seen before: the first, and the longest. A lagging server catches up
/// soon, a restored one never.
const OLDER_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));

/// The list that runs, and the schedule of the next one.
pub(super) struct Listing {
    source: ListSource,
    running: Option<RunningList>,
    /// When the next list begins, and why.
    next: Option<(Moment, RelistReason)>,
    /// Whether a re-list was requested after the running list began.
    requested: bool,
    /// A requested re-list does not begin before this.
    request_not_before: Moment,
    interval: Duration,
    /// When a list begins without a request.
    interval_ends_at: Moment,
    ever_listed: bool,
    paging: Paging,
    /// Number of lists in a row that were older than what was seen.
    older: u32,
    rng: fastrand::Rng,
}

struct RunningList {
    steps: BoxStream<'static, ListStep>,
    begun: Moment,
    /// Known after the first page.
    version: Option<String>,
    expected: ExpectedItems,
    items: ItemCounts,
    /// Pods with a deletion event since the list began, and the versions of these events.
    deletions: HashMap<Uid, Box<str>>,
}

/// The number of items in all pages, from the first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExpectedItems {
    OnePage,
    Items(usize),
    /// There are several pages without `remainingItemCount`, as with selectors.
    Unknown,
}

#[derive(Clone, Copy, Default)]
pub(super) struct ItemCounts {
    pub(super) pods: usize,
    /// Number of items without a valid UID.
    pub(super) unidentified: usize,
}

/// What follows the first page of a list.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstPage {
    /// The list is older than what was seen when it began. Another list begins after this time.
    Discarded { retry_in: Duration },
    /// The list is merged with the events since it began.
    Merged,
    /// Versions cannot be compared, so events cannot be merged: the list replaces the watch and the store.
    Replaces,
    /// The same, because the cluster was restored to an earlier state.
    Restored,
}

/// What follows a failed attempt to get a page.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptEffect {
    /// The page is requested again with fewer pods.
    FewerPods,
    /// The API server rejects the selectors of the first list.
    SelectorsRejected,
    Retry,
}

/// A list whose last page arrived.
#[must_use]
pub(super) struct FinishedList {
    pub(super) list: WatchList,
    pub(super) wholeness: Wholeness,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wholeness {
    Whole,
    /// Some of the expected items are missing, or their number is unknown.
    Unsure(ExpectedItems),
    /// Its pages have several versions.
    Inconsistent,
}

impl Listing {
    /// The first list begins at once.
    pub(super) fn new(source: ListSource, interval: Duration, rng: fastrand::Rng, now: Moment) -> Self {
        Self {
            source,
            running: None,
            next: Some((now, RelistReason::Start)),
            requested: false,
            request_not_before: now,
            interval,
            interval_ends_at: now,
            ever_listed: false,
            paging: Paging::default(),
            older: 0,
            rng,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether a list neither runs nor has a time to begin.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.next.is_none()
    }

    pub(super) fn due_at(&self) -> Option<Moment> {
        self.next.map(|(at, _)| at)
    }

    /// Why a list is due. None if it is not.
    pub(super) fn due(&self, now: Moment) -> Option<RelistReason> {
        self.next.filter(|(at, _)| now >= *at).map(|(_, reason)| reason)
    }

    /// Whether the last list is older than the re-list interval.
    pub(super) fn is_interval_over(&self, now: Moment) -> bool {
        now >= self.interval_ends_at
    }

    /// Schedules a list, unless one runs.
    pub(super) fn schedule(&mut self, reason: RelistReason, at: Moment) {
        if self.running.is_none() {
            self.next = Some((at, reason));
        }
    }

    /// The event loop requests a list that begins from now on.
    pub(super) fn request(&mut self, now: Moment) {
        if self.running.is_some() {
            self.requested = true;
        } else if self.next.is_none() {
            self.next = Some((now.max(self.request_not_before), RelistReason::Requested));
        }
    }

    pub(super) fn begin(&mut self, now: Moment) {
        (self.next, self.requested) = (None, false);
        self.running = Some(RunningList {
            steps: self.source.list(self.paging),
            begun: now,
            version: None,
            expected: ExpectedItems::OnePage,
            items: ItemCounts::default(),
            deletions: HashMap::new(),
        });
    }

    pub(super) fn discard(&mut self) {
        self.running = None;
    }

    /// The next page or failure of the running list. Pending if no list runs.
    pub(super) async fn next_step(&mut self) -> Option<ListStep> {
        match &mut self.running {
            Some(list) => list.steps.next().await,
            None => std::future::pending().await,
        }
    }

    /// Decides what follows a failed attempt.
    pub(super) fn attempt_failed(&mut self, failed: &FailedAttempt) -> AttemptEffect {
        self.paging = failed.paging;
        let has_selectors = self.source.label_selector.is_some() || self.source.field_selector.is_some();
        match &failed.error {
            ListError::TooLarge(_) => AttemptEffect::FewerPods,
            error if error.status() == Some(400) && has_selectors && !self.ever_listed => {
                AttemptEffect::SelectorsRejected
            }
            _ => AttemptEffect::Retry,
        }
    }

    pub(super) fn page_arrived(&mut self, page: &PodPage) {
        self.paging = page.paging;
    }

    /// Compares the list with what was seen before.
    pub(super) fn first_page(&mut self, page: &PodPage, newest: &mut NewestVersion, now: Moment) -> FirstPage {
        let age = newest.list(Some(&page.version), now);
        if age == ListAge::Older {
            let retry_in = self.older_backoff();
            self.discard();
            self.schedule(RelistReason::Stale, now + retry_in);
            return FirstPage::Discarded { retry_in };
        }
        // Events may have shown later versions, even if their watch has ended by now. If versions cannot be compared,
        // the list would undo events. After a restore, pods with later versions would stay although they no longer
        // exist.
        let version = &*page.version;
        let is_comparable = !newest.is_restoring() && compare_resource_versions(version, version).is_some();
        if let Some(list) = &mut self.running {
            list.first_page(page, is_comparable);
        }
        match age {
            ListAge::Restored => FirstPage::Restored,
            _ if is_comparable => FirstPage::Merged,
            _ => FirstPage::Replaces,
        }
    }

    /// The delay before the next list after one that is older than what was seen.
    pub(super) fn older_backoff(&mut self) -> Duration {
        self.older = self.older.saturating_add(1);
        retry::backoff(OLDER_BACKOFF.0, OLDER_BACKOFF.1, self.older, self.rng.u64(..))
    }

    pub(super) fn count(&mut self, items: ItemCounts) {
        if let Some(list) = &mut self.running {
            list.items.pods += items.pods;
            list.items.unidentified += items.unidentified;
        }
    }

    /// How far the running list is. Without a number from the API server, it is expected to have as many pods as
    /// `before`.
    pub(super) fn progress(&self, before: usize, now: Moment) -> Option<ListRead> {
        let list = self.running.as_ref()?;
        let done = list.items.pods + list.items.unidentified;
        let expected = match list.expected {
            ExpectedItems::Items(items) => items,
            ExpectedItems::OnePage | ExpectedItems::Unknown => before,
        };
        let total = Some(expected as u64).filter(|_| expected > done);
        Some(ListRead { elapsed: now.since(list.begun), done: done as u64, total })
    }

    /// Whether a deletion event of this pod is newer than the running list.
    pub(super) fn is_deleted(&self, uid: &str) -> bool {
        self.running.as_ref().is_some_and(|list| list.is_deleted(uid))
    }

    /// Remembers a deletion that the running list may not include. False if there are too many of them.
    pub(super) fn note_deletion(&mut self, uid: &Uid, version: &str) -> bool {
        self.running.as_mut().is_none_or(|list| list.note_deletion(uid, version))
    }

    /// An event has shown the pod again: it had left the selection and came back.
    pub(super) fn forget_deletion(&mut self, uid: &Uid) {
        if let Some(list) = &mut self.running {
            list.deletions.remove(uid);
        }
    }

    /// The last page arrived. Schedules the next list. None if no list ran.
    pub(super) fn complete(
        &mut self,
        is_consistent: bool,
        newest: &mut NewestVersion,
        now: Moment,
    ) -> Option<FinishedList> {
        let list = self.running.take()?;
        (self.ever_listed, self.older) = (true, 0);
        self.interval_ends_at = now + self.interval.mul_f64(0.9 + 0.2 * self.rng.f64());
        let wholeness = match is_consistent {
            false => Wholeness::Inconsistent,
            true if list.is_whole() => Wholeness::Whole,
            true => Wholeness::Unsure(list.expected),
        };
        let is_restored = is_consistent && newest.completes_restore();
        let trusted = wholeness == Wholeness::Whole && !is_restored;
        let identified = is_consistent && list.items.unidentified == 0;
        self.request_not_before = now + self.paging.listed(identified, self.rng.u64(..));
        if self.requested {
            self.next = Some((self.request_not_before, RelistReason::Requested));
        }
        let list = WatchList { begun: list.begun, pods: list.items.pods, trusted, identified };
        Some(FinishedList { list, wholeness })
    }
}

impl RunningList {
    /// The first page, perhaps of another attempt.
    fn first_page(&mut self, page: &PodPage, is_comparable: bool) {
        self.begun = page.begun;
        self.items = ItemCounts::default();
        self.version = Some(page.version.clone());
        self.expected = match (&page.next, page.remaining) {
            (None, _) => ExpectedItems::OnePage,
            (Some(_), Some(remaining)) => ExpectedItems::Items(page.items.len() + remaining),
            (Some(_), None) => ExpectedItems::Unknown,
        };
        if is_comparable {
            // The list includes the earlier deletions.
            self.deletions.retain(|_, deletion| !is_not_after(deletion, &page.version));
        } else {
            self.deletions.clear();
        }
    }

    /// Whether all expected items arrived. False if their number is unknown.
    fn is_whole(&self) -> bool {
        match self.expected {
            ExpectedItems::OnePage => true,
            ExpectedItems::Items(items) => items == self.items.pods + self.items.unidentified,
            ExpectedItems::Unknown => false,
        }
    }

    fn is_deleted(&self, uid: &str) -> bool {
        !self.deletions.is_empty() && self.deletions.contains_key(&Uid::from(uid))
    }

    fn note_deletion(&mut self, uid: &Uid, version: &str) -> bool {
        if self.version.as_deref().is_none_or(|list| !is_not_after(version, list)) {
            self.deletions.insert(uid.clone(), version.into());
        }
        self.deletions.len() <= DELETIONS_KEPT
    }
}

/// Whether a version is known not to be after another.
fn is_not_after(version: &str, other: &str) -> bool {
    compare_resource_versions(version, other).is_some_and(|order| order.is_le())
}
