//! From sightings to decisions: one key at a time, or all of them.

use super::{
    absences::{self, Survey},
    queue::Lane,
    registrar::Registrar,
};
use crate::{
    model::{Action, Belief, Ended, Known, Moment, Sighting, Uid, Walk, WatchList, Work, decide, wanted},
    registry::Registry,
};

impl<R: Registry> Registrar<R> {
    pub(super) fn take_sighting(&mut self, sighting: Sighting, now: Moment) {
        match sighting {
            Sighting::Applied { uid, watch, at, .. } => {
                // It may be gone again by now: then its end is the next sighting.
                if self.view.contains(&uid) {
                    self.ledger.sighted(&uid, watch, at);
                    self.absences.pod_seen(&uid);
                }
                self.consider_since(&uid, Lane::Live, at, now);
            }
            Sighting::Ended { uid, why, at } => self.take_end(&uid, why, at, now),
            Sighting::Page { watch, uids, at } => self.take_page(watch, &uids, at, now),
            Sighting::ListFailed { watch } => self.absences.list_failed(watch),
            Sighting::Listed { watch, list } => self.take_list(watch, list),
        }
    }

    fn take_page(&mut self, watch: usize, uids: &[Uid], at: Moment, now: Moment) {
        self.absences.page_arrived();
        for uid in uids {
            if self.view.contains(uid) {
                self.ledger.sighted(uid, watch, at);
                self.absences.pod_seen(uid);
                // A page of a first list brings a record each: they wait as a mark, not in the queue.
                if let Some(position) = self.ledger.position_of(uid) {
                    self.consider_at(position, now);
                }
            }
        }
    }

    fn take_end(&mut self, uid: &Uid, why: Ended, at: Moment, now: Moment) {
        if !self.view.contains(uid) {
            if self.is_silent() {
                self.ledger.remember_end(uid, why, self.ends_kept());
                self.queue.remove(uid);
                self.absences.set_awaiting(uid, false);
                return;
            }
            self.ledger.ended(uid, why, at);
        }
        self.consider_since(uid, Lane::Delete, at, now);
    }

    fn take_list(&mut self, watch: usize, list: WatchList) {
        let ledger = &mut self.ledger;
        self.view.each_of_watch(watch, |uid| ledger.sighted(uid, watch, list.begun));
        self.absences.listed(watch, list);
    }

    /// What to do about one id, from the store as it is now.
    pub(super) fn decision(&self, uid: &Uid, now: Moment) -> Action {
        self.decision_with(uid, self.ledger.belief(uid), self.ledger.work(uid), now)
    }

    /// The same, with what the ledger has of the id.
    fn decision_with(&self, uid: &Uid, belief: Option<&Belief>, work: Option<&Work>, now: Moment) -> Action {
        let shown = self.view.shown_by(belief.and_then(Belief::watch), uid);
        let list_begun =
            if shown.is_none() { self.absences.lists().begun(belief.and_then(Belief::watch)) } else { None };
        let wanted = wanted(shown, belief, work, list_begun);
        decide(wanted, self.ledger.known_by(uid, belief), work, now)
    }

    /// Decides about one id and brings it to where the decision says it belongs.
    pub(super) fn consider(&mut self, uid: &Uid, lane: Lane, now: Moment) -> Action {
        self.consider_since(uid, lane, now, now)
    }

    /// The same, about a change that was seen at `since`.
    fn consider_since(&mut self, uid: &Uid, lane: Lane, since: Moment, now: Moment) -> Action {
        let action = self.decision(uid, now);
        self.bring(uid, action, lane, since);
        action
    }

    /// Brings an id to where a decision says it belongs. What is pending from now on has been so since `since`.
    fn bring(&mut self, uid: &Uid, action: Action, lane: Lane, since: Moment) {
        self.absences.set_awaiting(uid, action == Action::AwaitList);
        match action {
            Action::Rest => {
                self.queue.remove(uid);
                self.ledger.rest(uid);
            }
            Action::Forget => {
                self.queue.remove(uid);
                self.ledger.forget(uid);
            }
            Action::Put(desired) => {
                self.ledger.owe(uid, since);
                let attempt = self.ledger.attempt(uid, Known::Holds(desired));
                self.queue.push(uid, Lane::of_record(attempt, lane));
            }
            Action::Delete(_) => {
                self.ledger.owe(uid, since);
                self.queue.push(uid, Lane::of_deletion(self.ledger.attempt(uid, Known::Absent)));
            }
            Action::Wait(until) => self.queue.delay(uid, until),
            Action::InFlight => self.ledger.changed_in_flight(uid, since),
            // The inventory will name it, if it matters: until then a standby would gather these for ever.
            Action::AwaitInventory if self.is_silent() && !self.view.contains(uid) => {
                self.queue.remove(uid);
                self.ledger.forget(uid);
            }
            Action::AwaitInventory | Action::AwaitApproval | Action::AwaitList | Action::Parked => {
                self.queue.remove(uid)
            }
        }
        self.ledger.reached(uid);
    }

    /// Decides about every id: those that a watch showed, those that the registry may have, and those that wait for a
    /// list.
    ///
    /// Records that are owed and nothing was done about yet are only marked and counted: they may be as many as there are
    /// pods. Their turn comes when their lane has run dry.
    pub(super) fn consider_all(&mut self, now: Moment) {
        let mut survey = Survey::default();
        let outside = self.absences.awaiting_outside(&self.ledger);
        self.ledger.begin_backlog(now);
        // From the highest position down, so that none is passed over when others are forgotten.
        for position in (0..self.ledger.believed()).rev() {
            if let Some((uid, action)) = self.consider_at(position, now) {
                self.absences.note(&mut survey, uid, action, &self.ledger);
            }
        }
        for uid in outside {
            let action = self.consider(&uid, Lane::Backfill, now);
            self.absences.note(&mut survey, uid, action, &self.ledger);
        }
        self.ledger.begin_walks();
        let may_ask = self.session.epoch().is_some() && self.availability.lets_through(now);
        let effect = self.absences.derive(survey, may_ask, &self.ledger, now);
        self.apply_absences(effect, now);
    }

    pub(super) fn apply_absences(&mut self, effect: Option<absences::Effect>, now: Moment) {
        match effect {
            None => {}
            Some(absences::Effect::Send(request)) => self.requests.send(request),
            Some(absences::Effect::Ask(inquiry)) => {
                let round = inquiry.round();
                if self.questions.try_send(inquiry).is_err() {
                    self.absences.not_asked(round, now);
                }
            }
            Some(absences::Effect::Relist) => self.relist.send_modify(|asked| *asked += 1),
        }
    }

    /// Decides about the id at a position of the ledger; none where nothing is to be done.
    fn consider_at(&mut self, position: usize, now: Moment) -> Option<(Uid, Action)> {
        let (uid, belief) = self.ledger.belief_at(position)?;
        let work = self.ledger.work(uid);
        let action = self.decision_with(uid, Some(belief), work, now);
        match action {
            Action::Put(_) if work.is_none() => {
                self.absences.set_awaiting(uid, false);
                self.ledger.put_off(position, now);
                return None;
            }
            // As it is with nearly all of them: the queue has nothing without work.
            Action::Rest if work.is_none() && !belief.is_put_off() && !self.absences.is_awaiting(uid) => return None,
            _ => {}
        }
        let uid = uid.clone();
        self.bring(&uid, action, Lane::Backfill, now);
        Some((uid, action))
    }

    /// Decides about records that were put off, as many as a lane is to hold, once it has run dry.
    pub(super) fn walk_on(&mut self, walk: Walk, now: Moment) {
        let lane = Lane::of(walk);
        if self.queue.ready(lane) > 0 {
            return;
        }
        while self.queue.ready(lane) < self.options.backlog_window.max(1) {
            let Some(uid) = self.ledger.walk_on(walk) else { break };
            self.consider(&uid, lane, now);
        }
    }

    /// Decides about an id whose operation is over. A list may have shown it absent meanwhile: the brake knows nothing of
    /// it yet, and the next list may be hours away.
    pub(super) fn consider_settled(&mut self, uid: &Uid, now: Moment) {
        let action = self.consider(uid, Lane::Live, now);
        if action == Action::AwaitApproval {
            self.absences.request_reconcile();
        }
    }

    /// Decides about every id anew, if something happened that may concern any of them.
    pub(super) fn recheck(&mut self, now: Moment) {
        if self.absences.take_reconcile() {
            self.consider_all(now);
        }
    }

    /// Keys whose delay is over, and deletions that were confirmed.
    pub(super) fn release_due(&mut self, now: Moment) {
        for uid in self.queue.due(now) {
            self.consider(&uid, Lane::Live, now);
        }
        // What is confirmed while another writer has the session waits for a new look.
        if self.session.epoch().is_none() {
            return;
        }
        for (uid, removal) in self.absences.release(now) {
            // The approval is for an absence: of a pod that is back, nothing is deleted.
            if self.decision(&uid, now) == Action::AwaitApproval {
                self.ledger.approve(&uid, removal, now);
                self.consider(&uid, Lane::Delete, now);
            }
        }
    }

    /// Asks what the absence guard needs to know, and for new lists.
    pub(super) fn ask_about_absences(&mut self, now: Moment) {
        let relist = self.absences.want_list(now);
        self.apply_absences(relist, now);
        // The names of a sample come from the registry, and so would the deletions go there: neither in a pause.
        if self.availability.lets_through(now) {
            let question = self.absences.next_question(&self.ledger, now);
            self.apply_absences(question, now);
        }
    }
}
