//! The alerts and the dashboard against the program's metrics, the runbooks and the tests of the alerts.

use std::collections::BTreeSet;

use pod_registrar::telemetry::{health::Health, metrics::Metrics};
use serde_json::Value;

use super::docs::metrics;
use crate::project::{rules, text};

pub(crate) const DASHBOARD: &str = "deploy/chart/monitoring/dashboard.json";

fn all_rules() -> Vec<Value> {
    rules()["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The names of series in a text that neither the program nor a recording rule makes.
pub(super) fn unknown_series(text: &str) -> Vec<String> {
    let metrics = metrics();
    let recorded: BTreeSet<String> =
        all_rules().iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned)).collect();
    let exists = |word: &str| {
        let of_histogram = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
        metrics.contains_key(word)
            || recorded.contains(word)
            || of_histogram.and_then(|name| metrics.get(name)).is_some_and(|(kind, _)| kind == "histogram")
    };
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').map(|word| word.trim_matches(':'));
    let named = words.filter(|word| word.contains("pod_registrar_"));
    named.filter(|word| !exists(word)).map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_name_existing_series() {
    let texts = [rules().to_string(), dashboard_expressions().join("\n"), text("tests/chart/rules.yaml")];
    for text in texts {
        assert_eq!(unknown_series(&text), Vec::<String>::new());
    }
    let metrics = Metrics::new(Health::new(1));
    let _default = metrics.target("default");
    let encoded = metrics.encode().unwrap();
    assert!(encoded.contains("acknowledgement_seconds_bucket{le=\"1.0\","), "the rules use this bucket");
}

/// Where the chart looks for the folder `docs/`.
fn runbook_prefix() -> String {
    let values: Value = serde_saphyr::from_str(&text("deploy/chart/values.yaml")).unwrap();
    let prefix = values["prometheusRule"]["runbookPrefix"].as_str().unwrap();
    assert!(prefix.starts_with("https://") && prefix.ends_with('/'), "{prefix} is absolute");
    prefix.to_owned()
}

/// The step of the release puts the address of the tag into the chart.
#[test]
fn released_runbooks_are_those_of_the_tag() {
    let workflow = text(".github/workflows/release.yml");
    let step = workflow.lines().find_map(|line| line.trim().strip_prefix("- run: sed -i ")).expect("the step");
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(copy.path().join("deploy/chart/monitoring")).unwrap();
    let files = ["deploy/chart/values.yaml", "deploy/chart/monitoring/prometheusrule.yaml"];
    for file in files {
        std::fs::write(copy.path().join(file), text(file)).unwrap();
    }
    let tag = "https://git.example/infra/pod-registrar/blob/v1.2.3/";
    let mut sed = std::process::Command::new("sh");
    sed.args(["-c", &format!("sed -i {step}")]).env("PAGES", tag).current_dir(copy.path());
    assert!(sed.status().unwrap().success());
    for file in files {
        let expected = text(file).replace(&runbook_prefix(), tag);
        assert_eq!(std::fs::read_to_string(copy.path().join(file)).unwrap(), expected);
    }
}

#[test]
fn alerts_have_runbooks_and_tests() {
    let (page, tests) = (text("docs/operations.md"), text("tests/chart/rules.yaml"));
    let faults = text("tests/it/prometheus/faults.rs");
    let (_, section) = page.split_once("\n## Alerts\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut names = Vec::new();
    for rule in all_rules() {
        let Some(name) = rule["alert"].as_str() else { continue };
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
        assert!(section.contains(&format!("\n### {name}\n")), "docs/operations.md has no runbook for {name}");
        let row = format!("| [`{name}`](#{}) | {severity} |", name.to_lowercase());
        assert!(section.contains(&row), "the table of docs/operations.md lacks {row}");
        let runbook = format!("{}docs/operations.md#{}", runbook_prefix(), name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], runbook);
        assert!(rule["annotations"]["summary"].as_str().unwrap().ends_with('.'), "{name}");
        let (quiet, fires) =
            (format!("alertname: {name}, exp_alerts: []"), format!("alertname: {name}, exp_alerts: [{{"));
        assert!(tests.contains(&quiet) && tests.contains(&fires), "tests/chart/rules.yaml lacks a test for {name}");
        assert!(faults.contains(&format!("\"{name}\"")), "tests/it/prometheus/faults.rs lacks a fault for {name}");
        names.push(name.to_owned());
    }
    let runbooks = section.lines().filter_map(|line| line.strip_prefix("### PodRegistrar"));
    assert_eq!(runbooks.count(), names.len(), "a runbook for each of {names:?}, and no other");
}

pub(crate) fn dashboard() -> Value {
    serde_json::from_str(&text(DASHBOARD)).unwrap()
}

/// The queries of the dashboard, with those of its variables.
fn dashboard_expressions() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let of = |value: &Value| value.as_str().map(str::to_owned);
    targets
        .filter_map(|target| of(&target["expr"]))
        .chain(variables.filter_map(|variable| of(&variable["definition"])))
        .collect()
}

#[test]
fn dashboard_shows_every_metric() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "Grafana needs different ids");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let is_explained = panel["description"].as_str().is_some_and(|text| text.ends_with('.'));
        assert!(is_explained, "{} has no description", panel["title"]);
    }
    let shown = dashboard_expressions().join("\n");
    let missing: Vec<_> = metrics().into_keys().filter(|name| !shown.contains(&**name)).collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}
