//! What a registry holds, and how it compares with the record of a pod.

use std::{collections::HashMap, time::Duration};

use super::{NoPlan, Sight};
use crate::{
    commands::registry_reader::RegistryReader,
    kubernetes::pods::ReadPod,
    mapping::{
        items::ItemMark,
        kind::Kind,
        target::{
            RenderedRecord, Target,
            records::{PodRecord, RecordRendering},
        },
        template::RenderError,
        writes::Held,
    },
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
                let items = reader
                    .inventory()
                    .await?
                    .into_iter()
                    .map(|item| (item.uid, item.fingerprint.unwrap_or_default()))
                    .collect();
                return Ok(Some(Self::V1 { reader, items }));
            }
            RegistryReader::Mapped(reader) => reader,
        };
        let missing = reader.prepare().await?;
        let mut items = HashMap::new();
        for kind in &reader.target().kinds {
            let Some(list) = reader.list(kind).await? else { return Ok(None) };
            let shown = list.items.into_iter().filter(|listed| !listed.item.gone);
            items.extend(shown.filter_map(|listed| Some((kind.key(listed.item.id.as_deref()?), listed))));
        }
        Ok(Some(Self::Mapped { reader, items, missing }))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::V1 { items, .. } => items.len(),
            Self::Mapped { items, .. } => items.len(),
        }
    }

    /// Whether it shows which of the listed records are ours.
    pub(in crate::commands) fn shows_owners(&self) -> bool {
        match self {
            Self::V1 { .. } => true,
            Self::Mapped { reader, .. } => {
                let target = reader.target();
                target.is_exclusive() || target.kinds.iter().all(Kind::reads_mark)
            }
        }
    }

    /// The ids of all records that are certainly ours, and how people know them: those of several kinds have theirs
    /// before.
    pub(in crate::commands) fn named(&self) -> Vec<(Uid, String)> {
        let kind_of = |key: &Uid| match self {
            Self::V1 { .. } => None,
            Self::Mapped { reader, items, .. } => {
                let id = items.get(key)?.item.id.as_deref()?;
                reader.target().kinds.iter().find(|kind| kind.key(id) == *key)?.name()
            }
        };
        let named = |(key, id): (&Uid, String)| {
            let name = kind_of(key).map_or_else(|| id.clone(), |kind| format!("{kind} {id}"));
            (key.clone(), name)
        };
        self.of_ours().into_iter().map(named).collect()
    }

    /// For how long after a write the list may not show it.
    pub(in crate::commands) fn lag(&self) -> Duration {
        match self {
            Self::V1 { .. } => Duration::ZERO,
            Self::Mapped { reader, .. } => {
                let lags = reader.target().kinds.iter().filter_map(|kind| Some(kind.list()?.lag));
                lags.max().unwrap_or_default()
            }
        }
    }

    /// The records that are certainly ours, with their ids.
    pub(super) fn of_ours(&self) -> Vec<(&Uid, String)> {
        match self {
            Self::V1 { items, .. } => items.keys().map(|key| (key, key.to_string())).collect(),
            Self::Mapped { reader, items, .. } => {
                let is_ours = |listed: &ListedItem| match listed.item.mark {
                    ItemMark::Ours => true,
                    ItemMark::Foreign => false,
                    ItemMark::NotRead => reader.target().is_exclusive(),
                };
                let ours = items.iter().filter(|(_, listed)| is_ours(listed));
                ours.map(|(key, listed)| (key, listed.item.id.clone().unwrap_or_default())).collect()
            }
        }
    }

    /// What the target makes of a pod: one sight per record, or one that says why there is none.
    pub(super) fn see(&self, read: &ReadPod) -> Vec<Sight> {
        let Some(content) = &read.pod.content else {
            return vec![Sight::Unreadable(read.undecodable.clone().unwrap_or_default())];
        };
        match self {
            Self::V1 { reader, items } => vec![match reader.project(&read.pod) {
                Projection::Record { key, fingerprint } => {
                    let known = items.get(&key).map_or(Known::Absent, |held| Known::Registered(*held));
                    Sight::Record { key, id: None, fingerprint, known, refusal: None }
                }
                Projection::NotSelected(_) => Sight::NotSelected,
                Projection::Unreadable | Projection::Records(_) => Sight::Unreadable(String::new()),
                Projection::Failed { cause } => Sight::Unreadable(cause),
            }],
            Self::Mapped { reader, items, missing } => {
                let assigned = |_: usize, key: &Uid| items.get(key).and_then(|listed| listed.item.remote.clone());
                let why = |error: &RenderError| match missing.as_slice() {
                    [] => error.to_string(),
                    missing => format!("`prepare` has to create first: {}", missing.join(", ")),
                };
                match reader.target().records(&content.record, reader.term(), &assigned) {
                    Ok(Some(records)) => {
                        let sight = |record: PodRecord| sight(reader.target(), record, items, &why);
                        records.into_iter().map(sight).collect()
                    }
                    Ok(None) => vec![Sight::NotSelected],
                    Err(error) => vec![Sight::Unreadable(why(&error))],
                }
            }
        }
    }
}

fn sight(
    target: &Target,
    record: PodRecord,
    items: &HashMap<Uid, ListedItem>,
    why: &dyn Fn(&RenderError) -> String,
) -> Sight {
    match record.state {
        RecordRendering::Rendered(rendered) => {
            let listed = items.get(&rendered.key);
            let refusal = target.kinds.get(rendered.kind).and_then(|kind| refusal(kind, &rendered, listed));
            let known = known(listed, &rendered);
            let RenderedRecord { key, id, fingerprint, .. } = rendered;
            Sight::Record { key, id: Some(id), fingerprint, known, refusal }
        }
        RecordRendering::Waits => Sight::Waits { key: record.key, id: record.id },
        RecordRendering::Failed(error) => Sight::Failed { key: record.key, why: why(&error) },
    }
}

/// Why the controller cannot send a record, if it has to.
pub(in crate::commands) fn refusal(
    kind: &Kind,
    record: &RenderedRecord,
    listed: Option<&ListedItem>,
) -> Option<String> {
    let held = listed.map(|listed| Held { remote: listed.item.remote.clone(), seen: listed.item.seen.clone() });
    kind.try_write(record, held.as_ref()).err().map(|error| error.to_string())
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
