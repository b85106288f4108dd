//! Inferred deletions: pods that are absent from a complete list.
//!
//! An absence passes these stages. From each it can fall back to the first one.
//!
//! | stage | decided by | waits for |
//! | --- | --- | --- |
//! | `Action::AwaitList` | [`decide`] | a list begun after the pod was last seen ([`Lists`]) |
//! | `Action::AwaitConfirmation` | [`decide`] | the absence guard ([`AbsenceGuard`]): for few absences, a check that the cluster is the same; for many, a second list and a sample; for nearly all, an operator |
//! | confirmed | [`Absences::release`] | its turn, at a limited rate and while writes can be sent; no other writer may be alive. Records of kinds that belong to others go first |
//! | `Action::Delete` | [`decide`] | its turn in the queue, like an observed deletion |
//!
//! The table leaves out the conditions of every deletion, such as the inventory, the session and the limits of writes.
//! The header of `event_loop::decisions` lists all of them.
//!
//! [`decide`]: crate::reconcile::decide::decide

mod leaving;
pub(super) mod survey;

use std::{collections::HashSet, ops::Range};

use super::{
    lists::Lists,
    records::ListedRecords,
    requests::{NamesPurpose, Request},
};
use crate::{
    model::{moment::Moment, pod::PodRef, uid::Uid, uid_map::UidMap},
    reconcile::{
        absence::{
            AbsenceGuard, Evidence, ListOutcome, ReleasedDeletion, ScopeChangePolicy,
            check::{Check, Confirmation, GuardQuestion},
            hold::{HoldId, HoldReason},
            operator::is_nearly_all,
        },
        decide::Action,
        ledger::{
            Ledger,
            entry::{Known, LedgerEntry},
        },
        outcome::Failure,
        pod_event::WatchList,
        progress::WorkProgress,
    },
};
use leaving::LeavingRecords;
use survey::{FullReconcile, Survey};

/// Pods that are looked up one by one after a change of settings, at most. Others are held without that.
const SORTED_AT_ONCE: usize = 2_000;

pub(super) struct Absences {
    pub(super) guard: AbsenceGuard,
    pub(super) lists: Lists,
    /// Pods that are not in the store, for which no list begun since they were last seen counts.
    awaiting_list: UidMap<()>,
    full_reconcile: FullReconcile,
    /// Whether an absence waits for a newer list.
    needs_list: bool,
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
    /// Ask every watch to list again.
    Relist,
}

impl Absences {
    pub(super) fn new(
        target: &'static str,
        lists: Lists,
        on_scope_change: ScopeChangePolicy,
        rng: fastrand::Rng,
    ) -> Self {
        Self {
            guard: AbsenceGuard::new(target),
            lists,
            awaiting_list: UidMap::default(),
            full_reconcile: FullReconcile::default(),
            needs_list: false,
            inherited: 0,
            is_placing: false,
            leaving: LeavingRecords::default(),
            on_scope_change,
            rng,
        }
    }

    pub(super) fn listed(&mut self, watch: usize, list: WatchList) {
        self.lists.listed(watch, list);
        self.request_reconcile();
    }

    pub(super) fn list_failed(&mut self, watch: usize) {
        if self.lists.failed(watch) {
            self.request_reconcile();
        }
    }

    /// A watch showed this pod, so that it is not absent any more.
    pub(super) fn pod_seen(&mut self, uid: &Uid) {
        self.full_reconcile.leave_out(uid);
        if self.guard.is_about(uid) {
            self.full_reconcile.follow();
        }
    }

    /// Notes whether this pod waits for a list.
    pub(super) fn set_awaiting(&mut self, uid: &Uid, awaits_list: bool) {
        if awaits_list {
            self.awaiting_list.insert(uid, ());
        } else {
            self.awaiting_list.remove(uid);
        }
    }

    pub(super) fn is_awaiting(&self, uid: &Uid) -> bool {
        self.awaiting_list.contains(uid)
    }

    /// The pods that wait for a list and are not in the ledger.
    pub(super) fn awaiting_outside(&self, ledger: &Ledger) -> Vec<Uid> {
        let uids = self.awaiting_list.iter().map(|(uid, ())| uid);
        uids.filter(|uid| ledger.entry(uid).is_none()).cloned().collect()
    }

    /// Requests a full reconcile. One that is under way begins again.
    pub(super) fn request_reconcile(&mut self) {
        self.full_reconcile.restart();
    }

    /// Requests a full reconcile after the one that is under way.
    pub(super) fn request_another_reconcile(&mut self) {
        self.full_reconcile.follow();
    }

    /// When the guard has a question or releases deletions, or a watch has to list again.
    pub(super) fn due_at(&mut self, now: Moment) -> Option<Moment> {
        let list_at = self.lists.due_at().filter(|_| self.needs_list);
        self.guard.due_at(now).into_iter().chain(list_at).filter(|at| *at > now).min()
    }

    /// Whether a full reconcile is due. The next call returns false.
    pub(super) fn take_reconcile(&mut self) -> bool {
        self.full_reconcile.take_due()
    }

    /// Whether a full reconcile is due or under way.
    pub(super) fn is_reconciling(&self) -> bool {
        !self.full_reconcile.is_done()
    }

    /// How far the full reconcile under way is.
    pub(super) fn reconcile_progress(&self) -> Option<WorkProgress> {
        self.full_reconcile.progress()
    }

    /// Whether no absence waits for a list or a full reconcile.
    pub(super) fn is_settled(&self) -> bool {
        self.awaiting_list.is_empty() && self.full_reconcile.is_done()
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
        self.awaiting_list.clear();
        self.request_reconcile();
    }
}

/// From a full reconcile to deletions.
impl Absences {
    /// Begins a full reconcile, also if one is under way.
    pub(super) fn begin_reconcile(&mut self, entries: usize, now: Moment) {
        self.full_reconcile.begin(entries, now);
    }

    /// The positions of the ledger that are next, as far as `left` entries go.
    pub(super) fn next_portion(&mut self, left: &mut usize) -> Option<Range<usize>> {
        self.full_reconcile.pass()?.portion(left)
    }

    /// What a full reconcile found, once it is complete.
    pub(super) fn take_survey(&mut self) -> Option<Survey> {
        self.full_reconcile.take()
    }

    /// Notes what a full reconcile decided about a pod.
    pub(super) fn note(&mut self, uid: Uid, action: Action, ledger: &Ledger) {
        if let Some(survey) = self.full_reconcile.survey() {
            survey.note(uid, action, &self.lists, ledger);
        }
    }

    /// Notes which of the absent pods exist, and are not selected any more. `find` selects them.
    pub(super) fn note_out_of_scope(survey: &mut Survey, find: impl FnOnce(&HashSet<Uid>) -> HashSet<Uid>) {
        survey.out_of_scope = find(&survey.absent);
    }

    /// A full reconcile is complete. `may_ask` says whether the registry may be asked for names.
    #[must_use]
    pub(super) fn derive(
        &mut self,
        survey: Survey,
        may_ask: bool,
        ledger: &Ledger,
        now: Moment,
    ) -> Option<AbsenceEffect> {
        let Survey { absent, out_of_scope, needs_list, unplaced } = survey;
        self.needs_list = needs_list;
        if let Some(list) = self.lists.over_some().filter(|_| ledger.is_seeded()) {
            let watch = |uid: &Uid| ledger.entry(uid).and_then(LedgerEntry::watch);
            let empty = absent.iter().any(|uid| self.lists.is_empty(watch(uid)));
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

    fn placed(&mut self, named: &[PodRef], ledger: &mut Ledger) {
        self.is_placing = false;
        for PodRef { uid, namespace, .. } in named {
            if let Some(watch) = self.lists.watch_of(namespace) {
                ledger.set_watch(uid, watch);
                self.request_reconcile();
            }
        }
    }

    /// Asks every watch to list again while an absence waits for a newer list.
    #[must_use]
    pub(super) fn want_list(&mut self, now: Moment) -> Option<AbsenceEffect> {
        (self.needs_list && self.lists.ask_again(now)).then_some(AbsenceEffect::Relist)
    }

    /// The next question of the guard.
    #[must_use]
    pub(super) fn next_question(&mut self, ledger: &Ledger, now: Moment) -> Option<AbsenceEffect> {
        let random = self.rng.u64(..);
        Some(match self.guard.ask(now, random)? {
            GuardQuestion::Whole { round } if self.lists.is_cluster_wide() => {
                AbsenceEffect::Ask(Check::Whole { round })
            }
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
                AbsenceEffect::Ask(Check::List { round, except: self.lists.failing_namespaces() })
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
    #[must_use]
    pub(super) fn named(
        &mut self,
        about: NamesPurpose,
        result: Result<Vec<PodRef>, Failure>,
        ledger: &mut Ledger,
        now: Moment,
    ) -> Option<AbsenceEffect> {
        match (about, result) {
            (NamesPurpose::Sample { round, is_uncertain: false }, Ok(pods)) if pods.is_empty() => {
                let why = "the registry has no usable names of the pods in the sample".to_owned();
                self.answered(round, Confirmation::Unanswered(why), now);
            }
            (NamesPurpose::Sample { round, .. }, Ok(pods)) => {
                return Some(AbsenceEffect::Ask(Check::LookUp { round, pods }));
            }
            (NamesPurpose::Sorting { round, not_looked_up }, Ok(pods)) => {
                return Some(AbsenceEffect::Ask(Check::Find { round, pods, not_looked_up }));
            }
            (NamesPurpose::Sample { round, .. } | NamesPurpose::Sorting { round, .. }, Err(failure)) => {
                self.answered(round, Confirmation::Unanswered(failure.to_string()), now);
            }
            (NamesPurpose::Places, result) => self.placed(&result.unwrap_or_default(), ledger),
        }
        None
    }

    /// The same for a registry that cannot name its records: no pod is looked up by name.
    #[must_use]
    pub(super) fn unnamed(
        &mut self,
        about: NamesPurpose,
        uids: Vec<Uid>,
        ledger: &mut Ledger,
        now: Moment,
    ) -> Option<AbsenceEffect> {
        let about = match about {
            NamesPurpose::Sample { round, .. } => NamesPurpose::Sample { round, is_uncertain: true },
            NamesPurpose::Sorting { round, mut not_looked_up } => {
                not_looked_up.extend(uids);
                NamesPurpose::Sorting { round, not_looked_up }
            }
            NamesPurpose::Places => about,
        };
        self.named(about, Ok(Vec::new()), ledger, now)
    }

    /// The cluster could not be asked, as the last question is unanswered.
    pub(super) fn not_asked(&mut self, round: u64, now: Moment) {
        self.answered(round, Confirmation::Unanswered("the last question is still open".into()), now);
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
            ListOutcome::Agreed => self.request_reconcile(),
            ListOutcome::Contradicted if !exceeds_store => {
                tracing::warn!(
                    held = self.guard.held(),
                    "deletions held: their pods exist, and the settings do not select them; retrying"
                );
                self.request_another_reconcile();
            }
            ListOutcome::Contradicted => {
                tracing::warn!(
                    held = self.guard.held(),
                    "deletions held: a second list shows pods that the watch lacks; listing again"
                );
                self.needs_list = true;
                return self.want_list(now);
            }
            ListOutcome::Sorted { left, gone } => {
                tracing::info!(left, gone, "absent pods sorted after a change of settings");
                self.request_reconcile();
            }
        }
        None
    }

    /// The answer that the guard asked for came.
    pub(super) fn answered(&mut self, round: u64, answer: Confirmation, now: Moment) {
        let random = self.rng.u64(..);
        let is_current = self.guard.answered(round, answer, now, random);
        // Other pods may have become absent since the question. They wait for those of this one, confirmed or held.
        self.request_another_reconcile();
        if !is_current {
            return;
        }
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
    pub(super) fn release(&mut self, now: Moment) -> Vec<ReleasedDeletion> {
        in_order(self.guard.release(now))
    }

    /// The same for records that belong to others: `depth` says how many records stand above one. A record waits for
    /// those that stand deeper, because any of them may belong to it.
    pub(super) fn release_deepest(
        &mut self,
        depth: &dyn Fn(&Uid) -> usize,
        is_leaving: &dyn Fn(&Uid) -> bool,
        now: Moment,
    ) -> Vec<ReleasedDeletion> {
        let at_least = self.leaving.deepest(is_leaving).unwrap_or_default();
        let released = in_order(self.guard.release_deepest(depth, at_least, now));
        released.iter().for_each(|deletion| self.leaving.note(&deletion.uid, depth(&deletion.uid)));
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

    /// Whether nothing is left of the settings before ours, and nothing needs an operator.
    pub(super) fn is_scope_resolved(&self) -> bool {
        self.guard.is_scope_resolved() && self.is_settled()
    }
}

/// A set has another order in each run. In order, a recorded history can be played again.
fn in_order<T: Ord>(set: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut sorted: Vec<T> = set.into_iter().collect();
    sorted.sort_unstable();
    sorted
}
