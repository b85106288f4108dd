//! The writer's session: when to open one, when to send a heartbeat, when to stop writing.

use std::time::Duration;

use super::retry;
use crate::model::{ids::Version, moment::Moment};

/// For how long a session is shown as live without a heartbeat.
pub const TTL: Duration = Duration::from_secs(90);
/// How often a heartbeat is sent while another writer may announce itself.
const CONTESTED_BEAT: Duration = Duration::from_secs(5);
/// How often a fenced writer looks whether the other one is gone.
const FENCED_PROBE: Duration = Duration::from_secs(10);
/// Delays between attempts to open a session.
const OPEN_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// None, as this process does not lead.
    Standby,
    /// None; one is to be opened at this moment.
    Closed {
        /// When.
        open_at: Moment,
    },
    /// The request that opens one is in flight.
    Opening,
    /// Writes carry this epoch.
    Open {
        /// The session.
        epoch: u64,
        /// When the next heartbeat is due. None if the registry has no sessions.
        heartbeat_at: Option<Moment>,
    },
    /// Another writer took over: nothing is written until its session is over.
    Fenced {
        /// When to look whether it is.
        probe_at: Moment,
    },
}

/// What a session declares of the settings by which its records are selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeclaredScope {
    /// It is not known yet what was declared before.
    #[default]
    Unknown,
    /// Others were before ours, and something may be left that only they had selected. What is declared meanwhile equals
    /// nobody's settings, so that neither a restart nor a way back to the old ones forgets that they changed.
    Unsettled,
    /// Nearly every record had no pod, and no person approved their deletion yet. Neither a restart nor another process
    /// forgets that: the records of the cluster itself come to them, so that their share shrinks.
    Doubted,
    /// Ours.
    Ours,
}

/// What a session declares instead of a hash while [`DeclaredScope::Unsettled`] and [`DeclaredScope::Doubted`].
const UNSETTLED: &str = "unsettled";
const DOUBTED: &str = "doubted";
/// What follows that while another writer may be alive: a process that takes over must not forget it.
const CONTESTED: &str = " contested";

impl DeclaredScope {
    /// What is to be declared after a session that declared `before`, if there was one.
    pub fn after(before: Option<&str>, ours: &str) -> Self {
        match before.map(|before| before.strip_suffix(CONTESTED).unwrap_or(before)) {
            Some(DOUBTED) => Self::Doubted,
            Some(before) if before != ours => Self::Unsettled,
            _ => Self::Ours,
        }
    }

    /// The text that a session declares. `contested` says whether another writer may be alive.
    pub fn text(self, ours: &str, contested: bool) -> String {
        let settings = match self {
            Self::Unsettled => UNSETTLED,
            Self::Doubted => DOUBTED,
            Self::Unknown | Self::Ours => ours,
        };
        format!("{settings}{}", if contested { CONTESTED } else { "" })
    }
}

/// Whether a session that declared this text was opened while another writer may have been alive.
pub fn is_contested(declared: &str) -> bool {
    declared.ends_with(CONTESTED)
}

/// A writer's session, and the counter that orders its operations.
#[derive(Clone, Debug)]
pub struct Session {
    phase: Phase,
    seq: u64,
    /// The highest epoch seen; 0 before any, as epochs count from 1.
    min_epoch: u64,
    ttl: Duration,
    failures: u32,
}

impl Default for Session {
    fn default() -> Self {
        Self { phase: Phase::Standby, seq: 0, min_epoch: 0, ttl: TTL, failures: 0 }
    }
}

impl Session {
    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The epoch that writes carry, while they may be sent.
    pub fn epoch(&self) -> Option<u64> {
        match self.phase {
            Phase::Open { epoch, .. } => Some(epoch),
            _ => None,
        }
    }

    /// The ttl to ask for with the next heartbeat.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The highest epoch seen, for the registry to mint above.
    pub fn min_epoch(&self) -> Option<u64> {
        Some(self.min_epoch).filter(|epoch| *epoch > 0)
    }

    /// The next operation's version; taken when its bytes are built.
    pub fn next_version(&mut self) -> Option<Version> {
        let epoch = self.epoch()?;
        self.seq += 1;
        Some(Version { epoch, seq: self.seq })
    }

    /// The counter has to pass this version, which the registry holds. One of a later epoch cannot be passed by
    /// counting: the session is as good as unknown.
    pub fn superseded(&mut self, version: Version, now: Moment, random: u64) {
        match self.epoch() {
            Some(epoch) if version.epoch == epoch => self.seq = self.seq.max(version.seq),
            Some(epoch) if version.epoch > epoch => {
                self.min_epoch = self.min_epoch.max(version.epoch);
                self.unknown(now, random);
            }
            _ => {}
        }
    }

    /// This process leads from now on: whatever was before, a session is opened at once.
    pub fn lead(&mut self, now: Moment) {
        self.failures = 0;
        self.phase = Phase::Closed { open_at: now };
    }

    /// This process leads no more: nothing is written, and no session opened.
    pub fn follow(&mut self) {
        self.phase = Phase::Standby;
    }

    /// The request that opens a session was sent.
    pub fn opening(&mut self) {
        self.phase = Phase::Opening;
    }

    /// A session was opened. `contested` says whether another writer may be alive.
    pub fn opened(&mut self, epoch: u64, ttl: Duration, contested: bool, now: Moment) {
        self.min_epoch = self.min_epoch.max(epoch);
        self.seq = 0;
        self.ttl = ttl.clamp(Duration::from_secs(3), TTL);
        self.phase = Phase::Open { epoch, heartbeat_at: Some(now + self.interval(contested)) };
    }

    /// Opens a session that only this process knows of, as the registry has none. Its epoch is at least the given one, and
    /// higher than every epoch seen.
    pub fn open_local(&mut self, epoch: u64) {
        self.min_epoch = epoch.max(self.min_epoch.saturating_add(1));
        self.seq = 0;
        self.phase = Phase::Open { epoch: self.min_epoch, heartbeat_at: None };
    }

    /// No session is opened before this moment.
    pub fn wait_until(&mut self, at: Moment) {
        if let Phase::Closed { open_at } = &mut self.phase {
            *open_at = (*open_at).max(at);
        }
    }

    /// No session could be opened; tries again.
    pub fn not_opened(&mut self, now: Moment, random: u64) {
        self.failures = self.failures.saturating_add(1);
        let delay = retry::backoff(OPEN_RETRY.0, OPEN_RETRY.1, self.failures, random);
        self.phase = Phase::Closed { open_at: now + delay };
    }

    /// A heartbeat was sent; the next one is due a third of the ttl later, or sooner in a contested session.
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

    /// There is something to tell with a heartbeat.
    pub fn beat_soon(&mut self, now: Moment) {
        if let Phase::Open { heartbeat_at: Some(at), .. } = &mut self.phase {
            *at = now;
        }
    }

    /// Something was acknowledged in the session.
    pub fn acknowledged(&mut self) {
        self.failures = 0;
    }

    /// The registry does not know the session: a new one is opened, above this one. At once, unless nothing was
    /// acknowledged in it, as with a registry that forgets every session.
    pub fn unknown(&mut self, now: Moment, random: u64) {
        if self.epoch().is_some() {
            self.failures = self.failures.saturating_add(1);
            let again = self.failures > 1;
            let delay = retry::backoff(OPEN_RETRY.0, OPEN_RETRY.1, self.failures, random);
            self.phase = Phase::Closed { open_at: if again { now + delay } else { now } };
        }
    }

    /// The live session turned out to be ours, though we never heard that it was opened.
    pub fn adopt(&mut self, epoch: u64, now: Moment) {
        if epoch > self.min_epoch {
            self.seq = 0;
        }
        self.min_epoch = self.min_epoch.max(epoch);
        self.phase = Phase::Open { epoch, heartbeat_at: Some(now) };
    }

    /// What the session declares changes: a session is opened that says so. A session that the registry does not know of
    /// declares nothing.
    pub fn reopen(&mut self, now: Moment) {
        if matches!(self.phase, Phase::Open { heartbeat_at: Some(_), .. }) {
            self.phase = Phase::Closed { open_at: now };
        }
    }

    /// Another writer took over. A session is opened again only once its session is over, never as a retry.
    pub fn fenced(&mut self, now: Moment) {
        self.phase = Phase::Fenced { probe_at: now + FENCED_PROBE };
    }

    /// The other writer's session is over.
    pub fn unfenced(&mut self, other_epoch: u64, now: Moment) {
        self.min_epoch = self.min_epoch.max(other_epoch);
        self.phase = Phase::Closed { open_at: now };
    }

    /// Another writer has this epoch: a session that we open lies above it, even if the registry forgets it.
    pub fn learn(&mut self, epoch: u64) {
        self.min_epoch = self.min_epoch.max(epoch);
    }

    /// When something is to be done for the session.
    pub fn due_at(&self) -> Option<Moment> {
        match self.phase {
            Phase::Closed { open_at } => Some(open_at),
            Phase::Standby | Phase::Opening => None,
            Phase::Open { heartbeat_at, .. } => heartbeat_at,
            Phase::Fenced { probe_at } => Some(probe_at),
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
    fn changed_settings_are_declared_as_unsettled() {
        assert_eq!(DeclaredScope::after(None, "ours"), DeclaredScope::Ours);
        assert_eq!(DeclaredScope::after(Some("ours"), "ours"), DeclaredScope::Ours);
        let before = DeclaredScope::after(Some("theirs"), "ours");
        assert_eq!((&*before.text("ours", false), &*DeclaredScope::Ours.text("ours", false)), ("unsettled", "ours"));
        assert_eq!(
            DeclaredScope::after(Some("unsettled"), "theirs"),
            DeclaredScope::Unsettled,
            "for whoever comes next as well"
        );
        let mut session = open();
        session.reopen(at(5));
        assert_eq!((session.phase(), session.min_epoch()), (Phase::Closed { open_at: at(5) }, Some(7)));
        session.fenced(at(6));
        session.reopen(at(7));
        assert!(matches!(session.phase(), Phase::Fenced { .. }), "never as a way out of being fenced");
    }

    #[test]
    fn needed_approval_is_declared_and_read_back() {
        let declared = DeclaredScope::after(Some(&DeclaredScope::Doubted.text("ours", false)), "ours");
        assert_eq!((declared, &*declared.text("ours", false)), (DeclaredScope::Doubted, "doubted"));
    }

    #[test]
    fn contested_session_declares_its_settings_too() {
        for declared in [DeclaredScope::Ours, DeclaredScope::Unsettled, DeclaredScope::Doubted] {
            let (contested, alone) = (declared.text("ours", true), declared.text("ours", false));
            assert_eq!(DeclaredScope::after(Some(&contested), "ours"), declared);
            assert_eq!((is_contested(&contested), is_contested(&alone)), (true, false));
        }
    }

    #[test]
    fn fenced_writer_opens_no_session_until_unfenced() {
        let mut session = open();
        session.fenced(at(5));
        session.unknown(at(5), 0);
        assert!(matches!(session.phase(), Phase::Fenced { .. }));
        session.unfenced(9, at(20));
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
        session.follow();
        session.unknown(at(6), 0);
        assert_eq!((session.phase(), session.epoch(), session.min_epoch()), (Phase::Standby, None, Some(3)));
    }

    #[test]
    fn a_new_term_ends_a_fence() {
        let mut session = open();
        session.fenced(at(5));
        session.lead(at(6));
        assert_eq!((session.phase(), session.min_epoch()), (Phase::Closed { open_at: at(6) }, Some(7)));
    }

    #[test]
    fn unknown_own_session_is_adopted() {
        // The request that opened it was given up, and arrived all the same.
        let mut session = open();
        session.next_version();
        session.fenced(at(5));
        session.adopt(9, at(15));
        assert_eq!(session.next_version(), Some(Version { epoch: 9, seq: 1 }));
        assert_eq!((session.due_at(), session.min_epoch()), (Some(at(15)), Some(9)), "a heartbeat at once");
        session.fenced(at(16));
        session.adopt(9, at(26));
        assert_eq!(session.next_version(), Some(Version { epoch: 9, seq: 2 }), "no number is used twice");
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
        assert!(session.due_at() > Some(at(1)), "one in which nothing was acknowledged is not");
    }

    #[test]
    fn local_session_has_no_heartbeat_and_a_new_epoch() {
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
