//! Other writers: noticing them, losing the session to one, and waiting until its session is over.

use super::{SessionEffect, SessionFacts, WriterSession};
use crate::{
    controller::requests::{AskedHolder, Request},
    model::moment::Moment,
    reconcile::{outcome::Failure, session::Phase, takeover::SessionHolder},
    registry::session::Contender,
};

impl WriterSession {
    #[must_use]
    pub(in crate::controller) fn heartbeat_answered(
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

    /// The registry reports another writer, or none.
    fn contended(&mut self, contender: Option<Contender>, now: Moment) -> SessionEffect {
        let name = |contender: &Contender| contender.instance.clone().unwrap_or_default();
        // An earlier run of this process cannot write any more.
        let contender = contender.filter(|other| !self.options.is_this_process(&name(other)));
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

    /// A request of this session failed. Stops writing if the registry said that the session is over.
    #[must_use]
    pub(in crate::controller) fn lost(&mut self, epoch: u64, failure: &Failure, now: Moment) -> Option<SessionEffect> {
        if self.epoch() != Some(epoch) {
            return (*failure == Failure::StaleEpoch).then(|| self.superseded_before(epoch, now)).flatten();
        }
        match failure {
            Failure::StaleEpoch if matches!(self.phase(), Phase::Open { heartbeat_at: None, .. }) => {
                Some(self.fence_term())
            }
            Failure::StaleEpoch => Some(self.stop_writing(epoch, now)),
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

    /// The session was superseded while this process opens another one. If that fails, it is not tried again.
    fn superseded_before(&mut self, epoch: u64, now: Moment) -> Option<SessionEffect> {
        self.session.superseded_before(epoch);
        self.fence_if_superseded(now)
    }

    pub(super) fn fence_if_superseded(&mut self, now: Moment) -> Option<SessionEffect> {
        let epoch = self.session.superseded_epoch()?;
        Some(self.stop_writing(epoch, now))
    }

    fn stop_writing(&mut self, epoch: u64, now: Moment) -> SessionEffect {
        self.fenced.over();
        self.fence(epoch, now);
        SessionEffect::Fenced
    }

    /// Waits until the session of the other writer is over. It replaced ours with this epoch.
    fn fence(&mut self, epoch: u64, now: Moment) {
        self.session.fenced(epoch, now);
        if self.fenced.is_due(now) {
            tracing::error!(
                epoch,
                fix = "run one of them, or give them different --owner names; if the other one runs in another cluster (a \
                       clone or a restored copy), give each cluster its own --cluster-id",
                "another process writes for this cluster id and owner; waiting until its session is over"
            );
        }
    }

    /// A registry without sessions refuses the writes of this term, because a later one is in force.
    pub(super) fn fence_term(&mut self) -> SessionEffect {
        self.session.fenced_in_term();
        tracing::error!(
            fix = "run one writer per --owner; if the Lease was created again, or a process wrote without it, remove the term from \
                   the registry and restart this process",
            "another writer's term is in force at the registry; nothing is written until this process gains the Lease again"
        );
        SessionEffect::Fenced
    }

    /// Announces this process, and asks who holds the session.
    pub(super) fn probe(&mut self, epoch: u64, facts: &SessionFacts) -> Request {
        self.in_flight.holder_when_fenced = true;
        let announcement = Some(self.heartbeat(epoch, facts));
        Request::Holder { asked: AskedHolder::Fenced, announcement }
    }

    /// The answer came about who holds the session.
    #[must_use]
    pub(in crate::controller) fn found_holder(
        &mut self,
        result: Result<Option<SessionHolder>, Failure>,
        now: Moment,
    ) -> Option<SessionEffect> {
        self.in_flight.holder_when_fenced = false;
        let Phase::Fenced { epoch, .. } = self.phase() else { return None };
        match result.map(|found| found.map(|holder| holder.session)) {
            // A request to open it had timed out, but arrived at the registry.
            Ok(Some(holder))
                if !holder.is_over()
                    && holder.instance == self.options.instance
                    && self.session.may_adopt(holder.epoch) =>
            {
                tracing::info!(epoch = holder.epoch, "the live session is this process's own; writing in it");
                self.session.adopt(holder.epoch, now);
                Some(SessionEffect::Resync)
            }
            Ok(Some(other)) if !other.is_over() && !self.options.is_this_process(&other.instance) => {
                self.session.learn(other.epoch);
                if let Err(error) = self.options.check_cluster(&other) {
                    return Some(SessionEffect::End(error));
                }
                self.fence(epoch, now);
                Some(SessionEffect::OtherWriterSeen)
            }
            Ok(other) => {
                self.declared = None;
                other.iter().for_each(|other| self.session.learn(other.epoch));
                self.session.unfenced(now);
                // A request of an earlier run to open a session may arrive after that run has ended. Any other writer
                // may be alive although its session is over or unknown.
                let is_earlier_run = other.is_some_and(|other| self.options.is_earlier_run(&other.instance));
                (!is_earlier_run).then_some(SessionEffect::ExpectOtherWriter)
            }
            Err(_) => {
                self.session.fenced(epoch, now);
                None
            }
        }
    }
}
