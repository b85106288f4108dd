//! The registry is killed under load, and started again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use pod_registrar::model::ids::DEFAULT_OWNER;

use super::world::{CLUSTER, Kube, name};
use crate::support::{Controller, Exchange, Proxy, Reader, RegistryProcess, SOON, eventually, seed};

const PODS: usize = 200;

#[tokio::test]
async fn killed_registry_keeps_what_it_acknowledged() {
    // The controller recovers.
    let mut random = fastrand::Rng::with_seed(seed());
    let kube = Kube::start().await;
    let mut registry = RegistryProcess::start(kube.folder.path()).await;
    let proxy = Proxy::start(&registry.url).await;
    kube.create(0..PODS);
    let mut controller = Controller::start(&kube.kubeconfig, &proxy.url, &[]);
    controller.log_line("session opened").await;
    let mut next = PODS;
    for _ in 0..4 {
        let end = Instant::now() + Duration::from_millis(random.u64(50..500));
        while Instant::now() < end {
            kube.create(next..next + 1);
            kube.label(&name(next - random.usize(..PODS / 2)), &format!("v{next}"));
            kube.delete(next - PODS..next - PODS + 1);
            next += 1;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        registry.kill();
        assert_eq!(controller.page("/livez").await.0, 200);
        // Nothing new reaches the registry before it is checked.
        proxy.hold(|_| true);
        registry.start_again().await;
        assert_kept(&proxy.seen(), &registry.reader()).await;
        proxy.release();
    }
    kube.equals(&registry.reader(), SOON * 2).await;
    assert!(controller.is_running());
    eventually("nothing is left to do", SOON, async || match controller.figure("pending").await {
        0.0 => Ok(()),
        pending => Err(format!("{pending} pending")),
    })
    .await;
}

/// Checks that the newest acknowledged write of each record is still there, or a newer one.
async fn assert_kept(seen: &[Exchange], registry: &Reader) {
    let mut last: BTreeMap<String, (bool, (u64, u64))> = BTreeMap::new();
    for (id, put, version) in seen.iter().filter(|exchange| exchange.writes()).flat_map(Exchange::acknowledged) {
        let known = last.entry(id).or_insert((put, version));
        if version >= known.1 {
            *known = (put, version);
        }
    }
    let records = registry.records(CLUSTER, DEFAULT_OWNER).await.unwrap_or_default();
    assert!(!last.is_empty() || records.is_empty(), "no acknowledgement was recorded");
    for (id, (put, version)) in last {
        let record = records.get(&id);
        if !put {
            assert!(record.is_none(), "{id} was deleted with {version:?}: {record:?}");
            continue;
        }
        // It may have been deleted since, by a request whose answer was lost.
        let Some(record) = record else {
            let unanswered = |exchange: &Exchange| exchange.answer.is_none() && exchange.writes_about(&id);
            assert!(seen.iter().any(unanswered), "{id} was acknowledged with {version:?} and is lost");
            continue;
        };
        let number = |name: &str| record["version"][name].as_u64().unwrap();
        assert!((number("epoch"), number("seq")) >= version, "{id} has gone back from {version:?}: {record}");
    }
}
