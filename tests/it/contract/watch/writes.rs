//! Reads and writes: which ones are refused, and with which words.

use serde_json::{Value, json};

use super::world::{ContractHarness, everywhere, text_at, version_of};

/// Sends a request that must be refused, and checks the `Status`.
async fn refused(world: &ContractHarness, method: &str, path: &str, body: Option<&Value>, code: u16, expected: &Value) {
    let (got, status) = world.send(method, path, body).await;
    assert_eq!(got, code, "{method} {path}: {status}");
    let mut whole = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code});
    whole.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
    assert_eq!(status, whole, "{method} {path}");
}

#[tokio::test]
async fn refusals_use_the_api_servers_words() {
    everywhere(|world| Box::pin(words(world))).await;
}

async fn words(world: &ContractHarness) {
    let made = world.create("a", &json!({})).await;
    let about = json!({"name": "a", "kind": "pods"});
    let missing =
        json!({"reason": "NotFound", "message": "pods \"zz\" not found", "details": {"name": "zz", "kind": "pods"}});
    refused(world, "GET", &world.pods("/zz"), None, 404, &missing).await;
    refused(world, "DELETE", &world.pods("/zz"), None, 404, &missing).await;
    let mut again = made.clone();
    again["metadata"]["resourceVersion"] = "".into();
    let taken = json!({"reason": "AlreadyExists", "message": "pods \"a\" already exists", "details": about});
    refused(world, "POST", &world.pods(""), Some(&again), 409, &taken).await;
    world.label("a", &json!({"newer": "yes"})).await;
    let message = "Operation cannot be fulfilled on pods \"a\": the object has been modified; please apply your changes to the \
                   latest version and try again";
    let conflict = json!({"reason": "Conflict", "message": message, "details": about});
    refused(world, "PUT", &world.pods("/a"), Some(&made), 409, &conflict).await;
    refused(world, "PUT", &world.pods("/a/status"), Some(&made), 409, &conflict).await;
    let mut other = made.clone();
    other["metadata"]["name"] = "zz".into();
    let message = "the name of the object (zz) does not match the name on the URL (a)";
    refused(world, "PUT", &world.pods("/a"), Some(&other), 400, &json!({"reason": "BadRequest", "message": message}))
        .await;
    let uid = text_at(&made, "/metadata/uid");
    let message = format!(
        "Operation cannot be fulfilled on Pod \"a\": the UID in the precondition (other) does not match the UID in record \
         ({uid}). The object might have been deleted and then recreated"
    );
    let another = json!({"reason": "Conflict", "message": message, "details": {"name": "a", "kind": "Pod"}});
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}});
    refused(world, "DELETE", &world.pods("/a"), Some(&options), 409, &another).await;
    let nowhere = json!({"reason": "NotFound", "message": "namespaces \"no-such\" not found",
        "details": {"name": "no-such", "kind": "namespaces"}});
    refused(world, "GET", "/api/v1/namespaces/no-such", None, 404, &nowhere).await;
    let message = "the server could not find the requested resource";
    let unknown = json!({"reason": "NotFound", "message": message, "details": {}});
    refused(world, "GET", "/api/v1/no-such-resource", None, 404, &unknown).await;
}

#[tokio::test]
async fn a_pod_without_containers_or_name_is_refused() {
    everywhere(|world| Box::pin(incomplete(world))).await;
}

async fn incomplete(world: &ContractHarness) {
    let pod = |metadata: Value, containers: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}});
    let container = json!([{"name": "app", "image": "registry.example.com/app:1"}]);
    for (document, code) in [
        (pod(json!({"name": "a"}), json!([])), 422),
        (pod(json!({}), container.clone()), 422),
        (pod(json!({"name": "a", "namespace": "other"}), container.clone()), 400),
        (pod(json!({"name": "a", "resourceVersion": "5"}), container.clone()), 500),
    ] {
        assert_eq!(world.send("POST", &world.pods(""), Some(&document)).await.0, code, "{document}");
    }
    let (code, made) =
        world.send("POST", &world.pods(""), Some(&pod(json!({"generateName": "web-"}), container))).await;
    assert_eq!((code, text_at(&made, "/metadata/name").len()), (201, "web-".len() + 5));
    assert_eq!(text_at(&made, "/metadata/uid").len(), 36);
}

#[tokio::test]
async fn status_is_written_apart_from_the_rest() {
    everywhere(|world| Box::pin(apart(world))).await;
}

async fn apart(world: &ContractHarness) {
    let made = world.create("a", &json!({})).await;
    assert_eq!(made["status"]["phase"], "Pending");
    let mut both = made.clone();
    both["metadata"]["labels"] = json!({"new": "yes"});
    both["status"]["message"] = "ignored".into();
    let (_, written) = world.send("PUT", &world.pods("/a"), Some(&both)).await;
    assert!(written["status"].get("message").is_none(), "{written}");
    let (_, same) = world.send("PUT", &world.pods("/a"), Some(&written)).await;
    assert_eq!(version_of(&same), version_of(&written), "a write without changes makes no new version");
    let mut status = written.clone();
    status["status"]["message"] = "hello".into();
    let (code, written) = world.send("PUT", &world.pods("/a/status"), Some(&status)).await;
    assert_eq!((code, &written["status"]["message"]), (200, &json!("hello")));
    assert!(version_of(&written) > version_of(&same));
}

#[tokio::test]
async fn lease_is_replaced_only_with_its_last_version() {
    everywhere(|world| Box::pin(leases(world))).await;
}

async fn leases(world: &ContractHarness) {
    let lease = |version: &str, holder: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader", "resourceVersion": version},
            "spec": {"holderIdentity": holder, "leaseTransitions": 1}})
    };
    let about = json!({"name": "leader", "group": "coordination.k8s.io", "kind": "leases"});
    let missing =
        json!({"reason": "NotFound", "message": "leases.coordination.k8s.io \"leader\" not found", "details": about});
    refused(world, "GET", &world.leases("/leader"), None, 404, &missing).await;
    let (code, first) = world.send("POST", &world.leases(""), Some(&lease("", "a"))).await;
    assert_eq!(code, 201, "{first}");
    let message = "leases.coordination.k8s.io \"leader\" already exists";
    let taken = json!({"reason": "AlreadyExists", "message": message, "details": about});
    refused(world, "POST", &world.leases(""), Some(&lease("", "b")), 409, &taken).await;
    let (code, status) = world.send("PUT", &world.leases("/leader"), Some(&lease("", "b"))).await;
    assert_eq!((code, text_at(&status, "/reason")), (422, "Invalid".to_owned()), "a resource version is required");
    let version = version_of(&first).to_string();
    let (code, second) = world.send("PUT", &world.leases("/leader"), Some(&lease(&version, "b"))).await;
    assert_eq!((code, &second["spec"]["holderIdentity"]), (200, &json!("b")));
    assert!(version_of(&second) > version_of(&first));
    let message = "Operation cannot be fulfilled on leases.coordination.k8s.io \"leader\": the object has been modified; please \
                   apply your changes to the latest version and try again";
    let conflict = json!({"reason": "Conflict", "message": message, "details": about});
    refused(world, "PUT", &world.leases("/leader"), Some(&lease(&version, "a")), 409, &conflict).await;
    assert_eq!(world.send("DELETE", &world.leases("/leader"), None).await.0, 200);
    let (code, third) = world.send("PUT", &world.leases("/leader"), Some(&lease(&version, "c"))).await;
    assert_eq!(code, 201, "replacing a missing lease creates it, whatever version is given: {third}");
    assert_ne!(third["metadata"]["uid"], second["metadata"]["uid"]);
}

#[tokio::test]
async fn a_cluster_has_an_identity() {
    everywhere(|world| Box::pin(identity(world))).await;
}

async fn identity(world: &ContractHarness) {
    let uid = async || text_at(&world.send("GET", "/api/v1/namespaces/kube-system", None).await.1, "/metadata/uid");
    let first = uid().await;
    assert_eq!(first.len(), 36);
    assert_eq!(uid().await, first);
    let all = world.send("GET", "/api/v1/namespaces", None).await.1;
    assert!(super::world::names(&all).contains(&world.namespace));
    let (code, version) = world.send("GET", "/version", None).await;
    assert_eq!((code, text_at(&version, "/major")), (200, "1".to_owned()));
}
