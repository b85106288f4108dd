//! A stored pod: the bytes of its document, and the fields that selectors read.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap},
};
use serde_json::{Map, Value};

/// The beginning of a single document. List items do not have it, as on a real server.
const HEAD: &[u8] = br#"{"kind":"Pod","apiVersion":"v1","#;

/// The order of members on a real server.
const POD_ORDER: &[&str] = &["metadata", "spec", "status"];

const META_ORDER: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// One state of a pod. Immutable: a newer state is a new object.
#[derive(Clone, Debug)]
pub(super) struct JsonObject {
    /// `namespace/name`, by which lists are ordered.
    pub(super) key: Arc<str>,
    pub(super) uid: Box<str>,
    pub(super) resource_version: u64,
    pub(super) labels: BTreeMap<Box<str>, Box<str>>,
    node: Box<str>,
    phase: Box<str>,
    ip: Box<str>,
    /// The document without kind and apiVersion, as in a list.
    item: Bytes,
}

impl JsonObject {
    /// The metadata of the document has to be complete.
    pub(super) fn new(key: Arc<str>, resource_version: u64, document: &Value) -> Result<Self, serde_json::Error> {
        let text = |path: &str| document.pointer(path).and_then(Value::as_str).unwrap_or_default().into();
        let labels = document.pointer("/metadata/labels").and_then(Value::as_object);
        let map = document.as_object().ok_or_else(|| serde_json::Error::custom("a pod is an object"))?;
        Ok(Self {
            key,
            uid: text("/metadata/uid"),
            resource_version,
            labels: labels
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
                .collect(),
            node: text("/spec/nodeName"),
            phase: text("/status/phase"),
            ip: text("/status/podIP"),
            item: serde_json::to_vec(&Ordered { map, order: POD_ORDER, all: false })?.into(),
        })
    }

    /// The same content under another resource version, as in a DELETED event.
    pub(super) fn at(&self, resource_version: u64) -> Result<Self, serde_json::Error> {
        // The first match is the right one: only texts precede it, and quotes in texts are escaped.
        const MEMBER: &[u8] = br#""resourceVersion":""#;
        let start = self.item.windows(MEMBER.len()).position(|window| window == MEMBER);
        let value = start.and_then(|start| Some((start + MEMBER.len(), self.item.get(start + MEMBER.len()..)?)));
        let end = value.and_then(|(from, rest)| Some((from, rest.get(rest.iter().position(|&c| c == b'"')?..)?)));
        let Some((from, rest)) = end else {
            return Err(serde_json::Error::custom("a stored pod has a resource version"));
        };
        let mut item = Vec::with_capacity(self.item.len() + 20);
        item.extend_from_slice(self.item.get(..from).unwrap_or_default());
        item.extend_from_slice(resource_version.to_string().as_bytes());
        item.extend_from_slice(rest);
        Ok(Self { resource_version, item: item.into(), ..self.clone() })
    }

    pub(super) fn names(&self) -> (&str, &str) {
        self.key.split_once('/').unwrap_or(("", &self.key))
    }

    /// The value of a field. None for a field that selectors cannot name.
    pub(super) fn field(&self, path: &str) -> Option<&str> {
        let (namespace, name) = self.names();
        match path {
            "metadata.name" => Some(name),
            "metadata.namespace" => Some(namespace),
            "spec.nodeName" => Some(&self.node),
            "status.phase" => Some(&self.phase),
            "status.podIP" => Some(&self.ip),
            _ => None,
        }
    }

    pub(super) fn document(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&self.item)
    }

    /// The document without kind and apiVersion.
    pub(super) fn item(&self) -> &Bytes {
        &self.item
    }

    /// Writes the document with kind and apiVersion.
    pub(super) fn write_single(&self, to: &mut BytesMut) {
        to.put_slice(HEAD);
        to.put_slice(self.item.get(1..).unwrap_or_default());
    }
}

/// Writes an object with its first members in a given order, and its metadata in that of a real server.
pub(super) fn in_order(document: &Value, order: &'static [&'static str]) -> String {
    let ordered = document.as_object().map(|map| serde_json::to_string(&Ordered { map, order, all: true }));
    ordered.and_then(Result::ok).unwrap_or_else(|| document.to_string())
}

struct Ordered<'a> {
    map: &'a Map<String, Value>,
    order: &'static [&'static str],
    /// Whether to write the members that are not in `order`, too.
    all: bool,
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = to.serialize_map(None)?;
        for &name in self.order {
            match (name, self.map.get(name)) {
                ("metadata", Some(Value::Object(map))) => {
                    out.serialize_entry(name, &Ordered { map, order: META_ORDER, all: true })?;
                }
                (_, Some(value)) => out.serialize_entry(name, value)?,
                (_, None) => {}
            }
        }
        if self.all {
            for (name, value) in self.map.iter().filter(|(name, _)| !self.order.contains(&name.as_str())) {
                out.serialize_entry(name, value)?;
            }
        }
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_resource_version_is_replaced() {
        let text = r#"x","resourceVersion":"1"#;
        let document = json!({
            "metadata": {"name": text, "resourceVersion": "7", "labels": {"resourceVersion": "7"}}, "spec": {}, "status": {},
        });
        let object = JsonObject::new("shop/web".into(), 7, &document).unwrap().at(1234).unwrap();
        let mut expected = document;
        expected["metadata"]["resourceVersion"] = "1234".into();
        assert_eq!((object.resource_version, object.document().unwrap()), (1234, expected));
    }

    #[test]
    fn members_keep_the_order_of_a_real_server() {
        let document = json!({
            "status": {"phase": "Running", "podIP": "10.0.0.1"}, "spec": {"nodeName": "n1"}, "apiVersion": "v1", "kind": "Pod",
            "metadata": {"labels": {"app": "web"}, "name": "web", "uid": "u", "namespace": "shop", "extra": 1},
        });
        let object = JsonObject::new("shop/web".into(), 7, &document).unwrap();
        let mut single = BytesMut::new();
        object.write_single(&mut single);
        assert_eq!(
            single,
            concat!(
                r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web","namespace":"shop","uid":"u","labels":{"app":"web"},"extra":1},"#,
                r#""spec":{"nodeName":"n1"},"status":{"phase":"Running","podIP":"10.0.0.1"}}"#
            )
        );
        assert!(object.at(8).is_err(), "it has no resource version");
        assert_eq!(object.field("metadata.namespace"), Some("shop"));
        assert_eq!(object.field("status.podIP"), Some("10.0.0.1"));
        assert_eq!(object.field("spec.priority"), None);
    }
}
