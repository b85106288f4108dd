//! Three pods on which every template is tried when a file is loaded: one that runs, one that was just created, and
//! one that finished. They show which members may be missing.

use std::collections::BTreeMap;

use crate::model::record::{
    ClusterName, Container, Lifecycle, Placement, PodName, PodState, Record, Role, Times, WorkloadRef,
};

/// What each sample is, as errors name it.
pub const NAMES: [&str; 3] = ["a running pod", "a pod that was just created", "a finished pod"];

/// The samples, in the order of [`NAMES`].
pub fn all(cluster_id: &str, cluster_name: &str, owner: &str) -> [Record; 3] {
    let cluster = ClusterName { id: cluster_id.to_owned(), name: cluster_name.to_owned() };
    [running(cluster.clone(), owner), created(cluster.clone(), owner), finished(cluster, owner)]
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn pod(name: &str, uid: &str) -> PodName {
    PodName {
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        uid: uid.to_owned(),
    }
}

fn app(name: &str) -> Container {
    Container {
        image: text("registry.example/web:1.2"),
        image_id: None,
        name: name.to_owned(),
        ready: None,
        restarts: None,
        role: Role::App,
    }
}

fn at(time: &str) -> Times {
    Times { created: time.to_owned(), deletion_requested: None, finished: None, scheduled: None, started: None }
}

fn running(cluster: ClusterName, owner: &str) -> Record {
    let mut pod = pod("web-7d4b9c6f5d-x2x8q", "5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33");
    pod.labels = [("app.kubernetes.io/name", "web"), ("team", "shop")].map(|(k, v)| (k.into(), v.into())).into();
    let workload = |kind: &str, name: &str, uid: Option<&str>| WorkloadRef {
        api_version: "apps/v1".to_owned(),
        derived: uid.is_none(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: uid.map(str::to_owned),
    };
    let started = Container {
        image_id: text("registry.example/web@sha256:0f1e"),
        ready: Some(true),
        restarts: Some(1),
        ..app("web")
    };
    Record {
        cluster,
        containers: vec![started],
        owner: owner.to_owned(),
        placement: Placement {
            host_ips: vec!["192.0.2.10".to_owned()],
            host_network: false,
            node: text("node-1"),
            pod_ips: vec!["10.64.0.7".to_owned(), "2001:db8::7".to_owned()],
        },
        pod,
        service_account: text("web"),
        state: PodState { lifecycle: Lifecycle::Active, phase: text("Running"), ready: Some(true), reason: None },
        times: Times {
            scheduled: text("2026-01-02T03:04:05.000Z"),
            started: text("2026-01-02T03:04:06.000Z"),
            ..at("2026-01-02T03:04:05.000Z")
        },
        truncated: Vec::new(),
        workload: vec![
            workload("ReplicaSet", "web-7d4b9c6f5d", Some("0b1c2d3e-4f50-4161-8273-8495a6b7c8d9")),
            workload("Deployment", "web", None),
        ],
    }
}

fn created(cluster: ClusterName, owner: &str) -> Record {
    Record {
        cluster,
        containers: vec![app("web")],
        owner: owner.to_owned(),
        placement: Placement::default(),
        pod: pod("web", "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"),
        service_account: None,
        state: PodState { lifecycle: Lifecycle::Pending, phase: None, ready: None, reason: None },
        times: at("2026-01-02T03:04:05.000Z"),
        truncated: Vec::new(),
        workload: Vec::new(),
    }
}

fn finished(cluster: ClusterName, owner: &str) -> Record {
    let running = running(cluster, owner);
    Record {
        pod: pod("backup-28940160-9k2lm", "9d8c7b6a-5f4e-4d3c-8b2a-1f0e9d8c7b6a"),
        state: PodState {
            lifecycle: Lifecycle::Finished,
            phase: text("Failed"),
            ready: Some(false),
            reason: text("Evicted"),
        },
        placement: Placement { pod_ips: Vec::new(), ..running.placement.clone() },
        times: Times { finished: text("2026-01-02T04:00:00.000Z"), ..running.times.clone() },
        workload: vec![WorkloadRef {
            api_version: "batch/v1".to_owned(),
            derived: false,
            kind: "Job".to_owned(),
            name: "backup-28940160".to_owned(),
            uid: text("1a2b3c4d-5e6f-4071-8293-a4b5c6d7e8f9"),
        }],
        ..running
    }
}
