//! The Helm chart, its values and its schema: what can be checked without Helm.

use std::collections::{BTreeMap, BTreeSet};

use pod_registrar::cli;
use serde_json::{Value, json};

use crate::project::{manifests, templates, text};

pub(super) const VALUES: &str = "deploy/chart/values.yaml";

/// Flags of `run` that are no settings of the chart, and why.
const NO_SETTINGS: [(&str, &str); 16] = [
    ("kubeconfig", "the pods use their account"),
    ("context", "the pods use their account"),
    ("namespace", "the value `namespaces`, which also makes the roles"),
    ("registry-url", "the value `registry.url`"),
    ("targets", "the values `targets` and `existingTargets`"),
    ("registry-token-file", "the value `registry.tokenKey`"),
    ("registry-ca-file", "the value `registry.caKey`"),
    ("otlp-endpoint", "the value `collector.url`"),
    ("otlp-headers-file", "the value `collector.headersKey`"),
    ("otlp-ca-file", "the value `collector.caKey`"),
    ("lease", "the Lease of the chart"),
    ("instance", "the name of the pod"),
    ("approval-lease", "the value `approvals.ownLease`"),
    ("receipts", "the value `receipts`, which also grants the rights"),
    ("admin-addr", "probes, Service and NetworkPolicy use the default"),
    ("record", "needs a volume, and is for a look at a target by hand"),
];

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn schema() -> Value {
    serde_json::from_str(&text("deploy/chart/values.schema.json")).unwrap()
}

/// The paths of the values of a schema that have no further values, as `a.b`.
fn in_schema(schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        found.insert(at.to_owned());
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "{at}: unknown values are refused");
    for (name, property) in properties {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        in_schema(property, &path, found);
    }
}

/// The paths of the values in the file, also the ones behind a `#`, each with whether a comment explains it.
fn in_file() -> BTreeMap<String, bool> {
    let (mut found, mut path, mut explained) = (BTreeMap::new(), Vec::<(usize, String)>::new(), false);
    for line in text(VALUES).lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        let example = trimmed.strip_prefix("# ").filter(|rest| key(rest).is_some());
        let Some(name) = key(example.unwrap_or(trimmed)) else {
            explained = trimmed.starts_with("# ");
            continue;
        };
        path.retain(|(level, _)| *level < indent);
        path.push((indent, name.to_owned()));
        let names: Vec<&str> = path.iter().map(|(_, name)| &**name).collect();
        found.insert(names.join("."), explained || example.is_some());
        explained = false;
    }
    found
}

/// The key of a line of values. A sentence of a comment begins with a capital letter.
fn key(line: &str) -> Option<&str> {
    let (name, rest) = line.split_once(':')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_alphanumeric());
    (is_name && (rest.is_empty() || rest.starts_with(' '))).then_some(name)
}

#[test]
fn chart_has_the_version_of_the_program() {
    let chart = yaml("deploy/chart/Chart.yaml");
    for name in ["version", "appVersion"] {
        assert_eq!(chart[name], env!("CARGO_PKG_VERSION"), "{name}");
    }
    let readme = text("README.md");
    assert!(readme.contains("Kubernetes 1.27") || readme.contains("1.27 and newer"));
    assert_eq!(chart["kubeVersion"], ">=1.27.0-0");
}

/// The lines of rules for rights in some manifests.
fn rights(manifests: &[(std::path::PathBuf, String)]) -> BTreeSet<&str> {
    let lines = manifests.iter().flat_map(|(_, text)| text.lines()).map(|line| line.trim().trim_start_matches("- "));
    lines
        .filter(|line| ["apiGroups: ", "resources: [", "verbs: "].iter().any(|start| line.starts_with(start)))
        .collect()
}

#[test]
fn chart_grants_what_the_manifests_grant() {
    let (manifests, templates) = (manifests(), templates());
    assert_eq!(rights(&templates), rights(&manifests));
}

#[test]
fn pods_of_the_chart_are_restricted() {
    let values = yaml(VALUES);
    assert_eq!(
        values["podSecurityContext"],
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
    );
    let expected =
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    assert_eq!(values["securityContext"], expected);
}

#[test]
fn schema_names_every_value() {
    let (mut named, file) = (BTreeSet::new(), in_file());
    in_schema(&schema(), "", &mut named);
    // Helm sets it if the chart is part of another one.
    assert!(named.remove("global"));
    let missing: Vec<_> = named.iter().filter(|path| !file.contains_key(*path)).collect();
    assert!(missing.is_empty(), "{VALUES} lacks {missing:?}");
    // Below a value that the schema leaves to Kubernetes, everything is allowed.
    let is_named = |path: &String| {
        named
            .iter()
            .any(|name| name == path || path.starts_with(&format!("{name}.")) || name.starts_with(&format!("{path}.")))
    };
    let unknown: Vec<_> = file.keys().filter(|path| !is_named(path)).collect();
    assert!(unknown.is_empty(), "the schema lacks {unknown:?}");
}

#[test]
fn every_value_is_explained() {
    let mut named = BTreeSet::new();
    in_schema(&schema(), "", &mut named);
    let file = in_file();
    let bare: Vec<_> = named.iter().filter(|path| file.get(*path) == Some(&false)).collect();
    assert!(bare.is_empty(), "no comment stands before {bare:?}");
}

#[test]
fn settings_are_the_flags_of_run() {
    let page = cli::page::page();
    let run = page.split_once("\n## `pod-registrar run`\n").unwrap().1.split("\n## ").next().unwrap().to_owned();
    let flags = run.lines().filter_map(|line| line.strip_prefix("- **`--")?.split([' ', '`']).next());
    let expected: BTreeSet<&str> = flags.filter(|flag| !NO_SETTINGS.iter().any(|(name, _)| name == flag)).collect();
    let schema = schema();
    let settings = schema["properties"]["settings"]["properties"].as_object().unwrap();
    let settings: BTreeSet<String> = settings.keys().map(|name| kebab(name)).collect();
    assert_eq!(settings.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    assert!(NO_SETTINGS.iter().all(|(flag, _)| run.contains(&format!("`--{flag} "))), "no flag has been renamed");
}

/// `labelAllow` as `label-allow`.
fn kebab(name: &str) -> String {
    name.chars().flat_map(|c| [c.is_ascii_uppercase().then_some('-'), Some(c.to_ascii_lowercase())]).flatten().collect()
}
