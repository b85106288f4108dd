//! The loop itself: what it owns, what it waits for, and how it ends.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    comparison::{Comparison, Found},
    control::{About, Named},
    dispatch::Sent,
    inventory::{PAGE_ITEMS, Step},
    queue::{Lane, Queue},
};
use crate::{
    clock::Clock,
    model::{
        Failure, Leadership, Ledger, Moment, OtherWriter, Sighting, Standing, Takeover, UidMap, Verdict, Walk,
        WatchList,
        brake::{Brake, Confirmation, Finding, HoldId, Inquiry, SettingsChange},
        budget::Budget,
        notices::Reminder,
        outage::Outage,
        pace::Pace,
        read_back::ReadBack,
        retry::{RateLimit, Target},
        session::{Declared, Phase, Session},
        tally::Tally,
    },
    registry::{Capabilities, Contender, Registry, SessionOpened},
    store::View,
    telemetry::{Health, Metrics},
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

/// What reaches the loop, and what it may ask.
pub struct Inputs {
    /// Which keys changed.
    pub sightings: mpsc::Receiver<Sighting>,
    /// What the cluster says to [`Inputs::questions`].
    pub confirmations: mpsc::Receiver<Confirmation>,
    /// Asks the cluster about pods that a deletion is about.
    pub questions: mpsc::Sender<Inquiry>,
    /// A new value asks every watch for a new list.
    pub relist: watch::Sender<u64>,
    /// Whether this process may write; [`Leadership::ALONE`] for good where it shares its work with nobody.
    pub leadership: watch::Receiver<Leadership>,
    /// How the writer stands, with the deletions that wait for a person or for their pods to come back.
    pub standing: watch::Sender<Standing>,
    /// What a person approved.
    pub approvals: mpsc::Receiver<HoldId>,
}

/// What a request came to.
pub(super) enum Reply {
    Capabilities(Result<Capabilities, Failure>),
    /// What a request to open a session came to, which was sent in this term.
    Session(Option<u64>, Result<SessionOpened, Failure>),
    /// A session that came too late was closed.
    Closed,
    Heartbeat(u64, Result<Option<Contender>, Failure>),
    Holder(Result<Option<OtherWriter>, Failure>),
    /// What the session before declared, asked in this term.
    Before(Option<u64>, Result<Option<OtherWriter>, Failure>),
    Inventory(u64, Found, Step),
    Names(About, Result<Vec<Named>, Failure>),
    Written(Sent, Result<Vec<Verdict>, Failure>),
}

/// The one control request of a kind that is in flight.
#[derive(Default)]
pub(super) struct Control {
    pub(super) question: bool,
    pub(super) heartbeat: bool,
    pub(super) holder: bool,
    /// The session in which the inventory is being read.
    pub(super) reading: Option<u64>,
    /// A reading between two steps.
    pub(super) comparison: Option<Comparison>,
    pub(super) before: bool,
    /// Whether the namespaces of records are looked up.
    pub(super) placing: bool,
    /// Whether the inventory was small before this process wrote: it is compared before every watch has listed.
    pub(super) small: bool,
    /// What the registry can do is asked again: it may have been released anew.
    pub(super) outdated: bool,
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
    pub(super) registry: Arc<R>,
    pub(super) view: View,
    pub(super) options: Options,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) health: Health,
    pub(super) rng: fastrand::Rng,

    pub(super) ledger: Ledger,
    pub(super) queue: Queue,
    pub(super) brake: Brake,
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
    /// Since when no request was answered.
    pub(super) unreached_since: Option<Moment>,
    /// Why the loop has to end.
    pub(super) ended: Option<Error>,
    pub(super) target: Target,
    pub(super) writes: RateLimit,
    pub(super) rewrites: RateLimit,
    pub(super) budget: Budget,
    pub(super) pace: Pace,
    /// Counts batches and retries, so that turns can be taken.
    pub(super) turns: Turns,
    pub(super) outage: Outage,
    /// Rejected records, records that stay uncertain, and divided batches, by cause.
    pub(super) rejections: Tally,
    pub(super) uncertain: Tally,
    pub(super) divisions: Tally,
    pub(super) capabilities: Option<Capabilities>,
    /// The newest complete list of each watch.
    pub(super) lists: Vec<Option<WatchList>>,
    /// Which watches could not be listed since.
    pub(super) lists_failed: Vec<bool>,
    /// Whether any page of pods has arrived.
    pub(super) paged: bool,
    /// Ids that are not in the store, where something that is yet to come has to tell whether that counts.
    pub(super) awaiting_list: UidMap<()>,
    /// Whether something happened that may concern any id: a list, or an absence that came up after one.
    pub(super) recheck: bool,
    /// Whether an absence waits for a newer list, and when the watches were last asked for one.
    pub(super) list_wanted: bool,
    pub(super) list_asked: ListAsked,
    /// How many records the registry held of us when it was last compared.
    pub(super) inherited: usize,
    /// When the inventory is to be compared.
    pub(super) compare_at: Moment,
    pub(super) comparisons_failed: u32,
    /// Records in a page of the inventory: fewer once a page did not come in time.
    pub(super) inventory_limit: usize,
    pub(super) read_back: ReadBack,
    /// While uncertain records are read back: when the next resync is due.
    pub(super) resync_at: Option<Moment>,
    pub(super) synced: bool,
    pub(super) ever_synced: bool,
    /// The session in which the registry has equalled the cluster since the last heartbeat.
    pub(super) synced_in: Option<u64>,
    pub(super) reported_at: Moment,

    pub(super) control: Control,
    pub(super) writes_in_flight: usize,
    pub(super) requests: JoinSet<Reply>,
    /// Write requests. They end with the leadership.
    pub(super) writing: JoinSet<Reply>,
}

/// When the watches were asked for new lists.
#[derive(Default)]
pub(super) struct ListAsked {
    pub(super) at: Option<Moment>,
    /// How often it was repeated without an answer.
    pub(super) repeats: u32,
}

impl<R: Registry> Registrar<R> {
    /// A loop that has not begun.
    pub fn new(registry: R, view: View, options: Options, clock: Clock, metrics: Metrics, health: Health) -> Self {
        Self {
            registry: Arc::new(registry),
            clock,
            metrics,
            health,
            rng: fastrand::Rng::with_seed(options.seed),
            ledger: Ledger::default(),
            queue: Queue::default(),
            brake: Brake::default(),
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
            unreached_since: None,
            ended: None,
            target: Target::default(),
            writes: RateLimit::new(options.max_writes_per_second),
            rewrites: RateLimit::new(REWRITES_PER_SECOND.min(options.max_writes_per_second)),
            budget: Budget::default(),
            pace: Pace::new(options.request_timeout),
            turns: Turns::default(),
            outage: Outage::default(),
            rejections: Tally::of_first(3),
            uncertain: Tally::of_first(3),
            divisions: Tally::of_first(1),
            capabilities: None,
            lists: vec![None; view.watches()],
            lists_failed: vec![false; view.watches()],
            paged: false,
            awaiting_list: UidMap::default(),
            recheck: false,
            list_wanted: false,
            list_asked: ListAsked::default(),
            inherited: 0,
            compare_at: Moment::ZERO,
            comparisons_failed: 0,
            inventory_limit: PAGE_ITEMS,
            read_back: ReadBack::default(),
            resync_at: None,
            synced: false,
            ever_synced: false,
            synced_in: None,
            reported_at: Moment::ZERO,
            control: Control::default(),
            writes_in_flight: 0,
            requests: JoinSet::new(),
            writing: JoinSet::new(),
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
            self.act(now, &inputs);
            if let Some(error) = self.ended.take() {
                return Err(error);
            }
            let wake_at = self.wake_at(now);
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                // Whoever tells it may have ended: then the leadership ends with its time.
                Ok(()) = inputs.leadership.changed() => {}
                Some(reply) = self.requests.join_next() => self.replied(reply, &inputs),
                Some(reply) = self.writing.join_next() => self.replied(reply, &inputs),
                confirmation = inputs.confirmations.recv() => self.confirmed(confirmation, &inputs)?,
                Some(approved) = inputs.approvals.recv() => self.approved(&approved),
                sighting = inputs.sightings.recv() => self.sighted(sighting.ok_or(Error::WatchesEnded)?, &mut inputs),
                () = self.clock.sleep_until(wake_at) => {}
            }
        }
        self.health.stopping();
        self.stop(&inputs).await;
        Ok(())
    }

    /// Everything that is due.
    fn act(&mut self, now: Moment, inputs: &Inputs) {
        self.health.loop_turned();
        self.follow_lease(*inputs.leadership.borrow(), now);
        self.release_due(now);
        self.recheck(now);
        self.want_list(now, inputs);
        self.ask_brake(now, inputs);
        self.declare_settled(now);
        self.declare_doubt(now);
        self.declare_contest(now);
        self.control(now);
        self.dispatch(now);
        self.report(now);
        self.show(now, inputs);
    }

    fn wake_at(&mut self, now: Moment) -> Moment {
        let mut at = now + TURN;
        let mut earlier = |moment: Option<Moment>| at = moment.filter(|moment| *moment > now).map_or(at, |m| at.min(m));
        earlier(self.queue.due_at());
        earlier(Some(self.target.resume_at()));
        earlier(self.session.due_at());
        earlier(Some(self.leads_until));
        earlier(Some(self.compare_at));
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

    fn sighted(&mut self, first: Sighting, inputs: &mut Inputs) {
        let now = self.clock.now();
        self.take_sighting(first, now);
        for _ in 1..SIGHTINGS_AT_ONCE {
            let Ok(sighting) = inputs.sightings.try_recv() else { break };
            self.take_sighting(sighting, now);
        }
    }

    fn confirmed(&mut self, confirmation: Option<Confirmation>, inputs: &Inputs) -> Result<(), Error> {
        let now = self.clock.now();
        match confirmation {
            None => Err(Error::WatchesEnded),
            Some(Confirmation { finding: Finding::OtherCluster { expected, found }, .. }) => {
                Err(Error::ClusterChanged { expected, found })
            }
            Some(Confirmation { round, finding: Finding::Listed(there) }) => {
                self.list_taken(round, &there, now, inputs);
                Ok(())
            }
            Some(Confirmation { round, finding: Finding::Answer(answer) }) => {
                self.brake_answered(round, answer, now);
                Ok(())
            }
        }
    }

    pub(super) fn replied(&mut self, reply: Result<Reply, tokio::task::JoinError>, inputs: &Inputs) {
        let now = self.clock.now();
        // An answer may have waited longer than the leadership lasted.
        self.follow_lease(*inputs.leadership.borrow(), now);
        let reply = match reply {
            Ok(reply) => reply,
            // A request that panicked is a defect, and the loop would wait for its reply for ever.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return,
            },
        };
        match reply {
            Reply::Capabilities(result) => self.told_capabilities(result, now),
            Reply::Session(term, result) if term == self.term => self.session_opened(result, now),
            Reply::Session(_, result) => self.opened_too_late(&result),
            Reply::Closed => {}
            Reply::Heartbeat(epoch, result) => self.heartbeat_answered(epoch, result, now),
            Reply::Holder(result) => self.holder_told(result, now),
            Reply::Before(term, result) => self.told_before(term, result, now),
            Reply::Inventory(epoch, found, step) => self.inventory_read(epoch, found, step, now),
            Reply::Names(about, result) => self.names_told(about, result, now, inputs),
            Reply::Written(sent, result) => self.written(&sent, result, now),
        }
    }

    async fn stop(&mut self, inputs: &Inputs) {
        let close_within = CLOSE_WITHIN.min(self.options.stop_within / CLOSE_PART);
        let finished = tokio::time::timeout(self.options.stop_within - close_within, async {
            // A session that is being opened would be left behind as if it lived.
            while self.writes_in_flight > 0 || self.session.phase() == Phase::Opening {
                let reply = tokio::select! {
                    biased;
                    Some(reply) = self.requests.join_next() => reply,
                    Some(reply) = self.writing.join_next() => reply,
                    else => break,
                };
                self.replied(reply, inputs);
            }
        });
        let unanswered = finished.await.is_err();
        let owed = self.ledger.owed();
        tracing::info!(owed, unanswered, "stopping; what is owed is left for the next start");
        let Some(epoch) = self.session.epoch() else { return };
        match tokio::time::timeout(close_within, self.registry.close_session(epoch)).await {
            Ok(Ok(())) => tracing::info!(epoch, "session closed"),
            Ok(Err(error)) => tracing::warn!(epoch, %error, "session not closed, it will turn stale by itself"),
            Err(_) => tracing::warn!(epoch, "session not closed in time, it will turn stale by itself"),
        }
    }
}
