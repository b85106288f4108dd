//! A pod, and the record that the registry should hold for it.

pub(crate) mod lenient;
pub mod object;
pub mod receipt;
pub mod to_record;

use super::{
    digest::{Digest, Fingerprint},
    record::Record,
    uid::Uid,
};

/// A pod as its watch shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub uid: Uid,
    pub namespace: Box<str>,
    /// Later pods may have the same name.
    pub name: Box<str>,
    /// Comparable within one resource type if it is a number.
    pub resource_version: Box<str>,
    pub generation: Option<i64>,
    /// The desired record. `None` if the object could not be read: the pod exists, and its registered record stays as
    /// it is.
    pub content: Option<RecordContent>,
}

/// The pod of a record, with the name under which the API server can be asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// Identifies the pod: another pod may have the name by now.
    pub uid: Uid,
    /// As the registry holds it.
    pub namespace: String,
    /// As the registry holds it.
    pub name: String,
}

/// What the store shows of a pod to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredPod {
    /// The fingerprint of the desired record.
    Record(Fingerprint),
    /// The object could not be read.
    Unreadable,
}

impl Pod {
    /// `NAMESPACE/NAME`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// What the store shows of this pod.
    pub fn shown(&self) -> StoredPod {
        self.content.as_ref().map_or(StoredPod::Unreadable, |content| StoredPod::Record(content.digest.fingerprint()))
    }
}

#[derive(Clone, PartialEq)]
pub struct RecordContent {
    /// SHA-256 of `canonical`.
    pub digest: Digest,
    /// The record in RFC 8785 form, without `schema`, `version` and `digest`.
    pub canonical: Vec<u8>,
    pub record: Record,
}

impl RecordContent {
    /// # Errors
    /// As [`Record::canonical`].
    pub fn of(record: Record) -> Result<Self, serde_json::Error> {
        let canonical = record.canonical()?;
        Ok(Self { digest: Digest::of_canonical(&canonical), canonical, record })
    }
}

impl std::fmt::Debug for RecordContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({}, {} bytes)", self.digest, self.canonical.len())
    }
}
