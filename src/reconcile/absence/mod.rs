//! The absence guard: a pod that a complete list lacks counts as deleted only after a confirmation.
//!
//! ```text
//!              few absences                            all gone
//!  Idle --------------------------------> Confirming -----------> sent
//!   |  many, or a suspect list    agrees   ^     | a pod exists,     ^
//!   +-------------------> SecondList ------+     | or no answer      | approved
//!   |  settings changed    ^   | disagrees       v                   |
//!   +---------> Sorting ---+   +--------------> Held ----------------+
//!   |             |     gone                     ^ |                 |
//!   |             | exist                        | +--> retried: SecondList or Sorting
//!   |  nearly all +------------> out of scope ---|-------------------+
//!   +--------------------------------------------+
//! ```
//!
//! - `Confirming` checks that the cluster is still the same. Absences that went through `SecondList` are *guarded*: a
//!   random sample of the pods is looked up, too, and the confirmed deletions are sent at a bounded rate.
//! - `Sorting` follows a change of the settings that select pods. A list of the whole cluster tells which pods are
//!   gone, and which exist but are out of scope. The latter are held until an operator approves, or deleted at the
//!   bounded rate ([`ScopeChangePolicy`]).
//! - Nearly all records absent may mean that the cluster is a copy of the one that wrote them, so only an operator can
//!   release them. While another writer may be alive, every inferred deletion is held that no operator approved, also
//!   one that was released already (`Ledger::withdraw_unapproved`). A request in flight is not taken back.
//!
//! Pods that come back leave any stage. Puts and observed deletions never wait for the guard.

pub mod check;
pub mod hold;
pub mod operator;
mod release;
mod stage;
mod summary;

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use super::{deletion::Removal, retry};
use crate::model::{moment::Moment, uid::Uid};

use check::{Confirmation, GuardQuestion};
use hold::{Hold, HoldReason};
use stage::{Stage, Step};

/// Inferred deletions within this time are counted together.
const WINDOW: Duration = Duration::from_secs(600);
/// The number of inferred deletions within [`WINDOW`] that are not guarded.
const UNGUARDED: usize = 50;
/// If it is more than [`UNGUARDED`], one in this many of our records is the limit.
const UNGUARDED_PART: usize = 10;
/// The second list begins this long after the first.
const SECOND_LIST_AFTER: Duration = Duration::from_secs(10);
/// The number of pods that are looked up one by one.
const SAMPLE: usize = 20;
/// Guarded or approved deletions that are released per second.
pub const RELEASED_PER_SECOND: u32 = 100;
/// Delays between attempts to confirm deletions that were contradicted.
const HELD_RETRY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));
/// Delays between attempts if there was no answer.
const UNANSWERED_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Another writer that gives no sign of life for this long is gone. A writer that lost its session notices with its
/// next heartbeat, at most 30 s later, or restarts and waits 20 s. It then gives a sign every 10 s, which the registry
/// reports in the answer to our next heartbeat. Until then, we send one every 5 s.
const OTHER_WRITER_GONE_AFTER: Duration = Duration::from_secs(60);

/// An unanswered confirmation is shown as a hold after this many attempts.
const SHOWN_AFTER: u32 = 3;

/// The newest complete lists of all watches, as one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompleteList {
    /// When the oldest of them began.
    pub begun: Moment,
    /// Whether none is older than anything seen before it.
    pub trusted: bool,
}

/// What absences are inferred from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The list that lacks the pods.
    pub list: CompleteList,
    /// Whether a watch that lacks one of them listed no pod at all.
    pub empty: bool,
    /// The number of records of which [nearly all](operator::is_nearly_all) are absent, or `None` if fewer are.
    pub nearly_all_of: Option<usize>,
    /// The number of records that the registry may hold of this owner.
    pub owned: usize,
}

/// What happens to records of existing pods that changed settings no longer select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeChangePolicy {
    /// They are held until an operator approves.
    Hold,
    /// They are deleted at the bounded rate.
    Release,
}

/// A confirmed deletion that may be sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReleasedDeletion {
    pub uid: Uid,
    pub removal: Removal,
    /// Whether an operator approved it.
    pub approved: bool,
}

/// The result of a requested list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOutcome {
    /// The list answers an outdated question.
    Ignored,
    /// The list agrees with the first one.
    Agreed,
    /// The list shows pods that the watches lack, so the pods have to be listed again.
    Contradicted,
    /// The list of the whole cluster tells which of the absent pods exist.
    Sorted {
        /// Pods that exist and are out of scope.
        left: usize,
        gone: usize,
    },
}

#[derive(Debug)]
pub struct AbsenceGuard {
    /// The target whose records are guarded.
    target: &'static str,
    stage: Stage,
    /// The evidence of the newest absences.
    evidence: Option<Evidence>,
    /// Set while the records were written with other settings.
    change: Option<ScopeChangePolicy>,
    /// Whether absences were derived since the change.
    derived_since_change: bool,
    /// Existing pods that only the former settings selected.
    out_of_scope: Option<Hold>,
    /// When they were last sorted.
    classified_at: Option<Moment>,
    /// A hold that is being confirmed again. It stays shown and can be approved.
    under_review: Option<Hold>,
    /// When inferred deletions were confirmed, and how many.
    recent: VecDeque<(Moment, usize)>,
    /// Confirmed deletions that are sent at once.
    unguarded: Vec<Uid>,
    /// Confirmed deletions that are sent at the bounded rate.
    confirmed: VecDeque<(Uid, Removal)>,
    /// Approved deletions that are sent at the bounded rate.
    approved: VecDeque<(Uid, Removal)>,
    /// Whether only an operator can release inferred deletions, until none is left.
    operator_needed: bool,
    /// Set while another writer may be alive: when it is gone if it gives no sign of life.
    other_writer_until: Option<Moment>,
    /// Whether those that leave stand in the order in which records that belong to others leave.
    is_in_order: bool,
    rate: retry::RateLimit,
    attempts: u32,
    round: u64,
}

impl AbsenceGuard {
    /// The guard of this target's records.
    pub fn new(target: &'static str) -> Self {
        Self {
            target,
            stage: Stage::Idle,
            evidence: None,
            change: None,
            derived_since_change: false,
            out_of_scope: None,
            classified_at: None,
            under_review: None,
            recent: VecDeque::new(),
            unguarded: Vec::new(),
            confirmed: VecDeque::new(),
            approved: VecDeque::new(),
            operator_needed: false,
            other_writer_until: None,
            is_in_order: false,
            rate: retry::RateLimit::new(RELEASED_PER_SECOND),
            attempts: 0,
            round: 0,
        }
    }
}

/// From absences to questions, and from answers to deletions.
impl AbsenceGuard {
    /// Takes the absences that follow from a complete list.
    pub fn derive(&mut self, mut absent: HashSet<Uid>, evidence: Evidence, now: Moment) {
        (self.evidence, self.derived_since_change) = (Some(evidence), true);
        self.unguarded.retain(|uid| absent.contains(uid));
        self.confirmed.retain(|(uid, _)| absent.contains(uid));
        self.approved.retain(|(uid, _)| absent.contains(uid));
        self.out_of_scope =
            self.out_of_scope.take().and_then(|out_of_scope| out_of_scope.retain(|uid| absent.contains(uid)));
        let leaving = self.confirmed.iter().chain(&self.approved).map(|(uid, _)| uid).chain(&self.unguarded);
        let elsewhere = leaving.chain(self.out_of_scope.iter().flat_map(Hold::ids));
        for uid in elsewhere {
            absent.remove(uid);
        }
        self.under_review =
            self.under_review.take().and_then(|under_review| under_review.retain(|uid| absent.contains(uid)));
        self.stage = match std::mem::take(&mut self.stage) {
            _ if absent.is_empty() => Stage::Idle,
            // A confirmation under way only shrinks; new absences have their turn afterwards.
            Stage::Checking { ids, step, asked } if !ids.is_disjoint(&absent) => {
                Stage::Checking { ids: &ids & &absent, step, asked }
            }
            Stage::Held { hold, retry_at } => self.hold_on(hold.of(absent), retry_at),
            _ if self.change.is_some() => Step::Sorting.about(absent),
            _ => self.first_check(absent, now),
        };
        if matches!(self.stage, Stage::Idle) {
            (self.attempts, self.under_review) = (0, None);
        }
    }

    /// Drops all absences, confirmed or not: another process decides about them.
    pub fn drop_absences(&mut self) {
        self.unguarded.clear();
        self.confirmed.clear();
        self.approved.clear();
        (self.stage, self.out_of_scope, self.under_review) = (Stage::Idle, None, None);
        self.attempts = 0;
    }

    fn first_check(&mut self, absent: HashSet<Uid>, now: Moment) -> Stage {
        let Some(Evidence { list, empty, owned, .. }) = self.evidence else { return Stage::Idle };
        if let Some(because) = self.needs_operator(absent.len()) {
            return self.held_for_operator(absent, because);
        }
        let unguarded = UNGUARDED.max(owned / UNGUARDED_PART);
        // After a change of settings, only the list of the whole cluster lacks them, so they are guarded, however few
        // they are.
        let suspect = empty || !list.trusted || self.change.is_some();
        let guarded = suspect || self.confirmed_recently(now) + absent.len() > unguarded;
        let step = if guarded {
            Step::SecondList { earliest: list.begun + SECOND_LIST_AFTER, out_of_scope: false }
        } else {
            Step::Confirming { guarded }
        };
        step.about(absent)
    }

    fn confirmed_recently(&mut self, now: Moment) -> usize {
        while self.recent.front().is_some_and(|(at, _)| *at + WINDOW < now) {
            self.recent.pop_front();
        }
        self.recent.iter().map(|(_, count)| count).sum()
    }

    /// The next question. Each is returned once.
    pub fn ask(&mut self, now: Moment, random: u64) -> Option<GuardQuestion> {
        if self.is_contested() {
            return None;
        }
        self.retry_held(now);
        let Stage::Checking { ids, step, asked: asked @ false } = &mut self.stage else { return None };
        let round = self.round + 1;
        let question = match *step {
            Step::Sorting => GuardQuestion::Whole { round },
            Step::SecondList { earliest, .. } if now < earliest => return None,
            Step::SecondList { .. } => GuardQuestion::List { round },
            Step::Confirming { guarded } => {
                GuardQuestion::Confirm { round, sample: if guarded { sample(ids, random) } else { Vec::new() } }
            }
        };
        (*asked, self.round) = (true, round);
        Some(question)
    }

    /// When the next question comes or deletions may be sent, as far as time decides it.
    pub fn due_at(&mut self, now: Moment) -> Option<Moment> {
        let leaving = self.approved.len() + if self.is_contested() { 0 } else { self.confirmed.len() };
        let portion = self.rate.portion().min(leaving);
        let released_at = (leaving > 0).then(|| self.rate.next_at(now, portion));
        let asked_at = match &self.stage {
            _ if self.is_contested() => None,
            Stage::Checking { step: Step::SecondList { earliest, .. }, asked: false, .. } => Some(*earliest),
            Stage::Held { retry_at, .. } => *retry_at,
            Stage::Idle if self.out_of_scope.is_some() => self.classified_at.map(|at| at + HELD_RETRY.1),
            _ => None,
        };
        released_at.into_iter().chain(asked_at).filter(|at| *at > now).min()
    }

    /// Retries a hold, and sorts the pods that are out of scope again: they may be gone since.
    fn retry_held(&mut self, now: Moment) {
        match &self.stage {
            Stage::Held { retry_at: Some(retry_at), hold } if now >= *retry_at => {
                let ids: HashSet<Uid> = hold.ids().cloned().collect();
                self.under_review =
                    Some(hold.clone()).filter(|hold| hold.is_contradicted() || self.attempts >= SHOWN_AFTER);
                let second_list = Step::SecondList { earliest: now, out_of_scope: false };
                self.stage = self.change.map_or(second_list, |_| Step::Sorting).about(ids);
            }
            Stage::Idle if self.classified_at.is_none_or(|classified_at| now >= classified_at + HELD_RETRY.1) => {
                if let Some(out_of_scope) = &self.out_of_scope {
                    self.classified_at = Some(now);
                    self.stage = Step::Sorting.about(out_of_scope.ids().cloned().collect());
                }
            }
            _ => {}
        }
    }

    /// Takes a requested list. If a second list shows any of the absent pods, the watches are wrong, and all of them
    /// are held.
    pub fn listed(&mut self, round: u64, there: &HashSet<Uid>, now: Moment, random: u64) -> ListOutcome {
        match self.take_asked(round, |step| !matches!(step, Step::Confirming { .. })) {
            Some((ids, Step::SecondList { out_of_scope, .. })) => {
                let contradicted = ids.intersection(there).count();
                if contradicted > 0 {
                    self.hold(ids, HoldReason::StillThere(contradicted), now, random);
                    return ListOutcome::Contradicted;
                }
                self.is_in_order = false;
                if out_of_scope {
                    self.confirmed.extend(ids.into_iter().map(|uid| (uid, Removal::LeftSelection)));
                } else {
                    self.stage = Step::Confirming { guarded: true }.about(ids);
                }
                ListOutcome::Agreed
            }
            Some((ids, Step::Sorting)) => self.sorted(ids, there, now),
            Some((_, Step::Confirming { .. })) | None => ListOutcome::Ignored,
        }
    }

    /// Takes the pods of this round's question out of the stage. None if the question is outdated, or if `is_answered`
    /// says that its step is not one that this answer is for.
    fn take_asked(&mut self, round: u64, is_answered: impl Fn(Step) -> bool) -> Option<(HashSet<Uid>, Step)> {
        match &mut self.stage {
            Stage::Checking { ids, step, asked: true } if round == self.round && is_answered(*step) => {
                let asked = (std::mem::take(ids), *step);
                self.stage = Stage::Idle;
                Some(asked)
            }
            _ => None,
        }
    }

    fn sorted(&mut self, ids: HashSet<Uid>, there: &HashSet<Uid>, now: Moment) -> ListOutcome {
        let (out_of_scope, gone): (HashSet<Uid>, HashSet<Uid>) = ids.into_iter().partition(|uid| there.contains(uid));
        let counts = ListOutcome::Sorted { left: out_of_scope.len(), gone: gone.len() };
        (self.classified_at, self.under_review) = (Some(now), None);
        let before = self.out_of_scope.take();
        let kept: HashSet<Uid> =
            before.iter().flat_map(Hold::ids).filter(|uid| !gone.contains(*uid)).cloned().collect();
        match self.change {
            _ if out_of_scope.is_empty() && kept.is_empty() => {}
            Some(ScopeChangePolicy::Release) => {
                // The pods that are gone are sorted again later: the second list asks only about the others.
                self.stage = Step::SecondList { earliest: now, out_of_scope: true }.about(out_of_scope);
                return counts;
            }
            _ => {
                let ids = &kept | &out_of_scope;
                self.hold_out_of_scope(before, ids);
            }
        }
        if !gone.is_empty() {
            self.stage = self.first_check(gone, now);
        }
        counts
    }

    /// Takes the answer to a confirmation. Returns false if it answers an outdated question; nothing changes then.
    pub fn answered(&mut self, round: u64, answer: Confirmation, now: Moment, random: u64) -> bool {
        let Some((ids, step)) = self.take_asked(round, |_| true) else { return false };
        if self.out_of_scope.as_ref().is_some_and(|out_of_scope| ids.iter().all(|uid| out_of_scope.contains(uid))) {
            // They are held as out of scope already, and are sorted again later.
            return false;
        }
        match answer {
            Confirmation::Gone => {
                (self.attempts, self.under_review, self.is_in_order) = (0, None, false);
                self.recent.push_back((now, ids.len()));
                if matches!(step, Step::Confirming { guarded: false }) {
                    self.unguarded.extend(ids);
                } else {
                    self.confirmed.extend(ids.into_iter().map(|uid| (uid, Removal::Inferred)));
                }
            }
            Confirmation::StillThere(count) => self.hold(ids, HoldReason::StillThere(count), now, random),
            Confirmation::Unanswered(why) => self.hold(ids, HoldReason::Unconfirmed(why), now, random),
        }
        true
    }

    fn hold(&mut self, ids: HashSet<Uid>, because: HoldReason, now: Moment, random: u64) {
        self.attempts = self.attempts.saturating_add(1);
        let (base, max) = match because {
            HoldReason::Unconfirmed(_) => UNANSWERED_RETRY,
            _ => HELD_RETRY,
        };
        let retry_at = Some(now + retry::backoff(base, max, self.attempts, random));
        self.stage = Stage::Held { hold: self.named(ids, because), retry_at };
    }

    /// Creates a hold, which keeps the former names of one that is under review.
    fn named(&mut self, ids: HashSet<Uid>, because: HoldReason) -> Hold {
        match self.under_review.take() {
            Some(under_review) => under_review.of(ids).for_reason(because),
            None => Hold::new(self.target, ids, because),
        }
    }
}

/// A random part of a set, of at most [`SAMPLE`] pods.
fn sample(ids: &HashSet<Uid>, random: u64) -> Vec<Uid> {
    let mut ids: Vec<&Uid> = ids.iter().collect();
    // The order of the set differs from run to run; only the seed may decide.
    ids.sort_unstable();
    let mut rng = fastrand::Rng::with_seed(random);
    let count = SAMPLE.min(ids.len());
    for place in 0..count {
        let other = rng.usize(place..ids.len());
        ids.swap(place, other);
    }
    ids.into_iter().take(count).cloned().collect()
}

#[cfg(test)]
mod tests;
