//! `docs/examples/changes.*`: readers of the feed of changes, in three languages.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    project,
    support::{BrokenRegistry, Child, Defect, RegistryTask, http_client, notice, until},
};

/// A session of a registry, and the files of a reader.
struct Feed {
    url: String,
    folder: TempDir,
    seq: u64,
}

impl Feed {
    async fn start(url: &str) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        let feed = Self { url, folder: tempfile::tempdir().unwrap(), seq: 0 };
        feed.send("POST", "session", &json!({"instance": "i", "ttlSeconds": 90})).await;
        feed
    }

    async fn send(&self, method: &str, path: &str, body: &Value) {
        let url = format!("{}/v1/clusters/c/{path}", self.url);
        let answer = http_client().request(method.parse().unwrap(), url).body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
    }

    async fn put(&mut self, id: &str) {
        self.seq += 1;
        let record = json!({
            "schema": 1, "owner": "pod-registrar", "cluster": {"id": "c"},
            "pod": {"uid": id, "namespace": "shop", "name": id}, "state": {"lifecycle": "active"},
            "times": {"created": "2026-11-23T10:00:00.000Z"}, "version": {"epoch": 1, "seq": self.seq},
        });
        self.send("PUT", &format!("pods/{id}"), &record).await;
    }

    async fn delete(&mut self, id: &str) {
        self.seq += 1;
        self.send("DELETE", &format!("pods/{id}?epoch=1&seq={}", self.seq), &Value::Null).await;
    }

    fn cursor(&self) -> PathBuf {
        self.folder.path().join("cursor")
    }

    fn read(&self, (program, arguments): &(PathBuf, Vec<String>)) -> Child {
        let mut all = arguments.clone();
        all.extend([self.url.clone(), "c".to_owned(), self.cursor().to_str().unwrap().to_owned()]);
        Child::start_other(program, &all, &[])
    }
}

async fn prints(child: &Child, lines: &[&str]) {
    until(&format!("the reader prints {lines:?}"), || child.stdout() == lines).await;
}

/// Follows, resumes after a restart, and starts again from the inventory when its cursor is no longer kept.
async fn follows_the_changes(command: (PathBuf, Vec<String>)) {
    let registry = RegistryTask::start();
    let mut feed = Feed::start(&registry.url).await;
    feed.put("a").await;
    let mut reader = feed.read(&command);
    prints(&reader, &["inventory", "have a"]).await;
    feed.put("b").await;
    prints(&reader, &["inventory", "have a", "put b"]).await;
    let position = "2";
    until("the cursor is stored", || fs::read_to_string(feed.cursor()).is_ok_and(|text| text == position)).await;
    reader.kill();
    feed.put("c").await;
    feed.delete("a").await;
    let mut reader = feed.read(&command);
    prints(&reader, &["put c", "delete a"]).await;
    reader.kill();
    // As of another registry, or after the registry has lost its changes: 410.
    fs::write(feed.cursor(), "1000000").unwrap();
    let mut reader = feed.read(&command);
    prints(&reader, &["inventory", "have b", "have c"]).await;
    feed.put("d").await;
    prints(&reader, &["inventory", "have b", "have c", "put d"]).await;
    reader.kill();
    // As after a crash of the machine.
    fs::write(feed.cursor(), "").unwrap();
    let mut reader = feed.read(&command);
    prints(&reader, &["inventory", "have b", "have c", "have d"]).await;
    until("the cursor is stored", || fs::read_to_string(feed.cursor()).is_ok_and(|text| text == "5")).await;
    reader.kill();
    assert!(!feed.cursor().with_extension("new").exists(), "it was renamed");
    starts_again_without_a_page(&command).await;
}

/// The second page of the inventory is no longer kept when it is asked for. Afterwards, one page has all.
async fn starts_again_without_a_page(command: &(PathBuf, Vec<String>)) {
    let defect = Defect::Answer(|request, answer| {
        if request.parameter("page").is_some() {
            // Without a problem, as from a proxy.
            (answer.status, answer.json) = (410, Value::Null);
        } else if request.is("GET", "/pods?") && request.refused("GET", "/pods", 410).is_none() {
            answer.json["items"].as_array_mut().unwrap().truncate(1);
            answer.json["next"] = json!("second");
        }
    });
    let registry = BrokenRegistry::start(defect).await;
    let mut feed = Feed::start(&registry.url).await;
    feed.put("a").await;
    feed.put("b").await;
    let reader = feed.read(command);
    prints(&reader, &["inventory", "have a", "inventory", "have a", "have b"]).await;
    feed.put("c").await;
    prints(&reader, &["inventory", "have a", "inventory", "have a", "have b", "put c"]).await;
}

fn example(name: &str) -> String {
    project::root().join("docs/examples").join(name).to_str().unwrap().to_owned()
}

/// Whether a program is installed.
fn is_installed(program: &str, version: &str) -> bool {
    let spawned = Command::new(program).arg(version).output();
    !spawned.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

#[tokio::test]
async fn python_example_follows_the_changes() {
    if !is_installed("python3", "--version") {
        return notice("skipped: python3 is missing");
    }
    follows_the_changes((PathBuf::from("python3"), vec![example("changes.py")])).await;
}

#[tokio::test]
async fn node_example_follows_the_changes() {
    if !is_installed("node", "--version") {
        return notice("skipped: node is missing");
    }
    follows_the_changes((PathBuf::from("node"), vec![example("changes.mjs")])).await;
}

#[tokio::test]
async fn go_example_follows_the_changes() {
    if !is_installed("go", "version") {
        return notice("skipped: go is missing");
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("changes");
    let built = Command::new("go").args(["build", "-o"]).arg(&program).arg(Path::new(&example("changes.go"))).output();
    let built = built.unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    follows_the_changes((program, Vec::new())).await;
}
