//! Prometheus as a process, and requests to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Child, chart::ChartTools, http_client};

/// The time between scrapes, and between evaluations of the rules, that this test divides. Prometheus' own default is a
/// minute.
const INTERVAL: Duration = Duration::from_secs(30);
/// Runs a command that ends with the standard input, which the test holds open: also if the test is killed.
const TIED: &str = r#"exec 3<&0; (cat <&3; kill -9 $$) >/dev/null 2>&1 & exec "$@" 3<&- </dev/null"#;

pub(super) struct Prometheus {
    url: String,
    client: reqwest::Client,
    folder: TempDir,
    _child: Child,
}

impl Prometheus {
    /// Starts Prometheus with these rules. Its own times are divided by the same number as those of the rules.
    pub(super) async fn start(tools: &ChartTools, rules: &Value, by: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let interval = format!("{}ms", (INTERVAL / by).as_millis());
        let config = json!({
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "pod-registrar", "file_sd_configs": [{"files": ["replicas.json"]}]}],
        });
        // JSON is YAML.
        write(folder.path(), "rules.yml", rules);
        write(folder.path(), "prometheus.yml", &config);
        write(folder.path(), "replicas.json", &json!([]));
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let program = tools.program("prometheus");
        let flags = [
            format!("--config.file={}", path("prometheus.yml")),
            format!("--storage.tsdb.path={}", path("data")),
            "--web.listen-address=127.0.0.1:0".to_owned(),
        ];
        let mut arguments = vec!["-c".to_owned(), TIED.to_owned(), "sh".to_owned()];
        arguments.push(program.to_str().unwrap().to_owned());
        arguments.extend(flags);
        let mut child = Child::start_other(Path::new("sh"), &arguments, &[]);
        let line = child.log_line("Listening on").await;
        let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        Self { url: format!("http://{address}"), client: http_client(), folder, _child: child }
    }

    /// Scrapes these addresses from now on, by the names of their pods.
    pub(super) fn scrape(&self, pods: &BTreeMap<&'static str, String>) {
        let groups: Vec<Value> =
            pods.iter().map(|(pod, address)| json!({"targets": [address], "labels": {"pod": pod}})).collect();
        write(self.folder.path(), "replicas.json", &json!(groups));
    }

    /// The result of an expression at this moment.
    pub(super) async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let data = self.get(&format!("query?query={}", encoded(expression))).await?;
        Ok(data["result"].as_array().ok_or_else(|| format!("{expression}: {data}"))?.clone())
    }

    /// The result of an expression over the last seconds.
    pub(super) async fn query_range(&self, expression: &str, seconds: u32) -> Result<Vec<Value>, String> {
        let now = jiff::Timestamp::now().as_second();
        let path =
            format!("query_range?query={}&start={}&end={now}&step=1", encoded(expression), now - i64::from(seconds));
        let data = self.get(&path).await?;
        Ok(data["result"].as_array().ok_or_else(|| format!("{expression}: {data}"))?.clone())
    }

    /// The values of a label of the series that match.
    pub(super) async fn label_values(&self, series: &str, label: &str) -> Result<Vec<Value>, String> {
        let data = self.get(&format!("label/{label}/values?match[]={}", encoded(series))).await?;
        Ok(data.as_array().ok_or_else(|| format!("{series}: {data}"))?.clone())
    }

    /// The alerts that fire at this moment.
    pub(super) async fn firing(&self) -> Result<BTreeSet<String>, String> {
        let data = self.get("alerts").await?;
        let alerts = data["alerts"].as_array().ok_or_else(|| data.to_string())?.iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        Ok(firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect())
    }

    /// The alerts that have fired since the start, also for one evaluation.
    pub(super) async fn fired(&self) -> Result<BTreeSet<String>, String> {
        let ever = r#"group by (alertname) (max_over_time(ALERTS{alertstate="firing"}[1h]))"#;
        let found = self.query(ever).await?;
        Ok(found.iter().map(|series| series["metric"]["alertname"].as_str().unwrap().to_owned()).collect())
    }

    /// The health of each rule, by its name. A rule that cannot be evaluated is not `ok`.
    pub(super) async fn unhealthy_rules(&self) -> Result<Vec<Value>, String> {
        let data = self.get("rules").await?;
        let groups = data["groups"].as_array().ok_or_else(|| data.to_string())?.iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap().clone());
        Ok(rules.filter(|rule| rule["health"] != "ok").collect())
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let answer = self.client.get(format!("{}/api/v1/{path}", self.url)).send().await;
        let text = answer.map_err(|error| error.to_string())?.text().await.map_err(|error| error.to_string())?;
        let mut document: Value = serde_json::from_str(&text).map_err(|error| format!("{path}: {error}: {text}"))?;
        let is_complete = document["status"] == "success" && document.get("warnings").is_none();
        if is_complete { Ok(document["data"].take()) } else { Err(format!("{path}: {text}")) }
    }
}

/// Replaces a file at once.
fn write(folder: &Path, name: &str, document: &Value) {
    let new: PathBuf = folder.join(format!("{name}.new"));
    std::fs::write(&new, document.to_string()).unwrap();
    std::fs::rename(new, folder.join(name)).unwrap();
}

/// The text for a query of a URL.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut url, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => url.push(byte.into()),
            _ => write!(url, "%{byte:02X}").unwrap(),
        }
        url
    })
}
