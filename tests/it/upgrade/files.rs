//! Databases and memories of all earlier versions are migrated, those of later ones are refused, and targets files of
//! earlier versions are accepted.
//!
//! Each database in `files/` has the schema and the rows of one version. Never change the files of a release; add one
//! for each new version of a schema, and for each release that adds members to targets files.

use std::{collections::BTreeMap, fs, path::Path};

use pod_registrar::{demo::pod::pod, model::ids::DEFAULT_OWNER};
use rusqlite::Connection;
use serde_json::json;

use super::world::{Replica, database_of};
use crate::{
    process::world::{CLUSTER, Kube},
    support::{Child, Reader, RegistryProcess, RestRegistry, SOON, Version, eventually, until},
};

const REGISTRIES: [&str; 2] = [include_str!("files/registry_1.sql"), include_str!("files/registry_2.sql")];
const MEMORIES: [&str; 3] =
    [include_str!("files/memory_1.sql"), include_str!("files/memory_2.sql"), include_str!("files/memory_3.sql")];
/// The cluster whose record the databases have, and the UID of its pod.
const KNOWN_CLUSTER: &str = "f8f8462e-beca-474c-abf8-ca054dd61ca5";
const KNOWN_POD: &str = "cfd7de88-8f3b-41f0-9cf9-8063f9416f65";

/// The releases whose targets files are there.
const TARGETS: [&str; 1] = ["0.1.0"];

/// The version of a database, and its tables without comments and white space.
fn schema(path: &Path) -> (i64, BTreeMap<String, String>) {
    let conn = Connection::open(path).unwrap();
    let version = conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let mut statement = conn.prepare("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").unwrap();
    let bare = |sql: String| -> String {
        let code = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
        code.flat_map(|line| line.chars().filter(|char| !char.is_whitespace() && *char != '"')).collect()
    };
    let tables = statement.query_map([], |row| Ok((row.get(0)?, bare(row.get(1)?)))).unwrap();
    (version, tables.collect::<Result<_, _>>().unwrap())
}

#[tokio::test]
async fn databases_of_earlier_versions_are_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let (new, earlier) = (folder.path().join("new"), folder.path().join("earlier"));
    fs::create_dir(&new).unwrap();
    let mut registry = RegistryProcess::start(&new).await;
    registry.kill();
    let latest = schema(&registry.database);
    assert_eq!(latest.0, i64::try_from(REGISTRIES.len()).unwrap(), "add a file for the new version");
    for sql in REGISTRIES {
        fs::create_dir(&earlier).unwrap();
        database_of(sql, &[], &earlier.join("registry.db")).unwrap();
        let mut registry = RegistryProcess::start(&earlier).await;
        let record = registry.reader().record(KNOWN_CLUSTER, DEFAULT_OWNER, KNOWN_POD).await.unwrap();
        assert_eq!(record["pod"]["name"], "storefront-9pmgz4rzdx-slr2r");
        let writer = registry.reader().writer(KNOWN_CLUSTER, DEFAULT_OWNER).await.unwrap();
        assert_eq!((&writer["epoch"], &writer["pods"]), (&json!(1), &json!(1)), "{writer}");
        // A controller finds the pod gone, after which the same row was read, changed and removed.
        let kube = Kube::start().await;
        kube.api.set_cluster_uid(KNOWN_CLUSTER);
        kube.api.create(pod("web").running()).unwrap();
        let flags = ["--registry-url", &registry.url];
        let replica = Replica::start(&Version::current(), &kube, "r", &flags).await;
        let reader: Reader = registry.reader();
        eventually("the registry equals the cluster", 4 * SOON, async || {
            let ids = reader.ids(KNOWN_CLUSTER, DEFAULT_OWNER).await?;
            if ids == kube.uids() { Ok(()) } else { Err(format!("{ids:?}")) }
        })
        .await;
        replica.stop().await;
        registry.kill();
        assert_eq!(schema(&registry.database), latest);
        fs::remove_dir_all(&earlier).unwrap();
    }
}

#[tokio::test]
async fn database_of_a_later_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    database_of(&format!("{}PRAGMA user_version = 9;", REGISTRIES[1]), &[], &path).unwrap();
    let database = path.to_str().unwrap();
    let mut refused = Child::start(&["registry", "--listen", "127.0.0.1:0", "--database", database]);
    assert_eq!(refused.code().await, 1);
    let error = refused.stderr().join("\n");
    let known = format!("schema version 9, and this release knows {}", REGISTRIES.len());
    assert!(error.contains(database) && error.contains(&known) && error.contains("; use the release"), "{error}");
    assert_eq!(schema(&path).0, 9, "it is left as it is");
}

/// Starts a controller with this memory. The first pod has its record, the second is gone, the put of the third and the
/// deletion of the fourth had no answer.
async fn remembered(sql: &str, later: &str) -> (Kube, RestRegistry, Replica) {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    let (file, memory) = (kube.folder.path().join("targets.yaml"), kube.folder.path().join("memory.db"));
    let target = json!({"name": "hook", "url": registry.url, "memory": memory, "exclusive": true,
        "body": {"name": "{{ pod.name }}"},
        "put": {"path": "systems/{{ id }}"}, "delete": {"path": "systems/{{ id }}"}});
    fs::write(&file, json!({"targets": [target]}).to_string()).unwrap();
    database_of(&format!("{sql}{later}"), &[("CLUSTER", CLUSTER), ("URL", &registry.url)], &memory).unwrap();
    for (name, number) in [("same", 1), ("sent", 3)] {
        kube.api.create(pod(name).uid(uid(number)).running()).unwrap();
    }
    let flags = ["--targets", file.to_str().unwrap()];
    let replica = Replica::start(&Version::current(), &kube, "r", &flags).await;
    (kube, registry, replica)
}

fn uid(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

#[tokio::test]
async fn memories_of_earlier_versions_are_migrated() {
    for sql in MEMORIES {
        let (kube, registry, replica) = remembered(sql, "").await;
        let expected = ["DELETE", "PUT", "DELETE"].into_iter().zip([2, 3, 4]);
        let mut expected: Vec<String> =
            expected.map(|(method, number)| format!("{method} /systems/{}", uid(number))).collect();
        expected.sort();
        let mut sent = Vec::new();
        until("what differs is sent", || {
            sent.extend(registry.requests());
            sent.sort();
            sent.len() >= expected.len()
        })
        .await;
        until("it is in sync", || replica.logged("the registry is equal to the cluster")).await;
        sent.extend(registry.requests());
        sent.sort();
        assert_eq!(sent, expected);
        replica.stop().await;
        assert_eq!(
            schema(&kube.folder.path().join("memory.db")).0,
            i64::try_from(MEMORIES.len()).unwrap(),
            "add a file"
        );
    }
}

#[tokio::test]
async fn memory_of_a_later_version_is_refused() {
    let (kube, registry, replica) = remembered(MEMORIES[2], "PRAGMA user_version = 9;").await;
    let (memory, known) = (kube.folder.path().join("memory.db"), MEMORIES.len());
    let error = format!(
        "the memory file {} has version 9, and this release knows {known}; use the release that wrote it",
        memory.display()
    );
    until("it is reported", || replica.logged(&error)).await;
    replica.stop().await;
    assert_eq!((registry.requests(), schema(&memory).0), (Vec::new(), 9), "nothing is sent, and it is left as it is");
}

#[tokio::test]
async fn targets_files_of_earlier_versions_are_accepted() {
    for version in TARGETS {
        let path = format!("{}/tests/it/upgrade/files/targets_{version}.yaml", env!("CARGO_MANIFEST_DIR"));
        let mut shown = Child::start(&["targets", "render", "hook", "--targets", &path]);
        assert_eq!(shown.code().await, 0, "{}", shown.stderr().join("\n"));
    }
}
