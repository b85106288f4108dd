//! What the fake registry's inventory says.

use std::time::Duration;

use pod_registrar::{
    model::digest::Buckets,
    reconcile::outcome::Failure,
    registry::inventory::{Bucket, InventoryItem, InventoryPage},
};

use super::fake::Fake;

/// What heartbeats and digests are refused with, and the bucket whose pages fail.
#[derive(Default)]
pub(super) struct Refusals {
    pub(super) heartbeats: Option<Failure>,
    pub(super) digests: Option<Failure>,
    pub(super) bucket: Option<usize>,
}

impl Fake {
    /// A page of the inventory, and how long it takes.
    pub(super) fn page_of_inventory(
        &self,
        bucket: Option<Bucket>,
        page: Option<String>,
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
        let within = |id: &str| bucket.is_none_or(|b| Buckets::from_count(b.of).unwrap().of(id) == b.index);
        let all: Vec<InventoryItem> = state
            .records
            .iter()
            .filter(|(id, _)| within(id) && !state.hidden.contains(*id))
            .map(|(id, (version, digest))| InventoryItem { id: id.clone(), digest: *digest, version: *version })
            .collect();
        let Ok(from) = page.map_or(Ok(0), |page| page.parse::<usize>()) else { return Err(Failure::Expired) };
        let most = if state.slow_items.is_zero() { limit.min(100) } else { limit };
        let items: Vec<_> = all.iter().skip(from).take(most).cloned().collect();
        let takes = state.slow_items * u32::try_from(items.len()).unwrap();
        let next = (from + items.len() < all.len()).then(|| (from + items.len()).to_string());
        let page = InventoryPage { items, next, count: all.len() as u64 + state.miscount, as_of: 1 };
        Ok((page, takes))
    }
}
