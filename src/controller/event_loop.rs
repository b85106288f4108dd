//! The event loop: receives one thing, hands it to the part it belongs to, and lets all parts act that are due.
//!
//! The loop owns the ledger and the parts, and applies their effects (`apply`). Steps that need several parts are files
//! of their own: `intake` for pod events, `projected` for pods that the registry sees otherwise, `decisions` for one
//! pod or all, `deliver` for batches, `order` for records that belong together, `replies` for the registry's answers,
//! `explain` for questions about one pod, `activity` for what people see of the target, `receipts` for the writer of
//! receipts, `turn` for work that takes several turns.
//!
//! A part says when it is due, and the loop sleeps until then. The reporter is due once per second.

mod activity;
mod apply;
mod decisions;
mod deliver;
mod explain;
mod intake;
mod order;
mod projected;
mod receipts;
mod replies;
mod turn;

use std::{future::Future, time::Duration};

use tokio::sync::{mpsc, watch};

use self::{
    explain::{LastAnswers, ShownHolds},
    turn::ListIntake,
};
use super::{
    absences::Absences,
    activity::ActivityReport,
    availability::Availability,
    delivery::Delivery,
    error::Error,
    leadership::Term,
    lists::Lists,
    notices::NoticeSchedule,
    options::{ControllerOptions, Inputs, Outputs},
    receipts::ReceiptNotes,
    records::DesiredRecords,
    report::{Counted, LoopCounts, Reporter},
    requests::{Request, Requests},
    resync::Resync,
    session::{LocalStep, WriterSession},
    traces::Traces,
    unknown_pods::UnknownPods,
};
use crate::{
    clock::Clock,
    model::{moment::Moment, recent::Recent},
    reconcile::{
        absence::check::{Check, CheckFinding, CheckResult},
        election::Leadership,
        ledger::{Ledger, pending::AttemptKind},
        session::Phase,
        status::{Ability, ControllerStatus},
    },
    registry::{Features, Registry},
    store::View,
};

/// How long closing the session may take when the loop stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// Closing the session may also take no more than a fifth of the time that the loop has to stop.
const CLOSE_PART: u32 = 5;

/// Keeps a registry equal to a view of pods.
pub struct EventLoop<R> {
    clock: Clock,
    records: DesiredRecords,
    ledger: Ledger,
    stop_within: Duration,
    visits_per_turn: usize,

    term: Term,
    availability: Availability,
    session: WriterSession,
    resync: Resync,
    notices: NoticeSchedule,
    absences: Absences,
    unknown_pods: UnknownPods,
    delivery: Delivery,
    reporter: Reporter,
    activity: ActivityReport,
    receipts: ReceiptNotes,
    last_answers: LastAnswers,
    shown_holds: ShownHolds,
    /// The names in registered records of absent pods, by key.
    registered_names: Recent<Box<str>>,

    requests: Requests<R>,
    checks: mpsc::Sender<Check>,
    relist: watch::Sender<u64>,
    /// The complete list that is being taken in.
    list: Option<ListIntake>,
    /// When this turn received something.
    received_at: Option<Moment>,
    /// Why the loop has to end.
    end: Option<Error>,
}

impl<R: Registry> EventLoop<R> {
    pub fn new(registry: R, view: View, options: ControllerOptions, clock: Clock, outputs: Outputs) -> Self {
        let Outputs { checks, relist, controller_status, activity, receipts, traces, metrics, health } = outputs;
        let mut rng = fastrand::Rng::with_seed(options.seed);
        let traces = Traces::new(options.target, traces, metrics.clone());
        let delivery = Delivery::new(&options, traces, metrics.clone(), rng.fork());
        let lists = Lists::new(view.watches(), options.namespaces.clone());
        let (availability, session_rng) = (Availability::new(rng.fork()), rng.fork());
        let resync = Resync::new(options.resync_interval, metrics.clone(), rng.fork());
        let absences = Absences::new(options.target, lists, options.on_scope_change, rng.fork());
        let receipts = ReceiptNotes::new(options.target, receipts, metrics.process().clone());
        let reporter = Reporter::new(metrics, health, controller_status, options.approver);
        Self {
            clock,
            records: DesiredRecords::new(view, &registry),
            ledger: Ledger::default(),
            stop_within: options.stop_within,
            visits_per_turn: options.visits_per_turn.max(1),
            term: Term::none(),
            availability,
            session: WriterSession::new(options, session_rng),
            resync,
            notices: NoticeSchedule::new(),
            absences,
            unknown_pods: UnknownPods::default(),
            delivery,
            reporter,
            activity: ActivityReport::new(activity),
            receipts,
            last_answers: LastAnswers::default(),
            shown_holds: ShownHolds::default(),
            registered_names: Recent::default(),
            requests: Requests::new(registry),
            checks,
            relist,
            list: None,
            received_at: None,
            end: None,
        }
    }

    /// Keeps the registry equal to the view until `shutdown`. Then waits for the requests in flight and closes the
    /// session. Changes that are still pending are found again at the next start.
    ///
    /// # Errors
    /// The cluster turns out to be another one, the session belongs to another cluster, or the watches or the checks
    /// end.
    pub async fn run(mut self, mut inputs: Inputs, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let now = self.clock.now();
            self.act(*inputs.leadership.borrow(), now);
            if let Some(error) = self.end.take() {
                return Err(error);
            }
            let (wake_at, has_more_to_do) = (self.wake_at(now), self.has_more_to_do());
            self.note_long_turn(now);
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                // If the task that keeps the Lease has ended, the term runs out.
                Ok(()) = inputs.leadership.changed() => {}
                Some(reply) = self.requests.next() => self.replied(reply, *inputs.leadership.borrow()),
                result = inputs.check_results.recv() => self.confirmed(result.ok_or(Error::ChecksEnded)?)?,
                Some(hold) = inputs.approvals.recv() => self.absences.approve(&hold),
                Some(question) = inputs.questions.recv() => self.answer(question),
                // The events after a list wait until it is taken in.
                event = inputs.pod_events.recv(), if self.list.is_none() => {
                    self.observe(event.ok_or(Error::WatchesEnded)?, &mut inputs.pod_events);
                }
                () = rest(self.clock, wake_at, has_more_to_do) => {}
            }
        }
        self.reporter.stopping();
        self.stop(&inputs.leadership).await;
        Ok(())
    }

    /// Does everything that is due.
    fn act(&mut self, leadership: Leadership, now: Moment) {
        self.reporter.loop_turned();
        self.follow(leadership, now);
        self.project_stale(now);
        self.reconcile_due(now);
        self.continue_passes(now);
        self.unknown_pods_due(now);
        self.confirm_absences(now);
        self.declare(now);
        self.ask_registry(now);
        self.deliver(now);
        self.send_notices(now);
        self.report(now);
    }

    fn wake_at(&mut self, now: Moment) -> Moment {
        let due = [
            self.term.due_at(),
            self.availability.due_at(),
            self.session.due_at(),
            self.resync.due_at(),
            self.notices.due_at(),
            self.absences.due_at(now),
            self.delivery.due_at(&self.ledger, now),
            self.unknown_pods.due_at(),
        ];
        // A part that is due after its turn waits for something else, such as an answer.
        due.into_iter().flatten().filter(|at| *at > now).fold(self.reporter.due_at(), Moment::min)
    }

    /// Whether this process may write at this moment.
    fn leads(&self) -> bool {
        self.term.leads(self.clock.now())
    }

    /// Sends the requests that are due, besides writes.
    fn ask_registry(&mut self, now: Moment) {
        if let Some(request) = self.availability.next_request(now) {
            self.requests.send(request);
        }
        let may_ask = self.availability.capabilities().is_some() && self.availability.lets_through(now);
        if !self.leads() || !may_ask {
            return;
        }
        let Features { sessions, inventory, digests, .. } = self.availability.features();
        if self.session.is_due(now)
            && let Some(facts) = self.facts()
        {
            if sessions {
                self.session.next_request(&facts, now).into_iter().for_each(|request| self.requests.send(request));
            } else {
                match self.session.next_local(&facts, now) {
                    Some(LocalStep::Send(request)) => self.requests.send(request),
                    Some(LocalStep::Opened(effect)) => self.apply_session(effect, now),
                    None => {}
                }
            }
        }
        let lists = &self.absences.lists;
        if let Some(epoch) = self.session.epoch()
            && lists.has_page()
            && self.resync.is_due(epoch, lists.are_settled(), now)
        {
            if inventory {
                let request = self.resync.next_request(epoch, digests, &mut self.ledger, &self.records, now);
                self.requests.send(request);
            } else {
                let kind = self.resync.complete_unread(&mut self.ledger, now);
                self.resynced(kind, now);
            }
        }
    }

    /// Sends a sign of life, or the end of a round.
    fn send_notices(&mut self, now: Moment) {
        let may_send = self.leads() && self.session.is_open() && self.availability.lets_through(now);
        let in_sync = self.is_in_sync(now);
        let after = if may_send { self.requests.registry().notice_after(in_sync) } else { None };
        if self.notices.sends(after, now) {
            self.requests.send(Request::Notice { in_sync });
        }
    }

    /// Asks the cluster about absences, and the watches for new lists.
    fn confirm_absences(&mut self, now: Moment) {
        let relist = self.absences.want_list(now);
        self.apply_absences(relist, now);
        // The guard needs names from the registry, and its answers lead to deletions.
        if self.availability.lets_through(now) {
            let question = self.absences.next_question(&self.ledger, now);
            self.apply_absences(question, now);
        }
    }

    /// The cluster answered a question about absences.
    fn confirmed(&mut self, confirmation: CheckResult) -> Result<(), Error> {
        let now = self.clock.now();
        self.received_at = Some(now);
        let CheckResult { round, finding } = confirmation;
        match finding {
            CheckFinding::OtherCluster { expected, found } => return Err(Error::ClusterChanged { expected, found }),
            CheckFinding::Listed(there) => {
                let listed = self.records.listed(there);
                if let Some(listed) = self.unknown_pods.listed(round, listed, now) {
                    self.second_listed(round, listed, now);
                }
            }
            CheckFinding::Confirmation(answer) => self.absences.answered(round, answer, now),
        }
        Ok(())
    }

    /// Updates what the session declares for the next process.
    fn declare(&mut self, now: Moment) {
        // The inventory was read in this session, and all consequences are done.
        let is_settled = self.session.is_open()
            && self.resync.is_done(now)
            && self.absences.is_scope_resolved()
            && self.ledger.all_pending().all(|(_, pending)| pending.confirmed.is_none());
        if is_settled {
            self.absences.guard.scope_declared();
            self.session.declare_settled(now);
        }
        self.session.declare(self.absences.guard.is_operator_needed(), self.absences.guard.is_contested(), now);
    }

    /// Whether the registry is believed to be equal to the cluster.
    fn is_in_sync(&self, now: Moment) -> bool {
        self.session.is_open()
            && self.reporter.watches_live()
            && self.ledger.is_seeded()
            && self.resync.is_current(now)
            && self.absences.lists.over_all().is_some()
            && self.ledger.pending_count() == 0
            && self.absences.is_settled()
            && self.absences.guard.is_idle()
            && self.records.failed() == 0
            && self.records.is_projected()
    }

    fn report(&mut self, now: Moment) {
        let in_sync = self.is_in_sync(now);
        if in_sync {
            self.session.note_in_sync();
        }
        if self.reporter.set_in_sync(in_sync, self.records.view().len()) {
            self.session.beat_soon(now);
        }
        let counts = LoopCounts {
            pods: self.records.view().len(),
            held: self.absences.guard.held(),
            failed: self.records.failed(),
            queue_entries: self.delivery.queue.entries(),
        };
        if let Some(Counted { uncertain, backlog, parked }) = self.reporter.report(&self.ledger, &counts, now) {
            self.show_activity(backlog, &parked, now);
            let Features { inventory, remembers, .. } = self.availability.features();
            let may_resync = inventory && !remembers && self.session.is_open() && self.ledger.is_seeded();
            if may_resync && !self.delivery.allows(AttemptKind::Retry, now) {
                self.resync.begin_early(uncertain, now);
            }
        }
        let controller_status = ControllerStatus {
            session: self.session.phase().into(),
            epoch: self.session.epoch(),
            in_sync,
            ability: self.ability(now),
            holds: self.holds(),
            failed_renders: self.records.failed_renders(),
            failed_resync: self.resync.failed(now),
            left_differing: self.requests.registry().left_differing(),
        };
        self.reporter.show(controller_status, self.session.phase());
    }

    /// Whether this process could do a leader's work.
    fn ability(&self, now: Moment) -> Ability {
        match () {
            () if !self.absences.lists.has_page() => Ability::WithoutPods,
            () if self.term.current().is_some() && self.availability.is_cut_off(now) => Ability::CutOff,
            () => Ability::Able,
        }
    }

    /// Waits for the requests in flight, and closes the session.
    async fn stop(&mut self, leadership: &watch::Receiver<Leadership>) {
        let close_within = CLOSE_WITHIN.min(self.stop_within / CLOSE_PART);
        let answered = tokio::time::timeout(self.stop_within - close_within, async {
            // A session that is opened after the stop would look live.
            while self.requests.writes_in_flight() > 0 || self.session.phase() == Phase::Opening {
                let Some(reply) = self.requests.next().await else { break };
                self.replied(reply, *leadership.borrow());
            }
        });
        let unanswered = answered.await.is_err();
        let pending = self.ledger.pending_count();
        tracing::info!(pending, unanswered, "stopping; pending changes are found again at the next start");
        let Some(epoch) = self.session.epoch().filter(|_| self.availability.features().sessions) else { return };
        // Not a `Request`: no other reply can come any more, and the result decides what is logged.
        match tokio::time::timeout(close_within, self.requests.registry().close_session(epoch)).await {
            Ok(Ok(())) => tracing::info!(epoch, "session closed"),
            Ok(Err(error)) => tracing::warn!(epoch, %error, "session not closed; it becomes stale"),
            Err(_) => tracing::warn!(epoch, "session not closed in time; it becomes stale"),
        }
    }
}

/// Waits until a part is due. If the turn has left something, other tasks go on for a moment, such as requests.
async fn rest(clock: Clock, wake_at: Moment, has_more_to_do: bool) {
    if has_more_to_do {
        tokio::task::yield_now().await;
    } else {
        clock.sleep_until(wake_at).await;
    }
}
