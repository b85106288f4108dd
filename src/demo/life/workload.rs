//! Workloads, and the names of their pods.

use std::collections::VecDeque;

use crate::demo::{
    api::store::random_suffix,
    pod::{PodBuilder, pod},
};

/// Namespaces and names of workloads.
const APPS: &[(&str, &str)] = &[
    ("shop", "storefront"),
    ("shop", "cart"),
    ("shop", "checkout"),
    ("shop", "search"),
    ("shop", "catalog"),
    ("payments", "ledger"),
    ("payments", "gateway"),
    ("platform", "auth"),
    ("platform", "sessions"),
    ("platform", "mailer"),
    ("media", "thumbnails"),
    ("media", "transcoder"),
];
const DATABASES: &[(&str, &str)] = &[("data", "orders-db"), ("data", "events-kafka"), ("payments", "ledger-db")];
const JOBS: &[(&str, &str)] = &[("batch", "nightly-report"), ("batch", "reindex"), ("data", "backup")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkloadKind {
    /// Pods are replaced by those of a newer ReplicaSet.
    Deployment,
    /// A Deployment whose containers crash.
    CrashLooping,
    /// Pods are created again under their names.
    StatefulSet,
    /// Pods finish, are kept for a while, and are followed by those of the next run.
    Job,
}

#[derive(Debug)]
pub(super) struct DemoWorkload {
    pub(super) kind: WorkloadKind,
    pub(super) namespace: &'static str,
    name: String,
    /// The wanted number of pods.
    pub(super) size: usize,
    revision: usize,
    /// The hash in the name of the ReplicaSet or of the Job's run.
    hash: String,
    owner_uid: String,
    /// The pods that are not ending, oldest first, with their revisions.
    pub(super) pods: VecDeque<(u64, usize)>,
}

/// The workloads of a cluster with `pods` pods: of every kind, if there are enough.
pub(super) fn plan(pods: usize, random: &mut fastrand::Rng) -> Vec<DemoWorkload> {
    let mut workloads = Vec::new();
    let mut left = pods;
    let largest = (pods / 12).clamp(3, 40);
    for turn in 0.. {
        if left == 0 {
            break;
        }
        let (kind, size) = match turn % 10 {
            1 => (WorkloadKind::StatefulSet, random.usize(2..=5)),
            2 if turn == 2 => (WorkloadKind::CrashLooping, 1),
            3 | 7 => (WorkloadKind::Job, random.usize(1..=4)),
            _ => (WorkloadKind::Deployment, random.usize(2..=largest)),
        };
        let size = size.min(left);
        left -= size;
        workloads.push(DemoWorkload::new(kind, turn, size, random));
    }
    workloads
}

impl DemoWorkload {
    fn new(kind: WorkloadKind, turn: usize, size: usize, random: &mut fastrand::Rng) -> Self {
        let from = match kind {
            WorkloadKind::Deployment | WorkloadKind::CrashLooping => APPS,
            WorkloadKind::StatefulSet => DATABASES,
            WorkloadKind::Job => JOBS,
        };
        let (namespace, app) = from.get(turn % from.len()).copied().unwrap_or(("default", "app"));
        let name = if turn < from.len() { app.to_owned() } else { format!("{app}-{turn}") };
        let mut workload = Self {
            kind,
            namespace,
            name,
            size,
            revision: 0,
            hash: String::new(),
            owner_uid: String::new(),
            pods: VecDeque::with_capacity(size),
        };
        workload.begin_revision(random);
        workload
    }

    /// Starts a new ReplicaSet or the next run of a Job. Later pods belong to it.
    pub(super) fn begin_revision(&mut self, random: &mut fastrand::Rng) {
        self.revision += 1;
        self.hash = match self.kind {
            WorkloadKind::Job => format!("{}", 29_000_000 + random.u32(..1_000_000)),
            _ => format!("{}{}", random_suffix(random), random_suffix(random)),
        };
        self.owner_uid = format!("{:08x}-0000-4000-8000-{:012x}", random.u32(..), random.u64(..1 << 48));
    }

    /// Whether all pods have the current revision.
    pub(super) fn is_rolled_out(&self) -> bool {
        self.pods.front().is_none_or(|(_, revision)| *revision == self.revision)
    }

    pub(super) fn revision(&self) -> usize {
        self.revision
    }

    /// A pod of the current revision. `ordinal` is used for StatefulSets only.
    pub(super) fn pod(&self, ordinal: usize, random: &mut fastrand::Rng) -> PodBuilder {
        let Self { namespace, name, hash, owner_uid, .. } = self;
        let image = format!("registry.example.com/{namespace}/{name}:1.{}.0", self.revision);
        let (pod, label) = match self.kind {
            WorkloadKind::Deployment | WorkloadKind::CrashLooping => {
                let set = format!("{name}-{hash}");
                let pod = pod(format!("{set}-{}", random_suffix(random))).owner("ReplicaSet", set, owner_uid);
                (pod, ("pod-template-hash", hash.clone()))
            }
            WorkloadKind::StatefulSet => {
                let pod = pod(format!("{name}-{ordinal}")).owner("StatefulSet", name, owner_uid);
                (pod, ("apps.kubernetes.io/pod-index", ordinal.to_string()))
            }
            WorkloadKind::Job => {
                let run = format!("{name}-{hash}");
                let pod = pod(format!("{run}-{}", random_suffix(random))).owner("Job", run.clone(), owner_uid);
                (pod, ("batch.kubernetes.io/job-name", run))
            }
        };
        pod.namespace(*namespace).image(image).label("app.kubernetes.io/name", name.as_str()).label(label.0, label.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_has_the_set_number_of_pods() {
        // A plan of 30 pods or more has every kind of workload.
        let mut random = fastrand::Rng::with_seed(7);
        for pods in [0, 1, 30, 1_000] {
            let plan = plan(pods, &mut random);
            assert_eq!(plan.iter().map(|workload| workload.size).sum::<usize>(), pods);
            for kind in
                [WorkloadKind::Deployment, WorkloadKind::CrashLooping, WorkloadKind::StatefulSet, WorkloadKind::Job]
            {
                assert!(pods < 30 || plan.iter().any(|workload| workload.kind == kind), "{pods}: {kind:?}");
            }
            let mut names: Vec<_> = plan.iter().map(|workload| (workload.namespace, &workload.name)).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), plan.len(), "names are unique");
        }
    }
}
