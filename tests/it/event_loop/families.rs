//! Several records per pod: the order of their writes, and what is sent when a pod changes.

use std::time::Duration;

use pod_registrar::{
    model::{moment::Moment, uid::Uid},
    reconcile::{
        election::Leadership,
        outcome::{Failure, OperationKind, Verdict},
    },
    registry::ParentRecord,
};

use super::{
    fake::{Fake, Fault},
    mapping::{mapped, pod_at, stored},
    world::{EventLoopHarness, SECOND, options},
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

/// The inventory is a memory, in which puts of both were sent and had no answer.
#[tokio::test(start_paused = true)]
async fn child_waits_for_uncertain_parent_after_restart() {
    let (registry, pod) = (mapped(false), pod_at("p", "vm/1,if<vm/@1", 0));
    EventLoopHarness::settled(registry.clone(), [pod.clone()]).await.stop().await.unwrap();
    registry.state().refusals.doubts = true;
    registry.state().failing_ids.insert("vm".into(), Verdict::Rejected { cause: "no".into() });
    sent(&registry);
    let mut world = EventLoopHarness::settled(registry, [pod]).await;
    world.pass(120 * SECOND).await;
    assert_eq!(sent(&world.registry), ["+vm"]);
    assert_eq!(["registered", "parked"].map(|state| world.figure(&format!("records{{state=\"{state}\"}}"))), [0, 1]);
    world.registry.state().failing_ids.clear();
    world.apply(pod_at("p", "vm/2,if<vm/@1", 0)).await;
    world.pass(SECOND).await;
    assert_eq!(sent(&world.registry), ["+vm", "+if"]);
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

/// A registry that holds these records, and the depth of each. Nothing says which of them belong to which.
fn holding(records: &[(&str, usize)]) -> Fake {
    let registry = mapped(false);
    let mut state = registry.state();
    for (key, depth) in records {
        state.records.insert((*key).to_owned(), stored(1, "1"));
        state.mapping.as_mut().unwrap().depths.insert((*key).to_owned(), *depth);
    }
    drop(state);
    registry
}

/// The pods were deleted while no process ran.
#[tokio::test(start_paused = true)]
async fn absent_records_leave_deepest_kind_first() {
    let registry = holding(&[("vm", 0), ("ip", 2), ("if", 1), ("wm", 0), ("iq", 2)]);
    let mut world = EventLoopHarness::settled(registry, [pod_at("p", "other/1", 0)]).await;
    world.pass(60 * SECOND).await;
    assert_eq!(sent(&world.registry), ["+other", "-ip", "-iq", "-if", "-vm", "-wm"]);
    assert!(world.is_in_sync());
}

/// Nearly all records are absent. The approved deletions leave at a limited rate.
#[tokio::test(start_paused = true)]
async fn approved_deletions_leave_deepest_kind_first() {
    let keys: Vec<String> = (0..300).map(|n| format!("{}{n:03}", if n < 150 { "a-vm" } else { "b-if" })).collect();
    let records: Vec<(&str, usize)> = keys.iter().map(|key| (key.as_str(), usize::from(key.contains("if")))).collect();
    let mut world = EventLoopHarness::settled(holding(&records), []).await;
    world.pass(30 * SECOND).await;
    let [hold] = &world.held()[..] else { panic!("{:?}", world.held()) };
    let id = hold.id.clone();
    world.approve(&id).await;
    world.pass(30 * SECOND).await;
    let all = sent(&world.registry);
    assert_eq!(all.len(), 300);
    assert!(all[..150].iter().all(|item| item.starts_with("-b-if")), "{all:?}");
    assert!(world.is_in_sync());
}

#[tokio::test(start_paused = true)]
async fn refused_orphan_delays_no_parent() {
    for verdict in [Verdict::Rejected { cause: "no".into() }, Verdict::Retry { after: None, cause: "busy".into() }] {
        let registry = holding(&[("vm", 0), ("if", 1), ("ip", 2)]);
        registry.state().failing_ids.insert("ip".into(), verdict);
        let mut world = EventLoopHarness::settled(registry, []).await;
        world.pass(20 * SECOND).await;
        let all = sent(&world.registry);
        let others: Vec<&str> = all.iter().map(String::as_str).filter(|item| *item != "-ip").collect();
        assert_eq!((all[0].as_str(), others), ("-ip", vec!["-if", "-vm"]), "{all:?}");
        world.registry.state().failing_ids.clear();
        world.pass(600 * SECOND).await;
        assert!(sent(&world.registry).contains(&"-ip".to_owned()) && world.is_in_sync());
    }
}

fn remember(registry: &Fake, child: &str, parent: &str, cascade: bool) {
    let parent = ParentRecord { key: Uid::from(parent), cascade };
    registry.state().mapping.as_mut().unwrap().remembered.insert(child.to_owned(), parent);
}

#[tokio::test(start_paused = true)]
async fn remembered_child_goes_along_with_absent_parent() {
    let registry = holding(&[("vm", 0), ("if", 1), ("ip", 2), ("disk", 1)]);
    remember(&registry, "if", "vm", true);
    remember(&registry, "ip", "if", true);
    remember(&registry, "disk", "vm", false);
    let mut world = EventLoopHarness::settled(registry, []).await;
    world.pass(20 * SECOND).await;
    assert_eq!(sent(&world.registry), ["-disk", "-vm"]);
    let removed = world.registry.state().mapping.as_ref().unwrap().removed.clone();
    assert_eq!((removed, world.is_in_sync()), (vec!["if".to_owned(), "ip".to_owned()], true));
}

/// The child got another parent while no process ran, and the registry does not take it.
async fn moved_during_downtime(cascade: bool, verdict: Verdict) -> EventLoopHarness {
    let registry = holding(&[("old", 0), ("if", 1)]);
    remember(&registry, "if", "old", cascade);
    registry.state().failing_ids.insert("if".into(), verdict);
    let reason = if cascade { "new/1,if^new/2" } else { "new/1,if<new/2" };
    let mut world = EventLoopHarness::settled(registry, [pod_at("p", reason, 0)]).await;
    world.pass(60 * SECOND).await;
    world
}

#[tokio::test(start_paused = true)]
async fn remembered_parent_waits_for_moved_child() {
    let mut world = moved_during_downtime(false, Verdict::Retry { after: None, cause: "busy".into() }).await;
    assert!(!sent(&world.registry).contains(&"-old".to_owned()));
    world.registry.state().failing_ids.clear();
    world.pass(120 * SECOND).await;
    assert_eq!(sent(&world.registry), ["+if", "-old"]);
    assert!(world.is_in_sync());
}

/// The registry removes the child with the parent that it had, as it takes it nowhere else.
#[tokio::test(start_paused = true)]
async fn refused_child_goes_with_its_old_parent() {
    let rejected = Verdict::Rejected { cause: "schema".into() };
    for verdict in [rejected, Verdict::Retry { after: None, cause: "in use".into() }] {
        let mut world = moved_during_downtime(true, verdict).await;
        assert!(sent(&world.registry).contains(&"-old".to_owned()));
        let removed = world.registry.state().mapping.as_ref().unwrap().removed.clone();
        assert_eq!(removed, ["if"]);
        world.registry.state().failing_ids.clear();
        world.pass(1_900 * SECOND).await;
        assert_eq!(sent(&world.registry), ["+if"]);
        world.assert_held(&[("if", "2"), ("new", "1")]);
    }
}

/// The new parent may need what the old one has, such as a name.
#[tokio::test(start_paused = true)]
async fn refused_parent_does_not_keep_the_old_one() {
    let mut world = world("old/1,if^old/1").await;
    world.pass(SECOND).await;
    sent(&world.registry);
    let in_use = Verdict::Retry { after: None, cause: "in use".into() };
    world.registry.state().failing_ids.insert("new".into(), in_use);
    world.apply(pod_at("p", "new/1,if^new/2", 0)).await;
    world.pass(10 * SECOND).await;
    assert!(sent(&world.registry).contains(&"-old".to_owned()));
    world.registry.state().failing_ids.clear();
    world.pass(120 * SECOND).await;
    assert_eq!(sent(&world.registry), ["+new", "+if"]);
    assert!(world.is_in_sync());
}

#[tokio::test(start_paused = true)]
async fn moved_child_is_not_removed_with_its_parent() {
    let mut world = world("old/1,if^old/1").await;
    world.pass(SECOND).await;
    sent(&world.registry);
    world.apply(pod_at("p", "new/1,if^new/2", 0)).await;
    world.pass(SECOND).await;
    assert_eq!(sent(&world.registry), ["+new", "+if", "-old"]);
    assert_eq!(world.registry.state().mapping.as_ref().unwrap().removed, Vec::<String>::new());
    assert!(world.is_in_sync());
}

/// Puts below the new parent had no answer, and one of them may have moved the child before its old parent was removed.
#[tokio::test(start_paused = true)]
async fn unanswered_move_outlives_the_old_parent() {
    let mut world = world("old/1,if^old/1").await;
    world.pass(SECOND).await;
    sent(&world.registry);
    let unanswered = Verdict::Uncertain { cause: "no answer".into() };
    world.registry.state().failing_ids.insert("if".into(), unanswered);
    world.apply(pod_at("p", "new/1,if^new/2", 0)).await;
    world.pass(60 * SECOND).await;
    assert!(sent(&world.registry).contains(&"-old".to_owned()));
    assert_eq!(world.registry.state().mapping.as_ref().unwrap().removed, Vec::<String>::new());
    world.registry.state().failing_ids.clear();
    world.apply(pod_at("p", "new/1", 0)).await;
    world.pass(120 * SECOND).await;
    assert_eq!(sent(&world.registry), ["-if"], "it may be below the new parent");
    assert!(world.is_in_sync());
}

/// The next leader has seen the deletion, and several lists since.
#[tokio::test(start_paused = true)]
async fn takeover_deletes_children_first() {
    let registry = holding(&[("vm", 0), ("if", 1), ("ip", 2)]);
    let pods = [pod_at("p", "vm/1,if<vm/1,ip<if/1", 0), pod_at("q", "other/1", 0)];
    let mut world = EventLoopHarness::start_as(Leadership::Follower, registry, pods, options());
    world.list().await;
    world.pass(SECOND).await;
    world.delete("p").await;
    for _ in 0..2 {
        world.list().await;
        world.pass(SECOND).await;
    }
    world.lead(Leadership::Leader { term: 3, until: Moment::from_secs(u64::MAX) });
    world.pass(60 * SECOND).await;
    let deletions = sent(&world.registry).into_iter().filter(|item| item.starts_with('-'));
    assert_eq!(deletions.collect::<Vec<_>>(), ["-ip", "-if", "-vm"]);
    assert!(world.is_in_sync());
}
