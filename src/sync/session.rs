//! The writer's session: opened, kept alive, lost, and what is done about other writers.

use super::registrar::{Error, Registrar, Reply};
use crate::{
    model::{
        Failure, Moment, OtherWriter,
        session::{Declared, Phase},
    },
    registry::{Contender, Heartbeat, OpenSession, Registry, SessionOpened, v1::wire},
    telemetry::metrics::Request,
};

/// An inventory of at most one page is compared before every watch has listed.
const SMALL_INVENTORY: u64 = 5_000;

impl<R: Registry> Registrar<R> {
    /// Sends what is due for the session.
    pub(super) fn keep_session(&mut self, now: Moment) {
        match self.session.phase() {
            // Without a page of pods there would be nothing to do in a session, but to keep another writer out.
            Phase::Closed { .. } if !self.has_page() => {}
            Phase::Closed { open_at } if now >= open_at && self.declared == Declared::Unknown => self.ask_before(),
            Phase::Closed { open_at } if now >= open_at => self.open_session(),
            Phase::Open { epoch, heartbeat_at } if now >= heartbeat_at && !self.control.heartbeat => {
                self.beat(epoch, now);
            }
            Phase::Fenced { probe_at } if now >= probe_at && !self.control.holder => self.probe(),
            _ => {}
        }
    }

    /// Asks what the session before declared, before ours declares anything. A process that waits long announces itself.
    fn ask_before(&mut self) {
        if !self.control.before {
            self.control.before = true;
            let term = self.term;
            let now = self.clock.now();
            let announced = self.takeover.announces_with(now).map(|epoch| self.heartbeat(epoch));
            self.send(move |registry| async move {
                if let Some(beat) = announced {
                    // It is refused, and that is noted. The answer itself is of no use.
                    let _ = registry.heartbeat(beat).await;
                }
                Reply::Before(term, registry.session_holder().await)
            });
        }
    }

    pub(super) fn told_before(&mut self, term: Option<u64>, result: Result<Option<OtherWriter>, Failure>, now: Moment) {
        self.control.before = false;
        self.judge_request(Request::Session, &result, now);
        match result {
            // Somebody may have written since then.
            _ if term != self.term => {}
            Ok(None) => {
                (self.control.small, self.remembers_session) = (true, false);
                _ = self.declare_after(None, now);
            }
            Ok(Some(before)) => {
                self.control.small = before.records <= SMALL_INVENTORY;
                self.follow_session(&before, now);
            }
            Err(failure) => self.session_refused(&failure, now),
        }
    }

    /// Takes over from the session before, if that is allowed.
    fn follow_session(&mut self, before: &OtherWriter, now: Moment) {
        if !self.is_our_cluster(before.cluster_uid.as_deref(), &before.instance) {
            return;
        }
        // With a Lease, the Lease tells that the other one may not write any more.
        let ours = self.is_earlier_life(&before.instance);
        if self.term == Some(0)
            && let Err(look_at) = self.takeover.look(before, ours, now)
        {
            if self.waiting_told.is_due(now) {
                tracing::warn!(
                    instance = before.instance,
                    epoch = before.epoch,
                    "another process holds a live session; waiting until it misses a heartbeat. To run several replicas, \
                     give them one --lease; to run two installations, different --owner names"
                );
            }
            return self.session.wait_until(look_at);
        }
        self.waiting_told.over();
        self.may_have_rival(&before.instance, before.closed, now);
        _ = self.declare_after(before.scope.as_deref(), now);
    }

    /// The process whose session is replaced may be alive, unless it closed the session or was an earlier life of this
    /// process. It gets the time to say so before anything is inferred.
    fn may_have_rival(&mut self, instance: &str, closed: bool, now: Moment) {
        if !closed && !self.is_us(instance) {
            self.brake.expect_rival(now);
        }
    }

    /// The registry forgot who wrote the records that it holds. Another writer may still be alive.
    pub(super) fn expect_forgotten(&mut self, now: Moment) {
        if !self.remembers_session && self.ledger.owned() > 0 {
            self.remembers_session = true;
            self.brake.expect_rival(now);
        }
    }

    fn is_earlier_life(&self, instance: &str) -> bool {
        (self.options.is_earlier_life)(instance, &self.options.instance)
    }

    /// Whether this names our process or an earlier life of it.
    fn is_us(&self, instance: &str) -> bool {
        instance == self.options.instance || self.is_earlier_life(instance)
    }

    /// Whether a session under our id belongs to our cluster, as far as both are known. If not, the process ends.
    fn is_our_cluster(&mut self, theirs: Option<&str>, instance: &str) -> bool {
        let (Some(theirs), Some(ours)) = (theirs, self.options.cluster_uid.as_deref()) else { return true };
        if theirs == ours || self.options.replaces_cluster_uid.as_deref() == Some(theirs) {
            return true;
        }
        let (expected, found, instance) = (theirs.to_owned(), ours.to_owned(), instance.to_owned());
        self.ended = Some(Error::IdInUse { expected, found, instance });
        false
    }

    fn open_session(&mut self) {
        self.contested = self.brake.is_contested();
        let request = OpenSession {
            cluster_name: Some(self.options.cluster_name.clone()),
            instance: self.options.instance.clone(),
            ttl_seconds: self.session.ttl().as_secs(),
            scope: Some(self.declared.text(&self.options.scope, self.contested)),
            min_epoch: self.session.min_epoch(),
            cluster_uid: self.options.cluster_uid.clone(),
        };
        self.session.opening();
        let term = self.term;
        self.send(move |registry| async move { Reply::Session(term, registry.open_session(request).await) });
    }

    pub(super) fn session_opened(&mut self, result: Result<SessionOpened, Failure>, now: Moment) {
        self.judge_request(Request::Session, &result, now);
        match result {
            Ok(opened) => {
                self.registry_answered(now);
                let ours = self.session.min_epoch();
                let ttl = Moment::from_secs(opened.ttl_seconds);
                self.session.opened(opened.epoch, ttl, self.contested, now);
                let instance = opened.previous.as_ref().map(|previous| previous.instance.as_str());
                tracing::info!(epoch = opened.epoch, previous = instance, "session opened, this process writes");
                // Somebody else may have come between our question and our session.
                if let Some(previous) = opened.previous.filter(|previous| Some(previous.epoch) != ours) {
                    self.replaced(&previous, now);
                }
                self.expect_forgotten(now);
                // Another writer, or a restored registry, may have left it otherwise than we believe.
                (self.compare_at, self.resync_at) = (now, None);
            }
            Err(failure) => self.session_refused(&failure, now),
        }
    }

    /// Our session replaced this one.
    fn replaced(&mut self, previous: &wire::PreviousSession, now: Moment) {
        if !self.is_our_cluster(previous.cluster_uid.as_deref(), &previous.instance) {
            return;
        }
        self.may_have_rival(&previous.instance, previous.state == wire::SessionState::Closed, now);
        if self.declare_after(previous.scope.as_deref(), now) {
            // This session declared something else.
            self.session.reopen(now);
        }
    }

    pub(super) fn session_refused(&mut self, failure: &Failure, now: Moment) {
        let random = self.rng.u64(..);
        self.session.not_opened(now, random);
        // An outage has its own lines.
        if self.target.failures() == 0 {
            tracing::warn!(error = %failure, "session not opened; trying again");
        }
    }

    fn beat(&mut self, epoch: u64, now: Moment) {
        self.session.beat(self.contested, now);
        self.control.heartbeat = true;
        let beat = self.heartbeat(epoch);
        self.synced_in = None;
        self.send(move |registry| async move { Reply::Heartbeat(epoch, registry.heartbeat(beat).await) });
    }

    fn heartbeat(&self, epoch: u64) -> Heartbeat {
        Heartbeat {
            epoch,
            instance: Some(self.options.instance.clone()),
            ttl_seconds: self.session.ttl().as_secs(),
            // Not whether they are equal at this moment: in a busy cluster some change is always on its way.
            synced: self.session.epoch().is_some_and(|epoch| self.synced_in == Some(epoch)),
            counts: Some(wire::Counts { pods: self.view.len() as u64, pending: self.ledger.owed() as u64 }),
        }
    }

    pub(super) fn heartbeat_answered(&mut self, epoch: u64, result: Result<Option<Contender>, Failure>, now: Moment) {
        self.control.heartbeat = false;
        self.judge_request(Request::Heartbeat, &result, now);
        match result {
            Ok(contender) => {
                self.registry_answered(now);
                self.session.acknowledged();
                if self.session.epoch() == Some(epoch) {
                    self.contended(contender, now);
                }
            }
            Err(failure) => self.session_lost(epoch, &failure, now),
        }
    }

    /// The registry tells of another writer, or of none.
    fn contended(&mut self, contender: Option<Contender>, now: Moment) {
        let name = |contender: &Contender| contender.instance.clone().unwrap_or_default();
        // A life of this process that ended cannot announce itself any more.
        let contender = contender.filter(|other| !self.is_us(&name(other)));
        let Some(contender) = contender else {
            self.rival_told.over();
            self.brake.no_rival_reported(now);
            return;
        };
        self.brake.rival_seen(now);
        if self.rival_told.is_due(now) {
            tracing::error!(
                instance = name(&contender),
                epoch = contender.epoch,
                "another process writes for the same cluster id and owner, or tries to; its records are not deleted while \
                 it is alive. Stop one of them. If it runs in another cluster (a clone or a restored copy), give each \
                 cluster its own --cluster-id"
            );
        }
    }

    /// Stops writing in this session if the registry said that it is over.
    pub(super) fn session_lost(&mut self, epoch: u64, failure: &Failure, now: Moment) {
        if self.session.epoch() != Some(epoch) {
            return;
        }
        match failure {
            Failure::StaleEpoch => {
                self.fenced_told.over();
                self.fenced_epoch = epoch;
                self.tell_fenced(now);
                self.session.fenced(now);
                // Nothing is inferred any more from what was seen before the other writer came.
                self.ledger.withdraw_approvals();
                self.recheck = true;
            }
            Failure::UnknownSession => {
                self.remembers_session = false;
                tracing::warn!(epoch, "the registry does not know this session, another one is opened");
                let random = self.rng.u64(..);
                self.session.unknown(now, random);
            }
            _ => {}
        }
    }

    fn tell_fenced(&mut self, now: Moment) {
        if self.fenced_told.is_due(now) {
            tracing::error!(
                epoch = self.fenced_epoch,
                "another process writes for this cluster id and owner; this one does not write until that session is over. \
                 Run one of them, or give them different --owner names. If the other one runs in another cluster (a clone or \
                 a restored copy), give each cluster its own --cluster-id"
            );
        }
    }

    /// Announces this fenced writer, and asks who holds the session.
    fn probe(&mut self) {
        self.control.holder = true;
        let beat = self.heartbeat(self.fenced_epoch);
        self.send(move |registry| async move {
            // It is refused, and that is noted. The answer itself is of no use.
            let _ = registry.heartbeat(beat).await;
            Reply::Holder(registry.session_holder().await)
        });
    }

    /// Shows whether this process writes.
    pub(super) fn show_writer(&self) {
        let fenced = matches!(self.session.phase(), Phase::Fenced { .. });
        self.metrics.set_writer(self.session.epoch().is_some());
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
            // A request of ours that was given up, and arrived all the same, opened it: it is ours to write in.
            Ok(Some(ours)) if !ours.over && ours.instance == self.options.instance => {
                tracing::info!(epoch = ours.epoch, "the live session is this process's own; it writes in it");
                self.session.adopt(ours.epoch, now);
                (self.compare_at, self.resync_at) = (now, None);
            }
            // The same of an earlier life is over.
            Ok(Some(other)) if !other.over && !self.is_earlier_life(&other.instance) => {
                self.session.learn(other.epoch);
                if self.is_our_cluster(other.cluster_uid.as_deref(), &other.instance) {
                    self.tell_fenced(now);
                    self.session.fenced(now);
                    self.brake.rival_seen(now);
                }
            }
            Ok(other) => {
                // The other writer may go on though its session is over, or the registry forgot it.
                self.brake.expect_rival(now);
                self.declared = Declared::Unknown;
                self.session.unfenced(other.map_or(0, |other| other.epoch), now);
            }
            Err(_) => self.session.fenced(now),
        }
    }
}
