//! Each alert fires for its fault, and no other alert fires, except those that a test names.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use pod_registrar::{demo::pod::pod, model::ids::DEFAULT_OWNER};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::installation::{FAST, Installation, LEASE, SLOW};
use crate::{
    process::world::{CLUSTER, name},
    support::{
        Child, Garble, SOON,
        apiserver::{Fault, Kind, Request},
        eventually, until,
    },
};

#[tokio::test]
async fn healthy_installation_raises_no_alert() {
    let Some(world) = Installation::start(FAST).await else { return };
    world.fires(&[]).await;
    assert_eq!(world.prometheus.unhealthy_rules().await.unwrap(), [] as [serde_json::Value; 0]);
}

/// No rule needs a series that is gone, except the one that says so.
#[tokio::test]
async fn no_replica_raises_does_not_write() {
    let Some(mut world) = Installation::start(FAST).await else { return };
    for pod in ["a", "b"] {
        world.replicas.get_mut(pod).unwrap().kill();
    }
    world.fires(&["PodRegistrarDoesNotWrite"]).await;
}

#[tokio::test]
async fn closed_session_raises_does_not_write() {
    let Some(mut world) = Installation::start(FAST).await else { return };
    world.registry.kill();
    world.restart(&[]).await;
    world.fires(&["PodRegistrarDoesNotWrite"]).await;
    world.registry.start_again().await;
    world.is_healthy().await;
}

/// After a minute, the leader hands over to a replica that might reach the registry, and that cannot open a session. So
/// no change gets old enough for another alert.
#[tokio::test]
async fn outage_raises_does_not_write() {
    let Some(mut world) = Installation::start(SLOW).await else { return };
    world.registry.kill();
    world.fires(&["PodRegistrarDoesNotWrite"]).await;
    world.registry.start_again().await;
    world.is_healthy().await;
}

/// The registry answers other requests. Every write that is sent is a retry, so half an hour later, a second alert
/// fires.
#[tokio::test]
async fn failing_writes_raise_changes_wait() {
    let Some(world) = Installation::start(FAST).await else { return };
    world.proxy.garble(|| Some(Garble::Page(502)));
    world.fires(&["PodRegistrarChangesWait", "PodRegistrarRetries"]).await;
    world.proxy.ungarble();
    world.is_healthy().await;
}

#[tokio::test]
async fn failing_watches_raise_view_is_old() {
    let Some(world) = Installation::start(FAST).await else { return };
    for kind in [Kind::Watch, Kind::List] {
        world.kube.api.inject(Fault::status(kind, 500).always());
    }
    world.kube.api.drop_watches();
    world.fires(&["PodRegistrarViewIsOld"]).await;
    world.kube.api.clear_faults();
    world.is_healthy().await;
}

/// The leader hands over as in an outage, and the next one cannot open a session with this token.
#[tokio::test]
async fn refused_token_raises_credential_refused() {
    let Some(mut world) = Installation::start(SLOW).await else { return };
    world.registry_accepts("another-token").await;
    world.fires(&["PodRegistrarCredentialRefused", "PodRegistrarDoesNotWrite"]).await;
}

#[tokio::test]
async fn narrowed_selector_raises_deletions_held() {
    let Some(mut world) = Installation::start(FAST).await else { return };
    world.kube.api.create(pod("other").label("app", "other").running()).unwrap();
    let uid = world.kube.uid("other");
    eventually("the pod is registered", SOON, async || {
        let ids = world.reader().ids(CLUSTER, DEFAULT_OWNER).await?;
        if ids.contains(&uid) { Ok(()) } else { Err(format!("{ids:?}")) }
    })
    .await;
    world.restart(&["--label-selector", "app=web"]).await;
    world.fires(&["PodRegistrarDeletionsHeld"]).await;
}

/// What the fenced process would write stays pending.
#[tokio::test]
async fn second_installation_raises_fenced() {
    let Some(mut world) = Installation::start(FAST).await else { return };
    // Deletions that the second one infers are held.
    world.keep_pods().await;
    let writer = world.reader().writer(CLUSTER, DEFAULT_OWNER).await.unwrap();
    // As after a restored registry. Otherwise the second one waits until the first one misses a heartbeat.
    world.proxy.hold(|_| true);
    world.reader().close_session(CLUSTER, DEFAULT_OWNER, writer["epoch"].as_u64().unwrap()).await;
    let registry = world.registry.url.clone();
    world.run_with("other", &registry, &[]).await;
    world.replicas.get_mut("other").unwrap().log_line("session opened").await;
    world.proxy.release();
    world.fires(&["PodRegistrarFenced", "PodRegistrarChangesWait"]).await;
    // If this Prometheus does not scrape the other installation, it sees no writer.
    world.do_not_scrape("other");
    world.fires(&["PodRegistrarFenced", "PodRegistrarChangesWait", "PodRegistrarDoesNotWrite"]).await;
    world.stop("other").await;
    world.is_healthy().await;
}

/// Refuses requests for the Lease, those of all replicas or of one.
fn refuse_lease(world: &Installation, of: Option<&'static str>) {
    let is_of = move |request: &Request| {
        let token = request.authorization.as_deref().unwrap_or_default();
        of.is_none_or(|pod| token == format!("Bearer {pod}"))
    };
    world.kube.api.inject(Fault::status(Kind::Lease, 500).always().when(is_of));
}

#[tokio::test]
async fn refused_lease_of_standby_raises_lease_fails() {
    let Some(world) = Installation::start(FAST).await else { return };
    refuse_lease(&world, Some("b"));
    world.fires(&["PodRegistrarLeaseFails"]).await;
    world.kube.api.clear_faults();
    world.is_healthy().await;
}

/// Without a leader, no process writes.
#[tokio::test]
async fn refused_lease_of_all_stops_writing() {
    let Some(world) = Installation::start(FAST).await else { return };
    refuse_lease(&world, None);
    world.fires(&["PodRegistrarLeaseFails", "PodRegistrarDoesNotWrite"]).await;
    world.kube.api.clear_faults();
    world.is_healthy().await;
}

#[tokio::test]
async fn stopped_standby_raises_no_standby() {
    let Some(mut world) = Installation::start(FAST).await else { return };
    world.stop("b").await;
    world.fires(&["PodRegistrarNoStandby"]).await;
    world.run("b", &LEASE).await;
    world.is_healthy().await;
}

#[tokio::test]
async fn invalid_pod_raises_pods_undecodable() {
    let Some(world) = Installation::start(FAST).await else { return };
    world.kube.api.spoil(&name(3));
    world.fires(&["PodRegistrarPodsUndecodable"]).await;
    world.kube.api.unspoil(&name(3));
    world.is_healthy().await;
}

#[tokio::test]
async fn refused_record_raises_records_rejected() {
    let Some(world) = Installation::start(FAST).await else { return };
    let uid = "0d3f7f5e-5a0c-4b6e-8f0e-2f1f2a3b4c5d";
    world.proxy.reject(Some(uid));
    world.kube.api.create(pod("refused").uid(uid).running()).unwrap();
    world.fires(&["PodRegistrarRecordsRejected"]).await;
    world.proxy.reject(None);
    world.kube.api.delete("default", "refused").unwrap();
    world.is_healthy().await;
}

/// The registry fails every third write.
#[tokio::test]
async fn writes_that_often_fail_raise_retries() {
    let Some(world) = Installation::start(FAST).await else { return };
    let mut writes = 0;
    world.proxy.garble(move || {
        writes += 1;
        (writes % 3 == 0).then_some(Garble::Page(502))
    });
    world.fires(&["PodRegistrarRetries"]).await;
    world.proxy.ungarble();
    world.is_healthy().await;
}

/// Makes lines for the log of the replica at this address: one for each of these connections.
async fn fill_log(address: SocketAddr) {
    loop {
        for _ in 0..50 {
            if let Ok(mut stream) = TcpStream::connect(address).await {
                let _ = stream.write_all(b"no HTTP\r\n\r\n").await;
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn blocked_log_raises_log_lines_dropped() {
    let Some(mut world) = Installation::start(FAST).await else { return };
    world.stop("b").await;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (kubeconfig, admin) = (world.kubeconfig("b"), address.to_string());
    let token = world.kube.folder.path().join("token");
    let flags = ["run", "--kubeconfig", kubeconfig.to_str().unwrap(), "--registry-url", &world.proxy.url];
    let more = ["--admin-addr", &admin, "--registry-token-file", token.to_str().unwrap(), "--instance", "b"];
    let _unread = Child::start_unread(&[&flags[..], &more, &LEASE].concat(), "trace");
    world.scrape("b", admin);
    let filling = tokio::spawn(fill_log(address));
    world.fires(&["PodRegistrarLogLinesDropped"]).await;
    filling.abort();
    until("the log is no longer filled", || filling.is_finished()).await;
}
