//! Connections and servers that fall silent without a word. Each is noticed by its silence alone, within the time that is
//! promised; so these tests take about that time, all at once.

use std::time::Instant;

use super::*;
use crate::support::Cuttable;

/// Within this time a dead or silent watch is replaced.
const PROMISED: Duration = Duration::from_secs(30);

/// Changes something that the watch does not tell, and waits until it is known: not longer than was promised.
async fn comes_to_know(what: &str, world: &mut InformerHarness) {
    let begun = Instant::now();
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.server.delete("shop", "a").unwrap();
    eventually(what, PROMISED, async || {
        let held: BTreeSet<String> = world.shown();
        let there: BTreeSet<String> = world.server.uids().into_values().collect();
        if held == there { Ok(()) } else { Err(format!("{held:?} for {there:?} after {:?}", begun.elapsed())) }
    })
    .await;
    assert!(begun.elapsed() < PROMISED, "{what}: {:?}", begun.elapsed());
}

/// A connection over which nothing comes any more, in either direction, and that stays open.
async fn half_open() {
    let server = InformerHarness::server().await;
    let way = Cuttable::start(server.address().to_string()).await;
    let cluster = ClusterConnection::at(&format!("http://{}", way.address)).unwrap();
    let mut world = InformerHarness::watching(server, &cluster, PodSelection::default(), (NEVER, NEVER));
    world.equal().await;
    until("it watches", || world.server.open_watches() == 1).await;
    way.swallow();
    comes_to_know("half-open", &mut world).await;
    world.hear();
    assert_eq!(world.lists(), 1, "it was resumed from where it was");
    assert_eq!(world.ends().len(), 1);
}

/// A server that says yes to a watch and then nothing, or not even that.
async fn silent(what: &str, fault: Fault) {
    let mut world = InformerHarness::listed([fault]).await;
    until("it watches", || world.server.pending_faults() == 0).await;
    comes_to_know(what, &mut world).await;
    world.hear();
    assert_eq!(world.lists(), 1, "{what}: it was resumed from where it was");
}

/// A list that never ends, or never begins.
async fn endless_list(what: &str, fault: Fault) {
    let mut world = InformerHarness::start([fault], PodSelection::default()).await;
    let begun = Instant::now();
    eventually(what, PROMISED, async || {
        world.hear();
        // Nothing of a list that is not whole is shown.
        assert!(world.lists() > 0 || world.view.is_empty());
        if world.lists() > 0 { Ok(()) } else { Err(format!("{:?}", world.told)) }
    })
    .await;
    assert!(begun.elapsed() < PROMISED, "{what}: {:?}", begun.elapsed());
    world.equal().await;
}

/// A server whose watch never tells anything, while it answers and has lists.
async fn never_a_watch(what: &str, fault: Fault) {
    let mut world = InformerHarness::listed([fault.always()]).await;
    until("it watches", || world.server.requests(Kind::Watch) > 0).await;
    let begun = Instant::now();
    world.server.delete("shop", "a").unwrap();
    eventually(what, PROMISED * 3, async || {
        world.hear();
        if world.lists() == 2 { Ok(()) } else { Err(world.metrics.encode().unwrap()) }
    })
    .await;
    assert!(begun.elapsed() > PROMISED, "{what}: not as soon as it falls silent, {:?}", begun.elapsed());
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
        never_a_watch("silence", Fault::stall(Kind::Watch, 0)),
        never_a_watch("refusals", Fault::status(Kind::Watch, 500)),
        never_a_watch("refusals for want of rights", Fault::status(Kind::Watch, 403)),
    );
}
