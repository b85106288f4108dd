//! The inventory of a registry: pages of records without their bodies, and digests of buckets.
//!
//! A resync compares the digests of all buckets first and reads pages only where they differ.

use serde::{Deserialize, Serialize};

use crate::model::{
    digest::{Digest, Fingerprint},
    ids::Version,
    uid::Uid,
};

/// One part of an inventory: bucket number `index`, counted from 0, of `of` buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub of: usize,
    pub index: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryPage {
    pub items: Vec<InventoryItem>,
    /// The token of the next page. The last page has none.
    pub next: Option<String>,
    /// Records of all pages.
    pub count: u64,
    /// The number of the last change that this page includes.
    pub as_of: u64,
}

/// A record without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryItem {
    /// The key of the record.
    pub uid: Uid,
    /// None if the registry may hold the record or not. That of no record if it holds one with an unknown content.
    pub fingerprint: Option<Fingerprint>,
    /// The version of its last write, if the registry keeps it.
    pub version: Option<Version>,
}

/// The digests of all buckets, from one consistent read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketDigests {
    /// One entry per bucket, in order.
    pub buckets: Vec<BucketDigest>,
    /// Records in all buckets.
    pub count: u64,
    /// The number of the last change that this read includes.
    pub as_of: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketDigest {
    pub count: u64,
    /// The xor of the records' digests: in JSON 64 hexadecimal digits without a prefix.
    #[serde(serialize_with = "bare_hex")]
    pub digest: Digest,
}

fn bare_hex<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&digest.hex())
}
