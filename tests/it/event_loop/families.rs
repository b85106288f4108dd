//! Several records per pod: the order of their writes, and what is sent when a pod changes.

use std::time::Duration;

use pod_registrar::reconcile::outcome::{Failure, OperationKind, Verdict};

use super::{
    fake::{Fake, Fault},
    mapping::{mapped, pod_at},
    world::{EventLoopHarness, SECOND},
};

/// What was sent since the last call: `+` a put, `-` a deletion, in the order of the requests.
fn sent(registry: &Fake) -> Vec<String> {
    let writes = std::mem::take(&mut registry.state().writes);
    let sign = |kind| if kind == OperationKind::Put { '+' } else { '-' };
    writes
        .iter()
        .flat_map(|write| write.items.iter().map(move |item| format!("{}{}", sign(item.kind), item.uid)))
        .collect()
}

async fn world(reason: &str) -> EventLoopHarness {
    let mut world = EventLoopHarness::settled(mapped(false), []).await;
    world.apply(pod_at("p", reason, 0)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn parent_is_put_first_and_deleted_last() {
    let mut world = world("vm/1,if<vm/@1,ip<if/1").await;
    world.pass(SECOND).await;
    assert_eq!(sent(&world.registry), ["+vm", "+if", "+ip"]);
    assert!(world.is_in_sync());
    world.delete("p").await;
    world.pass(SECOND).await;
    assert_eq!(sent(&world.registry), ["-ip", "-if", "-vm"]);
    assert!(world.is_in_sync());
    world.assert_held(&[]);
}

#[tokio::test(start_paused = true)]
async fn only_the_record_that_differs_is_sent() {
    let mut world = world("vm/1,if<vm/@1,ip<if/1").await;
    world.pass(SECOND).await;
    sent(&world.registry);
    for (reason, expected) in [
        ("vm/2,if<vm/@1,ip<if/1", &["+vm"][..]),
        ("vm/2,if<vm/@1,ip<if/2", &["+ip"]),
        // The pod loses an address, and has two others.
        ("vm/2,if<vm/@1,iq<if/1,ir<if/1", &["-ip", "+iq", "+ir"]),
        ("vm/2,if<vm/@1,iq<if/1,ir<if/1", &[]),
        ("vm/2", &["-ir", "-iq", "-if"]),
    ] {
        world.apply(pod_at("p", reason, 0)).await;
        world.pass(SECOND).await;
        assert_eq!(sent(&world.registry), expected, "{reason}");
        assert!(world.is_in_sync(), "{reason}");
    }
    world.list().await;
    world.pass(4_000 * SECOND).await;
    assert!(sent(&world.registry).is_empty(), "a resync finds no difference");
}

#[tokio::test(start_paused = true)]
async fn child_waits_and_is_not_parked() {
    let registry = mapped(false);
    registry.state().failing_ids.insert("vm".into(), Verdict::Rejected { cause: "no".into() });
    let mut world = EventLoopHarness::settled(registry, []).await;
    world.apply(pod_at("p", "vm/1,if<vm/@1,ip<vm/1", 0)).await;
    world.pass(120 * SECOND).await;
    assert_eq!(sent(&world.registry), ["+vm"], "nothing else is sent while the parent is missing");
    assert_eq!((world.figure("records{state=\"parked\"}"), world.is_in_sync()), (1, false));
    world.registry.state().failing_ids.clear();
    world.apply(pod_at("p", "vm/2,if<vm/@1,ip<vm/1", 0)).await;
    world.pass(SECOND).await;
    let mut all = sent(&world.registry);
    assert_eq!(all.remove(0), "+vm");
    all.sort();
    assert_eq!(all, ["+if", "+ip"]);
    assert!(world.is_in_sync());
}

#[tokio::test(start_paused = true)]
async fn deletion_of_parent_waits_for_failing_child() {
    let mut world = world("vm/1,if<vm/1").await;
    world.pass(SECOND).await;
    sent(&world.registry);
    let retry = Verdict::Retry { after: None, cause: "busy".into() };
    world.registry.state().failing_ids.insert("if".into(), retry);
    world.delete("p").await;
    world.pass(60 * SECOND).await;
    assert!(sent(&world.registry).iter().all(|item| item == "-if"));
    world.registry.state().failing_ids.clear();
    world.pass(120 * SECOND).await;
    assert_eq!(sent(&world.registry), ["-if", "-vm"]);
}

#[tokio::test(start_paused = true)]
async fn child_that_goes_along_needs_no_deletion() {
    let mut world = world("vm/1,if^vm/@1,ip^if/@1").await;
    world.pass(SECOND).await;
    assert_eq!(sent(&world.registry), ["+vm", "+if", "+ip"]);
    world.apply(pod_at("p", "vm/1,if^vm/@1", 0)).await;
    world.pass(SECOND).await;
    assert_eq!(sent(&world.registry), ["-ip"], "its parent stays");
    world.apply(pod_at("p", "vm/1,if^vm/@1,ip^if/@1", 0)).await;
    world.pass(SECOND).await;
    sent(&world.registry);
    world.delete("p").await;
    world.pass(SECOND).await;
    assert_eq!(sent(&world.registry), ["-vm"]);
    let removed = world.registry.state().mapping.as_ref().unwrap().removed.clone();
    assert_eq!((removed.as_slice(), world.is_in_sync()), (&["if".to_owned(), "ip".to_owned()][..], true));
}

/// The registry removed the child with its parent, and the answer was lost. Then the pod is back.
#[tokio::test(start_paused = true)]
async fn lost_deletion_of_parent_makes_child_uncertain() {
    let mut world = world("vm/1,if^vm/1").await;
    world.pass(SECOND).await;
    sent(&world.registry);
    world.registry.state().faults.push_back(Fault::ApplyAndLose);
    world.apply(pod_at("p", "-", 0)).await;
    world.pass(Duration::from_millis(5)).await;
    world.apply(pod_at("p", "vm/1,if^vm/1", 0)).await;
    world.pass(60 * SECOND).await;
    let all = sent(&world.registry);
    assert_eq!(all.iter().filter(|item| *item == "+if").count(), 1, "{all:?}");
    assert!(world.is_in_sync());
}

#[tokio::test(start_paused = true)]
async fn moved_child_leaves_its_parent_first() {
    let mut world = world("old/1,if<old/1").await;
    world.pass(SECOND).await;
    sent(&world.registry);
    world.apply(pod_at("p", "new/1,if<new/2", 0)).await;
    world.pass(SECOND).await;
    assert_eq!(sent(&world.registry), ["+new", "+if", "-old"]);
    assert!(world.is_in_sync());
}

#[tokio::test(start_paused = true)]
async fn shared_parent_stays_for_its_last_pod() {
    let mut world = world("w/1,a<w/@1").await;
    world.apply(pod_at("q", "w/1,b<w/@1", 1)).await;
    world.pass(SECOND).await;
    let mut all = sent(&world.registry);
    assert_eq!(all.remove(0), "+w");
    all.sort();
    assert_eq!(all, ["+a", "+b"]);
    world.delete("q").await;
    world.pass(SECOND).await;
    assert_eq!(sent(&world.registry), ["-b"]);
    world.delete("p").await;
    world.pass(SECOND).await;
    assert_eq!(sent(&world.registry), ["-a", "-w"]);
}

#[tokio::test(start_paused = true)]
async fn failed_part_leaves_other_records_alone() {
    let mut world = world("vm/1,if<vm/1").await;
    world.pass(SECOND).await;
    sent(&world.registry);
    world.apply(pod_at("p", "vm/2,if<vm/!no", 0)).await;
    world.pass(SECOND).await;
    assert_eq!(sent(&world.registry), ["+vm"]);
    assert_eq!((world.status().failed_renders.count, world.is_in_sync()), (1, false));
    world.delete("p").await;
    world.pass(SECOND).await;
    assert_eq!(sent(&world.registry), ["-if", "-vm"]);
}

#[tokio::test(start_paused = true)]
async fn restart_waits_for_parents_and_sends_nothing() {
    let registry = mapped(false);
    {
        let mut state = registry.state();
        for (key, body) in [("vm", "1"), ("if", "@11"), ("ip", "1")] {
            state.records.insert(key.into(), super::mapping::stored(1, body));
        }
    }
    let mut world = EventLoopHarness::settled(registry, [pod_at("p", "vm/1,if<vm/@1,ip<if/1", 0)]).await;
    world.pass(60 * SECOND).await;
    assert!(sent(&world.registry).is_empty());
    assert!(world.is_in_sync());
    world.registry.state().down = Some(Failure::Broken("down".into()));
    world.apply(pod_at("p", "vm/2,if<vm/@1,ip<if/1", 0)).await;
    world.pass(SECOND).await;
    world.registry.state().down = None;
    world.pass(60 * SECOND).await;
    assert!(sent(&world.registry).iter().all(|item| item == "+vm"));
    assert!(world.is_in_sync());
}
