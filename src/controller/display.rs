//! What people see of a target besides its state: the last acknowledged changes, the last answers, and the names of
//! records.
//!
//! Finding the names of a record takes time. So acknowledged keys are only kept at first, and get their names once per
//! second; those of held records are looked up once per hold.

use std::collections::VecDeque;

use tokio::sync::watch;

use super::{
    explain::RecordAnswer,
    report::{Counted, FailedRecord},
};
use crate::{
    model::{label::RecordLabel, moment::Moment, recent::Recent, uid::Uid},
    reconcile::{
        absence::hold::HoldSummary,
        activity::{AcknowledgedChange, Activity, CHANGES_SHOWN, RefusedRecord, Work, WorkKind},
        ledger::{Ledger, pending::Pending},
        outcome::OperationKind,
        progress::{Drain, WorkProgress},
    },
};

/// Answers to keep, at least. Each takes less than 400 bytes.
const ANSWERS_KEPT: usize = 500;
/// Characters of a cause that is kept.
const CAUSE_CHARS: usize = 256;

pub(super) struct Display {
    sender: watch::Sender<Activity>,
    changes: Changes,
    /// The last answers about records, by their keys, without those that were a success since.
    answers: Recent<KeptAnswer>,
    holds: NamedHolds,
}

struct KeptAnswer {
    outcome: &'static str,
    cause: Box<str>,
    at: Moment,
}

/// The holds as they were last shown.
#[derive(Default)]
struct NamedHolds {
    of_guard: Vec<HoldSummary>,
    named: Vec<HoldSummary>,
}

impl Display {
    pub(super) fn new(sender: watch::Sender<Activity>) -> Self {
        Self { sender, changes: Changes::default(), answers: Recent::default(), holds: NamedHolds::default() }
    }

    pub(super) fn acknowledged(&mut self, key: Uid, kind: OperationKind, now: Moment) {
        self.changes.acknowledged(key, kind, now);
    }

    /// Something went wrong with a record.
    pub(super) fn note(&mut self, failed: &FailedRecord, at: Moment) {
        let FailedRecord { key, fault, cause, .. } = failed;
        let cause = cause.chars().take(CAUSE_CHARS).collect();
        self.answers.insert(key, KeptAnswer { outcome: (*fault).into(), cause, at }, ANSWERS_KEPT);
    }

    /// The operation on a record is over. A success makes earlier answers irrelevant.
    pub(super) fn settled(&mut self, key: &Uid, ledger: &Ledger) {
        let is_failing = |pending: &Pending| {
            let attempts = pending.attempts();
            attempts.failures > 0 || attempts.parked.is_some() || attempts.tried.is_some()
        };
        if !ledger.pending(key).is_some_and(is_failing) {
            self.answers.remove(key);
        }
    }

    pub(super) fn last_answer(&self, key: &Uid, now: Moment) -> Option<RecordAnswer> {
        let KeptAnswer { outcome, cause, at } = self.answers.get(key)?;
        Some(RecordAnswer { outcome, cause: cause.to_string(), age: now.since(*at) })
    }

    /// The holds of the guard, with names for the records that they show.
    pub(super) fn holds(
        &mut self,
        of_guard: Vec<HoldSummary>,
        label: &dyn Fn(&Uid) -> RecordLabel,
    ) -> Vec<HoldSummary> {
        if self.holds.of_guard != of_guard {
            let named = |hold: &HoldSummary| {
                let first = hold.first.iter().map(|shown| label(&shown.key)).collect();
                HoldSummary { first, ..hold.clone() }
            };
            let named = of_guard.iter().map(named).collect();
            self.holds = NamedHolds { of_guard, named };
        }
        self.holds.named.clone()
    }

    /// Shows the activity, with the changes, the records that were refused, and how far the writes are.
    pub(super) fn show(
        &mut self,
        activity: Activity,
        Counted { parked, refused, .. }: &Counted,
        label: &dyn Fn(&Uid) -> RecordLabel,
        now: Moment,
    ) {
        let answer = |key: &Uid| self.answers.get(key).map(|answer| (answer.cause.to_string(), answer.at));
        let shown = |key: &Uid| RefusedRecord { label: label(key), answer: answer(key) };
        let (parked, refused) = (parked.iter().map(shown).collect(), refused.as_ref().map(shown));
        let changes = self.changes.name(label);
        let left = activity.backlog.waiting() + activity.backlog.in_flight;
        let writes = self.changes.write_progress(left, now);
        let mut work = activity.work;
        work.extend(writes.map(|progress| Work { kind: WorkKind::Writes, progress }));
        self.sender.send_replace(Activity { parked, refused, changes, work, ..activity });
    }
}

/// The last acknowledged changes, and how far the writes are.
#[derive(Default)]
struct Changes {
    /// The newest changes that have no names yet, the oldest first.
    acknowledged: VecDeque<(Uid, OperationKind, Moment)>,
    /// The changes that were named before, the newest first.
    named: VecDeque<AcknowledgedChange>,
    /// The number of all acknowledged changes.
    finished: u64,
    writes: Drain,
}

impl Changes {
    fn acknowledged(&mut self, key: Uid, kind: OperationKind, now: Moment) {
        self.finished = self.finished.saturating_add(1);
        if self.acknowledged.len() == CHANGES_SHOWN {
            self.acknowledged.pop_front();
        }
        self.acknowledged.push_back((key, kind, now));
    }

    /// Names the newest changes. Returns all that are shown.
    fn name(&mut self, label: &dyn Fn(&Uid) -> RecordLabel) -> Vec<AcknowledgedChange> {
        for (key, kind, at) in self.acknowledged.drain(..) {
            self.named.push_front(AcknowledgedChange { kind, label: label(&key), at });
        }
        self.named.truncate(CHANGES_SHOWN);
        self.named.iter().cloned().collect()
    }

    /// How far the writes are, with this number of changes left.
    fn write_progress(&mut self, left: usize, now: Moment) -> Option<WorkProgress> {
        self.writes.progress(left, self.finished, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(changes: &mut Changes) -> Vec<String> {
        let label = |key: &Uid| RecordLabel::of_key(key.clone());
        changes.name(&label).iter().map(|change| change.label.id_or_key()).collect()
    }

    #[test]
    fn newest_changes_are_shown_first() {
        let mut changes = Changes::default();
        let note = |changes: &mut Changes, numbers: std::ops::Range<usize>| {
            for number in numbers {
                changes.acknowledged(number.to_string().as_str().into(), OperationKind::Put, Moment::START);
            }
        };
        note(&mut changes, 0..2);
        assert_eq!(shown(&mut changes), ["1", "0"]);
        note(&mut changes, 2..4);
        assert_eq!(shown(&mut changes), ["3", "2", "1", "0"]);
        note(&mut changes, 4..1_000);
        assert_eq!(changes.acknowledged.len(), CHANGES_SHOWN);
        let newest = shown(&mut changes);
        assert_eq!((newest.len(), &*newest[0], &*newest[19], changes.finished), (CHANGES_SHOWN, "999", "980", 1_000));
    }
}
