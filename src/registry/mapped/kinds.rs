//! What concerns several kinds of records: which kind an operation is for, and one inventory of all of them.

use super::{KindClient, MappedOperation, TargetClient, batch, records::Records};
use crate::{
    mapping::target::{
        RenderedRecord,
        records::{PodRecord, RecordRendering},
    },
    model::uid::Uid,
    reconcile::outcome::{Failure, Verdict},
    registry::{DesiredRecord, DesiredState, Encoded, Kinship, ParentRecord, inventory::InventoryPage},
};

/// The place of a page in the inventory of all kinds.
#[derive(Debug, Default, PartialEq)]
struct PagePlace {
    kind: usize,
    /// Records of the kinds before it.
    before: u64,
    /// The token of the page among those of the kind. None for the first one.
    token: Option<String>,
}

impl PagePlace {
    fn parse(token: &str) -> Option<Self> {
        let mut parts = token.splitn(3, ':');
        let (kind, before) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { kind, before, token: parts.next().filter(|token| !token.is_empty()).map(str::to_owned) })
    }

    fn text(&self) -> String {
        format!("{}:{}:{}", self.kind, self.before, self.token.as_deref().unwrap_or_default())
    }
}

impl Kinship for TargetClient {
    fn depth(&self, key: &Uid) -> usize {
        self.kinds.get(self.kind_of(key)).map_or(0, |kind| self.target.depth(kind.kind))
    }

    fn parent(&self, key: &Uid) -> Option<ParentRecord> {
        let KindClient { kind, records, .. } = self.kinds.get(self.kind_of(key))?;
        let key = records.lock().table.get(key)?.parent()?;
        Some(ParentRecord { key, cascade: kind.cascade })
    }
}

impl TargetClient {
    /// Whether records belong to others.
    pub(super) fn has_families(&self) -> bool {
        self.target.kinds.iter().any(|kind| kind.parent.is_some())
    }

    /// The kind of the record that the client knows under this key. If it knows none, a kind whose list may still show
    /// it, so that its deletion waits; otherwise there is nothing of ours to delete.
    pub(super) fn kind_of(&self, key: &Uid) -> usize {
        let place =
            |is_its: fn(&Records, &Uid) -> bool| self.kinds.iter().position(|kind| is_its(&kind.records.lock(), key));
        place(|records, key| records.table.get(key).is_some())
            .or_else(|| place(|records, key| records.shown.was_deleted_unread(key)))
            .or_else(|| place(|records, key| records.may_be_listed(key)))
            .unwrap_or_default()
    }

    /// Sends operations, those of each kind together. Returns one verdict per operation, in the same order.
    pub(super) async fn write_kinds(&self, operations: Vec<Encoded<MappedOperation>>) -> Result<Vec<Verdict>, Failure> {
        let kind_of = |operation: &Encoded<MappedOperation>| match &operation.body {
            MappedOperation::Put(record) => record.kind,
            MappedOperation::Delete { kind, .. } => *kind,
        };
        let mut verdicts: Vec<Option<Verdict>> = vec![None; operations.len()];
        let mut by_kind: Vec<(Vec<usize>, Vec<Encoded<MappedOperation>>)> = Vec::new();
        by_kind.resize_with(self.kinds.len(), Default::default);
        for (place, operation) in operations.into_iter().enumerate() {
            let (places, of_kind) = &mut by_kind[kind_of(&operation)];
            places.push(place);
            of_kind.push(operation);
        }
        let sent = self.kinds.iter().zip(by_kind).filter(|(_, (places, _))| !places.is_empty());
        for (kind, (places, operations)) in sent {
            let results = match self.write_kind(kind, &operations).await {
                Ok(results) => results,
                // The registry would answer the other kinds in the same way, and what it said before must not be lost.
                Err(failure) => {
                    let verdict = kind.unless_first(failure.into(), &verdicts)?;
                    verdicts.iter_mut().for_each(|known| _ = known.get_or_insert_with(|| verdict.clone()));
                    break;
                }
            };
            kind.note_refusals(&operations, &results);
            places.into_iter().zip(results).for_each(|(place, verdict)| verdicts[place] = Some(verdict));
        }
        let unknown = || Verdict::Uncertain { cause: "the client gave no verdict".to_owned() };
        Ok(verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(unknown)).collect())
    }

    async fn write_kind(
        &self,
        kind: &KindClient,
        operations: &[Encoded<MappedOperation>],
    ) -> Result<Vec<Verdict>, Failure> {
        let term = self.term();
        match operations {
            [operation] => Ok(vec![kind.write_one(operation, &term).await?]),
            operations => kind.write_batch(operations, &term).await,
        }
    }

    /// The limits of a batch of the event loop: records and bytes.
    pub(super) fn batch_limits(&self) -> (usize, usize) {
        let limits = self.target.kinds.iter().flat_map(|kind| &kind.batches).map(|batch| batch.limits);
        let items = limits.clone().filter_map(|limits| limits.records.or(limits.operations)).min();
        let bytes = limits.filter_map(|limits| limits.bytes).min();
        (items.unwrap_or(1), bytes.unwrap_or(batch::BYTES))
    }

    /// Reads the next page of the inventory, which is the lists of all kinds, one after the other: a page with records
    /// of ours, or the last one.
    pub(super) async fn page(&self, token: Option<String>) -> Result<InventoryPage, Failure> {
        let mut place = match token {
            None => {
                self.prepare_again().await?;
                PagePlace::default()
            }
            Some(token) => PagePlace::parse(&token).ok_or(Failure::Expired)?,
        };
        loop {
            let kind = self.kinds.get(place.kind).ok_or(Failure::Expired)?;
            let mut page = kind.page(place.token.take(), &self.term()).await?;
            page.count += place.before;
            place = match page.next.take() {
                token @ Some(_) => PagePlace { token, ..place },
                None if place.kind + 1 == self.kinds.len() => return Ok(page),
                None => PagePlace { kind: place.kind + 1, before: page.count, token: None },
            };
            if !page.items.is_empty() {
                return Ok(InventoryPage { next: Some(place.text()), ..page });
            }
        }
    }

    /// A record of a pod, as the event loop sees it.
    pub(super) fn desired(&self, record: &PodRecord) -> DesiredRecord {
        let cascade = self.target.kinds[record.kind].cascade;
        let state = match &record.state {
            RecordRendering::Rendered(rendered) => DesiredState::Made(rendered.fingerprint),
            RecordRendering::Waits => DesiredState::Waits,
            RecordRendering::Failed(error) => DesiredState::Failed { cause: error.to_string() },
        };
        let parent = record.parent.clone().map(|key| ParentRecord { key, cascade });
        DesiredRecord { key: record.key.clone(), state, parent }
    }

    /// A pod has these records.
    pub(super) fn expect(&self, records: &[RenderedRecord]) {
        for record in records {
            // Only a list shows records that no pod has.
            if let Some(kind) = self.kinds.get(record.kind).filter(|kind| kind.kind.list().is_some()) {
                kind.records.lock().expect(record);
            }
        }
    }

    /// What the registry assigned to a record that it holds.
    pub fn assigned(&self, kind: usize, key: &Uid) -> Option<serde_json::Value> {
        self.kinds.get(kind)?.records.lock().assigned(key)
    }
}

/// Those of a pod's records that could be rendered.
pub(super) fn rendered(records: Vec<PodRecord>) -> Vec<RenderedRecord> {
    let rendered = records.into_iter().filter_map(|record| match record.state {
        RecordRendering::Rendered(rendered) => Some(rendered),
        RecordRendering::Waits | RecordRendering::Failed(_) => None,
    });
    rendered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_place_is_read_as_written() {
        for token in [None, Some("7".to_owned()), Some("a:b".to_owned())] {
            let place = PagePlace { kind: 2, before: 41, token };
            assert_eq!(PagePlace::parse(&place.text()), Some(place));
        }
        assert_eq!(["", "1", "1:", "x:1:2"].map(PagePlace::parse), [None, None, None, None]);
    }
}
