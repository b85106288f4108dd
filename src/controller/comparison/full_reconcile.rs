//! Full reconciles, which go on in portions, and what they find to be absent.
//!
//! What one finds counts only once it has looked at every entry of the ledger, because nearly all absences are treated
//! otherwise than few.
//!
//! | in the meantime | what follows |
//! | --- | --- |
//! | a list is complete or fails, an inventory is read, the term or the settings change | it begins again |
//! | a pod is back | the pod is left out |
//! | a pod becomes absent after its operation, or the guard has to look again | another one follows |

use std::{collections::HashSet, ops::Range};

use super::{Comparison, When};
use crate::{
    controller::{lists::Lists, queue::Lane},
    model::{moment::Moment, pass::Pass, uid::Uid},
    reconcile::{
        decide::Action,
        ledger::{Ledger, entry::LedgerEntry},
        progress::WorkProgress,
    },
    registry::Registry,
};

/// Records whose namespaces are looked up together, at most.
const PLACED_AT_ONCE: usize = 100;

/// What a full reconcile found to be absent.
#[derive(Default)]
pub(in crate::controller) struct Survey {
    /// Pods whose deletion waits for the absence guard.
    pub(in crate::controller) absent: HashSet<Uid>,
    /// Those of the absent pods that exist, and that changed settings do not select.
    pub(in crate::controller) out_of_scope: HashSet<Uid>,
    needs_list: bool,
    /// Pods that only the inventory lists, while a watch cannot list: their namespaces have to be looked up.
    pub(in crate::controller) unplaced: Vec<Uid>,
}

impl Survey {
    /// Notes what was decided about a pod.
    fn note(&mut self, uid: Uid, action: Action, lists: &Lists, ledger: &Ledger) {
        let watch = ledger.entry(&uid).and_then(LedgerEntry::watch);
        match (action, watch) {
            (Action::AwaitConfirmation, _) => _ = self.absent.insert(uid),
            // A watch that cannot list retries without being asked.
            (Action::AwaitList, Some(watch)) => self.needs_list |= !lists.is_failing(watch),
            (Action::AwaitList, None) if !lists.is_any_failing() => self.needs_list = true,
            // Pods beyond the limit follow in the full reconcile after these.
            (Action::AwaitList, None) if self.unplaced.len() < PLACED_AT_ONCE => self.unplaced.push(uid),
            _ => {}
        }
    }
}

/// Which full reconciles are due and under way.
#[derive(Default)]
pub(super) struct FullReconcile {
    /// Whether one is due at once.
    restarts: bool,
    /// Whether one is due after the one under way.
    follows: bool,
    /// With the time when it began.
    under_way: Option<(Pass, Survey, Moment)>,
}

impl FullReconcile {
    /// Requests one that sees everything as it is now.
    pub(super) fn restart(&mut self) {
        self.restarts = true;
    }

    /// Requests one after the one under way.
    pub(super) fn follow(&mut self) {
        self.follows = true;
    }

    /// Whether none is due or under way.
    pub(super) fn is_done(&self) -> bool {
        !self.restarts && !self.follows && self.under_way.is_none()
    }

    /// Whether to begin one. The next call returns false.
    pub(super) fn take_due(&mut self) -> bool {
        let is_due = self.restarts || (self.follows && self.under_way.is_none());
        if is_due {
            (self.restarts, self.follows) = (false, false);
        }
        is_due
    }

    /// Begins one over this number of ledger entries. What the one under way has found does not count.
    pub(super) fn begin(&mut self, entries: usize, now: Moment) {
        self.under_way = Some((Pass::over(entries), Survey::default(), now));
    }

    pub(super) fn progress(&self) -> Option<WorkProgress> {
        let (pass, _, begun) = self.under_way.as_ref()?;
        let (done, total) = pass.done_of();
        Some(WorkProgress { begun: *begun, done: done as u64, total: Some(total as u64) })
    }

    /// The positions of the ledger that are next, as far as `left` entries go.
    fn next_portion(&mut self, left: &mut usize) -> Option<Range<usize>> {
        self.under_way.as_mut()?.0.portion(left)
    }

    /// The pod is back.
    pub(super) fn leave_out(&mut self, uid: &Uid) {
        if let Some((_, survey, _)) = &mut self.under_way {
            survey.absent.remove(uid);
        }
    }

    /// The survey under way.
    fn survey(&mut self) -> Option<&mut Survey> {
        self.under_way.as_mut().map(|(_, survey, _)| survey)
    }

    /// What it found, once it is complete.
    pub(super) fn take(&mut self) -> Option<Survey> {
        self.under_way.take_if(|(pass, ..)| pass.is_over()).map(|(_, survey, _)| survey)
    }
}

impl<R: Registry> Comparison<R> {
    /// Requests a full reconcile. One that is under way begins again.
    pub(in crate::controller) fn request_reconcile(&mut self) {
        self.full_reconcile.restart();
    }

    /// Requests a full reconcile after the one that is under way.
    pub(in crate::controller) fn request_another_reconcile(&mut self) {
        self.full_reconcile.follow();
    }

    /// How far the full reconcile under way is.
    pub(in crate::controller) fn reconcile_progress(&self) -> Option<WorkProgress> {
        self.full_reconcile.progress()
    }

    /// A full reconcile: decides about each record whose pod a watch showed, that the registry may hold, or that waits
    /// for a list, as far as `left` ledger entries go. The next turns continue. Returns what it found to be absent once
    /// it is complete.
    ///
    /// Records that become pending are only marked as backlog, as they may be as many as there are pods. They enter the
    /// queue when their lane is empty.
    #[must_use]
    pub(in crate::controller) fn reconcile_all(&mut self, left: &mut usize, when: When) -> Option<Survey> {
        if self.full_reconcile.take_due() {
            self.ledger.begin_backlog(when.now);
            self.full_reconcile.begin(self.ledger.entry_count(), when.now);
        }
        while let Some(positions) = self.full_reconcile.next_portion(left) {
            // From the highest position down: the last record takes the position of a forgotten one, and is done
            // already.
            for position in positions.rev() {
                if let Some((uid, action)) = self.reconcile_at(position, when)
                    && let Some(survey) = self.full_reconcile.survey()
                {
                    survey.note(uid, action, &self.lists, &self.ledger);
                }
            }
        }
        let mut survey = self.full_reconcile.take()?;
        for uid in self.awaiting_outside() {
            let action = self.reconcile(&uid, Lane::Backfill, when);
            survey.note(uid, action, &self.lists, &self.ledger);
        }
        self.ledger.restart_backlog();
        self.lists.set_needed(survey.needs_list);
        Some(survey)
    }

    /// The records that wait for a list and are not in the ledger.
    fn awaiting_outside(&self) -> Vec<Uid> {
        let uids = self.awaiting_list.iter().map(|(uid, ())| uid);
        uids.filter(|uid| self.ledger.entry(uid).is_none()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(reconcile: &mut FullReconcile) -> Option<usize> {
        reconcile.take().map(|survey| survey.absent.len())
    }

    #[test]
    fn survey_counts_only_when_it_is_complete() {
        let (mut reconcile, lists, ledger) = (FullReconcile::default(), Lists::new(1, Vec::new()), Ledger::default());
        let note = |reconcile: &mut FullReconcile, name: &str| {
            reconcile.survey().unwrap().note(name.into(), Action::AwaitConfirmation, &lists, &ledger);
        };
        reconcile.begin(2, Moment::START);
        assert_eq!(reconcile.next_portion(&mut 1), Some(1..2));
        note(&mut reconcile, "a");
        assert_eq!((found(&mut reconcile), reconcile.is_done()), (None, false));
        // Another one waits for the one under way, and a restart does not.
        reconcile.follow();
        assert!(!reconcile.take_due());
        note(&mut reconcile, "b");
        reconcile.leave_out(&"a".into());
        reconcile.next_portion(&mut 1);
        assert_eq!((found(&mut reconcile), reconcile.take_due(), reconcile.is_done()), (Some(1), true, true));
        reconcile.begin(2, Moment::START);
        note(&mut reconcile, "a");
        reconcile.restart();
        assert!(reconcile.take_due());
        reconcile.begin(0, Moment::START);
        assert_eq!(found(&mut reconcile), Some(0), "what was found before does not count");
    }

    #[test]
    fn record_without_watch_needs_a_list() {
        let (mut reconcile, lists, mut ledger) =
            (FullReconcile::default(), Lists::new(1, Vec::new()), Ledger::default());
        ledger.pod_seen(&"a".into(), 0, Moment::START);
        for name in ["a", "b"] {
            reconcile.begin(0, Moment::START);
            reconcile.survey().unwrap().note(name.into(), Action::AwaitList, &lists, &ledger);
            assert!(reconcile.take().is_some_and(|survey| survey.needs_list && survey.unplaced.is_empty()), "{name}");
        }
    }
}
