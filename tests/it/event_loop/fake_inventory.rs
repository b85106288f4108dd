//! The inventory of the fake registry, and its faults.

use std::time::Duration;

use pod_registrar::{
    reconcile::outcome::Failure,
    registry::inventory::{Bucket, BucketDigests, InventoryPage},
};
use tokio::time::Instant;

use super::{fake::Fake, gateway::TIMEOUT, hostile};

/// The answers to heartbeats and digests, the bucket whose pages fail, and what pages leave open.
#[derive(Default)]
pub(super) struct Refusals {
    pub(super) heartbeats: Option<Failure>,
    pub(super) digests: Option<Failure>,
    pub(super) bucket: Option<usize>,
    /// Whether the inventory does not say if the registry holds what it names.
    pub(super) doubts: bool,
}

impl Fake {
    pub(super) fn digests_of_inventory(&self, buckets: usize) -> Result<BucketDigests, Failure> {
        if let Some(lie) = self.lie(|rng| hostile::buckets(rng, buckets)) {
            return lie;
        }
        self.up()?;
        if let Some(failure) = self.state().refusals.digests.clone() {
            return Err(failure);
        }
        let mut state = self.state();
        state.readings.push(Instant::now());
        if state.unreadable {
            return Err(Failure::Broken("status 500".into()));
        }
        Ok(state.digests(buckets, |id| !state.hidden.contains(id)))
    }

    pub(super) async fn read_inventory(
        &self,
        bucket: Option<Bucket>,
        page: Option<String>,
        limit: usize,
    ) -> Result<InventoryPage, Failure> {
        if let Some(lie) = self.lie(hostile::page) {
            return lie;
        }
        self.up()?;
        tokio::time::sleep(self.read(|state| state.slow_inventory)).await;
        let (page, takes) = self.page_of_inventory(bucket, page.as_deref(), limit)?;
        tokio::time::sleep(takes.min(TIMEOUT)).await;
        if takes > TIMEOUT { Err(Failure::Broken("no answer in time".into())) } else { Ok(page) }
    }

    /// A page of the inventory, and the time that it takes.
    fn page_of_inventory(
        &self,
        bucket: Option<Bucket>,
        page: Option<&str>,
        limit: usize,
    ) -> Result<(InventoryPage, Duration), Failure> {
        let mut state = self.state();
        state.pages += 1;
        if let Some(Some(fault)) = state.inventory_faults.pop_front() {
            return Err(fault);
        }
        if state.unreadable {
            return Err(Failure::Broken("status 500".into()));
        }
        if bucket.is_some_and(|bucket| state.refusals.bucket == Some(bucket.index)) {
            return Err(Failure::Broken("status 500".into()));
        }
        let most = if state.slow_items.is_zero() { limit.min(100) } else { limit };
        let mut page = state.page(bucket, page, most, |id| !state.hidden.contains(id));
        if state.refusals.doubts {
            page.items.iter_mut().for_each(|item| item.fingerprint = None);
        }
        let takes = state.slow_items * u32::try_from(page.items.len()).unwrap();
        Ok((InventoryPage { count: page.count + state.miscount, ..page }, takes))
    }
}
