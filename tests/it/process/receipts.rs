//! Receipts against the demo's API server, which applies them and refuses or hangs as a test wants.

use pod_registrar::{
    demo::pod::pod,
    model::{
        ids::DEFAULT_OWNER,
        pod::receipt::{ANNOTATION, GATE},
    },
};
use serde_json::Value;

use super::{
    holds::lease,
    world::{CLUSTER, Kube, ProcessHarness, name},
};
use crate::support::{
    Controller, SOON,
    apiserver::{Fault, Kind},
    eventually,
};

const ALL: [&str; 2] = ["--receipts", "event,gate,annotation"];

/// A running pod that waits for its registration.
fn gated(name: String) -> Value {
    let mut pod = pod(name).label("app", "web").running().build();
    pod["spec"]["readinessGates"] = serde_json::json!([{"conditionType": GATE}]);
    pod
}

fn condition(kube: &Kube, name: &str) -> Option<String> {
    let pod = kube.api.pod("default", name)?;
    let conditions = pod["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == GATE)?;
    Some(found["status"].as_str()?.to_owned())
}

fn annotation(kube: &Kube, name: &str) -> Option<String> {
    Some(kube.api.pod("default", name)?["metadata"]["annotations"][ANNOTATION].as_str()?.to_owned())
}

/// Waits until a metric of receipts has this value.
async fn receipts(controller: &mut Controller, kind: &str, outcome: &str, count: f64) {
    let series = format!("receipts_total{{kind=\"{kind}\",outcome=\"{outcome}\"}}");
    eventually(&series, SOON, async || match controller.figure(&series).await {
        found if found == count => Ok(()),
        found => Err(format!("{found}, expected {count}")),
    })
    .await;
}

async fn puts(controller: &mut Controller) -> f64 {
    controller.figure("operations_total{operation=\"put\",outcome=\"done\"}").await
}

#[tokio::test]
async fn receipts_are_off_by_default() {
    let world = ProcessHarness::start().await;
    world.kube.api.create(gated(name(0))).unwrap();
    let mut controller = world.controller();
    world.equal().await;
    controller.synced().await;
    world.kube.api.create(gated(name(1))).unwrap();
    world.equal().await;
    assert_eq!((world.kube.api.requests(Kind::Apply), world.kube.api.requests(Kind::Event)), (0, 0));
}

#[tokio::test]
async fn pods_get_receipts_and_registry_no_writes() {
    let world = ProcessHarness::start().await;
    let kube = &world.kube;
    kube.api.create(gated(name(0))).unwrap();
    kube.create(1..3);
    let mut controller = world.controller_with(&[&ALL[..], &["--annotation-allow=*"]].concat());
    world.equal().await;
    controller.synced().await;
    receipts(&mut controller, "annotation", "written", 3.0).await;
    receipts(&mut controller, "gate", "written", 1.0).await;
    assert_eq!(condition(kube, &name(0)).as_deref(), Some("True"));
    assert_eq!((condition(kube, &name(1)), annotation(kube, &name(1))), (None, Some(kube.uid(&name(1)))));
    // The receipts came back with the watch before this pod.
    kube.api.create(gated(name(3))).unwrap();
    receipts(&mut controller, "annotation", "written", 4.0).await;
    receipts(&mut controller, "gate", "written", 2.0).await;
    receipts(&mut controller, "event", "written", 1.0).await;
    world.equal().await;
    assert_eq!(puts(&mut controller).await, 4.0, "a receipt is no change of a record");
    for record in world.registry().records(CLUSTER, DEFAULT_OWNER).await.unwrap().values() {
        assert!(!record.to_string().contains(ANNOTATION), "{record:#}");
    }
    assert_eq!(kube.api.requests(Kind::Apply), 6, "one request per receipt");
    for object in kube.api.applied() {
        let members = object.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ");
        assert!(["apiVersion kind metadata", "apiVersion kind metadata status"].contains(&&*members), "{object:#}");
        assert_eq!(object["metadata"]["uid"], kube.uid(object["metadata"]["name"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn hanging_receipts_delay_no_registration() {
    let world = ProcessHarness::start().await;
    for kind in [Kind::Apply, Kind::Event] {
        world.kube.api.inject(Fault::hang(kind).always());
    }
    world.kube.api.create(gated(name(0))).unwrap();
    world.kube.create(1..200);
    let mut controller = world.controller_with(&ALL);
    world.equal().await;
    controller.synced().await;
    eventually("a receipt hangs", SOON, async || match world.kube.api.requests(Kind::Apply) {
        0 => Err("no request".to_owned()),
        _ => Ok(()),
    })
    .await;
    // While they hang, pods come, change and go.
    world.kube.create(200..300);
    world.kube.delete(0..50);
    world.kube.label(&name(60), "changed");
    world.equal().await;
    assert_eq!(world.kube.api.applied().len(), 0, "none was answered");
    let waits = controller.figure("oldest_pending_age_seconds").await;
    assert!(waits < 5.0, "{waits}");
    assert!(controller.is_running());
}

#[tokio::test]
async fn refused_receipts_are_logged_with_the_rule() {
    let world = ProcessHarness::start().await;
    for kind in [Kind::Apply, Kind::Event] {
        world.kube.api.inject(Fault::status(kind, 403).always());
    }
    world.kube.api.create(gated(name(0))).unwrap();
    world.kube.create(1..50);
    let mut controller = world.controller_with(&ALL);
    world.equal().await;
    controller.synced().await;
    world.kube.create(50..60);
    world.equal().await;
    for rule in [
        "{apiGroups: [\"\"], resources: [pods/status], verbs: [patch]}",
        "{apiGroups: [\"\"], resources: [pods], verbs: [patch]}",
        "{apiGroups: [\"events.k8s.io\"], resources: [events], verbs: [create]}",
    ] {
        controller.log_line(rule).await;
    }
    let lines = controller.stderr().into_iter().filter(|line| line.contains("receipt not written")).count();
    assert_eq!(lines, 3, "one line per kind");
    // Those that were under way together, and none after them.
    let requests = world.kube.api.requests(Kind::Apply);
    assert!(requests <= 1 + 8, "{requests} requests");
    assert_eq!(world.kube.api.applied().len(), 0);
}

#[tokio::test]
async fn standby_writes_no_receipts() {
    let world = ProcessHarness::start().await;
    world.kube.api.create(gated(name(0))).unwrap();
    lease(&world).await;
    let lease = ["--lease", "default/registrar", "--lease-duration", "3s"];
    let mut leader = world.controller_with(&[&ALL[..], &lease, &["--instance", "a"]].concat());
    leader.synced().await;
    let mut standby = world.controller_with(&[&ALL[..], &lease, &["--instance", "b"]].concat());
    standby.ready().await;
    receipts(&mut leader, "gate", "written", 1.0).await;
    receipts(&mut leader, "annotation", "written", 1.0).await;
    receipts(&mut standby, "gate", "written", 0.0).await;
    // The next leader finds a pod whose receipt the last one could not write.
    world.kube.api.inject(Fault::hang(Kind::Apply).always());
    world.kube.api.create(gated(name(1))).unwrap();
    world.equal().await;
    leader.kill();
    world.kube.api.clear_faults();
    eventually("the gate of the second pod", SOON * 2, async || match condition(&world.kube, &name(1)) {
        Some(status) if status == "True" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    receipts(&mut standby, "gate", "written", 1.0).await;
    assert_eq!(puts(&mut standby).await, 0.0, "the record was there already");
}
