//! Reading the registry's inventory: bucket digests first, then only the buckets that differ.
//!
//! A reading consists of steps, so that a reading of an hour is usable from its first minute, and a failed request is
//! repeated alone:
//!
//! | read | usable |
//! | --- | --- |
//! | digests | at once: if the digest of a bucket equals ours, the registry holds the records that the ledger assumes |
//! | one bucket | when the number of its ids equals the count in the answer: the bucket holds exactly these records |
//! | pages over all buckets | each page at once: the registry holds these records. After the last page: it holds no others |
//!
//! A bucket with another number of ids than its count is discarded: a short answer would look like lost records.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    model::{
        digest::{Buckets, Fingerprint},
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
/// Up to this number of differing buckets, each bucket is read by its own requests. A larger number is read so only if
/// that takes no more requests than pages over all buckets.
const FEW_BUCKETS: usize = 16;
/// The most records in a page.
pub(super) const PAGE_ITEMS: usize = 5_000;
/// A page that does not come in time is asked for with a quarter of the records, but with at least this number.
const PAGE_ITEMS_LEAST: usize = 50;
/// The most ids of an inventory. One with more is discarded: no cluster has that many pods, and the ids are kept in
/// memory.
const IDS_MAX: usize = 2_000_000;
/// A step ends with the first answer after this time. Each step costs a pass over all records.
const STEP: Duration = Duration::from_secs(20);

/// Why a step ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A request failed.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The number of ids differs from the count in the answer, by more than the changes made during the reading
    /// explain.
    #[error("the inventory lists {ids} ids and counts {count}; discarding them and reading again")]
    Mismatch { ids: usize, count: u64 },
    /// The client says what is wrong with it.
    #[error("the inventory cannot be used: {0}; discarding it and reading again")]
    List(String),
    #[error("the pages of the inventory break the protocol: {0}; discarding them and reading again")]
    Pages(Cow<'static, str>),
}

impl Error {
    /// Whether the cause is probably there until a person acts.
    pub(super) fn lasts(&self) -> bool {
        match self {
            Self::Mismatch { .. } | Self::List(_) | Self::Pages(_) => true,
            Self::Failure(failure) => {
                matches!(failure, Failure::Refused { .. } | Failure::NotFound | Failure::Inventory(_))
            }
        }
    }
}

/// What the ledger assumes the registry to hold, to compare with the inventory.
#[derive(Debug)]
pub(super) struct OurRecords {
    pub(super) division: Buckets,
    /// The number of records and the xor of their fingerprints, per bucket. With it, digests are read first.
    pub(super) digests: Option<Vec<(u64, Fingerprint)>>,
}

/// How far a reading is. The event loop sees it during a step, too.
#[derive(Debug, Default)]
pub(super) struct ReadCounts {
    read: AtomicU64,
    /// The number that the registry gave; 0 before.
    total: AtomicU64,
}

impl ReadCounts {
    /// The number of records that were read, and of all to read. That is not known if the registry only counts what it
    /// has listed so far.
    pub(super) fn done_of(&self) -> (u64, Option<u64>) {
        let (read, total) = (self.read.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        (read, Some(total).filter(|total| *total > read))
    }

    fn set(&self, read: usize, total: u64) {
        self.read.store(read as u64, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }
}

/// A reading that has steps left.
#[derive(Debug)]
pub(super) struct InventoryReader {
    division: Buckets,
    stage: Stage,
    /// Records in a page, at most.
    limit: usize,
    counts: Arc<ReadCounts>,
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
    /// Buckets in a row that did not add up, and were put last.
    discarded: usize,
}

/// The pages that were read so far, of one bucket or of all.
#[derive(Debug, Default)]
struct Pages {
    next: Option<String>,
    first_as_of: Option<u64>,
    read: usize,
    /// Records of all pages, as the last page gave it.
    count: u64,
    /// All ids so far, to find ids that come twice.
    ids: Vec<Uid>,
    /// The number of ids when they were last searched for duplicates.
    searched: usize,
    expired: u32,
}

/// What a step read.
#[derive(Debug)]
pub(super) struct InventoryPart {
    pub(super) division: Buckets,
    /// Per bucket: whether it equals ours.
    pub(super) equal: Vec<bool>,
    /// Per bucket: whether `items` has all of its records.
    pub(super) complete: Vec<bool>,
    /// With the fingerprint of what is held. None if the registry may hold the record or not.
    pub(super) items: Vec<(Uid, Option<Fingerprint>)>,
}

impl InventoryPart {
    fn empty(division: Buckets) -> Self {
        let none = vec![false; division.count()];
        Self { division, equal: none.clone(), complete: none, items: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && !self.equal.contains(&true) && !self.complete.contains(&true)
    }
}

/// The result of a step. Without a rest, the reading is complete, or was discarded if there is an error.
#[derive(Debug)]
pub(super) struct ReadStep {
    pub(super) part: InventoryPart,
    pub(super) rest: Option<InventoryReader>,
    pub(super) error: Option<Error>,
    /// Records in a page of the next step or reading, at most.
    pub(super) limit: usize,
}

impl InventoryReader {
    pub(super) fn new(ours: OurRecords, limit: usize) -> Self {
        let stage = ours.digests.map_or_else(|| Stage::Pages(Pages::default()), Stage::Digests);
        Self { division: ours.division, stage, limit, counts: Arc::default() }
    }

    pub(super) fn counts(&self) -> Arc<ReadCounts> {
        self.counts.clone()
    }

    /// Reads until the first answer after [`STEP`].
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
        // The page may have been too large for the request timeout.
        if matches!(error, Error::Failure(Failure::Broken(_))) && !matches!(self.stage, Stage::Digests(_)) {
            self.limit = (self.limit / 4).max(PAGE_ITEMS_LEAST);
        }
        let goes_on = match self.stage {
            // Nothing was read yet. The next reading compares a newer state of the ledger.
            Stage::Digests(_) => false,
            Stage::Buckets(_) => true,
            Stage::Pages(_) => matches!(error, Error::Failure(_)),
        };
        let part = if goes_on { part } else { InventoryPart::empty(self.division) };
        ReadStep { part, limit: self.limit, rest: goes_on.then_some(self), error: Some(error) }
    }

    /// Reads the digests, a bucket, or a page. Returns whether the reading is complete.
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
                    let differing = rest.iter().filter_map(|index| Some(theirs.buckets.get(*index)?.count));
                    // A registry can name any number.
                    self.counts.set(0, differing.fold(0, u64::saturating_add));
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
                        self.counts.read.fetch_add(items.len() as u64, Ordering::Relaxed);
                        part.items.extend(items);
                        part.complete[index] = true;
                        Ok(differing.rest.is_empty())
                    }
                    // The bucket goes last, so that it does not delay the others.
                    Err(Error::Failure(failure)) => {
                        differing.rest.push_back(index);
                        Err(failure.into())
                    }
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
                let turned = pages.turn(registry, None, limit, &mut part.items).await?;
                self.counts.set(pages.read, pages.count);
                let Some(count) = turned else { return Ok(false) };
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
    /// The number of the last change that the digests include.
    as_of: u64,
}

/// The count that came with the last page.
#[derive(Clone, Copy)]
struct Count {
    count: u64,
    /// The number of the last change that the page includes.
    as_of: u64,
    /// Changes since the first page.
    changes: u64,
}

impl Differing {
    async fn read<R: Registry>(
        &self,
        registry: &R,
        division: Buckets,
        index: usize,
        limit: usize,
    ) -> Result<Vec<(Uid, Option<Fingerprint>)>, Error> {
        let counts = Counts { bucket: self.counts[index], whole: self.whole, as_of: self.as_of };
        // An empty bucket needs no page.
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
    /// Reads the next page, or begins again if the token of the pages has expired. Returns the count after the last
    /// page.
    async fn turn<R: Registry>(
        &mut self,
        registry: &R,
        bucket: Option<Bucket>,
        limit: usize,
        items: &mut Vec<(Uid, Option<Fingerprint>)>,
    ) -> Result<Option<Count>, Error> {
        let answer = match registry.inventory(bucket, self.next.clone(), limit).await {
            Err(Failure::Expired) if self.next.is_some() && self.expired + 1 < EXPIRIES => {
                *self = Self { expired: self.expired + 1, ..Self::default() };
                if bucket.is_some() {
                    items.clear();
                }
                return Ok(None);
            }
            Err(Failure::Inventory(problem)) => return Err(Error::List(problem)),
            answer => answer?,
        };
        let first = *self.first_as_of.get_or_insert(answer.as_of);
        self.read += answer.items.len();
        self.count = answer.count;
        if self.read > IDS_MAX {
            return Err(Error::Pages(
                "they list more than 2,000,000 ids; the registry must list each record once".into(),
            ));
        }
        if answer.items.is_empty() && answer.next.is_some() {
            return Err(Error::Pages(
                "a page is empty and not the last; the registry must leave out empty pages".into(),
            ));
        }
        for item in answer.items {
            self.ids.push(item.uid.clone());
            items.push((item.uid, item.fingerprint));
        }
        self.next = answer.next;
        // Also before the last page: tokens that lead back to an earlier page would never end.
        if self.next.is_none() || self.ids.len() >= 2 * self.searched {
            self.searched = self.ids.len();
            self.ids.sort_unstable();
            if self.ids.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(Error::Pages("an id is listed twice; the registry must list each record once".into()));
            }
        }
        if self.next.is_some() {
            return Ok(None);
        }
        let changes = answer
            .as_of
            .checked_sub(first)
            .ok_or(Error::Pages("asOf decreased from one page to the next; it must never decrease".into()))?;
        Ok(Some(Count { count: answer.count, as_of: answer.as_of, changes }))
    }
}

/// Checks that the number of ids equals the count, except for changes made during the reading. The count in a page of a
/// bucket may be that of the bucket or that of all records.
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
        assert!(add_up(3, count(1200, 0), digested(10)).is_ok(), "a page of a bucket that counts all records");
        assert!(add_up(3, count(1100, 0), digested(10)).is_err());
        assert!(add_up(2, count(1200, 0), digested(10)).is_err());
        assert!(add_up(2, count(1199, 0), digested(9)).is_ok(), "one change since the digests");
        let error = add_up(3, count(5, 1), None).unwrap_err();
        assert!(matches!(error, Error::Mismatch { ids: 3, count: 5 }), "{error}");
    }
}
