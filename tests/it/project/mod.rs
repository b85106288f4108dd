//! Rules for the project's own files, and helpers that read them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

pub(crate) mod alerts;
mod chart;
mod dependencies;
mod deploy;
mod docs;
mod errors;
mod naming;
mod release;
mod scenarios;
mod security;
mod tidy;

/// What stands before a test function.
pub(crate) const TEST_ATTRIBUTES: [&str; 3] = ["#[test]", "#[tokio::test", "#[property_test"];

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents: `docs` and the pages beside the manifest, as sorted relative paths.
pub(crate) fn pages() -> Vec<String> {
    let mut found = Vec::new();
    collect(&root().join("docs"), "md", &mut found);
    let relative = found.iter().map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
    let beside = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(str::to_owned);
    let mut pages: Vec<String> = relative.chain(beside).collect();
    pages.sort();
    pages
}

/// All Rust files below a folder, sorted.
pub(crate) fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&root().join(folder), "rs", &mut found);
    found.sort();
    assert!(!found.is_empty(), "{folder} has no Rust files");
    found
}

/// The folder of the Helm chart.
const CHART: &str = "deploy/chart";

/// All manifests below `deploy` but those of the chart, each with its text.
pub(crate) fn manifests() -> Vec<(PathBuf, String)> {
    let all = yaml_files("deploy").into_iter();
    all.filter(|(path, _)| !path.starts_with(root().join(CHART))).collect()
}

/// The templates of the chart, each with its text.
pub(crate) fn templates() -> Vec<(PathBuf, String)> {
    let mut found = yaml_files("deploy/chart/templates");
    for helper in ["_helpers.tpl", "_checks.tpl", "NOTES.txt"] {
        let path = root().join(CHART).join("templates").join(helper);
        found.push((path.clone(), fs::read_to_string(path).unwrap()));
    }
    found
}

/// The rules for Prometheus: the specification of the PrometheusRule.
pub(crate) fn rules() -> Value {
    let mut manifest: Value = serde_saphyr::from_str(&text("deploy/chart/monitoring/prometheusrule.yaml")).unwrap();
    manifest["spec"].take()
}

fn yaml_files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    collect(&root().join(folder), "yaml", &mut found);
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The text of a file without its comments.
pub(crate) fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// Whether a file of `src` is compiled only into tests.
pub(crate) fn is_test(file: &Path) -> bool {
    let is_tests = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
    file.strip_prefix(root().join("src")).is_ok_and(|below| below.iter().any(is_tests))
}

/// The text of a file without its comments and its unit tests.
pub(crate) fn code_without_tests(file: &Path) -> String {
    if is_test(file) {
        return String::new();
    }
    code(file).split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned()
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, ending, found);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
}
