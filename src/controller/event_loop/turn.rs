//! One turn of the loop, and the work that goes on in the next ones.
//!
//! Nothing else happens for a target during a turn, so none handles all pods or all records at once:
//!
//! | work | in a turn | where it is |
//! | --- | --- | --- |
//! | pods that events show | 1,000, and the rest of a page | `intake` |
//! | pods that are projected | 500 | `projected` |
//! | pods of a complete list, records of an inventory, entries of a full reconcile | 5,000 together | here |
//!
//! What a turn leaves is continued at once, after what has arrived in the meantime. Some steps do visit all entries of
//! the ledger: they look at each once, in the order in which they lie in memory, and look nothing up.

use std::time::Duration;

use super::EventLoop;
use crate::{
    controller::records::absent::AbsentPass,
    model::{moment::Moment, pass::Pass, uid::Uid},
    reconcile::pod_event::WatchList,
    registry::Registry,
};

/// A longer turn is logged.
const LONG_TURN: Duration = Duration::from_millis(10);

/// A complete list that is being taken in.
pub(super) struct ListIntake {
    watch: usize,
    list: WatchList,
    /// Drops the pods that the store has lost.
    absent: AbsentPass,
    /// Notes that the others were seen. It begins after that.
    seen: Option<Pass>,
}

impl<R: Registry> EventLoop<R> {
    /// Continues with what earlier turns left.
    pub(super) fn continue_passes(&mut self, now: Moment) {
        let mut left = self.visits_per_turn;
        self.continue_list(&mut left);
        self.continue_inventory(&mut left, now);
        self.reconcile_all(&mut left, now);
    }

    /// Whether this turn has left something that can be done at once.
    pub(super) fn has_more_to_do(&self) -> bool {
        self.records.has_more_to_do()
            || self.list.is_some()
            || self.resync.is_learning()
            || self.absences.is_reconciling()
    }

    /// A list is complete. A full reconcile follows once it is taken in.
    pub(super) fn begin_list(&mut self, watch: usize, list: WatchList) {
        self.list = Some(ListIntake { watch, list, absent: self.records.absent_pass(), seen: None });
    }

    fn continue_list(&mut self, left: &mut usize) {
        let Some(ListIntake { watch, list, absent, seen }) = &mut self.list else { return };
        let (watch, list) = (*watch, *list);
        self.records.drop_absent(absent, left, &self.ledger);
        if !absent.is_over() {
            return;
        }
        let (records, ledger) = (&self.records, &mut self.ledger);
        // The pods that the store gets from now on have events of their own.
        let seen = seen.get_or_insert_with(|| Pass::over(records.view().len_of_watch(watch)));
        if let Some(positions) = seen.portion(left) {
            records.view().each_at(watch, positions, |pod| {
                for key in records.keys_of(pod) {
                    ledger.pod_seen(key, watch, list.begun);
                }
            });
        }
        if seen.is_over() {
            self.list = None;
            self.absences.listed(watch, list);
        }
    }

    fn continue_inventory(&mut self, left: &mut usize, now: Moment) {
        let Self { requests, records, ledger, .. } = self;
        let kinship = requests.registry().kinship();
        let mut note_parent = |key: &Uid| {
            if let Some(parent) = kinship.and_then(|kinship| kinship.parent(key)) {
                records.families.note_held(key, &parent);
            }
        };
        let effects = self.resync.learn(left, self.session.epoch(), ledger, &mut note_parent, now);
        self.apply_resync(effects, now);
    }

    /// Ends a turn. It began when it received something, or when a part was due.
    pub(super) fn note_long_turn(&mut self, due_at: Moment) {
        let began = self.received_at.take().unwrap_or(due_at);
        let took = self.clock.now().since(began);
        if took >= LONG_TURN {
            tracing::debug!(seconds = took.as_secs_f64(), "a turn of the event loop was long");
        }
    }
}
