//! The order of writes among records that belong together, as [`order`] decides it.
//!
//! | a record | its relatives are known |
//! | --- | --- |
//! | of a pod that this process has seen | from the pod |
//! | that is absent | if the registry's client remembers them. If not, the kinds decide: those that stand deepest leave first |
//!
//! A record that has to wait stays pending, and is queued again when the request about the other record is answered. It
//! is also tried again after [`WAIT`]: that costs no request.

use std::time::Duration;

use super::{Comparison, When};
use crate::{
    controller::{
        queue::Lane,
        records::{DesiredRecords, families::Link},
    },
    model::uid::Uid,
    reconcile::{
        decide::Action,
        ledger::{Ledger, entry::Known, pending::Pending},
        order::{self, Relative},
    },
    registry::Registry,
};

/// How long a record waits for another one if nothing happens.
const WAIT: Duration = Duration::from_secs(30);
/// A parent waits for a child that moves away until one of their writes was refused this many times in a row.
const MOVE_FAILURES: u32 = 3;

impl<R: Registry> Comparison<R> {
    /// Whether this record has to wait for another one before it is sent. It is decided about again later then.
    pub(in crate::controller) fn waits_for_relative(&mut self, key: &Uid, when: When) -> bool {
        if self.records.families.is_empty() {
            return false;
        }
        let action = self.decision(key, when.now);
        let waits = self.relatives().delay(key, action);
        if waits {
            self.queue.delay(key, when.now + WAIT);
            // The next turn continues.
            self.records.note_work();
        }
        waits
    }

    /// Whether a deletion is to be sent and was not tried yet. One that failed delays no other, and one that waits for
    /// its parent must not delay it.
    pub(in crate::controller) fn is_leaving(&self, key: &Uid) -> bool {
        let Self { records, ledger, .. } = self;
        let Some(pending) = ledger.pending(key).filter(|_| !records.contains(key)) else { return false };
        let attempts = pending.attempts();
        let is_to_go = attempts.in_flight.is_some() || (pending.confirmed.is_some() && attempts.failures == 0);
        is_to_go && !self.relatives().parent_of(key).is_some_and(|parent| order::goes_along(&parent))
    }

    /// A request about a record is answered: those that wait for it are decided about again.
    pub(super) fn wake_relatives(&mut self, key: &Uid, when: When) {
        if self.records.families.is_empty() {
            return;
        }
        let mut awake = Vec::new();
        follow_parent(key, &self.records, &mut self.ledger, &*self.registry, &mut awake);
        awake.extend(self.relatives().pending_around(key));
        for relative in awake {
            self.reconcile(&relative, Lane::Live, when);
        }
        self.records.settle(key, &self.ledger);
    }

    fn relatives(&self) -> Relatives<'_> {
        Relatives { records: &self.records, ledger: &self.ledger }
    }
}

/// What is known of the records that belong together.
#[derive(Clone, Copy)]
struct Relatives<'a> {
    records: &'a DesiredRecords,
    ledger: &'a Ledger,
}

impl<'a> Relatives<'a> {
    /// Whether one of them delays this action.
    fn delay(self, key: &Uid, action: Action) -> bool {
        match action {
            Action::Put(_) => self.parent_of(key).is_some_and(|parent| order::waits_to_put(&parent)),
            Action::Delete(_) => {
                let children = self.records.families.children_of(key).filter(|link| !self.has_left(*link));
                order::waits_to_delete(self.parent_of(key), children.map(|link| self.relative(link)))
            }
            _ => false,
        }
    }

    fn parent_of(self, key: &Uid) -> Option<Relative> {
        Some(self.relative(self.records.families.parents_of(key).next_back()?))
    }

    fn relative(self, link: Link<'_>) -> Relative {
        let attempts = self.ledger.pending(link.key).map(Pending::attempts);
        let is_desired = self.records.contains(link.key);
        Relative {
            known: self.ledger.known(link.key),
            in_flight: attempts.and_then(|attempts| attempts.in_flight).map(|in_flight| in_flight.kind),
            is_desired,
            cascade: link.cascade,
            is_moving: link.is_former && is_desired && self.can_move(link.key),
        }
    }

    /// Whether neither the record nor its new parent was refused so often that one of them may need what the old parent
    /// has, such as a name.
    fn can_move(self, key: &Uid) -> bool {
        let is_well = |key: &Uid| {
            let attempts = self.ledger.pending(key).map(Pending::attempts);
            attempts.is_none_or(|attempts| attempts.parked.is_none() && attempts.failures < MOVE_FAILURES)
        };
        is_well(key) && self.records.families.parents_of(key).next_back().is_none_or(|parent| is_well(parent.key))
    }

    /// Whether the registry holds the child as it should be, which is below another parent.
    fn has_left(self, link: Link<'_>) -> bool {
        link.is_former && self.records.is_held(link.key, self.ledger)
    }

    /// The parents and children of a record that are pending.
    fn pending_around(self, key: &Uid) -> Vec<Uid> {
        let families = &self.records.families;
        // The parents that its children leave wait for it, too.
        let left =
            families.children_of(key).flat_map(|child| families.parents_of(child.key)).filter(|link| link.is_former);
        let relatives = families.parents_of(key).chain(families.children_of(key)).chain(left).map(|link| link.key);
        relatives.filter(|key| self.ledger.pending(key).is_some()).cloned().collect()
    }
}

/// If the registry removed a record, or may have, the same holds for the children that it removes with it. Adds those
/// to `followed`.
fn follow_parent(
    parent: &Uid,
    records: &DesiredRecords,
    ledger: &mut Ledger,
    registry: &impl Registry,
    followed: &mut Vec<Uid>,
) {
    let Some(known) = known_of_children(parent, ledger) else { return };
    let relatives = Relatives { records, ledger };
    let links = records.families.children_of(parent).filter(|link| link.cascade && !relatives.has_left(*link));
    let children: Vec<(Uid, bool)> = links.map(|link| (link.key.clone(), link.is_former)).collect();
    for (child, is_former) in children {
        // A put below another parent may have moved it before.
        let may_have_moved = is_former && ledger.may_be_put(&child);
        let known = if may_have_moved { Known::Uncertain } else { known };
        if ledger.follow_parent(&child, known) {
            match known {
                Known::Absent => registry.removed(&child),
                _ => registry.may_be_removed(&child),
            }
            follow_parent(&child, records, ledger, registry, followed);
            followed.push(child);
        }
    }
}

/// What is known about children that the registry removes with this record, if it may have removed it.
fn known_of_children(parent: &Uid, ledger: &Ledger) -> Option<Known> {
    let attempts = ledger.pending(parent).map(Pending::attempts);
    match ledger.known(parent) {
        // Otherwise it was not put, which says nothing about its children.
        Known::Absent if attempts.is_none_or(|tried| tried.failures == 0 && tried.parked.is_none()) => {
            Some(Known::Absent)
        }
        // An answer to a deletion was lost.
        Known::Uncertain if attempts.is_none_or(|tried| tried.mixed || tried.tried == Some(Known::Absent)) => {
            Some(Known::Uncertain)
        }
        _ => None,
    }
}
