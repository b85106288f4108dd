//! The dependencies: their source, their licences, and one TLS provider.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

use crate::project::{root, text};

/// Licences that require only attribution.
const LICENCES: [&str; 7] = ["MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unicode-3.0", "Zlib"];

/// A second TLS provider makes rustls panic at start, and the image does not contain OpenSSL.
const BANNED: [&str; 7] =
    ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "rustls-graviola", "boring"];

/// The packages that are used on Linux, including this one.
fn packages() -> Vec<Value> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version=1", "--filter-platform", &platform])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let Value::Array(packages) = metadata["packages"].take() else { panic!("no packages") };
    assert!(packages.len() > 50);
    packages
}

/// Whether each part of a licence expression has an alternative in the list.
fn is_allowed(licence: &str) -> bool {
    let licence = licence.replace('/', " OR ").replace(['(', ')'], " ");
    let allowed = |choice: &str| {
        let name = choice.split(" WITH ").next().unwrap_or_default().trim();
        LICENCES.contains(&name)
    };
    licence.split(" AND ").all(|part| part.split(" OR ").any(allowed))
}

#[test]
fn licences_are_permissive() {
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_allowed(licence), "{} is under {licence:?}", package["name"]);
    }
    assert!(is_allowed("GPL-3.0 OR MIT") && is_allowed("(A OR MIT) AND ISC") && is_allowed("MIT/Apache-2.0"));
    assert!(!is_allowed("MIT AND GPL-3.0") && !is_allowed(""));
}

#[test]
fn dependencies_come_from_one_registry() {
    let sources: BTreeSet<String> =
        packages().iter().filter_map(|package| package["source"].as_str().map(str::to_owned)).collect();
    assert_eq!(sources.len(), 1, "{sources:?}");
    assert!(sources.iter().all(|source| source.starts_with("registry+")), "{sources:?}");
}

#[test]
fn one_tls_provider_is_linked() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    assert!(names.contains("ring"));
    for banned in BANNED {
        assert!(!names.contains(banned), "{banned} is linked");
    }
}

#[test]
fn core_crates_are_linked_in_one_version() {
    let packages = packages();
    for name in ["rustls", "ring", "tokio", "hyper", "kube-client", "k8s-openapi"] {
        let count = packages.iter().filter(|package| package["name"] == name).count();
        assert_eq!(count, 1, "{name} is linked in {count} versions");
    }
}

#[test]
fn audit_policy_names_the_same_rules() {
    let policy = text("deny.toml");
    for name in LICENCES.iter().chain(&BANNED) {
        assert!(policy.contains(&format!("\"{name}\"")), "{name} is not in deny.toml");
    }
}
