//! Reads the operations out of a request to a registry. Peers send records of their own form, so that the text is
//! searched and not decoded.

use http::Method;

use super::pods::read_uuid;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) uid: u128,
    pub(crate) put: bool,
    pub(crate) version: Option<u64>,
    /// The beginning of the digest.
    pub(crate) digest: Option<u64>,
}

/// The operations of a request that writes: of a batch, or of one put or delete.
pub(crate) fn operations(method: &Method, path: &str, body: &[u8]) -> Vec<Operation> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    if path.ends_with("/pods:batch") {
        return batch(text);
    }
    let id = path.rsplit_once("/pods/").and_then(|(_, id)| read_uuid(id));
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

/// The pod's version and the beginning of the digest in a record.
fn about(record: &str) -> (Option<u64>, Option<u64>) {
    let after = |mark: &str| record.split_once(mark).map(|(_, rest)| rest);
    let version = after(r#""resourceVersion":""#).and_then(|rest| rest.split('"').next()?.parse().ok());
    let digest = after(r#""digest":"sha256:"#).and_then(|rest| u64::from_str_radix(rest.get(..16)?, 16).ok());
    (version, digest)
}
