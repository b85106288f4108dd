//! Who writes: the election over a Lease, as a state machine over values.
//!
//! A candidate reads the Lease and, where it is free or its own, replaces exactly the version that it read. Whether
//! another's lease has expired is told by our own monotonic time since we last saw it change: no clock of another machine
//! is ever compared with ours. A leader stops trusting its leadership well before anybody else could take the lease, so
//! that clocks may run at speeds that differ by half, and never two lead.

use std::time::Duration;

use crate::model::moment::Moment;

/// Whether this process may write, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Another process may, or nobody.
    Follower,
    /// This one, which shares its work with nobody.
    Alone,
    /// This one.
    Leader {
        /// Counts the times that a process became the leader.
        term: u64,
        /// From this moment on it may not, unless it is said anew.
        until: Moment,
    },
}

impl Leadership {
    /// The term, while it lasts; 0 for a process that shares its work with nobody.
    pub fn term(self, now: Moment) -> Option<u64> {
        match self {
            Self::Alone => Some(0),
            Self::Leader { term, until } if now < until => Some(term),
            Self::Leader { .. } | Self::Follower => None,
        }
    }

    /// When it is over, if it ends by itself.
    pub fn until(self) -> Option<Moment> {
        match self {
            Self::Leader { until, .. } => Some(until),
            Self::Alone | Self::Follower => None,
        }
    }
}

/// How long things take, as parts of the lease's duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTiming {
    /// How long a lease lasts from when others see it renewed.
    pub duration: Duration,
    /// How much sooner the leader itself takes it to be over.
    pub margin: Duration,
    /// How often the leader renews it.
    pub renew: Duration,
    /// How soon something that failed is tried again.
    pub retry: Duration,
    /// How often a standby looks whether the lease is free.
    pub look: Duration,
    /// How long a request may take.
    pub call: Duration,
}

impl LeaseTiming {
    /// The timing of a lease of this duration.
    pub fn of(duration: Duration) -> Self {
        Self {
            duration,
            margin: duration / 3,
            renew: duration / 5,
            retry: duration / 15,
            look: (duration / 30).clamp(Duration::from_millis(100), Duration::from_millis(500)),
            call: duration / 3,
        }
    }
}

/// The Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// Who holds it; empty where nobody does.
    pub holder: String,
    /// How often it changed hands.
    pub transitions: u64,
    /// How long it lasts, by its holder's word.
    pub duration: Option<Duration>,
    /// When it was renewed, by its holder's clock: only ever compared with itself.
    pub renewed: String,
    /// Its resource version, which a write has to name.
    pub version: String,
}

impl LeaseState {
    /// Whether its holder has done nothing between the two. Others may touch the object, with an annotation for instance:
    /// that keeps no holder alive.
    fn is_as_before(&self, before: &Self) -> bool {
        let held = |seen: &Self| (seen.holder.clone(), seen.transitions, seen.duration, seen.renewed.clone());
        held(self) == held(before)
    }
}

/// What is to be written into the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseUpdate {
    /// The holder; empty to give the lease up.
    pub holder: String,
    /// How often it changed hands.
    pub transitions: u64,
    /// How long it lasts.
    pub duration: Duration,
    /// Whether it changes hands by this.
    pub acquires: bool,
    /// The version that it replaces; any other is left alone.
    pub version: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionStep {
    /// Nothing before this moment.
    Wait(Moment),
    /// Read the Lease.
    Get,
    /// Replace it.
    Put(LeaseUpdate),
    /// Nothing any more: the lease is given up, or was not ours.
    Done,
}

/// What came of a request to replace the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateOutcome {
    /// It was replaced.
    Done,
    /// It had been changed since it was read.
    Conflict,
    /// Refused, or nobody knows.
    Failed,
}

#[derive(Debug)]
enum Next {
    Get(Moment),
    Put(LeaseUpdate),
    Done,
}

/// One candidate.
#[derive(Debug)]
pub struct Election {
    me: String,
    timing: LeaseTiming,
    leadership: Leadership,
    /// The lease as it was last seen, and since when it has been so.
    observed: Option<(LeaseState, Moment)>,
    last_term: u64,
    conflicts: u32,
    standing: bool,
    releasing: bool,
    stepped_aside: Aside,
    next: Next,
}

/// The delays before a leader that stepped aside stands again: the first one, and the longest.
const ASIDE_FOR: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(1_200));
/// A lease that nobody took for so many times its duration is taken back at once: there is no other candidate.
const UNCLAIMED_AFTER: u32 = 2;

/// How a candidate gives way to others that may be able to do what it cannot.
#[derive(Debug, Default)]
struct Aside {
    /// Whether the lease is to be given up.
    giving_up: bool,
    /// Until when it does not stand, unless nobody else wants the lease.
    until: Option<Moment>,
    /// How often in a row.
    times: u32,
}

impl Election {
    /// One that looks on, under a name that no other process has or had.
    pub fn new(me: String, timing: LeaseTiming) -> Self {
        Self {
            me,
            timing,
            leadership: Leadership::Follower,
            observed: None,
            last_term: 0,
            conflicts: 0,
            standing: false,
            releasing: false,
            stepped_aside: Aside::default(),
            next: Next::Get(Moment::START),
        }
    }

    /// Whether this candidate leads.
    pub fn leadership(&self) -> Leadership {
        self.leadership
    }

    /// Who held the lease when it was last read.
    pub fn holder(&self) -> Option<&str> {
        self.observed.as_ref().map(|(seen, _)| seen.holder.as_str())
    }

    /// What to do now.
    pub fn step(&self, now: Moment) -> ElectionStep {
        match &self.next {
            Next::Get(at) if now < *at => ElectionStep::Wait(*at),
            Next::Get(_) => ElectionStep::Get,
            Next::Put(claim) => ElectionStep::Put(claim.clone()),
            Next::Done => ElectionStep::Done,
        }
    }

    /// Takes the lease from now on, if it can be had.
    pub fn stand(&mut self) {
        self.standing = true;
    }

    /// Leads no more, and lets others lead for a while, because it cannot do a leader's work. The while grows each time.
    pub fn step_aside(&mut self, now: Moment) {
        if self.leadership.term(now).is_none() {
            return;
        }
        self.leadership = Leadership::Follower;
        let delay = (ASIDE_FOR.0 * 2_u32.saturating_pow(self.stepped_aside.times.min(8))).min(ASIDE_FOR.1);
        self.stepped_aside =
            Aside { giving_up: true, until: Some(now + delay), times: self.stepped_aside.times.saturating_add(1) };
        // Whoever writes for this process has to stop first.
        self.next = Next::Get(now + self.timing.retry);
    }

    /// Does a leader's work again: the next time it steps aside is the first one.
    pub fn worked(&mut self) {
        self.stepped_aside.times = 0;
    }

    /// Whether it leaves the lease to others. A lease that was free for long is wanted by nobody else.
    fn is_aside(&self, seen: &LeaseState, since: Moment, now: Moment) -> bool {
        let unwanted = seen.holder.is_empty() && now >= since + self.timing.duration * UNCLAIMED_AFTER;
        self.stepped_aside.until.is_some_and(|until| now < until) && !unwanted
    }

    /// Leads no more and gives the lease up, if it is ours.
    pub fn release(&mut self, now: Moment) {
        self.leadership = Leadership::Follower;
        self.releasing = true;
        self.next = Next::Get(now);
    }

    /// The Lease was read.
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
        } else if mine && let Some(term) = self.leadership.term(now) {
            Next::Put(self.claim(self.me.clone(), term, seen))
        } else if (mine || free) && self.standing && !self.is_aside(seen, since, now) {
            // Ours from a request whose answer was lost, or from before it lapsed, is acquired anew.
            self.leadership = Leadership::Follower;
            let term = seen.transitions.max(self.last_term) + 1;
            Next::Put(LeaseUpdate { acquires: true, ..self.claim(self.me.clone(), term, seen) })
        } else {
            self.leadership = Leadership::Follower;
            let look = now + self.timing.look;
            Next::Get(if now < expires { look.min(expires) } else { look })
        };
    }

    fn claim(&self, holder: String, transitions: u64, seen: &LeaseState) -> LeaseUpdate {
        let version = seen.version.clone();
        LeaseUpdate { holder, transitions, duration: self.timing.duration, acquires: false, version }
    }

    /// The Lease could not be read.
    pub fn not_read(&mut self, now: Moment) {
        self.next = Next::Get(now + self.timing.retry);
    }

    /// There is no such Lease. Whoever makes it anew makes it free for all: nobody leads by one that is gone.
    pub fn missing(&mut self, now: Moment) {
        self.leadership = Leadership::Follower;
        self.observed = None;
        self.next = if self.releasing { Next::Done } else { Next::Get(now + self.timing.retry) };
    }

    /// What came of a claim that was sent at `sent`.
    pub fn written(&mut self, claim: &LeaseUpdate, written: UpdateOutcome, sent: Moment, now: Moment) {
        if written != UpdateOutcome::Conflict {
            self.conflicts = 0;
        }
        self.next = match written {
            UpdateOutcome::Done if self.releasing => Next::Done,
            UpdateOutcome::Done if claim.holder.is_empty() => {
                self.stepped_aside.giving_up = false;
                Next::Get(now + self.timing.look)
            }
            UpdateOutcome::Done => self.granted(claim, sent, now),
            UpdateOutcome::Conflict => {
                // Somebody wrote first. Whether it was another candidate, or somebody who annotated it, is read at once;
                // only a server that always says so is asked more slowly.
                self.conflicts = self.conflicts.saturating_add(1);
                Next::Get(if self.conflicts > 1 { now + self.timing.retry } else { now })
            }
            UpdateOutcome::Failed => Next::Get(now + self.timing.retry),
        };
    }

    fn granted(&mut self, claim: &LeaseUpdate, sent: Moment, now: Moment) -> Next {
        self.last_term = self.last_term.max(claim.transitions);
        let until = sent + self.timing.duration - self.timing.margin;
        // A renewal that was answered after the leadership had lapsed does not mend it: everything that was believed as
        // the leader is void by then, and a new term says so.
        let continues = claim.acquires || self.leadership.term(now) == Some(claim.transitions);
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
