//! Records that others made, and that become ours because an operator says so.

use serde_json::Value as Json;

use super::{
    TargetClient,
    find::{LookupRefusal, fetch},
    reader::{LookedUp, TargetReader, reason},
};
use crate::{
    mapping::{
        items::{ItemMark, RegistryItem},
        target::RenderedRecord,
        writes::Held,
    },
    model::uid::Uid,
    reconcile::outcome::Failure,
};

/// Why no record of a kind can be taken over.
pub const NOT_LOOKED_UP: &str = "has neither `adopt` nor `find` with `item.mark`, so records that others made cannot be \
    recognised; add them to the file";
const OTHER_ID: &str = "`find` returned the record of another id; check its query";

/// A record of others.
#[derive(Clone, Debug)]
pub struct ForeignRecord {
    /// As the registry shows it.
    pub shown: Json,
    pub item: RegistryItem,
    /// The owner mark in it, if there is one.
    pub mark: Option<String>,
}

/// What the registry holds in the place of a pod's record.
#[derive(Clone, Debug)]
pub enum Occupant {
    /// Also a record that counts as deleted, and one of ours that is not the pod's.
    Nothing,
    /// The pod has its record.
    Ours(Box<RegistryItem>),
    Foreign(Box<ForeignRecord>),
    /// What was found cannot be the pod's record, for this reason.
    Unusable(String),
}

impl ForeignRecord {
    /// Whether this is the same record, and still that of the same owner.
    pub fn is_still(&self, before: &Self) -> bool {
        let identity = |record: &Self| (record.item.remote.clone(), record.item.id.clone(), record.mark.clone());
        identity(self) == identity(before)
    }
}

impl TargetReader {
    /// Looks for the record that may be taken over for a pod. Its kind is one that can be adopted.
    ///
    /// # Errors
    /// The registry does not answer, or its answer cannot be read.
    pub async fn occupant(&self, record: &RenderedRecord) -> Result<Occupant, Failure> {
        let unusable = |why: &str| Ok(Occupant::Unusable(why.to_owned()));
        let Some(kind) = self.target().kinds.get(record.kind) else { return unusable(NOT_LOOKED_UP) };
        let (find, scope) = match (&kind.adopt, &kind.find) {
            (Some(adopt), _) => (adopt, kind.adopt_scope(record)),
            (None, Some(find)) => (find, kind.find_scope(self.term(), &record.id, &Held::default())),
            (None, None) => return unusable(NOT_LOOKED_UP),
        };
        let request = find.request.render(&scope, None);
        let request = request.map_err(|error| Failure::Broken(self.transport.clean(&error.to_string())))?;
        let fetched = fetch(find, &request, &scope, &self.transport).await;
        let Some((shown, answer)) = fetched.map_err(|refusal: LookupRefusal| reason(refusal))? else {
            return Ok(Occupant::Nothing);
        };
        let Some(item) = kind.read_item(&shown, &answer, self.term()) else { return unusable(NOT_LOOKED_UP) };
        if item.gone {
            return Ok(Occupant::Nothing);
        }
        if let Some(cause) = &item.rounded {
            // It would name another record.
            return Ok(Occupant::Unusable(cause.clone()));
        }
        let has_its_id = item.id.as_ref() == Some(&record.id);
        if kind.adopt.is_none() && item.id.is_some() && !has_its_id {
            return unusable(OTHER_ID);
        }
        match item.mark {
            ItemMark::Ours if has_its_id => return Ok(Occupant::Ours(Box::new(item))),
            // Of another pod, perhaps one of the same name that is gone.
            ItemMark::Ours => return Ok(Occupant::Nothing),
            ItemMark::NotRead => return unusable(NOT_LOOKED_UP),
            ItemMark::Foreign => {}
        }
        let mark = kind.read_mark(&shown, &answer, self.term()).filter(|mark| !mark.is_empty());
        Ok(Occupant::Foreign(Box::new(ForeignRecord { shown, item, mark })))
    }
}

impl TargetReader {
    /// Whether the record of a pod is ours. If the registry does not show it as ours, it may be so in a moment.
    ///
    /// # Errors
    /// The registry does not answer, or its answer cannot be read.
    pub async fn is_ours(&self, record: &RenderedRecord, remote: Option<&Json>) -> Result<bool, Failure> {
        let Some(kind) = self.target().kinds.get(record.kind) else { return Ok(false) };
        // By its id, because `adopt` may find only records of others.
        let held = Held { remote: remote.cloned(), seen: None };
        match self.find(kind, &record.id, &held).await? {
            LookedUp::Ours(listed) => Ok(!listed.item.gone),
            LookedUp::Unknown => Ok(matches!(self.occupant(record).await?, Occupant::Ours(_))),
            LookedUp::Nothing | LookedUp::Foreign(_) => Ok(false),
        }
    }
}

impl TargetClient {
    /// From now on, the record with this key and id counts as ours: the next put of a pod's record replaces it, and
    /// records that belong to it name it. `kind` is the position of its kind among those of the target.
    pub fn take_over(&self, kind: usize, key: &Uid, id: &str, item: &RegistryItem) {
        if let Some(kind) = self.kinds.get(kind) {
            kind.records.lock().found(key, id, item, None);
        }
    }
}
