//! Receipts on a real API server: who owns them, what they cause, and what happens without the rights.

use std::time::Duration;

use http::Request;
use k8s_openapi::api::{core::v1::Pod, events::v1::Event};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use pod_registrar::model::pod::receipt::{ANNOTATION, GATE};
use serde_json::{Value, json};

use super::{
    rbac::{apply_at, deploy},
    world::{ClusterHarness, in_cluster, object, pod_spec, uid_of},
};
use crate::support::{Controller, SOON, eventually};

const ALL: [&str; 2] = ["--receipts", "event,gate,annotation"];

async fn create_gated(world: &ClusterHarness, name: &str) -> Pod {
    let mut spec = pod_spec();
    spec["readinessGates"] = json!([{"conditionType": GATE}]);
    let document = object(json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec}));
    world.api::<Pod>().create(&PostParams::default(), &document).await.unwrap()
}

fn condition(pod: &Pod) -> Option<&str> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == GATE).map(|condition| condition.status.as_str())
}

fn annotation(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(ANNOTATION).map(String::as_str)
}

/// Waits until the pod has its condition and its annotation.
async fn receipted(world: &ClusterHarness, name: &str) -> Pod {
    eventually("the receipts of a pod", SOON, async || {
        let pod = world.api::<Pod>().get(name).await.map_err(|error| error.to_string())?;
        let has = condition(&pod) == Some("True") && annotation(&pod) == Some(&uid_of(&pod));
        if has { Ok(pod) } else { Err(format!("{:?} {:?}", condition(&pod), annotation(&pod))) }
    })
    .await
}

async fn figure_is(controller: &mut Controller, name: &str, value: f64) {
    eventually(name, SOON, async || match controller.figure(name).await {
        found if found == value => Ok(()),
        found => Err(format!("{found}, expected {value}")),
    })
    .await;
}

/// How often the registry changed a record.
async fn changes(world: &ClusterHarness, uid: &str) -> usize {
    world.reader().changes(&world.cluster).await.unwrap().iter().filter(|change| change["id"] == uid).count()
}

/// The Events that we wrote, once there are some.
async fn events(world: &ClusterHarness) -> Vec<Event> {
    eventually("an Event", SOON, async || {
        let events = world.api::<Event>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let is_ours = |event: &Event| event.reporting_controller.as_deref() == Some("pod-registrar");
        let ours: Vec<Event> = events.items.into_iter().filter(is_ours).collect();
        if ours.is_empty() { Err("none".to_owned()) } else { Ok(ours) }
    })
    .await
}

/// What the field manager owns of a pod, per subresource.
fn owned(pod: &Pod) -> Vec<(Option<String>, Value)> {
    let entries = pod.metadata.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| entry.manager.as_deref() == Some("pod-registrar"));
    let owned = ours.map(|entry| {
        assert_eq!(entry.operation.as_deref(), Some("Apply"));
        (entry.subresource.clone().filter(|name| !name.is_empty()), json!(entry.fields_v1.as_ref().unwrap().0))
    });
    let mut owned: Vec<_> = owned.collect();
    owned.sort_by_key(|(subresource, _)| subresource.clone());
    owned
}

#[tokio::test]
async fn pod_shows_receipts_of_our_manager() {
    in_cluster(async |world| {
        // Its record is settled before the first receipt.
        let mut controller = world.controller();
        let web = uid_of(&create_gated(world, "web").await);
        world.running(1).await;
        world.equal().await;
        controller.terminate();
        assert_eq!(controller.code().await, 0);
        let before = changes(world, &web).await;

        let mut controller = world.controller_with(&world.kubeconfig, &ALL);
        let pod = receipted(world, "web").await;
        let owned = owned(&pod);
        let [(None, metadata), (Some(status), conditions)] = &owned[..] else { panic!("{owned:#?}") };
        let expected = json!({"f:metadata": {"f:annotations": {format!("f:{ANNOTATION}"): {}}}});
        assert_eq!((metadata, status.as_str()), (&expected, "status"));
        let key = format!("k:{{\"type\":\"{GATE}\"}}");
        let fields = &conditions["f:status"]["f:conditions"];
        assert!(fields.as_object().unwrap().keys().eq([&key]), "{fields:#}");

        // The watch shows this pod after the receipts of the first one.
        controller.synced().await;
        let next = create_gated(world, "next").await;
        receipted(world, "next").await;
        world.running(2).await;
        world.equal().await;
        assert_eq!(changes(world, &web).await, before, "a receipt causes no write to the registry");
        let [event] = &events(world).await[..] else { panic!("one Event, about the new pod") };
        assert_eq!(event.regarding.as_ref().unwrap().uid, next.metadata.uid);
        assert_eq!((event.reason.as_deref(), event.type_.as_deref()), (Some("Registered"), Some("Normal")));
        let written =
            ["gate", "annotation"].map(|kind| format!("receipts_total{{kind=\"{kind}\",outcome=\"written\"}}"));
        for series in &written {
            figure_is(&mut controller, series, 2.0).await;
        }

        // A new process finds its receipts, and writes none of them again.
        controller.terminate();
        assert_eq!(controller.code().await, 0);
        let version = world.api::<Pod>().get("web").await.unwrap().metadata.resource_version;
        let mut controller = world.controller_with(&world.kubeconfig, &ALL);
        controller.synced().await;
        create_gated(world, "third").await;
        receipted(world, "third").await;
        for series in &written {
            figure_is(&mut controller, series, 1.0).await;
        }
        assert_eq!(world.api::<Pod>().get("web").await.unwrap().metadata.resource_version, version);
    })
    .await;
}

#[tokio::test]
async fn receipt_never_reaches_another_pod() {
    in_cluster(async |world| {
        let pod = world.create("web").await;
        world.running(1).await;
        let path = format!("/api/v1/namespaces/{}/pods/web", world.namespace);
        let apply = |uid: &str, path: &str| {
            let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "uid": uid,
                "annotations": {ANNOTATION: "other"}}});
            let request = Request::patch(format!("{path}?fieldManager=pod-registrar&force=true"));
            request
                .header("content-type", "application/apply-patch+yaml")
                .body(object.to_string().into_bytes())
                .unwrap()
        };
        let other = "00000000-0000-4000-8000-000000000000";
        let refused = world.client.request::<Value>(apply(other, &path)).await.unwrap_err();
        let is_about_uid = |status: &kube::core::Status| status.code == 422 && status.message.contains("metadata.uid");
        assert!(matches!(&refused, kube::Error::Api(status) if is_about_uid(status)), "{refused}");
        world.delete("web").await;
        let missing = world.client.request::<Value>(apply(&uid_of(&pod), &path)).await.unwrap_err();
        assert!(matches!(&missing, kube::Error::Api(status) if matches!(status.code, 404 | 409)), "{missing}");
        assert!(world.pods().await.is_empty(), "no pod was created");
    })
    .await;
}

#[tokio::test]
async fn missing_rights_harm_only_receipts() {
    in_cluster(async |world| {
        let kubeconfig = deploy(world).await;
        let mut controller = world.controller_with(&kubeconfig, &ALL);
        create_gated(world, "web").await;
        world.running(1).await;
        world.equal().await;
        for resource in ["[pods/status], verbs: [patch]", "[pods], verbs: [patch]"] {
            controller.log_line(&format!("resources: {resource}")).await;
        }
        let pod = world.api::<Pod>().get("web").await.unwrap();
        assert_eq!((condition(&pod), annotation(&pod)), (None, None));
        controller.terminate();
        assert_eq!(controller.code().await, 0);

        // The component for kustomize grants them. Nothing more is needed.
        let (name, rights) = (&world.namespace, "/apis/rbac.authorization.k8s.io/v1");
        for (kind, file) in [("clusterroles", "clusterrole.yaml"), ("clusterrolebindings", "clusterrolebinding.yaml")] {
            let path = format!("{rights}/{kind}/{name}-receipts");
            apply_at(&world.client, &path, &format!("receipts/{file}"), name).await;
        }
        let mut controller = world.controller_with(&kubeconfig, &ALL);
        receipted(world, "web").await;
        controller.synced().await;
        create_gated(world, "next").await;
        receipted(world, "next").await;
        figure_is(&mut controller, "receipts_total{kind=\"event\",outcome=\"written\"}", 1.0).await;
        for kind in ["event", "gate", "annotation"] {
            let refused = format!("receipts_total{{kind=\"{kind}\",outcome=\"refused\"}}");
            assert_eq!(controller.figure(&refused).await, 0.0, "{kind}");
        }
        for kind in ["clusterroles", "clusterrolebindings"] {
            let request = Request::delete(format!("{rights}/{kind}/{name}-receipts")).body(Vec::new()).unwrap();
            world.client.request::<Value>(request).await.unwrap();
        }
    })
    .await;
}

/// The recipe of `docs/receipts.md`: the API server accepts its Deployment, whose pods get their condition.
#[tokio::test]
async fn deployment_of_the_recipe_is_registered() {
    in_cluster(async |world| {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/receipts.md")).unwrap();
        let recipe = page.split("```yaml\n").map(|block| block.split("```").next().unwrap());
        let recipe = recipe.skip(1).find(|block| block.contains("kind: Deployment")).unwrap().to_owned();
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/web", world.namespace);
        let request = Request::patch(format!("{path}?fieldManager=test&fieldValidation=Strict"));
        let request = request.header("content-type", "application/apply-patch+yaml").body(recipe.into_bytes()).unwrap();
        let _: Value = world.client.request(request).await.unwrap();
        let _controller = world.controller_with(&world.kubeconfig, &["--receipts", "gate"]);
        eventually("all pods have the condition", Duration::from_secs(60), async || {
            let pods = world.pods().await;
            let ready = pods.values().filter(|pod| condition(pod) == Some("True")).count();
            if ready == 3 { Ok(()) } else { Err(format!("{ready} of {}", pods.len())) }
        })
        .await;
        let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
        let deployments = world.api::<k8s_openapi::api::apps::v1::Deployment>();
        deployments.patch("web", &PatchParams::default(), &patch).await.unwrap();
    })
    .await;
}
