//! Reads the operations out of a request to a registry. Peers send records of their own form, so that the text is
//! searched and not decoded.

use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::pods::read_uuid;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) uid: u128,
    pub(crate) put: bool,
    pub(crate) version: Option<u64>,
    /// The beginning of the digest.
    pub(crate) digest: Option<u64>,
}

/// The body of a request that writes several records of a target that a file describes.
#[derive(Deserialize)]
pub(crate) struct Batch<'a> {
    #[serde(borrow)]
    pub(crate) operations: Vec<BatchOperation<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct BatchOperation<'a> {
    pub(crate) id: &'a str,
    /// None for a deletion.
    #[serde(borrow)]
    pub(crate) record: Option<&'a RawValue>,
}

/// The operations of a request that writes: of a batch, or of one put or delete.
pub(crate) fn operations(method: &Method, path: &str, body: &[u8]) -> Vec<Operation> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    if path.ends_with("/pods:batch") {
        return batch(text);
    }
    if path.ends_with("/systems:batch") {
        return described_batch(body);
    }
    let id = path.rsplit('/').next().and_then(read_uuid);
    let put = match (method, id) {
        (&Method::PUT, Some(_)) => true,
        (&Method::DELETE, Some(_)) => false,
        _ => return Vec::new(),
    };
    let (version, digest) = if put { about(text) } else { (None, None) };
    id.map(|uid| Operation { uid, put, version, digest }).into_iter().collect()
}

/// Quotes in texts are escaped, so that no text in a record looks like the start of an operation.
fn batch(text: &str) -> Vec<Operation> {
    let mut found = Vec::new();
    let mut pieces = text.split(r#"{"op":""#);
    pieces.next();
    for piece in pieces {
        let put = piece.starts_with("put");
        let id = piece.split_once(r#""id":""#).and_then(|(_, rest)| read_uuid(rest.get(..36)?));
        let (version, digest) = if put { about(piece) } else { (None, None) };
        found.extend(id.map(|uid| Operation { uid, put, version, digest }));
    }
    found
}

/// The operations of a batch of a target that a file describes.
fn described_batch(body: &[u8]) -> Vec<Operation> {
    let batch = serde_json::from_slice(body).unwrap_or(Batch { operations: Vec::new() });
    let operation = |operation: &BatchOperation<'_>| {
        let (version, digest) = operation.record.map(|record| about(record.get())).unwrap_or_default();
        Some(Operation { uid: read_uuid(operation.id)?, put: operation.record.is_some(), version, digest })
    };
    batch.operations.iter().filter_map(operation).collect()
}

/// The pod's version and the beginning of the digest in a record.
fn about(record: &str) -> (Option<u64>, Option<u64>) {
    let after = |mark: &str| record.split_once(mark).map(|(_, rest)| rest);
    let version = after(r#""resourceVersion":""#).and_then(|rest| rest.split('"').next()?.parse().ok());
    // A described target has no prefix.
    let digest = after(r#""digest":""#).map(|rest| rest.trim_start_matches("sha256:"));
    let digest = digest.and_then(|rest| u64::from_str_radix(rest.get(..16)?, 16).ok());
    (version, digest)
}
