//! The controller is killed at every step of a short history: before the registry has received request number n, and
//! after it has answered it, for every n.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{
    churn::assert_in_order,
    world::{CLUSTER, ProcessHarness, name},
};
use crate::support::{Controller, SOON, eventually};

/// The fewest steps: capabilities, a session, the inventory, the first records, and three changes.
const STEPS_AT_LEAST: usize = 7;

#[tokio::test]
async fn kill_before_any_request_loses_nothing() {
    // The request does not reach the registry.
    let hold = |world: &ProcessHarness, step| {
        let seen = AtomicUsize::new(0);
        world.proxy.hold(move |_| seen.fetch_add(1, Ordering::Relaxed) >= step);
    };
    at_every_step(hold, |world, step| world.proxy.mark() > step).await;
}

#[tokio::test]
async fn kill_before_any_answer_loses_nothing() {
    // The registry's answer does not reach the process.
    let keep = |world: &ProcessHarness, step| {
        let seen = AtomicUsize::new(0);
        world.proxy.keep_answers(move |_| seen.fetch_add(1, Ordering::Relaxed) >= step);
    };
    let answered =
        |world: &ProcessHarness| world.proxy.seen().iter().filter(|exchange| exchange.reached == Some(true)).count();
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
        let of_gone: Vec<_> = changes.iter().filter(|change| gone.contains(change["id"].as_str().unwrap())).collect();
        // A pod that was deleted before its first record was sent needs no deletion.
        let ended = of_gone.last().is_none_or(|last| last["op"] == "delete");
        assert!(ended && gone.len() == 1, "step {step}: {of_gone:?}");
        if over {
            assert!(step >= STEPS_AT_LEAST, "the history was over after {step} requests");
            return;
        }
    }
}

type Change = fn(&ProcessHarness, &mut HashSet<String>);

/// The changes in the cluster. Each is made when the one before is registered.
const LIFE: [Change; 3] = [
    |world, _| world.kube.create(4..5),
    |world, _| world.kube.label(&name(1), "changed"),
    |world, gone| {
        gone.insert(world.kube.uid(&name(2)));
        world.kube.delete(2..3);
    },
];

/// Waits until the registry equals the cluster (`true`) or the controller is stuck at its step (`false`).
async fn reached(world: &ProcessHarness, controller: &mut Controller, stuck: impl Fn() -> bool) -> bool {
    eventually("the next step", SOON * 2, async || {
        if stuck() {
            return Ok(false);
        }
        assert!(controller.is_running());
        let pending = match controller.figure("first_complete_sync_seconds").await {
            0.0 => return Err("not in sync yet".to_owned()),
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
