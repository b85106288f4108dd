//! A pod as the store keeps it: who it is, and the record that the registry should hold for it.

use super::{Digest, Uid};

/// A pod in the store.
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
    pub content: Option<Content>,
}

/// The content of a record and its digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// SHA-256 of `canonical`.
    pub digest: Digest,
    /// The record in RFC 8785 form, without `schema`, `version` and `digest`.
    pub canonical: Box<[u8]>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({}, {} bytes)", self.digest, self.canonical.len())
    }
}
