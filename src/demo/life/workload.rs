//! Workloads: what pods are made by, and what they are called.

use std::collections::VecDeque;

use crate::demo::{
    api::store::random_suffix,
    pod::{PodBuilder, pod},
};

/// What there is to run, by namespace.
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

/// What makes the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkloadKind {
    /// A Deployment's ReplicaSets: pods are replaced by those of a newer revision.
    Deployment,
    /// A Deployment whose containers do not stay up.
    CrashLooping,
    /// Pods that come back under their names.
    StatefulSet,
    /// Pods that finish, are kept for a while, and are followed by those of another run.
    Job,
}

/// One workload and its pods.
#[derive(Debug)]
pub(super) struct DemoWorkload {
    pub(super) kind: WorkloadKind,
    pub(super) namespace: &'static str,
    name: String,
    /// How many pods it wants.
    pub(super) size: usize,
    revision: usize,
    /// What the ReplicaSet or the run of a Job is called by.
    hash: String,
    owner_uid: String,
    /// The pods that are not on their way out, oldest first, each with the revision that made it.
    pub(super) pods: VecDeque<(u64, usize)>,
}

/// The workloads of a cluster with so many pods: every kind, as far as there are enough.
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

    /// A new ReplicaSet, or the Job's next run: later pods are of this revision.
    pub(super) fn begin_revision(&mut self, random: &mut fastrand::Rng) {
        self.revision += 1;
        self.hash = match self.kind {
            WorkloadKind::Job => format!("{}", 29_000_000 + random.u32(..1_000_000)),
            _ => format!("{}{}", random_suffix(random), random_suffix(random)),
        };
        self.owner_uid = format!("{:08x}-0000-4000-8000-{:012x}", random.u32(..), random.u64(..1 << 48));
    }

    /// Whether the oldest pod is of the present revision: then none is left to be replaced.
    pub(super) fn is_rolled_out(&self) -> bool {
        self.pods.front().is_none_or(|(_, revision)| *revision == self.revision)
    }

    /// The present revision.
    pub(super) fn revision(&self) -> usize {
        self.revision
    }

    /// Describes a pod of the present revision. `ordinal` counts the pods of a StatefulSet.
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
