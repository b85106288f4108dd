//! Mutated pods: none breaks the other items of its list, its identity is kept, and its record is bounded.

use kube::core::{ObjectList, WatchEvent};
use serde_json::{Map, Value, value::RawValue};

use crate::kubernetes::watch::pod_object::Watched;
use crate::{
    fuzz::{self, Found, ensure},
    model::{
        digest::Digest,
        ids::RecordOwner,
        pod::to_record::{self, AllowList, Rule},
    },
};

/// The protocol's limit on a record.
const RECORD_BYTES: usize = 20_000;
const CAUSE_BYTES: usize = 2_000;

fn rule() -> Rule {
    let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "prod-eu".into(), owner: "pod-registrar".into() };
    Rule { owner, labels: AllowList::new(["*"]), annotations: AllowList::new(["*"]) }
}

#[test]
fn fuzzed_pod_spoils_no_list_and_no_event() {
    // The size of its record is bounded.
    let rule = rule();
    fuzz::check(&fuzz::corpus::pods(), |input, _| pod(input, &rule));
}

fn pod(input: &[u8], rule: &Rule) -> Found {
    // Input that is not JSON makes kube refuse the whole list or event, which is then requested again.
    let Some(text) = std::str::from_utf8(input).ok().filter(|text| serde_json::from_str::<Box<RawValue>>(text).is_ok())
    else {
        return Ok(());
    };
    let good = r#"{"metadata":{"uid":"v","name":"q"}}"#;
    let list = format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"9"}},"items":[{good},{text},{good}]}}"#
    );
    let list: ObjectList<Watched> = match serde_json::from_str(&list) {
        Err(error) if cannot_be_represented(text, &error) => return Ok(()),
        list => list.map_err(|error| format!("the list: {error}"))?,
    };
    let [before, found, after] = list.items.as_slice() else { return Err("an item is lost".to_owned()) };
    ensure(before.uid() == Some("v") && after.uid() == Some("v"), || "another item changed".to_owned())?;
    for kind in ["ADDED", "MODIFIED", "DELETED"] {
        let line = format!(r#"{{"type":"{kind}","object":{text}}}"#);
        let event: WatchEvent<Watched> = serde_json::from_str(&line).map_err(|error| format!("the event: {error}"))?;
        let (WatchEvent::Added(pod) | WatchEvent::Modified(pod) | WatchEvent::Deleted(pod)) = event else {
            return Err(format!("another event: {event:?}"));
        };
        ensure(pod.uid() == found.uid(), || "an event and a list differ".to_owned())?;
    }
    identity_is_kept(text, found)?;
    match &found.pod {
        Err(cause) => ensure(cause.len() <= CAUSE_BYTES, || format!("a cause of {} bytes", cause.len())),
        Ok(pod) => match to_record::desired(pod.clone(), rule) {
            Err(cause) => {
                let cause = cause.to_string();
                ensure(cause.len() <= CAUSE_BYTES, || format!("a cause of {} bytes", cause.len()))
            }
            Ok(pod) => record(&pod),
        },
    }
}

/// Half a surrogate pair and a number too large for a double are JSON that no reader can represent. API servers do not
/// write them. In a field that is read, they make the input unreadable.
fn cannot_be_represented(text: &str, error: &serde_json::Error) -> bool {
    let reason = error.to_string();
    ["surrogate in hex escape", "end of hex escape", "number out of range"].iter().any(|known| reason.contains(known))
        && serde_json::from_str::<Value>(text).is_err()
}

/// A UID in its place is found, whatever else in the document is wrong.
fn identity_is_kept(text: &str, found: &Watched) -> Found {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Ok(()) };
    let uid = value["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty());
    ensure(uid == found.uid(), || format!("the UID is {uid:?}, found was {:?}", found.uid()))
}

fn record(pod: &crate::model::pod::Pod) -> Found {
    let content = pod.content.as_ref().ok_or("no content")?;
    let bytes = content.canonical.len();
    ensure(bytes <= RECORD_BYTES, || format!("a record of {bytes} bytes"))?;
    let record: Map<String, Value> = serde_json::from_slice(&content.canonical).map_err(|error| error.to_string())?;
    let digest = Digest::of_record(&record).map_err(|error| error.to_string())?;
    ensure(digest == content.digest, || "a reader of the record computes another digest".to_owned())?;
    ensure(record["pod"]["uid"] == *pod.uid.text(), || "the record is another pod's".to_owned())
}
