//! Reading the registry's inventory: bucket digests first, then only the buckets that differ.
//!
//! A reading is done in steps. Each step returns what it read, so that a reading that takes an hour is usable from its
//! first minute, and a request that fails is repeated alone:
//!
//! | read | usable |
//! | --- | --- |
//! | digests | at once: buckets that equal ours hold what we suppose |
//! | one bucket | once its pages add up: it holds these records and no others |
//! | pages over everything | each page at once: the registry holds these records; that it lacks others, at the end |
//!
//! A reading is never a reason to delete. A bucket is discarded when its ids do not add up to the count that came with
//! them: a short answer would otherwise look like lost records.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::{
    model::{
        digest::{Buckets, Fingerprint},
        ids::is_valid_id,
        uid::Uid,
    },
    reconcile::outcome::Failure,
    registry::{
        Registry,
        inventory::{Bucket, BucketDigest},
    },
};

/// How often the pages of a bucket are begun again because their token expired.
const EXPIRIES: u32 = 3;
/// So many buckets are always read one by one,
const FEW_BUCKETS: usize = 16;
/// and more of them only while they are fewer requests than pages of this size over everything.
pub(super) const PAGE_ITEMS: usize = 5_000;
/// A page that does not come is asked for with a quarter of the records, but no fewer than this.
const PAGE_ITEMS_LEAST: usize = 50;
/// More ids than that are not this writer's: a cluster has no more pods by far, and they are all kept in memory.
const IDS_MAX: usize = 2_000_000;
/// A step ends with the first answer after this time. Each step costs a look at every record.
const STEP: Duration = Duration::from_secs(20);

/// Why a reading does not go on.
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
}

/// Our side of the comparison.
#[derive(Debug)]
pub(super) struct OurRecords {
    /// The division to compare.
    pub(super) division: Buckets,
    /// Records and the xor of their fingerprints, per bucket.
    pub(super) buckets: Vec<(u64, Fingerprint)>,
    /// Whether the registry can give bucket digests.
    pub(super) digests: bool,
}

/// A reading that is not over, and what its next step does.
#[derive(Debug)]
pub(super) struct InventoryReader {
    division: Buckets,
    stage: Stage,
    /// Records in a page.
    limit: usize,
}

#[derive(Debug)]
enum Stage {
    Digests(Vec<(u64, Fingerprint)>),
    Buckets(Differing),
    Pages(Pages),
}

/// The buckets that differ and are not read yet.
#[derive(Debug)]
struct Differing {
    counts: Vec<u64>,
    whole: u64,
    as_of: u64,
    rest: VecDeque<usize>,
    /// How many in a row did not add up, so that they were put last.
    discarded: usize,
}

/// Pages of a bucket or of everything, as far as they were read.
#[derive(Debug, Default)]
struct Pages {
    next: Option<String>,
    first_as_of: Option<u64>,
    read: usize,
    /// The ids so far: none may be there twice.
    ids: Vec<Uid>,
    looked_at: usize,
    expired: u32,
}

/// What a step read.
#[derive(Debug)]
pub(super) struct InventoryPart {
    /// The division of the buckets.
    pub(super) division: Buckets,
    /// Which buckets equal ours.
    pub(super) equal: Vec<bool>,
    /// Which buckets were read to their end: they hold what was named and nothing else.
    pub(super) complete: Vec<bool>,
    /// The records that were named.
    pub(super) items: Vec<(Uid, Fingerprint)>,
}

impl InventoryPart {
    fn empty(division: Buckets) -> Self {
        let none = vec![false; division.count()];
        Self { division, equal: none.clone(), complete: none, items: Vec::new() }
    }

    /// Whether anything follows from it.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && !self.equal.contains(&true) && !self.complete.contains(&true)
    }
}

/// What came of a step: what was read, what is left to read, and why the step ended early. With an error and nothing
/// left, the reading is discarded; without an error it is over.
#[derive(Debug)]
pub(super) struct ReadStep {
    pub(super) part: InventoryPart,
    pub(super) rest: Option<InventoryReader>,
    pub(super) error: Option<Error>,
    /// Records in a page of the next step or reading.
    pub(super) limit: usize,
}

impl InventoryReader {
    /// A reading that has not begun. `limit` is the number of records in a page.
    pub(super) fn new(ours: OurRecords, limit: usize) -> Self {
        let stage = if ours.digests { Stage::Digests(ours.buckets) } else { Stage::Pages(Pages::default()) };
        Self { division: ours.division, stage, limit }
    }

    /// Reads on for some time.
    pub(super) async fn step<R: Registry>(mut self, registry: &R) -> ReadStep {
        let (begun, mut part) = (Instant::now(), InventoryPart::empty(self.division));
        loop {
            match self.advance(registry, &mut part).await {
                Ok(true) => {
                    let limit = (self.limit * 2).min(PAGE_ITEMS);
                    return ReadStep { part, rest: None, error: None, limit };
                }
                Ok(false) if begun.elapsed() < STEP => {}
                Ok(false) => return ReadStep { part, limit: self.limit, rest: Some(self), error: None },
                Err(error) => return self.stopped(part, error),
            }
        }
    }

    fn stopped(mut self, part: InventoryPart, error: Error) -> ReadStep {
        // It may have been too slow for the time that a request has.
        if matches!(error, Error::Failure(Failure::Broken(_))) && !matches!(self.stage, Stage::Digests(_)) {
            self.limit = (self.limit / 4).max(PAGE_ITEMS_LEAST);
        }
        let goes_on = match self.stage {
            // Nothing is read yet: what is compared should be as new as can be.
            Stage::Digests(_) => false,
            Stage::Buckets(_) => true,
            Stage::Pages(_) => matches!(error, Error::Failure(_)),
        };
        // Of pages that are no inventory nothing is used.
        let part = if goes_on { part } else { InventoryPart::empty(self.division) };
        ReadStep { part, limit: self.limit, rest: goes_on.then_some(self), error: Some(error) }
    }

    /// Reads the digests, a bucket, or a page. Says whether the reading is over.
    async fn advance<R: Registry>(&mut self, registry: &R, part: &mut InventoryPart) -> Result<bool, Error> {
        let limit = self.limit;
        match &mut self.stage {
            Stage::Digests(ours) => {
                let theirs = registry.bucket_digests(self.division.count()).await?;
                let equals = |(ours, theirs): (&(u64, Fingerprint), &BucketDigest)| {
                    *ours == (theirs.count, theirs.digest.fingerprint())
                };
                part.equal = ours.iter().zip(&theirs.buckets).map(equals).collect();
                let rest: VecDeque<usize> = (0..part.equal.len()).filter(|index| !part.equal[*index]).collect();
                let pages_of_all = usize::try_from(theirs.count).unwrap_or(usize::MAX) / PAGE_ITEMS + 1;
                let over = rest.is_empty();
                self.stage = if rest.len() > pages_of_all.max(FEW_BUCKETS) {
                    Stage::Pages(Pages::default())
                } else {
                    let counts = theirs.buckets.iter().map(|bucket| bucket.count).collect();
                    let (whole, as_of) = (theirs.count, theirs.as_of);
                    Stage::Buckets(Differing { counts, whole, as_of, rest, discarded: 0 })
                };
                Ok(over)
            }
            Stage::Buckets(differing) => {
                let Some(index) = differing.rest.pop_front() else { return Ok(true) };
                let result = differing.read(registry, self.division, index, limit).await;
                match result {
                    Ok(items) => {
                        differing.discarded = 0;
                        part.items.extend(items);
                        part.complete[index] = true;
                        Ok(differing.rest.is_empty())
                    }
                    // The others are not kept waiting.
                    Err(Error::Failure(failure)) => {
                        differing.rest.push_back(index);
                        Err(failure.into())
                    }
                    // One bucket that makes no sense delays no other.
                    Err(error) => {
                        differing.rest.push_back(index);
                        differing.discarded += 1;
                        if differing.discarded < differing.rest.len() {
                            return Ok(false);
                        }
                        differing.discarded = 0;
                        Err(error)
                    }
                }
            }
            Stage::Pages(pages) => {
                let Some(count) = pages.turn(registry, None, limit, &mut part.items).await? else { return Ok(false) };
                add_up(pages.read, count, None)?;
                part.complete = vec![true; self.division.count()];
                Ok(true)
            }
        }
    }
}

/// The counts that came with the digests.
#[derive(Clone, Copy)]
struct Counts {
    bucket: u64,
    whole: u64,
    /// The last change that the digests have seen.
    as_of: u64,
}

/// What the last page says: how many records there are, the last change it has seen, and how many changes there were since
/// the first page.
#[derive(Clone, Copy)]
struct Count {
    count: u64,
    as_of: u64,
    changes: u64,
}

impl Differing {
    async fn read<R: Registry>(
        &self,
        registry: &R,
        division: Buckets,
        index: usize,
        limit: usize,
    ) -> Result<Vec<(Uid, Fingerprint)>, Error> {
        let counts = Counts { bucket: self.counts[index], whole: self.whole, as_of: self.as_of };
        // An empty bucket needs no page: its records are missing there.
        if counts.bucket == 0 {
            return Ok(Vec::new());
        }
        let bucket = Bucket { of: division.count(), index };
        let (mut pages, mut items) = (Pages::default(), Vec::new());
        loop {
            if let Some(count) = pages.turn(registry, Some(bucket), limit, &mut items).await? {
                add_up(pages.read, count, Some(counts))?;
                return Ok(items);
            }
        }
    }
}

impl Pages {
    /// Reads the next page. The pages begin again when their token has expired. After the last page, says how many
    /// records there are.
    async fn turn<R: Registry>(
        &mut self,
        registry: &R,
        bucket: Option<Bucket>,
        limit: usize,
        items: &mut Vec<(Uid, Fingerprint)>,
    ) -> Result<Option<Count>, Error> {
        let answer = match registry.inventory(bucket, self.next.clone(), limit).await {
            Err(Failure::Expired) if self.next.is_some() && self.expired + 1 < EXPIRIES => {
                *self = Self { expired: self.expired + 1, ..Self::default() };
                if bucket.is_some() {
                    items.clear();
                }
                return Ok(None);
            }
            answer => answer?,
        };
        let first = *self.first_as_of.get_or_insert(answer.as_of);
        self.read += answer.items.len();
        if self.read > IDS_MAX {
            return Err(Error::Pages("they name more ids than a cluster has pods"));
        }
        if answer.items.is_empty() && answer.next.is_some() {
            return Err(Error::Pages("a page is empty and not the last"));
        }
        for item in answer.items {
            if !is_valid_id(&item.id) {
                return Err(Error::Pages("an id is none: 1 to 128 of [A-Za-z0-9._~:@-]"));
            }
            let uid = Uid::from(item.id);
            self.ids.push(uid.clone());
            items.push((uid, item.digest.fingerprint()));
        }
        self.next = answer.next;
        // Looked at now and then, as pages that go round and round would have no end.
        if self.next.is_none() || self.ids.len() >= 2 * self.looked_at {
            self.looked_at = self.ids.len();
            self.ids.sort_unstable();
            if self.ids.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(Error::Pages("an id is there twice"));
            }
        }
        if self.next.is_some() {
            return Ok(None);
        }
        let changes = answer.as_of.checked_sub(first).ok_or(Error::Pages("the change number went back"))?;
        Ok(Some(Count { count: answer.count, as_of: answer.as_of, changes }))
    }
}

/// Ids must be as many as counted; each change during the reading may have added or removed one. Of a bucket, a page may
/// count the bucket's records or all of them.
fn add_up(ids: usize, last: Count, digested: Option<Counts>) -> Result<(), Error> {
    let near = |a: u64, b: u64, changes: u64| a.abs_diff(b) <= changes;
    let (named, count) = (ids as u64, last.count);
    let whole_counted = |counts: Counts| {
        let changes = last.as_of.saturating_sub(counts.as_of);
        near(count, counts.whole, changes) && near(named, counts.bucket, changes)
    };
    if near(named, count, last.changes) || digested.is_some_and(whole_counted) {
        Ok(())
    } else {
        Err(Error::Mismatch { ids, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inventory_count_allows_only_for_concurrent_changes() {
        // The ids add up to the count, except for changes made while the inventory was read.
        let count = |count, changes| Count { count, as_of: 10, changes };
        assert!(add_up(3, count(3, 0), None).is_ok());
        assert!(add_up(3, count(4, 1), None).is_ok());
        let digested = |as_of| Some(Counts { bucket: 3, whole: 1200, as_of });
        assert!(add_up(3, count(1200, 0), digested(10)).is_ok(), "a page of a bucket that counts everything");
        assert!(add_up(3, count(1100, 0), digested(10)).is_err());
        assert!(add_up(2, count(1200, 0), digested(10)).is_err());
        assert!(add_up(2, count(1199, 0), digested(9)).is_ok(), "one change since the digests");
        let error = add_up(3, count(5, 1), None).unwrap_err();
        assert!(matches!(error, Error::Mismatch { ids: 3, count: 5 }), "{error}");
    }
}
