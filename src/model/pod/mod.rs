//! A pod with the record that the registry should hold for it.

pub(crate) mod lenient;
pub mod object;
pub mod to_record;

use super::{
    digest::{Digest, Fingerprint},
    record::Record,
    uid::Uid,
};

/// A pod as the cluster shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// The identity.
    pub uid: Uid,
    /// The namespace.
    pub namespace: Box<str>,
    /// The name, which pods may have one after another.
    pub name: Box<str>,
    /// The revision of the object; comparable within one resource type, opaque otherwise.
    pub resource_version: Box<str>,
    /// The object's generation.
    pub generation: Option<i64>,
    /// What the registry should hold. None for an object that could not be read: the pod is there, and what the
    /// registry holds of it is left as it is.
    pub content: Option<RecordContent>,
}

/// A pod that a record is about, and the name under which the API server can be asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// The pod's identity. A name may be another pod's by now.
    pub uid: Uid,
    /// The namespace, as the registry holds it.
    pub namespace: String,
    /// The name, as the registry holds it.
    pub name: String,
}

/// What a view shows of a pod, as far as anything is decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredPod {
    /// A pod whose record is known by this.
    Record(Fingerprint),
    /// A pod that could not be read.
    Unreadable,
}

impl Pod {
    /// What is decided by.
    pub fn shown(&self) -> StoredPod {
        self.content.as_ref().map_or(StoredPod::Unreadable, |content| StoredPod::Record(content.digest.fingerprint()))
    }
}

/// A record with its bytes and their digest.
#[derive(Clone, PartialEq)]
pub struct RecordContent {
    /// SHA-256 of `canonical`.
    pub digest: Digest,
    /// The record in RFC 8785 form, without `schema`, `version` and `digest`.
    pub canonical: Vec<u8>,
    /// The record itself.
    pub record: Record,
}

impl RecordContent {
    /// What is sent of a record.
    ///
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
