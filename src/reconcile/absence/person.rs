//! What a person decides: changed settings, holds that only a person can release, and approvals.

use std::collections::HashSet;

use super::{
    AbsenceGuard, ScopeChangePolicy, Stage,
    hold::{Hold, HoldId, HoldReason},
};
use crate::{
    model::{moment::Moment, uid::Uid},
    reconcile::deletion::Removal,
};

/// A smaller number of absences never counts as nearly all.
const NEARLY_ALL_AT_LEAST: usize = 50;

/// Whether the absences are nearly all of the records. If so, the cluster may be a copy of the one that wrote them.
pub fn is_nearly_all(absent: usize, records: usize) -> bool {
    absent >= NEARLY_ALL_AT_LEAST && absent * 10 >= records * 9
}

/// Changes of the settings.
impl AbsenceGuard {
    /// The records were written under other settings than ours: what is absent is sorted before it is doubted.
    pub fn scope_changed(&mut self, what: ScopeChangePolicy) {
        self.change = Some(what);
        self.derived_since_change = false;
    }

    /// Whether nothing is left that the settings before had selected, and nothing that needs a person, as far as a list
    /// can tell.
    pub fn is_scope_resolved(&self) -> bool {
        (self.change.is_some() || self.operator_needed) && self.derived_since_change && self.is_idle()
    }

    /// The records are from now on as our settings say.
    pub fn scope_declared(&mut self) {
        (self.change, self.operator_needed) = (None, false);
    }
}

/// Holds that only a person can release.
impl AbsenceGuard {
    /// An earlier process found nearly every record without a pod, and no person has approved that yet.
    pub fn need_operator(&mut self) {
        (self.operator_needed, self.derived_since_change) = (true, false);
    }

    /// Whether only a person can release inferred deletions.
    pub fn is_operator_needed(&self) -> bool {
        self.operator_needed
    }

    /// Another writer may be alive. It has the time to announce itself before anything is inferred.
    pub fn expect_other_writer(&mut self, now: Moment) {
        self.other_writer_until = Some(now + crate::reconcile::absence::OTHER_WRITER_GONE_AFTER);
    }

    /// The registry answered a heartbeat and reported no other writer. Time alone proves nothing.
    pub fn no_other_writer_reported(&mut self, now: Moment) {
        self.other_writer_until = self.other_writer_until.filter(|until| now < *until);
    }

    /// Whether another writer is alive or may be.
    pub fn is_contested(&self) -> bool {
        self.other_writer_until.is_some()
    }

    /// Another writer announced itself: every inferred deletion is held that no person approved.
    pub fn other_writer_seen(&mut self, now: Moment) {
        self.expect_other_writer(now);
        let mut ids: HashSet<Uid> =
            self.unguarded.drain(..).chain(self.confirmed.drain(..).map(|(uid, _)| uid)).collect();
        let gone_at = now + crate::reconcile::absence::OTHER_WRITER_GONE_AFTER;
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

    /// Why only a person can release this number of absences. None if no person is needed.
    pub(super) fn needs_operator(&self, absent: usize) -> Option<HoldReason> {
        if self.operator_needed {
            let owned = self.evidence.map_or(0, |evidence| evidence.owned);
            return Some(HoldReason::NearlyAll { absent, of: owned.max(absent) });
        }
        let of = self.evidence?.nearly_all_of.filter(|of| is_nearly_all(absent, *of))?;
        Some(HoldReason::NearlyAll { absent, of })
    }

    /// Holds these until a person approves.
    pub(super) fn held_for_operator(&mut self, absent: HashSet<Uid>, because: HoldReason) -> Stage {
        self.operator_needed = true;
        Stage::Held { hold: self.named(absent, because), retry_at: None }
    }

    /// A hold after a list: it may have become one that only a person can release.
    pub(super) fn hold_on(&mut self, hold: Hold, retry_at: Option<Moment>) -> Stage {
        match self.needs_operator(hold.len()) {
            Some(because) => {
                self.operator_needed = true;
                Stage::Held { hold: hold.for_reason(because), retry_at: None }
            }
            None => Stage::Held { hold, retry_at },
        }
    }

    /// A person approved a hold, under its present or a former name: the ids leave that the name was given for and that
    /// are still held. Says how many deletions that are.
    pub fn approve(&mut self, id: &HoldId) -> usize {
        let before = self.approved.len();
        if let Some(out_of_scope) = self.out_of_scope.take() {
            let covered = out_of_scope.covered_by(id);
            self.out_of_scope = out_of_scope.without(&covered);
            self.stage = std::mem::take(&mut self.stage).without(&covered);
            self.approved.extend(covered.into_iter().map(|uid| (uid, Removal::LeftRule)));
        }
        let unconfirmed = match &self.stage {
            Stage::Held { hold, .. } => Some(hold),
            _ => self.under_review.as_ref(),
        };
        let covered = unconfirmed.map(|hold| hold.covered_by(id)).unwrap_or_default();
        if !covered.is_empty() {
            self.under_review = self.under_review.take().and_then(|under_review| under_review.without(&covered));
            self.stage = std::mem::take(&mut self.stage).without(&covered);
            self.approved.extend(covered.into_iter().map(|uid| (uid, Removal::Inferred)));
        }
        self.approved.len() - before
    }
}

impl Stage {
    fn into_ids(self) -> HashSet<Uid> {
        match self {
            Self::Idle => HashSet::new(),
            Self::Sorting { ids, .. } | Self::SecondList { ids, .. } | Self::Confirming { ids, .. } => ids,
            Self::Held { hold, .. } => hold.into_ids().collect(),
        }
    }

    /// The same stage about the ids that are not among these.
    fn without(self, gone: &HashSet<Uid>) -> Self {
        let stage = match self {
            Self::Idle => Self::Idle,
            Self::Sorting { ids, asked } => Self::Sorting { ids: &ids - gone, asked },
            Self::SecondList { ids, earliest, asked, out_of_scope } => {
                Self::SecondList { ids: &ids - gone, earliest, asked, out_of_scope }
            }
            Self::Confirming { ids, guarded, asked } => Self::Confirming { ids: &ids - gone, guarded, asked },
            Self::Held { hold, retry_at } => {
                hold.without(gone).map_or(Self::Idle, |hold| Self::Held { hold, retry_at })
            }
        };
        match &stage {
            Self::Sorting { ids, .. } | Self::SecondList { ids, .. } | Self::Confirming { ids, .. }
                if ids.is_empty() =>
            {
                Self::Idle
            }
            _ => stage,
        }
    }
}
