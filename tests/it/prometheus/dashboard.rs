//! The dashboard and the recording rules: Grafana's schema, and every query asked of Prometheus.

use serde_json::{Value, json};

use super::installation::{FAST, Installation};
use crate::{
    project::{
        alerts::{DASHBOARD, dashboard},
        root, text,
    },
    support::{SOON, chart::ChartTools, eventually},
};

/// Grafana puts four scrape intervals, or more if the panel shows a long time, into `$__rate_interval`.
const RATE_INTERVAL: &str = "10s";
const SHOWN_SECONDS: u32 = 10;
const RECORDED: [&str; 3] = [
    "target:pod_registrar_changes_acknowledged:rate5m",
    "target:pod_registrar_changes_acknowledged_within_1s:rate5m",
    "target:pod_registrar_changes_acknowledged_within_1s:ratio_rate5m",
];

/// A query as Grafana sends it while all values of the variables are selected.
fn sent(expression: &str) -> String {
    let sent = expression.replace("$__rate_interval", RATE_INTERVAL).replace("$job", ".*").replace("$target", ".*");
    assert!(!sent.contains('$'), "a variable that the test does not know: {sent}");
    sent
}

fn panel_queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    queries.map(|query| sent(query["expr"].as_str().unwrap())).collect()
}

/// The series and the label of each variable that asks Prometheus.
fn variables(dashboard: &Value) -> Vec<(String, String)> {
    let list = dashboard["templating"]["list"].as_array().unwrap().iter();
    let definitions = list.filter_map(|variable| variable["definition"].as_str());
    let parts = definitions.map(|text| {
        let call = text.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        call.rsplit_once(", ").unwrap()
    });
    parts.map(|(series, label)| (sent(series), label.to_owned())).collect()
}

#[test]
fn dashboard_fits_grafanas_schema() {
    let Some(tools) = ChartTools::find() else { return };
    let (file, dashboard) = (root().join(DASHBOARD), text(DASHBOARD));
    let output = tools.run("dashboard", &[file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The check finds a misspelled, a missing and a wrong member.
    for (from, to) in [("\"expr\"", "\"exprs\""), ("\"showLegend\": true,", ""), ("\"h\": 4", "\"h\": \"4\"")] {
        assert!(dashboard.contains(from), "{from}");
        let wrong = tools.file("wrong.json", &dashboard.replace(from, to));
        assert!(!tools.run("dashboard", &[&wrong]).status.success(), "{from}, changed to {to}");
    }
}

/// While everything is in order, every panel has something to show.
#[tokio::test]
async fn dashboard_queries_have_results() {
    let Some(world) = Installation::start(FAST).await else { return };
    let dashboard = dashboard();
    let queries = panel_queries(&dashboard);
    assert!(queries.len() > 25, "{queries:?}");
    for query in queries.iter().map(String::as_str).chain(RECORDED) {
        eventually(query, SOON, async || {
            let (now, range) =
                (world.prometheus.query(query).await?, world.prometheus.query_range(query, SHOWN_SECONDS).await?);
            if now.is_empty() || range.is_empty() { Err(format!("{now:?} {range:?}")) } else { Ok(()) }
        })
        .await;
    }
    let values = [("job", json!(["pod-registrar"])), ("target", json!(["default"]))];
    let variables = variables(&dashboard);
    assert_eq!(variables.len(), values.len());
    for ((series, label), (expected, values)) in variables.into_iter().zip(values) {
        assert_eq!(label, expected);
        assert_eq!(json!(world.prometheus.label_values(&series, &label).await.unwrap()), values);
    }
    let ratio = world.prometheus.query(RECORDED[2]).await.unwrap();
    let ratio: f64 = ratio[0]["value"][1].as_str().unwrap().parse().unwrap();
    assert!(ratio > 0.0 && ratio <= 1.0, "{ratio}");
}
