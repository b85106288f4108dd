//! Documents that inputs are made from: pods of an API server, records, and responses of a registry.

use serde_json::{Value, json};

use crate::demo::pod::{PodBuilder, pod};

fn whole(name: &str) -> PodBuilder {
    let replica_set = "5d3f8f5e-55c1-4a43-a0f0-0d6b4e5c9c01";
    pod(name)
        .namespace("shop")
        .uid(format!("5f3c0a4e-7a53-4b4e-9b0a-{name}"))
        .label("app.kubernetes.io/name", "web")
        .label("pod-template-hash", "7c6f5d9b88")
        .annotation("team", "a")
        .annotation("kubectl.kubernetes.io/last-applied-configuration", "{\"kind\":\"Pod\"}")
        .owner("ReplicaSet", "web-7c6f5d9b88", replica_set)
}

/// Whole pods in every stage of their lives.
pub(crate) fn pods() -> Vec<Vec<u8>> {
    let stages =
        [whole("pending"), whole("running").running(), whole("succeeded").succeeded(), whole("failed").failed()];
    let mut pods: Vec<Value> = stages.map(PodBuilder::build).into();
    let mut leaving = pods[1].clone();
    leaving["metadata"]["deletionTimestamp"] = "2026-11-23T10:05:30Z".into();
    leaving["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    leaving["spec"]["initContainers"] = json!([{"name": "a"}, {"name": "b", "restartPolicy": "Always"}]);
    leaving["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "tools:1"}]);
    leaving["status"]["initContainerStatuses"] =
        json!([{"name": "a", "ready": true, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
    pods.push(leaving);
    for pod in &mut pods {
        pod["metadata"]["resourceVersion"] = "88123".into();
        pod["metadata"]["generation"] = 2.into();
        pod["metadata"]["creationTimestamp"] = "2026-11-23T10:00:00Z".into();
    }
    pods.iter().map(|pod| pod.to_string().into_bytes()).collect()
}

/// A record of the cluster `c` with all members.
pub(crate) fn record(id: &str, epoch: u64, seq: u64) -> Value {
    json!({
        "schema": 1, "owner": "pod-registrar", "cluster": {"id": "c", "name": "prod-eu"},
        "pod": {"uid": id, "namespace": "shop", "name": "web-1", "labels": {"app": "web"}, "annotations": {"team": "a"}},
        "workload": [{"kind": "ReplicaSet", "apiVersion": "apps/v1", "name": "web", "uid": "u", "derived": true}],
        "placement": {"node": "node-3", "hostIPs": ["192.0.2.1"], "podIPs": ["10.64.0.7"], "hostNetwork": true},
        "state": {"lifecycle": "active", "phase": "Running", "ready": true, "reason": "CrashLoopBackOff"},
        "containers": [{"name": "web", "role": "app", "image": "web:1.4", "imageId": "web@sha256:0", "ready": true, "restarts": 2}],
        "serviceAccount": "web", "truncated": ["containers"],
        "times": {"created": "2026-11-23T10:00:00.000Z", "started": "2026-11-23T10:00:02.000Z"},
        "version": {"epoch": epoch, "seq": seq, "resourceVersion": "88123", "generation": 1},
    })
}

/// Responses of a registry: one of each kind of success and problem.
pub(crate) fn replies() -> Vec<Vec<u8>> {
    let zero = format!("sha256:{}", "0".repeat(64));
    let problem = |name: &str| {
        json!({"type": format!("urn:pod-registrar:problem:{name}"), "title": "no", "status": 409, "detail": "because",
            "current": {"epoch": 7, "seq": 13, "digest": zero}})
    };
    let version = json!({"epoch": 7, "seq": 12});
    let put = |status: u16| json!({"id": "a", "status": status, "digest": zero});
    let gone = json!({"id": "b", "status": 204});
    let refused = json!({"id": "a", "status": 409, "problem": problem("stale-version")});
    let busy = json!({"id": "b", "status": 429, "problem": problem("rate-limited"), "retryAfterSeconds": 5});
    let owner = json!({"owner": "pod-registrar", "epoch": 7, "instance": "i", "scope": "s", "state": "live",
        "expiresAt": "2026-11-23T10:00:00.000Z", "synced": true, "pods": 1200});
    let mut replies = vec![
        json!({"results": [put(201), gone]}),
        json!({"results": [refused, busy]}),
        json!({"protocol": "v1", "maxBatchItems": 500, "maxBatchBytes": 4_194_304, "maxRecordBytes": 65536,
            "features": ["batch", "digest-inventory", "sessions", "tombstones", "changes"]}),
        json!({"epoch": 7, "ttlSeconds": 90, "previous": {"epoch": 6, "instance": "i", "scope": "s", "state": "stale"}}),
        json!({"epoch": 7, "expiresAt": "2026-11-23T10:00:00.000Z"}),
        json!({"id": "c", "name": "prod-eu", "owners": [owner]}),
        json!({"items": [{"id": "a", "digest": zero, "version": version}], "next": "18c.0123456789abcdef.a", "count": 1, "asOf": 91}),
        json!({"buckets": [{"count": 1, "digest": "0".repeat(64)}], "count": 1, "asOf": 91}),
        json!({"id": "a", "digest": zero, "version": version}),
        record("a", 7, 12),
    ];
    let names =
        ["schema", "too-large", "foreign-owner", "stale-version", "tombstoned", "stale-epoch", "unknown-session"];
    replies.extend(names.map(problem));
    let page = b"<html><title>Welcome</title></html>".to_vec();
    replies.iter().map(|reply| reply.to_string().into_bytes()).chain([page, Vec::new()]).collect()
}
