//! The writer's session with the registry: when to open one, when to send a heartbeat, when to stop writing.
//!
//! ```text
//!   Standby ---- leads ----> Closed ------> Opening ------> Open
//!      ^                       ^                             | |
//!      | leads no more         +--- unknown to the registry -+ |
//!   any phase                  +--- Fenced <--- superseded ----+
//!                                   until the other session is over
//! ```

use std::time::Duration;

use super::retry;
use crate::model::{ids::Version, moment::Moment};

/// The registry considers a session stale after this time without a heartbeat.
pub const TTL: Duration = Duration::from_secs(90);
/// Time between heartbeats while another writer may announce itself.
const CONTESTED_BEAT: Duration = Duration::from_secs(5);
/// A fenced writer checks the other session this often.
const FENCED_PROBE: Duration = Duration::from_secs(10);
/// The first and the longest backoff between attempts to open a session.
const OPEN_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No session, because this process does not lead.
    Standby,
    /// This process leads and has no session yet.
    Closed {
        open_at: Moment,
    },
    Opening,
    Open {
        epoch: u64,
        /// None if the registry has no sessions.
        heartbeat_at: Option<Moment>,
    },
    /// Another writer took over. Nothing is written until its session is over.
    Fenced {
        /// The epoch of the session that the other writer replaced.
        epoch: u64,
        /// None if the registry has no sessions: nothing is written until this process leads in another term.
        probe_at: Option<Moment>,
    },
}

/// A session and the counter that orders its operations.
#[derive(Clone, Debug)]
pub struct Session {
    phase: Phase,
    seq: u64,
    /// The highest epoch seen.
    min_epoch: Option<u64>,
    /// The session that the next one of this process replaces, while the registry knows it.
    replaces: Option<u64>,
    /// Set if the registry says, while the next session is being opened, that `replaces` was superseded.
    superseded: Option<u64>,
    ttl: Duration,
    failures: u32,
}

impl Default for Session {
    fn default() -> Self {
        Self { phase: Phase::Standby, seq: 0, min_epoch: None, replaces: None, superseded: None, ttl: TTL, failures: 0 }
    }
}

impl Session {
    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn epoch(&self) -> Option<u64> {
        match self.phase {
            Phase::Open { epoch, .. } => Some(epoch),
            _ => None,
        }
    }

    /// The ttl to request with the next heartbeat.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The highest epoch seen. The registry has to assign a higher one.
    pub fn min_epoch(&self) -> Option<u64> {
        self.min_epoch
    }

    /// The version of the next operation. Call it when the bytes of the operation are built.
    pub fn next_version(&mut self) -> Option<Version> {
        let epoch = self.epoch()?;
        self.seq += 1;
        Some(Version { epoch, seq: self.seq })
    }

    /// The registry holds this version, so the counter continues above it. A later epoch cannot be passed by counting:
    /// the session then counts as unknown.
    pub fn superseded(&mut self, version: Version, now: Moment, random: u64) {
        match self.epoch() {
            Some(epoch) if version.epoch == epoch => self.seq = self.seq.max(version.seq),
            Some(epoch) if version.epoch > epoch => {
                self.learn(version.epoch);
                self.unknown(now, random);
            }
            _ => {}
        }
    }

    /// This process leads from now on: a session is opened at once.
    pub fn lead(&mut self, now: Moment) {
        self.failures = 0;
        self.enter(Phase::Closed { open_at: now });
    }

    /// This process no longer leads.
    pub fn stand_by(&mut self) {
        self.enter(Phase::Standby);
    }

    pub fn opening(&mut self) {
        self.phase = Phase::Opening;
    }

    /// A session was opened. `contested` tells whether another writer may be alive.
    pub fn opened(&mut self, epoch: u64, ttl: Duration, contested: bool, now: Moment) {
        self.learn(epoch);
        self.seq = 0;
        self.ttl = ttl.clamp(Duration::from_secs(3), TTL);
        self.enter(Phase::Open { epoch, heartbeat_at: Some(now + self.interval(contested)) });
    }

    /// Opens a session that only this process knows of, as the registry has none. Its epoch is at least the given one,
    /// and higher than every epoch seen.
    pub fn open_local(&mut self, epoch: u64) {
        let epoch = epoch.max(self.min_epoch.map_or(0, |seen| seen.saturating_add(1)));
        self.learn(epoch);
        self.seq = 0;
        self.phase = Phase::Open { epoch, heartbeat_at: None };
    }

    /// Enters a phase in which no session is being replaced.
    fn enter(&mut self, phase: Phase) {
        (self.phase, self.replaces, self.superseded) = (phase, None, None);
    }

    pub fn wait_until(&mut self, at: Moment) {
        if let Phase::Closed { open_at } = &mut self.phase {
            *open_at = (*open_at).max(at);
        }
    }

    /// The session could not be opened: retries with backoff.
    pub fn not_opened(&mut self, now: Moment, random: u64) {
        self.failures = self.failures.saturating_add(1);
        let delay = retry::backoff(OPEN_RETRY.0, OPEN_RETRY.1, self.failures, random);
        self.phase = Phase::Closed { open_at: now + delay };
    }

    /// A heartbeat was sent. The next one is due after a third of the ttl, or sooner in a contested session.
    pub fn beat(&mut self, contested: bool, now: Moment) {
        let next = now + self.interval(contested);
        if let Phase::Open { heartbeat_at: Some(at), .. } = &mut self.phase {
            *at = next;
        }
    }

    fn interval(&self, contested: bool) -> Duration {
        let third = self.ttl / 3;
        if contested { third.min(CONTESTED_BEAT) } else { third }
    }

    /// Makes a heartbeat due, because there is something to report.
    pub fn beat_soon(&mut self, now: Moment) {
        if let Phase::Open { heartbeat_at: Some(at), .. } = &mut self.phase {
            *at = now;
        }
    }

    /// The registry acknowledged a write of the session.
    pub fn acknowledged(&mut self) {
        self.failures = 0;
    }

    /// The registry does not know the session, so a new one is opened: at once, unless nothing was acknowledged in it,
    /// as with a registry that forgets every session.
    pub fn unknown(&mut self, now: Moment, random: u64) {
        if self.epoch().is_some() {
            self.failures = self.failures.saturating_add(1);
            let again = self.failures > 1;
            let delay = retry::backoff(OPEN_RETRY.0, OPEN_RETRY.1, self.failures, random);
            self.phase = Phase::Closed { open_at: if again { now + delay } else { now } };
        }
    }

    /// Whether this process may write in a session that it has opened. With a lower epoch than the highest one seen,
    /// the session is of before a restore of the registry, and its versions are used already.
    pub fn may_adopt(&self, epoch: u64) -> bool {
        Some(epoch) >= self.min_epoch
    }

    /// The live session turns out to be ours: the answer to the request that opened it was lost.
    pub fn adopt(&mut self, epoch: u64, now: Moment) {
        if Some(epoch) > self.min_epoch {
            self.seq = 0;
        }
        self.learn(epoch);
        self.phase = Phase::Open { epoch, heartbeat_at: Some(now) };
    }

    /// The declaration has to change, so another session is opened. A session that the registry does not know declares
    /// nothing.
    pub fn reopen(&mut self, now: Moment) {
        if let Phase::Open { epoch, heartbeat_at: Some(_) } = self.phase {
            self.enter(Phase::Closed { open_at: now });
            self.replaces = Some(epoch);
        }
    }

    /// The registry says that a session was superseded which this process is replacing. Perhaps the replacement arrived
    /// and its answer did not; perhaps another writer took over.
    pub fn superseded_before(&mut self, epoch: u64) {
        if self.replaces == Some(epoch) {
            self.superseded = Some(epoch);
        }
    }

    /// The superseded session after which no other may be opened. None while a request to open one is in flight.
    pub fn superseded_epoch(&self) -> Option<u64> {
        self.superseded.filter(|_| self.phase != Phase::Opening)
    }

    /// Another writer replaced the session with this epoch, or still holds its own. A session is opened only after the
    /// other one is over, never as a retry.
    pub fn fenced(&mut self, epoch: u64, now: Moment) {
        self.enter(Phase::Fenced { epoch, probe_at: Some(now + FENCED_PROBE) });
    }

    /// A registry without sessions refuses the writes of this term.
    pub fn fenced_in_term(&mut self) {
        self.phase = Phase::Fenced { epoch: self.min_epoch.unwrap_or_default(), probe_at: None };
    }

    pub fn unfenced(&mut self, now: Moment) {
        self.phase = Phase::Closed { open_at: now };
    }

    /// A session has this epoch. Our next session gets a higher one, even if the registry forgets it.
    pub fn learn(&mut self, epoch: u64) {
        self.min_epoch = self.min_epoch.max(Some(epoch));
    }

    pub fn due_at(&self) -> Option<Moment> {
        match self.phase {
            Phase::Closed { open_at } => Some(open_at),
            Phase::Standby | Phase::Opening => None,
            Phase::Open { heartbeat_at, .. } => heartbeat_at,
            Phase::Fenced { probe_at, .. } => probe_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    fn open() -> Session {
        let mut session = Session::default();
        session.opening();
        session.opened(7, TTL, false, at(0));
        session
    }

    #[test]
    fn versions_count_from_one_within_a_session() {
        let mut session = open();
        assert_eq!(session.next_version(), Some(Version { epoch: 7, seq: 1 }));
        assert_eq!(session.next_version(), Some(Version { epoch: 7, seq: 2 }));
        session.unknown(at(1), 0);
        assert_eq!(session.next_version(), None);
        session.opened(8, TTL, false, at(2));
        assert_eq!(session.next_version(), Some(Version { epoch: 8, seq: 1 }));
    }

    #[test]
    fn heartbeats_come_every_third_of_the_ttl() {
        let mut session = open();
        assert_eq!(session.due_at(), Some(at(30)));
        session.beat(false, at(31));
        assert_eq!(session.due_at(), Some(at(61)));
        session.beat(true, at(61));
        assert_eq!(session.due_at(), Some(at(66)), "another writer may announce itself");
    }

    #[test]
    fn reopened_session_stays_fenced() {
        let mut session = open();
        session.reopen(at(5));
        assert_eq!((session.phase(), session.min_epoch()), (Phase::Closed { open_at: at(5) }, Some(7)));
        session.fenced(7, at(6));
        session.reopen(at(7));
        assert!(matches!(session.phase(), Phase::Fenced { .. }));
    }

    #[test]
    fn superseded_session_is_not_replaced_again() {
        let mut session = open();
        session.reopen(at(5));
        session.opening();
        session.superseded_before(6);
        session.superseded_before(7);
        assert_eq!(session.superseded_epoch(), None, "the answer may still come");
        session.not_opened(at(6), 0);
        assert_eq!(session.superseded_epoch(), Some(7));
        session.opened(9, TTL, false, at(7));
        session.superseded_before(7);
        assert_eq!(session.superseded_epoch(), None);
        // The registry forgot the session, so it may be opened again.
        session.unknown(at(8), 0);
        session.superseded_before(9);
        assert_eq!(session.superseded_epoch(), None);
    }

    #[test]
    fn fenced_writer_opens_no_session_until_unfenced() {
        let mut session = open();
        session.fenced(7, at(5));
        session.unknown(at(5), 0);
        assert!(matches!(session.phase(), Phase::Fenced { .. }));
        session.learn(9);
        session.unfenced(at(20));
        assert_eq!((session.phase(), session.min_epoch()), (Phase::Closed { open_at: at(20) }, Some(9)));
    }

    #[test]
    fn standby_has_no_session() {
        let mut session = Session::default();
        assert_eq!((session.phase(), session.due_at()), (Phase::Standby, None));
        session.lead(at(4));
        assert_eq!(session.due_at(), Some(at(4)));
        session.opening();
        session.opened(3, TTL, false, at(5));
        session.stand_by();
        session.unknown(at(6), 0);
        assert_eq!((session.phase(), session.epoch(), session.min_epoch()), (Phase::Standby, None, Some(3)));
    }

    #[test]
    fn fence_without_sessions_lasts_for_the_term() {
        let mut session = Session::default();
        session.lead(at(1));
        session.open_local(7);
        session.fenced_in_term();
        assert_eq!((session.epoch(), session.due_at(), session.next_version()), (None, None, None));
        session.stand_by();
        session.lead(at(9));
        assert_eq!(session.phase(), Phase::Closed { open_at: at(9) });
    }

    #[test]
    fn a_new_term_ends_a_fence() {
        let mut session = open();
        session.fenced(7, at(5));
        session.lead(at(6));
        assert_eq!((session.phase(), session.min_epoch()), (Phase::Closed { open_at: at(6) }, Some(7)));
    }

    #[test]
    fn unknown_own_session_is_adopted() {
        // The request that opened it was given up, but arrived.
        let mut session = open();
        session.next_version();
        session.fenced(7, at(5));
        session.adopt(9, at(15));
        assert_eq!(session.next_version(), Some(Version { epoch: 9, seq: 1 }));
        assert_eq!((session.due_at(), session.min_epoch()), (Some(at(15)), Some(9)), "a heartbeat at once");
        session.fenced(7, at(16));
        session.adopt(9, at(26));
        assert_eq!(session.next_version(), Some(Version { epoch: 9, seq: 2 }), "no number is used twice");
        assert!(session.may_adopt(10) && session.may_adopt(9) && !session.may_adopt(7), "7 is of before a restore");
    }

    #[test]
    fn forgotten_unused_session_is_reopened_with_backoff() {
        // A session in which a write was acknowledged is opened again at once.
        let mut session = open();
        session.acknowledged();
        session.unknown(at(1), 0);
        assert_eq!(session.phase(), Phase::Closed { open_at: at(1) }, "a forgotten session is opened at once");
        session.opened(8, TTL, false, at(1));
        session.unknown(at(1), 0);
        assert!(session.due_at() > Some(at(1)), "a session without acknowledged writes is not");
    }

    #[test]
    fn local_session_has_no_heartbeat() {
        let mut session = Session::default();
        session.lead(at(1));
        session.open_local(50);
        session.beat_soon(at(2));
        session.reopen(at(2));
        assert_eq!((session.epoch(), session.due_at()), (Some(50), None), "it declares nothing");
        session.superseded(Version { epoch: 70, seq: 3 }, at(3), 0);
        assert_eq!(session.due_at(), Some(at(3)));
        session.open_local(60);
        assert_eq!(session.next_version(), Some(Version { epoch: 71, seq: 1 }));
    }

    #[test]
    fn newer_stored_version_is_passed_by_counting_on() {
        // A version of a newer epoch needs a new session.
        let mut session = open();
        session.superseded(Version { epoch: 7, seq: 40 }, at(1), 0);
        assert_eq!(session.next_version(), Some(Version { epoch: 7, seq: 41 }));
        session.superseded(Version { epoch: 6, seq: 99 }, at(1), 0);
        assert_eq!(session.next_version(), Some(Version { epoch: 7, seq: 42 }));
        session.superseded(Version { epoch: 12, seq: 1 }, at(1), 0);
        assert_eq!((session.epoch(), session.min_epoch()), (None, Some(12)));
    }
}
