//! Sends the Lease requests that [`Election`] decides on, and publishes whether this process leads.
//!
//! The election decides about every request and every retry. Each request has a time limit of a third of the lease's
//! duration.

use std::{future::Future, time::Duration};

use serde_json::Value;
use tokio::sync::watch;

use super::{
    LeaseClient, LeaseRef,
    document::{created, removed_targets, state_of, updated},
};
use crate::{
    clock::Clock,
    kubernetes::failures::{Right, describe},
    model::moment::Moment,
    reconcile::{
        election::{Election, ElectionStep, Leadership, LeaseTiming, LeaseUpdate, UpdateOutcome},
        fault_log::Reminder,
        status::{Ability, ControllerStatus},
    },
    telemetry::metrics::Metrics,
};

/// Time limit for releasing the lease at the end. A lease that was not released expires.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);
/// After working this long, the delay for stepping aside starts again at its shortest.
const WORKED_AFTER: Duration = Duration::from_secs(600);

/// Why the Lease was not read or not replaced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such Lease; create it, empty, as in deploy/lease.yaml")]
    Missing,
    /// The API server refused the request, or the connection failed.
    #[error("{why}")]
    Refused {
        /// What went wrong, and how to fix it.
        why: String,
        source: Box<kube::Error>,
    },
    #[error(
        "no answer from the API server within {0:?}, a third of the lease's duration; raise --lease-duration if it is \
         slow"
    )]
    Late(Duration),
    #[error("the answer is not the requested Lease; is there a proxy in between?")]
    Unusable,
    #[error("the name of the Lease does not fit in a URL: {0}; check --lease")]
    Request(#[source] http::Error),
}

impl Error {
    /// Whether only an operator can fix it: the Lease or a right is missing.
    fn needs_operator(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Refused { source, .. } => matches!(&**source, kube::Error::Api(status) if status.code == 403),
            Self::Late(_) | Self::Unusable | Self::Request(_) => false,
        }
    }
}

/// Renews the lease while this process leads, and reads it while this process is a standby.
pub struct Elector {
    leases: LeaseClient,
    timing: LeaseTiming,
    election: Election,
    /// The Lease as it was last read. Only the fields of the election are changed in it.
    /// Null until then.
    document: Value,
    /// The names of the targets, which the leader writes into the Lease.
    targets: Vec<&'static str>,
    clock: Clock,
    controller_status: watch::Receiver<ControllerStatus>,
    /// Start of the current term.
    led_since: Option<Moment>,
    leadership_sender: watch::Sender<Leadership>,
    /// The holder of the Lease as it was last read or written, for people. Empty before, and if the Lease is free.
    holder: watch::Sender<String>,
    failures: u64,
    metrics: Metrics,
    reminder: Reminder,
}

impl Elector {
    /// An elector that starts as a standby. `duration` is in whole seconds.
    pub fn new(
        leases: LeaseClient,
        me: String,
        targets: Vec<&'static str>,
        duration: Duration,
        clock: Clock,
        controller_status: watch::Receiver<ControllerStatus>,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<Leadership>) {
        let (leadership_sender, leadership) = watch::channel(Leadership::Follower);
        let timing = LeaseTiming::of(duration);
        let election = Election::new(me, timing);
        let elector = Self {
            leases,
            timing,
            election,
            document: Value::Null,
            targets,
            clock,
            controller_status,
            led_since: None,
            leadership_sender,
            holder: watch::Sender::default(),
            failures: 0,
            metrics,
            reminder: Reminder::default(),
        };
        (elector, leadership)
    }

    /// The holder of the Lease, for people. Empty before it is known, and if the Lease is free.
    pub fn holder(&self) -> watch::Receiver<String> {
        self.holder.subscribe()
    }

    /// Acquires and renews the lease until `shutdown` completes; then releases it.
    ///
    /// The process becomes a candidate once the first page of pods has arrived: a leader without pods would only block
    /// a replica that has them. A leader that cannot reach the registry steps aside.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        {
            let mut shutdown = std::pin::pin!(shutdown);
            loop {
                tokio::select! {
                    biased;
                    () = &mut shutdown => break,
                    _ = self.turn() => {}
                }
            }
        }
        self.release().await;
    }

    /// Does the election's next step. False after the last one.
    async fn turn(&mut self) -> bool {
        self.update_candidacy();
        match self.election.step(self.clock.now()) {
            ElectionStep::Wait(until) => self.clock.sleep_until(until).await,
            ElectionStep::Get => self.get().await,
            ElectionStep::Put(update) => self.put(update).await,
            ElectionStep::Done => return false,
        }
        self.publish();
        true
    }

    /// Becomes a candidate or steps aside, depending on what this process is able to do.
    fn update_candidacy(&mut self) {
        let (ability, now) = (self.controller_status.borrow().ability, self.clock.now());
        let term = self.election.leadership().term(now);
        self.led_since = term.and(self.led_since.or(Some(now)));
        match ability {
            Ability::WithoutPods => {}
            Ability::Able => {
                self.election.stand();
                if self.led_since.is_some_and(|since| now >= since + WORKED_AFTER) {
                    self.election.worked();
                }
            }
            Ability::CutOff if term.is_some() => {
                tracing::error!(
                    lease = %self.leases.lease.name,
                    "this leader cannot reach the registry; releasing the lease so that another replica can write. \
                     Check the network from this pod to the registry, and the registry's credentials"
                );
                self.election.step_aside(now);
                self.publish();
            }
            Ability::CutOff => {}
        }
    }

    fn publish(&self) {
        let leadership = self.election.leadership().counted_from(created(&self.document));
        self.leadership_sender
            .send_if_modified(|leadership_sender| std::mem::replace(leadership_sender, leadership) != leadership);
        let holder = match leadership {
            // It was read before this process acquired it.
            Leadership::Leader { .. } => self.election.me(),
            _ => self.election.holder().unwrap_or_default(),
        };
        self.holder.send_if_modified(|shown| {
            let is_news = *shown != holder;
            if is_news {
                holder.clone_into(shown);
            }
            is_news
        });
    }

    async fn release(mut self) {
        let led = self.election.leadership() != Leadership::Follower;
        self.election.release(self.clock.now());
        self.publish();
        let released = async { while self.turn().await {} };
        match tokio::time::timeout(RELEASE_WITHIN, released).await {
            Ok(()) if led => tracing::info!(lease = %self.leases.lease.name, "lease released"),
            Ok(()) => {}
            Err(_) => {
                tracing::warn!(lease = %self.leases.lease.name, "lease not released in time; it expires")
            }
        }
    }

    async fn get(&mut self) {
        let answer = self.within(self.leases.get()).await;
        let read = answer.and_then(|document| Ok((state_of(&document).ok_or(Error::Unusable)?, document)));
        let now = self.clock.now();
        match read {
            Ok((state, document)) => {
                self.recovered();
                let before = self.election.holder().map(str::to_owned);
                if before.as_deref() != Some(&state.holder) {
                    tracing::info!(holder = state.holder, transitions = state.transitions, "lease read");
                }
                if self.document.is_null() {
                    self.report_removed(&document);
                }
                self.document = document;
                self.election.read(&state, now);
            }
            Err(error) => {
                if matches!(error, Error::Missing) {
                    self.election.missing(now);
                } else {
                    self.election.not_read(now);
                }
                self.failed(&error);
            }
        }
    }

    /// An earlier leader may have had targets that this process does not have.
    fn report_removed(&self, document: &Value) {
        let removed = removed_targets(document, &self.targets);
        if !removed.is_empty() {
            let targets = removed.join(", ");
            tracing::warn!(targets, "target was removed; its records stay in the registry");
        }
    }

    async fn put(&mut self, update: LeaseUpdate) {
        let document = updated(&self.document, &update, &self.targets, jiff::Timestamp::now());
        let sent = self.clock.now();
        let answer = self.within(self.leases.put(&document)).await;
        let now = self.clock.now();
        let written = match answer {
            Ok(document) if state_of(&document).is_some_and(|state| state.holder == update.holder) => {
                self.recovered();
                UpdateOutcome::Done
            }
            Ok(_) => {
                self.failed(&Error::Unusable);
                UpdateOutcome::Failed
            }
            Err(Error::Refused { source, .. }) if is_conflict(&source) => {
                tracing::debug!("the lease changed since it was read; reading it again");
                UpdateOutcome::Conflict
            }
            Err(error) => {
                self.failed(&error);
                UpdateOutcome::Failed
            }
        };
        self.election.written(&update, written, sent, now);
    }

    async fn within(&self, request: impl Future<Output = Result<Value, kube::Error>>) -> Result<Value, Error> {
        match tokio::time::timeout(self.timing.call, request).await {
            Err(_) => Err(Error::Late(self.timing.call)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(Error::Missing),
            Ok(Err(kube::Error::HttpError(error))) => Err(Error::Request(error)),
            Ok(answer) => answer.map_err(|error| self.refused(error)),
        }
    }

    fn refused(&self, error: kube::Error) -> Error {
        let right = Right {
            group: "coordination.k8s.io",
            resource: "leases",
            verbs: &["get", "update"],
            name: Some(&self.leases.lease.name),
            namespace: Some(&self.leases.lease.namespace),
        };
        Error::Refused { why: describe(&error, &right), source: Box::new(error) }
    }

    fn recovered(&mut self) {
        if self.reminder.over() {
            tracing::info!(lease = %self.leases.lease.name, failures = self.failures, "lease requests succeed again");
        }
        self.failures = 0;
    }

    /// Logs at growing intervals, not at every attempt.
    fn failed(&mut self, error: &Error) {
        self.failures += 1;
        self.metrics.lease_failed();
        let LeaseRef { namespace, name } = &self.leases.lease;
        if self.reminder.is_due(self.clock.now()) {
            let failures = self.failures;
            if self.reminder.is_repeated() && error.needs_operator() {
                tracing::error!(
                    namespace,
                    lease = name,
                    failures,
                    %error,
                    "lease still not read or written; retrying. Create it, or grant the right, as the field error says"
                );
                return;
            }
            tracing::warn!(namespace, lease = name, failures, %error, "lease not read or written; retrying");
        } else {
            tracing::debug!(failures = self.failures, %error, "lease not read or written");
        }
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;
    use crate::kubernetes::tests::logs::Log;

    /// Lets an elector run for two minutes on an API server that answers every request with this status.
    async fn run_against(code: u16) -> Log {
        let (log, _guard) = Log::start();
        let answering = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            let status = json!({"kind": "Status", "status": "Failure", "code": code}).to_string();
            let answer = http::Response::builder().status(code).body(kube::client::Body::from(status.into_bytes()));
            std::future::ready(answer.map_err(tower::BoxError::from))
        });
        let lease = LeaseRef { namespace: "a".into(), name: "registrar".into() };
        let leases = LeaseClient::new(kube::Client::new(answering, "default"), lease);
        let (_status, statuses) = watch::channel(ControllerStatus::default());
        let duration = Duration::from_secs(15);
        let (elector, _leadership) = Elector::new(
            leases,
            "me:1".into(),
            vec!["default"],
            duration,
            Clock::start(),
            statuses,
            Metrics::new(crate::telemetry::health::Health::new(1)),
        );
        let two_minutes = tokio::time::sleep(Duration::from_secs(120));
        elector.run(two_minutes).await;
        log
    }

    #[tokio::test(start_paused = true)]
    async fn lasting_missing_lease_is_an_error() {
        // A missing right is one, too. A broken API server is not: nothing has to be done about the Lease.
        for (code, lines) in [(404, (1, 1)), (403, (1, 1)), (500, (2, 0))] {
            let log = run_against(code).await;
            let counts = (log.count(" WARN ", "not read or written"), log.count("ERROR ", "still not read or written"));
            assert_eq!(counts, lines, "{code}: {}", log.text());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn term_grows_when_the_lease_is_created_again() {
        let lease = |created: &str| json!({"kind": "Lease", "metadata": {"name": "l", "resourceVersion": "1", "creationTimestamp": created}});
        let held = Arc::new(Mutex::new(lease("2026-09-21T14:13:20Z")));
        let there = held.clone();
        let answering = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let there = there.clone();
            async move {
                if request.method() == http::Method::PUT {
                    let sent = request.into_body().collect_bytes().await?;
                    *there.lock() = serde_json::from_slice(&sent)?;
                }
                let body = kube::client::Body::from(there.lock().to_string().into_bytes());
                Ok::<_, tower::BoxError>(http::Response::new(body))
            }
        });
        let status = ControllerStatus { ability: Ability::Able, ..ControllerStatus::default() };
        let (_status, statuses) = watch::channel(status);
        let leases = LeaseClient::new(
            kube::Client::new(answering, "default"),
            LeaseRef { namespace: "a".into(), name: "l".into() },
        );
        let clock = Clock::start();
        let metrics = Metrics::new(crate::telemetry::health::Health::new(1));
        let (elector, leadership) =
            Elector::new(leases, "me:1".into(), Vec::new(), Duration::from_secs(15), clock, statuses, metrics);
        let terms = Arc::new(Mutex::new(Vec::new()));
        let seen = terms.clone();
        elector
            .run(async move {
                for _ in 0..2 {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    seen.lock().push(leadership.borrow().term(clock.now()).map(|term| term.number(0)));
                    *held.lock() = lease("2026-09-21T14:13:21Z");
                }
            })
            .await;
        // A process that led before does not begin at 1 again.
        let number = |second: u64, transitions: u64| Some((second << 20) + transitions);
        assert_eq!(*terms.lock(), [number(1_790_000_000, 1), number(1_790_000_001, 2)]);
    }
}
