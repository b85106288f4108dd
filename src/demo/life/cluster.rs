//! The steps of pods: they are created, scheduled, run, crash, finish, are terminated and removed.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::Ipv4Addr,
    ops::Range,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    LifeOptions,
    workload::{DemoWorkload, WorkloadKind, plan},
};
use crate::demo::{
    api::{Api, handle::PodWritten, status::StatusError},
    pod::set_phase,
};

/// Durations in milliseconds: from creation to a node, from there to a running container, and from deletion to the end.
const SCHEDULING: Range<u64> = 20..200;
const STARTING: Range<u64> = 200..1_500;
const ENDING: Range<u64> = 200..2_000;
/// Milliseconds for which the pods of a finished Job are kept.
const KEPT: Range<u64> = 2_000..6_000;
/// Milliseconds for which a crashing container runs.
const UP: Range<u64> = 1_000..3_000;
/// The first and the longest delay before the kubelet starts a crashed container again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// The grace period of pods in seconds.
const GRACE: u64 = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Schedule,
    Run,
    Crash,
    Terminate,
    Remove,
}

#[derive(Debug)]
struct Living {
    workload: usize,
    ordinal: usize,
    namespace: String,
    name: String,
    address: Option<Ipv4Addr>,
    restarts: u32,
    /// Whether it has finished or is being deleted.
    ending: bool,
}

#[derive(Debug)]
pub(super) struct DemoCluster {
    api: Api,
    random: fastrand::Rng,
    nodes: usize,
    workloads: Vec<DemoWorkload>,
    /// The sum of the sizes up to each workload, to draw a workload in proportion to its size.
    upto: Vec<usize>,
    addresses: Addresses,
    pods: HashMap<u64, Living>,
    next_pod: u64,
    /// The index of the workload that is being filled.
    filling: usize,
    agenda: BinaryHeap<Reverse<(Instant, u64, Step)>>,
}

impl DemoCluster {
    pub(super) fn new(api: Api, options: &LifeOptions) -> Self {
        let mut random = fastrand::Rng::with_seed(options.seed);
        let workloads = plan(options.pods, &mut random);
        let sizes = workloads.iter().scan(0, |sum, workload| {
            *sum += workload.size;
            Some(*sum)
        });
        Self {
            upto: sizes.collect(),
            api,
            random,
            nodes: options.nodes.max(1),
            workloads,
            addresses: Addresses::default(),
            pods: HashMap::new(),
            next_pod: 0,
            filling: 0,
            agenda: BinaryHeap::new(),
        }
    }

    /// Creates at most `most` of the first pods, which are running already. False when all are created.
    pub(super) fn fill(&mut self, most: usize) -> bool {
        for _ in 0..most {
            while self.workloads.get(self.filling).is_some_and(|workload| workload.pods.len() >= workload.size) {
                self.filling += 1;
            }
            let Some(workload) = self.workloads.get(self.filling) else { return false };
            self.create(self.filling, workload.pods.len(), true);
        }
        true
    }

    /// Replaces the oldest pod of a random workload, in the way of that kind of workload.
    pub(super) fn replace_one(&mut self) {
        let total = self.upto.last().copied().unwrap_or(0);
        if total == 0 {
            return;
        }
        let drawn = self.random.usize(..total);
        let index = self.upto.partition_point(|&upto| upto <= drawn);
        let Some(workload) = self.workloads.get_mut(index) else { return };
        if workload.is_rolled_out() && workload.kind != WorkloadKind::StatefulSet {
            workload.begin_revision(&mut self.random);
        }
        let Some((oldest, _)) = workload.pods.pop_front() else { return };
        match workload.kind {
            WorkloadKind::Deployment | WorkloadKind::CrashLooping => {
                self.create(index, 0, false);
                self.carry_out(oldest, Step::Terminate);
            }
            // The next pod has the same name, so it is created when this one is removed.
            WorkloadKind::StatefulSet => self.carry_out(oldest, Step::Terminate),
            WorkloadKind::Job => {
                self.create(index, 0, false);
                self.finish(oldest);
            }
        }
    }

    /// The time of the next step, or a distant time.
    pub(super) fn next_step(&self) -> Instant {
        self.agenda.peek().map_or_else(|| Instant::now() + BACKOFF.1, |Reverse((when, _, _))| *when)
    }

    /// Carries out all steps that are due.
    pub(super) fn step(&mut self, now: Instant) {
        while let Some(&Reverse((when, pod, step))) = self.agenda.peek() {
            if when > now {
                break;
            }
            self.agenda.pop();
            self.carry_out(pod, step);
        }
    }

    fn later(&mut self, within: Range<u64>, pod: u64, step: Step) {
        let delay = Duration::from_millis(self.random.u64(within));
        self.agenda.push(Reverse((Instant::now() + delay, pod, step)));
    }

    fn create(&mut self, index: usize, ordinal: usize, running: bool) {
        let Some(workload) = self.workloads.get_mut(index) else { return };
        let mut pod = workload.pod(ordinal, &mut self.random);
        let address = running.then(|| self.addresses.take());
        if let Some(address) = address {
            let node = self.random.usize(..self.nodes) + 1;
            pod = pod.node(format!("node-{node}")).ip(address.to_string()).at(self.api.now()).running();
        }
        let Some(written) = accepted(self.api.create(pod)) else { return };
        let id = self.next_pod;
        self.next_pod += 1;
        workload.pods.push_back((id, workload.revision()));
        let crashes = workload.kind == WorkloadKind::CrashLooping;
        let PodWritten { namespace, name, .. } = written;
        self.pods.insert(id, Living { workload: index, ordinal, namespace, name, address, restarts: 0, ending: false });
        if !running {
            self.later(SCHEDULING, id, Step::Schedule);
        } else if crashes {
            self.later(UP, id, Step::Crash);
        }
    }

    fn carry_out(&mut self, id: u64, step: Step) {
        let ending = self.pods.get(&id).is_none_or(|pod| pod.ending);
        match step {
            Step::Schedule | Step::Run | Step::Crash if ending => {}
            Step::Schedule => self.schedule(id),
            Step::Run => self.run(id),
            Step::Crash => self.crash(id),
            Step::Terminate => self.terminate(id),
            Step::Remove => self.remove(id),
        }
    }

    fn schedule(&mut self, id: u64) {
        let node = format!("node-{}", self.random.usize(..self.nodes) + 1);
        let now = self.api.now();
        self.update(id, |document| {
            document["spec"]["nodeName"] = node.into();
            set_phase(document, "Pending", None, &now);
        });
        self.later(STARTING, id, Step::Run);
    }

    fn run(&mut self, id: u64) {
        let Some(pod) = self.pods.get_mut(&id) else { return };
        let address = *pod.address.get_or_insert_with(|| self.addresses.take());
        let (restarts, workload) = (pod.restarts, pod.workload);
        let now = self.api.now();
        self.update(id, |document| {
            set_phase(document, "Running", Some(&address.to_string()), &now);
            document["status"]["containerStatuses"][0]["restartCount"] = restarts.into();
        });
        if self.workloads.get(workload).is_some_and(|workload| workload.kind == WorkloadKind::CrashLooping) {
            self.later(UP, id, Step::Crash);
        }
    }

    /// The container crashes. The kubelet starts it again, with a backoff.
    fn crash(&mut self, id: u64) {
        let Some(pod) = self.pods.get_mut(&id) else { return };
        pod.restarts += 1;
        let backoff = BACKOFF.0.saturating_mul(1 << (pod.restarts - 1).min(5)).min(BACKOFF.1);
        let (restarts, now) = (pod.restarts, self.api.now());
        self.update(id, |document| {
            let ended = json!({"terminated": {"exitCode": 1, "reason": "Error", "startedAt": now, "finishedAt": now}});
            let container = &mut document["status"]["containerStatuses"][0];
            container["lastState"] = ended;
            container["state"] = json!({"waiting": {"reason": "CrashLoopBackOff",
                "message": format!("back-off {}s restarting failed container", backoff.as_secs())}});
            container["ready"] = false.into();
            container["started"] = false.into();
            container["restartCount"] = restarts.into();
            set_ready(document, false);
        });
        self.agenda.push(Reverse((Instant::now() + backoff, id, Step::Run)));
    }

    /// The pod of a Job finishes. It is kept for a while.
    fn finish(&mut self, id: u64) {
        let Some(pod) = self.pods.get_mut(&id) else { return };
        // As in real clusters, its status keeps the address, which another pod may get now.
        let Some(address) = pod.address.take() else { return self.terminate(id) };
        pod.ending = true;
        self.addresses.free(address);
        let phase = if self.random.u8(..10) == 0 { "Failed" } else { "Succeeded" };
        let now = self.api.now();
        self.update(id, |document| set_phase(document, phase, Some(&address.to_string()), &now));
        self.later(KEPT, id, Step::Remove);
    }

    fn terminate(&mut self, id: u64) {
        let Some(pod) = self.pods.get_mut(&id) else { return };
        pod.ending = true;
        accepted(self.api.terminate(&pod.namespace, &pod.name, GRACE));
        self.later(ENDING, id, Step::Remove);
    }

    fn remove(&mut self, id: u64) {
        let Some(pod) = self.pods.remove(&id) else { return };
        accepted(self.api.delete(&pod.namespace, &pod.name));
        if let Some(address) = pod.address {
            self.addresses.free(address);
        }
        if self.workloads.get(pod.workload).is_some_and(|workload| workload.kind == WorkloadKind::StatefulSet) {
            self.create(pod.workload, pod.ordinal, false);
        }
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Value)) {
        if let Some(pod) = self.pods.get(&id) {
            accepted(self.api.update(&pod.namespace, &pod.name, change));
        }
    }
}

/// Errors are ignored: a user may have deleted the pod over HTTP.
fn accepted(result: Result<PodWritten, StatusError>) -> Option<PodWritten> {
    result.inspect_err(|failure| tracing::debug!(%failure, "a step of a pod failed; ignoring it")).ok()
}

/// Sets the conditions `Ready` and `ContainersReady`.
fn set_ready(document: &mut Value, ready: bool) {
    let conditions = document.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        if condition["type"] == "Ready" || condition["type"] == "ContainersReady" {
            condition["status"] = if ready { "True" } else { "False" }.into();
        }
    }
}

/// Addresses of pods. As in real networks, the address that was freed last is assigned first.
#[derive(Debug, Default)]
struct Addresses {
    freed: Vec<Ipv4Addr>,
    given: u32,
}

impl Addresses {
    fn take(&mut self) -> Ipv4Addr {
        self.freed.pop().unwrap_or_else(|| {
            self.given += 1;
            Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 0).to_bits() + self.given)
        })
    }

    fn free(&mut self, address: Ipv4Addr) {
        self.freed.push(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_freed_address_is_assigned_first() {
        let mut addresses = Addresses::default();
        let all: Vec<_> = (0..3).map(|_| addresses.take()).collect();
        assert_eq!(all[0], Ipv4Addr::new(10, 64, 0, 1));
        addresses.free(all[0]);
        addresses.free(all[2]);
        assert_eq!([addresses.take(), addresses.take()], [all[2], all[0]]);
        assert_eq!(addresses.take(), Ipv4Addr::new(10, 64, 0, 4));
    }
}
