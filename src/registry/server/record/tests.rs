//! Each test changes one member of a valid record.

use serde_json::json;

use super::*;

fn good() -> Value {
    json!({"schema": 1, "owner": "o", "cluster": {"id": "c"},
        "pod": {"uid": "u", "namespace": "N", "name": "p"}, "state": {"lifecycle": "pending"},
        "times": {"created": "2026-11-23T10:00:00.000Z"}, "version": {"epoch": 1, "seq": 1}})
}

fn address() -> Address {
    Address { cluster: "c".to_owned(), owner: "o".to_owned() }
}

fn verdict(record: &Value) -> Result<ValidRecord, String> {
    check(&record.to_string(), &address(), "u").map_err(|problem| problem.name().to_owned())
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut record = good();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    record.pointer_mut(parent).unwrap()[name] = value;
    record
}

#[test]
fn smallest_record_passes_and_keeps_unknown_members() {
    let mut record = good();
    record["future"] = json!({"b": [1, {"x": "y"}]});
    let valid = verdict(&record).unwrap();
    let body: Value = serde_json::from_str(&valid.body).unwrap();
    assert_eq!(body["future"], record["future"]);
    assert_eq!(body["digest"], json!(valid.digest.to_string()));
    assert_eq!(valid.search, "n/p\nu\n");
}

#[test]
fn each_required_member_is_required() {
    for pointer in [
        "/schema",
        "/owner",
        "/cluster/id",
        "/pod/uid",
        "/pod/namespace",
        "/pod/name",
        "/state/lifecycle",
        "/times/created",
        "/version/epoch",
        "/version/seq",
    ] {
        let mut record = good();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        record.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        assert_eq!(verdict(&record).unwrap_err(), "schema", "{pointer}");
    }
}

#[test]
fn values_outside_of_the_protocol_are_refused() {
    for (pointer, value) in [
        ("/schema", json!(0)),
        ("/state/lifecycle", json!("dead")),
        ("/times/created", json!("2026-11-23T10:00:00Z")),
        ("/times/created", json!("2026-11-23T10:00:00.000+00")),
        ("/times/started", json!("yesterday")),
        ("/version/seq", json!(0)),
        ("/version/epoch", json!(0)),
        ("/pod/labels", json!({"a": 1})),
        ("/pod/name", json!(null)),
        ("/containers", json!([{"name": "a", "role": "boss"}])),
        ("/unknown", json!(null)),
        ("/unknown", json!(1.5)),
        ("/digest", json!("sha256:00")),
        ("/pod/uid", json!("other")),
    ] {
        assert_eq!(verdict(&changed(pointer, value.clone())).unwrap_err(), "schema", "{pointer} {value}");
    }
}

#[test]
fn another_cluster_or_owner_is_foreign() {
    for pointer in ["/cluster/id", "/owner"] {
        assert_eq!(verdict(&changed(pointer, json!("other"))).unwrap_err(), "foreign-owner", "{pointer}");
    }
}

#[test]
fn a_record_above_the_limit_is_too_large() {
    assert_eq!(verdict(&changed("/x", json!("x".repeat(MAX_RECORD_BYTES)))).unwrap_err(), "too-large");
}

#[test]
fn correct_digest_ignores_schema_and_version() {
    let digest = verdict(&good()).unwrap().digest;
    let mut record = changed("/digest", json!(digest.to_string()));
    record["schema"] = json!(9);
    record["version"] = json!({"epoch": 3, "seq": 4, "resourceVersion": "7"});
    assert_eq!(verdict(&record).unwrap().digest, digest);
}
