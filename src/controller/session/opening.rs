//! Opening a session, and what it declares.
//!
//! Before the first session of a term, this process asks what the previous session declared: which settings selected
//! the records, and whether another writer may be alive.

use std::time::Duration;

use super::{HeldBecause, LocalStep, SessionEffect, SessionFacts, WriterSession};
use crate::{
    controller::requests::{AskedHolder, Request},
    model::moment::Moment,
    reconcile::{
        declaration::{Declaration, DeclaredSettings},
        election::LeaderTerm,
        outcome::Failure,
        session::Phase,
        takeover::{ReportedSession, SessionHolder, SessionLiveness},
    },
    registry::session::{OpenSession, SessionOpened},
};

impl WriterSession {
    /// Asks what the previous session declared. A process that has waited long for another one announces itself.
    pub(super) fn ask_before_opening(&mut self, facts: &SessionFacts, now: Moment) -> Option<Request> {
        if std::mem::replace(&mut self.in_flight.holder_to_open, true) {
            return None;
        }
        let announcement = self.takeover.announcement_epoch(now).map(|epoch| self.heartbeat(epoch, facts));
        Some(Request::Holder { asked: AskedHolder::ToOpen { term: facts.term }, announcement })
    }

    /// The answer came about the previous session. `term` is the one in which this process leads now.
    #[must_use]
    pub(in crate::controller) fn found_before(
        &mut self,
        asked_in: LeaderTerm,
        term: Option<LeaderTerm>,
        result: Result<Option<SessionHolder>, Failure>,
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
                if self.may_take_over(&before, asked_in, now) {
                    _ = self.learn_from(&before.session, &mut effects);
                }
            }
            Err(_) => self.not_opened(now),
        }
        effects
    }

    /// Whether the previous session may be replaced. Without a Lease, only missed heartbeats show that its process has
    /// stopped. For a session of another cluster there is nothing to wait for: this process ends.
    fn may_take_over(&mut self, before: &SessionHolder, asked_in: LeaderTerm, now: Moment) -> bool {
        let SessionHolder { session, .. } = before;
        let is_ours = self.options.is_this_process(&session.instance);
        if asked_in == LeaderTerm::Endless
            && self.options.check_cluster(session).is_ok()
            && let Err(check_again_at) = self.takeover.check(before, is_ours, now)
        {
            if self.waiting.is_due(now) {
                tracing::warn!(
                    instance = session.instance,
                    epoch = session.epoch,
                    "another process holds a live session; waiting until it misses a heartbeat. To run several replicas, \
                     give them one --lease; to run two installations, different --owner names"
                );
            }
            self.session.wait_until(check_again_at);
            return false;
        }
        self.waiting.over();
        true
    }

    /// Takes into account a session that ours replaces. Returns whether ours has to declare something else because of
    /// it.
    fn learn_from(&mut self, before: &ReportedSession, effects: &mut Vec<SessionEffect>) -> bool {
        if let Err(error) = self.options.check_cluster(before) {
            effects.push(SessionEffect::End(error));
            return false;
        }
        // Its process may be alive, unless it closed the session or was an earlier run of this process.
        if before.state != SessionLiveness::Closed && !self.options.is_this_process(&before.instance) {
            effects.push(SessionEffect::ExpectOtherWriter);
        }
        self.declare_after(before.scope.as_deref().map(Declaration::parse), effects)
    }

    pub(super) fn open(&mut self, settings: DeclaredSettings, facts: &SessionFacts) -> Request {
        self.declares_contest = facts.contested;
        let declaration = Declaration { settings, contested: facts.contested };
        let open = OpenSession {
            cluster_name: Some(self.options.cluster_name.clone()),
            instance: self.options.instance.clone(),
            ttl_seconds: self.session.ttl().as_secs(),
            scope: Some(declaration.to_string()),
            min_epoch: self.session.min_epoch(),
            cluster_uid: self.options.cluster_uid.clone(),
        };
        self.session.opening();
        Request::OpenSession { term: facts.term, open }
    }

    #[must_use]
    pub(in crate::controller) fn opened(
        &mut self,
        result: Result<SessionOpened, Failure>,
        now: Moment,
    ) -> Vec<SessionEffect> {
        let mut effects = Vec::new();
        let Ok(opened) = result else {
            self.not_opened(now);
            effects.extend(self.fence_if_superseded(now));
            return effects;
        };
        let ours = self.session.min_epoch();
        let ttl = Duration::from_secs(opened.ttl_seconds);
        self.session.opened(opened.epoch, ttl, self.declares_contest, now);
        let instance = opened.previous.as_ref().map(|previous| previous.instance.as_str());
        tracing::info!(epoch = opened.epoch, previous = instance, "session opened; this process writes");
        // Another process may have opened one after the answer about the previous session.
        if let Some(previous) = opened.previous.filter(|previous| Some(previous.epoch) != ours)
            && self.learn_from(&previous, &mut effects)
        {
            self.session.reopen(now);
        }
        effects.push(SessionEffect::Resync);
        effects
    }

    /// Prepares a registry without sessions, and then opens a session that only this process knows of. It declares
    /// nothing, and no other writer is noticed.
    #[must_use]
    pub(in crate::controller) fn next_local(&mut self, facts: &SessionFacts, now: Moment) -> Option<LocalStep> {
        // A fenced process waits for its next term.
        if !facts.has_page || !matches!(self.phase(), Phase::Closed { .. }) {
            return None;
        }
        if self.prepared_in != Some(facts.term) {
            let is_asked = std::mem::replace(&mut self.in_flight.prepare, true);
            let (term, number) = (facts.term, facts.term.number(self.options.start_epoch));
            return (!is_asked).then_some(LocalStep::Send(Request::Prepare { term, number }));
        }
        // Another process may have led since the start. The time that has passed puts our epoch above its epoch.
        self.session.open_local(self.options.start_epoch + now.since_start().as_secs());
        tracing::info!(epoch = self.epoch(), "the registry has no sessions; this process writes");
        Some(LocalStep::Opened(SessionEffect::Resync))
    }

    /// The registry is prepared for the writes of a term, or not. `current` is the term in which this process leads
    /// now.
    #[must_use]
    pub(in crate::controller) fn prepared<T>(
        &mut self,
        term: LeaderTerm,
        current: Option<LeaderTerm>,
        result: &Result<T, Failure>,
        now: Moment,
    ) -> Option<SessionEffect> {
        self.in_flight.prepare = false;
        if Some(term) != current {
            return None;
        }
        match result {
            Ok(_) => self.prepared_in = Some(term),
            Err(Failure::StaleEpoch) => return Some(self.fence_term()),
            Err(_) => self.not_opened(now),
        }
        None
    }

    fn not_opened(&mut self, now: Moment) {
        let random = self.rng.u64(..);
        self.session.not_opened(now, random);
    }

    /// The registry holds this number of our records. If it forgot who wrote them, another writer may still be alive.
    #[must_use]
    pub(in crate::controller) fn found_records(&mut self, owned: usize) -> Option<SessionEffect> {
        if self.is_remembered || owned == 0 {
            return None;
        }
        self.is_remembered = true;
        Some(SessionEffect::ExpectOtherWriter)
    }

    /// A resync is complete: from now on the registry knows this session.
    pub(in crate::controller) fn resynced(&mut self) {
        self.is_remembered = true;
    }
}

/// What the session declares, so that neither a restart nor the next leader forgets it.
impl WriterSession {
    /// Sets what our session declares after one that declared `before`. Returns whether that changes it.
    fn declare_after(&mut self, before: Option<Declaration>, effects: &mut Vec<SessionEffect>) -> bool {
        if before.as_ref().is_some_and(|before| before.contested) {
            effects.push(SessionEffect::ExpectOtherWriter);
        }
        let settings = DeclaredSettings::after(before.map(|before| before.settings), &self.options.scope);
        let is_news = self.declared.as_ref() != Some(&settings);
        match settings {
            DeclaredSettings::OperatorNeeded if is_news => effects.push(SessionEffect::NeedOperator),
            DeclaredSettings::Unsettled if is_news => effects.push(SessionEffect::ScopeChanged),
            _ => {}
        }
        self.declared = Some(settings);
        is_news
    }

    /// Declares that no record is left of earlier settings.
    pub(in crate::controller) fn declare_settled(&mut self, now: Moment) {
        tracing::info!("no record of the earlier settings is left; declaring the current ones");
        self.declared = Some(DeclaredSettings::Hash(self.options.scope.clone()));
        self.session.reopen(now);
    }

    /// Declares what holds deletions.
    pub(in crate::controller) fn declare(
        &mut self,
        HeldBecause { operator_needed, contested }: HeldBecause,
        now: Moment,
    ) {
        if operator_needed && self.declared != Some(DeclaredSettings::OperatorNeeded) && self.is_open() {
            self.declared = Some(DeclaredSettings::OperatorNeeded);
            self.session.reopen(now);
        }
        if contested != self.declares_contest {
            self.session.reopen(now);
        }
    }
}
