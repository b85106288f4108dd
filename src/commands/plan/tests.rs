//! Tests of the comparison.

use std::time::Duration;

use super::*;
use crate::{
    model::{digest::Digest, ids::RecordOwner},
    registry::client::{Config, reader::V1Reader},
};

/// It is not asked for anything.
fn reader() -> V1Reader {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = "http://registry.example/".parse().unwrap();
    let config = Config { url, token_file: None, ca_file: None, request_timeout: Duration::from_secs(1) };
    let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
    V1Reader::new(config, owner).unwrap()
}

fn fingerprint(text: &str) -> Fingerprint {
    Digest::of_canonical(text.as_bytes()).fingerprint()
}

fn pod(uid: &str, created: &str, sight: Sight) -> SeenPod {
    SeenPod { name: format!("shop/{uid}"), uid: uid.into(), created: created.into(), sights: vec![vec![sight]] }
}

fn record(key: &str, text: &str, known: Known) -> Sight {
    Sight::Record { key: key.into(), id: None, fingerprint: fingerprint(text), known, refusal: None }
}

fn planned(held: &[&str], pods: &[SeenPod]) -> (Vec<String>, Vec<String>) {
    let items = held.iter().map(|key| (Uid::from(*key), fingerprint("held"))).collect();
    let plan = plan(0, "t", &Ok(HeldRecords::V1 { reader: Box::new(reader()), items }), pods);
    let shown = |changes: &[PlannedChange]| {
        changes.iter().map(|change| format!("{}: {}", change.id, change.reason)).collect::<Vec<_>>()
    };
    (shown(&plan.put), shown(&plan.delete))
}

#[test]
fn missing_and_differing_records_are_put() {
    let same = Known::Registered(fingerprint("x"));
    let pods = [
        pod("a", "1", record("a", "x", Known::Absent)),
        pod("b", "1", record("b", "x", Known::Registered(fingerprint("y")))),
        pod("c", "1", record("c", "x", same)),
        pod("d", "1", record("d", "x", Known::Uncertain)),
    ];
    let (put, delete) = planned(&["b", "c", "d"], &pods);
    assert_eq!(put, ["a: no record", "b: the record differs", "d: the record differs"]);
    assert!(delete.is_empty());
}

#[test]
fn records_without_a_selected_pod_are_deleted() {
    let pods = [pod("b", "1", Sight::NotSelected), pod("c", "1", Sight::Unreadable("bad".into()))];
    let (put, delete) = planned(&["a", "b", "c"], &pods);
    assert_eq!(
        (put.len(), delete),
        (0, vec!["a: no selected pod has it".into(), "b: the target does not select the pod".into()])
    );
}

#[test]
fn newest_pod_owns_a_shared_record() {
    let same = Known::Registered(fingerprint("x"));
    let (old, new) = (|| pod("a", "1", record("k", "old", Known::Absent)), || pod("b", "2", record("k", "x", same)));
    assert_eq!(planned(&["k"], &[old(), new()]), planned(&["k"], &[new(), old()]));
    assert_eq!(planned(&["k"], &[old(), new()]), (vec![], vec![]));
}

#[test]
fn record_that_cannot_be_sent_is_named() {
    let parked = |known| {
        let Sight::Record { key, id, fingerprint, known, .. } = record("a", "x", known) else { panic!() };
        let refusal = Some("t.yaml:7:9: the value of the header is no ASCII".to_owned());
        pod("a", "1", Sight::Record { key, id, fingerprint, known, refusal })
    };
    let items: Vec<(Uid, Fingerprint)> = Vec::new();
    let held = Ok(HeldRecords::V1 { reader: Box::new(reader()), items: items.into_iter().collect() });
    let planned = |pods: &[SeenPod]| PlanReport(vec![plan(0, "t", &held, pods)]);
    let report = planned(&[parked(Known::Absent)]);
    assert!(!report.is_in_sync());
    let lines = report.lines();
    assert_eq!(lines[1].split_whitespace().take(4).collect::<Vec<_>>(), ["t", "none", "shop/a", "a"]);
    assert!(lines[1].ends_with("no record, and it cannot be sent: t.yaml:7:9: the value of the header is no ASCII"));
    assert!(lines[2].contains("; 0 to put, 1 that cannot be sent, 0 to delete"), "{lines:?}");
    let json = &report.json()["targets"][0];
    assert_eq!((&json["put"], &json["parked"][0]["reason"]), (&serde_json::json!([]), &serde_json::json!("no record")));
    // An equal record needs no request.
    assert!(planned(&[parked(Known::Registered(fingerprint("x")))]).is_in_sync());
}
