//! Pods that the store no longer has, although no event named them: a complete list lacked them.
//!
//! A list is a reason to look at every pod of the tables, so this goes in portions. First come the pods that an earlier
//! list lacked, because the others may join them.

use std::ops::Range;

use super::{DesiredRecords, StalePod, Table};
use crate::{
    model::{pass::Pass, uid::Uid},
    reconcile::ledger::Ledger,
};

/// A pass over the tables of records.
pub(in crate::controller) struct AbsentPass {
    /// Over pods without a record.
    without: Pass,
    /// Over pods with a record, and over those that are not selected.
    others: Pass,
    /// Over records that belong to others. It begins after that.
    families: Pass,
}

impl AbsentPass {
    pub(in crate::controller) fn is_over(&self) -> bool {
        self.without.is_over() && self.others.is_over() && self.families.is_over()
    }
}

impl DesiredRecords {
    /// Begins a pass for [`Self::drop_absent`].
    pub(in crate::controller) fn absent_pass(&self) -> AbsentPass {
        let (rows, without) = match &self.table {
            Table::Identity => (0, 0),
            Table::ByPod(table) => (table.len(), 0),
            Table::ByKey(table) => (table.pods(), table.without()),
        };
        let others = rows.max(self.excluded.len()).max(self.failed()).max(self.waiting.len());
        let families = self.families.len();
        AbsentPass { without: Pass::over(without), others: Pass::over(others), families: Pass::over(families) }
    }

    /// Drops the records of pods that the store no longer has, as far as `left` pods go.
    pub(in crate::controller) fn drop_absent(&mut self, pass: &mut AbsentPass, left: &mut usize, ledger: &Ledger) {
        let view = &self.view;
        if let (Table::ByKey(table), Some(positions)) = (&mut self.table, pass.without.portion(left)) {
            let is_held = |key: &_| ledger.entry(key).is_some();
            table.retain_without(positions, |pod| view.contains(pod), is_held);
        }
        if let Some(positions) = pass.others.portion(left) {
            self.drop_absent_at(positions);
        }
        if !pass.others.is_over() {
            return;
        }
        if let (Table::ByKey(table), Some(positions)) = (&self.table, pass.families.portion(left)) {
            let is_known = |key: &Uid| ledger.entry(key).is_some() || ledger.remembers_deletion(key);
            self.families.retain_in(positions, |key| is_known(key) || table.shown(key).is_some());
        }
    }

    fn drop_absent_at(&mut self, positions: Range<usize>) {
        let view = &self.view;
        self.failed.retain_in(positions.clone(), |pod| view.contains(pod));
        self.excluded.retain_in(positions.clone(), |pod| view.contains(pod));
        self.waiting.retain_in(positions.clone(), |pod, ()| view.contains(pod));
        match &mut self.table {
            Table::Identity => {}
            Table::ByPod(table) => table.retain_in(positions, |pod| view.contains(pod)),
            Table::ByKey(table) => {
                let passed = table.retain_in(positions, |pod| view.contains(pod));
                self.stale.extend(passed.into_iter().map(|uid| StalePod { uid, watch: None, goes_on: false }));
            }
        }
    }
}
