//! Everything that is said to a registry besides writes: what it can do, the session, its inventory.

use super::registrar::{Inputs, Registrar, Reply};
use crate::{
    model::{
        Failure, Moment, Uid,
        brake::{Answer, Inquiry},
        session::{Declared, Phase},
    },
    registry::{Capabilities, Heartbeat, OpenSession, OtherWriter, Registry, SessionOpened, v1::wire},
    telemetry::metrics::{Request, RequestOutcome},
};

impl<R: Registry> Registrar<R> {
    /// Sends what is due, as far as the registry may be spoken to.
    pub(super) fn control(&mut self, now: Moment) {
        let must_ask = self.capabilities.is_none() && now >= self.target.resume_at();
        let outdated = self.control.outdated && now >= self.target.resume_at();
        if !self.control.question && (must_ask || outdated || self.target.wants_question(now)) {
            (self.control.question, self.control.outdated) = (true, false);
            self.send(|registry| async move { Reply::Capabilities(registry.capabilities().await) });
        }
        if !self.leads() || self.capabilities.is_none() || self.target.slots(now, 1) == 0 {
            return;
        }
        match self.session.phase() {
            Phase::Closed { open_at } if now >= open_at && self.declared == Declared::Unknown => self.ask_before(),
            Phase::Closed { open_at } if now >= open_at => self.open_session(),
            Phase::Open { epoch, heartbeat_at } if now >= heartbeat_at && !self.control.heartbeat => {
                self.beat(epoch, now);
            }
            Phase::Fenced { probe_at } if now >= probe_at && !self.control.holder => {
                self.control.holder = true;
                self.send(|registry| async move { Reply::Holder(registry.session_holder().await) });
            }
            _ => {}
        }
        if let Some(epoch) = self.session.epoch()
            && self.all_listed()
            && self.control.reading != Some(epoch)
            && now >= self.compare_at
        {
            self.read_inventory(epoch);
        }
    }

    /// Sends a request whose reply comes back to the loop.
    pub(super) fn send<F>(&mut self, request: impl FnOnce(std::sync::Arc<R>) -> F)
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        self.requests.spawn(request(self.registry.clone()));
    }

    /// Counts a request, and pauses the registry if it was not answered as a request. Says whether it was.
    pub(super) fn judge_request<T>(&mut self, request: Request, result: &Result<T, Failure>, now: Moment) -> bool {
        let Err(failure) = result else {
            self.metrics.request(request, RequestOutcome::Ok);
            return true;
        };
        let (outcome, pause) = match failure {
            Failure::Unauthorized { .. } => (RequestOutcome::Unauthorized, true),
            Failure::Throttled { .. } => (RequestOutcome::Throttled, true),
            Failure::Unreachable(_) | Failure::Broken(_) => (RequestOutcome::Failed, true),
            Failure::Refused { .. } | Failure::NotFound | Failure::Expired => (RequestOutcome::Rejected, true),
            Failure::TooLarge | Failure::StaleEpoch | Failure::UnknownSession => (RequestOutcome::Rejected, false),
        };
        self.metrics.request(request, outcome);
        if pause {
            self.pause_registry(request, failure, now);
        }
        false
    }

    fn pause_registry(&mut self, request: Request, failure: &Failure, now: Moment) {
        let random = self.rng.u64(..);
        self.target.failed(failure, now, random);
        let pause_ms = u64::try_from(self.target.resume_at().saturating_sub(now).as_millis()).unwrap_or(u64::MAX);
        let failures = self.target.failures();
        if matches!(failure, Failure::Unauthorized { .. }) {
            // A person has to act, unless a new credential is already on its way into the file.
            tracing::error!(?request, error = %failure, failures, pause_ms, "registry paused, the credential is read again");
            self.registry.refresh_credential();
        } else {
            tracing::warn!(?request, error = %failure, failures, pause_ms, "registry paused");
        }
    }

    pub(super) fn told_capabilities(&mut self, result: Result<Capabilities, Failure>, now: Moment) {
        self.control.question = false;
        let result = result.map_err(|failure| match failure {
            // Said to a question that is none of a writer: whoever says so does not speak the protocol.
            Failure::TooLarge | Failure::StaleEpoch | Failure::UnknownSession => Failure::Broken(failure.to_string()),
            failure => failure,
        });
        let result = result.and_then(|told| {
            let known = told.protocol == wire::PROTOCOL;
            let other =
                || format!("the registry speaks protocol {:?}, this controller {:?}", told.protocol, wire::PROTOCOL);
            if known { Ok(told) } else { Err(Failure::Broken(other())) }
        });
        if !self.judge_request(Request::Capabilities, &result, now) {
            return;
        }
        self.target.probed();
        if let Ok(told) = result {
            if self.capabilities.as_ref() != Some(&told) {
                tracing::info!(items = told.max_batch_items, bytes = told.max_batch_bytes, features = ?told.features, "registry found");
            }
            self.capabilities = Some(told);
        }
    }

    /// Whether the registry has a feature.
    pub(super) fn has(&self, feature: &str) -> bool {
        self.capabilities.as_ref().is_some_and(|told| told.features.iter().any(|f| f == feature))
    }

    fn open_session(&mut self) {
        let request = OpenSession {
            cluster_name: Some(self.options.cluster_name.clone()),
            instance: self.options.instance.clone(),
            ttl_seconds: self.session.ttl().as_secs(),
            scope: Some(self.declared.text(&self.options.scope).to_owned()),
            min_epoch: self.session.min_epoch(),
        };
        self.session.opening();
        let term = self.term;
        self.send(move |registry| async move { Reply::Session(term, registry.open_session(request).await) });
    }

    pub(super) fn session_opened(&mut self, result: Result<SessionOpened, Failure>, now: Moment) {
        self.judge_request(Request::Session, &result, now);
        match result {
            Ok(opened) => {
                self.target.succeeded(now);
                let ours = self.session.min_epoch();
                self.session.opened(opened.epoch, Moment::from_secs(opened.ttl_seconds), now);
                let instance = opened.previous.as_ref().map(|previous| previous.instance.as_str());
                tracing::info!(epoch = opened.epoch, previous = instance, "session opened, this process writes");
                // Somebody else may have come between our question and our session.
                let previous = opened.previous.filter(|previous| Some(previous.epoch) != ours);
                if previous.is_some_and(|previous| self.declare_after(previous.scope.as_deref())) {
                    // This session declared something else.
                    self.session.reopen(now);
                }
                // Another writer, or a restored registry, may have left it otherwise than we believe.
                self.compare_at = now;
                self.set_writer(true);
            }
            Err(failure) => self.session_refused(&failure, now),
        }
    }

    pub(super) fn session_refused(&mut self, failure: &Failure, now: Moment) {
        let random = self.rng.u64(..);
        self.session.not_opened(now, random);
        tracing::warn!(error = %failure, "session not opened, it is tried again");
    }

    fn beat(&mut self, epoch: u64, now: Moment) {
        self.session.beat(now);
        self.control.heartbeat = true;
        let beat = Heartbeat {
            epoch,
            ttl_seconds: self.session.ttl().as_secs(),
            synced: self.is_synced(),
            counts: Some(wire::Counts { pods: self.view.len() as u64, pending: self.ledger.owed() as u64 }),
        };
        self.send(move |registry| async move { Reply::Heartbeat(epoch, registry.heartbeat(beat).await) });
    }

    pub(super) fn heartbeat_answered(&mut self, epoch: u64, result: Result<(), Failure>, now: Moment) {
        self.control.heartbeat = false;
        self.judge_request(Request::Heartbeat, &result, now);
        match result {
            Ok(()) => {
                self.target.succeeded(now);
                self.session.acknowledged();
            }
            Err(failure) => self.session_lost(epoch, &failure, now),
        }
    }

    /// Stops writing in this session if the registry said that it is over.
    pub(super) fn session_lost(&mut self, epoch: u64, failure: &Failure, now: Moment) {
        if self.session.epoch() != Some(epoch) {
            return;
        }
        match failure {
            Failure::StaleEpoch => {
                tracing::error!(
                    epoch,
                    "another process writes for this cluster and owner: this one stops writing until that session is \
                     over; run one of them, or give them different --owner names"
                );
                self.session.fenced(now);
            }
            Failure::UnknownSession => {
                tracing::warn!(epoch, "the registry does not know this session, another one is opened");
                let random = self.rng.u64(..);
                self.session.unknown(now, random);
            }
            _ => return,
        }
        self.set_writer(false);
    }

    pub(super) fn set_writer(&mut self, writer: bool) {
        let fenced = matches!(self.session.phase(), Phase::Fenced { .. });
        self.metrics.set_writer(writer);
        self.metrics.set_fenced(fenced);
        self.health.set_fenced(fenced);
    }

    pub(super) fn holder_told(&mut self, result: Result<Option<OtherWriter>, Failure>, now: Moment) {
        self.control.holder = false;
        self.judge_request(Request::Session, &result, now);
        if !matches!(self.session.phase(), Phase::Fenced { .. }) {
            return;
        }
        match result {
            Ok(Some(other)) if !other.over && other.instance != self.options.instance => {
                tracing::debug!(epoch = other.epoch, instance = other.instance, "another process still writes");
                self.session.fenced(now);
            }
            // A request of ours that was given up, and arrived all the same, opened it: it is ours to write in.
            Ok(Some(ours)) if !ours.over => {
                tracing::info!(epoch = ours.epoch, "the live session is this process's own, it writes in it");
                self.session.adopt(ours.epoch, now);
                self.compare_at = now;
                self.set_writer(true);
            }
            Ok(other) => {
                self.declared = Declared::Unknown;
                self.session.unfenced(other.map_or(0, |other| other.epoch), now);
                self.set_writer(false);
            }
            Err(_) => self.session.fenced(now),
        }
    }

    /// Asks under which names the registry has these pods.
    pub(super) fn ask_names(&mut self, round: u64, sample: Vec<Uid>) {
        self.send(move |registry| async move {
            let mut names = Vec::new();
            for uid in sample {
                match registry.record_name(uid.clone()).await {
                    // What the registry does not hold need not be confirmed.
                    Ok(None) => {}
                    Ok(Some(name)) => names.push((uid, name.namespace, name.name)),
                    Err(failure) => return Reply::Names(round, Err(failure)),
                }
            }
            Reply::Names(round, Ok(names))
        });
    }

    pub(super) fn names_told(
        &mut self,
        round: u64,
        result: Result<Vec<(Uid, String, String)>, Failure>,
        now: Moment,
        inputs: &Inputs,
    ) {
        self.judge_request(Request::Record, &result, now);
        match result {
            Ok(pods) => self.ask_cluster(Inquiry::LookUp { round, pods }, now, inputs),
            Err(failure) => self.brake_answered(round, Answer::Unanswered(failure.to_string()), now),
        }
    }
}
