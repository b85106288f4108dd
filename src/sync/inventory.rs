//! Reading the registry's inventory: bucket digests first, then only the buckets that differ.
//!
//! A reading is never a reason to delete, and it is discarded when its ids do not add up to the count that came with
//! them: a short answer would otherwise look like lost records.

use std::time::Duration;

use crate::{
    model::{Buckets, Failure, Fingerprint, Uid, is_valid_id},
    registry::{Bucket, Registry, v1::wire::BucketDigest},
};

/// How often a reading begins again because its page token expired.
const EXPIRIES: u32 = 3;
/// So many buckets are always read one by one,
const FEW_BUCKETS: usize = 16;
/// and more of them only while they are fewer requests than pages of this size over everything.
const PAGE_ITEMS: usize = 5_000;
/// More pages than that are not an inventory.
const PAGES_MAX: usize = 100_000;
/// More ids than that are not this writer's: a cluster has no more pods by far, and they are all kept in memory.
const IDS_MAX: usize = 2_000_000;
/// A reading that takes longer describes nothing that is still so, and what is forgotten meanwhile has to be kept.
const READ_WITHIN: Duration = Duration::from_secs(600);

/// Why there is no reading.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The registry did not answer.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The ids and the count do not agree.
    #[error("the inventory names {ids} ids and counts {count}; it is discarded")]
    Mismatch {
        /// Ids that were named.
        ids: usize,
        /// The count beside them.
        count: u64,
    },
    /// The pages are not what pages are.
    #[error("the inventory's pages are unusable: {0}; it is discarded")]
    Pages(&'static str),
    /// The registry takes for ever.
    #[error("the inventory was not read within {READ_WITHIN:?}; it is discarded")]
    TooSlow,
}

/// What the registry said that it holds.
#[derive(Debug)]
pub(super) struct Reading {
    /// The division that was compared.
    pub(super) division: Buckets,
    /// Which buckets are equal to ours.
    pub(super) equal: Vec<bool>,
    /// The records of all other buckets.
    pub(super) items: Vec<(Uid, Fingerprint)>,
}

/// Our side of the comparison.
#[derive(Debug)]
pub(super) struct Ours {
    /// The division to compare.
    pub(super) division: Buckets,
    /// Records and the xor of their fingerprints, a bucket.
    pub(super) buckets: Vec<(u64, Fingerprint)>,
    /// Whether the registry can give bucket digests.
    pub(super) digests: bool,
}

/// Reads what differs from ours.
///
/// # Errors
/// When the registry does not answer, or what it answers does not add up.
pub(super) async fn read<R: Registry>(registry: &R, ours: Ours) -> Result<Reading, Error> {
    tokio::time::timeout(READ_WITHIN, read_all(registry, ours)).await.unwrap_or(Err(Error::TooSlow))
}

async fn read_all<R: Registry>(registry: &R, ours: Ours) -> Result<Reading, Error> {
    let Ours { division, buckets, digests } = ours;
    if !digests {
        let items = pages(registry, None).await?;
        return Ok(Reading { division, equal: vec![false; buckets.len()], items });
    }
    let theirs = registry.bucket_digests(division.count()).await?;
    let equals =
        |(ours, theirs): (&(u64, Fingerprint), &BucketDigest)| *ours == (theirs.count, theirs.digest.fingerprint());
    let equal: Vec<bool> = buckets.iter().zip(&theirs.buckets).map(equals).collect();
    let differing: Vec<usize> = (0..equal.len()).filter(|index| !equal[*index]).collect();
    let pages_of_all = usize::try_from(theirs.count).unwrap_or(usize::MAX) / PAGE_ITEMS + 1;
    if differing.len() > pages_of_all.max(FEW_BUCKETS) {
        let items = pages(registry, None).await?;
        return Ok(Reading { division, equal: vec![false; equal.len()], items });
    }
    let mut items = Vec::new();
    for index in differing {
        let bucket = Bucket { of: division.count(), index };
        let counts = Counts { bucket: theirs.buckets[index].count, whole: theirs.count };
        // An empty bucket needs no page: its records are missing there.
        if counts.bucket > 0 {
            items.extend(pages(registry, Some((bucket, counts))).await?);
        }
    }
    Ok(Reading { division, equal, items })
}

/// The counts that came with the digests.
#[derive(Clone, Copy)]
struct Counts {
    bucket: u64,
    whole: u64,
}

/// All pages of a bucket, or of everything.
async fn pages<R: Registry>(registry: &R, bucket: Option<(Bucket, Counts)>) -> Result<Vec<(Uid, Fingerprint)>, Error> {
    for _ in 0..EXPIRIES {
        match pages_once(registry, bucket).await {
            Err(Error::Failure(Failure::Expired)) => {}
            result => return result,
        }
    }
    Err(Failure::Expired.into())
}

async fn pages_once<R: Registry>(
    registry: &R,
    bucket: Option<(Bucket, Counts)>,
) -> Result<Vec<(Uid, Fingerprint)>, Error> {
    let (mut items, mut looked_at) = (Vec::new(), 0);
    let (mut page, mut first_as_of) = (None, None);
    for _ in 0..PAGES_MAX {
        let answer = registry.inventory(bucket.map(|(bucket, _)| bucket), page.take()).await?;
        let first = *first_as_of.get_or_insert(answer.as_of);
        if items.len() + answer.items.len() > IDS_MAX {
            return Err(Error::Pages("they name more ids than a cluster has pods"));
        }
        if answer.items.is_empty() && answer.next.is_some() {
            return Err(Error::Pages("a page is empty and not the last"));
        }
        for item in answer.items {
            if !is_valid_id(&item.id) {
                return Err(Error::Pages("an id is none: 1 to 128 of [A-Za-z0-9._~:@-]"));
            }
            items.push((Uid::from(item.id), item.digest.fingerprint()));
        }
        page = answer.next;
        // Looked at now and then, as pages that go round and round would have no end.
        if page.is_none() || items.len() >= 2 * looked_at {
            looked_at = items.len();
            if names_twice(&mut items) {
                return Err(Error::Pages("an id is there twice"));
            }
        }
        if page.is_none() {
            let changes = answer.as_of.checked_sub(first).ok_or(Error::Pages("the change number went back"))?;
            return add_up(items, answer.count, bucket.map(|(_, counts)| counts), changes);
        }
    }
    Err(Error::Pages("there is no end to them"))
}

/// Whether an id is among these twice. Sorts them.
fn names_twice(items: &mut [(Uid, Fingerprint)]) -> bool {
    items.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    items.windows(2).any(|pair| pair[0].0 == pair[1].0)
}

/// Ids must be as many as counted; each change during the reading may have added or removed one. Of a bucket, a page may
/// count the bucket's records or all of them.
fn add_up(
    items: Vec<(Uid, Fingerprint)>,
    count: u64,
    digested: Option<Counts>,
    changes: u64,
) -> Result<Vec<(Uid, Fingerprint)>, Error> {
    let near = |a: u64, b: u64| a.abs_diff(b) <= changes;
    let ids = items.len() as u64;
    let whole_counted = |counts: Counts| near(count, counts.whole) && near(ids, counts.bucket);
    if near(ids, count) || digested.is_some_and(whole_counted) {
        Ok(items)
    } else {
        Err(Error::Mismatch { ids: items.len(), count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_add_up_to_the_count_but_for_changes_meanwhile() {
        let items = |n: usize| (0..n).map(|i| (Uid::from(i.to_string()), Fingerprint::default())).collect::<Vec<_>>();
        assert!(add_up(items(3), 3, None, 0).is_ok());
        assert!(add_up(items(3), 4, None, 1).is_ok());
        let digested = Counts { bucket: 3, whole: 1200 };
        assert!(add_up(items(3), 1200, Some(digested), 0).is_ok(), "a page of a bucket that counts everything");
        assert!(add_up(items(3), 1100, Some(digested), 0).is_err());
        assert!(add_up(items(2), 1200, Some(digested), 0).is_err());
        let error = add_up(items(3), 5, None, 1).unwrap_err();
        assert!(matches!(error, Error::Mismatch { ids: 3, count: 5 }), "{error}");
    }
}
