//! Receipts: what a pod shows of its own registration, for users of the cluster.
//!
//! The controller writes them to the pod, so they come back with the next event of its watch. No record contains them:
//! otherwise a receipt would change the record that it is about.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::object::{PodObject, Status};

/// The readiness gate of a pod that waits for its registration, and the condition that ends the wait.
pub const GATE: &str = "pod-registrar/registered";
/// The annotation with the id of the pod's record. With the name of a target before it, the record is that target's.
pub const ANNOTATION: &str = "pod-registrar/record-id";
/// The target whose annotation has no name before it: that of `--registry-url`.
const UNNAMED_TARGET: &str = "default";

/// Whether an annotation with this key is a receipt.
pub fn is_receipt(key: &str) -> bool {
    key.strip_suffix(ANNOTATION).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The key of the annotation with the ids of one target.
pub fn annotation_of(target: &str) -> String {
    if target == UNNAMED_TARGET { ANNOTATION.to_owned() } else { format!("{target}.{ANNOTATION}") }
}

/// What a watch shows of a pod's receipts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiptMarks {
    /// Whether the pod waits for its registration: its containers are ready, and its condition is not set.
    pub waits: bool,
    pub annotations: AnnotationMark,
}

/// Stands for annotations that are receipts: a hash, to compare those that a pod has with those that it should have.
/// Two that differ have the same hash in one of four billion cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnnotationMark(u32);

impl AnnotationMark {
    /// The mark of a pod without such annotations.
    pub const NONE: Self = Self(0);

    pub fn of<'a>(annotations: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let (mut hasher, mut is_empty) = (DefaultHasher::new(), true);
        for pair in annotations {
            pair.hash(&mut hasher);
            is_empty = false;
        }
        let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
        Self(if is_empty { 0 } else { u32::from_le_bytes([a, b, c, d]).max(1) })
    }
}

impl ReceiptMarks {
    pub fn of(pod: &PodObject) -> Self {
        let annotations: &BTreeMap<String, String> = &pod.metadata.annotations;
        let gates = pod.spec.readiness_gates.iter();
        let has_gate = gates.filter_map(|gate| gate.condition_type.as_deref()).any(|gate| gate == GATE);
        let is_ending = pod.metadata.deletion_timestamp.is_some()
            || matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        Self {
            waits: has_gate && !is_ending && is_true(&pod.status, "ContainersReady") && !is_true(&pod.status, GATE),
            annotations: AnnotationMark::of(annotations.iter().filter(|(key, _)| is_receipt(key))),
        }
    }
}

fn is_true(status: &Status, condition: &str) -> bool {
    status.conditions.iter().any(|found| found.kind == condition && found.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn marks(pod: Value) -> ReceiptMarks {
        ReceiptMarks::of(&serde_json::from_value(pod).unwrap())
    }

    fn gated(conditions: &Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"readinessGates": [{"conditionType": GATE}]},
            "status": {"phase": "Running", "conditions": conditions}})
    }

    #[test]
    fn pod_waits_once_its_containers_are_ready() {
        let ready = json!({"type": "ContainersReady", "status": "True"});
        assert!(!marks(gated(&json!([]))).waits);
        assert!(marks(gated(&json!([ready]))).waits);
        assert!(marks(gated(&json!([ready, {"type": GATE, "status": "False"}]))).waits);
        assert!(!marks(gated(&json!([ready, {"type": GATE, "status": "True"}]))).waits);
        let mut other = gated(&json!([ready]));
        other["spec"]["readinessGates"] = json!([{"conditionType": "example.com/other"}, {}]);
        assert!(!marks(other).waits);
        for (member, value) in [("metadata", "deletionTimestamp"), ("status", "phase")] {
            let mut ending = gated(&json!([ready]));
            ending[member][value] = json!(if member == "status" { "Failed" } else { "2026-11-23T10:00:00Z" });
            assert!(!marks(ending).waits, "{member}");
        }
    }

    #[test]
    fn marks_compare_annotations_of_receipts() {
        let of = |annotations: Value| marks(json!({"metadata": {"annotations": annotations}})).annotations;
        assert_eq!(of(json!({"team": "a", "x-pod-registrar/record-id": "1"})), AnnotationMark::NONE);
        let one = of(json!({"pod-registrar/record-id": "1", "team": "a"}));
        assert_eq!(one, AnnotationMark::of([(&annotation_of("default"), &"1".to_owned())]));
        let other = of(json!({"cmdb.pod-registrar/record-id": "1"}));
        assert_eq!(other, AnnotationMark::of([(&annotation_of("cmdb"), &"1".to_owned())]));
        assert!(one != other && one != of(json!({"pod-registrar/record-id": "2"})) && one != AnnotationMark::NONE);
    }
}
