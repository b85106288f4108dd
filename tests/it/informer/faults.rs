//! Faults of the API server or of the connection to it: the view stays correct, or is listed again.

use std::time::Instant;

use pod_registrar::{demo::api::status::StatusError, kubernetes::kubeconfig::Search};
use serde_json::Value;

use super::*;

/// More pods than a page of a list holds, by a label that they share.
fn many(server: &Server, count: usize) {
    for number in 0..count {
        let pod = pod(format!("many-{number:04}")).namespace("shop").label("app", "many");
        server.create(pod.running()).unwrap();
    }
}

/// A line of a watch. The type comes first, as servers write it.
fn event(kind: &str, object: &Value) -> String {
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}

/// A line of a watch with the current pod, under this resource version.
fn line(server: &Server, kind: &str, name: &str, version: &str) -> String {
    let mut object = server.pod("shop", name).unwrap();
    object["metadata"]["resourceVersion"] = version.into();
    event(kind, &object)
}

fn version(pod: &Value) -> String {
    pod["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn lists_name_no_version_but_watches_do() {
    // Neither requests a streamed list.
    let mut world = InformerHarness::listed([Fault::error_event(0, StatusError::new(410, "gone"))]).await;
    world.list_again().await;
    world.server.drop_watches();
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.equal().await;
    until("watches are open", || world.server.requests(Kind::Watch) >= 3).await;
    for request in world.server.seen() {
        let has = |name: &str| request.params.get(name).is_some_and(|value| !value.is_empty());
        assert!(!has("sendInitialEvents") && !has("resourceVersionMatch"), "{request:?}");
        match request.kind {
            Kind::List => assert!(!has("resourceVersion"), "a list that may be stale: {request:?}"),
            Kind::Watch => {
                let from = request.params.get("resourceVersion").unwrap();
                assert!(from.parse::<u64>().is_ok_and(|from| from > 0), "{request:?}");
                assert_eq!(request.params.get("allowWatchBookmarks").map(String::as_str), Some("true"));
            }
            _ => panic!("{request:?}"),
        }
    }
}

#[tokio::test]
async fn expired_page_is_retried_alone() {
    let server = InformerHarness::server().await;
    many(&server, 1_100);
    server.inject(Fault::expired_token());
    server.inject(Fault::expired_token().skip(1));
    let cluster = ClusterConnection::at(&server.url()).unwrap();
    let mut world = InformerHarness::watching(server, &cluster, PodSelection::default(), (NEVER, NEVER));
    world.equal().await;
    let listed: Vec<_> = world.events.iter().filter(|event| matches!(event, PodEvent::Listed { .. })).collect();
    let [PodEvent::Listed { list, .. }] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((list.pods, list.trusted), (1_103, true));
    assert!(world.count("watch_errors_total 2"));
    assert_eq!(world.server.requests(Kind::List), 3 + 2, "only the page is requested again");
}

#[tokio::test]
async fn list_lacking_a_page_proves_no_absence() {
    let server = InformerHarness::server().await;
    many(&server, 1_100);
    let cluster = ClusterConnection::at(&server.url()).unwrap();
    let mut world = InformerHarness::watching(server, &cluster, PodSelection::default(), (NEVER, NEVER));
    world.equal().await;
    world.server.inject(Fault::missing_page());
    let list = world.list_again().await;
    assert_eq!((list.pods, list.trusted), (603, false));
    let list = world.list_again().await;
    assert_eq!((list.pods, list.trusted), (1_103, true));
    world.equal().await;
}

#[tokio::test]
async fn uncounted_list_proves_no_absence() {
    // The list has several pages, and with a selector the server does not count its pods.
    let server = InformerHarness::server().await;
    many(&server, 600);
    let cluster = ClusterConnection::at(&server.url()).unwrap();
    let scope = PodSelection { label_selector: Some("app=many".into()), ..PodSelection::default() };
    let mut world = InformerHarness::watching(server, &cluster, scope, (NEVER, NEVER));
    let list = world.list_again().await;
    assert_eq!((list.pods, list.trusted), (600, false), "with a selector the server does not count");
}

#[tokio::test]
async fn every_earlier_view_is_refused() {
    let mut world = InformerHarness::listed([]).await;
    let mut earlier = vec![world.server.snapshot()];
    for step in 0..5 {
        match step {
            0 | 2 => world.server.delete("shop", ["a", "", "b"][step]).map(|_| ()).unwrap(),
            4 => world.server.replace_in_place(pod("c").namespace("shop").running()).map(|_| ()).unwrap(),
            _ => world.server.create(pod(format!("d{step}")).namespace("shop").running()).map(|_| ()).unwrap(),
        }
        earlier.push(world.server.snapshot());
    }
    world.server.create(pod("e").namespace("shop").running()).unwrap();
    world.equal().await;
    let held = world.server.uids();
    for (number, view) in earlier.into_iter().enumerate() {
        world.server.inject(Fault::stale_list(view));
        // The reported list is the one after it.
        let list = world.list_again().await;
        assert!(world.count(&format!("relists_total{{reason=\"stale\"}} {}", number + 1)), "{number}");
        assert_eq!((list.pods, list.trusted), (held.len(), true), "{number}");
        let shown: BTreeSet<String> = world.stored();
        assert_eq!(shown, held.values().cloned().collect(), "{number}");
    }
    let deletions = world.deletions().len();
    world.read_events();
    assert_eq!(world.deletions().len(), deletions, "no earlier view deletes a pod");
}

#[tokio::test]
async fn repeated_or_late_events_change_nothing() {
    let mut world = InformerHarness::listed([]).await;
    let before = world.server.pod("shop", "b").unwrap();
    world.server.update("shop", "b", |pod| pod["metadata"]["labels"]["app"] = "new".into()).unwrap();
    world.reported("the change", |s| matches!(s, PodEvent::Applied { name, .. } if &**name == "b")).await;
    let newest = version(&world.server.pod("shop", "b").unwrap());
    let digest = |world: &InformerHarness| {
        let uid = world.uid("b").as_str().into();
        world.view.get(&uid).unwrap().content.unwrap().digest
    };
    let right = digest(&world);
    let late = event("MODIFIED", &before);
    let replayed = [
        line(&world.server, "MODIFIED", "b", &newest),
        line(&world.server, "ADDED", "b", &newest),
        late,
        line(&world.server, "DELETED", "a", &version(&before)),
    ];
    for (number, line) in replayed.into_iter().enumerate() {
        world.server.inject(Fault::line(0, line));
        world.server.drop_watches();
        until("the line is sent", || world.server.pending_faults() == 0).await;
        world.server.create(pod(format!("after-{number}")).namespace("shop").running()).unwrap();
        world.equal().await;
        assert_eq!(digest(&world), right, "{number}");
    }
    assert!(world.deletions().is_empty(), "{:?}", world.deletions());
    world.counted("relists_total{reason=\"stale\"} 3").await;
}

/// A missing name, a name that is not a text, and a missing namespace.
#[tokio::test]
async fn nameless_pods_replace_no_other_pod() {
    let server = InformerHarness::server().await;
    let seen = server.pod("shop", "c").unwrap();
    let mut lines = Vec::new();
    for (uid, member, value) in [
        ("nameless-1", "name", Value::Null),
        ("nameless-2", "name", 7.into()),
        ("nameless-3", "namespace", Value::Null),
        ("nameless-4", "namespace", Value::Null),
    ] {
        let mut object = seen.clone();
        object["metadata"]["uid"] = uid.into();
        object["metadata"][member] = value;
        lines.push(event("ADDED", &object));
    }
    server.inject(Fault::line(0, lines.join("\n")));
    let cluster = ClusterConnection::at(&server.url()).unwrap();
    let mut world = InformerHarness::watching(server, &cluster, PodSelection::default(), (NEVER, NEVER));
    let last = |event: &PodEvent| matches!(event, PodEvent::Applied { uid, .. } if *uid.text() == *"nameless-4");
    world.reported("the last one", last).await;
    assert!(world.deletions().is_empty(), "{:?}", world.deletions());
    assert_eq!(world.view.len(), 7);
}

#[tokio::test]
async fn incomparable_versions_stop_nothing() {
    let server = InformerHarness::server().await;
    let opaque = line(&server, "MODIFIED", "b", "opaque-7f3a");
    server.inject(Fault::line(0, opaque));
    let cluster = ClusterConnection::at(&server.url()).unwrap();
    let mut world = InformerHarness::watching(server, &cluster, PodSelection::default(), (NEVER, NEVER));
    world.equal().await;
    world.reported("the opaque one", |s| matches!(s, PodEvent::Applied { name, .. } if &**name == "b")).await;
    world.server.replace_in_place(pod("b").namespace("shop").running()).unwrap();
    world.server.delete("shop", "a").unwrap();
    world.equal().await;
    assert_eq!(world.deletions().len(), 2, "by UID: {:?}", world.deletions());
}

#[tokio::test]
async fn refusals_and_rubbish_skip_no_event() {
    // They come in the stream of a watch.
    let mut world = InformerHarness::listed([]).await;
    let cut = r#"{"type":"DELETED","object":{"metadata":{"name":"#;
    let faults = [
        Fault::error_event(0, StatusError::new(500, "etcd is away")),
        Fault::error_event(0, StatusError::new(504, "Too large resource version")),
        Fault::error_event(0, StatusError::new(410, "too old resource version")),
        Fault::html(Kind::Watch),
        Fault::line(0, cut),
        Fault::line(0, r#"{"type":"WHAT","object":{}}"#),
        Fault::line(0, "]]"),
        Fault::cut(Kind::Watch, 0),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        world.server.inject(fault);
        world.server.drop_watches();
        // One event waits behind the invalid line, and one comes after it.
        world.server.create(pod(format!("d{number}")).namespace("shop").running()).unwrap();
        until("the line is sent", || world.server.pending_faults() == 0).await;
        world.server.delete("shop", &format!("d{number}")).unwrap();
        world.server.create(pod(format!("e{number}")).namespace("shop").running()).unwrap();
        world.equal().await;
    }
    // The watches that were dropped before each fault ended too early as well.
    assert!(world.errors() >= 8, "{}", world.errors());
}

#[tokio::test]
async fn truncated_line_is_requested_again() {
    let mut world = InformerHarness::listed([]).await;
    let spoiled = line(&world.server, "MODIFIED", "a", "1");
    world.server.inject(Fault::line(1, &spoiled[..spoiled.len() / 2]));
    world.server.drop_watches();
    for name in ["d", "e"] {
        world.server.create(pod(name).namespace("shop").running()).unwrap();
    }
    world.equal().await;
    assert!(world.errors() >= 1);
    assert!(!world.count("relists_total{reason=\"undecodable\"} 1"), "the watch is resumed without a list");
}

#[tokio::test]
async fn huge_pod_is_read_like_any_other() {
    // Its size is 1.5 MB.
    let mut world = InformerHarness::listed([]).await;
    let huge =
        || pod("huge").namespace("shop").annotation("note", "x".repeat(1_500_000)).label("app", "huge").running();
    world.server.create(huge()).unwrap();
    world.equal().await;
    world.list_again().await;
    world.equal().await;
    let uid = world.uid("huge").as_str().into();
    let content = world.view.get(&uid).unwrap().content.expect("a readable pod");
    assert!(content.canonical.len() < 64 << 10, "the record is bounded: {}", content.canonical.len());
    assert!(world.count("watch_errors_total 0") && world.count("undecodable_pods_total 0"));
}

#[tokio::test]
async fn throttled_requests_back_off_and_keep_the_view() {
    let mut world = InformerHarness::listed([]).await;
    let busy = |kind| Fault::failure(kind, StatusError::new(429, "too many requests").retry_after(1)).always();
    world.server.inject(busy(Kind::Watch));
    world.server.inject(busy(Kind::List));
    let (begun, before) = (Instant::now(), world.server.requests(Kind::Watch));
    world.server.drop_watches();
    world.server.delete("shop", "a").unwrap();
    eventually("refusals", SOON, async || {
        let refused = world.server.requests(Kind::Watch) - before;
        if refused >= 5 { Ok(()) } else { Err(format!("{refused}")) }
    })
    .await;
    // Before the fifth request there are at least half of 0.2 + 0.4 + 0.8 + 1.6 s.
    assert!(begun.elapsed() >= Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert_eq!(world.view.len(), 3, "the view is kept");
    world.read_events();
    assert!(world.deletions().is_empty() && world.lists() == 1);
    world.server.clear_faults();
    world.equal().await;
    assert_eq!(world.deletions().len(), 1);
}

#[tokio::test]
async fn watch_that_ends_at_once_backs_off() {
    let mut world = InformerHarness::listed([]).await;
    world.server.inject(Fault::end(0).always());
    let before = world.server.requests(Kind::Watch);
    world.server.drop_watches();
    let begun = Instant::now();
    until("several watches", || world.server.requests(Kind::Watch) - before >= 5).await;
    // Between four watches that end at once there are at least 0.2 + 0.4 + 0.8 s.
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(world.errors() >= 4, "each one is counted: {}", world.errors());
    world.server.clear_faults();
    world.server.delete("shop", "a").unwrap();
    world.equal().await;
}

#[tokio::test]
async fn replaced_token_is_read_after_a_refusal() {
    let server = InformerHarness::server().await;
    let refuse = |kind, valid: &'static str| {
        let is_other = move |request: &Request| request.authorization.as_deref() != Some(valid);
        Fault::status(kind, 401).always().when(is_other)
    };
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "first").unwrap();
    server.inject(refuse(Kind::List, "Bearer first"));
    server.inject(refuse(Kind::Watch, "Bearer first"));
    let (_front, cluster) = TlsFront::of_cluster(&server.url(), folder.path()).await;
    let document = serde_json::json!({
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"tokenFile": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, document.to_string()).unwrap();
    let cluster = ClusterConnection::find(&Search { kubeconfig: Some(path), ..Search::default() }).unwrap();
    let mut world = InformerHarness::watching(server, &cluster, PodSelection::default(), (NEVER, NEVER));
    world.equal().await;
    let view = world.view.len();
    // The old token is revoked at once, and the new one arrives a little later.
    world.server.clear_faults();
    world.server.inject(refuse(Kind::List, "Bearer second"));
    world.server.inject(refuse(Kind::Watch, "Bearer second"));
    let (begun, asked) = (Instant::now(), world.server.requests(Kind::Watch));
    world.server.drop_watches();
    world.server.delete("shop", "a").unwrap();
    until("the old token is refused twice", || world.server.requests(Kind::Watch) >= asked + 2).await;
    world.read_events();
    assert!(world.view.len() == view && world.deletions().is_empty(), "the view is kept");
    std::fs::write(&token, "second").unwrap();
    world.equal().await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn regular_relist_finds_missed_events() {
    let mut world = InformerHarness::with_timers([], PodSelection::default(), Duration::from_secs(1), NEVER).await;
    world.equal().await;
    let uid = world.uid("b").as_str().into();
    let digest = |world: &InformerHarness| world.view.get(&uid).unwrap().content.unwrap().digest;
    let before = digest(&world);
    world.server.silently(|api| {
        api.create(pod("d").namespace("shop").running()).unwrap();
        api.update("shop", "b", |pod| pod["metadata"]["labels"]["app"] = "changed".into()).unwrap();
        api.delete("shop", "a").unwrap();
    });
    world.equal().await;
    assert_ne!(digest(&world), before);
    assert!(world.deletions().is_empty(), "no event reports it: {:?}", world.events);
}
