//! The memory that the first list costs.

use super::world::ProcessHarness;
use crate::support::SOON;

const FEW: usize = 500;
const MANY: usize = 8_000;
/// The most bytes per pod at the peak: its record, its ledger entry, and a margin for the allocator. The object that
/// the API server sends is larger, and is not kept.
const A_POD: u64 = 5_000;

#[tokio::test]
async fn first_list_takes_less_memory_than_its_objects() {
    let few = peak(FEW).await;
    let many = peak(MANY).await;
    let a_pod = many.saturating_sub(few) / (MANY - FEW) as u64;
    assert!(a_pod <= A_POD, "{a_pod} bytes per pod: {few} with {FEW} pods, {many} with {MANY}");
    assert!(many > few, "{few} and {many}: nothing is measured");
}

/// The peak memory of a controller until this many pods are registered.
async fn peak(pods: usize) -> u64 {
    let world = ProcessHarness::start().await;
    world.kube.create(0..pods);
    let mut controller = world.controller();
    world.kube.equals(&world.registry(), SOON * 4).await;
    controller.synced().await;
    controller.peak_memory()
}
