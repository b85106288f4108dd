//! What people see of a target besides its status: the last acknowledged changes, and how far the writes are.
//!
//! The acknowledged keys are only kept at first. They get their names once per second, so that a change costs no
//! lookup.

use std::collections::VecDeque;

use tokio::sync::watch;

use crate::{
    model::{label::RecordLabel, moment::Moment, uid::Uid},
    reconcile::{
        activity::{AcknowledgedChange, Activity, CHANGES_SHOWN},
        outcome::OperationKind,
        progress::{Drain, WorkProgress},
    },
};

pub(super) struct ActivityReport {
    sender: watch::Sender<Activity>,
    /// The newest changes that have no names yet, the oldest first.
    acknowledged: VecDeque<(Uid, OperationKind, Moment)>,
    /// The changes that were named before, the newest first.
    named: VecDeque<AcknowledgedChange>,
    /// The number of all acknowledged changes.
    finished: u64,
    writes: Drain,
}

impl ActivityReport {
    pub(super) fn new(sender: watch::Sender<Activity>) -> Self {
        Self { sender, acknowledged: VecDeque::new(), named: VecDeque::new(), finished: 0, writes: Drain::default() }
    }

    pub(super) fn acknowledged(&mut self, key: Uid, kind: OperationKind, now: Moment) {
        self.finished = self.finished.saturating_add(1);
        if self.acknowledged.len() == CHANGES_SHOWN {
            self.acknowledged.pop_front();
        }
        self.acknowledged.push_back((key, kind, now));
    }

    /// The keys that [`Self::name`] is about, the oldest first.
    pub(super) fn unnamed(&self) -> impl Iterator<Item = &Uid> {
        self.acknowledged.iter().map(|(key, ..)| key)
    }

    /// Names the newest changes.
    pub(super) fn name(&mut self, labels: Vec<RecordLabel>) {
        for ((_, kind, at), label) in self.acknowledged.drain(..).zip(labels) {
            self.named.push_front(AcknowledgedChange { kind, label, at });
        }
        self.named.truncate(CHANGES_SHOWN);
    }

    /// How far the writes are, with this number of changes left.
    pub(super) fn write_progress(&mut self, left: usize, now: Moment) -> Option<WorkProgress> {
        self.writes.progress(left, self.finished, now)
    }

    /// Shows the activity, with the changes that have names.
    pub(super) fn show(&self, activity: Activity) {
        self.sender.send_replace(Activity { changes: self.named.iter().cloned().collect(), ..activity });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(report: &mut ActivityReport) -> Vec<String> {
        report.name(report.unnamed().cloned().map(RecordLabel::of_key).collect());
        report.show(Activity::default());
        report.sender.borrow().changes.iter().map(|change| change.label.id_or_key()).collect()
    }

    #[test]
    fn newest_changes_are_shown_first() {
        let mut report = ActivityReport::new(watch::channel(Activity::default()).0);
        let note = |report: &mut ActivityReport, numbers: std::ops::Range<usize>| {
            for number in numbers {
                report.acknowledged(number.to_string().as_str().into(), OperationKind::Put, Moment::START);
            }
        };
        note(&mut report, 0..2);
        assert_eq!(changes(&mut report), ["1", "0"]);
        note(&mut report, 2..4);
        assert_eq!(changes(&mut report), ["3", "2", "1", "0"]);
        note(&mut report, 4..1_000);
        assert_eq!(report.unnamed().count(), CHANGES_SHOWN);
        let shown = changes(&mut report);
        assert_eq!((shown.len(), &*shown[0], &*shown[19], report.finished), (CHANGES_SHOWN, "999", "980", 1_000));
    }
}
