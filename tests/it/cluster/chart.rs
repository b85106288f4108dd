//! The Helm chart on a real API server, which checks every field, and the restricted Pod Security standard. They also
//! need the tools that `tests/chart/build` builds.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use http::Request;
use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace, Pod},
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    rbac::{account, has_no_others},
    world::{ClusterHarness, client, in_cluster, object},
};
use crate::{
    chart::cases::CASES,
    support::{
        SOON,
        chart::{ChartTools, RELEASE, chart},
        container::Container,
        eventually,
    },
};

/// Where the API server has the objects of a kind: the group, the plural, and whether they have a namespace.
const PLACES: [(&str, &str, &str, bool); 13] = [
    ("ServiceAccount", "/api/v1", "serviceaccounts", true),
    ("ConfigMap", "/api/v1", "configmaps", true),
    ("Service", "/api/v1", "services", true),
    ("Pod", "/api/v1", "pods", true),
    ("Deployment", "/apis/apps/v1", "deployments", true),
    ("StatefulSet", "/apis/apps/v1", "statefulsets", true),
    ("PodDisruptionBudget", "/apis/policy/v1", "poddisruptionbudgets", true),
    ("NetworkPolicy", "/apis/networking.k8s.io/v1", "networkpolicies", true),
    ("Lease", "/apis/coordination.k8s.io/v1", "leases", true),
    ("Role", "/apis/rbac.authorization.k8s.io/v1", "roles", true),
    ("RoleBinding", "/apis/rbac.authorization.k8s.io/v1", "rolebindings", true),
    ("ClusterRole", "/apis/rbac.authorization.k8s.io/v1", "clusterroles", false),
    ("ClusterRoleBinding", "/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", false),
];

/// Sends an object to the API server, which checks it and keeps nothing.
async fn try_object(world: &ClusterHarness, document: &Value, method: &str) -> Result<(), String> {
    let kind = document["kind"].as_str().unwrap();
    let (_, group, plural, has_namespace) =
        PLACES.iter().find(|place| place.0 == kind).unwrap_or_else(|| panic!("{kind}"));
    let namespace = document["metadata"]["namespace"].as_str().unwrap_or(&world.namespace);
    let folder =
        if *has_namespace { format!("{group}/namespaces/{namespace}/{plural}") } else { format!("{group}/{plural}") };
    let (path, more, content) = match method {
        "PATCH" => {
            let path = format!("{folder}/{}", document["metadata"]["name"].as_str().unwrap());
            (path, "&fieldManager=test&force=true", "application/apply-patch+yaml")
        }
        _ => (folder, "", "application/json"),
    };
    let request = Request::builder().method(method).uri(format!("{path}?dryRun=All&fieldValidation=Strict{more}"));
    let request = request.header("content-type", content).body(document.to_string().into_bytes()).unwrap();
    let answer: Result<Value, _> = world.client.request(request).await;
    answer.map(|_| ()).map_err(|error| format!("{kind}: {error}"))
}

/// The pod of a workload, with the account that the namespace has.
fn pod(workload: &Value) -> Option<Value> {
    let mut spec = match workload["kind"].as_str()? {
        "Deployment" | "StatefulSet" => workload["spec"]["template"]["spec"].clone(),
        "Pod" => workload["spec"].clone(),
        _ => return None,
    };
    spec["serviceAccountName"] = json!("default");
    // A StatefulSet adds these volumes itself.
    let claims = workload["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
    let claims = claims.map(|claim| json!({"name": claim["metadata"]["name"], "emptyDir": {}}));
    if let Some(volumes) = spec["volumes"].as_array_mut() {
        volumes.extend(claims);
    }
    Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-"}, "spec": spec}))
}

/// Makes the namespace refuse pods that the restricted standard does not allow.
async fn restrict(world: &ClusterHarness) {
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}));
    namespaces.patch(&world.namespace, &PatchParams::default(), &patch).await.unwrap();
    let open = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-"},
        "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let refused = try_object(world, &open, "POST").await.expect_err("the standard is in force");
    assert!(refused.contains("violates PodSecurity"), "{refused}");
}

#[tokio::test]
async fn api_server_accepts_every_case() {
    in_cluster(async |world| {
        let Some(tools) = ChartTools::find() else { return };
        restrict(world).await;
        for case in CASES {
            let arguments = [case.arguments, &["--namespace", &world.namespace]].concat();
            for document in tools.objects(case.values, &arguments) {
                let pod = pod(&document);
                let error = match &pod {
                    // Its account does not exist, as nothing is kept.
                    Some(_) if document["kind"] == "Pod" => None,
                    _ => try_object(world, &document, "PATCH").await.err(),
                };
                assert_eq!(error, None, "{}: {document:#}", case.name);
                if let Some(pod) = pod {
                    let error = try_object(world, &pod, "POST").await.err();
                    assert_eq!(error, None, "{}: {pod:#}", case.name);
                }
            }
        }
    })
    .await;
}

/// Runs helm on the cluster. Objects are named like the namespace, as several of these tests may run in one cluster.
fn helm(tools: &ChartTools, world: &ClusterHarness, command: &[&str], values: &str) -> String {
    let values = tools.file("values.yaml", &format!("fullnameOverride: {}\n{values}", world.namespace));
    let mut arguments = command.to_vec();
    arguments.extend(["--namespace", &world.namespace, "--kubeconfig", world.kubeconfig.to_str().unwrap()]);
    if command[0] != "uninstall" {
        arguments.extend(["--values", &values]);
    }
    let output = tools.run("helm", &arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until all replicas are of the newest revision and ready.
async fn rolled_out(world: &ClusterHarness, replicas: i32) -> Deployment {
    eventually("the Deployment is rolled out", SOON, async || {
        let deployment = world.api::<Deployment>().get(&world.namespace).await.map_err(|error| error.to_string())?;
        let status = deployment.status.clone().unwrap_or_default();
        let current = status.observed_generation == deployment.metadata.generation;
        let counts = [status.replicas, status.updated_replicas, status.ready_replicas];
        if current && counts == [Some(replicas); 3] { Ok(deployment) } else { Err(format!("{status:?}")) }
    })
    .await
}

fn checksum(deployment: &Deployment) -> String {
    let template = deployment.spec.as_ref().unwrap().template.metadata.as_ref().unwrap();
    template.annotations.as_ref().unwrap()["checksum/targets"].clone()
}

#[tokio::test]
async fn helm_installs_upgrades_and_uninstalls() {
    in_cluster(async |world| {
        let Some(tools) = ChartTools::find() else { return };
        restrict(world).await;
        let chart = chart();
        let notes = helm(&tools, world, &["install", RELEASE, &chart], "");
        assert!(notes.contains("create secret generic registry-tokens"), "{notes}");
        rolled_out(world, 2).await;

        // The Lease has a holder now, which an upgrade must not change.
        let leases = world.api::<Lease>();
        let held = Patch::Merge(json!({"spec": {"holderIdentity": "a", "leaseTransitions": 3}}));
        leases.patch(&world.namespace, &PatchParams::default(), &held).await.unwrap();
        let targets: ConfigMap = object(json!({"metadata": {"name": "our-targets"}, "data": {"targets.yaml": "1"}}));
        world.api::<ConfigMap>().create(&PostParams::default(), &targets).await.unwrap();
        let values = "existingTargets: {configMap: our-targets}\nreplicaCount: 3\n";
        helm(&tools, world, &["upgrade", RELEASE, &chart], values);
        let first = checksum(&rolled_out(world, 3).await);
        let lease = leases.get(&world.namespace).await.unwrap().spec.unwrap_or_default();
        assert_eq!((lease.holder_identity.as_deref(), lease.lease_transitions), (Some("a"), Some(3)));

        // Another content of the ConfigMap of others replaces the pods at the next upgrade.
        helm(&tools, world, &["upgrade", RELEASE, &chart], values);
        assert_eq!(checksum(&rolled_out(world, 3).await), first);
        let other = Patch::Merge(json!({"data": {"targets.yaml": "2"}}));
        world.api::<ConfigMap>().patch("our-targets", &PatchParams::default(), &other).await.unwrap();
        helm(&tools, world, &["upgrade", RELEASE, &chart], values);
        assert_ne!(checksum(&rolled_out(world, 3).await), first);

        helm(&tools, world, &["uninstall", RELEASE, "--wait"], "");
        eventually("no pod and no Lease is left", SOON, async || {
            let pods = world.api::<Pod>().list(&ListParams::default()).await.unwrap().items.len();
            let leases = leases.list(&ListParams::default()).await.unwrap().items.len();
            if pods + leases == 0 { Ok(()) } else { Err(format!("{pods} pods, {leases} Leases")) }
        })
        .await;
    })
    .await;
}

/// The pod that `helm test` creates and waits for. The stand-in for the kubelet starts no container, so this runs the
/// container as a process with the pod's account, and reports how it ended. Returns its exit code.
async fn run_test_pod(world: &ClusterHarness, account: &Path, former: &str) -> (i32, String) {
    let (pods, name) = (world.api::<Pod>(), format!("{}-check", world.namespace));
    let pod = eventually("the pod runs", SOON, async || {
        let pod = pods.get(&name).await.map_err(|error| error.to_string())?;
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
        let is_new = pod.metadata.uid.as_deref() != Some(former);
        if is_new && phase.as_deref() == Some("Running") { Ok(pod) } else { Err(format!("{phase:?}")) }
    })
    .await;
    let uid = pod.metadata.uid.clone().unwrap();
    let settings = world.api::<ConfigMap>().get(&world.namespace).await.unwrap().data;
    let data = |config_map: &str| {
        assert_eq!(config_map, world.namespace);
        json!(settings)
    };
    let mut check = Container::of(&json!(pod), &name, world.folder.path(), data);
    check.set("POD_REGISTRAR_KUBECONFIG", account.to_str().unwrap());
    let code = check.start().code().await;
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let ended = Patch::Merge(json!({"status": {"phase": phase}}));
    pods.patch_status(&name, &PatchParams::default(), &ended).await.unwrap();
    (code, uid)
}

#[tokio::test]
async fn helm_test_has_the_result_of_check() {
    in_cluster(async |world| {
        let Some(tools) = ChartTools::find() else { return };
        let values = format!("registry: {{url: '{}'}}\ncredentials: {{mount: false}}\n", world.registry.url);
        helm(&tools, world, &["install", RELEASE, &chart()], &values);
        let (account, kubeconfig) = (account(world).await, world.kubeconfig.to_str().unwrap().to_owned());
        let arguments = ["test", RELEASE, "--namespace", &world.namespace, "--kubeconfig", &kubeconfig];
        let mut former = String::new();
        for (expected, phase) in [(0, "Succeeded"), (1, "Failed")] {
            let mut command = tools.command("helm", &arguments);
            let test = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let code;
            (code, former) = run_test_pod(world, &account, &former).await;
            assert_eq!(code, expected);
            let output = tokio::task::spawn_blocking(|| test.wait_with_output()).await.unwrap().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() == (expected == 0) && text.contains(phase), "{output:?}");
            world.registry.kill();
        }
    })
    .await;
}

/// The rights of the chart are enough for `pod-registrar check` with its settings, which is what `helm test` runs, and
/// nothing more is allowed.
#[tokio::test]
async fn rights_of_the_chart_are_enough() {
    in_cluster(async |world| {
        let Some(tools) = ChartTools::find() else { return };
        let values = format!("registry: {{url: '{}'}}\ncredentials: {{mount: false}}\n", world.registry.url);
        helm(&tools, world, &["install", RELEASE, &chart()], &values);
        let kubeconfig = account(world).await;
        let settings = world.api::<ConfigMap>().get(&world.namespace).await.unwrap().data.unwrap_or_default();
        assert!(settings.contains_key("POD_REGISTRAR_LEASE"), "{settings:?}");
        let mut check = Command::new(env!("CARGO_BIN_EXE_pod-registrar"));
        check.args(["check", "--kubeconfig"]).arg(&kubeconfig).env_clear().envs(settings);
        let output = check.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        has_no_others(&client(&kubeconfig).await, &world.namespace).await;
    })
    .await;
}
