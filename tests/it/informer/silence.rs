//! Connections and servers that fall silent. Only the silence shows it, within the guaranteed time, so these tests take
//! about that time. They run side by side.

use std::time::Instant;

use super::*;
use crate::support::FaultyProxy;

/// A dead or silent watch is replaced within this time.
const GUARANTEED: Duration = Duration::from_secs(30);

/// Makes changes that the watch does not report, and waits until the store has them, within the guaranteed time.
async fn learns_in_time(what: &str, world: &mut InformerHarness) {
    let begun = Instant::now();
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.server.delete("shop", "a").unwrap();
    eventually(what, GUARANTEED, async || {
        let held: BTreeSet<String> = world.stored();
        let there: BTreeSet<String> = world.server.uids().into_values().collect();
        if held == there { Ok(()) } else { Err(format!("{held:?} for {there:?} after {:?}", begun.elapsed())) }
    })
    .await;
    assert!(begun.elapsed() < GUARANTEED, "{what}: {:?}", begun.elapsed());
}

/// A connection that carries no bytes any more, in either direction, and stays open.
async fn half_open() {
    let server = InformerHarness::server().await;
    let proxy = FaultyProxy::start(server.address().to_string()).await;
    let cluster = ClusterConnection::at(&format!("http://{}", proxy.address)).unwrap();
    let mut world = InformerHarness::watching(server, &cluster, PodSelection::default(), (NEVER, NEVER));
    world.equal().await;
    until("it watches", || world.server.open_watches() == 1).await;
    proxy.swallow();
    learns_in_time("half-open", &mut world).await;
    world.read_events();
    assert_eq!(world.lists(), 1, "the watch is resumed");
    assert_eq!(world.deletions().len(), 1);
}

/// A server that answers a watch with headers and nothing more, or does not answer it.
async fn silent(what: &str, fault: Fault) {
    let mut world = InformerHarness::listed([fault]).await;
    until("it watches", || world.server.pending_faults() == 0).await;
    learns_in_time(what, &mut world).await;
    world.read_events();
    assert_eq!(world.lists(), 1, "{what}: the watch is resumed");
}

/// A list that never ends, or never begins.
async fn endless_list(what: &str, fault: Fault) {
    let mut world = InformerHarness::start([fault], PodSelection::default()).await;
    let begun = Instant::now();
    eventually(what, GUARANTEED, async || {
        world.read_events();
        // An incomplete list changes nothing.
        assert!(world.lists() > 0 || world.view.is_empty());
        if world.lists() > 0 { Ok(()) } else { Err(format!("{:?}", world.events)) }
    })
    .await;
    assert!(begun.elapsed() < GUARANTEED, "{what}: {:?}", begun.elapsed());
    world.equal().await;
}

/// A server whose watch reports nothing, while it answers lists.
async fn silent_watch(what: &str, fault: Fault) {
    let mut world = InformerHarness::listed([fault.always()]).await;
    until("it watches", || world.server.requests(Kind::Watch) > 0).await;
    let begun = Instant::now();
    world.server.delete("shop", "a").unwrap();
    eventually(what, GUARANTEED * 3, async || {
        world.read_events();
        if world.lists() == 2 { Ok(()) } else { Err(world.metrics.encode().unwrap()) }
    })
    .await;
    assert!(begun.elapsed() > GUARANTEED, "{what}: one silence is not enough, {:?}", begun.elapsed());
    assert!(world.count("relists_total{reason=\"silent\"} 1"), "{what}: {}", world.metrics.encode().unwrap());
    world.equal().await;
}

#[tokio::test]
async fn silent_requests_are_replaced_within_thirty_seconds() {
    tokio::join!(
        half_open(),
        silent("after the headers", Fault::stall(Kind::Watch, 0)),
        silent("before the headers", Fault::hang(Kind::Watch)),
        endless_list("a list that stalls", Fault::stall(Kind::List, 1)),
        endless_list("a list that hangs", Fault::hang(Kind::List)),
    );
}

#[tokio::test]
async fn silent_or_refused_watch_leads_to_a_relist() {
    tokio::join!(
        silent_watch("silence", Fault::stall(Kind::Watch, 0)),
        silent_watch("refusals", Fault::status(Kind::Watch, 500)),
        silent_watch("missing rights", Fault::status(Kind::Watch, 403)),
    );
}
