//! A complete list that is being taken in, in portions.

use crate::{
    controller::records::{DesiredRecords, absent::AbsentPass},
    model::pass::Pass,
    reconcile::{ledger::Ledger, pod_event::WatchList},
};

pub(super) struct ListIntake {
    watch: usize,
    list: WatchList,
    /// Drops the pods that the store has lost.
    absent: AbsentPass,
    /// Notes that the others were seen. It begins after that.
    seen: Option<Pass>,
}

impl ListIntake {
    pub(super) fn begin(watch: usize, list: WatchList, records: &DesiredRecords) -> Self {
        Self { watch, list, absent: records.absent_pass(), seen: None }
    }

    /// Goes on as far as `left` pods go. Returns the list and its watch once it is taken in.
    pub(super) fn go_on(
        &mut self,
        left: &mut usize,
        records: &mut DesiredRecords,
        ledger: &mut Ledger,
    ) -> Option<(usize, WatchList)> {
        let Self { watch, list, absent, seen } = self;
        records.drop_absent(absent, left, ledger);
        if !absent.is_over() {
            return None;
        }
        // The pods that the store gets from now on have events of their own.
        let seen = seen.get_or_insert_with(|| Pass::over(records.view().len_of_watch(*watch)));
        if let Some(positions) = seen.portion(left) {
            records.view().each_at(*watch, positions, |pod| {
                for key in records.keys_of(pod) {
                    ledger.pod_seen(key, *watch, list.begun);
                }
            });
        }
        seen.is_over().then_some((*watch, *list))
    }
}
