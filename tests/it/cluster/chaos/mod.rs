//! Rounds of random kills and faults under churn: two replicas, a real control plane, and a registry as a process.
//!
//! A round disturbs the replicas, the registry and the control plane, heals everything, and checks the guarantees:
//! within a time limit the registry equals the cluster by UID and digest, one replica writes, no deletion was wrong,
//! and nothing more is written.
//!
//! Rounds disturb everyone who uses the cluster, so they run alone, and only if `POD_REGISTRAR_TEST_ROUNDS` is set.
//! `POD_REGISTRAR_TEST_SEED` is the seed of the first round; each further round adds one. Parts of the control plane
//! are killed if `POD_REGISTRAR_TEST_CLUSTER_COMMAND` and `POD_REGISTRAR_TEST_CLUSTER_DIR` are set ([`plane`]).
#![expect(clippy::print_stdout, reason = "a round's course is shown if it fails")]

mod audit;
mod churn;
mod described;
mod plan;
mod plane;
mod scene;
mod settled;

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures::FutureExt;

use self::{audit::Audit, churn::Churn, plane::Plane, scene::Scene};
use super::world::{ClusterHarness, in_cluster};
use crate::support::{notice, seed};

const ROUNDS: &str = "POD_REGISTRAR_TEST_ROUNDS";
const SEED: &str = "POD_REGISTRAR_TEST_SEED";
/// Rounds of one kind run at a time: they kill what the others need.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A number from an environment variable.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text:?}: {error}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registry_equals_the_cluster_after_random_faults() {
    run_rounds(one).await;
}

/// Runs as many rounds as the environment says. A round returns its result in one line.
async fn run_rounds(round: impl AsyncFn(&mut ClusterHarness, Option<&Plane>, u64) -> String) {
    let Some(rounds) = number(ROUNDS) else {
        notice(&format!("skipped: {ROUNDS} is not set"));
        return;
    };
    let _alone = ALONE.lock().await;
    let plane = Plane::from_environment();
    if plane.is_none() {
        notice("no part of the control plane is killed: no command is set");
    }
    let first = number(SEED).unwrap_or_else(seed);
    for index in 0..rounds {
        let (seed, start) = (first.wrapping_add(index), Instant::now());
        notice(&format!("round {} of {rounds}, seed {seed}", index + 1));
        if let Some(plane) = &plane {
            plane.all_up().await;
        }
        in_cluster(async |world| {
            let result = AssertUnwindSafe(round(world, plane.as_ref(), seed)).catch_unwind().await;
            // Whatever the result, the cleanup needs a complete control plane.
            if let Some(plane) = &plane {
                plane.all_up().await;
            }
            match result {
                Ok(result) => notice(&format!("{result}, after {:.0?}", start.elapsed())),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
        .await;
    }
}

/// Runs one round. Returns its result in one line.
async fn one(world: &mut ClusterHarness, plane: Option<&Plane>, seed: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let plan = plan::draw(&mut random, plane.is_some());
    println!("seed {seed}:");
    plan.iter().for_each(|step| println!("  {step}"));
    let audit = Audit::start(world);
    let churn = Churn::start(world, random.u64(..)).await;
    let mut scene = Scene::start(world, plane, &mut random).await;

    let start = tokio::time::Instant::now();
    for moment in plan::moments(&plan) {
        tokio::time::sleep_until(start + moment.at).await;
        println!("{:6.1} s: {moment}", start.elapsed().as_secs_f64());
        scene.disturb(world, &moment).await;
    }
    scene.heal(world).await;
    println!("{:6.1} s: everything is healed", start.elapsed().as_secs_f64());
    // Repairs have to go on while pods come and go.
    tokio::time::sleep(Duration::from_millis(random.u64(..4_000))).await;
    let churned = churn.stop().await;

    let healed = Instant::now();
    settled::equal(world).await;
    let took = healed.elapsed();
    settled::one_writer(world, &mut scene).await;
    settled::quiet(world).await;
    settled::equal(world).await;
    scene.never_panicked();
    let found = audit.finish().await;
    format!("{} disturbances, {churned}, equal {took:.1?} after the churn's end, {found}", plan.len())
}
