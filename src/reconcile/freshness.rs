//! Detects lists and events that are older than what was seen before, and a cluster that was restored from a backup.

use std::{cmp::Ordering, time::Duration};

use crate::model::{ids::compare_resource_versions, moment::Moment};

/// The cluster counts as restored from a backup after this number of older lists in a row.
const RESTORED_LISTS: u32 = 3;
/// The least time from the first to the last of these lists.
const RESTORED_AFTER: Duration = Duration::from_secs(60);

/// The age of a list compared with what was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListAge {
    /// Not older, as far as versions can be compared.
    Fresh,
    /// Older: it is discarded and requested again.
    Older,
    /// Older repeatedly: the cluster was restored from a backup. The list counts, but deletions inferred from it are
    /// guarded.
    Restored,
}

/// The newest resource version that was seen.
///
/// A list may come in while events go on. It is old if it is older than the newest version when it began: later events
/// may overtake it. Events are compared only with each other: those of a lagging watch may be older than the list.
#[derive(Debug, Default)]
pub struct NewestVersion {
    /// The newest of lists and events.
    version: Option<String>,
    /// The newest event of the current watch, or the version that it started from.
    event: Option<String>,
    /// The newest version when the list began.
    before: Option<String>,
    /// The newest version of the rest of a list. A watch starts before it, because the first pages are older.
    rest: Option<String>,
    /// Older lists in a row, and when the first came.
    older_lists: Option<(u32, Moment)>,
    /// Set from a detected restore until the next complete list.
    restored: bool,
}

impl NewestVersion {
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Notes an event. Returns false if it is older than an earlier one of this watch.
    pub fn event(&mut self, version: &str) -> bool {
        if is_older(version, self.event.as_deref()) {
            return false;
        }
        self.event = Some(version.to_owned());
        if !is_older(version, self.version.as_deref()) {
            self.version = Some(version.to_owned());
        }
        true
    }

    /// The first page of a list is requested.
    pub fn begin_list(&mut self) {
        let rest = self.rest.as_deref().filter(|rest| !is_older(rest, self.version.as_deref()));
        self.before = rest.or(self.version.as_deref()).map(str::to_owned);
    }

    /// The first pages of a list expired. Its next pages show pods of this later version.
    pub fn rest_of_list(&mut self, version: &str) {
        if !is_older(version, self.rest.as_deref()) {
            self.rest = Some(version.to_owned());
        }
    }

    /// Notes a list as soon as its version is known.
    pub fn list(&mut self, version: Option<&str>, now: Moment) -> ListAge {
        let Some(version) = version else { return ListAge::Fresh };
        if !is_older(version, self.before.as_deref()) {
            self.older_lists = None;
            if !is_older(version, self.version.as_deref()) {
                self.version = Some(version.to_owned());
            }
            return ListAge::Fresh;
        }
        let (before, first) = self.older_lists.unwrap_or((0, now));
        let lists = before + 1;
        self.older_lists = Some((lists, first));
        if lists >= RESTORED_LISTS && now >= first + RESTORED_AFTER {
            *self = Self { version: Some(version.to_owned()), restored: true, ..Self::default() };
            return ListAge::Restored;
        }
        ListAge::Older
    }

    /// Whether the cluster was restored and no list has completed since. Versions from before may be higher than
    /// present ones, and say nothing against a list.
    pub fn is_restoring(&self) -> bool {
        self.restored
    }

    /// The list is complete. Returns true for the first one after a restore: deletions inferred from it are guarded.
    /// That is not always the list that detected the restore, which may have failed.
    pub fn completes_restore(&mut self) -> bool {
        std::mem::take(&mut self.restored)
    }

    /// A watch begins. Returns the version that it starts from: that of the list, or of an event that has overtaken it.
    pub fn begin_watch(&mut self) -> Option<String> {
        self.event.clone_from(&self.version);
        self.version.clone()
    }
}

fn is_older(version: &str, than: Option<&str>) -> bool {
    than.is_some_and(|than| compare_resource_versions(version, than) == Some(Ordering::Less))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    #[test]
    fn only_an_older_event_counts_as_stale() {
        // An event of an equal or incomparable version does not.
        let mut newest = NewestVersion::default();
        assert!(newest.event("9") && newest.event("10") && newest.event("10") && !newest.event("9"));
        assert!(newest.event("opaque") && newest.event("3"), "incomparable versions are not older");
    }

    /// A list without events between its request and its first page.
    fn list(newest: &mut NewestVersion, version: &str, now: Moment) -> ListAge {
        newest.begin_list();
        newest.list(Some(version), now)
    }

    #[test]
    fn list_overtaken_by_events_is_fresh() {
        let mut newest = NewestVersion::default();
        assert!(list(&mut newest, "10", at(0)) == ListAge::Fresh && newest.begin_watch().as_deref() == Some("10"));
        assert!(newest.event("12"));
        newest.begin_list();
        assert!(newest.event("15"));
        assert_eq!(newest.list(Some("13"), at(1)), ListAge::Fresh);
        assert!(newest.event("16"));
        assert_eq!(newest.begin_watch().as_deref(), Some("16"), "it starts from the newest event");
        assert!(!newest.event("14"));
    }

    #[test]
    fn restarted_list_may_not_go_back() {
        let mut newest = NewestVersion::default();
        newest.begin_list();
        assert!(newest.event("20"));
        newest.begin_list();
        assert_eq!(newest.list(Some("19"), at(1)), ListAge::Older);
    }

    #[test]
    fn rest_of_a_list_counts_as_seen() {
        // The first pages are of version 10, the others of version 20.
        let mut newest = NewestVersion::default();
        list(&mut newest, "10", at(0));
        newest.rest_of_list("20");
        assert_eq!(newest.begin_watch().as_deref(), Some("10"), "it shows what the first pages do not");
        assert_eq!(list(&mut newest, "19", at(1)), ListAge::Older);
        assert!(newest.event("15") && newest.event("21"));
        assert_eq!(list(&mut newest, "20", at(2)), ListAge::Older, "the event is newer");
    }

    #[test]
    fn lagging_watch_may_be_behind_the_list() {
        let mut newest = NewestVersion::default();
        list(&mut newest, "10", at(0));
        newest.begin_watch();
        assert_eq!(list(&mut newest, "20", at(1)), ListAge::Fresh);
        assert!(newest.event("11") && newest.event("15") && !newest.event("14"));
        assert_eq!(newest.begin_watch().as_deref(), Some("20"));
    }

    #[test]
    fn older_lists_count_as_restore_after_a_minute() {
        // Until then, an older list is requested again.
        let mut newest = NewestVersion::default();
        assert_eq!(list(&mut newest, "100", at(0)), ListAge::Fresh);
        for secs in [1, 20, 40] {
            assert_eq!(list(&mut newest, "50", at(secs)), ListAge::Older, "{secs}");
        }
        assert_eq!(list(&mut newest, "50", at(61)), ListAge::Restored);
        assert_eq!(list(&mut newest, "50", at(62)), ListAge::Fresh);
        assert_eq!(newest.list(None, at(63)), ListAge::Fresh, "a list without a version counts as fresh");
    }

    #[test]
    fn restore_outlives_a_list_that_breaks_off() {
        // The next list still counts as one of a restored cluster.
        let mut newest = NewestVersion::default();
        list(&mut newest, "100", at(0));
        assert!(!newest.completes_restore());
        for secs in [1, 20, 61] {
            list(&mut newest, "50", at(secs));
        }
        assert_eq!(list(&mut newest, "51", at(62)), ListAge::Fresh, "the one before broke off");
        assert!(newest.is_restoring());
        assert_eq!((newest.completes_restore(), newest.completes_restore()), (true, false), "once");
        assert!(!newest.is_restoring());
    }

    #[test]
    fn fresh_list_clears_the_suspected_restore() {
        let mut newest = NewestVersion::default();
        list(&mut newest, "100", at(0));
        list(&mut newest, "50", at(1));
        list(&mut newest, "101", at(2));
        assert_eq!(list(&mut newest, "50", at(70)), ListAge::Older);
        assert_eq!(list(&mut newest, "50", at(71)), ListAge::Older);
    }
}
