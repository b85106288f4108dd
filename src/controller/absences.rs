//! Inferred deletions: pods that are absent from a complete list.
//!
//! An absence passes these stages. From each it can fall back to the first one.
//!
//! | stage | decided by | waits for |
//! | --- | --- | --- |
//! | `Action::AwaitList` | [`decide`], asked by `comparison` | a list begun after the pod was last seen ([`Lists`]) |
//! | `Action::AwaitConfirmation` | [`decide`] | the absence guard ([`AbsenceGuard`]): for few absences, a check that the cluster is the same; for many, a second list and a sample; for nearly all, an operator |
//! | confirmed | [`Absences::release`] | its turn, at a limited rate and while writes can be sent; no other writer may be alive. Records of kinds that belong to others go first |
//! | `Action::Delete` | [`decide`] | its turn in the queue, like an observed deletion |
//!
//! The table leaves out the conditions of every deletion, such as the inventory, the session and the limits of writes.
//! The header of `comparison::decisions` lists all of them.
//!
//! [`decide`]: crate::reconcile::decide::decide

mod leaving;

use super::{
    comparison::full_reconcile::Survey,
    lists::Lists,
    records::ListedRecords,
    requests::{NamesPurpose, Request},
    session::HeldBecause,
};
use crate::{
    model::{moment::Moment, pod::PodRef, uid::Uid},
    reconcile::{
        absence::{
            AbsenceGuard, Evidence, ListOutcome, ReleasedDeletion, ScopeChangePolicy,
            check::{Check, Confirmation, GuardQuestion},
            hold::{HoldId, HoldReason, HoldSummary, RecordHold},
            operator::is_nearly_all,
        },
        ledger::{
            Ledger,
            entry::{Known, LedgerEntry},
        },
        outcome::Failure,
    },
    registry::Kinship,
};
use leaving::LeavingRecords;

/// Pods that are looked up one by one after a change of settings, at most. Others are held without that.
const SORTED_AT_ONCE: usize = 2_000;

pub(super) struct Absences {
    guard: AbsenceGuard,
    /// The number of our records in the registry at the last resync.
    inherited: usize,
    /// Whether a request for the namespaces of records is in flight.
    is_placing: bool,
    leaving: LeavingRecords,
    on_scope_change: ScopeChangePolicy,
    rng: fastrand::Rng,
}

/// What follows for the other parts.
#[must_use]
pub(super) enum AbsenceEffect {
    Send(Request),
    /// Ask the cluster.
    Ask(Check),
    /// The registry has named the pods of these records.
    Place(Vec<PodRef>),
    /// A full reconcile is due at once.
    Reconcile,
    /// A full reconcile is due after the one that is under way.
    ReconcileAgain,
    /// An absence waits for a newer list.
    NeedList,
}

impl Absences {
    pub(super) fn new(target: &'static str, on_scope_change: ScopeChangePolicy, rng: fastrand::Rng) -> Self {
        Self {
            guard: AbsenceGuard::new(target),
            inherited: 0,
            is_placing: false,
            leaving: LeavingRecords::default(),
            on_scope_change,
            rng,
        }
    }

    /// When the guard has a question or releases deletions.
    pub(super) fn due_at(&mut self, now: Moment) -> Option<Moment> {
        self.guard.due_at(now).filter(|at| *at > now)
    }

    /// Whether the pod of this record is absent, as far as the guard knows.
    pub(super) fn are_about(&self, uid: &Uid) -> bool {
        self.guard.is_about(uid)
    }

    /// Whether there is nothing to confirm.
    pub(super) fn are_idle(&self) -> bool {
        self.guard.is_idle()
    }

    /// The number of held deletions.
    pub(super) fn held(&self) -> usize {
        self.guard.held()
    }

    pub(super) fn holds(&self) -> Vec<HoldSummary> {
        self.guard.holds()
    }

    /// The hold that a record's deletion is part of.
    pub(super) fn hold_of(&self, uid: &Uid) -> Option<RecordHold> {
        self.guard.hold_of(uid)
    }

    /// A resync is complete: the registry holds this number of our records.
    pub(super) fn resynced(&mut self, owned: usize) {
        self.inherited = owned;
    }

    /// This process no longer leads. No absence counts, not even a confirmed one.
    pub(super) fn stand_by(&mut self) {
        self.guard.drop_absences();
        self.leaving = LeavingRecords::default();
        // The next leader may have other settings.
        self.guard.scope_declared();
    }
}

/// From a full reconcile to deletions.
impl Absences {
    /// A full reconcile is complete. `may_ask` says whether the registry may be asked for names.
    #[must_use]
    pub(super) fn derive(
        &mut self,
        survey: Survey,
        may_ask: bool,
        lists: &Lists,
        ledger: &Ledger,
        now: Moment,
    ) -> Option<AbsenceEffect> {
        let Survey { absent, out_of_scope, unplaced, .. } = survey;
        if let Some(list) = lists.over_some().filter(|_| ledger.is_seeded()) {
            let watch = |uid: &Uid| ledger.entry(uid).and_then(LedgerEntry::watch);
            let empty = absent.iter().any(|uid| lists.is_empty(watch(uid)));
            let unseen = absent.iter().filter(|uid| watch(uid).is_none()).count();
            let owned = ledger.owned();
            // Also if nearly all records of the last resync belong to pods that were never seen.
            let nearly_all_of = (is_nearly_all(absent.len(), owned).then_some(owned))
                .or_else(|| is_nearly_all(unseen, self.inherited).then_some(self.inherited));
            self.guard.leave_scope(out_of_scope, self.on_scope_change, now);
            self.guard.derive(absent, Evidence { list, empty, nearly_all_of, owned }, now);
        }
        self.place(unplaced, may_ask)
    }

    /// Looks up the namespaces of these records: the list of one namespace is enough to show that a pod is absent.
    fn place(&mut self, uids: Vec<Uid>, may_ask: bool) -> Option<AbsenceEffect> {
        if uids.is_empty() || !may_ask || self.is_placing {
            return None;
        }
        self.is_placing = true;
        Some(AbsenceEffect::Send(Request::Names { about: NamesPurpose::Places, uids }))
    }

    /// The next question of the guard.
    #[must_use]
    pub(super) fn next_question(&mut self, lists: &Lists, ledger: &Ledger, now: Moment) -> Option<AbsenceEffect> {
        let random = self.rng.u64(..);
        Some(match self.guard.ask(now, random)? {
            GuardQuestion::Whole { round } if lists.is_cluster_wide() => AbsenceEffect::Ask(Check::Whole { round }),
            // This process may not list the whole cluster: each pod is looked up.
            GuardQuestion::Whole { round } => {
                let mut uids = in_order(self.guard.sorting().cloned());
                let not_looked_up = uids.split_off(uids.len().min(SORTED_AT_ONCE));
                AbsenceEffect::Send(Request::Names { about: NamesPurpose::Sorting { round, not_looked_up }, uids })
            }
            GuardQuestion::List { round } => {
                tracing::warn!(
                    held = self.guard.held(),
                    "many pods are absent; waiting for a second list before deleting"
                );
                AbsenceEffect::Ask(Check::List { round, except: lists.failing_namespaces() })
            }
            GuardQuestion::Confirm { round, sample } if sample.is_empty() => {
                AbsenceEffect::Ask(Check::LookUp { round, pods: Vec::new() })
            }
            GuardQuestion::Confirm { round, sample } => {
                let is_uncertain = sample.iter().all(|uid| ledger.known(uid) == Known::Uncertain);
                AbsenceEffect::Send(Request::Names {
                    about: NamesPurpose::Sample { round, is_uncertain },
                    uids: sample,
                })
            }
        })
    }

    /// The registry answered with the names of the records that it holds.
    pub(super) fn named(
        &mut self,
        about: NamesPurpose,
        result: Result<Vec<PodRef>, Failure>,
        now: Moment,
    ) -> AbsenceEffect {
        match (about, result) {
            (NamesPurpose::Sample { round, is_uncertain: false }, Ok(pods)) if pods.is_empty() => {
                let why = "the registry has no usable names of the pods in the sample".to_owned();
                self.answered(round, Confirmation::Unanswered(why), now)
            }
            (NamesPurpose::Sample { round, .. }, Ok(pods)) => AbsenceEffect::Ask(Check::LookUp { round, pods }),
            (NamesPurpose::Sorting { round, not_looked_up }, Ok(pods)) => {
                AbsenceEffect::Ask(Check::Find { round, pods, not_looked_up })
            }
            (NamesPurpose::Sample { round, .. } | NamesPurpose::Sorting { round, .. }, Err(failure)) => {
                self.answered(round, Confirmation::Unanswered(failure.to_string()), now)
            }
            (NamesPurpose::Places, result) => {
                self.is_placing = false;
                AbsenceEffect::Place(result.unwrap_or_default())
            }
        }
    }

    /// The same for a registry that cannot name its records: no pod is looked up by name.
    pub(super) fn unnamed(&mut self, about: NamesPurpose, uids: Vec<Uid>, now: Moment) -> AbsenceEffect {
        let about = match about {
            NamesPurpose::Sample { round, .. } => NamesPurpose::Sample { round, is_uncertain: true },
            NamesPurpose::Sorting { round, mut not_looked_up } => {
                not_looked_up.extend(uids);
                NamesPurpose::Sorting { round, not_looked_up }
            }
            NamesPurpose::Places => about,
        };
        self.named(about, Ok(Vec::new()), now)
    }

    /// The cluster could not be asked, as the last question is unanswered.
    pub(super) fn not_asked(&mut self, round: u64, now: Moment) -> AbsenceEffect {
        self.answered(round, Confirmation::Unanswered("the last question is still open".into()), now)
    }

    /// The list that the guard asked for came.
    #[must_use]
    pub(super) fn second_list(&mut self, round: u64, listed: ListedRecords, now: Moment) -> Option<AbsenceEffect> {
        let random = self.rng.u64(..);
        let ListedRecords { keys: mut there, excluded, exceeds_store, .. } = listed;
        if self.guard.sorting().next().is_some() {
            // Only here it matters that their pods exist.
            there.extend(excluded);
        }
        match self.guard.listed(round, &there, now, random) {
            ListOutcome::Ignored => {}
            ListOutcome::Agreed => return Some(AbsenceEffect::Reconcile),
            ListOutcome::Contradicted if !exceeds_store => {
                tracing::warn!(
                    held = self.guard.held(),
                    "deletions held: their pods exist, and the settings do not select them; retrying"
                );
                return Some(AbsenceEffect::ReconcileAgain);
            }
            ListOutcome::Contradicted => {
                tracing::warn!(
                    held = self.guard.held(),
                    "deletions held: a second list shows pods that the watch lacks; listing again"
                );
                return Some(AbsenceEffect::NeedList);
            }
            ListOutcome::Sorted { left, gone } => {
                tracing::info!(left, gone, "absent pods sorted after a change of settings");
                return Some(AbsenceEffect::Reconcile);
            }
        }
        None
    }

    /// The answer that the guard asked for came.
    pub(super) fn answered(&mut self, round: u64, answer: Confirmation, now: Moment) -> AbsenceEffect {
        let random = self.rng.u64(..);
        if self.guard.answered(round, answer, now, random) {
            self.log_confirmation();
        }
        // Other pods may have become absent since the question. They wait for those of this one, confirmed or held.
        AbsenceEffect::ReconcileAgain
    }

    fn log_confirmation(&self) {
        let held = self.guard.held();
        match self.guard.hold_reason() {
            // The reporter logs each hold as an error, with the reason and the fix.
            Some(HoldReason::StillThere(found)) => {
                tracing::warn!(held, found, "deletions held: pods that the list lacks exist; retrying");
            }
            Some(HoldReason::Unconfirmed(cause)) => {
                tracing::warn!(held, cause, "deletions held: they cannot be confirmed; retrying");
            }
            // These are logged where they begin.
            Some(HoldReason::ScopeChanged | HoldReason::NearlyAll { .. } | HoldReason::AnotherWriter) => {}
            None => tracing::info!(held, "absent pods are confirmed to be gone"),
        }
    }

    /// Takes the deletions that may be sent now.
    ///
    /// With `kinship`, some records belong to others. A record then waits for those that stand deeper, because any of
    /// them may belong to it. `is_leaving` says whether a released deletion is still to be sent.
    pub(super) fn release(
        &mut self,
        kinship: Option<&dyn Kinship>,
        is_leaving: &dyn Fn(&Uid) -> bool,
        now: Moment,
    ) -> Vec<ReleasedDeletion> {
        let Some(kinship) = kinship else { return in_order(self.guard.release(now)) };
        let at_least = self.leaving.deepest(is_leaving).unwrap_or_default();
        let released = in_order(self.guard.release_deepest(&|uid| kinship.depth(uid), at_least, now));
        released.iter().for_each(|deletion| self.leaving.note(&deletion.uid, kinship.depth(&deletion.uid)));
        released
    }
}

/// Operators, other writers and changed settings.
impl Absences {
    /// An operator approved held deletions.
    pub(super) fn approve(&mut self, hold: &HoldId) {
        let deletions = self.guard.approve(hold);
        if deletions > 0 {
            tracing::warn!(%hold, deletions, "held deletions were approved; sending them at a limited rate");
        }
    }

    /// Other settings than ours selected the records.
    pub(super) fn scope_changed(&mut self) {
        tracing::warn!(
            hold_on_scope_change = self.on_scope_change == ScopeChangePolicy::Hold,
            "the settings that select pods have changed; looking for records of existing pods that are no longer selected"
        );
        self.guard.scope_changed(self.on_scope_change);
    }

    /// An earlier process found nearly every record without a pod, and no operator has approved that yet.
    pub(super) fn need_operator(&mut self) {
        tracing::warn!(
            "an earlier process found nearly every record without a pod; an operator has to approve their deletion"
        );
        self.guard.need_operator();
        self.guard.scope_changed(self.on_scope_change);
    }

    /// Whether other settings than ours selected the records.
    pub(super) fn is_scope_changed(&self) -> bool {
        self.guard.is_scope_changed()
    }

    /// Whether the guard has nothing left of the settings before ours, and needs no operator.
    pub(super) fn is_scope_resolved(&self) -> bool {
        self.guard.is_scope_resolved()
    }

    /// The session declares that nothing is left of the settings before ours.
    pub(super) fn scope_declared(&mut self) {
        self.guard.scope_declared();
    }

    /// What the next process has to know.
    pub(super) fn held_because(&self) -> HeldBecause {
        HeldBecause { operator_needed: self.guard.is_operator_needed(), contested: self.are_contested() }
    }

    /// Whether another writer may be alive.
    pub(super) fn are_contested(&self) -> bool {
        self.guard.is_contested()
    }

    pub(super) fn expect_other_writer(&mut self, now: Moment) {
        self.guard.expect_other_writer(now);
    }

    pub(super) fn other_writer_seen(&mut self, now: Moment) {
        self.guard.other_writer_seen(now);
    }

    pub(super) fn no_other_writer_reported(&mut self, now: Moment) {
        self.guard.no_other_writer_reported(now);
    }
}

/// A set has another order in each run. In order, a recorded history can be played again.
fn in_order<T: Ord>(set: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut sorted: Vec<T> = set.into_iter().collect();
    sorted.sort_unstable();
    sorted
}
