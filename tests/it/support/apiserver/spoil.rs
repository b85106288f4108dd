//! Pods in a form that cannot be decoded, and events that are not shown.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::Front;

/// A pod, or an item of a list, with its members in their order.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pod<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    api_version: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: &'a RawValue,
    spec: Value,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    status: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    resource_version: String,
}

/// A line of a watch.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl Front {
    /// A pod with a text instead of its list of containers, if it is to be shown so.
    pub(super) fn spoiled(&self, pod: &str) -> Option<String> {
        let mut pod: Pod<'_> = serde_json::from_str(pod).unwrap();
        let metadata: Metadata = serde_json::from_str(pod.metadata.get()).unwrap();
        if !self.spoiled.lock().contains(&metadata.name) {
            return None;
        }
        pod.spec["containers"] = "not a list".into();
        Some(serde_json::to_string(&pod).unwrap())
    }

    /// The line of a watch as it is shown, if it is shown.
    pub(super) fn shown(&self, line: Bytes) -> Option<Bytes> {
        let (lost, spoiled) = (self.lost.lock().clone(), !self.spoiled.lock().is_empty());
        if lost.is_empty() && !spoiled {
            return Some(line);
        }
        let Event { kind, object } = serde_json::from_slice(&line).unwrap();
        if kind == "BOOKMARK" || kind == "ERROR" {
            return Some(line);
        }
        let pod: Pod<'_> = serde_json::from_str(object.get()).unwrap();
        let metadata: Metadata = serde_json::from_str(pod.metadata.get()).unwrap();
        let version = metadata.resource_version.parse().unwrap();
        if lost.iter().any(|range| range.contains(&version)) {
            return None;
        }
        let Some(spoiled) = self.spoiled(object.get()) else { return Some(line) };
        Some(format!("{{\"type\":\"{kind}\",\"object\":{spoiled}}}\n").into())
    }
}
