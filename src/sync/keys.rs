//! From sightings to decisions: one key at a time, or all of them.

use std::collections::HashSet;

use super::{
    control::About,
    queue::Lane,
    registrar::{ListAsked, Registrar},
};
use crate::{
    model::{
        Action, Belief, Ended, Known, Moment, PodRef, Sighting, Uid, Walk, WatchList, Work,
        brake::{Answer, CompleteList, HeldBecause, Inquiry, Listed, Question, is_nearly_all},
        decide, wanted,
    },
    registry::Registry,
};

/// Records whose namespaces are looked up together.
const PLACED_AT_ONCE: usize = 100;
/// Pods that may have left by a change of settings and are looked up one by one; more are held for a person without that.
const SORTED_AT_ONCE: usize = 2_000;
/// A list that was asked for and does not come is asked for again after this time, which doubles up to the second one.
const RELIST_AGAIN: (Moment, Moment) = (Moment::from_secs(60), Moment::from_secs(3_600));

impl<R: Registry> Registrar<R> {
    pub(super) fn take_sighting(&mut self, sighting: Sighting, now: Moment) {
        match sighting {
            Sighting::Applied { uid, watch, at, .. } => {
                // It may be gone again by now: then its end is the next sighting.
                if self.view.contains(&uid) {
                    self.ledger.sighted(&uid, watch, at);
                    self.recheck |= self.brake.is_about(&uid);
                }
                self.consider_since(&uid, Lane::Live, at, now);
            }
            Sighting::Ended { uid, why, at } => self.take_end(&uid, why, at, now),
            Sighting::Page { watch, uids, at } => self.take_page(watch, &uids, at, now),
            Sighting::ListFailed { watch } => self.take_failed_list(watch),
            Sighting::Listed { watch, list } => self.take_list(watch, list),
        }
    }

    fn take_page(&mut self, watch: usize, uids: &[Uid], at: Moment, now: Moment) {
        self.paged = true;
        for uid in uids {
            if self.view.contains(uid) {
                self.ledger.sighted(uid, watch, at);
                self.recheck |= self.brake.is_about(uid);
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
                self.awaiting_list.remove(uid);
                return;
            }
            self.ledger.ended(uid, why, at);
        }
        self.consider_since(uid, Lane::Delete, at, now);
    }

    fn take_list(&mut self, watch: usize, list: WatchList) {
        if let (Some(place), Some(failed)) = (self.lists.get_mut(watch), self.lists_failed.get_mut(watch)) {
            (*place, *failed, self.paged) = (Some(list), false, true);
        }
        let ledger = &mut self.ledger;
        self.view.each_of_watch(watch, |uid| ledger.sighted(uid, watch, list.begun));
        // Once a turn for all lists that came in: with many watches they come in together.
        self.recheck = true;
    }

    /// Nothing is absent from a watch that cannot be listed. The other watches go on.
    fn take_failed_list(&mut self, watch: usize) {
        if let Some(failed) = self.lists_failed.get_mut(watch) {
            self.recheck |= !std::mem::replace(failed, true);
        }
    }

    /// Whether any page of pods has arrived, so that there is something to do.
    pub(super) fn has_page(&self) -> bool {
        self.paged
    }

    /// Whether every watch has had a complete list, or has reported that it cannot have one now.
    pub(super) fn lists_settled(&self) -> bool {
        self.lists.iter().zip(&self.lists_failed).all(|(list, failed)| list.is_some() || *failed)
    }

    fn has_failed(&self, watch: usize) -> bool {
        self.lists_failed.get(watch).copied().unwrap_or(false)
    }

    /// The namespaces whose watches cannot be listed now.
    fn failed_namespaces(&self) -> Vec<String> {
        let failed = self.options.namespaces.iter().zip(&self.lists_failed);
        failed.filter(|(_, failed)| **failed).map(|(namespace, _)| namespace.clone()).collect()
    }

    /// The list of a watch, if everything in it could be identified and no later one failed.
    fn list_of(&self, watch: usize) -> Option<WatchList> {
        (*self.lists.get(watch)?).filter(|list| list.identified && !self.has_failed(watch))
    }

    /// The list over all watches, once each has one that counts. Whether it counts as empty depends on what is absent from
    /// it: see [`Self::is_missing_from_an_empty_list`].
    pub(super) fn list_of_all(&self) -> Option<CompleteList> {
        let all = (0..self.lists.len()).map(|watch| self.list_of(watch)).collect::<Option<Vec<_>>>()?;
        over(all.into_iter())
    }

    /// The list over the watches that have one that counts.
    fn list_of_some(&self) -> Option<CompleteList> {
        over((0..self.lists.len()).filter_map(|watch| self.list_of(watch)))
    }

    /// When the list was begun in which this id's absence would count.
    fn list_begun(&self, belief: Option<&Belief>) -> Option<Moment> {
        match belief.and_then(Belief::watch) {
            Some(watch) => self.list_of(watch).map(|list| list.begun),
            None => self.list_of_all().map(|list| list.begun),
        }
    }

    /// What to do about one id, from the store as it is now.
    pub(super) fn decision(&self, uid: &Uid, now: Moment) -> Action {
        self.decision_with(uid, self.ledger.belief(uid), self.ledger.work(uid), now)
    }

    /// The same, with what the ledger has of the id.
    fn decision_with(&self, uid: &Uid, belief: Option<&Belief>, work: Option<&Work>, now: Moment) -> Action {
        let shown = self.view.shown_by(belief.and_then(Belief::watch), uid);
        let list_begun = if shown.is_none() { self.list_begun(belief) } else { None };
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
        let unbelieved = self.awaiting_list.iter().filter(|(uid, ())| self.ledger.belief(uid).is_none());
        let unbelieved: Vec<Uid> = unbelieved.map(|(uid, ())| uid.clone()).collect();
        let mut found = Found::default();
        self.ledger.begin_backlog(now);
        // From the highest position down, so that none is passed over when others are forgotten.
        for position in (0..self.ledger.believed()).rev() {
            if let Some((uid, action)) = self.consider_at(position, now) {
                self.note(&mut found, uid, action);
            }
        }
        for uid in unbelieved {
            let action = self.consider(&uid, Lane::Backfill, now);
            self.note(&mut found, uid, action);
        }
        self.ledger.begin_walks();
        let Found { absent, list_wanted, unseen, unplaced } = found;
        self.list_wanted = list_wanted;
        self.place(unplaced);
        if let Some(list) = self.list_of_some().filter(|_| self.ledger.is_seeded()) {
            let empty = absent.iter().any(|uid| self.is_missing_from_an_empty_list(uid));
            let owned = self.ledger.owned();
            // Records that none of our watches ever showed are compared with those that were there before ours.
            let nearly_all_of = (is_nearly_all(absent.len(), owned).then_some(owned))
                .or_else(|| is_nearly_all(unseen, self.inherited).then_some(self.inherited));
            self.brake.derive(absent, owned, CompleteList { empty, nearly_all_of, ..list }, now);
        }
    }

    /// Takes note of what a look at an id found.
    fn note(&self, found: &mut Found, uid: Uid, action: Action) {
        let watch = self.ledger.belief(&uid).and_then(Belief::watch);
        match (action, watch) {
            (Action::AwaitApproval, watch) => {
                found.unseen += usize::from(watch.is_none());
                found.absent.insert(uid);
            }
            // A list that fails is taken again anyway.
            (Action::AwaitList, Some(watch)) => found.list_wanted |= !self.has_failed(watch),
            (Action::AwaitList, None) if self.lists_failed.contains(&true) => {
                // The others have their turn once these are placed.
                let room = PLACED_AT_ONCE.saturating_sub(found.unplaced.len());
                found.unplaced.extend(Some(uid).filter(|_| room > 0));
            }
            (Action::AwaitList, None) => found.list_wanted = true,
            _ => {}
        }
    }

    /// Looks up in the registry in which namespaces these are: only the watch of that namespace has to show that they are
    /// absent.
    fn place(&mut self, uids: Vec<Uid>) {
        let healthy = self.session.epoch().is_some() && self.availability.lets_through(self.clock.now());
        if !uids.is_empty() && healthy && !self.control.placing {
            self.control.placing = true;
            self.ask_names(About::Places, uids);
        }
    }

    /// The registry told the namespaces of these.
    pub(super) fn placed(&mut self, named: Vec<PodRef>) {
        self.control.placing = false;
        // Of a namespace that is not watched, any list tells that they are not selected.
        let any = (0..self.lists.len()).find(|watch| self.list_of(*watch).is_some());
        for PodRef { uid, namespace, .. } in named {
            let watch = self.options.namespaces.iter().position(|watched| *watched == namespace).or(any);
            if let Some(watch) = watch {
                self.ledger.place(&uid, watch);
                self.recheck = true;
            }
        }
    }

    /// Decides about the id at a position of the ledger; none where nothing is to be done.
    fn consider_at(&mut self, position: usize, now: Moment) -> Option<(Uid, Action)> {
        let (uid, belief) = self.ledger.belief_at(position)?;
        let work = self.ledger.work(uid);
        let action = self.decision_with(uid, Some(belief), work, now);
        match action {
            Action::Put(_) if work.is_none() => {
                self.awaiting_list.remove(uid);
                self.ledger.put_off(position, now);
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

    /// Asks every watch for a new list while an absence waits for one. A list that does not come is asked for again, less
    /// and less often.
    pub(super) fn want_list(&mut self, now: Moment) {
        if !self.list_wanted || !self.lists_settled() {
            return;
        }
        let listed = self.lists.iter().zip(&self.lists_failed).filter(|(_, failed)| !**failed);
        let oldest = listed.filter_map(|(list, _)| list.map(|list| list.begun)).min();
        let ListAsked { at, repeats } = self.list_asked;
        let is_to_come = at.is_some_and(|asked| oldest.is_none_or(|begun| begun <= asked));
        let patience = (RELIST_AGAIN.0 * 2_u32.saturating_pow(repeats.min(10))).min(RELIST_AGAIN.1);
        if is_to_come && at.is_some_and(|asked| now < asked + patience) {
            return;
        }
        self.list_asked = ListAsked { at: Some(now), repeats: if is_to_come { repeats + 1 } else { 0 } };
        self.relist.send_modify(|asked| *asked += 1);
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
        // What is confirmed while another writer has the session waits for a new look.
        if self.session.epoch().is_none() {
            return;
        }
        for (uid, removal) in in_order(self.brake.release(now)) {
            // The approval is for an absence: of a pod that is back, nothing is deleted.
            if self.decision(&uid, now) == Action::AwaitApproval {
                self.ledger.approve(&uid, removal, now);
                self.consider(&uid, Lane::Delete, now);
            }
        }
    }

    pub(super) fn ask_brake(&mut self, now: Moment) {
        // The names of a sample come from the registry, and so would the deletions go there: neither in a pause.
        if !self.availability.lets_through(now) {
            return;
        }
        let random = self.rng.u64(..);
        match self.brake.ask(now, random) {
            None => {}
            Some(Question::Whole { round }) if self.options.namespaces.is_empty() => {
                self.ask_cluster(Inquiry::Whole { round }, now);
            }
            // The right to list some namespaces is none to list the whole cluster: each pod is looked up.
            Some(Question::Whole { round }) => {
                let mut uids = in_order(self.brake.sorting().cloned());
                let unasked = uids.split_off(uids.len().min(SORTED_AT_ONCE));
                self.ask_names(About::Sorting { round, unasked }, uids);
            }
            Some(Question::List { round }) => {
                tracing::warn!(
                    held = self.brake.held(),
                    "absent pods are not deregistered before a second list agrees"
                );
                let except = self.failed_namespaces();
                self.ask_cluster(Inquiry::List { round, except }, now);
            }
            Some(Question::Confirm { round, sample }) if sample.is_empty() => {
                self.ask_cluster(Inquiry::LookUp { round, pods: Vec::new() }, now);
            }
            Some(Question::Confirm { round, sample }) => {
                let is_uncertain = sample.iter().all(|uid| self.ledger.known(uid) == Known::Doubt);
                self.ask_names(About::Sample { round, is_uncertain }, sample);
            }
        }
    }

    pub(super) fn ask_cluster(&mut self, inquiry: Inquiry, now: Moment) {
        let round = inquiry.round();
        if self.questions.try_send(inquiry).is_err() {
            self.brake_answered(round, Answer::Unanswered("the last question is still open".into()), now);
        }
    }

    pub(super) fn list_taken(&mut self, round: u64, there: &HashSet<Uid>, now: Moment) {
        let random = self.rng.u64(..);
        match self.brake.listed(round, there, now, random) {
            Listed::Ignored => {}
            Listed::Agreed => self.recheck = true,
            Listed::Contradicted => {
                tracing::error!(
                    held = self.brake.held(),
                    "deletions held: a second list shows pods that the watch lacks; the watch is taken anew"
                );
                self.list_wanted = true;
                self.want_list(now);
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
            // These say so themselves.
            Some(HeldBecause::SettingsChanged | HeldBecause::NearlyAll { .. } | HeldBecause::AnotherWriter) => {}
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
    /// How many of the absent none of our watches ever showed.
    unseen: usize,
    /// What only the registry named, while a watch cannot be listed: its namespace has to be looked up.
    unplaced: Vec<Uid>,
}

/// Several lists taken together.
fn over(lists: impl Iterator<Item = WatchList>) -> Option<CompleteList> {
    lists
        .map(|WatchList { begun, trusted, .. }| CompleteList { begun, trusted, ..CompleteList::default() })
        .reduce(|a, b| CompleteList { begun: a.begun.min(b.begun), trusted: a.trusted && b.trusted, ..a })
}

/// Sets have another order in every run. What is sent, and in which order, is to depend on what happened alone: a history
/// can then be played again.
fn in_order<T: Ord>(set: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut sorted: Vec<T> = set.into_iter().collect();
    sorted.sort_unstable();
    sorted
}
