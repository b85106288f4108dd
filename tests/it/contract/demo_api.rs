//! The demo's API server and its faults, as kube's client and watcher see them.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "these helpers are part of tests")]

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams},
};
use kube_runtime::watcher::{self, Event, watcher};
use pod_registrar::demo::{
    api::{ApiOptions, status::StatusError},
    pod::pod,
};
use serde_json::json;

use crate::support::apiserver::{Fault, Kind, Server};

const LIMIT: Duration = Duration::from_secs(10);

async fn server() -> Server {
    Server::start(ApiOptions::default()).await.unwrap()
}

/// A client without retries, so that a test sees the first answer.
fn client(server: &Server) -> Client {
    let mut config = Config::new(server.url().parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn pods(server: &Server) -> Api<Pod> {
    Api::namespaced(client(server), "shop")
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn next<T>(events: &mut (impl futures::Stream<Item = T> + Unpin)) -> T {
    tokio::time::timeout(LIMIT, events.next()).await.expect("an event in time").expect("the stream continues")
}

fn name_of(event: &WatchEvent<Pod>) -> (&'static str, String) {
    match event {
        WatchEvent::Added(pod) => ("ADDED", pod.metadata.name.clone().unwrap()),
        WatchEvent::Modified(pod) => ("MODIFIED", pod.metadata.name.clone().unwrap()),
        WatchEvent::Deleted(pod) => ("DELETED", pod.metadata.name.clone().unwrap()),
        WatchEvent::Bookmark(_) => ("BOOKMARK", String::new()),
        WatchEvent::Error(status) => ("ERROR", status.message.clone()),
    }
}

#[tokio::test]
async fn a_watcher_follows_creation_change_and_deletion() {
    let server = server().await;
    server.create(pod("a").namespace("shop").running()).unwrap();
    let mut events = pin!(watcher(pods(&server), watcher::Config::default()));
    assert!(matches!(next(&mut events).await.unwrap(), Event::Init));
    assert!(matches!(next(&mut events).await.unwrap(), Event::InitApply(_)));
    assert!(matches!(next(&mut events).await.unwrap(), Event::InitDone));
    server.create(pod("b").namespace("shop")).unwrap();
    assert!(matches!(next(&mut events).await.unwrap(), Event::Apply(_)));
    server.update("shop", "b", |pod| pod["metadata"]["labels"]["x"] = "y".into()).unwrap();
    assert!(matches!(next(&mut events).await.unwrap(), Event::Apply(_)));
    server.delete("shop", "b").unwrap();
    assert!(matches!(next(&mut events).await.unwrap(), Event::Delete(_)));
    assert_eq!((server.requests(Kind::List), server.requests(Kind::Watch), server.open_watches()), (1, 1, 1));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn pod_replaced_in_place_is_one_modified_event() {
    // The event carries another UID.
    let server = server().await;
    let first = server.create(pod("db-0").namespace("shop").running()).unwrap();
    let mut events =
        pods(&server).watch(&WatchParams::default(), &first.resource_version.to_string()).await.unwrap().boxed();
    let second = server.replace_in_place(pod("db-0").namespace("shop").running()).unwrap();
    let WatchEvent::Modified(seen) = next(&mut events).await.unwrap() else { panic!("not MODIFIED") };
    assert_eq!(seen.metadata.uid.unwrap(), second.uid);
    assert_ne!(first.uid, second.uid);
}

#[tokio::test]
async fn lost_event_shows_only_in_the_next_list() {
    let server = server().await;
    let api = pods(&server);
    for name in ["a", "b"] {
        server.create(pod(name).namespace("shop")).unwrap();
    }
    let mut events = api.watch(&WatchParams::default(), &server.resource_version().to_string()).await.unwrap().boxed();
    server.delete_silently("shop", "a").unwrap();
    server.delete("shop", "b").unwrap();
    assert_eq!(name_of(&next(&mut events).await.unwrap()), ("DELETED", "b".to_owned()));
    assert!(api.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn restore_ends_watches_and_forgets_later_changes() {
    let server = server().await;
    server.create(pod("a").namespace("shop")).unwrap();
    let backup = server.snapshot();
    server.create(pod("b").namespace("shop")).unwrap();
    let late = server.resource_version();
    let api = pods(&server);
    let mut events = api.watch(&WatchParams::default(), &late.to_string()).await.unwrap().boxed();
    until("the watch is open", || server.open_watches() == 1).await;
    server.restore(backup.clone());
    assert!(tokio::time::timeout(LIMIT, events.next()).await.unwrap().is_none());
    let list = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.metadata.resource_version.unwrap(), backup.resource_version().to_string());
    // A watch from a later version is silent until the server reaches it, as on a real server.
    let mut events = api.watch(&WatchParams::default(), &late.to_string()).await.unwrap().boxed();
    until("the watch is open", || server.open_watches() == 1).await;
    while server.resource_version() < late {
        let name = format!("c-{}", server.resource_version());
        server.create(pod(name).namespace("shop")).unwrap();
    }
    let visible = server.create(pod("z").namespace("shop")).unwrap();
    assert_eq!(name_of(&next(&mut events).await.unwrap()), ("ADDED", visible.name));
}

#[tokio::test]
async fn watch_faults_reach_the_client() {
    let server = server().await;
    let api = pods(&server);
    let start = server.resource_version().to_string();
    for name in ["a", "b", "c"] {
        server.create(pod(name).namespace("shop")).unwrap();
    }
    let watch = async |fault: Fault| {
        server.inject(fault);
        let events = api.watch(&WatchParams::default().timeout(1), &start).await?;
        events
            .map_ok(|event| name_of(&event))
            .take(4)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect::<kube::Result<Vec<_>>>()
    };
    let gone = watch(Fault::status(Kind::Watch, 410)).await.unwrap_err();
    assert!(matches!(gone, kube::Error::Api(status) if status.code == 410));
    assert_eq!(watch(Fault::end(2)).await.unwrap().len(), 2);
    // kube takes a broken connection for the end of the stream; half an event must not be read as a whole one.
    assert_eq!(watch(Fault::cut(Kind::Watch, 1)).await.unwrap().len(), 1);
    assert!(watch(Fault::line(1, r#"{"type":"ADDED","object":7}"#)).await.is_err());
    let events = watch(Fault::error_event(1, StatusError::new(410, "too old"))).await.unwrap();
    assert_eq!(events, [("ADDED", "a".to_owned()), ("ERROR", "too old".to_owned())]);
    server.spoil("b");
    assert!(watch(Fault::delay(Kind::Watch, Duration::from_millis(1))).await.is_err());
    server.unspoil("b");
    server.inject(Fault::stall(Kind::Watch, 1));
    let mut events = api.watch(&WatchParams::default().timeout(1), &start).await.unwrap().boxed();
    next(&mut events).await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(1_500), events.next()).await.is_err(),
        "not even the timeout ends it"
    );
    drop(events);
    until("the watch is closed", || server.open_watches() == 0).await;
    assert_eq!(server.pending_faults(), 0);
}

#[tokio::test]
async fn list_faults_reach_the_client() {
    let server = server().await;
    let api = pods(&server);
    let old = server.snapshot();
    for name in ["a", "b", "c", "d", "e"] {
        server.create(pod(name).namespace("shop")).unwrap();
    }
    let list = async || Ok::<_, kube::Error>(api.list(&ListParams::default()).await?.items.len());
    let limited = Duration::from_millis(300);
    for code in [401, 403, 429, 500, 503] {
        server.inject(Fault::failure(Kind::List, StatusError::new(code, "no").retry_after(1)));
        assert!(matches!(list().await, Err(kube::Error::Api(status)) if status.code == code));
    }
    server.inject(Fault::html(Kind::List));
    assert!(list().await.is_err());
    server.inject(Fault::cut(Kind::List, 2));
    assert!(list().await.is_err());
    server.inject(Fault::hang(Kind::List));
    assert!(tokio::time::timeout(limited, list()).await.is_err());
    server.inject(Fault::stall(Kind::List, 2));
    assert!(tokio::time::timeout(limited, list()).await.is_err());
    server.inject(Fault::empty_list());
    assert_eq!(list().await.unwrap(), 0);
    server.inject(Fault::stale_list(old.clone()));
    let stale = api.list(&ListParams::default()).await.unwrap();
    assert_eq!((stale.items.len(), stale.metadata.resource_version), (0, Some(old.resource_version().to_string())));
    server.spoil("c");
    assert!(list().await.is_err());
    server.unspoil("c");
    assert_eq!(list().await.unwrap(), 5);
    let page = ListParams::default().limit(2);
    server.inject(Fault::missing_page());
    server.inject(Fault::expired_token());
    let first = api.list(&page).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    assert!(matches!(api.list(&page.clone().continue_token(&token)).await, Err(kube::Error::Api(s)) if s.code == 410));
    let last = api.list(&page.continue_token(&token)).await.unwrap();
    assert_eq!((last.items[0].metadata.name.as_deref(), last.metadata.continue_), (Some("e"), None));
}

#[tokio::test]
async fn stopped_server_ends_hanging_requests() {
    // The server starts again on the same port.
    let server = server().await;
    let (api, address) = (server.api(), server.address().to_string());
    server.inject(Fault::hang(Kind::List));
    let pods = pods(&server);
    let start = server.resource_version().to_string();
    let mut events = pods.watch(&WatchParams::default(), &start).await.unwrap().boxed();
    let hanging = tokio::spawn({
        let pods = pods.clone();
        async move { pods.list(&ListParams::default()).await.map(|list| list.items.len()) }
    });
    until("the list hangs", || api.requests(Kind::List) == 1).await;
    server.stop().await.unwrap();
    assert!(tokio::time::timeout(LIMIT, hanging).await.unwrap().unwrap().is_err());
    assert!(tokio::time::timeout(LIMIT, events.next()).await.is_ok());
    let back = Server::serve(api, &address).await.unwrap();
    assert_eq!(pods.list(&ListParams::default()).await.unwrap().items.len(), 0);
    back.stop().await.unwrap();
}

#[tokio::test]
async fn pods_can_be_written_over_http() {
    let server = server().await;
    let api = pods(&server);
    let namespace = serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap();
    Api::<Namespace>::all(client(&server)).create(&PostParams::default(), &namespace).await.unwrap();
    let sent: Pod = serde_json::from_value(pod("web").namespace("shop").running().build()).unwrap();
    let made = api.create(&PostParams::default(), &sent).await.unwrap();
    assert_eq!(made.status.as_ref().unwrap().phase.as_deref(), Some("Pending"));
    let mut ready = made.clone();
    ready.status.as_mut().unwrap().phase = Some("Running".to_owned());
    let ready = api.replace_status("web", &PostParams::default(), &ready).await.unwrap();
    assert_eq!(ready.status.unwrap().phase.as_deref(), Some("Running"));
    let stale = api.replace("web", &PostParams::default(), &made).await;
    assert!(matches!(stale, Err(kube::Error::Api(status)) if status.code == 409));
    let start = server.resource_version().to_string();
    let mut events = api.watch(&WatchParams::default(), &start).await.unwrap().boxed();
    api.delete("web", &DeleteParams::default()).await.unwrap();
    let WatchEvent::Modified(marked) = next(&mut events).await.unwrap() else { panic!("not MODIFIED") };
    assert_eq!(marked.metadata.deletion_grace_period_seconds, Some(30));
    assert_eq!(name_of(&next(&mut events).await.unwrap()), ("MODIFIED", "web".to_owned()));
    assert_eq!(name_of(&next(&mut events).await.unwrap()), ("DELETED", "web".to_owned()));
    assert!(server.uids().is_empty());
}
