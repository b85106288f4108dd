//! The queue holds pod UIDs, not payloads. A payload is built when it is sent.

use std::collections::{BTreeSet, HashSet, VecDeque};

use crate::{
    model::{moment::Moment, uid::Uid, uid_map::UidMap},
    reconcile::ledger::{backlog::BacklogKind, pending::AttemptKind},
};

/// How urgent a key is, the most urgent first. Batches take the lanes in the order of [`OpenLanes`].
///
/// A lane keeps the order of its keys, except for `DeleteRetry` and `PutRetry`: the newest failure goes first, so that
/// a lost answer does not wait behind thousands of records that keep failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Deletions go first: a record of a pod that is gone does more harm than a missing record.
    Delete,
    /// Deletions that may have been applied.
    DeleteRetry,
    /// Records that may have been applied.
    PutRetry,
    /// Changes that a watch showed.
    Live,
    /// Records that are missing or uncertain by a resync.
    Backfill,
    /// Records that differ by a resync. Their rate is limited, as a new release may change all records.
    Rewrite,
    /// Deletions that failed more than once.
    DeletePersistent,
    /// Records that failed more than once.
    PutPersistent,
    /// Records that the registry rejected before the last resync.
    Rejected,
}

impl Lane {
    pub(super) fn of_deletion(attempt: AttemptKind) -> Self {
        match attempt {
            AttemptKind::First | AttemptKind::Rejected => Self::Delete,
            AttemptKind::Retry => Self::DeleteRetry,
            AttemptKind::Persistent => Self::DeletePersistent,
        }
    }

    /// The lane of a record; `first` is the one for a first attempt.
    pub(super) fn of_record(attempt: AttemptKind, first: Self) -> Self {
        match attempt {
            AttemptKind::First => first.max(Self::Live),
            AttemptKind::Retry => Self::PutRetry,
            AttemptKind::Persistent => Self::PutPersistent,
            AttemptKind::Rejected => Self::Rejected,
        }
    }

    pub(super) fn of(kind: BacklogKind) -> Self {
        match kind {
            BacklogKind::Backfill => Self::Backfill,
            BacklogKind::Rewrite => Self::Rewrite,
        }
    }

    /// The kind of attempt that the lane is for.
    pub(super) fn attempt(self) -> AttemptKind {
        match self {
            Self::Delete | Self::Live | Self::Backfill | Self::Rewrite => AttemptKind::First,
            Self::DeleteRetry | Self::PutRetry => AttemptKind::Retry,
            Self::DeletePersistent | Self::PutPersistent => AttemptKind::Persistent,
            Self::Rejected => AttemptKind::Rejected,
        }
    }
}

/// The lanes from which a batch may take keys, and their order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenLanes {
    pub(super) backfill: bool,
    pub(super) rewrites: bool,
    pub(super) retries: bool,
    /// The lanes of keys that failed more than once.
    pub(super) persistent: bool,
    pub(super) rejected: bool,
    pub(super) turn: RetryTurn,
    /// Whether retries of records go before retries of deletions.
    pub(super) records_first: bool,
}

/// Whether retries go before first attempts or after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RetryTurn {
    #[default]
    First,
    Last,
}

impl OpenLanes {
    fn lanes(self) -> impl Iterator<Item = Lane> {
        let order = |pair: [Lane; 2]| if self.records_first { [pair[1], pair[0]] } else { pair };
        let retries = self.retries.then(|| order([Lane::DeleteRetry, Lane::PutRetry])).into_iter().flatten();
        let persistent =
            self.persistent.then(|| order([Lane::DeletePersistent, Lane::PutPersistent])).into_iter().flatten();
        let retries = retries.chain(persistent);
        let (before, after) = match self.turn {
            RetryTurn::First => (Some(retries), None),
            RetryTurn::Last => (None, Some(retries)),
        };
        let backlog = self.backfill.then_some(Lane::Backfill).into_iter().chain(self.rewrites.then_some(Lane::Rewrite));
        let first_attempts = std::iter::once(Lane::Live).chain(backlog);
        std::iter::once(Lane::Delete)
            .chain(before.into_iter().flatten())
            .chain(first_attempts)
            .chain(after.into_iter().flatten())
            .chain(self.rejected.then_some(Lane::Rejected))
    }
}

const LANES: usize = 9;
/// Up to this number of leftovers, a lane is not searched for them.
const LEFTOVERS: usize = 64;
/// A lane with a capacity of no more than this is not shrunk.
const SHORT: usize = 8_192;

/// A keyed queue with lanes and delays.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: [VecDeque<Uid>; LANES],
    /// The lane of each key. Entries of a key in other lanes are leftovers and are skipped.
    places: UidMap<Lane>,
    /// The number of keys in each lane.
    counts: [usize; LANES],
    delayed: BTreeSet<(Moment, Uid)>,
    delays: UidMap<Moment>,
}

impl Queue {
    /// Queues a key, or moves it to a more urgent lane. The kind of attempt is the newest one: it depends on what is to
    /// be sent, which may have changed.
    pub(super) fn push(&mut self, uid: &Uid, lane: Lane) {
        self.undelay(uid);
        let stays = |place: &Lane| *place <= lane && place.attempt() == lane.attempt();
        if self.places.get(uid).is_some_and(stays) {
            return;
        }
        self.place(uid, lane);
        let entries = &mut self.lanes[lane as usize];
        match lane.attempt() {
            AttemptKind::Retry => entries.push_front(uid.clone()),
            _ => entries.push_back(uid.clone()),
        }
        self.drop_leftovers(lane);
    }

    /// Keys that come and go while nothing is taken leave entries behind, which must not add up.
    fn drop_leftovers(&mut self, lane: Lane) {
        let entries = &mut self.lanes[lane as usize];
        if entries.len() > 2 * self.places.len() + LEFTOVERS {
            let mut seen = HashSet::new();
            entries.retain(|uid| self.places.get(uid) == Some(&lane) && seen.insert(uid.clone()));
        }
    }

    /// Puts a key back to the front of its lane.
    pub(super) fn push_front(&mut self, uid: &Uid, lane: Lane) {
        self.place(uid, lane);
        self.lanes[lane as usize].push_front(uid.clone());
    }

    fn place(&mut self, uid: &Uid, lane: Lane) {
        self.counts[lane as usize] += 1;
        if let Some(before) = self.places.insert(uid, lane) {
            self.counts[before as usize] -= 1;
        }
    }

    fn unplace(&mut self, uid: &Uid) {
        if let Some(lane) = self.places.remove(uid) {
            self.counts[lane as usize] -= 1;
        }
    }

    /// Keeps a key out of the lanes until this moment.
    pub(super) fn delay(&mut self, uid: &Uid, until: Moment) {
        self.unplace(uid);
        self.undelay(uid);
        self.delays.insert(uid, until);
        self.delayed.insert((until, uid.clone()));
    }

    pub(super) fn remove(&mut self, uid: &Uid) {
        self.unplace(uid);
        self.undelay(uid);
    }

    fn undelay(&mut self, uid: &Uid) {
        if let Some(until) = self.delays.remove(uid) {
            self.delayed.remove(&(until, uid.clone()));
        }
    }

    /// Takes the keys whose delay is over.
    pub(super) fn due(&mut self, now: Moment) -> Vec<Uid> {
        let mut due = Vec::new();
        while self.delayed.first().is_some_and(|(until, _)| *until <= now) {
            let Some((_, uid)) = self.delayed.pop_first() else { break };
            self.delays.remove(&uid);
            due.push(uid);
        }
        due
    }

    /// When the next delay is over.
    pub(super) fn due_at(&self) -> Option<Moment> {
        self.delayed.first().map(|(until, _)| *until)
    }

    /// Takes the most urgent key of the lanes that may go.
    pub(super) fn pop(&mut self, open: OpenLanes) -> Option<(Uid, Lane)> {
        for lane in open.lanes() {
            while let Some(uid) = self.lanes[lane as usize].pop_front() {
                if self.places.get(&uid) == Some(&lane) {
                    self.unplace(&uid);
                    self.shrink(lane);
                    return Some((uid, lane));
                }
            }
            self.shrink(lane);
        }
        None
    }

    /// Gives memory back after a lane was long, as in an outage.
    fn shrink(&mut self, lane: Lane) {
        let entries = &mut self.lanes[lane as usize];
        if entries.capacity() > SHORT.max(4 * entries.len()) {
            entries.shrink_to(2 * entries.len());
        }
    }

    pub(super) fn has_ready(&self, lanes: &[Lane]) -> bool {
        lanes.iter().any(|lane| self.ready(*lane) > 0)
    }

    /// The number of keys in a lane.
    pub(super) fn ready(&self, lane: Lane) -> usize {
        self.counts[lane as usize]
    }

    /// The number of entries in memory, leftovers included.
    pub(super) fn entries(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum::<usize>() + self.delayed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: OpenLanes = OpenLanes {
        backfill: true,
        rewrites: true,
        retries: true,
        persistent: true,
        rejected: true,
        turn: RetryTurn::First,
        records_first: false,
    };

    fn pop_all(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(ALL)).map(|(uid, _)| uid.to_string()).collect()
    }

    #[test]
    fn lanes_go_by_urgency_and_keys_by_age() {
        let mut queue = Queue::default();
        for (uid, lane) in
            [("w", Lane::Rewrite), ("b", Lane::Backfill), ("l1", Lane::Live), ("l2", Lane::Live), ("d", Lane::Delete)]
        {
            queue.push(&uid.into(), lane);
        }
        assert_eq!(pop_all(&mut queue), ["d", "l1", "l2", "b", "w"]);
    }

    #[test]
    fn key_is_queued_once_in_most_urgent_lane() {
        let mut queue = Queue::default();
        for lane in [Lane::Rewrite, Lane::Live, Lane::Backfill, Lane::Live, Lane::Delete] {
            queue.push(&"a".into(), lane);
        }
        assert_eq!(queue.pop(ALL), Some(("a".into(), Lane::Delete)));
        assert_eq!(queue.pop(ALL), None);
    }

    #[test]
    fn delayed_key_waits_until_due_or_pushed() {
        let mut queue = Queue::default();
        queue.push(&"a".into(), Lane::Live);
        queue.delay(&"a".into(), Moment::from_secs(5));
        assert_eq!((queue.pop(ALL), queue.due_at()), (None, Some(Moment::from_secs(5))));
        assert_eq!(queue.due(Moment::from_secs(4)), []);
        queue.delay(&"a".into(), Moment::from_secs(9));
        assert_eq!(queue.due(Moment::from_secs(5)), [], "the later delay replaced the earlier one");
        queue.push(&"a".into(), Lane::Live);
        assert_eq!(queue.due(Moment::from_secs(99)), []);
        assert_eq!(pop_all(&mut queue), ["a"]);
    }

    #[test]
    fn removed_keys_leave_no_memory_behind() {
        let mut queue = Queue::default();
        queue.push(&"stays".into(), Lane::Live);
        for _ in 0..10_000 {
            queue.push(&"a".into(), Lane::Live);
            queue.remove(&"a".into());
        }
        assert!(queue.lanes[Lane::Live as usize].len() < 200);
        assert_eq!(pop_all(&mut queue), ["stays"]);
    }

    #[test]
    fn shrunken_lane_gives_its_memory_back() {
        let mut queue = Queue::default();
        (0..100_000).for_each(|n| queue.push(&n.to_string().into(), Lane::Live));
        let most = queue.lanes[Lane::Live as usize].capacity();
        while queue.ready(Lane::Live) > 10_000 {
            queue.pop(ALL);
        }
        assert!(queue.lanes[Lane::Live as usize].capacity() < most / 2);
        (90_000..100_000).for_each(|n| queue.remove(&n.to_string().into()));
        assert_eq!(queue.pop(ALL), None);
        assert_eq!(queue.entries(), 0);
        assert!(queue.lanes[Lane::Live as usize].capacity() <= SHORT);
    }

    #[test]
    fn rewrites_wait_until_they_are_allowed() {
        let mut queue = Queue::default();
        queue.push(&"a".into(), Lane::Rewrite);
        assert_eq!(queue.pop(OpenLanes { rewrites: false, ..ALL }), None);
        assert!(queue.has_ready(&[Lane::Rewrite]) && !queue.has_ready(&[Lane::Live, Lane::Backfill]));
        queue.remove(&"a".into());
        assert!(!queue.has_ready(&[Lane::Rewrite]), "what was left behind is not ready");
        assert_eq!(queue.pop(ALL), None);
    }

    #[test]
    fn retries_wait_for_budget_but_first_attempts_pass() {
        let keys = [
            ("x", Lane::Rejected),
            ("r", Lane::PutPersistent),
            ("s", Lane::DeletePersistent),
            ("p", Lane::PutRetry),
            ("q", Lane::DeleteRetry),
            ("l", Lane::Live),
            ("d", Lane::Delete),
        ];
        let order = |open: OpenLanes| {
            let mut queue = Queue::default();
            keys.iter().for_each(|(uid, lane)| queue.push(&Uid::from(*uid), *lane));
            std::iter::from_fn(|| queue.pop(open)).map(|(uid, _)| uid.to_string()).collect::<String>()
        };
        assert_eq!(order(OpenLanes { retries: false, persistent: false, rejected: false, ..ALL }), "dl");
        assert_eq!(order(ALL), "dqpsrlx");
        assert_eq!(order(OpenLanes { turn: RetryTurn::Last, ..ALL }), "dlqpsrx");
        assert_eq!(order(OpenLanes { persistent: false, ..ALL }), "dqplx");
        assert_eq!(
            order(OpenLanes { records_first: true, ..ALL }),
            "dpqrslx",
            "deletions that always fail starve no record"
        );
    }

    #[test]
    fn newest_failure_is_retried_first() {
        let mut queue = Queue::default();
        for uid in ["old", "new"] {
            queue.push(&uid.into(), Lane::PutRetry);
        }
        assert_eq!(pop_all(&mut queue), ["new", "old"]);
    }

    #[test]
    fn key_moves_between_first_attempts_and_retries() {
        let (mut queue, first) = (Queue::default(), OpenLanes { retries: false, ..ALL });
        queue.push(&"a".into(), Lane::DeleteRetry);
        queue.push(&"a".into(), Lane::Live);
        queue.push(&"b".into(), Lane::Live);
        queue.push(&"b".into(), Lane::PutRetry);
        assert_eq!(queue.pop(first), Some(("a".into(), Lane::Live)));
        assert_eq!(queue.pop(first), None);
        assert_eq!(queue.pop(ALL), Some(("b".into(), Lane::PutRetry)));
        assert_eq!(queue.pop(ALL), None);
    }
}
