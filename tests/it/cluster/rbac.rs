//! The rights of the deployment: they are enough, and nothing more is allowed.

use std::path::{Path, PathBuf};

use http::Request;
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    authorization::v1::{SelfSubjectAccessReview, SelfSubjectRulesReview},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

use super::world::{ClusterHarness, client, in_cluster, object};
use crate::support::{SOON, eventually};

/// The name of all objects in the manifests, and of their namespace.
const NAME: &str = "pod-registrar";

/// A manifest of the deployment under other names: several of these tests may run in one cluster.
fn deployed(file: &str, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| format!("{}: {error}", path.display()));
    assert!(text.contains(&format!("name: {NAME}")), "{text}");
    text.replace(NAME, name).into_bytes()
}

/// Applies a manifest. The API server reads the YAML.
pub(super) async fn apply(client: &Client, path: &str, file: &str, name: &str) {
    apply_at(client, &format!("{path}/{name}"), file, name).await;
}

/// The same for a manifest whose object has another name.
pub(super) async fn apply_at(client: &Client, path: &str, file: &str, name: &str) {
    let request = Request::patch(format!("{path}?fieldManager=test"));
    let request = request.header("content-type", "application/apply-patch+yaml").body(deployed(file, name)).unwrap();
    let _: Value = client.request(request).await.unwrap();
}

/// The path of the Leases of a namespace.
pub(super) fn leases(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}

/// Applies the account and its rights, named like the namespace. Returns a kubeconfig that uses them.
pub(super) async fn deploy(world: &ClusterHarness) -> PathBuf {
    let (client, name) = (&world.client, &world.namespace);
    let accounts = format!("/api/v1/namespaces/{name}/serviceaccounts");
    apply(client, &accounts, "serviceaccount.yaml", name).await;
    let rights = "/apis/rbac.authorization.k8s.io/v1";
    apply(client, &format!("{rights}/clusterroles"), "clusterrole.yaml", name).await;
    apply(client, &format!("{rights}/clusterrolebindings"), "clusterrolebinding.yaml", name).await;
    let own = format!("/namespaces/{name}");
    apply(client, &format!("{rights}{own}/roles"), "role.yaml", name).await;
    apply(client, &format!("{rights}{own}/rolebindings"), "rolebinding.yaml", name).await;
    apply(client, &leases(name), "lease.yaml", name).await;
    account(world).await
}

/// A kubeconfig that uses the account that is named like the namespace.
pub(super) async fn account(world: &ClusterHarness) -> PathBuf {
    let name = &world.namespace;
    let request: TokenRequest = object(json!({"spec": {"audiences": []}}));
    let issued =
        world.api::<ServiceAccount>().create_token_request(name, &PostParams::default(), &request).await.unwrap();
    let kubeconfig = kube::config::Kubeconfig::read_from(&world.kubeconfig).unwrap();
    let mut document = serde_json::to_value(kubeconfig).unwrap();
    document["users"][0]["user"] = json!({"token": issued.status.unwrap().token});
    let path = world.folder.path().join("account");
    std::fs::write(&path, document.to_string()).unwrap();
    path
}

/// Whether an account has a right: verb, resource with its subresource, namespace and name (empty: any).
async fn may(client: &Client, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review: SelfSubjectAccessReview = object(json!({"spec": {"resourceAttributes": {
        "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace, "name": name}}}));
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
}

#[tokio::test]
async fn controller_works_with_the_deployed_rights_alone() {
    in_cluster(async |world| {
        let kubeconfig = deploy(world).await;
        works(world, &kubeconfig).await;
        has_no_others(&client(&kubeconfig).await, &world.namespace).await;
    })
    .await;
}

/// Start, watch, and an inferred deletion: an empty list is guarded, so the cluster's identity is read and pods are
/// looked up.
async fn works(world: &ClusterHarness, kubeconfig: &Path) {
    let mut controller = world.controller_with(kubeconfig, &[]);
    world.create("a").await;
    world.create("b").await;
    world.running(2).await;
    world.equal().await;
    world.delete("a").await;
    world.equal().await;
    controller.kill();
    world.delete("b").await;
    let mut controller = world.controller_with(kubeconfig, &[]);
    world.equal().await;
    controller.log_line("absent pods are confirmed to be gone").await;
    assert_eq!(controller.figure("watch_errors_total").await, 0.0);
    controller.kill();

    // Without `--cluster-id`, the UID of kube-system is the cluster's id; `--namespace` is not needed either.
    let own = ["--owner", &world.owner];
    let mut controller = crate::support::Controller::start(kubeconfig, &world.registry.url, &own);
    let line = controller.log_line("cluster identified").await;
    let id = line.split("cluster_id=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    world.create("c").await;
    eventually("the pod is registered", SOON, async || {
        let records = world.reader().records(&id, &world.owner).await?;
        let ours = records.values().filter(|record| record["pod"]["namespace"] == json!(world.namespace));
        if ours.count() == 1 { Ok(()) } else { Err(format!("{} records", records.len())) }
    })
    .await;
}

/// The account has the rights of the manifests on the Lease that is named like the namespace, and no others.
pub(super) async fn has_no_others(account: &Client, namespace: &str) {
    for verb in ["get", "list", "watch"] {
        assert!(may(account, verb, "pods", "", "").await, "{verb} pods");
    }
    assert!(may(account, "get", "namespaces", "", "kube-system").await);
    for verb in ["get", "update"] {
        assert!(may(account, verb, "leases.coordination.k8s.io", namespace, namespace).await, "{verb} the lease");
    }
    assert!(may(account, "create", "events.events.k8s.io", namespace, "").await);
    let refused = [
        ("get", "namespaces", "", "default"),
        ("get", "namespaces", "", namespace),
        ("list", "namespaces", "", ""),
        ("watch", "namespaces", "", ""),
        ("delete", "namespaces", "", "kube-system"),
        ("get", "pods/log", namespace, ""),
        ("get", "pods/status", namespace, ""),
        ("create", "pods/exec", namespace, ""),
        ("create", "pods/eviction", namespace, ""),
        ("get", "nodes", "", ""),
        ("get", "configmaps", namespace, ""),
        ("create", "events", namespace, ""),
        ("create", "serviceaccounts/token", namespace, ""),
        ("get", "replicasets.apps", namespace, ""),
        ("get", "leases.coordination.k8s.io", namespace, ""),
        ("get", "leases.coordination.k8s.io", namespace, "other"),
        ("list", "leases.coordination.k8s.io", namespace, ""),
        ("watch", "leases.coordination.k8s.io", namespace, ""),
        ("create", "leases.coordination.k8s.io", namespace, ""),
        ("patch", "leases.coordination.k8s.io", namespace, namespace),
        ("delete", "leases.coordination.k8s.io", namespace, namespace),
        ("update", "leases.coordination.k8s.io", "kube-system", namespace),
        ("get", "events.events.k8s.io", namespace, ""),
        ("create", "events.events.k8s.io", "kube-system", ""),
        ("escalate", "clusterroles.rbac.authorization.k8s.io", "", ""),
        ("impersonate", "users", "", ""),
    ];
    for (verb, resource, within, name) in refused {
        assert!(!may(account, verb, resource, within, name).await, "{verb} {resource} {within} {name}");
    }
    for verb in ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"] {
        for place in [namespace, "kube-system", ""] {
            assert!(!may(account, verb, "secrets", place, "").await, "{verb} secrets in {place:?}");
        }
        let writes = !["get", "list", "watch"].contains(&verb);
        assert!(!(writes && may(account, verb, "pods", namespace, "").await), "{verb} pods");
    }
    assert_eq!(
        rules(account, namespace).await,
        [
            json!({"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]}),
            json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}),
            json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [namespace], "verbs": ["get", "update"]}),
            json!({"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}),
        ]
    );
}

/// Everything that the account may do with resources, except asking for its own rights, which every account may.
async fn rules(account: &Client, namespace: &str) -> Vec<Value> {
    let review: SelfSubjectRulesReview = object(json!({"spec": {"namespace": namespace}}));
    let reviews: Api<SelfSubjectRulesReview> = Api::all(account.clone());
    let status = reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap();
    let everybodys = ["authorization.k8s.io", "authentication.k8s.io"];
    let own = status.resource_rules.into_iter().filter(|rule| {
        let groups = rule.api_groups.iter().flatten();
        !groups.clone().all(|group| everybodys.contains(&group.as_str()))
    });
    let mut rules: Vec<Value> = own.map(|rule| serde_json::to_value(rule).unwrap()).collect();
    rules.sort_by_key(ToString::to_string);
    for rule in &mut rules {
        rule["verbs"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
    }
    rules
}
