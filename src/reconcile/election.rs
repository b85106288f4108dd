//! Leader election over a Lease, as a state machine.
//!
//! A candidate reads the Lease and, if it is free or its own, replaces exactly the version that it read. The lease of
//! another process has expired when it has not changed for its duration, by our monotonic clock: the clocks of two
//! machines are never compared. A leader gives up its leadership well before another process could take the lease, so
//! two never lead even if their clocks run at speeds that differ by half.
//!
//! It is our own because `kubert::lease` compares the renew time in the Lease with the local wall clock. Ours counts
//! from the last change that it observed, on the monotonic clock.

use std::time::Duration;

use crate::model::moment::Moment;

/// Bits of a term's number that count terms. The others count seconds.
const TERMS_BITS: u32 = 20;
/// The largest number of a term.
const TERM_MAX: u64 = (1 << 53) - 1;

/// Whether this process may write, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    Follower,
    /// This process runs without leader election, and may always write.
    Alone,
    Leader {
        /// Grows each time that a process becomes the leader. As the elector publishes it, also when the Lease is
        /// created again: see [`term_number`].
        term: u64,
        /// This process may write until then. Each renewal moves it.
        until: Moment,
    },
}

/// A time in which this process leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderTerm {
    /// Without leader election.
    Endless,
    /// The number grows each time that a process becomes the leader, as in [`Leadership::Leader`].
    Elected(u64),
}

/// The number of a term that counts from a second since 1970: of a Lease, when it was created, and without leader
/// election, when the process started. `transitions` counts the terms since then.
///
/// The number of a Lease that is created again is above those of the Lease before, whose transitions begin at 1 again:
/// there are fewer than 2^20 terms per second. It is below 2^53, so that JSON numbers hold it exactly.
pub fn term_number(since: u64, transitions: u64) -> u64 {
    since.saturating_mul(1 << TERMS_BITS).saturating_add(transitions).min(TERM_MAX)
}

/// Whether no other process can have led between two terms with these numbers. The number of a term without election
/// counts no transitions.
pub fn follows(last: u64, term: u64) -> bool {
    last == term || last.saturating_add(1) == term || term.is_multiple_of(1 << TERMS_BITS)
}

impl LeaderTerm {
    /// The number of the term for registries that compare it. `started` is the second in which the process started.
    pub fn number(self, started: u64) -> u64 {
        match self {
            Self::Endless => term_number(started, 0),
            Self::Elected(term) => term,
        }
    }
}

impl Leadership {
    /// The same with a term that counts from this second.
    #[must_use]
    pub fn counted_from(self, since: u64) -> Self {
        match self {
            Self::Leader { term, until } => Self::Leader { term: term_number(since, term), until },
            Self::Alone | Self::Follower => self,
        }
    }

    /// The term while it lasts.
    pub fn term(self, now: Moment) -> Option<LeaderTerm> {
        match self {
            Self::Alone => Some(LeaderTerm::Endless),
            Self::Leader { term, until } if now < until => Some(LeaderTerm::Elected(term)),
            Self::Leader { .. } | Self::Follower => None,
        }
    }

    /// When the leadership ends without a renewal.
    pub fn until(self) -> Option<Moment> {
        match self {
            Self::Leader { until, .. } => Some(until),
            Self::Alone | Self::Follower => None,
        }
    }
}

/// Intervals, as parts of the lease duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTiming {
    /// Another process may take the lease when it has seen no renewal for this long.
    pub duration: Duration,
    /// The leader gives up this long before the lease ends.
    pub margin: Duration,
    /// Time between renewals.
    pub renew: Duration,
    /// Time before a failed request is retried.
    pub retry: Duration,
    /// Time between two reads of the Lease by a standby.
    pub poll: Duration,
    /// Time limit of a request to the API server.
    pub call: Duration,
}

impl LeaseTiming {
    pub fn of(duration: Duration) -> Self {
        Self {
            duration,
            margin: duration / 3,
            renew: duration / 5,
            retry: duration / 15,
            poll: (duration / 30).clamp(Duration::from_millis(100), Duration::from_millis(500)),
            call: duration / 3,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// Empty if the lease is free.
    pub holder: String,
    /// How often the lease changed hands.
    pub transitions: u64,
    /// The duration that its holder has set.
    pub duration: Option<Duration>,
    /// The renew time by the holder's clock. It is only compared with earlier values of itself.
    pub renewed: String,
    /// The resource version, which a write has to name.
    pub version: String,
}

impl LeaseState {
    /// Whether the fields that a holder writes are unchanged. Other changes to the object, for example an annotation,
    /// are no renewal.
    fn is_as_before(&self, before: &Self) -> bool {
        let held = |seen: &Self| (seen.holder.clone(), seen.transitions, seen.duration, seen.renewed.clone());
        held(self) == held(before)
    }
}

/// A write to the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseUpdate {
    /// Empty to give the lease up.
    pub holder: String,
    /// How often the lease changed hands, this write included.
    pub transitions: u64,
    pub duration: Duration,
    /// Whether the lease changes hands with this write.
    pub acquires: bool,
    /// The version that it replaces. The write fails if the Lease has another one.
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionStep {
    Wait(Moment),
    Get,
    Put(LeaseUpdate),
    /// Nothing is left to do: the released lease is free, or another process holds it.
    Done,
}

/// The result of a write to the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateOutcome {
    Done,
    /// The Lease has another version than the one that was read.
    Conflict,
    /// The write was refused, or its answer was lost.
    Failed,
}

#[derive(Debug)]
enum Next {
    Get(Moment),
    Put(LeaseUpdate),
    Done,
}

#[derive(Debug)]
pub struct Election {
    me: String,
    timing: LeaseTiming,
    leadership: Leadership,
    /// The Lease as it was last read, and since when it has not changed.
    observed: Option<(LeaseState, Moment)>,
    last_term: u64,
    conflicts: u32,
    is_candidate: bool,
    releasing: bool,
    stepped_aside: Aside,
    next: Next,
}

/// How long a leader that stepped aside waits before it is a candidate again: the first time, and at most.
const ASIDE_FOR: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(1_200));
/// A lease that stays free for this many durations is taken back at once: there is no other candidate.
const UNCLAIMED_AFTER: u32 = 2;

/// A candidate steps aside for others that may be able to do its work.
#[derive(Debug, Default)]
struct Aside {
    /// Whether the lease still has to be given up.
    giving_up: bool,
    /// Until then it is no candidate, unless no other process takes the lease.
    until: Option<Moment>,
    /// How often it stepped aside in a row.
    times: u32,
}

impl Election {
    /// Reads the Lease, and is no candidate yet. No other process, not even an earlier one, may have the name `me`.
    pub fn new(me: String, timing: LeaseTiming) -> Self {
        Self {
            me,
            timing,
            leadership: Leadership::Follower,
            observed: None,
            last_term: 0,
            conflicts: 0,
            is_candidate: false,
            releasing: false,
            stepped_aside: Aside::default(),
            next: Next::Get(Moment::START),
        }
    }

    pub fn leadership(&self) -> Leadership {
        self.leadership
    }

    /// The name of this process in the lease.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// The holder of the lease when it was last read. Empty if the lease was free.
    pub fn holder(&self) -> Option<&str> {
        self.observed.as_ref().map(|(seen, _)| seen.holder.as_str())
    }

    pub fn step(&self, now: Moment) -> ElectionStep {
        match &self.next {
            Next::Get(at) if now < *at => ElectionStep::Wait(*at),
            Next::Get(_) => ElectionStep::Get,
            Next::Put(claim) => ElectionStep::Put(claim.clone()),
            Next::Done => ElectionStep::Done,
        }
    }

    /// Becomes a candidate.
    pub fn stand(&mut self) {
        self.is_candidate = true;
    }

    /// Gives up the leadership and lets others lead for a while, because this process cannot do the work. The time
    /// grows with each repetition.
    pub fn step_aside(&mut self, now: Moment) {
        if self.leadership.term(now).is_none() {
            return;
        }
        self.leadership = Leadership::Follower;
        let delay = (ASIDE_FOR.0 * 2_u32.saturating_pow(self.stepped_aside.times.min(8))).min(ASIDE_FOR.1);
        self.stepped_aside =
            Aside { giving_up: true, until: Some(now + delay), times: self.stepped_aside.times.saturating_add(1) };
        // The lease is given up a little later, so that this process stops writing first.
        self.next = Next::Get(now + self.timing.retry);
    }

    /// The leader works again, so the next time it steps aside is the first one.
    pub fn worked(&mut self) {
        self.stepped_aside.times = 0;
    }

    /// Whether to leave the lease to others. If it has been free for long, there is no other candidate.
    fn is_aside(&self, seen: &LeaseState, since: Moment, now: Moment) -> bool {
        let unclaimed = seen.holder.is_empty() && now >= since + self.timing.duration * UNCLAIMED_AFTER;
        self.stepped_aside.until.is_some_and(|until| now < until) && !unclaimed
    }

    /// Gives up the leadership and the lease.
    pub fn release(&mut self, now: Moment) {
        self.leadership = Leadership::Follower;
        self.releasing = true;
        self.next = Next::Get(now);
    }

    pub fn read(&mut self, seen: &LeaseState, now: Moment) {
        let since = match &self.observed {
            Some((before, since)) if seen.is_as_before(before) => *since,
            _ => now,
        };
        let expires = since + seen.duration.unwrap_or(self.timing.duration);
        let (mine, free) = (seen.holder == self.me, seen.holder.is_empty() || now >= expires);
        self.observed = Some((seen.clone(), since));
        let gives_up = self.stepped_aside.giving_up && mine;
        self.stepped_aside.giving_up = gives_up;
        self.next = if gives_up {
            Next::Put(self.claim(String::new(), seen.transitions, seen))
        } else if self.releasing {
            if mine { Next::Put(self.claim(String::new(), seen.transitions, seen)) } else { Next::Done }
        } else if mine && let Some(LeaderTerm::Elected(term)) = self.leadership.term(now) {
            Next::Put(self.claim(self.me.clone(), term, seen))
        } else if (mine || free) && self.is_candidate && !self.is_aside(seen, since, now) {
            // A lease that is ours through a lost answer, or from before it expired, is acquired again.
            self.leadership = Leadership::Follower;
            let term = seen.transitions.max(self.last_term) + 1;
            Next::Put(LeaseUpdate { acquires: true, ..self.claim(self.me.clone(), term, seen) })
        } else {
            self.leadership = Leadership::Follower;
            let poll = now + self.timing.poll;
            Next::Get(if now < expires { poll.min(expires) } else { poll })
        };
    }

    fn claim(&self, holder: String, transitions: u64, seen: &LeaseState) -> LeaseUpdate {
        let version = seen.version.clone();
        LeaseUpdate { holder, transitions, duration: self.timing.duration, acquires: false, version }
    }

    pub fn not_read(&mut self, now: Moment) {
        self.next = Next::Get(now + self.timing.retry);
    }

    /// The Lease does not exist. When it is created again, it is free, so no process leads until then.
    pub fn missing(&mut self, now: Moment) {
        self.leadership = Leadership::Follower;
        self.observed = None;
        self.next = if self.releasing { Next::Done } else { Next::Get(now + self.timing.retry) };
    }

    /// A write was answered, or failed. The leadership counts from `sent`, when the write was sent: the server may have
    /// stored it at any time since.
    pub fn written(&mut self, claim: &LeaseUpdate, written: UpdateOutcome, sent: Moment, now: Moment) {
        if written != UpdateOutcome::Conflict {
            self.conflicts = 0;
        }
        self.next = match written {
            UpdateOutcome::Done if self.releasing => Next::Done,
            UpdateOutcome::Done if claim.holder.is_empty() => {
                self.stepped_aside.giving_up = false;
                Next::Get(now + self.timing.poll)
            }
            UpdateOutcome::Done => self.granted(claim, sent, now),
            UpdateOutcome::Conflict => {
                // Another client wrote first, maybe only an annotation, so the Lease is read again at once. Repeated
                // conflicts slow down, in case the server always answers so.
                self.conflicts = self.conflicts.saturating_add(1);
                Next::Get(if self.conflicts > 1 { now + self.timing.retry } else { now })
            }
            UpdateOutcome::Failed => Next::Get(now + self.timing.retry),
        };
    }

    fn granted(&mut self, claim: &LeaseUpdate, sent: Moment, now: Moment) -> Next {
        self.last_term = self.last_term.max(claim.transitions);
        let until = sent + self.timing.duration - self.timing.margin;
        // A renewal that is answered after the leadership has ended does not restore it: a new term has to begin, so
        // that everything from the old one is dropped.
        let continues = claim.acquires || self.leadership.term(now) == Some(LeaderTerm::Elected(claim.transitions));
        if continues && now < until {
            self.leadership = Leadership::Leader { term: claim.transitions, until };
            return Next::Get(sent + self.timing.renew);
        }
        self.leadership = Leadership::Follower;
        Next::Get(now)
    }
}

#[cfg(test)]
mod tests;
