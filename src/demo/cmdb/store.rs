//! The systems, in the order of their ids. Each is kept as the text that it is shown as.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
};

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{error::Error, query::ListQuery};

/// The members of a system.
pub(super) type SystemMembers = Map<String, Value>;

/// What a system takes beside its text.
const OVERHEAD: usize = 256;
/// The size of a system, as [`Error::TooLarge`] says.
pub(super) const SYSTEM_BYTES: usize = 64 << 10;
/// The size of a page of a list. A page shows at least one system.
const PAGE_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct SystemStore {
    systems: BTreeMap<String, StoredSystem>,
    bytes: usize,
    most_bytes: usize,
    /// The number of changes so far.
    revision: u64,
}

#[derive(Clone, Debug)]
pub(super) struct StoredSystem {
    /// A JSON object.
    pub(super) text: Box<str>,
    owner: Option<Box<str>>,
    pub(super) revision: u64,
    pub(super) changed: Instant,
}

/// What a write expects to find.
#[derive(Clone, Debug, Default)]
pub(super) struct WritePrecondition {
    /// The revisions of `If-Match`. An empty list stands for `*`: any revision.
    pub(super) revisions: Option<Vec<u64>>,
    /// Whether the system must not exist.
    pub(super) absent: bool,
}

impl WritePrecondition {
    fn check(&self, found: Option<&StoredSystem>) -> Result<(), Error> {
        let matches = match (&self.revisions, found) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(revisions), Some(found)) => revisions.is_empty() || revisions.contains(&found.revision),
        };
        if matches && !(self.absent && found.is_some()) { Ok(()) } else { Err(Error::Precondition) }
    }
}

/// A system after it was written.
#[derive(Clone, Debug)]
pub(super) struct WrittenSystem {
    pub(super) id: String,
    pub(super) system: StoredSystem,
    pub(super) is_new: bool,
}

/// The systems that the page shows.
#[derive(Debug)]
pub(super) struct ShownSystems {
    pub(super) systems: Vec<(String, StoredSystem)>,
    pub(super) matching: usize,
    pub(super) total: usize,
}

impl SystemStore {
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { systems: BTreeMap::new(), bytes: 0, most_bytes, revision: 0 }
    }

    pub(super) fn get(&self, id: &str) -> Result<&StoredSystem, Error> {
        self.systems.get(id).ok_or_else(|| Error::Unknown(id.to_owned()))
    }

    /// Creates a system. Without an id, it gets one.
    pub(super) fn create(
        &mut self,
        id: Option<String>,
        members: &SystemMembers,
        now: Instant,
    ) -> Result<WrittenSystem, Error> {
        let id = match id {
            Some(id) if self.systems.contains_key(&id) => return Err(Error::Exists(id)),
            Some(id) => id,
            None => self.free_id(),
        };
        self.put(id, members, &WritePrecondition::default(), now)
    }

    fn free_id(&self) -> String {
        // Clients may have chosen ids of this form.
        let mut number = self.revision + 1;
        while self.systems.contains_key(&format!("system-{number}")) {
            number += 1;
        }
        format!("system-{number}")
    }

    /// Creates or replaces a system. One that is equal already keeps its revision.
    pub(super) fn put(
        &mut self,
        id: String,
        members: &SystemMembers,
        expected: &WritePrecondition,
        now: Instant,
    ) -> Result<WrittenSystem, Error> {
        let found = self.systems.get(&id);
        expected.check(found)?;
        if let Some(found) = found
            && text(&id, members, found.revision) == *found.text
        {
            return Ok(WrittenSystem { id, system: found.clone(), is_new: false });
        }
        let revision = self.revision + 1;
        let system = StoredSystem {
            text: text(&id, members, revision).into(),
            owner: members.get("owner").and_then(Value::as_str).map(Into::into),
            revision,
            changed: now,
        };
        if system.text.len() > SYSTEM_BYTES {
            return Err(Error::TooLarge);
        }
        let freed = found.map_or(0, |found| size(&id, found));
        let bytes = self.bytes - freed + size(&id, &system);
        if bytes > self.most_bytes && bytes > self.bytes {
            return Err(Error::Full);
        }
        (self.bytes, self.revision) = (bytes, revision);
        let is_new = self.systems.insert(id.clone(), system.clone()).is_none();
        Ok(WrittenSystem { id, system, is_new })
    }

    /// Applies a JSON merge patch.
    pub(super) fn patch(
        &mut self,
        id: String,
        patch: SystemMembers,
        expected: &WritePrecondition,
        now: Instant,
    ) -> Result<WrittenSystem, Error> {
        let mut document: Value = serde_json::from_str(&self.get(&id)?.text).unwrap_or_default();
        json_patch::merge(&mut document, &Value::Object(patch));
        match document {
            Value::Object(members) => self.put(id, &members, expected, now),
            _ => Err(Error::Invalid("the patch is not an object".to_owned())),
        }
    }

    pub(super) fn remove(&mut self, id: String, expected: &WritePrecondition) -> Result<(), Error> {
        expected.check(self.systems.get(&id))?;
        match self.systems.entry(id) {
            Entry::Vacant(entry) => Err(Error::Unknown(entry.into_key())),
            Entry::Occupied(entry) => {
                let (id, system) = entry.remove_entry();
                self.bytes -= size(&id, &system);
                self.revision += 1;
                Ok(())
            }
        }
    }

    /// A page of systems, as JSON text.
    pub(super) fn list(&self, query: &ListQuery) -> String {
        let is_listed =
            |system: &StoredSystem| query.owner.is_none() || query.owner.as_deref() == system.owner.as_deref();
        let total = self.systems.values().filter(|system| is_listed(system)).count();
        // No id is empty, so the empty text comes before all of them.
        let rest = self.systems.range::<str, _>((Bound::Excluded(&*query.after), Bound::Unbounded));
        let mut rest = rest.filter(|(_, system)| is_listed(system)).peekable();
        let (mut results, mut shown, mut last) = (String::new(), 0, "");
        while shown < query.limit
            && let Some((id, system)) =
                rest.next_if(|(_, system)| shown == 0 || results.len() + system.text.len() < PAGE_BYTES)
        {
            if shown > 0 {
                results.push(',');
            }
            results.push_str(&system.text);
            (shown, last) = (shown + 1, id);
        }
        let next = match rest.peek() {
            Some(_) => Value::from(query.next(last)),
            None => Value::Null,
        };
        format!(r#"{{"total":{total},"next":{next},"results":[{results}]}}"#)
    }

    /// The systems whose text contains `filter`, from `skip` on. Upper and lower case are the same.
    pub(super) fn show(&self, filter: &str, skip: usize, limit: usize) -> ShownSystems {
        let filter = filter.to_lowercase();
        let matches = |system: &StoredSystem| filter.is_empty() || system.text.to_lowercase().contains(&filter);
        let mut shown = ShownSystems { systems: Vec::new(), matching: 0, total: self.systems.len() };
        for (id, system) in self.systems.iter().filter(|(_, system)| matches(system)) {
            if shown.matching >= skip && shown.systems.len() < limit {
                shown.systems.push((id.clone(), system.clone()));
            }
            shown.matching += 1;
        }
        shown
    }
}

fn text(id: &str, members: &SystemMembers, revision: u64) -> String {
    let mut members = members.clone();
    members.insert("id".to_owned(), id.into());
    members.insert("revision".to_owned(), revision.into());
    Value::Object(members).to_string()
}

fn size(id: &str, system: &StoredSystem) -> usize {
    OVERHEAD + id.len() + system.text.len() + system.owner.as_deref().map_or(0, str::len)
}

#[cfg(test)]
mod tests;
