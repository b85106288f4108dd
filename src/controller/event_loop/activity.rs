//! What people see of the target: once per second, from the state of the parts.

use super::EventLoop;
use crate::{
    controller::report::Counted,
    model::{moment::Moment, uid::Uid},
    reconcile::{
        activity::{Activity, Backlog, RefusedRecord, Work, WorkKind},
        progress::WorkProgress,
    },
    registry::Registry,
};

impl<R: Registry> EventLoop<R> {
    /// Shows what was counted, and what else goes on.
    pub(super) fn show_activity(&mut self, counted: &Counted, now: Moment) {
        let Counted { uncertain: _, backlog, parked, refused } = counted;
        let labels = self.activity.unnamed().map(|key| self.label(key.clone())).collect();
        self.activity.name(labels);
        let parked = parked.iter().map(|key| self.refused(key)).collect();
        let refused = refused.as_ref().map(|key| self.refused(key));
        let (outage, compared_at) = (self.reporter.outage().map(ToString::to_string), self.resync.compared_at());
        let (backlog, work) = (*backlog, self.work(*backlog, now));
        self.activity.show(Activity { backlog, parked, refused, changes: Vec::new(), work, outage, compared_at });
    }

    fn refused(&self, key: &Uid) -> RefusedRecord {
        let answer = self.last_answers.rejection(key);
        RefusedRecord { label: self.label(key.clone()), answer }
    }

    fn work(&mut self, backlog: Backlog, now: Moment) -> Vec<Work> {
        let left = backlog.waiting() + backlog.in_flight;
        let under_way: [(WorkKind, Option<WorkProgress>); 3] = [
            (WorkKind::Resync, self.resync.progress().map(|progress| self.expecting(progress))),
            (WorkKind::FullReconcile, self.absences.reconcile_progress()),
            (WorkKind::Writes, self.activity.write_progress(left, now)),
        ];
        under_way.into_iter().filter_map(|(kind, progress)| Some(Work { kind, progress: progress? })).collect()
    }

    /// A registry that does not say how many records it has is expected to have those that it had the last time.
    fn expecting(&self, progress: WorkProgress) -> WorkProgress {
        let before = Some(self.ledger.owned() as u64).filter(|owned| *owned > progress.done);
        WorkProgress { total: progress.total.or(before), ..progress }
    }
}
