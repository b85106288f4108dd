//! Checks against an API server that is a function.

use std::convert::Infallible;

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;

/// A client of an API server that answers paths with a status and a body.
fn client(answer: impl Fn(&str) -> (u16, String) + Clone + Send + Sync + 'static) -> Client {
    let service = service_fn(move |request: Request<Body>| {
        let (status, body) = answer(&request.uri().to_string());
        std::future::ready(Ok::<_, Infallible>(
            Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap(),
        ))
    });
    Client::new(service, "default")
}

fn refused(code: u16) -> (u16, String) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code}).to_string())
}

fn pod(name: &str, uid: &str) -> Value {
    json!({"kind": "Pod", "metadata": {"name": name, "uid": uid, "namespace": "a"}})
}

fn pods(items: &[Value]) -> (u16, String) {
    (200, json!({"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": items}).to_string())
}

fn named(uid: &str, namespace: &str, name: &str) -> PodRef {
    PodRef { uid: uid.into(), namespace: namespace.into(), name: name.into() }
}

fn only(namespaces: &[&str]) -> PodSelection {
    PodSelection { namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(), ..PodSelection::default() }
}

#[tokio::test]
async fn pod_is_gone_after_404_or_another_uid() {
    let gone = client(|_| refused(404));
    assert_eq!(look_up(&gone, &[named("u", "a", "p")]).await, Confirmation::Gone);
    let recreated = client(|_| (200, pod("p", "v").to_string()));
    assert_eq!(look_up(&recreated, &[named("u", "a", "p")]).await, Confirmation::Gone);
    assert_eq!(look_up(&recreated, &[named("v", "a", "p")]).await, Confirmation::StillThere(1));
}

#[tokio::test]
async fn answer_without_the_pod_confirms_nothing() {
    // An HTML page, a Status or another object leaves the question unanswered.
    for body in [
        "<html>200 OK</html>".to_owned(),
        json!({"kind": "Status", "metadata": {}, "status": "Success"}).to_string(),
        json!({"kind": "Pod", "metadata": {"name": "p"}}).to_string(),
        json!({"kind": "Pod", "metadata": {"name": "p", "uid": ""}}).to_string(),
        json!({"metadata": {"name": "p", "uid": "u"}}).to_string(),
        json!({"kind": "Namespace", "metadata": {"name": "p", "uid": "v"}}).to_string(),
        pod("another", "v").to_string(),
        json!({}).to_string(),
        String::new(),
    ] {
        let sent = body.clone();
        let server = client(move |_| (200, sent.clone()));
        let answer = look_up(&server, &[named("u", "a", "p")]).await;
        assert!(matches!(answer, Confirmation::Unanswered(_)), "{body}: {answer:?}");
    }
    for status in [201, 302, 400, 401, 410, 429, 500, 503] {
        let answer = look_up(&client(move |_| refused(status)), &[named("u", "a", "p")]).await;
        assert!(matches!(answer, Confirmation::Unanswered(_)), "{status}: {answer:?}");
    }
}

#[tokio::test]
async fn invalid_pod_names_never_reach_a_path() {
    let server = client(|uri| panic!("asked for {uri}"));
    for (namespace, name) in [("..", "p"), ("a", "../../secrets/x"), ("a", "?limit=0"), ("a/pods", "p"), ("", "p")] {
        let answer = look_up(&server, &[named("u", namespace, name)]).await;
        assert!(matches!(answer, Confirmation::Unanswered(_)), "{namespace}/{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn answer_without_a_list_is_an_error() {
    for body in [
        "<html>",
        "{}",
        r#"{"kind":"Status","metadata":{}}"#,
        r#"{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[{"metadata":{}}]}"#,
    ] {
        let sent = body.to_owned();
        assert!(
            list_pods(&client(move |_| (200, sent.clone())), &PodSelection::default(), &[]).await.is_err(),
            "{body}"
        );
    }
    let empty =
        client(|_| (200, json!({"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": null}).to_string()));
    assert!(list_pods(&empty, &PodSelection::default(), &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn page_that_is_too_large_is_halved() {
    let server = client(|uri| {
        let limit: usize = uri.split("limit=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
        let filler = "x".repeat(if limit > 100 { (16 << 20) + 1 } else { 10 });
        let next = if uri.contains("continue=") { "" } else { "more" };
        let uid = if next.is_empty() { "v" } else { "u" };
        let item = json!({"metadata": {"name": "p", "uid": uid, "annotations": {"a": filler}}});
        (
            200,
            json!({"kind": "PodList", "metadata": {"continue": next, "resourceVersion": "1"}, "items": [item]})
                .to_string(),
        )
    });
    let found = list_pods(&server, &PodSelection::default(), &[]).await.unwrap();
    assert_eq!(found, ["u", "v"].map(Uid::from).into());
}

#[tokio::test(start_paused = true)]
async fn failed_pages_are_retried() {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let server = client(move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0..3 => refused(503),
        _ => pods(&[pod("p", "u")]),
    });
    assert_eq!(list_pods(&server, &PodSelection::default(), &[]).await.unwrap(), ["u"].map(Uid::from).into());
    assert!(list_pods(&client(|_| refused(503)), &PodSelection::default(), &[]).await.is_err(), "retries are bounded");
}

#[tokio::test]
async fn forbidden_namespace_is_left_out_of_the_list() {
    // Without the exception, the list fails.
    let server = client(|uri| if uri.contains("/b/") { refused(403) } else { pods(&[pod("p", "u")]) });
    assert!(list_pods(&server, &only(&["a", "b"]), &[]).await.is_err());
    assert_eq!(list_pods(&server, &only(&["a", "b"]), &["b".into()]).await.unwrap(), ["u"].map(Uid::from).into());
}

#[tokio::test]
async fn missing_right_is_named_as_a_rule() {
    let server = client(|_| refused(403));
    let rule = r#"{apiGroups: [""], resources: [pods], verbs: [get, list, watch]}"#;
    let Confirmation::Unanswered(why) = look_up(&server, &[named("u", "a", "p")]).await else { panic!("answered") };
    assert!(why.contains(rule) && why.contains("a Role in the namespace a"), "{why}");
    let why = list_pods(&server, &PodSelection::default(), &[]).await.unwrap_err().to_string();
    assert!(why.contains(rule) && why.contains("a ClusterRole"), "{why}");
}

#[tokio::test]
async fn pods_are_found_with_only_the_watches_rights() {
    // Pods of a may be listed and not got, those of c may be got, and nothing of b may be read.
    let server = client(|uri| match uri {
        uri if uri.contains("/namespaces/a/pods?") => pods(&[pod("p", "u")]),
        uri if uri.contains("/namespaces/c/pods/there") => (200, pod("there", "x").to_string()),
        uri if uri.contains("/namespaces/c/pods/") => refused(404),
        _ => refused(403),
    });
    let asked = [
        named("u", "a", "p"),
        named("gone", "a", "q"),
        named("unreadable", "b", "p"),
        named("x", "c", "there"),
        named("y", "c", "gone"),
    ];
    let there = find(&server, &only(&["a"]), asked.into()).await.unwrap();
    assert_eq!(there, ["u", "unreadable", "x"].map(Uid::from).into());
    assert_eq!(look_up(&server, &[named("u", "a", "p")]).await, Confirmation::StillThere(1));
    assert_eq!(look_up(&server, &[named("v", "a", "p")]).await, Confirmation::Gone);
}

#[tokio::test]
async fn unreadable_cluster_identity_matters_only_without_a_name() {
    // If the operator names the cluster, its identity need not be readable.
    let forbidden = client(|_| refused(403));
    let cluster = |named| ExpectedCluster { uid: None, named };
    assert_eq!(other_cluster(&forbidden, &cluster(true)).await.unwrap(), None);
    assert!(other_cluster(&forbidden, &cluster(false)).await.is_err());
    let namespace = json!({"kind": "Namespace", "metadata": {"name": "kube-system", "uid": "b"}}).to_string();
    let readable = client(move |_| (200, namespace.clone()));
    let other = other_cluster(&readable, &ExpectedCluster { uid: Some("a".into()), named: true }).await.unwrap();
    assert!(matches!(other, Some(CheckFinding::OtherCluster { .. })));
    assert_eq!(other_cluster(&readable, &ExpectedCluster { uid: Some("b".into()), named: true }).await.unwrap(), None);
    let down = client(|_| refused(503));
    assert!(other_cluster(&down, &cluster(true)).await.is_err(), "no answer is no confirmation");
}
