//! Identifiers: record owners, ids, names and versions.

use serde::{Deserialize, Serialize};

/// The owner of records: one installation in one cluster. Each owner has its own sessions, inventory and digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOwner {
    /// The UID of the `kube-system` namespace, unless the operator sets another id.
    pub cluster_id: String,
    /// A name for people.
    pub cluster_name: String,
    /// The name of the installation.
    pub owner: String,
}

/// The owner that addresses leave out.
pub const DEFAULT_OWNER: &str = "pod-registrar";

/// The name of the target that `--registry-url` describes.
pub const DEFAULT_TARGET: &str = "default";

/// Whether the text is a valid id of a pod, a cluster or an owner: 1 to 128 of `[A-Za-z0-9._~:@-]`, the first
/// alphanumeric.
pub fn is_valid_id(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._~:@-".contains(&c);
    let bytes = text.as_bytes();
    (1..=128).contains(&bytes.len()) && bytes[0].is_ascii_alphanumeric() && bytes.iter().copied().all(allowed)
}

/// Whether the text is a valid namespace name: an RFC 1123 label, 1 to 63 of `[a-z0-9-]`.
pub fn is_namespace_name(text: &str) -> bool {
    let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = text.as_bytes();
    let allowed = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-';
    bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(allowed)
}

/// Whether the text is a valid pod name: an RFC 1123 subdomain, labels separated by dots, at most 253 characters.
pub fn is_pod_name(text: &str) -> bool {
    // Kubernetes does not limit the length of a label within a subdomain.
    let label = |label: &str| {
        let edges = !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        edges && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// The protocol's integers are below this limit in both directions, because larger JSON numbers are not exact
/// everywhere.
pub const INTEGER_LIMIT: u64 = 1 << 53;

/// Orders the operations of one writer: by epoch, then by sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// The session of the operation.
    pub epoch: u64,
    /// Counts from 1 in each session.
    pub seq: u64,
}

/// Compares two resource versions of one resource type. They are decimal integers since Kubernetes 1.35. Returns `None`
/// if one of them is not, so the two have no order.
pub fn compare_resource_versions(a: &str, b: &str) -> Option<std::cmp::Ordering> {
    let comparable = |v: &str| {
        !v.is_empty() && v.len() <= 39 && !(v.len() > 1 && v.starts_with('0')) && v.bytes().all(|c| c.is_ascii_digit())
    };
    (comparable(a) && comparable(b)).then(|| a.len().cmp(&b.len()).then_with(|| a.cmp(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[test]
    fn versions_order_by_epoch_first() {
        assert!(Version { epoch: 2, seq: 1 } > Version { epoch: 1, seq: 9 });
        assert!(Version { epoch: 1, seq: 2 } > Version { epoch: 1, seq: 1 });
    }

    #[test]
    fn ids_are_bounded_and_start_alphanumeric() {
        assert!(is_valid_id("5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33"));
        assert!(is_valid_id("a"));
        for bad in ["", "-a", "a b", "a/b", "ä", &"x".repeat(129)] {
            assert!(!is_valid_id(bad), "{bad}");
        }
    }

    #[test]
    fn names_follow_rfc_1123() {
        let long = |length: usize| "x".repeat(length);
        for good in ["a", "0", "kube-system", "a--b", &long(63)] {
            assert!(is_namespace_name(good) && is_pod_name(good), "{good}");
        }
        for good in ["web-0", "a.b.c", "node1.example.com-static", &long(253)] {
            assert!(is_pod_name(good), "{good}");
        }
        let bad =
            ["", "-", "a-", "-a", "A", "a/b", "..", "../..", "?limit=0", "a%2fb", "a b", "\u{e4}", "a\n", "a..b", "."];
        for bad in bad.into_iter().chain([long(254).as_str(), ".a", "a.", "a.-b"]) {
            assert!(!is_namespace_name(bad) && !is_pod_name(bad), "{bad}");
        }
        assert!(!is_namespace_name("a.b") && !is_namespace_name(&long(64)));
    }

    #[test]
    fn resource_versions_compare_only_as_numbers() {
        assert_eq!(compare_resource_versions("9", "10"), Some(Ordering::Less));
        assert_eq!(compare_resource_versions("10", "10"), Some(Ordering::Equal));
        assert_eq!(compare_resource_versions("", "10"), None);
        assert_eq!(compare_resource_versions("07", "7"), None);
        assert_eq!(compare_resource_versions("1a", "10"), None);
    }
}
