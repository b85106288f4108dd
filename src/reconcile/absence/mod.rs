//! The deletion brake: an absence is a deletion only once it is confirmed.
//!
//! Few absences are confirmed by the cluster still being the one that we started with. Many within a while, or an empty
//! list, are *braked*: a second list some seconds later has to agree, and a random sample of the pods is looked up one
//! by one. What is confirmed leaves at a bounded rate. What is not is held, shown, and derived anew at every complete
//! list. Puts and watched deletions never wait behind it.
//!
//! After a change of the settings that say which pods are registered, what is absent is first sorted by a list of the
//! whole cluster: what is gone is braked, however little it is, and what is there and no longer selected is held, whatever
//! its number, until a person approves exactly that, or the pods are selected again.
//!
//! When nearly every record has no pod, the cluster may be a copy of the one that wrote the records: only a person can
//! release those deletions. While another writer is alive, every inferred deletion is held.

pub mod check;
pub mod hold;
pub mod person;

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use super::{deletion::Removal, retry};
use crate::model::{moment::Moment, uid::Uid};

use check::{Confirmation, GuardQuestion};
use hold::{Hold, HoldReason, HoldSummary};

/// Within this time, deletions by absence are counted together.
const WINDOW: Duration = Duration::from_secs(600);
/// So many deletions by absence within the window are never braked.
const UNGUARDED: usize = 50;
/// Beyond [`UNGUARDED`], one in so many of our records is.
const UNGUARDED_PART: usize = 10;
/// How much later the second list is begun.
const SECOND_LIST_AFTER: Duration = Duration::from_secs(10);
/// How many pods are looked up one by one.
const SAMPLE: usize = 20;
/// Confirmed deletions a second, once braked.
const RELEASED_PER_SECOND: u32 = 100;
/// Delays between attempts to confirm what was contradicted: nothing will have changed soon.
const HELD_RETRY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));
/// Delays between attempts to get an answer at all.
const UNANSWERED_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Without a sign of another writer for this long, it is gone. A writer that lost its session notices with its next
/// heartbeat, at most 30 s later, or restarts and waits 20 s. It then gives a sign every 10 s, of which the registry tells
/// in the answer to our next heartbeat. Until then, we send one every 5 s.
const OTHER_WRITER_GONE_AFTER: Duration = Duration::from_secs(60);

/// What cannot be confirmed is shown to a person after so many attempts.
const SHOWN_AFTER: u32 = 3;

/// A complete list over all watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompleteList {
    /// When the oldest of the watches' newest complete lists was begun.
    pub begun: Moment,
    /// Whether it is known not to be older than what was seen before it.
    pub trusted: bool,
}

/// What absences are concluded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The list from which the pods are absent.
    pub list: CompleteList,
    /// Whether the watch that lacks one of them listed no pod at all.
    pub empty: bool,
    /// Of how many records nearly all are absent, as [`is_nearly_all`] tells; none if they are fewer.
    pub nearly_all_of: Option<usize>,
    /// How many records the registry may hold of this writer.
    pub owned: usize,
}

/// What becomes of pods that are there and no longer selected, because the settings changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeChangePolicy {
    /// Their records are held until a person approves.
    Hold,
    /// Their records leave, at the bounded rate.
    Release,
}

/// What a list that was asked for led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOutcome {
    /// It answers a question that is no longer asked.
    Ignored,
    /// It agrees with the one before.
    Agreed,
    /// It shows pods that the watches lack: their view is wrong and has to be taken anew.
    Contradicted,
    /// It tells which of the absent are there and left the selection, and which are gone.
    Sorted {
        /// How many are there.
        left: usize,
        /// How many are gone.
        gone: usize,
    },
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// A list of the whole cluster has to tell which of them are there.
    Sorting { ids: HashSet<Uid>, asked: bool },
    /// A second list, begun at `earliest` or later, has to agree. It is taken beside the watches: while a watch is built
    /// anew, what ends in the meantime would look absent as well. Of those that `left`, nothing more is asked.
    SecondList { ids: HashSet<Uid>, earliest: Moment, asked: bool, out_of_scope: bool },
    /// The cluster and a sample are looked up.
    Confirming { ids: HashSet<Uid>, guarded: bool, asked: bool },
    /// Not confirmed. Without `retry_at`, only a person can release them.
    Held { hold: Hold, retry_at: Option<Moment> },
}

/// The brake.
#[derive(Debug)]
pub struct AbsenceGuard {
    stage: Stage,
    /// What absences were concluded from last.
    evidence: Option<Evidence>,
    /// Set while the settings differ from those that the records were written under.
    change: Option<ScopeChangePolicy>,
    /// Whether absences have been derived since then.
    derived_since_change: bool,
    /// What is there and was selected by the settings before, and when it was last sorted.
    out_of_scope: Option<Hold>,
    classified_at: Option<Moment>,
    /// What was held and is being looked at again: it stays shown, and can be approved.
    under_review: Option<Hold>,
    /// How many deletions by absence were approved, and when.
    recent: VecDeque<(Moment, usize)>,
    /// Confirmed, and sent at once.
    unguarded: Vec<Uid>,
    /// Confirmed, and sent at the bounded rate.
    confirmed: VecDeque<(Uid, Removal)>,
    /// Approved by a person, and sent at the bounded rate.
    approved: VecDeque<(Uid, Removal)>,
    /// Whether only a person can release an inferred deletion, until none is pending.
    operator_needed: bool,
    /// While another writer may be alive: when it is gone if no sign of it has come.
    other_writer_until: Option<Moment>,
    rate: retry::RateLimit,
    attempts: u32,
    round: u64,
}

impl Default for AbsenceGuard {
    fn default() -> Self {
        Self {
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
            rate: retry::RateLimit::new(RELEASED_PER_SECOND),
            attempts: 0,
            round: 0,
        }
    }
}

/// What it shows.
impl AbsenceGuard {
    /// How many deletions wait for their confirmation or for their turn after it.
    pub fn held(&self) -> usize {
        let stage = match &self.stage {
            Stage::Idle | Stage::Confirming { guarded: false, .. } => 0,
            Stage::Sorting { ids, .. } | Stage::SecondList { ids, .. } | Stage::Confirming { ids, .. } => ids.len(),
            Stage::Held { hold, .. } => hold.len(),
        };
        stage + self.out_of_scope.as_ref().map_or(0, Hold::len) + self.confirmed.len() + self.approved.len()
    }

    /// Whether no deletion waits for anything here: neither for a confirmation nor for its turn.
    pub fn is_idle(&self) -> bool {
        let nothing_leaves = self.unguarded.is_empty() && self.confirmed.is_empty() && self.approved.is_empty();
        matches!(self.stage, Stage::Idle) && self.out_of_scope.is_none() && nothing_leaves
    }

    /// Whether it waits for something about this id: one that is back is no absence any more.
    pub fn is_about(&self, uid: &Uid) -> bool {
        let in_stage = match &self.stage {
            Stage::Idle => false,
            Stage::Sorting { ids, .. } | Stage::SecondList { ids, .. } | Stage::Confirming { ids, .. } => {
                ids.contains(uid)
            }
            Stage::Held { hold, .. } => hold.contains(uid),
        };
        in_stage || self.out_of_scope.as_ref().is_some_and(|out_of_scope| out_of_scope.contains(uid))
    }

    /// What has to be sorted by whether it is there.
    pub fn sorting(&self) -> impl Iterator<Item = &Uid> {
        let ids = if let Stage::Sorting { ids, .. } = &self.stage { Some(ids) } else { None };
        ids.into_iter().flatten()
    }

    /// Why the last confirmation failed, while that stands.
    pub fn hold_reason(&self) -> Option<&HoldReason> {
        match &self.stage {
            Stage::Held { hold, .. } => Some(hold.because()),
            _ => None,
        }
    }

    /// What waits for a person, or for its pods to come back.
    pub fn holds(&self) -> Vec<HoldSummary> {
        let unconfirmed = match &self.stage {
            // A person is not asked for every hiccup.
            Stage::Held { hold, .. } if hold.is_doubted() || self.attempts >= SHOWN_AFTER => Some(hold),
            Stage::Held { .. } => None,
            _ => self.under_review.as_ref(),
        };
        self.out_of_scope.iter().chain(unconfirmed).map(Hold::shown).collect()
    }
}

/// From absences to questions, and from answers to deletions.
impl AbsenceGuard {
    /// The absences as every complete list derives them.
    pub fn derive(&mut self, mut absent: HashSet<Uid>, evidence: Evidence, now: Moment) {
        (self.evidence, self.derived_since_change) = (Some(evidence), true);
        self.confirmed.retain(|(uid, _)| absent.contains(uid));
        self.approved.retain(|(uid, _)| absent.contains(uid));
        self.out_of_scope = self.out_of_scope.take().and_then(|out_of_scope| out_of_scope.among(&absent));
        let leaving = self.confirmed.iter().chain(&self.approved).map(|(uid, _)| uid);
        let elsewhere = leaving.chain(self.out_of_scope.iter().flat_map(Hold::ids));
        for uid in elsewhere {
            absent.remove(uid);
        }
        self.under_review = self.under_review.take().and_then(|under_review| under_review.among(&absent));
        self.stage = match std::mem::take(&mut self.stage) {
            _ if absent.is_empty() => Stage::Idle,
            // What is being confirmed only shrinks; what came to it since has its turn afterwards.
            Stage::Sorting { ids, asked } if !ids.is_disjoint(&absent) => Stage::Sorting { ids: &ids & &absent, asked },
            Stage::SecondList { ids, earliest, asked, out_of_scope } if !ids.is_disjoint(&absent) => {
                Stage::SecondList { ids: &ids & &absent, earliest, asked, out_of_scope }
            }
            Stage::Confirming { ids, guarded, asked } if !ids.is_disjoint(&absent) => {
                Stage::Confirming { ids: &ids & &absent, guarded, asked }
            }
            Stage::Held { hold, retry_at } => self.hold_on(hold.of(absent), retry_at),
            _ if self.change.is_some() => Stage::Sorting { ids: absent, asked: false },
            _ => self.first_check(absent, now),
        };
        if matches!(self.stage, Stage::Idle) {
            (self.attempts, self.under_review) = (0, None);
        }
    }

    /// No absence counts any more, whatever was confirmed: another process decides about them.
    pub fn drop_absences(&mut self) {
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
        // After a change of settings only a list of the whole cluster says that they are gone: it is doubted, however few.
        let doubted = empty || !list.trusted || self.change.is_some();
        let guarded = doubted || self.approved_recently(now) + absent.len() > unguarded;
        if guarded {
            Stage::SecondList {
                ids: absent,
                earliest: list.begun + SECOND_LIST_AFTER,
                asked: false,
                out_of_scope: false,
            }
        } else {
            Stage::Confirming { ids: absent, guarded, asked: false }
        }
    }

    fn approved_recently(&mut self, now: Moment) -> usize {
        while self.recent.front().is_some_and(|(at, _)| *at + WINDOW < now) {
            self.recent.pop_front();
        }
        self.recent.iter().map(|(_, count)| count).sum()
    }

    /// What has to be found out now, said once.
    pub fn ask(&mut self, now: Moment, random: u64) -> Option<GuardQuestion> {
        if self.is_contested() {
            return None;
        }
        self.retry_held(now);
        match &mut self.stage {
            Stage::Sorting { asked, .. } if !*asked => {
                *asked = true;
                self.round += 1;
                Some(GuardQuestion::Whole { round: self.round })
            }
            Stage::SecondList { earliest, asked, .. } if now >= *earliest && !*asked => {
                *asked = true;
                self.round += 1;
                Some(GuardQuestion::List { round: self.round })
            }
            Stage::Confirming { ids, guarded, asked } if !*asked => {
                *asked = true;
                self.round += 1;
                let sample = if *guarded { sample(ids, random) } else { Vec::new() };
                Some(GuardQuestion::Confirm { round: self.round, sample })
            }
            _ => None,
        }
    }

    /// What could not be confirmed is looked at again after a while, and so is what left: it may have gone since.
    fn retry_held(&mut self, now: Moment) {
        match &self.stage {
            Stage::Held { retry_at: Some(retry_at), hold } if now >= *retry_at => {
                let ids: HashSet<Uid> = hold.ids().cloned().collect();
                self.under_review = Some(hold.clone()).filter(|hold| hold.is_doubted() || self.attempts >= SHOWN_AFTER);
                self.stage = match self.change {
                    Some(_) => Stage::Sorting { ids, asked: false },
                    None => Stage::SecondList { ids, earliest: now, asked: false, out_of_scope: false },
                };
            }
            Stage::Idle if self.classified_at.is_none_or(|classified_at| now >= classified_at + HELD_RETRY.1) => {
                if let Some(out_of_scope) = &self.out_of_scope {
                    self.classified_at = Some(now);
                    self.stage = Stage::Sorting { ids: out_of_scope.ids().cloned().collect(), asked: false };
                }
            }
            _ => {}
        }
    }

    /// The list that was asked for. A second list that shows any of the absent says that the view which lacks them is
    /// wrong: they are all held.
    pub fn listed(&mut self, round: u64, there: &HashSet<Uid>, now: Moment, random: u64) -> ListOutcome {
        let asked = matches!(self.stage, Stage::SecondList { asked: true, .. } | Stage::Sorting { asked: true, .. });
        if round != self.round || !asked {
            return ListOutcome::Ignored;
        }
        match std::mem::take(&mut self.stage) {
            Stage::SecondList { ids, out_of_scope, .. } => {
                let contradicted = ids.intersection(there).count();
                if contradicted > 0 {
                    self.hold(ids, HoldReason::StillThere(contradicted), now, random);
                    return ListOutcome::Contradicted;
                }
                if out_of_scope {
                    self.confirmed.extend(ids.into_iter().map(|uid| (uid, Removal::LeftRule)));
                } else {
                    self.stage = Stage::Confirming { ids, guarded: true, asked: false };
                }
                ListOutcome::Agreed
            }
            Stage::Sorting { ids, .. } => self.sorted(ids, there, now),
            Stage::Idle | Stage::Confirming { .. } | Stage::Held { .. } => ListOutcome::Ignored,
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
                // What is gone is sorted again once these have left: a list of the selection must not show them.
                self.stage = Stage::SecondList { ids: out_of_scope, earliest: now, asked: false, out_of_scope: true };
                return counts;
            }
            _ => {
                let ids = &kept | &out_of_scope;
                self.out_of_scope = Some(match before {
                    Some(before) => before.of(ids),
                    None => Hold::new(ids, HoldReason::ScopeChanged),
                });
            }
        }
        if !gone.is_empty() {
            self.stage = self.first_check(gone, now);
        }
        counts
    }

    /// The confirmation that was asked for. An answer to an earlier question says nothing about what is asked now:
    /// false is returned, and nothing changes.
    pub fn answered(&mut self, round: u64, answer: Confirmation, now: Moment, random: u64) -> bool {
        let asked = matches!(
            self.stage,
            Stage::Confirming { asked: true, .. }
                | Stage::SecondList { asked: true, .. }
                | Stage::Sorting { asked: true, .. }
        );
        if round != self.round || !asked {
            return false;
        }
        let (ids, guarded) = match std::mem::take(&mut self.stage) {
            Stage::Confirming { ids, guarded, .. } => (ids, guarded),
            Stage::SecondList { ids, .. } | Stage::Sorting { ids, .. } => (ids, true),
            Stage::Idle | Stage::Held { .. } => return false,
        };
        if self.out_of_scope.as_ref().is_some_and(|out_of_scope| ids.iter().all(|uid| out_of_scope.contains(uid))) {
            // They are held already, and are sorted again later.
            return false;
        }
        match answer {
            Confirmation::Gone => {
                (self.attempts, self.under_review) = (0, None);
                self.recent.push_back((now, ids.len()));
                if guarded {
                    self.confirmed.extend(ids.into_iter().map(|uid| (uid, Removal::Inferred)));
                } else {
                    self.unguarded.extend(ids);
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

    /// A hold of these. One that was shown before keeps its former names.
    fn named(&mut self, ids: HashSet<Uid>, because: HoldReason) -> Hold {
        match self.under_review.take() {
            Some(under_review) => under_review.of(ids).for_reason(because),
            None => Hold::new(ids, because),
        }
    }

    /// Those that may be deleted now, and with which reason. While another writer may be alive, a person must have
    /// approved them.
    pub fn release(&mut self, now: Moment) -> Vec<(Uid, Removal)> {
        let available = self.rate.available(now);
        let by_operator = available.min(self.approved.len());
        if self.is_contested() {
            self.rate.take(by_operator);
            return self.approved.drain(..by_operator).collect();
        }
        let confirmed = (available - by_operator).min(self.confirmed.len());
        self.rate.take(by_operator + confirmed);
        let unguarded = self.unguarded.drain(..).map(|uid| (uid, Removal::Inferred));
        unguarded.chain(self.approved.drain(..by_operator)).chain(self.confirmed.drain(..confirmed)).collect()
    }
}

/// A random part of a set, as large as a sample is.
fn sample(ids: &HashSet<Uid>, random: u64) -> Vec<Uid> {
    let mut ids: Vec<&Uid> = ids.iter().collect();
    // The set's own order differs from run to run; the seed alone has to choose.
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
