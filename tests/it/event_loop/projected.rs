//! Registries that see pods otherwise than the store: selected pods, ids that pods share, and records that cannot be
//! made.

use std::collections::BTreeMap;

use pod_registrar::{
    controller::options::ControllerOptions,
    model::{digest::Digest, ids::Version, moment::Moment, pod::Pod},
    reconcile::{
        absence::{ScopeChangePolicy, hold::HoldReason},
        election::Leadership,
        outcome::{Failure, OperationKind},
        status::SessionState,
    },
};

use super::{
    fake::{Fake, Fault},
    mapping::{digest, mapped, pod_at, stored},
    world::{EventLoopHarness, SECOND, options},
};

fn leader(term: u64) -> Leadership {
    Leadership::Leader { term, until: Moment::from_secs(u64::MAX) }
}

/// The keys of all deletions that were sent, in their order.
fn deleted(registry: &Fake) -> Vec<String> {
    let items = registry.read(|state| state.writes.iter().flat_map(|write| write.items.clone()).collect::<Vec<_>>());
    let deletions = items.iter().filter(|item| item.kind == OperationKind::Delete);
    deletions.map(|item| item.uid.to_string()).collect()
}

fn hold(registry: &Fake, keys: impl IntoIterator<Item = (String, (Version, Digest))>) {
    registry.state().records.extend(keys);
}

#[tokio::test(start_paused = true)]
async fn unused_change_of_a_pod_sends_nothing() {
    for keys_are_uids in [true, false] {
        let pods = [pod_at("a", "k/1/x", 0), pod_at("b", "l/1/x", 0)];
        let mut world = EventLoopHarness::settled(mapped(keys_are_uids), pods).await;
        assert_eq!(world.sent(), 2);
        world.apply(pod_at("a", "k/1/y", 0)).await;
        world.pass(SECOND).await;
        world.list().await;
        world.pass(4_000 * SECOND).await;
        assert_eq!(world.sent(), 2, "the record is the same");
        world.apply(pod_at("a", "k/2/y", 0)).await;
        world.pass(SECOND).await;
        let [a, b] = if keys_are_uids { ["a", "b"] } else { ["k", "l"] };
        world.assert_held(&[(a, "2"), (b, "1")]);
        assert!(world.is_in_sync());
    }
}

#[tokio::test(start_paused = true)]
async fn newest_pod_owns_a_shared_record() {
    let pods = [pod_at("old", "k/old", 1), pod_at("new", "k/new", 3), pod_at("a", "k/a", 2)];
    let mut world = EventLoopHarness::settled(mapped(false), pods).await;
    world.assert_held(&[("k", "new")]);
    assert_eq!(world.sent(), 1);
    world.apply(pod_at("old", "k/changed", 1)).await;
    world.pass(SECOND).await;
    assert_eq!(world.sent(), 1, "the pod does not own the record");
    world.delete("new").await;
    world.pass(SECOND).await;
    world.assert_held(&[("k", "a")]);
    world.delete("a").await;
    world.pass(SECOND).await;
    world.assert_held(&[("k", "changed")]);
    world.apply(pod_at("tie", "k/tie", 1)).await;
    world.pass(SECOND).await;
    world.assert_held(&[("k", "tie")]);
    assert_eq!(deleted(&world.registry), [""; 0]);
    world.delete("old").await;
    world.delete("tie").await;
    world.pass(SECOND).await;
    world.assert_held(&[]);
    assert_eq!((deleted(&world.registry).as_slice(), world.is_in_sync()), (&["k".to_owned()][..], true));
}

#[tokio::test(start_paused = true)]
async fn pod_with_another_id_moves_its_record() {
    let mut world = EventLoopHarness::settled(mapped(false), [pod_at("a", "k/1", 0), pod_at("b", "l/1", 1)]).await;
    world.apply(pod_at("a", "m/1", 0)).await;
    world.pass(SECOND).await;
    world.assert_held(&[("l", "1"), ("m", "1")]);
    world.apply(pod_at("b", "m/2", 1)).await;
    world.pass(SECOND).await;
    world.assert_held(&[("m", "2")]);
    world.apply(pod_at("b", "l/2", 1)).await;
    world.pass(SECOND).await;
    world.assert_held(&[("l", "2"), ("m", "1")]);
}

#[tokio::test(start_paused = true)]
async fn pod_that_left_the_selection_is_deleted() {
    // At once, as after a deletion event. One that comes back is written again.
    for keys_are_uids in [true, false] {
        let pods = [pod_at("a", "a/1", 0), pod_at("b", "b/1", 0), pod_at("other", "-", 0)];
        let mut world = EventLoopHarness::settled(mapped(keys_are_uids), pods).await;
        world.assert_held(&[("a", "1"), ("b", "1")]);
        world.apply(pod_at("a", "-", 0)).await;
        world.pass(SECOND).await;
        world.assert_held(&[("b", "1")]);
        world.delete("other").await;
        world.delete("a").await;
        world.apply(pod_at("b", "-", 0)).await;
        world.apply(pod_at("b", "b/2", 0)).await;
        world.pass(SECOND).await;
        world.assert_held(&[("b", "2")]);
        assert_eq!(deleted(&world.registry), ["a"]);
        assert_eq!((world.second_lists, world.checks.len()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn absences_of_a_restart_pass_the_guard() {
    for keys_are_uids in [true, false] {
        let registry = mapped(keys_are_uids);
        hold(&registry, ["gone", "unselected", "kept"].map(|key| (key.to_owned(), stored(1, "1"))));
        let pods = [pod_at("kept", "kept/1", 0), pod_at("unselected", "-", 0)];
        let mut world = EventLoopHarness::settled(registry, pods).await;
        world.pass(60 * SECOND).await;
        world.assert_held(&[("kept", "1")]);
        assert_eq!(world.checks, [[""; 0]], "no name is looked up");
        assert_eq!((world.sent(), world.is_in_sync()), (2, true));
    }
}

/// A restart with another `select`: the pods exist, and their namespace or a label excludes them.
#[tokio::test(start_paused = true)]
async fn change_of_selection_is_held_and_approved() {
    for keys_are_uids in [true, false] {
        let registry = mapped(keys_are_uids);
        hold(&registry, ["gone", "left", "kept"].map(|key| (key.to_owned(), stored(1, "1"))));
        let pods = [pod_at("kept", "kept/1", 0), pod_at("left", "--left", 0)];
        let mut world = EventLoopHarness::start(registry, pods, options());
        world.list().await;
        world.pass(60 * SECOND).await;
        world.assert_held(&[("kept", "1"), ("left", "1")]);
        let [held] = &world.held()[..] else { panic!("{:?}", world.held()) };
        assert_eq!((held.deletions, &held.because), (1, &HoldReason::ScopeChanged));
        let id = held.id.clone();
        world.pass(4_000 * SECOND).await;
        world.assert_held(&[("kept", "1"), ("left", "1")]);
        world.approve(&id).await;
        world.pass(5 * SECOND).await;
        world.assert_held(&[("kept", "1")]);
        assert!(world.is_in_sync() && world.held().is_empty());
    }
}

/// Many pods do not change by themselves while no process is running.
#[tokio::test(start_paused = true)]
async fn many_excluded_pods_are_a_change_of_settings() {
    use ScopeChangePolicy::{Hold, Release};
    for (keys_are_uids, policy) in [(true, Hold), (false, Hold), (true, Release), (false, Release)] {
        let registry = mapped(keys_are_uids);
        let keys = |from: usize, to: usize| (from..to).map(|n| format!("k{n:03}"));
        hold(&registry, keys(0, 200).map(|key| (key, stored(1, "1"))));
        let pods = keys(0, 200).map(|key| pod_at(&key, &format!("-{key}"), 0));
        let options = ControllerOptions { on_scope_change: policy, ..options() };
        let mut world = EventLoopHarness::start(registry, pods, options);
        world.list().await;
        world.pass(60 * SECOND).await;
        let left = world.registry.state().records.len();
        if policy == Release {
            assert_eq!((left, world.held().len()), (0, 0));
            continue;
        }
        assert!(matches!(world.held()[..], [ref hold] if hold.because == HoldReason::ScopeChanged && left == 200));
        // One of them is deleted.
        world.delete("k007").await;
        world.pass(400 * SECOND).await;
        assert_eq!((world.registry.state().records.len(), world.held()[0].deletions), (199, 199));
    }
}

#[tokio::test(start_paused = true)]
async fn many_absences_need_a_second_list() {
    for keys_are_uids in [true, false] {
        let registry = mapped(keys_are_uids);
        let keys = |from: usize, to: usize| (from..to).map(|n| format!("k{n:03}"));
        hold(&registry, keys(0, 400).map(|key| (key, stored(1, "1"))));
        let pods = keys(0, 250).map(|key| pod_at(&key, &format!("{key}/1"), 0));
        let mut world = EventLoopHarness::settled(registry, pods).await;
        world.pass(60 * SECOND).await;
        assert_eq!((world.second_lists, world.sent()), (1, 150));
        assert_eq!(world.registry.state().records.len(), 250);
    }
}

#[tokio::test(start_paused = true)]
async fn second_list_with_unknown_pods_holds_deletions() {
    // The watch lacks a third of the pods. Their ids are not known, so that any absent record may be theirs.
    let registry = mapped(false);
    let keys = |from: usize, to: usize| (from..to).map(|n| format!("k{n:03}"));
    hold(&registry, keys(0, 300).map(|key| (key, stored(1, "1"))));
    let pods = keys(0, 200).map(|key| pod_at(&format!("pod-{key}"), &format!("{key}/1"), 0));
    let mut world = EventLoopHarness::start(registry, pods, options());
    world.list().await;
    world.pass(3 * SECOND).await;
    world.lists_arrive = false;
    let missed =
        keys(200, 300).map(|key| (format!("pod-{key}"), pod_at(&format!("pod-{key}"), &format!("{key}/1"), 0)));
    world.pods.extend(missed);
    world.pass(120 * SECOND).await;
    assert!(matches!(world.held()[..], [ref hold] if matches!(hold.because, HoldReason::StillThere(100))));
    assert!(world.relists_asked() > 0 && deleted(&world.registry).is_empty());
    world.lists_arrive = true;
    world.list().await;
    world.pass(SECOND).await;
    assert!(world.held().is_empty() && world.is_in_sync());
    assert_eq!(world.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn pods_reported_after_a_second_list_hold_nothing() {
    // They were created and deleted while the list was read.
    let registry = mapped(false);
    let keys = |from: usize, to: usize| (from..to).map(|n| format!("k{n:03}"));
    hold(&registry, keys(0, 300).map(|key| (key, stored(1, "1"))));
    let pods = keys(0, 200).map(|key| pod_at(&key, &format!("{key}/1"), 0));
    let mut world = EventLoopHarness::start(registry, pods, options());
    world.list().await;
    let fresh = pod_at("fresh", "fresh/1", 9);
    world.pods.insert("fresh".into(), fresh.clone());
    while world.second_lists == 0 {
        world.pass(SECOND).await;
    }
    world.apply(fresh).await;
    world.pass(60 * SECOND).await;
    assert_eq!((world.second_lists, world.registry.state().records.len()), (1, 201));
    assert!(world.is_in_sync());
}

#[tokio::test(start_paused = true)]
async fn failed_render_leaves_the_record_and_is_reported() {
    for keys_are_uids in [true, false] {
        let pods = [pod_at("a", "a/1", 0), pod_at("b", "b/1", 0), pod_at("c", "!no label", 0)];
        let mut world = EventLoopHarness::settled(mapped(keys_are_uids), pods).await;
        world.assert_held(&[("a", "1"), ("b", "1")]);
        world.apply(pod_at("a", "!no address", 0)).await;
        world.pass(20 * SECOND).await;
        world.assert_held(&[("a", "1"), ("b", "1")]);
        let failed = world.status().failed_renders;
        let mut causes: Vec<_> = failed.first.iter().map(|failed| (failed.uid.to_string(), &*failed.cause)).collect();
        causes.sort_unstable();
        assert_eq!((failed.count, causes), (2, vec![("a".into(), "no address"), ("c".into(), "no label")]));
        assert_eq!((world.figure("records{state=\"parked\"}"), world.is_in_sync()), (2, false));
        world.delete("a").await;
        world.apply(pod_at("c", "c/1", 0)).await;
        world.pass(5 * SECOND).await;
        world.assert_held(&[("b", "1"), ("c", "1")]);
        assert!(world.is_in_sync() && world.status().failed_renders.count == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_id_of_a_pod_protects_records() {
    // After a restart, the record of a pod that cannot be rendered may be any that no pod has.
    let registry = mapped(false);
    hold(&registry, ["k", "gone"].map(|key| (key.to_owned(), stored(1, "1"))));
    let mut world = EventLoopHarness::settled(registry, [pod_at("a", "!no label", 0), pod_at("b", "b/1", 0)]).await;
    world.pass(600 * SECOND).await;
    world.assert_held(&[("k", "1"), ("gone", "1"), ("b", "1")]);
    assert_eq!((world.lists, world.relists_asked()), (1, 0));
    world.apply(pod_at("a", "k/1", 0)).await;
    world.pass(60 * SECOND).await;
    world.assert_held(&[("k", "1"), ("b", "1")]);
    assert!(world.is_in_sync());
}

#[tokio::test(start_paused = true)]
async fn missed_deletions_of_shared_ids_are_inferred() {
    let pods = [pod_at("a", "k/a", 1), pod_at("b", "k/b", 2), pod_at("c", "l/c", 2)];
    let mut world = EventLoopHarness::settled(mapped(false), pods).await;
    world.pods.remove("b").unwrap();
    world.list().await;
    world.pass(SECOND).await;
    world.assert_held(&[("k", "a"), ("l", "c")]);
    world.pods.remove("c").unwrap();
    world.list().await;
    world.pass(10 * SECOND).await;
    world.assert_held(&[("k", "a")]);
    assert_eq!(world.checks.len(), 1, "the guard confirmed the absence");
}

#[tokio::test(start_paused = true)]
async fn standby_remembers_deletions_by_key() {
    let registry = mapped(false);
    hold(&registry, ["k", "l"].map(|key| (key.to_owned(), stored(1, "1"))));
    let pods = [pod_at("a", "k/1", 1), pod_at("b", "l/1", 2), pod_at("c", "l/1", 1)];
    let mut world = EventLoopHarness::start_as(Leadership::Follower, registry, pods, options());
    world.list().await;
    world.pass(SECOND).await;
    world.delete("a").await;
    world.delete("b").await;
    world.pass(5 * SECOND).await;
    world.lead(leader(1));
    world.pass(5 * SECOND).await;
    world.assert_held(&[("l", "1")]);
    assert_eq!((world.checks.len(), world.sent(), world.is_in_sync()), (0, 1, true));
}

#[tokio::test(start_paused = true)]
async fn term_is_prepared_before_its_first_write() {
    let registry = mapped(true);
    registry.state().mapping.as_mut().unwrap().dependency = Some("old");
    registry.state().mapping.as_mut().unwrap().unprepared = Some(Failure::Broken("no tenant".into()));
    let mut world = EventLoopHarness::start_as(leader(3), registry, [pod_at("a", "a/1", 0)], options());
    world.list().await;
    world.pass(60 * SECOND).await;
    let tries = world.registry.read(|state| state.mapping.as_ref().unwrap().prepared.clone());
    assert!((5..60).contains(&tries.len()) && tries.iter().all(|term| *term == 3), "{tries:?}");
    assert_eq!((world.sent(), world.figure("records{state=\"parked\"}")), (0, 0));
    world.registry.state().mapping.as_mut().unwrap().unprepared = None;
    world.pass(10 * SECOND).await;
    world.assert_held(&[("a", "1")]);
    assert_eq!(world.registry.state().records["a"].1, digest("1", Some("new")), "it was projected again");
    let tries = world.registry.read(|state| state.mapping.as_ref().unwrap().prepared.len());
    world.pass(4_000 * SECOND).await;
    world.lead(Leadership::Follower);
    world.pass(SECOND).await;
    world.lead(leader(5));
    world.pass(5 * SECOND).await;
    let after = world.registry.read(|state| state.mapping.as_ref().unwrap().prepared.clone());
    assert_eq!((after.len(), after.last()), (tries + 1, Some(&5)));
    assert_eq!((world.sent(), world.is_in_sync()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn term_without_election_counts_from_the_start() {
    let mut world = EventLoopHarness::start(mapped(true), [pod_at("a", "a/1", 0)], options());
    world.list().await;
    world.pass(5 * SECOND).await;
    world.assert_held(&[("a", "1")]);
    let prepared = world.registry.read(|state| state.mapping.as_ref().unwrap().prepared.clone());
    assert_eq!(prepared, [options().start_epoch << 20]);
}

#[tokio::test(start_paused = true)]
async fn fenced_term_writes_nothing_until_the_next() {
    let registry = mapped(true);
    let mut world = EventLoopHarness::start_as(leader(3), registry, [pod_at("a", "a/1", 0)], options());
    world.list().await;
    world.pass(5 * SECOND).await;
    world.registry.state().faults.push_back(Fault::Refuse(Failure::StaleEpoch));
    world.apply(pod_at("a", "a/2", 0)).await;
    world.pass(SECOND).await;
    let sent = world.sent();
    world.delete("a").await;
    world.apply(pod_at("b", "b/1", 0)).await;
    world.pass(4_000 * SECOND).await;
    assert_eq!((world.sent(), world.status().session), (sent, SessionState::Fenced));
    world.assert_held(&[("a", "1")]);
    world.lead(Leadership::Follower);
    world.pass(SECOND).await;
    world.lead(leader(7));
    world.pass(5 * SECOND).await;
    world.assert_held(&[("b", "1")]);
    assert!(world.is_in_sync());
}

#[tokio::test(start_paused = true)]
async fn preparing_projects_many_pods_in_portions() {
    let registry = mapped(false);
    registry.state().mapping.as_mut().unwrap().dependency = Some("old");
    let pods = (0..5_000).map(|n| pod_at(&format!("p{n}"), &format!("k{n}/1"), 0));
    let mut world = EventLoopHarness::settled(registry, pods).await;
    world.pass(60 * SECOND).await;
    let right = digest("1", Some("new"));
    let records = world.registry.read(|state| state.records.clone());
    assert!(records.len() == 5_000 && records.values().all(|(_, digest)| *digest == right));
    let projected = world.registry.read(|state| state.mapping.as_ref().unwrap().projected);
    assert_eq!(projected, 3 * 5_000, "when listed, when prepared, and when sent");
}

/// The keys and bodies of the records, by the definition: the pod that was created last has the record.
fn expected(pods: &BTreeMap<String, Pod>) -> BTreeMap<String, String> {
    let mut newest = BTreeMap::new();
    for (uid, pod) in pods {
        let record = &pod.content.as_ref().unwrap().record;
        let reason = record.state.reason.clone().unwrap();
        if let Some((key, rest)) = reason.split_once('/') {
            let body = rest.split('/').next().unwrap_or_default().to_owned();
            let rank = (record.times.created.clone(), uid.clone());
            let newer = newest.get(key).is_none_or(|(other, _)| *other < rank);
            if newer {
                newest.insert(key.to_owned(), (rank, body));
            }
        }
    }
    newest.into_iter().map(|(key, (_, body))| (key, body)).collect()
}

/// A pod of the history: its second of creation follows from its UID.
fn any_pod(rng: &mut fastrand::Rng) -> Pod {
    let (n, key, body) = (rng.u8(..12), rng.u8(..5), rng.u8(..4));
    let reason = match rng.u8(..8) {
        0 => "-".to_owned(),
        1 => "!no label".to_owned(),
        _ => format!("k{key}/{body}/{}", rng.u8(..4)),
    };
    pod_at(&format!("p{n:02}"), &reason, n % 4)
}

#[tokio::test(start_paused = true)]
async fn random_histories_of_shared_ids_converge() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let registry = mapped(false);
        let mut world = EventLoopHarness::settled(registry.clone(), []).await;
        for _ in 0..60 {
            match rng.u8(..20) {
                0..10 => world.apply(any_pod(&mut rng)).await,
                10..14 => {
                    if let Some(uid) = world.pods.keys().nth(rng.usize(..12)).cloned() {
                        world.delete(&uid).await;
                    }
                }
                14 => {
                    world.pods.retain(|_, _| rng.u8(..4) > 0);
                    world.list().await;
                }
                15 => registry.state().faults.push_back(Fault::ApplyAndLose),
                16 => registry.state().faults.push_back(Fault::Refuse(Failure::Unreachable("no route".into()))),
                17 => {
                    let mut pods = std::mem::take(&mut world.pods);
                    pods.retain(|_, _| rng.u8(..6) > 0);
                    world.stop().await.unwrap();
                    let start_epoch = registry.read(|state| state.writes.len() as u64 * 1_000 + 10_000);
                    let options = ControllerOptions { start_epoch, ..options() };
                    world = EventLoopHarness::start(registry.clone(), pods.into_values(), options);
                    world.list().await;
                }
                _ => world.pass(rng.u32(..2_000) * SECOND / 1_000).await,
            }
        }
        let failing = |pod: &&Pod| expected(&[("x".into(), (*pod).clone())].into()).is_empty();
        let fixed: Vec<String> = world.pods.values().filter(failing).map(|pod| pod.uid.to_string()).collect();
        for uid in fixed {
            let second = uid[1..].parse::<u8>().unwrap() % 4;
            world.apply(pod_at(&uid, "k9/1", second)).await;
        }
        world.list().await;
        world.pass(2_400 * SECOND).await;
        let expected = expected(&world.pods);
        let expected: Vec<(&str, &str)> = expected.iter().map(|(key, body)| (key.as_str(), body.as_str())).collect();
        world.assert_held(&expected);
        assert!(world.is_in_sync(), "seed {seed}");
        let sent = world.sent();
        world.pass(4_000 * SECOND).await;
        assert_eq!(world.sent(), sent, "seed {seed}: nothing differs");
    }
}
