//! The controller is killed at every step of a small life: before the registry has seen its n-th request, and after it has
//! answered it, for every n until the life is over.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{
    churn::assert_in_order,
    world::{CLUSTER, ProcessHarness, name},
};
use crate::support::{Controller, SOON, eventually};

/// Steps that there are at least: what the registry can do, a session, its inventory, the first records, and three changes.
const STEPS_AT_LEAST: usize = 7;

#[tokio::test]
async fn kill_before_any_request_loses_nothing() {
    // The request does not reach the registry, and nothing is invented.
    let hold = |world: &ProcessHarness, step| {
        let seen = AtomicUsize::new(0);
        world.proxy.hold(move |_, _| seen.fetch_add(1, Ordering::Relaxed) >= step);
    };
    at_every_step(hold, |world, step| world.proxy.mark() > step).await;
}

#[tokio::test]
async fn kill_before_any_answer_loses_nothing() {
    // The registry's answer does not reach the process, and nothing is invented.
    let keep = |world: &ProcessHarness, step| {
        let seen = AtomicUsize::new(0);
        world.proxy.keep_answers(move |_, _| seen.fetch_add(1, Ordering::Relaxed) >= step);
    };
    let answered = |world: &ProcessHarness| world.proxy.seen().iter().filter(|exchange| exchange.reached).count();
    at_every_step(keep, |world, step| answered(world) > step).await;
}

async fn at_every_step(stop_at: impl Fn(&ProcessHarness, usize), stuck: impl Fn(&ProcessHarness, usize) -> bool) {
    for step in 0.. {
        let world = ProcessHarness::start().await;
        world.kube.create(0..4);
        stop_at(&world, step);
        let mut controller = world.controller();
        let mut gone = HashSet::new();
        let mut done = 0;
        while done < LIFE.len() && reached(&world, &mut controller, || stuck(&world, step)).await {
            LIFE[done](&world, &mut gone);
            done += 1;
        }
        let over = done == LIFE.len() && reached(&world, &mut controller, || stuck(&world, step)).await;
        controller.kill();
        world.proxy.release();
        LIFE[done..].iter().for_each(|change| change(&world, &mut gone));
        let _controller = world.controller();
        world.kube.equals(&world.registry(), SOON * 2).await;
        let changes = world.registry().changes(CLUSTER).await.unwrap();
        assert_in_order(&changes, &gone);
        let about_it: Vec<_> = changes.iter().filter(|change| gone.contains(change["id"].as_str().unwrap())).collect();
        // A pod that went before its first record was on its way owes nothing.
        let ended = about_it.last().is_none_or(|last| last["op"] == "delete");
        assert!(ended && gone.len() == 1, "step {step}: {about_it:?}");
        if over {
            assert!(step >= STEPS_AT_LEAST, "the life was over after {step} requests");
            return;
        }
    }
}

type Change = fn(&ProcessHarness, &mut HashSet<String>);

/// What happens in the cluster, one after another, each when the one before was registered.
const LIFE: [Change; 3] = [
    |world, _| world.kube.create(4..5),
    |world, _| world.kube.label(&name(1), "changed"),
    |world, gone| {
        gone.insert(world.kube.uid(&name(2)));
        world.kube.delete(2..3);
    },
];

/// Waits until the registry equals the cluster, or the controller is stuck at its step: whether it is equal.
async fn reached(world: &ProcessHarness, controller: &mut Controller, stuck: impl Fn() -> bool) -> bool {
    eventually("the next step", SOON * 2, async || {
        if stuck() {
            return Ok(false);
        }
        assert!(controller.is_running());
        let pending = match controller.figure("first_complete_sync_seconds").await {
            0.0 => return Err("it is not in step yet".to_owned()),
            _ => controller.figure("pending").await,
        };
        let has = world.registry().ids(CLUSTER, pod_registrar::model::ids::DEFAULT_OWNER).await?;
        let labels = world.registry().records(CLUSTER, pod_registrar::model::ids::DEFAULT_OWNER).await?;
        let equal = has == world.kube.uids()
            && labels.values().all(|record| {
                let name = record["pod"]["name"].as_str().unwrap_or_default();
                world
                    .kube
                    .api
                    .pod("default", name)
                    .is_some_and(|pod| pod["metadata"]["labels"] == record["pod"]["labels"])
            });
        if equal && pending == 0.0 { Ok(true) } else { Err(format!("{pending} pending, {} records", has.len())) }
    })
    .await
}
