//! What a registry holds, as its inventory shows it: pages of records without their bodies, and digests of buckets.

use serde::{Deserialize, Serialize};

use crate::model::{digest::Digest, ids::Version};

/// Which part of an inventory is read: of so many buckets, this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Into how many buckets the inventory is divided.
    pub of: usize,
    /// Which of them.
    pub index: usize,
}

/// A page of an inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryPage {
    /// Records ordered by id.
    pub items: Vec<InventoryItem>,
    /// The next page; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many records the whole reading has.
    pub count: u64,
    /// The last change that this read has seen.
    pub as_of: u64,
}

/// A record without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryItem {
    /// The record's id.
    pub id: String,
    /// Its digest.
    pub digest: Digest,
    /// Its version.
    pub version: Version,
}

/// The inventory as bucket digests, from one consistent read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketDigests {
    /// One a bucket.
    pub buckets: Vec<BucketDigest>,
    /// Records over all buckets.
    pub count: u64,
    /// The last change that this read has seen.
    pub as_of: u64,
}

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketDigest {
    /// Records in it.
    pub count: u64,
    /// The xor of their digests, 64 hexadecimal digits without a prefix.
    #[serde(serialize_with = "bare_hex")]
    pub digest: Digest,
}

fn bare_hex<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&digest.hex())
}
