//! Replies: each answer of the registry is counted, reported to the circuit breaker, and handed to the part that asked.

use tracing::Span;

use super::EventLoop;
use crate::{
    controller::{
        requests::{AskedHolder, Reply, Request, Sent},
        session::SessionFacts,
    },
    model::moment::Moment,
    reconcile::{
        election::{LeaderTerm, Leadership},
        outcome::{Failure, Verdict},
    },
    registry::{Capabilities, Registry, session::SessionOpened, trace::RequestTrace},
    telemetry::metrics::labels::RequestKind as Kind,
};

impl<R: Registry> EventLoop<R> {
    pub(super) fn replied(&mut self, reply: Reply, leadership: Leadership) {
        let now = self.turns.received();
        let has_answered = self.availability.has_answered(self.requests.registry().answers());
        // The term may have ended since the request.
        self.follow(leadership, now);
        match reply {
            Reply::Capabilities(result) => self.capabilities_answered(result, now),
            Reply::SessionOpened { term, result } if Some(term) == self.term.current() => {
                self.session_opened(result, now);
            }
            Reply::SessionOpened { result, .. } => self.opened_too_late(&result),
            Reply::Prepared { term, result } => self.prepared(term, &result, now),
            Reply::SessionClosed => {}
            Reply::Notice(result) => self.noticed(&result, now),
            Reply::Heartbeat { epoch, result } => {
                if self.judge(Kind::Heartbeat, &result, now) {
                    self.registry_answered(now);
                }
                let effect = self.session.heartbeat_answered(epoch, result, now);
                effect.into_iter().for_each(|effect| self.apply_session(effect, now));
            }
            Reply::Holder { asked: AskedHolder::ToOpen { term: asked_in }, result } => {
                self.judge_opening(&result, now);
                let effects = self.session.found_before(asked_in, self.term.current(), result, now);
                effects.into_iter().for_each(|effect| self.apply_session(effect, now));
            }
            Reply::Holder { asked: AskedHolder::Fenced, result } => {
                self.judge(Kind::Session, &result, now);
                let effect = self.session.found_holder(result, now);
                effect.into_iter().for_each(|effect| self.apply_session(effect, now));
            }
            Reply::Inventory { epoch, step } => {
                let effects = self.resync.read(epoch, self.session.epoch(), step, self.comparison.ledger_mut());
                self.apply_resync(effects, now);
            }
            Reply::Names { about, result } => {
                self.judge(Kind::Record, &result, now);
                self.comparison.note_names(result.as_deref().unwrap_or_default());
                let effect = self.absences.named(about, result, now);
                self.apply_absences(Some(effect), now);
            }
            Reply::Written { sent, result } => self.written(&sent, result, has_answered, now),
        }
        self.comparison.project_moved();
    }

    /// What the session reports of the other parts. None if this process does not lead.
    pub(super) fn facts(&self) -> Option<SessionFacts> {
        Some(SessionFacts {
            term: self.term.current()?,
            has_page: self.comparison.lists().has_page(),
            contested: self.absences.are_contested(),
            pods: self.comparison.desired(),
            pending: self.comparison.ledger().pending_count(),
        })
    }

    /// Counts a request, and opens the circuit breaker if it failed. Returns whether it succeeded.
    pub(super) fn judge<T>(&mut self, kind: Kind, result: &Result<T, Failure>, now: Moment) -> bool {
        let failure = result.as_ref().err();
        self.reporter.requested(kind, failure);
        let Some(failure) = failure else {
            self.availability.reached();
            return true;
        };
        if let Some(pause) = self.availability.failed(failure, now) {
            self.reporter.request_failed(kind, failure, pause, now);
            if matches!(failure, Failure::Unauthorized { .. }) {
                // Not a `Request`: it only marks the credential to be read again, and has no reply.
                self.requests.registry().refresh_credential();
            }
        }
        false
    }

    fn judge_opening<T>(&mut self, result: &Result<T, Failure>, now: Moment) {
        self.judge(Kind::Session, result, now);
        if let Err(error) = result
            && !self.availability.is_failing()
        {
            tracing::warn!(%error, "session not opened; retrying");
        }
    }

    /// The registry answered a request in full.
    fn registry_answered(&mut self, now: Moment) {
        if self.availability.answered(now) {
            self.reporter.registry_answered(self.comparison.ledger().pending_count(), now);
        }
    }

    fn capabilities_answered(&mut self, result: Result<Capabilities, Failure>, now: Moment) {
        let result = self.availability.checked(result);
        self.judge(Kind::Capabilities, &result, now);
        let Ok(capabilities) = result else { return };
        self.availability.learn(capabilities);
        if self.availability.is_failing() && !self.leads() {
            // Nothing else is sent.
            self.registry_answered(now);
        } else if self.availability.is_failing() && self.comparison.ledger().pending_count() == 0 {
            // If records are pending, a write ends the outage: other requests say nothing about writes.
            if capabilities.features.sessions {
                self.session.beat_soon(now);
            } else {
                self.registry_answered(now);
            }
        }
    }

    fn session_opened(&mut self, result: Result<SessionOpened, Failure>, now: Moment) {
        self.judge_opening(&result, now);
        let is_open = result.is_ok();
        if is_open {
            self.registry_answered(now);
        }
        let effects = self.session.opened(result, now);
        effects.into_iter().for_each(|effect| self.apply_session(effect, now));
        if is_open {
            self.found_records(now);
        }
    }

    /// A registry without sessions is prepared for a term, or not.
    fn prepared(&mut self, term: LeaderTerm, result: &Result<bool, Failure>, now: Moment) {
        self.judge(Kind::Session, result, now);
        if self.term.current().is_none() {
            // It was sent before the term ended, and may have opened something for it.
            self.requests.registry().end_term();
        }
        match result {
            Ok(is_news) => {
                self.registry_answered(now);
                if *is_news {
                    self.comparison.project_all();
                }
            }
            Err(error) if !self.availability.is_failing() => {
                tracing::warn!(%error, "the registry is not prepared for writes; retrying");
            }
            Err(_) => {}
        }
        let effect = self.session.prepared(term, self.term.current(), result, now);
        effect.into_iter().for_each(|effect| self.apply_session(effect, now));
    }

    /// A request about the target as a whole was answered. A refusal concerns that request alone.
    fn noticed(&mut self, result: &Result<(), Failure>, now: Moment) {
        self.notices.answered();
        match result {
            Err(error) if error.is_refusal() => self.reporter.requested(Kind::Heartbeat, Some(error)),
            result => _ = self.judge(Kind::Heartbeat, result, now),
        }
    }

    /// Closes a session that was opened after its term had ended. It may have replaced the session of the next leader.
    fn opened_too_late(&mut self, result: &Result<SessionOpened, Failure>) {
        if let Ok(SessionOpened { epoch, .. }) = *result {
            tracing::info!(epoch, "a session was opened after the leadership was lost; closing it");
            self.requests.send(Request::CloseSession { epoch });
        }
    }

    /// `has_answered` is false if the write needed no request.
    fn written(&mut self, sent: &Sent, result: Result<Vec<Verdict>, Failure>, has_answered: bool, now: Moment) {
        match result {
            Ok(verdicts) => {
                self.judge(Kind::Write, &Ok(()), now);
                if has_answered {
                    self.registry_answered(now);
                }
                self.session.acknowledged();
                let effects = self.delivery.answered(sent, verdicts, self.comparison.ledger_mut(), now);
                self.apply_delivery(effects, now);
                // Without another write, nothing would end the outage.
                if !has_answered && self.comparison.ledger().pending_count() == 0 {
                    self.registry_answered(now);
                }
            }
            Err(failure) => {
                let in_flight = self.requests.writes_in_flight();
                let blamed = self.availability.blames_writes();
                let ledger = self.comparison.ledger_mut();
                let effects = self.delivery.failed(sent, &failure, blamed, in_flight, ledger, now);
                let span = sent.trace.as_ref().map_or_else(Span::none, RequestTrace::log_span);
                span.in_scope(|| self.apply_delivery(effects, now));
                let effect = self.session.lost(sent.epoch, &failure, now);
                effect.into_iter().for_each(|effect| self.apply_session(effect, now));
            }
        }
    }
}
