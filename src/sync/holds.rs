//! Deletions that wait for a person: those after a change of settings, and those that could not be confirmed.

use super::registrar::Registrar;
use crate::{
    model::{
        Moment,
        session::{Declared, is_contested},
    },
    registry::Registry,
};

impl<R: Registry> Registrar<R> {
    /// Decides what our session declares, and whether what is absent may have left by a change of settings. Says whether
    /// that is news.
    pub(super) fn declare_after(&mut self, before: Option<&str>, now: Moment) -> bool {
        if before.is_some_and(is_contested) {
            self.absences.expect_rival(now);
        }
        let known = std::mem::replace(&mut self.declared, Declared::after(before, &self.options.scope));
        let news = self.declared != known;
        if self.declared == Declared::Doubted && news {
            tracing::warn!("nearly every record had no pod for an earlier process; their deletion waits for a person");
            self.absences.need_person();
            self.absences.settings_changed();
        }
        if self.declared == Declared::Unsettled && news {
            tracing::warn!(
                policy = ?self.options.on_scope_change,
                "the settings that select pods have changed; records of pods that are there and no longer selected are told apart"
            );
            self.absences.settings_changed();
        }
        news
    }

    /// Declares that a person is needed, so that no restart forgets it.
    pub(super) fn declare_doubt(&mut self, now: Moment) {
        if self.absences.is_person_needed() && self.declared != Declared::Doubted && self.session.epoch().is_some() {
            self.declared = Declared::Doubted;
            self.session.reopen(now);
        }
    }

    /// Declares whether another writer may be alive, so that no restart forgets it.
    pub(super) fn declare_contest(&mut self, now: Moment) {
        if self.absences.is_contested() != self.contested {
            self.session.reopen(now);
        }
    }

    /// Declares our settings, once nothing is left of those before.
    pub(super) fn declare_settled(&mut self, now: Moment) {
        // In this session the inventory was compared, and everything that came of it is done.
        let settled = self.session.epoch().is_some()
            && self.comparison.is_done(now)
            && self.absences.are_settings_settled()
            && self.ledger.working().all(|(_, work)| work.approved.is_none());
        if settled {
            tracing::info!("nothing is left of the settings before; ours are declared");
            self.absences.settings_declared();
            self.declared = Declared::Ours;
            self.session.reopen(now);
        }
    }
}
