//! The order of writes among records that belong together, as [`order`] decides it.
//!
//! A record that has to wait stays pending, and is queued again when the request about the other record is answered. It
//! is also tried again after [`WAIT`]: that costs no request.

use std::time::Duration;

use super::EventLoop;
use crate::{
    controller::{queue::Lane, records::families::Link},
    model::{moment::Moment, uid::Uid},
    reconcile::{
        decide::Action,
        ledger::entry::Known,
        order::{self, Relative},
    },
    registry::Registry,
};

/// How long a record waits for another one if nothing happens.
const WAIT: Duration = Duration::from_secs(30);

impl<R: Registry> EventLoop<R> {
    /// Whether this record has to wait for another one before it is sent. It is decided about again later then.
    pub(super) fn waits_for_relative(&mut self, key: &Uid, action: Action, now: Moment) -> bool {
        if self.records.families.is_empty() {
            return false;
        }
        let parent = || self.records.families.parents_of(key).next_back().map(|link| self.relative(link));
        let waits = match action {
            Action::Put(_) => parent().is_some_and(|parent| order::waits_to_put(&parent)),
            Action::Delete(_) => {
                let children = self.records.families.children_of(key).filter(|link| !self.has_left(*link));
                order::waits_to_delete(parent(), children.map(|link| self.relative(link)))
            }
            _ => false,
        };
        if waits {
            self.delivery.queue.delay(key, now + WAIT);
        }
        waits
    }

    fn relative(&self, link: Link<'_>) -> Relative {
        let pending = self.ledger.pending(link.key);
        Relative {
            known: self.ledger.known(link.key),
            in_flight: pending.and_then(|pending| pending.attempts().in_flight).map(|in_flight| in_flight.kind),
            is_desired: self.records.contains(link.key),
            cascade: link.cascade,
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
        if self.ledger.known(key) == Known::Absent {
            self.removed_with_parent(key);
        }
        let families = &self.records.families;
        let relatives = families.parents_of(key).chain(families.children_of(key)).map(|link| link.key);
        let pending: Vec<Uid> = relatives.filter(|key| self.ledger.pending(key).is_some()).cloned().collect();
        for relative in pending {
            self.reconcile(&relative, Lane::Live, now);
        }
        self.records.settle(key, &self.ledger);
    }

    /// The registry removed the children of a record together with it.
    fn removed_with_parent(&mut self, parent: &Uid) {
        let links = self.records.families.children_of(parent).filter(|link| link.cascade && !self.has_left(*link));
        let children: Vec<Uid> = links.map(|link| link.key.clone()).collect();
        for child in children {
            if self.ledger.removed_with_parent(&child) {
                self.requests.registry().removed(&child);
                // It may have children of its own.
                self.removed_with_parent(&child);
            }
        }
    }
}
