//! The writer session: opening it, keeping it alive, losing it, and other writers.
//!
//! [`Session`] is the state machine. `opening` opens sessions and declares what the next process has to know;
//! `other_writers` handles other writers and the loss of the session.

mod opening;
mod other_writers;

use super::{error::Error, options::ControllerOptions, requests::Request};
use crate::{
    model::{ids::Version, moment::Moment},
    reconcile::{
        declaration::DeclaredSettings,
        election::LeaderTerm,
        fault_log::Reminder,
        session::{Phase, Session},
        takeover::Takeover,
    },
    registry::session::{Heartbeat, HeartbeatCounts},
};

pub(super) struct WriterSession {
    session: Session,
    options: ControllerOptions,
    /// What the next session declares. None until the registry has answered what the previous session declared.
    declared: Option<DeclaredSettings>,
    /// Whether the newest session declares that another writer may be alive.
    declares_contest: bool,
    /// The term for which a registry without sessions is prepared.
    prepared_in: Option<LeaderTerm>,
    /// Whether the registry knew the previous session.
    is_remembered: bool,
    takeover: Takeover,
    in_flight: SessionRequests,
    /// The session in which the registry has been equal to the cluster since the last heartbeat.
    in_sync_in: Option<u64>,
    waiting: Reminder,
    contender: Reminder,
    fenced: Reminder,
    rng: fastrand::Rng,
}

/// Which requests are in flight, at most one of each kind.
#[derive(Default)]
struct SessionRequests {
    heartbeat: bool,
    holder_to_open: bool,
    holder_when_fenced: bool,
    prepare: bool,
}

/// The next step for a registry without sessions.
#[must_use]
pub(super) enum LocalStep {
    Send(Request),
    /// A session was opened that only this process knows of.
    Opened(SessionEffect),
}

/// What the session reports of the other parts.
#[derive(Clone, Copy)]
pub(super) struct SessionFacts {
    pub(super) term: LeaderTerm,
    /// Whether a page of pods has arrived.
    pub(super) has_page: bool,
    pub(super) contested: bool,
    pub(super) pods: usize,
    pub(super) pending: usize,
}

/// What holds deletions, also those of the next process.
#[derive(Clone, Copy)]
pub(super) struct HeldBecause {
    /// An operator has to approve the deletion of nearly all records.
    pub(super) operator_needed: bool,
    /// Another writer may be alive.
    pub(super) contested: bool,
}

/// What follows for the other parts.
#[must_use]
#[derive(Debug)]
pub(super) enum SessionEffect {
    /// The registry held this number of records before this process wrote.
    Expect(u64),
    /// A session was opened.
    Resync,
    /// Another writer may be alive. It gets time to announce itself before a deletion is inferred.
    ExpectOtherWriter,
    OtherWriterSeen,
    NoOtherWriterReported,
    /// Other settings than ours selected the records.
    ScopeChanged,
    /// An earlier process found nearly every record without a pod, and no operator has approved their deletion.
    NeedOperator,
    /// Another writer took over.
    Fenced,
    End(Error),
}

impl WriterSession {
    pub(super) fn new(options: ControllerOptions, rng: fastrand::Rng) -> Self {
        Self {
            session: Session::default(),
            options,
            declared: None,
            declares_contest: false,
            prepared_in: None,
            is_remembered: true,
            takeover: Takeover::default(),
            in_flight: SessionRequests::default(),
            in_sync_in: None,
            waiting: Reminder::default(),
            contender: Reminder::default(),
            fenced: Reminder::default(),
            rng,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.session.phase()
    }

    /// The epoch that writes carry, while they may be sent.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.session.epoch()
    }

    pub(super) fn is_open(&self) -> bool {
        self.epoch().is_some()
    }

    pub(super) fn next_version(&mut self) -> Option<Version> {
        self.session.next_version()
    }

    pub(super) fn due_at(&self) -> Option<Moment> {
        self.session.due_at()
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.due_at().is_some_and(|at| now >= at)
    }
}

/// Leading and standing by.
impl WriterSession {
    pub(super) fn lead(&mut self, now: Moment) {
        self.session.lead(now);
    }

    pub(super) fn stand_by(&mut self) {
        self.session.stand_by();
        self.declared = None;
        self.prepared_in = None;
    }
}

/// Keeping the session alive.
impl WriterSession {
    /// The request to send, as something is due.
    #[must_use]
    pub(super) fn next_request(&mut self, facts: &SessionFacts, now: Moment) -> Option<Request> {
        match self.phase() {
            // Without pods, a session would only keep another writer out.
            Phase::Closed { .. } if !facts.has_page => None,
            Phase::Closed { .. } => match self.declared.clone() {
                None => self.ask_before_opening(facts, now),
                Some(settings) => Some(self.open(settings, facts)),
            },
            Phase::Open { epoch, .. } if !self.in_flight.heartbeat => Some(self.beat(epoch, facts, now)),
            Phase::Fenced { epoch, .. } if !self.in_flight.holder_when_fenced => Some(self.probe(epoch, facts)),
            _ => None,
        }
    }

    fn beat(&mut self, epoch: u64, facts: &SessionFacts, now: Moment) -> Request {
        self.session.beat(self.declares_contest, now);
        self.in_flight.heartbeat = true;
        let beat = self.heartbeat(epoch, facts);
        self.in_sync_in = None;
        Request::Heartbeat(beat)
    }

    fn heartbeat(&self, epoch: u64, facts: &SessionFacts) -> Heartbeat {
        Heartbeat {
            epoch,
            instance: Some(self.options.instance.clone()),
            ttl_seconds: self.session.ttl().as_secs(),
            // Since the last heartbeat, not at this moment: in a busy cluster some change is always pending.
            synced: self.session.epoch().is_some_and(|epoch| self.in_sync_in == Some(epoch)),
            counts: Some(HeartbeatCounts { pods: facts.pods as u64, pending: facts.pending as u64 }),
        }
    }

    /// The registry is equal to the cluster.
    pub(super) fn note_in_sync(&mut self) {
        self.in_sync_in = self.session.epoch();
    }

    /// Sends a heartbeat as soon as possible.
    pub(super) fn beat_soon(&mut self, now: Moment) {
        self.session.beat_soon(now);
    }

    pub(super) fn acknowledged(&mut self) {
        self.session.acknowledged();
    }

    /// The registry holds this version of one of our records, which is higher than ours.
    pub(super) fn superseded(&mut self, version: Version, now: Moment) {
        let random = self.rng.u64(..);
        self.session.superseded(version, now, random);
    }
}
