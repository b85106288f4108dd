//! Records that others made, and that become ours because an operator says so.

use serde_json::Value as Json;

use super::{
    TargetClient,
    find::{LookupRefusal, fetch},
    reader::{TargetReader, reason},
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
    /// The target has neither `adopt` nor `find`, or nothing reads the marks of records.
    Unknown,
    Nothing,
    /// The pod has its record.
    Ours(Box<RegistryItem>),
    Foreign(Box<ForeignRecord>),
}

impl TargetReader {
    /// Looks for the record that may be taken over for a pod.
    ///
    /// # Errors
    /// The registry does not answer, or its answer cannot be read.
    pub async fn occupant(&self, record: &RenderedRecord) -> Result<Occupant, Failure> {
        let Some(kind) = self.target().kinds.get(record.kind) else { return Ok(Occupant::Unknown) };
        let (find, scope) = match (&kind.adopt, &kind.find) {
            (Some(adopt), _) => (adopt, kind.adopt_scope(record)),
            (None, Some(find)) => (find, kind.find_scope(self.term(), &record.id, &Held::default())),
            (None, None) => return Ok(Occupant::Unknown),
        };
        if !kind.reads_mark() {
            return Ok(Occupant::Unknown);
        }
        let request = find.request.render(&scope, None);
        let request = request.map_err(|error| Failure::Broken(self.transport.clean(&error.to_string())))?;
        let fetched = fetch(find, &request, &scope, &self.transport).await;
        let Some((shown, answer)) = fetched.map_err(|refusal: LookupRefusal| reason(refusal))? else {
            return Ok(Occupant::Nothing);
        };
        let Some(item) = kind.read_item(&shown, &answer, self.term()) else { return Ok(Occupant::Unknown) };
        if item.mark == ItemMark::Ours {
            return Ok(Occupant::Ours(Box::new(item)));
        }
        let mark = kind.read_mark(&shown, &answer, self.term()).filter(|mark| !mark.is_empty());
        Ok(Occupant::Foreign(Box::new(ForeignRecord { shown, item, mark })))
    }
}

impl TargetClient {
    /// From now on, the record with this key and id counts as ours: the next put of a pod's record replaces it, and records
    /// that belong to it name it. `kind` is the position of its kind among those of the target.
    pub fn take_over(&self, kind: usize, key: &Uid, id: &str, item: &RegistryItem) {
        if let Some(kind) = self.kinds.get(kind) {
            kind.records.lock().found(key, id, item, None);
        }
    }
}
