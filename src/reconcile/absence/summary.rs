//! The guard's summary: counts, reasons and holds.

use super::{
    AbsenceGuard, SHOWN_AFTER,
    hold::{Hold, HoldReason, HoldSummary, RecordHold},
    stage::{Stage, Step},
};
use crate::model::uid::Uid;

impl AbsenceGuard {
    /// The number of guarded deletions that wait for a confirmation, an approval or their turn.
    pub fn held(&self) -> usize {
        let stage = match &self.stage {
            Stage::Idle | Stage::Checking { step: Step::Confirming { guarded: false }, .. } => 0,
            Stage::Checking { ids, .. } => ids.len(),
            Stage::Held { hold, .. } => hold.len(),
        };
        stage + self.out_of_scope.as_ref().map_or(0, Hold::len) + self.confirmed.len() + self.approved.len()
    }

    /// Whether no inferred deletion waits for anything.
    pub fn is_idle(&self) -> bool {
        let nothing_leaves = self.unguarded.is_empty() && self.confirmed.is_empty() && self.approved.is_empty();
        matches!(self.stage, Stage::Idle) && self.out_of_scope.is_none() && nothing_leaves
    }

    /// Whether the guard waits to confirm the absence of this pod. Report the pod if it is back.
    pub fn is_about(&self, uid: &Uid) -> bool {
        self.stage.contains(uid) || self.out_of_scope.as_ref().is_some_and(|out_of_scope| out_of_scope.contains(uid))
    }

    /// The pods that a list of the whole cluster has to sort.
    pub fn sorting(&self) -> impl Iterator<Item = &Uid> {
        let ids = if let Stage::Checking { ids, step: Step::Sorting, .. } = &self.stage { Some(ids) } else { None };
        ids.into_iter().flatten()
    }

    /// Why deletions are held at the moment.
    pub fn hold_reason(&self) -> Option<&HoldReason> {
        match &self.stage {
            Stage::Held { hold, .. } => Some(hold.because()),
            _ => None,
        }
    }

    /// The holds that are shown to the operator.
    pub fn holds(&self) -> Vec<HoldSummary> {
        self.shown().map(Hold::shown).collect()
    }

    /// The shown hold that has the deletion of this record.
    pub fn hold_of(&self, uid: &Uid) -> Option<RecordHold> {
        let hold = self.shown().find(|hold| hold.contains(uid))?;
        let retry_at = match &self.stage {
            Stage::Held { hold, retry_at } if hold.contains(uid) => *retry_at,
            _ => None,
        };
        Some(RecordHold { summary: hold.shown(), retry_at })
    }

    fn shown(&self) -> impl Iterator<Item = &Hold> {
        let unconfirmed = match &self.stage {
            // A few missing answers are no reason to involve the operator.
            Stage::Held { hold, .. } if hold.is_contradicted() || self.attempts >= SHOWN_AFTER => Some(hold),
            Stage::Held { .. } => None,
            _ => self.under_review.as_ref(),
        };
        self.out_of_scope.iter().chain(unconfirmed)
    }
}
