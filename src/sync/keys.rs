//! From sightings to decisions: one key at a time, or all of them.

use std::collections::HashSet;

use super::{
    queue::Lane,
    registrar::{Inputs, Registrar},
};
use crate::{
    model::{
        Action, Belief, Ended, Known, Moment, Shown, Sighting, Uid, Walk, WatchList, Work,
        brake::{Answer, CompleteList, HeldBecause, Inquiry, Listed, Question},
        decide, wanted,
    },
    registry::Registry,
    store::View,
};

impl<R: Registry> Registrar<R> {
    pub(super) fn take_sighting(&mut self, sighting: Sighting, now: Moment) {
        match sighting {
            Sighting::Applied { uid, watch, at, .. } => {
                // It may be gone again by now: then its end is the next sighting.
                if self.view.contains(&uid) {
                    self.ledger.sighted(&uid, watch, at);
                    self.recheck |= self.brake.is_about(&uid);
                }
                self.consider(&uid, Lane::Live, now);
            }
            Sighting::Ended { uid, why } => self.take_end(&uid, why, now),
            Sighting::Page { watch, uids, at } => self.take_page(watch, &uids, at, now),
            Sighting::ListFailed { .. } => {}
            Sighting::Listed { watch, list } => self.take_list(watch, list),
        }
    }

    fn take_page(&mut self, watch: usize, uids: &[Uid], at: Moment, now: Moment) {
        for uid in uids {
            if self.view.contains(uid) {
                self.ledger.sighted(uid, watch, at);
                self.recheck |= self.brake.is_about(uid);
                self.consider(uid, Lane::Backfill, now);
            }
        }
    }

    fn take_end(&mut self, uid: &Uid, why: Ended, now: Moment) {
        if !self.view.contains(uid) {
            if self.is_silent() {
                self.ledger.remember_end(uid, why, self.ends_kept());
                self.queue.remove(uid);
                self.awaiting_list.remove(uid);
                return;
            }
            self.ledger.ended(uid, why, now);
        }
        self.consider(uid, Lane::Delete, now);
    }

    fn take_list(&mut self, watch: usize, list: WatchList) {
        if let Some(place) = self.lists.get_mut(watch) {
            *place = Some(list);
        }
        let ledger = &mut self.ledger;
        self.view.each_of_watch(watch, |uid| ledger.sighted(uid, watch, list.begun));
        // Once a turn for all lists that came in: with many watches they come in together.
        self.recheck = true;
    }

    /// Whether every watch has had a complete list.
    pub(super) fn all_listed(&self) -> bool {
        self.lists.iter().all(Option::is_some)
    }

    /// The list over all watches, once each has one in which everything could be identified. Whether it counts as empty
    /// depends on what is absent from it: see [`Self::is_missing_from_an_empty_list`].
    pub(super) fn complete_list(&self) -> Option<CompleteList> {
        let mut complete: Option<CompleteList> = None;
        for list in &self.lists {
            let WatchList { begun, trusted, .. } = list.filter(|list| list.identified)?;
            let rest = complete.unwrap_or(CompleteList { begun, empty: false, trusted });
            complete =
                Some(CompleteList { begun: rest.begun.min(begun), trusted: rest.trusted && trusted, empty: false });
        }
        complete
    }

    /// When the list was begun in which this id's absence would count.
    fn list_begun(&self, belief: Option<&Belief>) -> Option<Moment> {
        match belief.and_then(Belief::watch) {
            Some(watch) => (*self.lists.get(watch)?).filter(|list| list.identified).map(|list| list.begun),
            None => self.complete_list().map(|list| list.begun),
        }
    }

    /// What to do about one id, from the store as it is now.
    pub(super) fn decision(&self, uid: &Uid, now: Moment) -> Action {
        self.decision_with(uid, self.ledger.belief(uid), self.ledger.work(uid), now)
    }

    /// The same, with what the ledger has of the id.
    fn decision_with(&self, uid: &Uid, belief: Option<&Belief>, work: Option<&Work>, now: Moment) -> Action {
        let shown = shown(&self.view, uid, belief);
        let list_begun = if shown.is_none() { self.list_begun(belief) } else { None };
        let wanted = wanted(shown, belief, work, list_begun);
        decide(wanted, self.ledger.known_by(uid, belief), work, now)
    }

    /// Decides about one id and brings it to where the decision says it belongs.
    pub(super) fn consider(&mut self, uid: &Uid, lane: Lane, now: Moment) -> Action {
        let action = self.decision(uid, now);
        self.bring(uid, action, lane, now);
        action
    }

    /// Brings an id to where a decision says it belongs.
    fn bring(&mut self, uid: &Uid, action: Action, lane: Lane, now: Moment) {
        if action == Action::AwaitList {
            self.awaiting_list.insert(uid, ());
        } else {
            self.awaiting_list.remove(uid);
        }
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
                self.ledger.owe(uid, now);
                let again = self.ledger.repeats(uid, Known::Holds(desired));
                self.queue.push(uid, if again { Lane::PutAgain } else { lane.max(Lane::Live) });
            }
            Action::Delete(_) => {
                self.ledger.owe(uid, now);
                let again = self.ledger.repeats(uid, Known::Absent);
                self.queue.push(uid, if again { Lane::DeleteAgain } else { Lane::Delete });
            }
            Action::Wait(until) => self.queue.delay(uid, until),
            Action::InFlight => self.ledger.changed_in_flight(uid, now),
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
    /// list. Says whether an absence waits for a newer list.
    ///
    /// Records that are owed and nothing was done about yet are only marked and counted: they may be as many as there are
    /// pods. Their turn comes when their lane has run dry.
    pub(super) fn consider_all(&mut self, now: Moment) -> bool {
        let unbelieved = self.awaiting_list.iter().filter(|(uid, ())| self.ledger.belief(uid).is_none());
        let unbelieved: Vec<Uid> = unbelieved.map(|(uid, ())| uid.clone()).collect();
        let mut found = Found::default();
        self.ledger.begin_backlog(now);
        // From the highest position down, so that none is passed over when others are forgotten.
        for position in (0..self.ledger.believed()).rev() {
            if let Some((uid, action)) = self.consider_at(position, now) {
                found.note(uid, action);
            }
        }
        for uid in unbelieved {
            let action = self.consider(&uid, Lane::Backfill, now);
            found.note(uid, action);
        }
        self.ledger.begin_walks();
        let Found { absent, list_wanted } = found;
        if let Some(list) = self.complete_list().filter(|_| self.ledger.is_seeded()) {
            let empty = absent.iter().any(|uid| self.is_missing_from_an_empty_list(uid));
            self.brake.derive(absent, self.ledger.owned(), CompleteList { empty, ..list }, now);
        }
        list_wanted
    }

    /// Decides about the id at a position of the ledger; none where nothing is to be done.
    fn consider_at(&mut self, position: usize, now: Moment) -> Option<(Uid, Action)> {
        let (uid, belief) = self.ledger.belief_at(position)?;
        let work = self.ledger.work(uid);
        let action = self.decision_with(uid, Some(belief), work, now);
        match action {
            Action::Put(_) if work.is_none() => {
                self.awaiting_list.remove(uid);
                self.ledger.put_off(position);
                return None;
            }
            // As it is with nearly all of them: the queue has nothing without work.
            Action::Rest if work.is_none() && !belief.is_put_off() && !self.awaiting_list.contains(uid) => return None,
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

    /// Whether the list that lacks this id holds nothing at all.
    fn is_missing_from_an_empty_list(&self, uid: &Uid) -> bool {
        let is_empty = |list: &Option<WatchList>| list.is_some_and(|list| list.pods == 0);
        match self.ledger.belief(uid).and_then(Belief::watch) {
            Some(watch) => self.lists.get(watch).is_some_and(is_empty),
            None => self.lists.iter().any(is_empty),
        }
    }

    /// Asks every watch for a new list, unless the one that was asked for last is still to come.
    pub(super) fn want_list(&mut self, now: Moment, inputs: &Inputs) {
        let oldest = self.lists.iter().flatten().map(|list| list.begun).min();
        if self.list_wanted_at.is_some_and(|asked| oldest.is_none_or(|begun| begun <= asked)) {
            return;
        }
        self.list_wanted_at = Some(now);
        inputs.relist.send_modify(|asked| *asked += 1);
    }

    /// Decides about an id whose operation is over. A list may have shown it absent meanwhile: the brake knows nothing of
    /// it yet, and the next list may be hours away.
    pub(super) fn consider_settled(&mut self, uid: &Uid, now: Moment) {
        let action = self.consider(uid, Lane::Live, now);
        self.recheck |= action == Action::AwaitApproval;
    }

    /// Decides about every id anew, if something happened that may concern any of them.
    pub(super) fn recheck(&mut self, now: Moment) {
        if std::mem::take(&mut self.recheck) {
            self.consider_all(now);
        }
    }

    /// Keys whose delay is over, and deletions that were confirmed.
    pub(super) fn release_due(&mut self, now: Moment) {
        for uid in self.queue.due(now) {
            self.consider(&uid, Lane::Live, now);
        }
        for (uid, removal) in in_order(self.brake.release(now)) {
            // The approval is for an absence: of a pod that is back, nothing is deleted.
            if self.decision(&uid, now) == Action::AwaitApproval {
                self.ledger.approve(&uid, removal, now);
                self.consider(&uid, Lane::Delete, now);
            }
        }
    }

    pub(super) fn ask_brake(&mut self, now: Moment, inputs: &Inputs) {
        // The names of a sample come from the registry, and so would the deletions go there: neither in a pause.
        if self.target.slots(now, 1) == 0 {
            return;
        }
        let random = self.rng.u64(..);
        match self.brake.ask(now, random) {
            None => {}
            Some(Question::Whole { round }) => {
                self.ask_cluster(Inquiry::List { round, whole: true }, now, inputs);
            }
            Some(Question::List { round }) => {
                tracing::warn!(
                    held = self.brake.held(),
                    "absent pods are not deregistered before a second list agrees"
                );
                self.ask_cluster(Inquiry::List { round, whole: false }, now, inputs);
            }
            Some(Question::Confirm { round, sample }) if sample.is_empty() => {
                self.ask_cluster(Inquiry::LookUp { round, pods: Vec::new() }, now, inputs);
            }
            Some(Question::Confirm { round, sample }) => self.ask_names(round, sample),
        }
    }

    pub(super) fn ask_cluster(&mut self, inquiry: Inquiry, now: Moment, inputs: &Inputs) {
        let round = inquiry.round();
        if inputs.questions.try_send(inquiry).is_err() {
            self.brake_answered(round, Answer::Unanswered("the last question is still open".into()), now);
        }
    }

    pub(super) fn list_taken(&mut self, round: u64, there: &HashSet<Uid>, now: Moment, inputs: &Inputs) {
        let random = self.rng.u64(..);
        match self.brake.listed(round, there, now, random) {
            Listed::Ignored => {}
            Listed::Agreed => self.recheck = true,
            Listed::Contradicted => {
                tracing::error!(
                    held = self.brake.held(),
                    "deletions held: a second list shows pods that the watch lacks; the watch is taken anew"
                );
                self.want_list(now, inputs);
            }
            Listed::Sorted { left, gone } => {
                tracing::info!(left, gone, "what is absent after a change of settings was sorted");
                self.recheck = true;
            }
        }
    }

    pub(super) fn brake_answered(&mut self, round: u64, answer: Answer, now: Moment) {
        let random = self.rng.u64(..);
        if !self.brake.answered(round, answer, now, random) {
            return;
        }
        let held = self.brake.held();
        match self.brake.held_because() {
            Some(HeldBecause::StillThere(found)) => tracing::error!(
                held,
                found,
                "deletions held: pods that the list lacks are there; check the watch's permissions and selectors"
            ),
            Some(HeldBecause::Unanswered(cause)) => {
                tracing::warn!(held, cause, "deletions held: they cannot be confirmed, it is tried again");
            }
            // Held by a sorting list, which says so itself.
            Some(HeldBecause::SettingsChanged) => {}
            None => {
                tracing::info!(held, "absent pods are confirmed to be gone");
                // What went between the list that braked and the one that agreed is in neither set.
                self.recheck = true;
            }
        }
    }
}

/// What a look at every id found.
#[derive(Default)]
struct Found {
    /// What waits for the brake's approval.
    absent: HashSet<Uid>,
    /// Whether an absence waits for a newer list.
    list_wanted: bool,
}

impl Found {
    fn note(&mut self, uid: Uid, action: Action) {
        match action {
            Action::AwaitApproval => _ = self.absent.insert(uid),
            Action::AwaitList => self.list_wanted = true,
            _ => {}
        }
    }
}

/// What the store shows of an id. A pod does not change its namespace, so that the watch that showed it is the one to show
/// it.
pub(super) fn shown(view: &View, uid: &Uid, belief: Option<&Belief>) -> Option<Shown> {
    match belief.and_then(Belief::watch) {
        Some(watch) => view.shown_in(watch, uid),
        None => view.shown(uid),
    }
}

/// Sets have another order in every run. What is sent, and in which order, is to depend on what happened alone: a history
/// can then be played again.
fn in_order<T: Ord>(set: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut sorted: Vec<T> = set.into_iter().collect();
    sorted.sort_unstable();
    sorted
}
