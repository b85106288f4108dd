//! The loop itself: what it owns, what it waits for, and how it ends.

use std::{future::Future, time::Duration};

use tokio::sync::{mpsc, watch};

use super::{
    absences::Absences,
    availability::Availability,
    comparison::{self, Compared, Comparison},
    effects::Effects,
    lists::Lists,
    queue::{Lane, Queue},
    report::{Counts, News, Reporter},
    requests::{AskedHolder, Reply, Requests},
};
use crate::{
    clock::Clock,
    model::{
        Attempt, Leadership, Ledger, Moment, Sighting, Standing, Takeover, Walk,
        brake::{Confirmation, Finding, HoldId, Inquiry, SettingsChange},
        budget::Budget,
        notices::Reminder,
        pace::Pace,
        retry::RateLimit,
        session::{Declared, Phase, Session},
    },
    registry::Registry,
    store::View,
    telemetry::{Health, Metrics, metrics::Request as Kind},
};

/// The time that is kept for closing the session when the loop stops,
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// but no more than this part of all that there is.
const CLOSE_PART: u32 = 5;
/// The loop turns at least this often.
const TURN: Duration = Duration::from_secs(1);
/// Sightings that are handled before requests are sent: enough to fill a batch.
const SIGHTINGS_AT_ONCE: usize = 1_000;
/// Records that a comparison found to be others are rewritten at no more than this rate.
const REWRITES_PER_SECOND: u32 = 1_000;

/// Several batches of what is owed are at hand, and the queue is small however much that is.
pub const BACKLOG_WINDOW: usize = 4_096;

/// Why the loop ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server is another cluster's than at the start: everything concluded from it would be wrong.
    #[error(
        "the API server now belongs to cluster {found}, at the start it was {expected}; nothing was deleted. \
         If the cluster was rebuilt, start the controller anew, so that it registers under its own id"
    )]
    ClusterChanged {
        /// The UID of `kube-system` at the start.
        expected: String,
        /// Its UID now.
        found: String,
    },
    /// The session under our cluster id and owner is another cluster's.
    #[error(
        "the registry's session for this --cluster-id and --owner belongs to another cluster: its kube-system namespace has \
         the UID {expected} (written by {instance}), this cluster's has {found}; nothing was written or deleted. Give each \
         cluster its own --cluster-id. If this cluster replaces the other one, which is gone, confirm that with \
         --replaces-cluster-uid {expected}"
    )]
    IdInUse {
        /// The UID that the session carries.
        expected: String,
        /// The UID of this cluster.
        found: String,
        /// The process that opened the session.
        instance: String,
    },
    /// The watches ended, which they never should.
    #[error("the watches ended, so that changes would be missed")]
    WatchesEnded,
}

/// How the loop works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests with writes in flight at once.
    pub max_in_flight: usize,
    /// Items written a second.
    pub max_writes_per_second: u32,
    /// After this time the registry's client gives a request up.
    pub request_timeout: Duration,
    /// So many records that a look at everything found to be owed are queued at once: [`BACKLOG_WINDOW`], if there is no
    /// reason for less.
    pub backlog_window: usize,
    /// How often the registry's inventory is compared.
    pub resync_interval: Duration,
    /// Which process this is.
    pub instance: String,
    /// Whether the first name is that of an earlier life of the process with the second one.
    pub is_earlier_life: fn(&str, &str) -> bool,
    /// The cluster's name for people.
    pub cluster_name: String,
    /// The UID of the `kube-system` namespace, if it is known.
    pub cluster_uid: Option<String>,
    /// The UID of a cluster that this one replaces, as a person confirmed.
    pub replaces_cluster_uid: Option<String>,
    /// A hash of namespaces, selectors and rule.
    pub scope: String,
    /// The namespace of each watch; none where one watch shows all namespaces.
    pub namespaces: Vec<String>,
    /// After a request to stop, requests in flight and the end of the session may take this long.
    pub stop_within: Duration,
    /// What becomes of records that another scope had selected and this one does not.
    pub on_scope_change: SettingsChange,
    /// Where jitter and samples come from.
    pub seed: u64,
}

/// What the loop receives. [`Registrar::run`] owns it.
pub struct Inputs {
    /// Pod events: which pods changed.
    pub sightings: mpsc::Receiver<Sighting>,
    /// The cluster's answers to [`Outputs::questions`].
    pub confirmations: mpsc::Receiver<Confirmation>,
    /// Whether this process leads. [`Leadership::ALONE`] if it runs without leader election.
    pub leadership: watch::Receiver<Leadership>,
    /// Held deletions that an operator approved.
    pub approvals: mpsc::Receiver<HoldId>,
}

/// What the loop sends and shows.
pub struct Outputs {
    /// Questions to the cluster about pods whose deletion was inferred.
    pub questions: mpsc::Sender<Inquiry>,
    /// Increased to make every watch list its pods again.
    pub relist: watch::Sender<u64>,
    /// The status page, with the held deletions.
    pub standing: watch::Sender<Standing>,
    /// Counters and gauges.
    pub metrics: Metrics,
    /// Liveness and readiness.
    pub health: Health,
}

/// The one control request of a kind that is in flight.
#[derive(Default)]
pub(super) struct Control {
    pub(super) heartbeat: bool,
    pub(super) holder: bool,
    pub(super) before: bool,
}

/// What has had its turn.
#[derive(Default)]
pub(super) struct Turns {
    /// Batches that were built.
    pub(super) batches: usize,
    /// Operations that were retried.
    pub(super) retries: usize,
}

/// Keeps a registry equal to a view of pods.
pub struct Registrar<R> {
    pub(super) view: View,
    pub(super) options: Options,
    pub(super) clock: Clock,
    pub(super) questions: mpsc::Sender<Inquiry>,
    pub(super) relist: watch::Sender<u64>,
    pub(super) metrics: Metrics,
    pub(super) availability: Availability,
    pub(super) comparison: Comparison,
    pub(super) reporter: Reporter,
    pub(super) rng: fastrand::Rng,

    pub(super) ledger: Ledger,
    pub(super) queue: Queue,
    pub(super) absences: Absences,
    pub(super) session: Session,
    /// The term in which this process writes, and until when it may.
    pub(super) term: Option<u64>,
    pub(super) leads_until: Moment,
    pub(super) declared: Declared,
    /// Whether the newest session declares that another writer may be alive.
    pub(super) contested: bool,
    /// Whether the registry knew the session before ours.
    pub(super) remembers_session: bool,
    /// What is known of the session that is to be replaced.
    pub(super) takeover: Takeover,
    pub(super) waiting_told: Reminder,
    pub(super) rival_told: Reminder,
    /// The epoch of the session that another writer replaced.
    pub(super) fenced_epoch: u64,
    pub(super) fenced_told: Reminder,
    /// Why the loop has to end.
    pub(super) ended: Option<Error>,
    pub(super) writes: RateLimit,
    pub(super) rewrites: RateLimit,
    pub(super) budget: Budget,
    pub(super) pace: Pace,
    /// Counts batches and retries, so that turns can be taken.
    pub(super) turns: Turns,

    pub(super) control: Control,
    pub(super) writes_in_flight: usize,
    pub(super) requests: Requests<R>,
}

impl<R: Registry> Registrar<R> {
    /// A loop that has not begun.
    pub fn new(registry: R, view: View, options: Options, clock: Clock, outputs: Outputs) -> Self {
        let Outputs { questions, relist, standing, metrics, health } = outputs;
        let lists = Lists::new(view.watches(), options.namespaces.clone());
        let mut rng = fastrand::Rng::with_seed(options.seed);
        Self {
            requests: Requests::new(registry),
            questions,
            relist,
            availability: Availability::new(rng.fork()),
            comparison: Comparison::new(options.resync_interval, metrics.clone(), rng.fork()),
            reporter: Reporter::new(metrics.clone(), health, standing),
            metrics,
            clock,
            rng: rng.fork(),
            ledger: Ledger::default(),
            queue: Queue::default(),
            absences: Absences::new(lists, options.on_scope_change, rng.fork()),
            session: Session::default(),
            term: None,
            leads_until: Moment::ZERO,
            declared: Declared::default(),
            contested: false,
            remembers_session: true,
            takeover: Takeover::default(),
            waiting_told: Reminder::default(),
            rival_told: Reminder::default(),
            fenced_epoch: 0,
            fenced_told: Reminder::default(),
            ended: None,
            writes: RateLimit::new(options.max_writes_per_second),
            rewrites: RateLimit::new(REWRITES_PER_SECOND.min(options.max_writes_per_second)),
            budget: Budget::default(),
            pace: Pace::new(options.request_timeout),
            turns: Turns::default(),
            control: Control::default(),
            writes_in_flight: 0,
            view,
            options,
        }
    }

    /// Keeps the registry equal to the view until `shutdown` comes; then finishes what is in flight and closes the
    /// session. What is owed is found again at the next start.
    ///
    /// # Errors
    /// When the cluster turns out to be another one, or the session another cluster's, or the watches end.
    pub async fn run(mut self, mut inputs: Inputs, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let now = self.clock.now();
            self.act(*inputs.leadership.borrow(), now);
            if let Some(error) = self.ended.take() {
                return Err(error);
            }
            let wake_at = self.wake_at(now);
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                // Whoever tells it may have ended: then the leadership ends with its time.
                Ok(()) = inputs.leadership.changed() => {}
                Some(reply) = self.requests.next() => self.replied(reply, *inputs.leadership.borrow()),
                confirmation = inputs.confirmations.recv() => self.confirmed(confirmation)?,
                Some(approved) = inputs.approvals.recv() => self.absences.approve(&approved),
                sighting = inputs.sightings.recv() => self.sighted(sighting.ok_or(Error::WatchesEnded)?, &mut inputs.sightings),
                () = self.clock.sleep_until(wake_at) => {}
            }
        }
        self.reporter.stopping();
        self.stop(&inputs.leadership).await;
        Ok(())
    }

    /// Everything that is due.
    fn act(&mut self, leadership: Leadership, now: Moment) {
        self.reporter.loop_turned();
        self.follow_lease(leadership, now);
        self.release_due(now);
        self.recheck(now);
        self.ask_about_absences(now);
        self.declare_settled(now);
        self.declare_doubt(now);
        self.declare_contest(now);
        self.control(now);
        self.dispatch(now);
        self.report(now);
    }

    fn wake_at(&mut self, now: Moment) -> Moment {
        let mut at = now + TURN;
        let mut earlier = |moment: Option<Moment>| at = moment.filter(|moment| *moment > now).map_or(at, |m| at.min(m));
        earlier(self.queue.due_at());
        earlier(self.availability.due_at());
        earlier(self.session.due_at());
        earlier(Some(self.leads_until));
        earlier(self.comparison.due_at());
        let writes_at = self.writes.next_at(now, 1);
        let waits = |walk: Walk| self.queue.has_ready(&[Lane::of(walk)]) || self.ledger.backlog_of(walk) > 0;
        if self.queue.has_ready(&[Lane::Delete, Lane::Live]) || waits(Walk::Backfill) {
            earlier(Some(writes_at));
        }
        if waits(Walk::Rewrite) {
            earlier(Some(writes_at.max(self.rewrites.next_at(now, self.rewrites.portion()))));
        }
        for lanes in [
            &[Lane::DeleteRetry, Lane::PutRetry][..],
            &[Lane::DeletePersistent, Lane::PutPersistent],
            &[Lane::Rejected],
        ] {
            if self.queue.has_ready(lanes) {
                earlier(Some(writes_at.max(self.budget.next_at(lanes[0].attempt(), now))));
            }
        }
        at
    }

    fn sighted(&mut self, first: Sighting, more: &mut mpsc::Receiver<Sighting>) {
        let now = self.clock.now();
        self.take_sighting(first, now);
        for _ in 1..SIGHTINGS_AT_ONCE {
            let Ok(sighting) = more.try_recv() else { break };
            self.take_sighting(sighting, now);
        }
    }

    fn confirmed(&mut self, confirmation: Option<Confirmation>) -> Result<(), Error> {
        let now = self.clock.now();
        match confirmation {
            None => Err(Error::WatchesEnded),
            Some(Confirmation { finding: Finding::OtherCluster { expected, found }, .. }) => {
                Err(Error::ClusterChanged { expected, found })
            }
            Some(Confirmation { round, finding: Finding::Listed(there) }) => {
                let effect = self.absences.second_list(round, &there, now);
                self.apply_absences(effect, now);
                Ok(())
            }
            Some(Confirmation { round, finding: Finding::Answer(answer) }) => {
                self.absences.answered(round, answer, now);
                Ok(())
            }
        }
    }

    pub(super) fn replied(&mut self, reply: Reply, leadership: Leadership) {
        let now = self.clock.now();
        // An answer may have waited longer than the leadership lasted.
        self.follow_lease(leadership, now);
        match reply {
            Reply::Capabilities(result) => self.told_capabilities(result, now),
            Reply::SessionOpened { term, result } if Some(term) == self.term => self.session_opened(result, now),
            Reply::SessionOpened { result, .. } => self.opened_too_late(&result),
            Reply::SessionClosed => {}
            Reply::Heartbeat { epoch, result } => self.heartbeat_answered(epoch, result, now),
            Reply::Holder { asked: AskedHolder::ToOpen { term }, result } => self.told_before(term, result, now),
            Reply::Holder { asked: AskedHolder::Fenced, result } => self.holder_told(result, now),
            Reply::Inventory { epoch, found, step } => {
                let effects = self.comparison.read(epoch, self.session.epoch(), found, step, &mut self.ledger, now);
                self.apply_comparison(effects, now);
            }
            Reply::Names { about, result } => self.names_told(about, result, now),
            Reply::Written { sent, result } => self.written(&sent, result, now),
        }
    }

    /// Whether the registry is believed to be equal to the cluster.
    pub(super) fn is_in_sync(&self) -> bool {
        self.session.epoch().is_some()
            && self.reporter.watches_live()
            && self.ledger.is_seeded()
            && self.absences.lists().over_all().is_some()
            && self.ledger.owed() == 0
            && self.absences.is_settled()
            && self.absences.is_guard_idle()
    }

    fn report(&mut self, now: Moment) {
        let in_sync = self.is_in_sync();
        if self.reporter.set_in_sync(in_sync, self.view.len()) == News::FirstInSync {
            self.session.beat_soon(now);
        }
        let (pods, held, queue_entries) = (self.view.len(), self.absences.held(), self.queue.entries());
        if let Some(uncertain) = self.reporter.report(&self.ledger, &Counts { pods, held, queue_entries }, now) {
            let is_open = self.session.epoch().is_some() && self.ledger.is_seeded();
            if is_open && !self.budget.allows(Attempt::Retry, now) {
                self.comparison.read_back(uncertain, now);
            }
        }
        let standing = Standing {
            session: self.session.phase().into(),
            epoch: self.session.epoch(),
            in_step: self.reporter.is_in_sync(),
            ability: self.ability(now),
            holds: self.absences.holds(),
        };
        self.reporter.show(standing, self.session.phase());
    }

    fn apply_comparison(&mut self, effects: Effects<comparison::Effect>, now: Moment) {
        for effect in effects {
            match effect {
                comparison::Effect::ReconcileAll => self.consider_all(now),
                comparison::Effect::RequestFailed(failure) => _ = self.judge::<()>(Kind::Inventory, &Err(failure), now),
                comparison::Effect::Abandon => self.ledger.abandon_reading(),
                comparison::Effect::Compared(compared) => self.compared(compared, now),
            }
        }
    }

    fn compared(&mut self, compared: Compared, now: Moment) {
        if compared == Compared::Resync {
            self.availability.ask_again();
        }
        if compared != Compared::ReadBack {
            self.ledger.unpark();
        }
        self.absences.compared(self.ledger.owned());
        self.expect_forgotten(now);
        self.remembers_session = true;
        self.consider_all(now);
    }

    async fn stop(&mut self, leadership: &watch::Receiver<Leadership>) {
        let close_within = CLOSE_WITHIN.min(self.options.stop_within / CLOSE_PART);
        let finished = tokio::time::timeout(self.options.stop_within - close_within, async {
            // A session that is being opened would be left behind as if it lived.
            while self.writes_in_flight > 0 || self.session.phase() == Phase::Opening {
                let Some(reply) = self.requests.next().await else { break };
                self.replied(reply, *leadership.borrow());
            }
        });
        let unanswered = finished.await.is_err();
        let owed = self.ledger.owed();
        tracing::info!(owed, unanswered, "stopping; what is owed is left for the next start");
        let Some(epoch) = self.session.epoch() else { return };
        match tokio::time::timeout(close_within, self.requests.registry().close_session(epoch)).await {
            Ok(Ok(())) => tracing::info!(epoch, "session closed"),
            Ok(Err(error)) => tracing::warn!(epoch, %error, "session not closed, it will turn stale by itself"),
            Err(_) => tracing::warn!(epoch, "session not closed in time, it will turn stale by itself"),
        }
    }
}
