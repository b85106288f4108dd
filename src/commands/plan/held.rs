//! What a registry holds, and how it compares with the record of a pod.

use std::collections::HashMap;

use super::{NoPlan, Sight};
use crate::{
    commands::registry_reader::RegistryReader,
    kubernetes::pods::ReadPod,
    mapping::{items::ItemMark, target::RenderedRecord},
    model::{digest::Fingerprint, uid::Uid},
    reconcile::{ledger::entry::Known, outcome::Failure},
    registry::{
        Projection,
        client::reader::V1Reader,
        mapped::reader::{ListedItem, TargetReader},
    },
};

/// The records of one registry.
pub(in crate::commands) enum HeldRecords {
    V1 { reader: Box<V1Reader>, items: HashMap<Uid, Fingerprint> },
    Mapped { reader: Box<TargetReader>, items: HashMap<Uid, ListedItem>, missing: Vec<String> },
}

impl HeldRecords {
    pub(in crate::commands) async fn read(reader: RegistryReader) -> Result<Self, NoPlan> {
        let read = Self::listed(reader).await.map_err(|failure| NoPlan::Failed(failure.to_string()))?;
        read.ok_or(NoPlan::NotListed)
    }

    /// `None` if the registry cannot list its records.
    async fn listed(reader: RegistryReader) -> Result<Option<Self>, Failure> {
        let mut reader = match reader {
            RegistryReader::V1(reader) => {
                let items = reader.inventory().await?.into_iter().map(|item| (item.uid, item.fingerprint)).collect();
                return Ok(Some(Self::V1 { reader, items }));
            }
            RegistryReader::Mapped(reader) => reader,
        };
        let missing = reader.prepare().await?;
        let Some(list) = reader.list().await? else { return Ok(None) };
        let target = reader.target();
        let shown = list.items.into_iter().filter(|listed| !listed.item.gone);
        let keyed = shown.filter_map(|listed| Some((target.key(listed.item.id.as_deref()?), listed)));
        let items = keyed.collect();
        Ok(Some(Self::Mapped { reader, items, missing }))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::V1 { items, .. } => items.len(),
            Self::Mapped { items, .. } => items.len(),
        }
    }

    /// The records that are certainly ours, with their ids.
    pub(in crate::commands) fn of_ours(&self) -> Vec<(&Uid, String)> {
        match self {
            Self::V1 { items, .. } => items.keys().map(|key| (key, key.to_string())).collect(),
            Self::Mapped { reader, items, .. } => {
                let is_ours = |listed: &ListedItem| match listed.item.mark {
                    ItemMark::Ours => true,
                    ItemMark::Foreign => false,
                    ItemMark::NotRead => reader.target().exclusive,
                };
                let ours = items.iter().filter(|(_, listed)| is_ours(listed));
                ours.map(|(key, listed)| (key, listed.item.id.clone().unwrap_or_default())).collect()
            }
        }
    }

    /// What the target makes of a pod.
    pub(super) fn see(&self, read: &ReadPod) -> Sight {
        let Some(content) = &read.pod.content else {
            return Sight::Unreadable(read.undecodable.clone().unwrap_or_default());
        };
        match self {
            Self::V1 { reader, items } => match reader.project(&read.pod) {
                Projection::Record { key, fingerprint } => {
                    let known = items.get(&key).map_or(Known::Absent, |held| Known::Registered(*held));
                    Sight::Record { key, id: None, fingerprint, known }
                }
                Projection::NotSelected(_) => Sight::NotSelected,
                Projection::Unreadable => Sight::Unreadable(String::new()),
                Projection::Failed { cause } => Sight::Unreadable(cause),
            },
            Self::Mapped { reader, items, missing } => match reader.target().render(&content.record, reader.term()) {
                Ok(Some(record)) => {
                    let known = known(items.get(&record.key), &record);
                    let RenderedRecord { key, id, fingerprint, .. } = record;
                    Sight::Record { key, id: Some(id), fingerprint, known }
                }
                Ok(None) => Sight::NotSelected,
                Err(error) if missing.is_empty() => Sight::Unreadable(error.to_string()),
                Err(_) => Sight::Unreadable(format!("`prepare` has to create first: {}", missing.join(", "))),
            },
        }
    }
}

/// What the registry is known to hold instead of a record.
pub(in crate::commands) fn known(listed: Option<&ListedItem>, record: &RenderedRecord) -> Known {
    match listed.map(|listed| listed.equals(record)) {
        None => Known::Absent,
        // What the record holds cannot be seen. It counts as equal.
        Some(None | Some(true)) => Known::Registered(record.fingerprint),
        Some(Some(false)) => Known::Uncertain,
    }
}
