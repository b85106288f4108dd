//! What the election reads in the document of a Lease, and what it changes there.

use std::time::Duration;

use serde_json::{Value, json};

use crate::reconcile::election::{LeaseState, LeaseUpdate};

/// The annotation of the Lease with the names of the leader's targets, separated by commas.
const TARGETS_ANNOTATION: &str = "pod-registrar/targets";

/// The fields of a Lease that the election needs. None if the document has no resource version.
pub(super) fn state_of(document: &Value) -> Option<LeaseState> {
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

/// The second since 1970 in which the Lease was created. Every API server sets it. Without it, nothing is known about a
/// Lease before this one, so the terms count from 0.
pub(super) fn created(document: &Value) -> u64 {
    let created = document["metadata"]["creationTimestamp"].as_str();
    let created = created.and_then(|created| created.parse::<jiff::Timestamp>().ok());
    created.map_or(0, |created| u64::try_from(created.as_second()).unwrap_or_default())
}

/// The targets of the Lease's last leader that are not among these.
pub(super) fn removed_targets<'d>(document: &'d Value, targets: &[&str]) -> Vec<&'d str> {
    let before = document["metadata"]["annotations"][TARGETS_ANNOTATION].as_str().unwrap_or_default();
    before.split(',').filter(|name| !name.is_empty() && !targets.contains(name)).collect()
}

/// The Lease with the fields of an update and the names of the targets; all else stays. The times are for people and
/// other clients: the election does not compare them.
pub(super) fn updated(document: &Value, update: &LeaseUpdate, targets: &[&str], now: jiff::Timestamp) -> Value {
    // The API server refuses a time without exactly six decimals.
    let now = format!("{now:.6}");
    let mut document = document.clone();
    document["metadata"]["resourceVersion"] = json!(update.version);
    let annotations = &mut document["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[TARGETS_ANNOTATION] = json!(targets.join(","));
    let spec = &mut document["spec"];
    spec["holderIdentity"] = json!(update.holder);
    spec["leaseTransitions"] = json!(update.transitions);
    spec["leaseDurationSeconds"] = json!(update.duration.as_secs());
    spec["renewTime"] = json!(now);
    if update.acquires {
        spec["acquireTime"] = json!(now);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_names_the_second_of_its_creation() {
        let lease = |created: Value| json!({"metadata": {"creationTimestamp": created}});
        assert_eq!(created(&lease(json!("2026-09-21T14:13:20Z"))), 1_790_000_000);
        for unknown in [json!(null), json!("yesterday"), json!(7), json!("1900-01-01T00:00:00Z")] {
            assert_eq!(created(&lease(unknown)), 0);
        }
        assert_eq!(created(&Value::Null), 0);
    }

    fn update(holder: &str, acquires: bool) -> LeaseUpdate {
        LeaseUpdate {
            holder: holder.into(),
            transitions: 5,
            duration: Duration::from_secs(15),
            acquires,
            version: "88".into(),
        }
    }

    #[test]
    fn update_changes_only_its_own_lease_fields() {
        let document = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": "l", "resourceVersion": "88", "annotations": {"a": "b"}, "labels": {"c": "d"}, "later": [1]
            },
            "spec": {
                "holderIdentity": "other", "acquireTime": "2026-01-01T00:00:00.000000Z", "strategy": "x",
                "later": {"y": 1}
            },
            "status": {"later": true},
        });
        let now = jiff::Timestamp::from_second(1_790_000_000).unwrap();
        let ours = updated(&document, &update("me:1", false), &["a", "b"], now);
        let mut expected = document.clone();
        expected["metadata"]["annotations"][TARGETS_ANNOTATION] = json!("a,b");
        expected["spec"]["holderIdentity"] = json!("me:1");
        expected["spec"]["leaseTransitions"] = json!(5);
        expected["spec"]["leaseDurationSeconds"] = json!(15);
        expected["spec"]["renewTime"] = json!("2026-09-21T14:13:20.000000Z");
        assert_eq!(ours, expected);
        let acquired = updated(&document, &update("me:1", true), &["a"], now);
        assert_eq!(acquired["spec"]["acquireTime"], acquired["spec"]["renewTime"]);
    }

    #[test]
    fn removed_targets_are_found_in_the_lease() {
        let document = json!({"metadata": {"annotations": {TARGETS_ANNOTATION: "a,b,c"}}});
        assert_eq!(removed_targets(&document, &["b", "d"]), ["a", "c"]);
        assert!(removed_targets(&document, &["c", "b", "a"]).is_empty());
        for none in [json!({}), json!({"metadata": {"annotations": {TARGETS_ANNOTATION: ""}}})] {
            assert!(removed_targets(&none, &["a"]).is_empty());
        }
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
        assert_eq!(state_of(&empty), Some(free));
        assert_eq!(
            updated(&empty, &update("me:1", true), &[], jiff::Timestamp::UNIX_EPOCH)["spec"]["holderIdentity"],
            "me:1"
        );
        for none in [json!({}), json!([]), json!("x"), json!({"metadata": {"resourceVersion": ""}})] {
            assert_eq!(state_of(&none), None, "{none}");
        }
    }
}
