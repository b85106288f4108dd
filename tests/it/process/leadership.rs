//! Two replicas and one lease: handover, takeover, and a leader that was paused for too long.

use std::time::Duration;

use pod_registrar::model::ids::DEFAULT_OWNER;
use serde_json::{Value, json};

use super::{
    churn::{Churn, assert_in_order_of_leaders},
    world::{CLUSTER, ProcessHarness, name},
};
use crate::support::{
    Controller, SOON,
    apiserver::{Fault, Kind},
    eventually, http_client, seed, until,
};

const LEASE: &str = "registrar";
/// Longer than any test waits, so that no lease expires.
const LONG: &str = "5m";
/// Short enough for takeovers by expiry, and long enough for a leader on a busy machine to renew. A request for the
/// lease may take a second.
const SHORT: &str = "6s";
/// The number of disturbances of a leader in one test.
const ROUNDS: usize = 6;

async fn world() -> ProcessHarness {
    let world = ProcessHarness::start().await;
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": LEASE, "annotations": {"kept": "yes"}, "labels": {"also": "kept"}}});
    let path = format!("{}/apis/coordination.k8s.io/v1/namespaces/default/leases", world.kube.api.url());
    let created = http_client().post(path).body(lease.to_string()).send().await.unwrap();
    assert_eq!(created.status(), 201);
    world
}

/// A replica that reaches the registry through the proxy.
fn replica(world: &ProcessHarness, instance: &str, duration: &str) -> Controller {
    let place = format!("default/{LEASE}");
    world.controller_with(&["--lease", &place, "--lease-duration", duration, "--instance", instance])
}

fn lease(world: &ProcessHarness) -> Value {
    world.kube.api.lease("default", LEASE).unwrap()
}

fn holder(world: &ProcessHarness) -> String {
    lease(world)["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

/// Waits until a replica holds the lease and writes.
async fn leads(world: &ProcessHarness, instance: &str, replica: &mut Controller) {
    until("it holds the lease", || holder(world).starts_with(&format!("{instance}:"))).await;
    shows(replica, "leader", 1.0).await;
    shows(replica, "writer", 1.0).await;
}

/// Two replicas: the first leads, the second is ready, and the registry equals the cluster.
async fn pair(world: &ProcessHarness, duration: &str) -> (Controller, Controller) {
    let mut first = replica(world, "first", duration);
    leads(world, "first", &mut first).await;
    world.equal().await;
    let mut second = replica(world, "second", duration);
    second.ready().await;
    assert_eq!(second.figure("writer").await, 0.0);
    (first, second)
}

async fn shows(replica: &mut Controller, series: &str, value: f64) {
    eventually(series, SOON, async || match replica.figure(series).await {
        found if found == value => Ok(()),
        found => Err(format!("{found}")),
    })
    .await;
}

/// The number of complete lists that a replica has taken.
async fn lists(replica: &mut Controller) -> f64 {
    let (_, text) = replica.page("/metrics").await;
    let lines = text.lines().filter(|line| line.starts_with("pod_registrar_relists_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn stopped_leader_hands_over_at_once() {
    // The new leader needs no list.
    let world = world().await;
    world.kube.create(0..50);
    let (mut first, mut second) = pair(&world, LONG).await;
    assert_eq!((lease(&world)["spec"]["leaseTransitions"].as_u64(), lists(&mut second).await), (Some(1), 1.0));
    world.kube.delete(0..3);
    world.kube.label(&name(7), "changed");
    world.equal().await;

    let mark = world.proxy.mark();
    first.terminate();
    assert_eq!(first.code().await, 0);
    assert!(first.logged("lease released"));
    leads(&world, "second", &mut second).await;
    let sent = world.proxy.seen_since(mark);
    let opened = sent.iter().find(|exchange| exchange.method == "POST" && exchange.path.contains("/session"));
    let answer: Value = serde_json::from_slice(&opened.unwrap().answer.as_ref().unwrap().1).unwrap();
    assert_eq!(answer["previous"]["state"], "closed", "the old session is closed before the new one is opened");
    second.synced().await;
    assert!(!world.proxy.seen_since(mark).iter().any(|exchange| exchange.writes()), "nothing differs");
    assert_eq!(lists(&mut second).await, 1.0);
    let kept = lease(&world);
    assert_eq!(
        (&kept["metadata"]["annotations"], &kept["metadata"]["labels"]),
        (&json!({"kept": "yes", "pod-registrar/targets": "default"}), &json!({"also": "kept"}))
    );
    assert_eq!(kept["spec"]["leaseTransitions"], 2);
    world.kube.create(50..60);
    world.equal().await;
}

#[tokio::test]
async fn stopped_leaders_late_writes_are_fenced() {
    // The new leader finds what these writes would have changed.
    let world = world().await;
    world.kube.create(0..5);
    let (mut first, mut second) = pair(&world, LONG).await;
    world.proxy.hold_writes();
    world.kube.label(&name(0), "late");
    let uid = world.kube.uid(&name(0));
    until("its write is in flight", || {
        world.proxy.seen().iter().any(|exchange| exchange.answer.is_none() && exchange.writes_about(&uid))
    })
    .await;
    first.terminate();
    assert_eq!(first.code().await, 0);
    leads(&world, "second", &mut second).await;
    world.kube.label(&name(0), "newer");
    world.proxy.release();
    world.equal().await;
    assert_by_terms(&world).await;
    assert_eq!(second.figure("fenced").await, 0.0);
}

#[tokio::test]
async fn killed_leader_is_replaced_without_a_list() {
    // Pods that are deleted in between are deregistered by the deletion events that the standby saw.
    let world = world().await;
    world.kube.create(0..300);
    let (mut first, mut second) = pair(&world, SHORT).await;
    first.kill();
    // More deletions than the absence guard lets through without a second list.
    world.kube.delete(0..200);
    world.kube.create(300..310);
    leads(&world, "second", &mut second).await;
    world.equal().await;
    assert_eq!(lists(&mut second).await, 1.0);
    let changes = world.registry().changes(CLUSTER).await.unwrap();
    let deletes: Vec<_> = changes.iter().filter(|change| change["op"] == "delete").collect();
    assert_eq!(deletes.len(), 200);
    assert!(deletes.iter().all(|change| change["observed"] == "watch" && change["epoch"] == 2));
}

#[tokio::test]
async fn leader_paused_past_its_lease_writes_nothing() {
    // The paused leader becomes a standby.
    let world = world().await;
    world.kube.create(0..20);
    let (mut first, mut second) = pair(&world, SHORT).await;

    first.pause();
    // The paused leader will find these changes in its watch, while it still believes that it leads.
    world.kube.label(&name(0), "paused");
    world.kube.delete(1..3);
    leads(&world, "second", &mut second).await;
    world.equal().await;
    let before = world.registry().changes(CLUSTER).await.unwrap();
    let mark = world.proxy.mark();
    first.resume();
    first.log_line("leadership lost").await;
    shows(&mut first, "leader", 0.0).await;
    // It has caught up with the cluster, and written nothing.
    shows(&mut first, "pods", 18.0).await;
    let writes: Vec<_> = world.proxy.seen_since(mark).into_iter().filter(|exchange| exchange.writes()).collect();
    assert!(writes.is_empty(), "{:?}", writes.iter().map(|exchange| &exchange.path).collect::<Vec<_>>());
    assert_eq!(world.registry().changes(CLUSTER).await.unwrap(), before);
    assert_eq!(second.figure("fenced").await, 0.0);

    second.kill();
    world.kube.label(&name(5), "after");
    leads(&world, "first", &mut first).await;
    world.equal().await;
    let writer = world.registry().writer(CLUSTER, DEFAULT_OWNER).await.unwrap();
    assert_eq!((writer["epoch"].as_u64(), writer["state"].as_str()), (Some(3), Some("live")));
}

#[tokio::test]
async fn replicas_without_the_lease_api_write_nothing() {
    // When the API is back, one of them leads.
    let world = world().await;
    world.kube.create(0..20);
    let (mut first, mut second) = pair(&world, SHORT).await;
    world.kube.api.inject(Fault::hang(Kind::Lease).always());
    first.log_line("leadership lost").await;
    shows(&mut first, "leader", 0.0).await;
    assert_eq!((second.figure("leader").await, first.page("/readyz").await.0), (0.0, 200));
    let mark = world.proxy.mark();
    world.kube.label(&name(0), "unwritten");
    world.kube.create(20..21);
    shows(&mut first, "pods", 21.0).await;
    shows(&mut second, "pods", 21.0).await;
    assert!(!world.proxy.seen_since(mark).iter().any(|exchange| exchange.writes()));
    world.kube.api.clear_faults();
    world.kube.api.inject(Fault::status(Kind::Lease, 500).times(2));
    world.equal().await;
    eventually("one leads", SOON, async || {
        let leading = [first.figure("leader").await, second.figure("leader").await];
        if leading.iter().sum::<f64>() == 1.0 { Ok(()) } else { Err(format!("{leading:?}")) }
    })
    .await;
}

#[tokio::test]
async fn missing_lease_is_reported_in_the_log() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..1);
    let mut alone = replica(&world, "alone", SHORT);
    let line = alone.log_line("lease not read or written; retrying").await;
    assert!(line.contains("deploy/lease.yaml") && alone.logged("WARN"), "{line}");
    assert_eq!(alone.figure("leader").await, 0.0);
    assert!(alone.figure("lease_failures_total").await >= 1.0);
}

/// The leader changes again and again, in every possible way.
#[tokio::test]
async fn replicas_writes_neither_mix_nor_get_lost() {
    let world = world().await;
    world.kube.create(0..100);
    let mut churn = Churn::new(&world.kube, seed());
    let mut replicas = [replica(&world, "r0", SHORT), replica(&world, "r1", SHORT)];
    for round in 0..ROUNDS {
        for replica in &mut replicas {
            replica.log_line("health and metrics are served").await;
        }
        until("one of them leads", || ["r0:", "r1:"].iter().any(|ours| holder(&world).starts_with(ours))).await;
        let which = usize::from(holder(&world).starts_with("r1:"));
        match churn.random.u8(..4) {
            0 => replicas[which].kill(),
            1 => {
                replicas[which].terminate();
                assert_eq!(replicas[which].code().await, 0);
            }
            2 => {
                replicas[which].pause();
                let pause = churn.random.u64(..9_000);
                churn.go_on(Duration::from_millis(pause)).await;
                replicas[which].resume();
            }
            _ => {
                // A holder that does nothing with the lease takes it away from the leader.
                let steal = |lease: &mut Value| lease["spec"]["holderIdentity"] = format!("thief-{round}").into();
                world.kube.api.edit_lease("default", LEASE, steal).await;
            }
        }
        let while_it_goes_on = churn.random.u64(..1_500);
        churn.go_on(Duration::from_millis(while_it_goes_on)).await;
        if !replicas[which].is_running() {
            replicas[which] = replica(&world, &format!("r{which}"), SHORT);
        }
    }
    // After a takeover, no deletion is inferred for a minute.
    world.kube.equals(&world.registry(), SOON * 5).await;
    let gone = churn.gone;
    let changes = world.registry().changes(CLUSTER).await.unwrap();
    assert_in_order_of_leaders(&changes, &gone);
    assert_by_terms(&world).await;
}

/// Checks that no session wrote after a later one.
async fn assert_by_terms(world: &ProcessHarness) {
    let changes = world.registry().changes(CLUSTER).await.unwrap();
    let epochs: Vec<_> = changes.iter().map(|change| change["epoch"].as_u64().unwrap()).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
}
