//! The presets `webhook` and `cloudevents` against the libraries that receivers use: Standard Webhooks' own, which
//! verifies each message, and the SDK of CloudEvents, which parses each event.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use pod_registrar::reconcile::outcome::{Failure, Verdict};
use serde_json::Value;

use super::{
    CLUSTERS, all_done, created, object, pods,
    process::{change, create, ends, synced, targets},
    uid,
};
use crate::{
    process::world::Kube,
    support::{
        Controller, Fault, Faults, FaultyProxy, eventually,
        registries::{BuiltRegistries, HttpRegistry, TargetWriter},
        until,
    },
};

/// Base64 of 24 bytes, as the specification of Standard Webhooks asks for.
const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_bm90LXNlY3JldC1vZi0yNC1ieXRlcy4u";
const MODES: [(&str, &str); 3] = [
    ("cloudevents", "application/cloudevents+json"),
    ("cloudevents-binary", "application/json"),
    ("cloudevents-batched", "application/cloudevents-batch+json"),
];

/// A target of a preset, with further members.
fn file(preset: &str, url: &str, more: &str) -> String {
    format!("targets:\n  - {{name: bus, preset: {preset}, url: \"{url}\"{more}}}\n")
}

/// The member `sign`, with a file for each secret.
fn signed(folder: &Path, secrets: &[&str]) -> String {
    let paths: Vec<String> = secrets
        .iter()
        .enumerate()
        .map(|(n, secret)| {
            let path = folder.join(format!("secret-{n}"));
            std::fs::write(&path, secret).unwrap();
            path.display().to_string()
        })
        .collect();
    format!(", sign: {{standardWebhooks: {{secretFiles: [{}]}}}}", paths.join(", "))
}

/// What the receiver has accepted, in the order of arrival.
async fn messages(receiver: &HttpRegistry) -> Vec<Value> {
    receiver.get("/messages").await.body.as_array().unwrap().iter().map(|line| line["message"].clone()).collect()
}

/// The records of one who applies the messages, each id once.
async fn records(receiver: &HttpRegistry) -> BTreeMap<String, Value> {
    let (mut records, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for message in messages(receiver).await {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if !seen.insert(text(&message["id"])) {
            continue;
        }
        let key = if message["subject"].is_null() { text(&message["data"]["id"]) } else { text(&message["subject"]) };
        if text(&message["type"]).contains("deleted") {
            records.remove(&key);
        } else {
            records.insert(key, message["data"].clone());
        }
    }
    records
}

#[tokio::test]
async fn library_verifies_messages_while_secrets_rotate() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let sign = signed(folder.path(), &[NEW, OLD]);
    // Receivers that know only one of the two.
    for known in [OLD, NEW] {
        let receiver = registries.receiver("webhooks", &[known]).await;
        let writer = TargetWriter::new(&file("webhook", &receiver.url, &sign), CLUSTERS[0]);
        writer.begin(1).await.unwrap();
        let pods = pods(&writer, 1..4);
        all_done(writer.apply(&pods, &[]).await);
        assert_eq!(writer.delete(&pods[0].uid).await, Ok(Verdict::Done));
        assert_eq!(records(&receiver).await.into_keys().collect::<Vec<_>>(), [uid(2), uid(3)]);
        let data = &records(&receiver).await[&uid(2)];
        assert_eq!((&data["pod"]["name"], &data["placement"]["podIPs"][0]), (&"web-2".into(), &"10.0.0.2".into()));
        let shown = format!("{:?}", writer.exchanges());
        assert!(!shown.contains("whsec_") && !shown.contains(&NEW[6..]), "{shown}");
    }
}

#[tokio::test]
async fn wrong_secret_pauses_until_its_file_changes() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (folder, receiver) = (tempfile::tempdir().unwrap(), registries.receiver("webhooks", &[NEW]).await);
    let sign = signed(folder.path(), &[OLD]);
    let writer = TargetWriter::new(&file("webhook", &receiver.url, &sign), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let pods = pods(&writer, 1..3);
    assert!(matches!(writer.put(&pods[0]).await, Err(Failure::Unauthorized { status: 401, .. })));
    assert!(receiver.get("/refused").await.body[0].as_str().unwrap().contains("No matching signature"));
    // It is read again when the receiver refuses it.
    signed(folder.path(), &[NEW]);
    assert_eq!(writer.put(&pods[0]).await, Ok(Verdict::Done));
    assert_eq!(writer.put(&pods[1]).await, Ok(Verdict::Done));
    assert_eq!(records(&receiver).await.len(), 2);
}

#[tokio::test]
async fn sdk_parses_events_of_every_mode() {
    let Some(registries) = BuiltRegistries::find() else { return };
    for (preset, mode) in MODES {
        let receiver = registries.receiver("events", &[]).await;
        let writer = TargetWriter::new(&file(preset, &receiver.url, ", vars: {type: com.example.pod}"), CLUSTERS[0]);
        writer.begin(1).await.unwrap();
        let ours = pods(&writer, 1..8);
        all_done(writer.apply(&ours, &[]).await);
        let changed = writer.pod(created(object(2).image("web:2")));
        assert_eq!(writer.put(&changed).await, Ok(Verdict::Done));
        all_done(writer.apply(&[], &[ours[0].uid.clone(), ours[2].uid.clone()]).await);
        let lines = receiver.get("/messages").await.body;
        assert!(lines.as_array().unwrap().iter().all(|line| line["mode"] == mode), "{preset}: {lines}");
        let events = messages(&receiver).await;
        let ids: BTreeSet<String> = events.iter().map(|event| event["id"].to_string()).collect();
        assert_eq!((events.len(), ids.len()), (10, 10), "{preset}");
        let source = format!("/clusters/{}", CLUSTERS[0]);
        for event in &events {
            let kind = event["type"].as_str().unwrap();
            assert!(["com.example.pod.upserted.v1", "com.example.pod.deleted.v1"].contains(&kind), "{kind}");
            assert_eq!((&event["source"], &event["specversion"]), (&source.clone().into(), &"1.0".into()));
        }
        assert!(events.windows(2).all(|pair| pair[0]["sequence"].as_str() < pair[1]["sequence"].as_str()), "{preset}");
        let records = records(&receiver).await;
        let wanted = [2, 4, 5, 6, 7].map(uid);
        assert_eq!(records.keys().cloned().collect::<Vec<_>>(), wanted, "{preset}");
        assert_eq!(records[&uid(2)]["containers"][0]["image"], "web:2");
        assert_eq!(receiver.get("/refused").await.body, Value::from(Vec::<Value>::new()));
    }
}

#[tokio::test]
async fn repeated_message_keeps_its_id() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let sign = signed(folder.path(), &[NEW]);
    let cases = [
        ("webhook", "webhooks", sign.as_str()),
        ("cloudevents", "events", ""),
        ("cloudevents-binary", "events", ""),
        ("cloudevents-batched", "events", ""),
    ];
    for (preset, kind, more) in cases {
        let receiver = registries.receiver(kind, &[NEW]).await;
        let proxy = FaultyProxy::start(receiver.url.strip_prefix("http://").unwrap().to_owned()).await;
        let writer = TargetWriter::new(&file(preset, &format!("http://{}", proxy.address), more), CLUSTERS[0]);
        writer.begin(1).await.unwrap();
        let pods = pods(&writer, 1..3);
        let lose = Faults { up: Fault::Clear, down: Fault::Truncate(0) };
        for pod in &pods {
            proxy.set(lose);
            assert!(matches!(writer.put(pod).await, Err(Failure::Broken(_))));
            proxy.repair();
            assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
        }
        proxy.set(lose);
        assert!(matches!(writer.delete(&pods[0].uid).await, Err(Failure::Broken(_))));
        proxy.repair();
        assert_eq!(writer.delete(&pods[0].uid).await, Ok(Verdict::Done));
        let messages = messages(&receiver).await;
        let of = |member: &str| messages.iter().map(|message| message[member].to_string()).collect::<Vec<_>>();
        let [ids, times] = ["id", if kind == "events" { "time" } else { "timestamp" }].map(of);
        assert_eq!(ids.len(), 6, "{preset}: each message came twice: {ids:?}");
        for pair in ids.chunks(2).chain(times.chunks(2)) {
            assert_eq!(pair[0], pair[1], "{preset}");
        }
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3, "{preset}: {ids:?}");
        assert_eq!(records(&receiver).await.into_keys().collect::<Vec<_>>(), [uid(2)]);
    }
}

/// A process with a memory: restarts, a crash with pods deleted in the meantime, lost answers, and a receiver that is
/// killed.
async fn live(registries: &BuiltRegistries, preset: &str, kind: &'static str) {
    let (kube, mut receiver) = (Kube::start().await, registries.receiver(kind, &[NEW]).await);
    let folder = kube.folder.path().to_owned();
    let mut more = format!(", memory: \"{}\"", folder.join("memory.db").display());
    if kind == "webhooks" {
        more += &signed(&folder, &[NEW, OLD]);
    }
    let proxy = FaultyProxy::start(receiver.url.strip_prefix("http://").unwrap().to_owned()).await;
    let path = targets(&folder, &file(preset, &format!("http://{}", proxy.address), &more));
    let start = || Controller::start_with_targets(&kube.kubeconfig, &path, &["--resync-interval", "3s"]);
    let equal = async |receiver: &HttpRegistry, when: &str| {
        // A record whose request was lost several times is tried once per minute, until it is answered.
        let within = 2 * super::process::WITHIN;
        eventually(&format!("the receiver knows the cluster {when}"), within, async || {
            let known: BTreeSet<String> = records(receiver).await.into_keys().collect();
            let wanted = kube.uids();
            let differ: Vec<&String> = known.symmetric_difference(&wanted).collect();
            if differ.is_empty() { Ok(()) } else { Err(format!("{differ:?}")) }
        })
        .await;
    };
    create(&kube, 0..30);
    let mut controller = start();
    equal(&receiver, "at first").await;
    synced(&mut controller, "bus").await;
    assert_eq!(messages(&receiver).await.len(), 30, "one message per pod");
    ends(controller).await;

    // Killed; pods are deleted, changed and created before it starts again. Nothing that was acknowledged is sent
    // again.
    let mut controller = start();
    synced(&mut controller, "bus").await;
    controller.kill();
    let before = messages(&receiver).await.len();
    assert_eq!(before, 30, "a restart sends nothing");
    kube.delete(0..3);
    change(&kube, 5, 2);
    create(&kube, 30..32);
    let mut controller = start();
    equal(&receiver, "after a crash").await;
    synced(&mut controller, "bus").await;
    let news = messages(&receiver).await.split_off(before);
    let deleted = news.iter().filter(|message| message["type"].to_string().contains("deleted")).count();
    assert_eq!((deleted, news.len()), (3, 6), "{news:#?}");

    // Answers are lost, and the receiver is killed.
    let lost = proxy.lost();
    proxy.set(Faults { up: Fault::Clear, down: Fault::Truncate(0) });
    (6..10).for_each(|number| change(&kube, number, 3));
    kube.delete(10..12);
    until("answers are lost", || proxy.lost() > lost + 2).await;
    receiver
        .restart(async || {
            create(&kube, 32..35);
            kube.delete(12..14);
        })
        .await;
    proxy.repair();
    equal(&receiver, "after lost answers").await;
    synced(&mut controller, "bus").await;
    // Each change has one id, however often it came.
    let mut contents: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for message in messages(&receiver).await {
        contents.entry(message["id"].to_string()).or_default().insert(message["data"].to_string());
    }
    assert!(contents.values().all(|contents| contents.len() == 1), "{contents:#?}");
    let distinct: BTreeSet<_> = contents.into_values().flatten().collect();
    assert!(distinct.len() >= 30 + 6, "{}", distinct.len());
    assert_eq!(records(&receiver).await.len(), kube.uids().len());
    controller.terminate();
    assert_eq!(controller.code().await, 0);
}

#[tokio::test]
async fn webhooks_equal_the_cluster() {
    let Some(registries) = BuiltRegistries::find() else { return };
    live(&registries, "webhook", "webhooks").await;
}

#[tokio::test]
async fn batched_events_equal_the_cluster() {
    let Some(registries) = BuiltRegistries::find() else { return };
    live(&registries, "cloudevents-batched", "events").await;
}

#[tokio::test]
async fn round_is_in_two_events() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (kube, receiver) = (Kube::start().await, registries.receiver("events", &[]).await);
    let event = |kind: &str| {
        format!(
            "{{path: \"\", body: {{specversion: \"1.0\", id: \"{{{{ change.id }}}}\", source: \"{{{{ vars.source }}}}\", \
             type: com.example.{kind}.v1, time: \"{{{{ change.time }}}}\"}}}}"
        )
    };
    let more = format!(
        ", round: {{every: 1h, begin: {}, end: {}}}, keepalive: {{every: 1s, request: {}}}",
        event("begin"),
        event("end"),
        event("alive")
    );
    let path = targets(kube.folder.path(), &file("cloudevents", &receiver.url, &more));
    create(&kube, 0..20);
    let controller = Controller::start_with_targets(&kube.kubeconfig, &path, &[]);
    let kinds = async || -> Vec<String> {
        let kind = |message: &Value| message["type"].as_str().unwrap().trim_end_matches(".v1").to_owned();
        messages(&receiver).await.iter().map(kind).collect()
    };
    let count = |kinds: &[String], kind: &str| kinds.iter().filter(|known| known.ends_with(kind)).count();
    eventually("the round ends, and signs of life go on", super::process::WITHIN, async || {
        let kinds = kinds().await;
        if count(&kinds, ".end") > 0 && count(&kinds, ".alive") > 2 { Ok(()) } else { Err(format!("{kinds:?}")) }
    })
    .await;
    ends(controller).await;
    let mut kinds = kinds().await;
    kinds.retain(|kind| !kind.ends_with(".alive"));
    assert_eq!((kinds.len(), count(&kinds, ".upserted")), (22, 20));
    assert!(kinds[0].ends_with(".begin") && kinds[21].ends_with(".end"), "{kinds:?}");
}
