//! The simulated registry: the fake registry, plus records that are refused, inventories that are wrong, and a backup.

use std::collections::{BTreeSet, HashMap};

use pod_registrar::{
    model::{
        digest::{Buckets, Digest},
        uid::Uid,
    },
    reconcile::outcome::{Failure, Verdict},
    registry::{
        Encoded, EncodedBody,
        inventory::{Bucket, BucketDigests, InventoryPage},
        session::{Contender, Heartbeat, OpenSession, SessionOpened},
    },
};

use crate::fake_registry::{Effect, FakeRegistry, refused};

/// A second writer stays announced for this long after its last heartbeat, in milliseconds.
const ANNOUNCED_MS: u64 = 90_000;

/// How an inventory is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It contains no record.
    Empty,
    /// It lacks one record in this many, and its count agrees.
    Short(u8),
    /// Its count is higher than the number of its records.
    Miscounted,
}

#[derive(Default)]
pub(crate) struct SimulatedRegistry {
    pub(crate) stored: FakeRegistry,
    pub(crate) backup: FakeRegistry,
    /// UIDs whose records have another owner.
    pub(crate) foreign: BTreeSet<Uid>,
    /// UIDs whose records are rejected.
    pub(crate) poison: BTreeSet<Uid>,
    /// UIDs for which every write fails.
    pub(crate) broken: BTreeSet<Uid>,
    /// How the next inventories are wrong.
    pub(crate) wrong: Option<Wrong>,
    /// The number of inventories that are still wrong.
    pub(crate) wrong_readings: u8,
    /// The number of operations that changed a record.
    pub(crate) changes: u64,
    /// The last second writer that announced itself, and when.
    contender: Option<(Contender, u64)>,
    /// The number of sessions that were opened.
    pub(crate) opened: u64,
}

impl SimulatedRegistry {
    pub(crate) fn apply(&mut self, operation: &Encoded) -> (Verdict, Effect) {
        let uid = &operation.uid;
        let (verdict, effect) = match &operation.body {
            _ if self.broken.contains(uid) => (refused(operation, 500, ""), Effect::Nothing),
            _ if self.foreign.contains(uid) => (refused(operation, 409, "foreign-owner"), Effect::Nothing),
            EncodedBody::Put { .. } if self.poison.contains(uid) => {
                (refused(operation, 422, "schema"), Effect::Nothing)
            }
            _ => self.stored.apply(operation),
        };
        self.changes += u64::from(effect != Effect::Nothing);
        (verdict, effect)
    }

    /// Whether the records are exactly the pods that a process is shown.
    pub(crate) fn holds(&self, shown: &HashMap<Uid, (Option<Digest>, usize)>) -> bool {
        self.holds_but_for(shown, |_| false)
    }

    /// The same, whatever it holds of the pods in `any`.
    pub(crate) fn holds_but_for(
        &self,
        shown: &HashMap<Uid, (Option<Digest>, usize)>,
        any: impl Fn(&Uid) -> bool,
    ) -> bool {
        let held = &self.stored.records;
        let same = |(uid, (digest, _)): (&Uid, &(Option<Digest>, usize))| {
            held.get(&*uid.text()).map(|(_, held)| *held) == *digest || any(uid)
        };
        let of_shown = || shown.keys().filter(|uid| held.contains_key(&*uid.text())).count();
        shown.iter().all(same) && of_shown() == held.len()
    }

    pub(crate) fn open(&mut self, request: OpenSession, now: u64) -> SessionOpened {
        self.opened += 1;
        self.stored.open(request, now)
    }

    /// Takes a heartbeat. A superseded session's heartbeat announces a second writer.
    pub(crate) fn beat(&mut self, beat: &Heartbeat, now: u64) -> Result<Option<Contender>, Failure> {
        let Heartbeat { epoch, instance, ttl_seconds, .. } = beat;
        if let Err(failure) = self.stored.beat(*epoch, *ttl_seconds, now) {
            if failure == Failure::StaleEpoch {
                let contender = Contender { epoch: *epoch, instance: instance.clone(), seen_at: String::new() };
                self.contender = Some((contender, now));
            }
            return Err(failure);
        }
        Ok(self.contender.clone().filter(|(_, seen)| now < seen + ANNOUNCED_MS).map(|(contender, _)| contender))
    }

    fn shows(&self) -> impl Fn(&str) -> bool + use<> {
        let wrong = self.wrong;
        move |id| match wrong {
            Some(Wrong::Empty) => false,
            Some(Wrong::Short(of)) => !Buckets::By16Bits.of(id).is_multiple_of(usize::from(of.max(1))),
            _ => true,
        }
    }

    fn miscount(&self) -> u64 {
        u64::from(self.wrong == Some(Wrong::Miscounted))
    }

    pub(crate) fn digests(&mut self, buckets: usize) -> BucketDigests {
        let digests = self.stored.digests(buckets, self.shows());
        let digests = BucketDigests { count: digests.count + self.miscount(), as_of: self.changes, ..digests };
        self.count_reading();
        digests
    }

    pub(crate) fn page(&mut self, bucket: Option<Bucket>, after: Option<&str>, size: usize) -> InventoryPage {
        let page = self.stored.page(bucket, after, size, self.shows());
        let page = InventoryPage { count: page.count + self.miscount(), as_of: self.changes, ..page };
        if bucket.is_none() && page.next.is_none() {
            self.count_reading();
        }
        page
    }

    fn count_reading(&mut self) {
        self.wrong_readings = self.wrong_readings.saturating_sub(1);
        if self.wrong_readings == 0 {
            self.wrong = None;
        }
    }
}
