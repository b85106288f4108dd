//! Carries out what the election decides, and tells the event loop whether this process leads.
//!
//! The election decides about every request and every retry. Each request has a time limit far below the lease's duration.

use std::{future::Future, time::Duration};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{LeaseClient, LeaseRef};
use crate::{
    clock::Clock,
    kubernetes::explain::{Right, explain},
    model::moment::Moment,
    reconcile::{
        election::{Election, ElectionStep, Leadership, LeaseState, LeaseTiming, LeaseUpdate, UpdateOutcome},
        notices::Reminder,
        status::{Ability, ControllerStatus},
    },
    telemetry::metrics::Metrics,
};

/// Giving the lease up takes no longer; one that is not given up expires.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);
/// A leader that was able to work for this long steps aside for a short time only, should it ever have to.
const WORKED_AFTER: Duration = Duration::from_secs(600);

/// Why the lease was not read or not replaced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there.
    #[error("there is no such Lease; create it, empty, as in deploy/lease.yaml")]
    Missing,
    /// The API server refused, or did not answer.
    #[error("{why}")]
    Refused {
        /// What went wrong, and how to fix it.
        why: String,
        /// The error itself.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error(
        "no answer from the API server within {0:?}, a third of the lease's duration; raise --lease-duration if it is slow"
    )]
    Late(Duration),
    /// The answer is not the Lease.
    #[error("the answer is not the Lease that was asked for; is there a proxy in between?")]
    Unusable,
    /// The name of the Lease makes no URL.
    #[error("the Lease cannot be asked for: {0}; check --lease")]
    Request(#[source] http::Error),
}

/// Holds the lease while this process leads, and watches it while it stands by.
pub struct Elector {
    leases: LeaseClient,
    timing: LeaseTiming,
    election: Election,
    /// The Lease as it was last read: what is not ours in it stays as it is.
    document: Value,
    clock: Clock,
    controller_status: watch::Receiver<ControllerStatus>,
    /// When it last began to lead.
    led_since: Option<Moment>,
    leadership_sender: watch::Sender<Leadership>,
    failures: u64,
    metrics: Metrics,
    reminder: Reminder,
}

impl Elector {
    /// Stands by as `me`. `duration` is in whole seconds.
    pub fn new(
        leases: LeaseClient,
        me: String,
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
            clock,
            controller_status,
            led_since: None,
            leadership_sender,
            failures: 0,
            metrics,
            reminder: Reminder::default(),
        };
        (elector, leadership)
    }

    /// Takes the lease when it can be had and keeps it, until `over` comes; then gives it up.
    ///
    /// It stands for election once the first page of pods has arrived: a leader without pods would only keep the lease from
    /// one that has some. A leader that cannot reach the registry steps aside.
    pub async fn run(mut self, over: impl Future<Output = ()>) {
        {
            let mut over = std::pin::pin!(over);
            loop {
                tokio::select! {
                    biased;
                    () = &mut over => break,
                    _ = self.turn() => {}
                }
            }
        }
        self.release().await;
    }

    /// Does what is to be done next, and waits for it. False once there is nothing any more.
    async fn turn(&mut self) -> bool {
        self.stand();
        match self.election.step(self.clock.now()) {
            ElectionStep::Wait(until) => self.clock.sleep_until(until).await,
            ElectionStep::Get => self.get().await,
            ElectionStep::Put(claim) => self.put(claim).await,
            ElectionStep::Done => return false,
        }
        self.tell();
        true
    }

    /// Stands for election, or steps aside, as this process is able to.
    fn stand(&mut self) {
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
                    "this leader cannot reach the registry; it gives the lease up so that another replica can write. Check \
                     the network from this pod to the registry, and the registry's credentials"
                );
                self.election.step_aside(now);
                self.tell();
            }
            Ability::CutOff => {}
        }
    }

    fn tell(&self) {
        let leadership = self.election.leadership();
        self.leadership_sender
            .send_if_modified(|leadership_sender| std::mem::replace(leadership_sender, leadership) != leadership);
    }

    async fn release(mut self) {
        let led = self.election.leadership() != Leadership::Follower;
        self.election.release(self.clock.now());
        self.tell();
        let released = async { while self.turn().await {} };
        match tokio::time::timeout(RELEASE_WITHIN, released).await {
            Ok(()) if led => tracing::info!(lease = %self.leases.lease.name, "lease released"),
            Ok(()) => {}
            Err(_) => {
                tracing::warn!(lease = %self.leases.lease.name, "lease not released in time, it expires by itself")
            }
        }
    }

    async fn get(&mut self) {
        let answer = self.within(self.leases.get()).await;
        let read = answer.and_then(|document| Ok((seen(&document).ok_or(Error::Unusable)?, document)));
        let now = self.clock.now();
        match read {
            Ok((seen, document)) => {
                self.answered();
                let before = self.election.holder().map(str::to_owned);
                if before.as_deref() != Some(&seen.holder) {
                    tracing::info!(holder = seen.holder, transitions = seen.transitions, "lease read");
                }
                self.document = document;
                self.election.read(&seen, now);
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

    async fn put(&mut self, claim: LeaseUpdate) {
        let document = claimed(&self.document, &claim, jiff::Timestamp::now());
        let sent = self.clock.now();
        let answer = self.within(self.leases.put(&document)).await;
        let now = self.clock.now();
        let written = match answer {
            Ok(document) if seen(&document).is_some_and(|seen| seen.holder == claim.holder) => {
                self.answered();
                UpdateOutcome::Done
            }
            Ok(_) => {
                self.failed(&Error::Unusable);
                UpdateOutcome::Failed
            }
            Err(Error::Refused { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.code == 409) => {
                tracing::debug!("the lease was changed since it was read, it is read again");
                UpdateOutcome::Conflict
            }
            Err(error) => {
                self.failed(&error);
                UpdateOutcome::Failed
            }
        };
        self.election.written(&claim, written, sent, now);
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
        Error::Refused { why: explain(&error, &right), source: Box::new(error) }
    }

    fn answered(&mut self) {
        if self.reminder.over() {
            tracing::info!(lease = %self.leases.lease.name, failures = self.failures, "the lease can be had again");
        }
        self.failures = 0;
    }

    /// Reported at growing intervals, and not at every try.
    fn failed(&mut self, error: &Error) {
        self.failures += 1;
        self.metrics.lease_failed();
        let LeaseRef { namespace, name } = &self.leases.lease;
        if self.reminder.is_due(self.clock.now()) {
            let failures = self.failures;
            tracing::warn!(namespace, lease = name, failures, %error, "lease not read or written; retrying");
        } else {
            tracing::debug!(failures = self.failures, %error, "the lease was not read or written");
        }
    }
}

/// What the election has to know of a Lease. None if it is none.
fn seen(document: &Value) -> Option<LeaseState> {
    let spec = &document["spec"];
    let text = |member: &str| spec[member].as_str().unwrap_or_default().to_owned();
    let version = document["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty())?;
    Some(LeaseState {
        holder: text("holderIdentity"),
        transitions: spec["leaseTransitions"].as_u64().unwrap_or_default(),
        duration: spec["leaseDurationSeconds"].as_u64().map(Duration::from_secs),
        renewed: text("renewTime"),
        version: version.to_owned(),
    })
}

/// The Lease with a claim in it, and everything else as it was. Times are for people and other clients: we compare none.
fn claimed(document: &Value, claim: &LeaseUpdate, now: jiff::Timestamp) -> Value {
    // Exactly six digits, or the API server refuses it.
    let now = format!("{now:.6}");
    let mut document = document.clone();
    document["metadata"]["resourceVersion"] = json!(claim.version);
    let spec = &mut document["spec"];
    spec["holderIdentity"] = json!(claim.holder);
    spec["leaseTransitions"] = json!(claim.transitions);
    spec["leaseDurationSeconds"] = json!(claim.duration.as_secs());
    spec["renewTime"] = json!(now);
    if claim.acquires {
        spec["acquireTime"] = json!(now);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(holder: &str, acquires: bool) -> LeaseUpdate {
        LeaseUpdate {
            holder: holder.into(),
            transitions: 5,
            duration: Duration::from_secs(15),
            acquires,
            version: "88".into(),
        }
    }

    #[test]
    fn claim_changes_only_its_own_lease_fields() {
        let document = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "l", "resourceVersion": "88", "annotations": {"a": "b"}, "labels": {"c": "d"}, "later": [1]},
            "spec": {"holderIdentity": "other", "acquireTime": "2026-01-01T00:00:00.000000Z", "strategy": "x", "later": {"y": 1}},
            "status": {"later": true},
        });
        let now = jiff::Timestamp::from_second(1_790_000_000).unwrap();
        let ours = claimed(&document, &claim("me:1", false), now);
        let mut expected = document.clone();
        expected["spec"]["holderIdentity"] = json!("me:1");
        expected["spec"]["leaseTransitions"] = json!(5);
        expected["spec"]["leaseDurationSeconds"] = json!(15);
        expected["spec"]["renewTime"] = json!("2026-09-21T14:13:20.000000Z");
        assert_eq!(ours, expected);
        let acquired = claimed(&document, &claim("me:1", true), now);
        assert_eq!(acquired["spec"]["acquireTime"], acquired["spec"]["renewTime"]);
    }

    #[test]
    fn empty_lease_is_read_but_no_other_document() {
        let empty = json!({"kind": "Lease", "metadata": {"name": "l", "resourceVersion": "7"}});
        let free = LeaseState {
            holder: String::new(),
            transitions: 0,
            duration: None,
            renewed: String::new(),
            version: "7".into(),
        };
        assert_eq!(seen(&empty), Some(free));
        assert_eq!(
            claimed(&empty, &claim("me:1", true), jiff::Timestamp::UNIX_EPOCH)["spec"]["holderIdentity"],
            "me:1"
        );
        for none in [json!({}), json!([]), json!("x"), json!({"metadata": {"resourceVersion": ""}})] {
            assert_eq!(seen(&none), None, "{none}");
        }
    }
}
