//! The v1 record as words of templates.
//!
//! Collections, booleans and counts that a record leaves out are present here: empty, `false` and `0`. Texts and times
//! that are missing are undefined.

use std::collections::BTreeMap;

use minijinja::Value;

use super::words::{Word, WordSet};
use crate::model::record::{Container, Placement, PodName, PodState, Record, Role, Times, TruncatedPart, WorkloadRef};

/// The values of the words that are needed.
pub(super) fn values(record: &Record, needed: WordSet) -> Vec<(Word, Value)> {
    needed.words().filter_map(|word| Some((word, value(record, word)?))).collect()
}

fn value(record: &Record, word: Word) -> Option<Value> {
    Some(match word {
        Word::Pod => pod(&record.pod),
        Word::Workload => record.workload.iter().map(workload).collect(),
        Word::Root => record.workload.last().map_or_else(|| root(&record.pod), workload),
        Word::Placement => placement(&record.placement),
        Word::State => state(&record.state),
        Word::Containers => record.containers.iter().map(container).collect(),
        Word::Times => times(&record.times),
        Word::ServiceAccount => text(record.service_account.as_deref()),
        Word::Truncated => record.truncated.iter().map(|part| Value::from(truncated(*part))).collect(),
        _ => return None,
    })
}

/// A missing text is undefined.
fn text(text: Option<&str>) -> Value {
    text.map(Value::from).unwrap_or_default()
}

fn texts(texts: &[String]) -> Value {
    texts.iter().map(|text| Value::from(text.as_str())).collect()
}

fn map<const N: usize>(members: [(&'static str, Value); N]) -> Value {
    // An undefined member is left out, so that iterating over the map does not find it.
    Value::from_pairs(members.into_iter().filter(|(_, value)| !value.is_undefined()))
}

fn pairs(pairs: &BTreeMap<String, String>) -> Value {
    Value::from_pairs(pairs.iter().map(|(key, value)| (key.as_str(), Value::from(value.as_str()))))
}

fn pod(pod: &PodName) -> Value {
    map([
        ("annotations", pairs(&pod.annotations)),
        ("labels", pairs(&pod.labels)),
        ("name", Value::from(pod.name.as_str())),
        ("namespace", Value::from(pod.namespace.as_str())),
        ("uid", Value::from(pod.uid.as_str())),
    ])
}

fn workload(workload: &WorkloadRef) -> Value {
    map([
        ("apiVersion", Value::from(workload.api_version.as_str())),
        ("derived", Value::from(workload.derived)),
        ("kind", Value::from(workload.kind.as_str())),
        ("name", Value::from(workload.name.as_str())),
        ("uid", text(workload.uid.as_deref())),
    ])
}

/// A pod without a controller is its own root.
fn root(pod: &PodName) -> Value {
    map([
        ("apiVersion", Value::from("v1")),
        ("derived", Value::from(false)),
        ("kind", Value::from("Pod")),
        ("name", Value::from(pod.name.as_str())),
        ("uid", Value::from(pod.uid.as_str())),
    ])
}

fn placement(placement: &Placement) -> Value {
    map([
        ("hostIPs", texts(&placement.host_ips)),
        ("hostNetwork", Value::from(placement.host_network)),
        ("node", text(placement.node.as_deref())),
        ("podIPs", texts(&placement.pod_ips)),
    ])
}

fn state(state: &PodState) -> Value {
    map([
        ("lifecycle", Value::from(<&str>::from(state.lifecycle))),
        ("phase", text(state.phase.as_deref())),
        ("ready", Value::from(state.ready.unwrap_or_default())),
        ("reason", text(state.reason.as_deref())),
    ])
}

fn container(container: &Container) -> Value {
    let role = match container.role {
        Role::Init => "init",
        Role::Sidecar => "sidecar",
        Role::App => "app",
        Role::Ephemeral => "ephemeral",
    };
    map([
        ("image", text(container.image.as_deref())),
        ("imageId", text(container.image_id.as_deref())),
        ("name", Value::from(container.name.as_str())),
        ("ready", Value::from(container.ready.unwrap_or_default())),
        ("restarts", Value::from(container.restarts.unwrap_or_default())),
        ("role", Value::from(role)),
    ])
}

fn times(times: &Times) -> Value {
    map([
        ("created", Value::from(times.created.as_str())),
        ("deletionRequested", text(times.deletion_requested.as_deref())),
        ("finished", text(times.finished.as_deref())),
        ("scheduled", text(times.scheduled.as_deref())),
        ("started", text(times.started.as_deref())),
    ])
}

fn truncated(part: TruncatedPart) -> &'static str {
    match part {
        TruncatedPart::Annotations => "annotations",
        TruncatedPart::Placement => "placement",
        TruncatedPart::Containers => "containers",
        TruncatedPart::Labels => "labels",
        TruncatedPart::Workload => "workload",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{
        samples,
        values::{Budget, to_json},
    };
    use serde_json::Value as Json;

    fn json(record: &Record, word: Word) -> Json {
        to_json(&value(record, word).unwrap(), &mut Budget::default()).unwrap().unwrap()
    }

    #[test]
    fn words_equal_members_of_v1_record() {
        for record in samples::all("c", "c", "o") {
            let v1 = serde_json::to_value(&record).unwrap();
            for word in [Word::Pod, Word::Placement, Word::State, Word::Times, Word::Containers, Word::Workload] {
                let mut given = json(&record, word);
                strip(&mut given);
                let mut expected = v1.get(word.name()).cloned();
                expected.iter_mut().for_each(strip);
                assert_eq!(Some(given).filter(|given| !is_empty(given)), expected, "{}", word.name());
            }
        }
    }

    fn is_empty(json: &Json) -> bool {
        json.as_array().is_some_and(Vec::is_empty) || json.as_object().is_some_and(serde_json::Map::is_empty)
    }

    /// Removes the values that v1 leaves out.
    fn strip(json: &mut Json) {
        match json {
            Json::Object(members) => {
                members.retain(|_, value| !is_empty(value) && *value != false && *value != 0);
                members.values_mut().for_each(strip);
            }
            Json::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }

    #[test]
    fn omitted_collections_and_counts_are_present() {
        let record = &samples::all("c", "c", "o")[1];
        assert_eq!(json(record, Word::Placement)["podIPs"], Json::Array(vec![]));
        assert_eq!(json(record, Word::State)["ready"], Json::Bool(false));
        assert_eq!(json(record, Word::Containers)[0]["restarts"], Json::from(0));
        assert_eq!(json(record, Word::Root)["kind"], "Pod");
        assert!(value(record, Word::ServiceAccount).unwrap().is_undefined());
    }
}
