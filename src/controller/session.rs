//! The writer session: opening it, keeping it alive, losing it, and other writers.
//!
//! [`Session`] is the state machine. Before the first session of a term, this process asks what the previous session
//! declared: which settings selected the records, and whether another writer may be alive.

use std::time::Duration;

use super::{
    error::Error,
    identity::Identity,
    requests::{AskedHolder, Request},
};
use crate::{
    model::{ids::Version, moment::Moment},
    reconcile::{
        notices::Reminder,
        outcome::Failure,
        session::{DeclaredScope, Phase, Session, is_contested},
        takeover::{OtherWriter, SessionLiveness, Takeover},
    },
    registry::session::{Contender, Heartbeat, HeartbeatCounts, OpenSession, PreviousSession, SessionOpened},
};

pub(super) struct WriterSession {
    session: Session,
    identity: Identity,
    declared: DeclaredScope,
    /// Whether the newest session declares that another writer may be alive.
    declares_contest: bool,
    /// Whether the registry knew the previous session.
    is_remembered: bool,
    takeover: Takeover,
    in_flight: SessionRequests,
    /// The session in which the registry has been equal to the cluster since the last heartbeat.
    in_sync_in: Option<u64>,
    /// The epoch of the session that another writer replaced.
    fenced_epoch: u64,
    waiting: Reminder,
    contender: Reminder,
    fenced: Reminder,
    start_epoch: u64,
    rng: fastrand::Rng,
}

/// Which requests are in flight, at most one of each kind.
#[derive(Default)]
struct SessionRequests {
    heartbeat: bool,
    holder_to_open: bool,
    holder_when_fenced: bool,
}

/// What the session reports of the other parts.
#[derive(Clone, Copy)]
pub(super) struct SessionFacts {
    pub(super) term: u64,
    /// Whether a page of pods has arrived.
    pub(super) has_page: bool,
    pub(super) contested: bool,
    pub(super) pods: usize,
    pub(super) pending: usize,
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
    pub(super) fn new(identity: Identity, start_epoch: u64, rng: fastrand::Rng) -> Self {
        Self {
            session: Session::default(),
            identity,
            declared: DeclaredScope::default(),
            declares_contest: false,
            is_remembered: true,
            takeover: Takeover::default(),
            in_flight: SessionRequests::default(),
            in_sync_in: None,
            fenced_epoch: 0,
            waiting: Reminder::default(),
            contender: Reminder::default(),
            fenced: Reminder::default(),
            start_epoch,
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
        self.declared = DeclaredScope::Unknown;
    }
}

/// Opening a session.
impl WriterSession {
    /// The request to send, as something is due.
    #[must_use]
    pub(super) fn next_request(&mut self, facts: &SessionFacts, now: Moment) -> Option<Request> {
        match self.phase() {
            // Without pods, a session would only keep another writer out.
            Phase::Closed { .. } if !facts.has_page => None,
            Phase::Closed { .. } if self.declared == DeclaredScope::Unknown => self.ask_before_opening(facts, now),
            Phase::Closed { .. } => Some(self.open(facts)),
            Phase::Open { epoch, .. } if !self.in_flight.heartbeat => Some(self.beat(epoch, facts, now)),
            Phase::Fenced { .. } if !self.in_flight.holder_when_fenced => Some(self.probe(facts)),
            _ => None,
        }
    }

    /// Asks what the previous session declared. A process that has waited long for another one announces itself.
    fn ask_before_opening(&mut self, facts: &SessionFacts, now: Moment) -> Option<Request> {
        if std::mem::replace(&mut self.in_flight.holder_to_open, true) {
            return None;
        }
        let announcement = self.takeover.announcement_epoch(now).map(|epoch| self.heartbeat(epoch, facts));
        Some(Request::Holder { asked: AskedHolder::ToOpen { term: facts.term }, announcement })
    }

    /// The answer came about the previous session. `term` is the one in which this process leads now.
    #[must_use]
    pub(super) fn found_before(
        &mut self,
        asked_in: u64,
        term: Option<u64>,
        result: Result<Option<OtherWriter>, Failure>,
        now: Moment,
    ) -> Vec<SessionEffect> {
        self.in_flight.holder_to_open = false;
        let mut effects = Vec::new();
        match result {
            // The answer is of an earlier term, and another process may have written since.
            _ if Some(asked_in) != term => {}
            Ok(None) => {
                effects.push(SessionEffect::Expect(0));
                self.is_remembered = false;
                _ = self.declare_after(None, &mut effects);
            }
            Ok(Some(before)) => {
                effects.push(SessionEffect::Expect(before.records));
                match self.identity.check_cluster(before.cluster_uid.as_deref(), &before.instance) {
                    // Without a Lease (term 0), only missed heartbeats show that the other process has stopped.
                    Ok(()) => self.take_over(&before, asked_in == 0, now, &mut effects),
                    Err(error) => effects.push(SessionEffect::End(error)),
                }
            }
            Err(_) => self.not_opened(now),
        }
        effects
    }

    /// Takes over from the previous session, if that is allowed.
    fn take_over(&mut self, before: &OtherWriter, must_wait: bool, now: Moment, effects: &mut Vec<SessionEffect>) {
        let is_ours = self.identity.is_previous_process(&before.instance);
        if must_wait && let Err(check_again_at) = self.takeover.check(before, is_ours, now) {
            if self.waiting.is_due(now) {
                tracing::warn!(
                    instance = before.instance,
                    epoch = before.epoch,
                    "another process holds a live session; waiting until it misses a heartbeat. To run several replicas, \
                     give them one --lease; to run two installations, different --owner names"
                );
            }
            return self.session.wait_until(check_again_at);
        }
        self.waiting.over();
        self.expect_other_writer(&before.instance, before.state == SessionLiveness::Closed, effects);
        _ = self.declare_after(before.scope.as_deref(), effects);
    }

    /// The owner of a replaced session may be alive, unless it closed the session or was an earlier run of this process.
    fn expect_other_writer(&self, instance: &str, is_closed: bool, effects: &mut Vec<SessionEffect>) {
        if !is_closed && !self.identity.is_this_process(instance) {
            effects.push(SessionEffect::ExpectOtherWriter);
        }
    }

    fn open(&mut self, facts: &SessionFacts) -> Request {
        self.declares_contest = facts.contested;
        let open = OpenSession {
            cluster_name: Some(self.identity.cluster_name.clone()),
            instance: self.identity.instance.clone(),
            ttl_seconds: self.session.ttl().as_secs(),
            scope: Some(self.declared.text(&self.identity.scope, self.declares_contest)),
            min_epoch: self.session.min_epoch(),
            cluster_uid: self.identity.cluster_uid.clone(),
        };
        self.session.opening();
        Request::OpenSession { term: facts.term, open }
    }

    #[must_use]
    pub(super) fn opened(&mut self, result: Result<SessionOpened, Failure>, now: Moment) -> Vec<SessionEffect> {
        let mut effects = Vec::new();
        let Ok(opened) = result else {
            self.not_opened(now);
            return effects;
        };
        let ours = self.session.min_epoch();
        let ttl = Duration::from_secs(opened.ttl_seconds);
        self.session.opened(opened.epoch, ttl, self.declares_contest, now);
        let instance = opened.previous.as_ref().map(|previous| previous.instance.as_str());
        tracing::info!(epoch = opened.epoch, previous = instance, "session opened; this process writes");
        // Another process may have opened one after the answer about the previous session.
        if let Some(previous) = opened.previous.filter(|previous| Some(previous.epoch) != ours) {
            self.replaced(&previous, now, &mut effects);
        }
        effects.push(SessionEffect::Resync);
        effects
    }

    fn replaced(&mut self, previous: &PreviousSession, now: Moment, effects: &mut Vec<SessionEffect>) {
        if let Err(error) = self.identity.check_cluster(previous.cluster_uid.as_deref(), &previous.instance) {
            return effects.push(SessionEffect::End(error));
        }
        self.expect_other_writer(&previous.instance, previous.state == SessionLiveness::Closed, effects);
        if self.declare_after(previous.scope.as_deref(), effects) {
            self.session.reopen(now);
        }
    }

    /// Opens a session that only this process knows of, as the registry has no sessions. It declares nothing, and no other
    /// writer is noticed.
    #[must_use]
    pub(super) fn open_local(&mut self, facts: &SessionFacts, now: Moment) -> Option<SessionEffect> {
        if !facts.has_page {
            return None;
        }
        // Another process may have led since the start. The time that has passed puts our epoch above its epoch.
        self.session.open_local(self.start_epoch + now.since_start().as_secs());
        tracing::info!(epoch = self.epoch(), "the registry has no sessions; this process writes");
        Some(SessionEffect::Resync)
    }

    fn not_opened(&mut self, now: Moment) {
        let random = self.rng.u64(..);
        self.session.not_opened(now, random);
    }

    /// The registry holds this number of our records. If it forgot who wrote them, another writer may still be alive.
    #[must_use]
    pub(super) fn found_records(&mut self, owned: usize) -> Option<SessionEffect> {
        if self.is_remembered || owned == 0 {
            return None;
        }
        self.is_remembered = true;
        Some(SessionEffect::ExpectOtherWriter)
    }

    /// A resync is complete: from now on the registry knows this session.
    pub(super) fn resynced(&mut self) {
        self.is_remembered = true;
    }
}

/// What the session declares, so that neither a restart nor the next leader forgets it.
impl WriterSession {
    /// Sets what our session declares after one that declared `before`. Returns whether that changes it.
    fn declare_after(&mut self, before: Option<&str>, effects: &mut Vec<SessionEffect>) -> bool {
        if before.is_some_and(is_contested) {
            effects.push(SessionEffect::ExpectOtherWriter);
        }
        let known = std::mem::replace(&mut self.declared, DeclaredScope::after(before, &self.identity.scope));
        let is_news = self.declared != known;
        match self.declared {
            DeclaredScope::Suspect if is_news => effects.push(SessionEffect::NeedOperator),
            DeclaredScope::Unsettled if is_news => effects.push(SessionEffect::ScopeChanged),
            _ => {}
        }
        is_news
    }

    /// Declares that no record is left of earlier settings.
    pub(super) fn declare_settled(&mut self, now: Moment) {
        tracing::info!("no record of the earlier settings is left; declaring the current ones");
        self.declared = DeclaredScope::Ours;
        self.session.reopen(now);
    }

    /// Declares whether an operator is needed, and whether another writer may be alive.
    pub(super) fn declare(&mut self, operator_needed: bool, contested: bool, now: Moment) {
        if operator_needed && self.declared != DeclaredScope::Suspect && self.is_open() {
            self.declared = DeclaredScope::Suspect;
            self.session.reopen(now);
        }
        if contested != self.declares_contest {
            self.session.reopen(now);
        }
    }
}

/// Keeping the session alive, and losing it.
impl WriterSession {
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
            instance: Some(self.identity.instance.clone()),
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

    #[must_use]
    pub(super) fn heartbeat_answered(
        &mut self,
        epoch: u64,
        result: Result<Option<Contender>, Failure>,
        now: Moment,
    ) -> Option<SessionEffect> {
        self.in_flight.heartbeat = false;
        match result {
            Ok(contender) => {
                self.acknowledged();
                (self.epoch() == Some(epoch)).then(|| self.contended(contender, now))
            }
            Err(failure) => self.lost(epoch, &failure, now),
        }
    }

    pub(super) fn acknowledged(&mut self) {
        self.session.acknowledged();
    }

    /// The registry reports another writer, or none.
    fn contended(&mut self, contender: Option<Contender>, now: Moment) -> SessionEffect {
        let name = |contender: &Contender| contender.instance.clone().unwrap_or_default();
        // An earlier run of this process cannot write any more.
        let contender = contender.filter(|other| !self.identity.is_this_process(&name(other)));
        let Some(contender) = contender else {
            self.contender.over();
            return SessionEffect::NoOtherWriterReported;
        };
        if self.contender.is_due(now) {
            tracing::error!(
                instance = name(&contender),
                epoch = contender.epoch,
                fix = "stop one of the two; if the other one runs in another cluster (a clone or a restored copy), give each \
                       cluster its own --cluster-id",
                "another process writes for the same cluster id and owner, or tries to; inferred deletions are held"
            );
        }
        SessionEffect::OtherWriterSeen
    }

    /// The registry holds this version of one of our records, which is higher than ours.
    pub(super) fn superseded(&mut self, version: Version, now: Moment) {
        let random = self.rng.u64(..);
        self.session.superseded(version, now, random);
    }

    /// A request of this session failed. Stops writing if the registry said that the session is over.
    #[must_use]
    pub(super) fn lost(&mut self, epoch: u64, failure: &Failure, now: Moment) -> Option<SessionEffect> {
        if self.epoch() != Some(epoch) {
            return None;
        }
        match failure {
            Failure::StaleEpoch => {
                self.fenced.over();
                self.fenced_epoch = epoch;
                self.log_fenced(now);
                self.session.fenced(now);
                Some(SessionEffect::Fenced)
            }
            Failure::UnknownSession => {
                self.is_remembered = false;
                tracing::warn!(epoch, "the registry does not know this session; opening another one");
                let random = self.rng.u64(..);
                self.session.unknown(now, random);
                None
            }
            _ => None,
        }
    }

    fn log_fenced(&mut self, now: Moment) {
        if self.fenced.is_due(now) {
            tracing::error!(
                epoch = self.fenced_epoch,
                fix = "run one of them, or give them different --owner names; if the other one runs in another cluster (a \
                       clone or a restored copy), give each cluster its own --cluster-id",
                "another process writes for this cluster id and owner; waiting until its session is over"
            );
        }
    }

    /// Announces this process, and asks who holds the session.
    fn probe(&mut self, facts: &SessionFacts) -> Request {
        self.in_flight.holder_when_fenced = true;
        let announcement = Some(self.heartbeat(self.fenced_epoch, facts));
        Request::Holder { asked: AskedHolder::Fenced, announcement }
    }

    /// The answer came about who holds the session.
    #[must_use]
    pub(super) fn found_holder(
        &mut self,
        result: Result<Option<OtherWriter>, Failure>,
        now: Moment,
    ) -> Option<SessionEffect> {
        self.in_flight.holder_when_fenced = false;
        if !matches!(self.phase(), Phase::Fenced { .. }) {
            return None;
        }
        match result {
            // A request to open it had timed out, but arrived at the registry.
            Ok(Some(holder)) if !holder.is_over() && holder.instance == self.identity.instance => {
                tracing::info!(epoch = holder.epoch, "the live session is this process's own; writing in it");
                self.session.adopt(holder.epoch, now);
                Some(SessionEffect::Resync)
            }
            Ok(Some(other)) if !other.is_over() && !self.identity.is_previous_process(&other.instance) => {
                self.session.learn(other.epoch);
                if let Err(error) = self.identity.check_cluster(other.cluster_uid.as_deref(), &other.instance) {
                    return Some(SessionEffect::End(error));
                }
                self.log_fenced(now);
                self.session.fenced(now);
                Some(SessionEffect::OtherWriterSeen)
            }
            Ok(other) => {
                self.declared = DeclaredScope::Unknown;
                self.session.unfenced(other.map_or(0, |other| other.epoch), now);
                // The other writer may be alive although its session is over or unknown.
                Some(SessionEffect::ExpectOtherWriter)
            }
            Err(_) => {
                self.session.fenced(now);
                None
            }
        }
    }
}
