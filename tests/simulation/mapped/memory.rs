//! The memory of a target without a list. It outlives processes, and one of them uses it at a time.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use pod_registrar::{
    mapping::kind::Kind,
    model::{digest::Fingerprint, uid::Uid},
    registry::mapped::memory::{Error, Recalled, RoundNote, RowChange, RowStore, StoredRow},
};

use crate::world::Shared;

#[derive(Default)]
pub(crate) struct SimulatedMemory {
    /// The process that uses it.
    user: Option<usize>,
    rows: BTreeMap<Uid, StoredRow>,
    last_term: Option<u64>,
}

impl SimulatedMemory {
    /// Remembers a record of an earlier run.
    pub(crate) fn hold(&mut self, kind: &Kind, id: &str, parent: Option<Uid>, held: Fingerprint) {
        let key = kind.key(id);
        let id = (*key.text() != *id).then(|| id.to_owned());
        let kind = kind.name().map(str::to_owned);
        self.rows.insert(key, StoredRow { kind, parent, id, held: Some(held), ..StoredRow::default() });
        self.last_term = Some(0);
    }
}

/// The memory for one process.
pub(crate) struct ProcessMemory {
    pub(crate) shared: Shared,
    pub(crate) process: usize,
}

impl RowStore for ProcessMemory {
    fn open(&self, term: u64) -> BoxFuture<'_, Result<Recalled, Error>> {
        let mut world = self.shared.world();
        let is_alive = |user: usize| world.processes[user].alive;
        let is_used = world.rest.memory.user.is_some_and(|user| user != self.process && is_alive(user));
        let result = if is_used {
            Err(Error::InUse { path: "memory".into() })
        } else {
            let memory = &mut world.rest.memory;
            memory.user = Some(self.process);
            let last_term = memory.last_term.replace(term);
            let rows = memory.rows.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
            Ok(Recalled { rows, last_term, last_round: None, was_empty: false })
        };
        world.trace(|| format!("{} opens the memory for term {term}: {}", self.process, result.is_ok()));
        drop(world);
        Box::pin(std::future::ready(result))
    }

    fn write(&self, rows: Vec<RowChange>, _: Option<RoundNote>) -> BoxFuture<'static, Result<(), Error>> {
        let mut world = self.shared.world();
        let is_open = world.rest.memory.user == Some(self.process) && world.processes[self.process].alive;
        if is_open {
            for (key, row) in rows {
                match row {
                    Some(row) => _ = world.rest.memory.rows.insert(key, row),
                    None => _ = world.rest.memory.rows.remove(&key),
                }
            }
        }
        Box::pin(std::future::ready(if is_open { Ok(()) } else { Err(Error::Closed) }))
    }

    fn close(&self) {
        let mut world = self.shared.world();
        if world.rest.memory.user == Some(self.process) {
            world.rest.memory.user = None;
        }
    }
}
