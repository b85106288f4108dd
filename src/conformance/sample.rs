//! Made-up records, and the vectors of the protocol's page under the run's own ids.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::digest::Digest;

const VECTORS: &str = include_str!("../../docs/protocol-v1-vectors.json");

/// The vectors, as `docs/protocol-v1-vectors.json` has them.
#[derive(Deserialize)]
pub(super) struct Vectors {
    pub(super) records: Vec<RecordVector>,
    pub(super) refused: Vec<RefusedVector>,
}

#[derive(Deserialize)]
pub(super) struct RecordVector {
    pub(super) name: String,
    pub(super) record: Value,
}

#[derive(Deserialize)]
pub(super) struct RefusedVector {
    pub(super) name: String,
    /// The name of the problem.
    pub(super) problem: String,
    /// For cluster `c`, id `u`, the default owner and epoch 1. Not always JSON.
    pub(super) body: String,
}

impl Vectors {
    pub(super) fn embedded() -> Result<Self, serde_json::Error> {
        serde_json::from_str(VECTORS)
    }
}

/// A record with its digest.
pub(super) fn record(cluster: &str, owner: &str, id: &str, (epoch, seq): (u64, u64), name: &str) -> Value {
    with_digest(json!({
        "schema": 1, "owner": owner, "cluster": {"id": cluster},
        "pod": {"uid": id, "namespace": "conformance", "name": name}, "state": {"lifecycle": "active"},
        "times": {"created": "2026-11-23T10:00:00.000Z"}, "version": {"epoch": epoch, "seq": seq},
    }))
}

/// A record with every kind of member: known, optional and unknown ones.
pub(super) fn rich_record(cluster: &str, owner: &str, id: &str, version: (u64, u64)) -> Value {
    let mut record = record(cluster, owner, id, version, "ä \"quoted\" 🚀");
    record["pod"]["labels"] = json!({"app": "web"});
    record["pod"]["annotations"] = json!({"team": "a"});
    record["pod"]["conformanceFuture"] = json!(7);
    record["workload"] = json!([{"kind": "Deployment", "name": "web", "derived": true}]);
    record["placement"] = json!({"node": "n", "podIPs": ["192.0.2.1"], "hostNetwork": true});
    record["containers"] = json!([{"name": "web", "role": "app", "image": "i:1", "ready": false, "restarts": 2}]);
    record["serviceAccount"] = json!("web");
    record["truncated"] = json!(["labels"]);
    record["version"]["generation"] = json!(3);
    record["conformanceFuture"] = json!({"b": [2, 1], "a": {"größe": "10 €", "emoji": "🚀"}});
    with_digest(record)
}

/// The states that a record can have.
pub(super) const LIFECYCLES: [&str; 4] = ["finished", "pending", "terminating", "active"];

/// A record with every member that the page has, in one of its [`LIFECYCLES`]. Its labels have the names that a digest
/// leaves out at the top level only, and its containers are in no other order than that of the pod.
pub(super) fn complete_record(
    cluster: &str,
    owner: &str,
    id: &str,
    version @ (epoch, seq): (u64, u64),
    lifecycle: &str,
) -> Value {
    let mut record = record(cluster, owner, id, version, "complete");
    record["cluster"]["name"] = json!("Conformance");
    record["pod"]["labels"] =
        json!({"app.kubernetes.io/name": "web", "empty": "", "version": "2", "schema": "a", "digest": "b"});
    record["pod"]["annotations"] = json!({"example.com/note": "two\nlines"});
    record["workload"] = json!([
        {"kind": "ReplicaSet", "name": "web-5d", "apiVersion": "apps/v1", "uid": "3f6d", "conformanceFuture": 1},
        {"kind": "Deployment", "name": "web", "derived": true},
    ]);
    let (hosts, pods) = (["198.51.100.7", "2001:db8::7"], ["192.0.2.1", "2001:db8:1::a"]);
    record["placement"] = json!({"node": "node-1", "hostIPs": hosts, "podIPs": pods, "hostNetwork": true});
    record["state"] = json!({"lifecycle": lifecycle, "phase": "Running", "ready": false, "reason": "OOMKilled"});
    let container = |role: &str| json!({"name": role, "role": role, "image": "i:1", "imageId": "i@sha256:0b", "ready": true, "restarts": 0});
    record["containers"] = ["init", "sidecar", "app", "ephemeral"].into_iter().map(container).collect();
    record["serviceAccount"] = json!("web");
    record["times"] = json!({
        "created": "2024-02-29T23:59:59.007Z", "scheduled": "2026-11-23T10:00:00.120Z",
        "started": "2026-11-23T10:00:01.999Z", "deletionRequested": "2026-11-23T11:00:00.000Z",
        "finished": "2026-11-23T11:00:30.001Z",
    });
    record["truncated"] = json!(["annotations", "placement", "containers", "labels", "workload"]);
    record["version"] = json!({"epoch": epoch, "seq": seq, "resourceVersion": "88123", "generation": 0});
    with_digest(record)
}

/// The record with its own digest instead of the one it has.
pub(super) fn with_digest(mut record: Value) -> Value {
    let digest = digest(&record);
    if let (Value::Object(members), Some(digest)) = (&mut record, digest) {
        members.insert("digest".to_owned(), Value::String(digest));
    }
    record
}

/// The digest of a record's content.
pub(super) fn digest(record: &Value) -> Option<String> {
    record.as_object().and_then(|members| Digest::of_record(members).ok()).map(|digest| digest.to_string())
}

/// The record without these members at its top level.
pub(super) fn without(mut record: Value, members: &[&str]) -> Value {
    record
        .as_object_mut()
        .into_iter()
        .for_each(|record: &mut Map<_, _>| record.retain(|name, _| !members.contains(&&**name)));
    record
}

/// The vector's body under other ids, and with another epoch. Text, because a parser would repair it.
pub(super) fn adapted(body: &str, cluster: &str, id: &str, epoch: u64) -> String {
    body.replace("\"id\":\"c\"", &format!("\"id\":\"{cluster}\""))
        .replace("\"id\":\"d\"", &format!("\"id\":\"{cluster}-other\""))
        .replace("\"uid\":\"u\"", &format!("\"uid\":\"{id}\""))
        .replace("\"epoch\":1", &format!("\"epoch\":{epoch}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_get_the_ids_of_the_run() {
        let vectors = Vectors::embedded().unwrap();
        for RefusedVector { name, problem, body } in &vectors.refused {
            let adapted = adapted(body, "run", "pod-1", 7);
            assert!(["schema", "foreign-owner"].contains(&problem.as_str()), "{name}");
            assert!(!adapted.contains("\"id\":\"c\"") && adapted.contains("\"epoch\":7"), "{name}: {adapted}");
        }
        assert!(vectors.records.len() >= 3 && vectors.refused.len() >= 25);
    }

    #[test]
    fn rich_record_is_small() {
        let record = rich_record("conformance-00000000", "pod-registrar", "inventory-whole", (7, 12));
        // Registries with a low limit of bytes take it.
        assert!(record.to_string().len() < 1_000, "{}", record.to_string().len());
        assert_eq!(record["digest"].as_str(), digest(&record).as_deref());
    }

    #[test]
    fn digest_is_that_of_the_content() {
        let record = record("c", "o", "u", (1, 2), "p");
        assert_eq!(record["digest"].as_str(), digest(&record).as_deref());
        let newer = with_digest(json!({"schema": 1, "a": 1, "version": {"epoch": 2}, "digest": "x"}));
        assert_eq!(digest(&newer), digest(&json!({"a": 1})));
        assert_eq!(without(json!({"a": 1, "b": 2}), &["a"]), json!({"b": 2}));
    }
}
