//! Encodes operations as JSON.
//!
//! A pod's content comes as canonical bytes, from which its digest was computed. A record is spliced together: first
//! the schema, the digest and the version, then these bytes.

use std::io::Write as _;

use crate::registry::protocol::{ObservedBy, SCHEMA};
use crate::{
    model::{
        ids::Version,
        pod::{Pod, RecordContent},
    },
    reconcile::deletion::{Deletion, Removal},
    registry::{Encoded, EncodedBody},
};

/// Encodes a record with this version.
pub(super) fn record(pod: &Pod, content: &RecordContent, version: Version) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.canonical.len() + 256);
    let resource_version = serde_json::Value::from(&*pod.resource_version);
    let Version { epoch, seq } = version;
    // Writing to a `Vec` cannot fail.
    let _ =
        write!(bytes, r#"{{"schema":{SCHEMA},"digest":"{}","version":{{"epoch":{epoch},"seq":{seq}"#, content.digest);
    if !pod.resource_version.is_empty() {
        let _ = write!(bytes, r#","resourceVersion":{resource_version}"#);
    }
    if let Some(generation) = pod.generation {
        let _ = write!(bytes, r#","generation":{generation}"#);
    }
    bytes.extend_from_slice(b"},");
    bytes.extend_from_slice(content.canonical.get(1..).unwrap_or_default());
    bytes
}

/// The protocol's words for a removal: why the record is removed, and where that was observed.
pub(in crate::registry) fn removal(removal: Removal) -> (&'static str, &'static str) {
    let (reason, observed) = match removal {
        Removal::Observed(Deletion::Deleted) => ("deleted", ObservedBy::Watch),
        Removal::Observed(Deletion::DeletedOrLeftSelection) => ("deleted-or-left-rule", ObservedBy::Watch),
        Removal::Inferred => ("absent", ObservedBy::List),
        Removal::LeftSelection => ("left-rule", ObservedBy::List),
    };
    (reason, observed.into())
}

/// Encodes a batch. Ids need no escaping, since UIDs are checked when pods are read.
pub(super) fn batch(epoch: u64, operations: &[Encoded]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + operations.iter().map(|operation| operation.size_at_most).sum::<usize>());
    let _ = write!(bytes, r#"{{"epoch":{epoch},"operations":["#);
    for (index, operation) in operations.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        let id = &operation.uid;
        match &operation.body {
            EncodedBody::Put { record, .. } => {
                let _ = write!(bytes, r#"{{"op":"put","id":"{id}","record":"#);
                bytes.extend_from_slice(record);
                bytes.push(b'}');
            }
            EncodedBody::Delete(why) => {
                let (reason, observed) = removal(*why);
                let Version { epoch, seq } = operation.version;
                let _ = write!(
                    bytes,
                    r#"{{"op":"delete","id":"{id}","version":{{"epoch":{epoch},"seq":{seq}}},"reason":"{reason}","observed":"{observed}"}}"#,
                );
            }
        }
    }
    bytes.extend_from_slice(b"]}");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        digest::Digest,
        ids::RecordOwner,
        pod::{
            object::PodObject,
            to_record::{AllowList, Rule, desired},
        },
        uid::Uid,
    };

    fn pod() -> Pod {
        let object: PodObject = serde_json::from_value(serde_json::json!({"metadata": {
            "name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 2,
            "creationTimestamp": "2026-11-23T10:00:00Z"}}))
        .unwrap();
        let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
        desired(object, &Rule { owner, labels: AllowList::default(), annotations: AllowList::default() }).unwrap()
    }

    #[test]
    fn encoded_record_is_complete_with_a_matching_digest() {
        // The digest covers the record's other members.
        let bytes = record(&pod(), &pod().content.unwrap(), Version { epoch: 7, seq: 12 });
        let record: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(record["schema"], 1);
        let version = serde_json::json!({"epoch": 7, "seq": 12, "resourceVersion": "7", "generation": 2});
        assert_eq!(record["version"], version);
        assert_eq!(record["digest"], Digest::of_record(&record).unwrap().to_string());
    }

    #[test]
    fn encoded_batch_stays_within_its_size_bound() {
        // Each operation names its own bound.
        let version = Version { epoch: u64::MAX, seq: u64::MAX };
        let content = pod().content.unwrap();
        let put = EncodedBody::Put { record: record(&pod(), &content, version), digest: content.digest };
        let delete = EncodedBody::Delete(Removal::Observed(Deletion::DeletedOrLeftSelection));
        let operations: Vec<_> =
            [put, delete].map(|body| Encoded::new(Uid::from("u"), version, body)).into_iter().collect();
        let bytes = batch(7, &operations);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["operations"][1]["reason"], "deleted-or-left-rule");
        assert_eq!(value["operations"][1]["observed"], "watch");
        assert!(bytes.len() <= 64 + operations.iter().map(|operation| operation.size_at_most).sum::<usize>());
    }
}
