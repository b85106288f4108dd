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

use super::EventLoop;
use crate::{
    controller::{
        queue::Lane,
        records::{DesiredRecords, families::Link},
    },
    model::{moment::Moment, uid::Uid},
    reconcile::{
        absence::ReleasedDeletion,
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

impl<R: Registry> EventLoop<R> {
    /// Whether this record has to wait for another one before it is sent. It is decided about again later then.
    pub(super) fn waits_for_relative(&mut self, key: &Uid, now: Moment) -> bool {
        if self.records.families.is_empty() {
            return false;
        }
        let action = self.decision(key, now);
        let parent = || parent_of(key, &self.records, &self.ledger);
        let waits = match action {
            Action::Put(_) => parent().is_some_and(|parent| order::waits_to_put(&parent)),
            Action::Delete(_) => {
                let children = self.records.families.children_of(key).filter(|link| !self.has_left(*link));
                order::waits_to_delete(parent(), children.map(|link| relative(link, &self.records, &self.ledger)))
            }
            _ => false,
        };
        if waits {
            self.delivery.queue.delay(key, now + WAIT);
        }
        waits
    }

    /// Takes the deletions that the absence guard lets go.
    pub(super) fn release(&mut self, now: Moment) -> Vec<ReleasedDeletion> {
        let Self { requests, absences, records, ledger, .. } = self;
        match requests.registry().kinship() {
            None => absences.release(now),
            // A record that is still to be listed may belong to one of these.
            Some(_) if !ledger.is_seeded() => Vec::new(),
            Some(kinship) => {
                let is_leaving = |key: &Uid| is_leaving(key, records, ledger);
                absences.release_deepest(&|key| kinship.depth(key), &is_leaving, now)
            }
        }
    }

    /// Whether the registry holds the child as it should be, which is below another parent.
    fn has_left(&self, link: Link<'_>) -> bool {
        link.is_former && self.records.is_held(link.key, &self.ledger)
    }

    /// A request about a record is answered: those that wait for it are decided about again.
    pub(super) fn wake_relatives(&mut self, key: &Uid, now: Moment) {
        if self.records.families.is_empty() {
            return;
        }
        let mut awake = self.follow_parent(key);
        let families = &self.records.families;
        // The parents that its children leave wait for it, too.
        let left =
            families.children_of(key).flat_map(|child| families.parents_of(child.key)).filter(|link| link.is_former);
        let relatives = families.parents_of(key).chain(families.children_of(key)).chain(left).map(|link| link.key);
        awake.extend(relatives.filter(|key| self.ledger.pending(key).is_some()).cloned());
        for relative in awake {
            self.reconcile(&relative, Lane::Live, now);
        }
        self.records.settle(key, &self.ledger);
    }

    /// If the registry removed a record, or may have, the same holds for the children that it removes with it. Returns
    /// those.
    fn follow_parent(&mut self, parent: &Uid) -> Vec<Uid> {
        let Some(known) = self.known_of_children(parent) else { return Vec::new() };
        let links = self.records.families.children_of(parent).filter(|link| link.cascade && !self.has_left(*link));
        let children: Vec<(Uid, bool)> = links.map(|link| (link.key.clone(), link.is_former)).collect();
        let mut followed = Vec::new();
        for (child, is_former) in children {
            // A put below another parent may have moved it before.
            let may_have_moved = is_former && self.ledger.may_be_put(&child);
            let known = if may_have_moved { Known::Uncertain } else { known };
            if self.ledger.follow_parent(&child, known) {
                match known {
                    Known::Absent => self.requests.registry().removed(&child),
                    _ => self.requests.registry().may_be_removed(&child),
                }
                followed.extend(self.follow_parent(&child));
                followed.push(child);
            }
        }
        followed
    }

    /// What is known about children that the registry removes with this record, if it may have removed it.
    fn known_of_children(&self, parent: &Uid) -> Option<Known> {
        let attempts = self.ledger.pending(parent).map(Pending::attempts);
        match self.ledger.known(parent) {
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
}

fn relative(link: Link<'_>, records: &DesiredRecords, ledger: &Ledger) -> Relative {
    let attempts = ledger.pending(link.key).map(Pending::attempts);
    let is_desired = records.contains(link.key);
    Relative {
        known: ledger.known(link.key),
        in_flight: attempts.and_then(|attempts| attempts.in_flight).map(|in_flight| in_flight.kind),
        is_desired,
        cascade: link.cascade,
        is_moving: link.is_former && is_desired && can_move(link.key, records, ledger),
    }
}

/// Whether neither the record nor its new parent was refused so often that one of them may need what the old parent
/// has, such as a name.
fn can_move(key: &Uid, records: &DesiredRecords, ledger: &Ledger) -> bool {
    let is_well = |key: &Uid| {
        let attempts = ledger.pending(key).map(Pending::attempts);
        attempts.is_none_or(|attempts| attempts.parked.is_none() && attempts.failures < MOVE_FAILURES)
    };
    is_well(key) && records.families.parents_of(key).next_back().is_none_or(|parent| is_well(parent.key))
}

fn parent_of(key: &Uid, records: &DesiredRecords, ledger: &Ledger) -> Option<Relative> {
    let link = records.families.parents_of(key).next_back()?;
    Some(relative(link, records, ledger))
}

/// Whether a deletion is to be sent and was not tried yet. One that failed delays no other, and one that waits for its
/// parent must not delay it.
fn is_leaving(key: &Uid, records: &DesiredRecords, ledger: &Ledger) -> bool {
    let Some(pending) = ledger.pending(key).filter(|_| !records.contains(key)) else { return false };
    let attempts = pending.attempts();
    let is_to_go = attempts.in_flight.is_some() || (pending.confirmed.is_some() && attempts.failures == 0);
    is_to_go && !parent_of(key, records, ledger).is_some_and(|parent| order::goes_along(&parent))
}
