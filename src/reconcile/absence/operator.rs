//! The part of the guard that involves an operator: changed settings, holds that only an operator can release, and
//! approvals.

use std::collections::HashSet;

use super::{
    AbsenceGuard, OTHER_WRITER_GONE_AFTER, ScopeChangePolicy,
    hold::{Hold, HoldId, HoldReason},
    stage::Stage,
};
use crate::{
    model::{moment::Moment, uid::Uid},
    reconcile::deletion::Removal,
};

/// Fewer absences never count as nearly all.
const NEARLY_ALL_AT_LEAST: usize = 50;

/// Whether nearly all records are absent. If so, the cluster may be a copy of the one that wrote them.
pub fn is_nearly_all(absent: usize, records: usize) -> bool {
    absent >= NEARLY_ALL_AT_LEAST && absent * 10 >= records * 9
}

impl AbsenceGuard {
    /// The records were written with other settings, so absences are sorted first.
    pub fn scope_changed(&mut self, what: ScopeChangePolicy) {
        self.change = Some(what);
        self.derived_since_change = false;
    }

    pub fn is_scope_changed(&self) -> bool {
        self.change.is_some()
    }

    /// These pods exist, and changed settings no longer select them.
    pub fn leave_scope(&mut self, mut ids: HashSet<Uid>, policy: ScopeChangePolicy, now: Moment) {
        let leaving = self.confirmed.iter().chain(&self.approved).map(|(uid, _)| uid);
        leaving.for_each(|uid| _ = ids.remove(uid));
        if ids.is_empty() {
            return;
        }
        match policy {
            ScopeChangePolicy::Release => {
                self.confirmed.extend(ids.into_iter().map(|uid| (uid, Removal::LeftSelection)));
            }
            ScopeChangePolicy::Hold => {
                self.classified_at = self.classified_at.or(Some(now));
                let before = self.out_of_scope.take();
                ids.extend(before.iter().flat_map(Hold::ids).cloned());
                self.hold_out_of_scope(before, ids);
            }
        }
    }

    pub(super) fn hold_out_of_scope(&mut self, before: Option<Hold>, ids: HashSet<Uid>) {
        self.out_of_scope = Some(match before {
            Some(before) => before.of(ids),
            None => Hold::new(self.target, ids, HoldReason::ScopeChanged),
        });
    }

    /// Whether no record is left that only the former settings selected, and no hold that needs an operator. A list
    /// since the change has to show it.
    pub fn is_scope_resolved(&self) -> bool {
        (self.change.is_some() || self.operator_needed) && self.derived_since_change && self.is_idle()
    }

    /// The session declares our settings from now on.
    pub fn scope_declared(&mut self) {
        (self.change, self.operator_needed) = (None, false);
    }
}

/// Holds that only an operator can release, and other writers.
impl AbsenceGuard {
    /// An earlier process found nearly all records without a pod, and no operator has approved their deletion yet.
    pub fn need_operator(&mut self) {
        (self.operator_needed, self.derived_since_change) = (true, false);
    }

    pub fn is_operator_needed(&self) -> bool {
        self.operator_needed
    }

    /// Another writer may be alive. Nothing is inferred until it had the time to announce itself.
    pub fn expect_other_writer(&mut self, now: Moment) {
        self.other_writer_until = Some(now + OTHER_WRITER_GONE_AFTER);
    }

    /// The registry answered a heartbeat and reported no other writer. Only that ends the wait, not time alone.
    pub fn no_other_writer_reported(&mut self, now: Moment) {
        self.other_writer_until = self.other_writer_until.filter(|until| now < *until);
    }

    pub fn is_contested(&self) -> bool {
        self.other_writer_until.is_some()
    }

    /// Another writer announced itself: all inferred deletions are held, except approved ones.
    pub fn other_writer_seen(&mut self, now: Moment) {
        self.expect_other_writer(now);
        let mut ids: HashSet<Uid> =
            self.unguarded.drain(..).chain(self.confirmed.drain(..).map(|(uid, _)| uid)).collect();
        let gone_at = now + OTHER_WRITER_GONE_AFTER;
        self.stage = match std::mem::take(&mut self.stage) {
            Stage::Held { hold, retry_at: before } if hold.because().needs_operator() || ids.is_empty() => {
                Stage::Held { hold, retry_at: before.map(|before| before.max(gone_at)) }
            }
            Stage::Held { hold, .. } => {
                ids.extend(hold.ids().cloned());
                Stage::Held { hold: hold.of(ids).for_reason(HoldReason::AnotherWriter), retry_at: Some(gone_at) }
            }
            Stage::Idle if ids.is_empty() => Stage::Idle,
            stage => {
                ids.extend(stage.into_ids());
                Stage::Held { hold: self.named(ids, HoldReason::AnotherWriter), retry_at: Some(gone_at) }
            }
        };
    }

    /// Why this number of absences needs an operator, or `None` if it does not.
    pub(super) fn needs_operator(&self, absent: usize) -> Option<HoldReason> {
        if self.operator_needed {
            let owned = self.evidence.map_or(0, |evidence| evidence.owned);
            return Some(HoldReason::NearlyAll { absent, of: owned.max(absent) });
        }
        let of = self.evidence?.nearly_all_of.filter(|of| is_nearly_all(absent, *of))?;
        Some(HoldReason::NearlyAll { absent, of })
    }

    pub(super) fn held_for_operator(&mut self, absent: HashSet<Uid>, because: HoldReason) -> Stage {
        self.operator_needed = true;
        Stage::Held { hold: self.named(absent, because), retry_at: None }
    }

    /// Keeps a hold after a new list. It may need an operator now.
    pub(super) fn hold_on(&mut self, hold: Hold, retry_at: Option<Moment>) -> Stage {
        match self.needs_operator(hold.len()) {
            Some(because) => {
                self.operator_needed = true;
                Stage::Held { hold: hold.for_reason(because), retry_at: None }
            }
            None => Stage::Held { hold, retry_at },
        }
    }

    /// Approves a hold by its present or a former name: releases the deletions that the name covers and that are still
    /// held. Returns their number.
    pub fn approve(&mut self, id: &HoldId) -> usize {
        let before = self.approved.len();
        self.is_in_order = false;
        if let Some(out_of_scope) = self.out_of_scope.take() {
            let covered = out_of_scope.covered_by(id);
            self.out_of_scope = out_of_scope.retain(|uid| !covered.contains(uid));
            self.stage = std::mem::take(&mut self.stage).without(&covered);
            self.approved.extend(covered.into_iter().map(|uid| (uid, Removal::LeftSelection)));
        }
        let unconfirmed = match &self.stage {
            Stage::Held { hold, .. } => Some(hold),
            _ => self.under_review.as_ref(),
        };
        let covered = unconfirmed.map(|hold| hold.covered_by(id)).unwrap_or_default();
        if !covered.is_empty() {
            self.under_review =
                self.under_review.take().and_then(|under_review| under_review.retain(|uid| !covered.contains(uid)));
            self.stage = std::mem::take(&mut self.stage).without(&covered);
            self.approved.extend(covered.into_iter().map(|uid| (uid, Removal::Inferred)));
        }
        self.approved.len() - before
    }
}
