//! Receipts: which of them a pod should have, by what the registries hold of it.
//!
//! | receipt | written | until |
//! | --- | --- | --- |
//! | Event | when a registry acknowledges the first record of a pod that a watch event showed | |
//! | gate: a condition of the pod | when all targets that select the pod hold its newest record, and one does | forever |
//! | annotation | when a target holds a record of the pod, with the ids of its records | the ids change |
//!
//! A pod that no target selects gets none.

use std::collections::BTreeMap;

use strum::{IntoStaticStr, VariantArray};

use crate::model::{
    pod::receipt::{AnnotationMark, ReceiptMarks, annotation_of},
    uid::Uid,
};

/// Bytes of the ids of one target in an annotation, at most. Further ids are left out.
const IDS_BYTES: usize = 1_024;

/// How users of the cluster learn that a pod is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum ReceiptKind {
    Event,
    Gate,
    Annotation,
}

/// The kinds that the settings ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiptKinds {
    pub event: bool,
    pub gate: bool,
    pub annotation: bool,
}

impl ReceiptKinds {
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub fn contains(self, kind: ReceiptKind) -> bool {
        match kind {
            ReceiptKind::Event => self.event,
            ReceiptKind::Gate => self.gate,
            ReceiptKind::Annotation => self.annotation,
        }
    }
}

impl FromIterator<ReceiptKind> for ReceiptKinds {
    fn from_iter<T: IntoIterator<Item = ReceiptKind>>(kinds: T) -> Self {
        let mut all = Self::default();
        for kind in kinds {
            match kind {
                ReceiptKind::Event => all.event = true,
                ReceiptKind::Gate => all.gate = true,
                ReceiptKind::Annotation => all.annotation = true,
            }
        }
        all
    }
}

/// A registry acknowledged a change of a pod's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub target: &'static str,
    pub pod: Uid,
    /// Whether the registry had no record before, and a watch event showed the pod, not a list.
    pub is_new: bool,
}

/// Whether a registry holds the newest records of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// It is not known what the registry holds.
    #[default]
    Unknown,
    /// The target does not select the pod.
    NotSelected,
    /// A record was not acknowledged yet, or was rejected.
    Waiting,
    Registered,
}

/// What one target says about a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetRecords {
    pub registration: Registration,
    /// The ids of the records that the registry is known to hold, also in an older version.
    pub ids: Vec<String>,
}

/// What is to be written to a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiptPlan {
    pub gate: bool,
    /// All annotations that are receipts. They replace those that the pod has.
    pub annotations: Option<BTreeMap<String, String>>,
}

impl ReceiptPlan {
    pub fn is_empty(&self) -> bool {
        !self.gate && self.annotations.is_none()
    }
}

/// Decides what to write to a pod that shows these marks. `targets` has the name of each target, and what it says.
pub fn plan(kinds: ReceiptKinds, marks: ReceiptMarks, targets: &[(&str, &TargetRecords)]) -> ReceiptPlan {
    let desired = annotations(targets);
    let differs = AnnotationMark::of(&desired) != marks.annotations;
    // What an earlier process wrote stays while it is not known whether it is still true.
    let is_known = targets.iter().all(|(_, records)| records.registration != Registration::Unknown);
    let may_write = is_known || marks.annotations == AnnotationMark::NONE;
    ReceiptPlan {
        gate: kinds.gate && marks.waits && is_registered(targets),
        annotations: (kinds.annotation && differs && may_write).then_some(desired),
    }
}

/// Whether all targets that select the pod hold it, and there is one.
fn is_registered(targets: &[(&str, &TargetRecords)]) -> bool {
    let is = |registration| targets.iter().any(|(_, records)| records.registration == registration);
    is(Registration::Registered) && !is(Registration::Waiting) && !is(Registration::Unknown)
}

fn annotations(targets: &[(&str, &TargetRecords)]) -> BTreeMap<String, String> {
    let with_ids = targets.iter().filter(|(_, records)| !records.ids.is_empty());
    with_ids.map(|(name, records)| (annotation_of(name), joined(&records.ids))).collect()
}

/// The ids, separated by commas, as far as they fit.
fn joined(ids: &[String]) -> String {
    let mut text = String::new();
    for id in ids {
        if text.len() + 1 + id.len() > IDS_BYTES && !text.is_empty() {
            break;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(id);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: ReceiptKinds = ReceiptKinds { event: true, gate: true, annotation: true };
    const WAITS: ReceiptMarks = ReceiptMarks { waits: true, annotations: AnnotationMark::NONE };

    fn says(registration: Registration, ids: &[&str]) -> TargetRecords {
        TargetRecords { registration, ids: ids.iter().map(|id| (*id).to_owned()).collect() }
    }

    fn planned(marks: ReceiptMarks, targets: &[(&str, TargetRecords)]) -> ReceiptPlan {
        let targets: Vec<_> = targets.iter().map(|(name, records)| (*name, records)).collect();
        plan(ALL, marks, &targets)
    }

    #[test]
    fn gate_needs_every_target_that_selects() {
        use Registration::{NotSelected, Registered, Unknown, Waiting};
        let cases: [(&[Registration], bool); 8] = [
            (&[Registered], true),
            (&[Waiting], false),
            (&[NotSelected], false),
            (&[], false),
            (&[Registered, NotSelected], true),
            (&[Registered, Waiting], false),
            (&[Registered, Unknown], false),
            (&[Registered, Registered], true),
        ];
        for (registrations, gate) in cases {
            let targets: Vec<_> = registrations.iter().map(|one| ("a", says(*one, &["1"]))).collect();
            assert_eq!(planned(WAITS, &targets).gate, gate, "{registrations:?}");
            assert!(!planned(ReceiptMarks { waits: false, ..WAITS }, &targets).gate, "it has the condition");
        }
        let registered = says(Registered, &[]);
        let only_event = ReceiptKinds { event: true, ..ReceiptKinds::default() };
        assert!(plan(only_event, WAITS, &[("a", &registered)]).is_empty());
    }

    #[test]
    fn annotations_name_the_records_of_each_target() {
        let targets =
            [("default", says(Registration::Registered, &["u-1"])), ("cmdb", says(Registration::Waiting, &["7", "8"]))];
        let plan = planned(WAITS, &targets);
        let annotations = plan.annotations.unwrap();
        let expected = [("cmdb.pod-registrar/record-id", "7,8"), ("pod-registrar/record-id", "u-1")];
        assert!(annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(expected), "{annotations:?}");
        // The pod shows them with its next event, and nothing is written again.
        let marks = ReceiptMarks { waits: false, annotations: AnnotationMark::of(&annotations) };
        assert!(planned(marks, &targets).is_empty());
    }

    #[test]
    fn annotation_stays_while_its_record_is_unknown() {
        let marks =
            ReceiptMarks { waits: false, annotations: AnnotationMark::of([(&"a".to_owned(), &"b".to_owned())]) };
        let unknown = ("default", says(Registration::Unknown, &[]));
        assert!(planned(marks, std::slice::from_ref(&unknown)).is_empty());
        // One target is known, and the other one may have written its part.
        assert!(planned(marks, &[unknown, ("cmdb", says(Registration::Registered, &["7"]))]).is_empty());
        // The target does not select the pod any more.
        let removed = planned(marks, &[("default", says(Registration::NotSelected, &[]))]);
        assert_eq!(removed.annotations, Some(BTreeMap::new()));
        let other = planned(marks, &[("default", says(Registration::Registered, &["9"]))]);
        assert_eq!(other.annotations.unwrap().len(), 1);
    }

    #[test]
    fn ids_that_do_not_fit_are_left_out() {
        let ids: Vec<String> = (0..500).map(|number| format!("id-{number}")).collect();
        let text = joined(&ids);
        assert!(text.len() <= IDS_BYTES && text.starts_with("id-0,id-1,") && !text.ends_with(','), "{text}");
        assert_eq!(joined(&["x".repeat(2_000)]).len(), 2_000, "one id is never cut");
    }
}
