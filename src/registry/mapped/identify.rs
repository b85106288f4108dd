//! Which record is which in a list, and whether the list contradicts itself. The client and the commands ask the same.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value as Json;

use super::doubles::{DoublePlace, Doubles};
use crate::{
    mapping::{items::RegistryItem, kind::Kind, values::shorten},
    model::uid::Uid,
};

/// The records of a list so far.
#[derive(Debug, Default)]
pub(super) struct ListedIds {
    /// The keys of our records that count.
    pub(super) keys: HashSet<Uid>,
    /// The id and the `remote` of the last record.
    last: Option<(String, Option<Json>)>,
    doubles: Doubles,
}

impl ListedIds {
    /// Takes the next record. `is_first` says whether it begins a page, and `is_ours` whether it may be ours. `known`
    /// is the `remote` under which the client knows a record. Returns the key and the id of a record of ours that
    /// counts.
    ///
    /// # Errors
    /// The list contradicts itself, so that nothing may be concluded from it.
    pub(super) fn take(
        &mut self,
        kind: &Kind,
        item: &RegistryItem,
        is_first: bool,
        is_ours: bool,
        known: impl FnOnce(&Uid) -> Option<Json>,
    ) -> Result<Option<(Uid, String)>, String> {
        let Some(id) = item.id.clone().filter(|id| !id.is_empty()) else {
            let cause = || item.rounded.clone().unwrap_or_else(|| "check `item.id`".to_owned());
            return if is_ours { Err(format!("a record of ours has no id; {}", cause())) } else { Ok(None) };
        };
        // Some registries begin a page with the last record of the page before.
        let this = Some((id.clone(), item.remote.clone()));
        let is_repeated = is_first && self.last == this;
        self.last = this;
        if !is_ours || is_repeated {
            return Ok(None);
        }
        if let Some(cause) = &item.rounded {
            return Err(format!("of the record {:?}, {cause}", shorten(&id, 100)));
        }
        let key = kind.key(&id);
        let known = known(&key);
        match self.doubles.place(&key, &id, item, known.as_ref(), self.keys.contains(&key)) {
            DoublePlace::Counts => self.keys.insert(key.clone()),
            DoublePlace::Aside => return Ok(None),
            DoublePlace::Repeated => {
                let id = shorten(&id, 100);
                return Err(format!(
                    "the id {id:?} is listed twice; check `item.id`, and `next` for pages that overlap"
                ));
            }
        };
        Ok(Some((key, id)))
    }

    /// The list is complete. Returns the records that count because it showed no better ones with their ids.
    pub(super) fn take_waiting(&mut self) -> BTreeMap<Uid, (String, RegistryItem)> {
        self.doubles.take_waiting()
    }

    /// The `remote`s of surplus records by the key of the record that counts.
    pub(super) fn take_surplus(&mut self) -> BTreeMap<Uid, Json> {
        std::mem::take(&mut self.doubles).into_surplus()
    }
}
