//! The deletion brake: an absence is a deletion only once it is confirmed.
//!
//! Few absences are confirmed by the cluster still being the one that we started with. Many within a while, or an empty
//! list, are *braked*: a second list some seconds later has to agree, and a random sample of the pods is looked up one
//! by one. What is confirmed leaves at a bounded rate. What is not is held, shown, and derived anew at every complete
//! list. Puts and watched deletions never wait behind it.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use super::{Moment, Uid, retry};

/// Within this time, deletions by absence are counted together.
const WINDOW: Duration = Duration::from_secs(600);
/// So many deletions by absence within the window are never braked.
const FREE: usize = 50;
/// Beyond [`FREE`], one in so many of our records is.
const FREE_PART: usize = 10;
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

/// A complete list over all watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompleteList {
    /// When the oldest of the watches' newest complete lists was begun.
    pub begun: Moment,
    /// Whether it held no pod at all.
    pub empty: bool,
    /// Whether it is known not to be older than what was seen before it.
    pub trusted: bool,
}

/// What has to be found out before a deletion by absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which pods does another list show, which is taken beside the watches?
    List {
        /// Which question the answer belongs to.
        round: u64,
    },
    /// Is the cluster the one that we started with, and are these pods gone when they are looked up one by one?
    Confirm {
        /// Which question the answer belongs to.
        round: u64,
        /// The pods to look up; none where the cluster's identity is enough.
        sample: Vec<Uid>,
    },
}

/// The answer to [`Question::Confirm`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The same cluster, and every pod of the sample is gone.
    Gone,
    /// So many pods of the sample are there.
    StillThere(usize),
    /// Something could not be read.
    Unanswered(String),
}

/// A question as it is put to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// Which pods are there?
    List {
        /// Which question this belongs to.
        round: u64,
    },
    /// Is it the same cluster, and are these pods there?
    LookUp {
        /// Which question this belongs to.
        round: u64,
        /// UID, and the namespace and name that the registry has for it.
        pods: Vec<(Uid, String, String)>,
    },
}

impl Inquiry {
    /// Which question it belongs to.
    pub fn round(&self) -> u64 {
        match self {
            Self::List { round } | Self::LookUp { round, .. } => *round,
        }
    }
}

/// What the cluster says to an [`Inquiry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Which question this belongs to.
    pub round: u64,
    /// What was found.
    pub finding: Finding,
}

/// What was found in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// These pods are there.
    Listed(HashSet<Uid>),
    /// It is the same cluster, and this is so.
    Answer(Answer),
    /// It is another cluster: nothing that was concluded from it may be acted upon.
    OtherCluster {
        /// The UID of `kube-system` at the start.
        expected: String,
        /// Its UID now.
        found: String,
    },
}

/// Why deletions are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldBecause {
    /// Pods that the list lacks are there when they are looked up.
    StillThere(usize),
    /// The confirmation could not be had.
    Unanswered(String),
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// A second list, begun at `earliest` or later, has to agree. It is taken beside the watches: while a watch is built
    /// anew, what ends in the meantime would look absent as well.
    SecondList { first: HashSet<Uid>, earliest: Moment, asked: bool },
    /// The cluster and a sample are looked up.
    Confirming { ids: HashSet<Uid>, braked: bool, asked: bool },
    /// Not confirmed.
    Held { ids: HashSet<Uid>, because: HeldBecause, retry_at: Moment },
}

/// The brake.
#[derive(Debug)]
pub struct Brake {
    stage: Stage,
    /// How many deletions by absence were approved, and when.
    recent: VecDeque<(Moment, usize)>,
    /// Approved at once, or waiting for their turn.
    free: Vec<Uid>,
    confirmed: VecDeque<Uid>,
    rate: retry::RateLimit,
    attempts: u32,
    round: u64,
}

impl Default for Brake {
    fn default() -> Self {
        Self {
            stage: Stage::Idle,
            recent: VecDeque::new(),
            free: Vec::new(),
            confirmed: VecDeque::new(),
            rate: retry::RateLimit::new(RELEASED_PER_SECOND),
            attempts: 0,
            round: 0,
        }
    }
}

impl Brake {
    /// How many deletions wait for their confirmation or for their turn after it.
    pub fn held(&self) -> usize {
        let stage = match &self.stage {
            Stage::Idle | Stage::Confirming { braked: false, .. } => 0,
            Stage::SecondList { first: ids, .. } | Stage::Confirming { ids, .. } | Stage::Held { ids, .. } => ids.len(),
        };
        stage + self.confirmed.len()
    }

    /// Whether no deletion waits for anything here: neither for a confirmation nor for its turn.
    pub fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle) && self.free.is_empty() && self.confirmed.is_empty()
    }

    /// Why the last confirmation failed, while that stands.
    pub fn held_because(&self) -> Option<&HeldBecause> {
        match &self.stage {
            Stage::Held { because, .. } => Some(because),
            _ => None,
        }
    }

    /// The absences as every complete list derives them anew. `owned` is how many records the registry may hold of us.
    pub fn derive(&mut self, mut absent: HashSet<Uid>, owned: usize, list: CompleteList, now: Moment) {
        self.confirmed.retain(|uid| absent.contains(uid));
        for uid in &self.confirmed {
            absent.remove(uid);
        }
        self.stage = match std::mem::take(&mut self.stage) {
            _ if absent.is_empty() => Stage::Idle,
            // What is being confirmed only shrinks; what came to it since has its turn afterwards.
            Stage::SecondList { first, earliest, asked } if !first.is_disjoint(&absent) => {
                Stage::SecondList { first: &first & &absent, earliest, asked }
            }
            Stage::Confirming { ids, braked, asked } if !ids.is_disjoint(&absent) => {
                Stage::Confirming { ids: &ids & &absent, braked, asked }
            }
            Stage::Held { because, retry_at, .. } => Stage::Held { ids: absent, because, retry_at },
            _ => self.first_look(absent, owned, list, now),
        };
        if matches!(self.stage, Stage::Idle) {
            self.attempts = 0;
        }
    }

    fn first_look(&mut self, absent: HashSet<Uid>, owned: usize, list: CompleteList, now: Moment) -> Stage {
        let free = FREE.max(owned / FREE_PART);
        let braked = list.empty || !list.trusted || self.approved_recently(now) + absent.len() > free;
        if braked {
            Stage::SecondList { first: absent, earliest: list.begun + SECOND_LIST_AFTER, asked: false }
        } else {
            Stage::Confirming { ids: absent, braked, asked: false }
        }
    }

    fn approved_recently(&mut self, now: Moment) -> usize {
        while self.recent.front().is_some_and(|(at, _)| *at + WINDOW < now) {
            self.recent.pop_front();
        }
        self.recent.iter().map(|(_, count)| count).sum()
    }

    /// What has to be found out now, said once.
    pub fn ask(&mut self, now: Moment, random: u64) -> Option<Question> {
        if let Stage::Held { ids, retry_at, .. } = &mut self.stage
            && now >= *retry_at
        {
            self.stage = Stage::SecondList { first: std::mem::take(ids), earliest: now, asked: false };
        }
        match &mut self.stage {
            Stage::SecondList { earliest, asked, .. } if now >= *earliest && !*asked => {
                *asked = true;
                self.round += 1;
                Some(Question::List { round: self.round })
            }
            Stage::Confirming { ids, braked, asked } if !*asked => {
                *asked = true;
                self.round += 1;
                let sample = if *braked { sample(ids, random) } else { Vec::new() };
                Some(Question::Confirm { round: self.round, sample })
            }
            _ => None,
        }
    }

    /// The second list that was asked for. If it agrees, a sample is looked up next. If it shows any of the absent, the
    /// view that lacks them is wrong: they are all held, and true is returned, for the view to be taken anew.
    pub fn listed(&mut self, round: u64, there: &HashSet<Uid>, now: Moment, random: u64) -> bool {
        if round != self.round || !matches!(self.stage, Stage::SecondList { asked: true, .. }) {
            return false;
        }
        let Stage::SecondList { first: ids, .. } = std::mem::take(&mut self.stage) else { return false };
        let contradicted = ids.intersection(there).count();
        if contradicted == 0 {
            self.stage = Stage::Confirming { ids, braked: true, asked: false };
        } else {
            self.hold(ids, HeldBecause::StillThere(contradicted), now, random);
        }
        contradicted > 0
    }

    /// The confirmation that was asked for. An answer to an earlier question says nothing about what is asked now:
    /// false is returned, and nothing changes.
    pub fn answered(&mut self, round: u64, answer: Answer, now: Moment, random: u64) -> bool {
        let asked = matches!(self.stage, Stage::Confirming { asked: true, .. } | Stage::SecondList { asked: true, .. });
        if round != self.round || !asked {
            return false;
        }
        let (ids, braked) = match std::mem::take(&mut self.stage) {
            Stage::Confirming { ids, braked, .. } => (ids, braked),
            Stage::SecondList { first, .. } => (first, true),
            Stage::Idle | Stage::Held { .. } => return false,
        };
        match answer {
            Answer::Gone => {
                self.attempts = 0;
                self.recent.push_back((now, ids.len()));
                if braked {
                    self.confirmed.extend(ids);
                } else {
                    self.free.extend(ids);
                }
            }
            Answer::StillThere(count) => self.hold(ids, HeldBecause::StillThere(count), now, random),
            Answer::Unanswered(why) => self.hold(ids, HeldBecause::Unanswered(why), now, random),
        }
        true
    }

    fn hold(&mut self, ids: HashSet<Uid>, because: HeldBecause, now: Moment, random: u64) {
        self.attempts = self.attempts.saturating_add(1);
        let (base, max) = match because {
            HeldBecause::StillThere(_) => HELD_RETRY,
            HeldBecause::Unanswered(_) => UNANSWERED_RETRY,
        };
        let retry_at = now + retry::backoff(base, max, self.attempts, random);
        self.stage = Stage::Held { ids, because, retry_at };
    }

    /// Those that may be deleted now.
    pub fn release(&mut self, now: Moment) -> Vec<Uid> {
        let count = self.rate.available(now).min(self.confirmed.len());
        self.rate.take(count);
        self.free.drain(..).chain(self.confirmed.drain(..count)).collect()
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
mod tests {
    use super::*;

    const fn at(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    fn ids(range: std::ops::Range<usize>) -> HashSet<Uid> {
        range.map(|n| Uid::from(format!("pod-{n:05}"))).collect()
    }

    fn list(begun: u64) -> CompleteList {
        CompleteList { begun: at(begun), empty: false, trusted: true }
    }

    /// Drives a brake to the release of everything, counting seconds, with an answer for each confirmation.
    fn release_all(brake: &mut Brake, from: u64) -> Vec<(u64, usize)> {
        (from..from + 60).map(|t| (t, brake.release(at(t)).len())).filter(|(_, n)| *n > 0).collect()
    }

    #[test]
    fn few_are_deleted_once_the_cluster_is_known_to_be_the_same() {
        let mut brake = Brake::default();
        brake.derive(ids(0..50), 100, list(1), at(2));
        assert_eq!(brake.release(at(2)).len(), 0, "not before the answer");
        assert!(!brake.is_idle(), "though none is held");
        assert_eq!(brake.ask(at(2), 0), Some(Question::Confirm { round: 1, sample: vec![] }));
        assert_eq!(brake.ask(at(3), 0), None, "said once");
        brake.answered(brake.round, Answer::Gone, at(3), 0);
        assert!(!brake.is_idle(), "they wait for their turn");
        assert_eq!((brake.release(at(3)).len(), brake.held()), (50, 0));
        assert!(brake.is_idle());
    }

    #[test]
    fn many_need_a_second_list_and_a_sample_and_leave_at_a_bounded_rate() {
        let mut brake = Brake::default();
        brake.derive(ids(0..1000), 3000, list(1), at(2));
        assert_eq!((brake.ask(at(10), 0), brake.held()), (None, 1000));
        assert_eq!(brake.ask(at(11), 0), Some(Question::List { round: 1 }));
        // Ten came back, and what went since has its turn later.
        brake.derive(ids(10..1100), 3000, list(5), at(11));
        assert!(!brake.listed(1, &ids(0..10), at(12), 0));
        let Some(Question::Confirm { sample, .. }) = brake.ask(at(12), 7) else { panic!() };
        assert_eq!(sample.iter().collect::<HashSet<_>>().len(), SAMPLE);
        brake.answered(brake.round, Answer::Gone, at(13), 0);
        let released = release_all(&mut brake, 13);
        assert_eq!(released.iter().map(|(_, n)| n).sum::<usize>(), 990);
        assert!(released.iter().skip(1).all(|(_, n)| *n <= 100), "{released:?}");
        assert!(released.last().unwrap().0 <= 25, "{released:?}");
    }

    #[test]
    fn an_empty_list_is_braked_however_little_we_own() {
        let mut brake = Brake::default();
        brake.derive(ids(0..1), 1, CompleteList { empty: true, ..list(1) }, at(1));
        assert_eq!((brake.ask(at(1), 0), brake.held()), (None, 1));
        brake.derive(ids(0..1), 1, CompleteList { trusted: false, ..list(2) }, at(2));
        assert_eq!(brake.held(), 1);
    }

    #[test]
    fn what_many_lists_take_away_adds_up_within_ten_minutes() {
        let mut brake = Brake::default();
        let mut take = |from: usize, secs: u64| {
            brake.derive(ids(from..from + 30), 100, list(secs), at(secs));
            let free = matches!(brake.ask(at(secs), 0), Some(Question::Confirm { .. }));
            brake.answered(brake.round, Answer::Gone, at(secs), 0);
            brake.release(at(secs));
            free
        };
        assert!(take(0, 1));
        assert!(!take(30, 100), "60 within ten minutes");
        let mut brake = Brake::default();
        brake.recent.push_back((at(1), 50));
        brake.derive(ids(0..30), 100, list(700), at(700));
        assert!(matches!(brake.ask(at(700), 0), Some(Question::Confirm { .. })), "the window has moved on");
    }

    #[test]
    fn a_pod_of_the_sample_that_lives_holds_them_all_until_the_lists_say_otherwise() {
        let mut brake = Brake::default();
        brake.derive(ids(0..100), 100, list(1), at(1));
        brake.ask(at(11), 0);
        brake.listed(1, &HashSet::new(), at(11), 0);
        brake.ask(at(12), 0);
        brake.answered(brake.round, Answer::StillThere(3), at(13), 0);
        assert_eq!((brake.held(), brake.held_because()), (100, Some(&HeldBecause::StillThere(3))));
        assert_eq!(brake.release(at(500)).len(), 0);
        assert_eq!(brake.ask(at(13), 0), None);
        assert_eq!(brake.ask(at(43), 0), Some(Question::List { round: 3 }), "it is looked at again");
        brake.derive(ids(0..0), 100, list(43), at(44));
        assert_eq!((brake.held(), brake.held_because()), (0, None), "the pods came back");
    }

    #[test]
    fn an_answer_to_an_earlier_question_approves_nothing() {
        let mut brake = Brake::default();
        brake.derive(ids(0..5), 100, list(1), at(1));
        brake.ask(at(1), 0);
        brake.derive(ids(7..13), 100, list(2), at(2));
        brake.answered(1, Answer::Gone, at(2), 0);
        assert_eq!(brake.release(at(2)).len(), 0);
        let again = Some(Question::Confirm { round: 2, sample: vec![] });
        assert_eq!(brake.ask(at(2), 0), again, "it is asked again");
        brake.answered(2, Answer::Gone, at(3), 0);
        assert_eq!(brake.release(at(3)).len(), 6);
    }

    #[test]
    fn lists_that_come_in_meanwhile_ask_nothing_again() {
        let mut brake = Brake::default();
        brake.derive(ids(0..5), 100, list(1), at(1));
        brake.ask(at(1), 0);
        brake.derive(ids(1..9), 100, list(2), at(2));
        assert_eq!(brake.ask(at(2), 0), None);
        brake.answered(1, Answer::Gone, at(2), 0);
        assert_eq!(brake.release(at(2)).len(), 4, "those that were asked about and are absent still");
    }

    #[test]
    fn a_second_list_that_cannot_be_had_or_that_shows_any_of_them_holds_them() {
        let mut brake = Brake::default();
        brake.derive(ids(0..100), 100, list(1), at(1));
        assert_eq!(brake.ask(at(11), 0), Some(Question::List { round: 1 }));
        assert!(brake.answered(1, Answer::Unanswered("timed out".into()), at(12), 0));
        assert_eq!((brake.held(), brake.ask(at(12), 0)), (100, None));
        assert_eq!(brake.ask(at(60), 0), Some(Question::List { round: 2 }));
        assert!(!brake.listed(1, &ids(0..100), at(61), 0), "an answer to an earlier question counts for nothing");
        assert!(brake.listed(2, &ids(0..1), at(61), 0), "the view has to be taken anew");
        assert_eq!((brake.held(), brake.held_because()), (100, Some(&HeldBecause::StillThere(1))));
    }

    #[test]
    fn an_answer_that_cannot_be_had_deletes_nothing() {
        let mut brake = Brake::default();
        brake.derive(ids(0..5), 100, list(1), at(1));
        brake.ask(at(1), 0);
        brake.answered(brake.round, Answer::Unanswered("forbidden".into()), at(2), 0);
        assert_eq!((brake.release(at(100)).len(), brake.held()), (0, 5));
    }

    #[test]
    fn a_confirmed_deletion_whose_pod_returns_is_not_released() {
        let mut brake = Brake::default();
        brake.derive(ids(0..1000), 1000, list(1), at(1));
        brake.ask(at(11), 0);
        brake.listed(1, &HashSet::new(), at(11), 0);
        brake.ask(at(11), 0);
        brake.answered(brake.round, Answer::Gone, at(11), 0);
        brake.release(at(11));
        brake.derive(ids(990..1000), 1000, list(12), at(12));
        let rest: Vec<Uid> = (12..40).flat_map(|t| brake.release(at(t))).collect();
        assert!(rest.iter().all(|uid| ids(990..1000).contains(uid)) && rest.len() <= 10);
    }
}
