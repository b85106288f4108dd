//! The event loop: receives one thing, hands it to the part it belongs to, and lets all parts act that are due.
//!
//! The loop owns the parts and joins them. A part says when it is due, and the loop sleeps until then; it returns what
//! follows for others as a value, which the loop applies.
//!
//! | step | file |
//! | --- | --- |
//! | receive, let the parts act, send the requests that are due, stop | here |
//! | answers of the registry | `replies` |
//! | effects of the parts, changes of leadership | `apply` |
//! | a batch: what comparison has queued, within the limits of delivery | `deliver` |
//! | work that takes several turns, pod events, and absences | `turn` |
//! | status, metrics, answers to questions | `inform` |

mod apply;
mod deliver;
mod inform;
mod replies;
mod turn;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::watch;

use self::turn::Turns;
use super::{
    absences::Absences,
    availability::Availability,
    cluster::ClusterQuestions,
    comparison::{Comparison, When},
    delivery::Delivery,
    display::Display,
    error::Error,
    leadership::Term,
    lists::Lists,
    notices::NoticeSchedule,
    options::{ControllerOptions, Inputs, Outputs},
    receipts::ReceiptNotes,
    report::Reporter,
    requests::{Request, Requests},
    resync::Resync,
    session::{LocalStep, WriterSession},
    traces::Traces,
};
use crate::{
    clock::Clock,
    model::moment::Moment,
    reconcile::{election::Leadership, session::Phase},
    registry::{Features, Registry},
    store::View,
};

/// How long closing the session may take when the loop stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// Closing the session may also take no more than a fifth of the time that the loop has to stop.
const CLOSE_PART: u32 = 5;

/// Keeps a registry equal to a view of pods.
pub struct EventLoop<R> {
    turns: Turns,
    stop_within: Duration,
    term: Term,
    availability: Availability,
    session: WriterSession,
    comparison: Comparison<R>,
    resync: Resync,
    absences: Absences,
    delivery: Delivery,
    notices: NoticeSchedule,
    reporter: Reporter,
    display: Display,
    receipts: ReceiptNotes,
    requests: Requests<R>,
    cluster: ClusterQuestions,
    /// Why the loop has to end.
    end: Option<Error>,
}

impl<R: Registry> EventLoop<R> {
    pub fn new(registry: R, view: View, options: ControllerOptions, clock: Clock, outputs: Outputs) -> Self {
        let Outputs { checks, relist, controller_status, activity, receipts, traces, metrics, health } = outputs;
        let registry = Arc::new(registry);
        let mut rng = fastrand::Rng::with_seed(options.seed);
        let traces = Traces::new(options.target, traces, metrics.clone());
        let delivery = Delivery::new(&options, traces, metrics.clone(), rng.fork());
        let lists = Lists::new(view.watches(), options.namespaces.clone());
        let (availability, session_rng) = (Availability::new(rng.fork()), rng.fork());
        let resync = Resync::new(options.resync_interval, metrics.clone(), rng.fork());
        let absences = Absences::new(options.target, options.on_scope_change, rng.fork());
        let receipts = ReceiptNotes::new(options.target, receipts, metrics.process().clone());
        let reporter = Reporter::new(metrics, health, controller_status, options.approver);
        Self {
            turns: Turns::new(clock, options.visits_per_turn),
            stop_within: options.stop_within,
            term: Term::none(),
            availability,
            session: WriterSession::new(options, session_rng),
            comparison: Comparison::new(registry.clone(), view, lists),
            resync,
            absences,
            delivery,
            notices: NoticeSchedule::new(),
            reporter,
            display: Display::new(activity),
            receipts,
            requests: Requests::new(registry),
            cluster: ClusterQuestions::new(checks, relist),
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
            let now = self.turns.now();
            self.act(*inputs.leadership.borrow(), now);
            if let Some(error) = self.end.take() {
                return Err(error);
            }
            let (wake_at, has_more_to_do) = (self.wake_at(now), self.has_more_to_do());
            self.turns.ended(now);
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
                event = inputs.pod_events.recv(), if !self.comparison.takes_list() => {
                    self.observe(event.ok_or(Error::WatchesEnded)?, &mut inputs.pod_events);
                }
                () = rest(self.turns.clock(), wake_at, has_more_to_do) => {}
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
        self.compare(now);
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
            self.comparison.due_at(now),
            self.delivery.due_at(self.comparison.queue(), self.comparison.ledger(), now),
        ];
        // A part that is due after its turn waits for something else, such as an answer.
        due.into_iter().flatten().filter(|at| *at > now).fold(self.reporter.due_at(), Moment::min)
    }

    /// Whether this process may write at this moment.
    fn leads(&self) -> bool {
        self.term.leads(self.turns.now())
    }

    /// The time of a step, with what the session allows.
    fn when(&self, now: Moment) -> When {
        When { now, session_open: self.session.is_open() }
    }

    /// Whether a turn has left something that can be done at once.
    fn has_more_to_do(&self) -> bool {
        self.comparison.has_more_to_do() || self.resync.is_learning()
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
        let lists = self.comparison.lists();
        if let Some(epoch) = self.session.epoch()
            && lists.has_page()
            && self.resync.is_due(epoch, lists.are_settled(), now)
        {
            if inventory {
                let (ledger, records) = self.comparison.ledger_and_records();
                let request = self.resync.next_request(epoch, digests, ledger, records, now);
                self.requests.send(request);
            } else {
                let kind = self.resync.complete_unread(self.comparison.ledger_mut(), now);
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

    /// Updates what the session declares for the next process.
    fn declare(&mut self, now: Moment) {
        // The inventory was read in this session, and all consequences are done.
        let is_settled = self.session.is_open()
            && self.resync.is_done(now)
            && self.absences.is_scope_resolved()
            && self.comparison.is_settled()
            && self.comparison.ledger().all_pending().all(|(_, pending)| pending.confirmed.is_none());
        if is_settled {
            self.absences.scope_declared();
            self.session.declare_settled(now);
        }
        self.session.declare(self.absences.held_because(), now);
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
        let pending = self.comparison.ledger().pending_count();
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
