//! Which records of ours there are, as the registry or the memory of the target shows them.

use std::time::Duration;

use crate::{
    commands::{
        Error,
        plan::{NoPlan, held::HeldRecords},
        registry_reader::Registries,
        target_settings::TargetSettings,
    },
    model::{ids::RecordOwner, uid::Uid},
    registry::mapped::memory::{self, file::MemoryFile},
};

const NOT_LISTED: &str = "has neither `list` nor `memory`, so nothing shows which records are ours; delete them in the \
    registry itself";
const NO_OWNERS: &str = "has a `list` without `item.mark`, so nothing shows which records are ours; delete them in the \
    registry itself, or add `exclusive: true` if all of them are";

/// A record that is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordToPurge {
    pub(super) key: Uid,
    /// Its id, behind its kind if the target has several.
    pub(super) name: String,
}

#[derive(Debug)]
pub(super) struct RecordsToPurge {
    /// In the order of their names.
    pub(super) records: Vec<RecordToPurge>,
    /// For how long after a write the list may not show it.
    pub(super) lag: Duration,
}

pub(super) async fn read(
    registries: &Registries,
    target: &TargetSettings,
    owner: &RecordOwner,
) -> Result<RecordsToPurge, Error> {
    let (mut records, lag) = match target.memory_file(owner)? {
        Some(memory) => (of_memory(&memory).await?, Duration::ZERO),
        None => {
            let held = list(registries, target.name, owner).await?;
            let shown = held.named().into_iter().map(|(key, name)| RecordToPurge { key, name });
            (shown.collect(), held.lag())
        }
    };
    records.sort_unstable_by(|a, b| (&a.name, &a.key).cmp(&(&b.name, &b.key)));
    Ok(RecordsToPurge { records, lag })
}

async fn list(registries: &Registries, name: &'static str, owner: &RecordOwner) -> Result<HeldRecords, Error> {
    let unfit = |why| Error::Unfit { name: name.to_owned(), why };
    let reader = registries.each_reader(owner).into_iter().find(|(known, _)| known == name);
    let (_, reader) = reader.ok_or_else(|| unfit(NOT_LISTED))?;
    let held = HeldRecords::read(reader?).await.map_err(|why| match why {
        NoPlan::NotListed => unfit(NOT_LISTED),
        NoPlan::Failed(why) => Error::Request { what: "cannot read the registry", why },
    })?;
    if held.shows_owners() { Ok(held) } else { Err(unfit(NO_OWNERS)) }
}

async fn of_memory(memory: &MemoryFile) -> Result<Vec<RecordToPurge>, Error> {
    let failed = |error: memory::Error| Error::Request { what: "cannot read the memory", why: error.to_string() };
    let rows = memory.read().await.map_err(failed)?;
    let shown = rows.into_iter().map(|(key, row)| {
        let id = row.id.unwrap_or_else(|| key.to_string());
        RecordToPurge { name: row.kind.map_or_else(|| id.clone(), |kind| format!("{kind} {id}")), key }
    });
    Ok(shown.collect())
}
