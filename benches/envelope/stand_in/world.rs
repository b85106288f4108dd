//! The content of the stand-in: the state of each pod, and the newest changes.

use std::collections::{HashMap, VecDeque};

use super::pods::{Layout, State, mix};

/// The resource version before the first pod.
const FIRST_VERSION: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    Added,
    Modified,
    Deleted,
}

impl Happened {
    /// The name of the watch event.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) slot: u32,
    pub(crate) happened: Happened,
    pub(crate) before: State,
    pub(crate) after: State,
}

/// Pods by slot, and the newest changes.
#[derive(Debug)]
pub(crate) struct World {
    states: Vec<State>,
    alive: u64,
    version: u64,
    history: VecDeque<Change>,
    most_history: usize,
    random: u64,
}

impl World {
    /// A running pod in each slot of a layout.
    pub(crate) fn new(layout: &Layout, seed: u64, most_history: usize) -> Self {
        let state = |slot: u32| State {
            life: 0,
            revision: 1,
            resource_version: FIRST_VERSION + 1 + u64::from(slot),
            alive: true,
        };
        let states: Vec<State> = (0..layout.slots()).map(state).collect();
        let alive = states.len() as u64;
        Self { states, alive, version: FIRST_VERSION + alive, history: VecDeque::new(), most_history, random: seed }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn alive(&self) -> u64 {
        self.alive
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = (u32, State)> + '_ {
        (0_u32..).zip(&self.states).filter(|(_, state)| state.alive).map(|(slot, state)| (slot, *state))
    }

    /// Up to `most` pods from a slot on, as they were at a version, and the slot after the last one. None if the
    /// version is older than the history.
    pub(crate) fn page(&self, at: u64, from: u32, most: usize) -> Option<(Vec<(u32, State)>, u32)> {
        let newer = usize::try_from(self.version.checked_sub(at)?).ok()?;
        let first = self.history.len().checked_sub(newer)?;
        // The oldest change after that version has the state at that version.
        let mut then: HashMap<u32, State> = HashMap::new();
        for change in self.history.range(first..).rev() {
            then.insert(change.slot, change.before);
        }
        let mut found = Vec::new();
        let mut slot = from;
        while let Some(now) = self.states.get(slot as usize).filter(|_| found.len() < most) {
            let state = then.get(&slot).unwrap_or(now);
            if state.alive {
                found.push((slot, *state));
            }
            slot += 1;
        }
        Some((found, slot))
    }

    /// Up to `most` changes after a version. None if the version is older than the history.
    pub(crate) fn since(&self, version: u64, most: usize) -> Option<Vec<Change>> {
        let newer = usize::try_from(self.version.saturating_sub(version)).ok()?;
        let first = self.history.len().checked_sub(newer)?;
        Some(self.history.range(first..).take(most).copied().collect())
    }

    fn change(&mut self, slot: u32, happened: Happened, of: impl FnOnce(State) -> State) -> Change {
        self.version += 1;
        let before = self.states[slot as usize];
        let after = State { resource_version: self.version, ..of(before) };
        self.states[slot as usize] = after;
        let change = Change { slot, happened, before, after };
        self.history.push_back(change);
        if self.history.len() > self.most_history {
            self.history.pop_front();
        }
        change
    }

    /// Deletes a random running pod. None if it finds none.
    pub(crate) fn delete_one(&mut self) -> Option<Change> {
        let slots = self.states.len() as u64;
        for _ in 0..64 {
            self.random = mix(self.random);
            let slot = u32::try_from(self.random.checked_rem(slots)?).ok()?;
            let state = self.states[slot as usize];
            if state.alive && state.revision > 0 {
                self.alive -= 1;
                return Some(self.change(slot, Happened::Deleted, |state| State { alive: false, ..state }));
            }
        }
        None
    }

    /// Creates a pending pod in the slot of a deleted one.
    pub(crate) fn create(&mut self, slot: u32) -> Change {
        self.alive += 1;
        self.change(slot, Happened::Added, |state| State {
            life: state.life + 1,
            revision: 0,
            alive: true,
            ..State::default()
        })
    }

    /// Starts a pending pod, or restarts a container of a running one. None if it was deleted.
    pub(crate) fn advance(&mut self, slot: u32) -> Option<Change> {
        let alive = self.states.get(slot as usize)?.alive;
        alive.then(|| self.change(slot, Happened::Modified, |state| State { revision: state.revision + 1, ..state }))
    }
}
