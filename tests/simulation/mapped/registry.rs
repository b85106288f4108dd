//! A plain REST registry in memory. It knows neither owners nor versions.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use pod_registrar::model::digest::Fingerprint;
use serde_json::{Value as Json, json};

use super::{
    PartRecords, Rest,
    memory::SimulatedMemory,
    target::{MARK, kind_of, stored, target},
};
use crate::registry::Wrong;

type Rows = BTreeMap<String, Json>;

/// An answer: status and body.
pub(crate) type Reply = (u16, Json);

#[derive(Default)]
pub(crate) struct RestRegistry {
    pub(crate) rest: Rest,
    /// That of the clients.
    pub(crate) memory: SimulatedMemory,
    /// The records by the last part of their paths.
    pub(crate) rows: Arc<Rows>,
    backup: Arc<Rows>,
    /// The rows before the last changes, and when they changed.
    past: VecDeque<(u64, Arc<Rows>)>,
    next_id: u64,
    edits: u64,
    /// Keys that a process looked up or wrote. No registry without comparisons protects a record that takes the place
    /// of one that a process has read.
    used: BTreeSet<String>,
    /// The names of pods whose records are rejected.
    pub(crate) poison: BTreeSet<String>,
    /// The names of pods for which every write fails.
    pub(crate) broken: BTreeSet<String>,
    pub(crate) page: usize,
    pub(crate) wrong: Option<Wrong>,
    pub(crate) wrong_readings: u8,
    /// The number of requests that write.
    pub(crate) writes: u64,
    /// What a request did that it must not do.
    pub(crate) harm: Option<String>,
    /// Our records that were removed since the last look.
    pub(crate) removed: Vec<Json>,
}

/// A request, taken apart.
pub(crate) struct Parts<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: Vec<&'a str>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Json,
}

impl RestRegistry {
    pub(crate) fn new(rest: Rest, page: usize) -> Self {
        Self { rest, page, ..Self::default() }
    }

    fn change(&mut self, now: u64, change: impl FnOnce(&mut Rows)) {
        self.past.push_back((now, self.rows.clone()));
        while self.past.len() > 1 && self.past[1].0 + u64::from(self.rest.lag_ms) < now {
            self.past.pop_front();
        }
        change(Arc::make_mut(&mut self.rows));
    }

    /// What a list shows: the rows some time ago.
    fn listed(&self, now: u64) -> Arc<Rows> {
        let at = now.saturating_sub(u64::from(self.rest.lag_ms) * 9 / 10);
        let before = self.past.iter().find(|(until, _)| *until > at);
        before.map_or_else(|| self.rows.clone(), |(_, rows)| rows.clone())
    }

    /// Our records, by key and path.
    pub(crate) fn ours(&self) -> impl Iterator<Item = (&str, &String, &Json)> {
        self.rows.iter().filter(|(_, row)| row["owner"] == MARK).filter_map(|(path, row)| {
            let key = row["key"].as_str()?;
            Some((key, path, row))
        })
    }

    pub(crate) fn path_of(&self, key: &str) -> Option<String> {
        self.ours().find(|(known, ..)| *known == key).map(|(_, path, _)| path.clone())
    }

    /// The record of another owner.
    pub(crate) fn is_foreign(&self, key: &str) -> bool {
        self.rows.values().any(|row| row["owner"] != MARK && row["key"] == key)
    }

    pub(crate) fn answer(&mut self, now: u64, request: &Parts<'_>) -> Reply {
        self.writes += u64::from(request.method != "GET");
        let body = &request.body;
        match (request.method, request.path.as_slice()) {
            ("GET", ["systems"]) if request.query.contains_key("key") => self.find(&request.query["key"]),
            ("GET", ["systems"]) => self.list(now, request.query.get("kind"), request.query.get("after")),
            ("GET", ["systems", id]) => {
                self.used.insert((*id).to_owned());
                self.rows.get(*id).map_or((404, json!({})), |row| (200, row.clone()))
            }
            ("POST", ["systems"]) => self.create(now, body),
            ("PATCH", ["systems", id]) if !self.rows.contains_key(*id) => (404, json!({})),
            ("PUT" | "PATCH", ["systems", id]) => self.refusal(body).unwrap_or_else(|| self.store(now, id, body)),
            ("DELETE", ["systems", id]) => self.delete(now, id),
            ("POST", ["bulk"]) => self.bulk(now, body),
            _ => (405, json!({})),
        }
    }

    fn refusal(&self, body: &Json) -> Option<Reply> {
        let name = body["name"].as_str().unwrap_or_default();
        if self.broken.contains(name) {
            return Some((500, json!({})));
        }
        if self.lacks_parent(body) {
            return Some((424, json!({})));
        }
        self.poison.contains(name).then(|| (422, json!({"error": "schema"})))
    }

    fn create(&mut self, now: u64, body: &Json) -> Reply {
        if let Some(refusal) = self.refusal(body) {
            return refusal;
        }
        let key = body["key"].as_str().unwrap_or_default();
        if self.path_of(key).is_some() {
            self.harm = Some(format!("a second record is created for {key}"));
        }
        self.next_id += 1;
        let id = self.next_id.to_string();
        self.store(now, &id, body)
    }

    fn store(&mut self, now: u64, id: &str, body: &Json) -> Reply {
        if let Some(before) = self.rows.get(id).filter(|row| row["owner"] != MARK || row["key"] != body["key"]) {
            self.harm = Some(format!("{before} is overwritten by {body}"));
        }
        self.used.extend(body["key"].as_str().map(str::to_owned));
        let mut row = stored(self.rest, body.clone());
        if self.rest.assigns {
            row["id"] = self.number(id);
        }
        self.change(now, |rows| _ = rows.insert(id.to_owned(), row.clone()));
        (200, row)
    }

    fn number(&self, id: &str) -> Json {
        id.parse::<u64>().map_or_else(|_| id.into(), Json::from)
    }

    fn delete(&mut self, now: u64, id: &str) -> Reply {
        let Some(row) = self.rows.get(id) else { return (404, json!({})) };
        let parts = self.parts_of(id);
        if self.rest.parts == PartRecords::Kept && !parts.is_empty() {
            return (409, json!({"error": "parts belong to it"}));
        }
        if self.broken.contains(row["name"].as_str().unwrap_or_default()) {
            return (500, json!({}));
        }
        if row["owner"] != MARK {
            self.harm = Some(format!("{row} is deleted"));
        }
        self.removed.push(row.clone());
        self.change(now, |rows| rows.retain(|path, _| path != id && !parts.contains(path)));
        (204, Json::Null)
    }

    /// The paths of the records that belong to this one.
    fn parts_of(&self, id: &str) -> BTreeSet<String> {
        let parent = if self.rest.assigns { self.number(id) } else { id.into() };
        self.rows.iter().filter(|(_, row)| row["parent"] == parent).map(|(path, _)| path.clone()).collect()
    }

    /// What the registry assigned to the record with this key.
    pub(crate) fn remote_of(&self, key: &str) -> Option<Json> {
        self.ours().find(|(known, ..)| *known == key).map(|(_, _, row)| row["id"].clone())
    }

    fn lacks_parent(&self, body: &Json) -> bool {
        let path = match &body["parent"] {
            Json::Null => return false,
            Json::String(path) => path.clone(),
            number => number.to_string(),
        };
        !self.rows.contains_key(&path)
    }

    /// Applies all operations or none.
    fn bulk(&mut self, now: u64, body: &Json) -> Reply {
        let operations = body["operations"].as_array().cloned().unwrap_or_default();
        if let Some(refusal) = operations.iter().find_map(|operation| self.refusal(&operation["record"])) {
            return refusal;
        }
        for operation in &operations {
            let id = operation["id"].as_str().unwrap_or_default();
            match operation["op"].as_str() {
                Some("put") => _ = self.store(now, id, &operation["record"]),
                _ => _ = self.delete(now, id),
            }
        }
        (200, json!({}))
    }

    fn find(&mut self, key: &str) -> Reply {
        self.used.insert(key.to_owned());
        let found: Vec<&Json> = self.rows.values().filter(|row| row["key"] == key).collect();
        (200, json!({"results": found}))
    }

    fn list(&mut self, now: u64, kind: Option<&String>, after: Option<&String>) -> Reply {
        let rows = self.listed(now);
        let shows = |position: usize| match self.wrong {
            Some(Wrong::Empty) => false,
            Some(Wrong::Short(of)) => !position.is_multiple_of(usize::from(of.max(1))),
            _ => true,
        };
        // Records of others may have no kind.
        let is_of_kind = |row: &Json| {
            let own = row["kind"].as_str().unwrap_or("system");
            kind.is_none_or(|kind| kind == own)
        };
        let of_kind = rows.iter().filter(|(_, row)| is_of_kind(row));
        let all: Vec<(&String, &Json)> =
            of_kind.enumerate().filter(|(place, _)| shows(*place)).map(|(_, row)| row).collect();
        let count = all.len() + usize::from(self.wrong == Some(Wrong::Miscounted));
        let mut rest = all.into_iter().filter(|(path, _)| after.is_none_or(|after| *path > after));
        let page: Vec<(&String, &Json)> = rest.by_ref().take(self.page.max(1)).collect();
        let last = page.last().map(|(path, _)| (*path).clone());
        let kind = kind.map(|kind| format!("kind={kind}&")).unwrap_or_default();
        let next = rest.next().and(last).map(|last| format!("/systems?{kind}after={last}"));
        if next.is_none() {
            self.wrong_readings = self.wrong_readings.saturating_sub(1);
            if self.wrong_readings == 0 {
                self.wrong = None;
            }
        }
        let results: Vec<&Json> = page.into_iter().map(|(_, row)| row).collect();
        (200, json!({"results": results, "next": next, "count": count}))
    }
}

/// What others do to the registry.
impl RestRegistry {
    /// Stores a record of ours, from an earlier run.
    pub(crate) fn hold(&mut self, body: &Json) {
        let key = body["key"].as_str().unwrap_or_default().to_owned();
        self.next_id += 1;
        if self.rest.remembers {
            let held = body["digest"].as_str().and_then(Fingerprint::from_hex).unwrap_or_default();
            // The first kind is that of the parents.
            let parent = body["parent"].as_str().map(|parent| target(self.rest).kinds[0].key(parent));
            self.memory.hold(kind_of(self.rest, body), &key, parent, held);
        }
        let id = if self.rest.assigns { self.next_id.to_string() } else { key };
        self.store(0, &id, body);
        self.past.clear();
    }

    pub(crate) fn edit(&mut self, now: u64, key: &str) {
        if let Some(path) = self.path_of(key) {
            let field = if self.rest.compares_bodies { "title" } else { "digest" };
            // The same edit after each write looks like a registry that changes what is written.
            self.edits += 1;
            let text = format!("{:032x}", self.edits);
            self.change(now, |rows| _ = rows.entry(path).and_modify(|row| row[field] = text.into()));
        }
    }

    pub(crate) fn remove(&mut self, now: u64, key: &str) {
        if let Some(path) = self.path_of(key) {
            let parts = if self.rest.parts == PartRecords::Cascade { self.parts_of(&path) } else { BTreeSet::new() };
            self.change(now, |rows| rows.retain(|other, _| *other != path && !parts.contains(other)));
        }
    }

    /// Adds a record of another owner under a key that no process has looked up yet.
    pub(crate) fn add_foreign(&mut self, now: u64, key: &str) {
        if !self.used.contains(key) {
            self.add(now, key, "other");
        }
    }

    /// Adds a record with a mark, if its place is free.
    pub(crate) fn add(&mut self, now: u64, key: &str, owner: &str) {
        if self.rows.values().any(|row| row["key"] == key) {
            return;
        }
        self.next_id += 1;
        let id = if self.rest.assigns { self.next_id.to_string() } else { key.to_owned() };
        let mut row = json!({"name": "other", "title": "other", "key": key, "owner": owner, "digest": "other"});
        if self.rest.assigns {
            row["id"] = self.next_id.into();
        }
        self.change(now, |rows| _ = rows.insert(id, row));
    }

    pub(crate) fn back_up(&mut self) {
        self.backup = self.rows.clone();
    }

    /// Restores the backup. Ids are not assigned a second time. Records of others stay.
    pub(crate) fn restore(&mut self, now: u64) {
        let backup = self.backup.clone();
        self.change(now, |rows| {
            rows.retain(|_, row| row["owner"] != MARK);
            for (path, row) in backup.iter().filter(|(_, row)| row["owner"] == MARK) {
                rows.entry(path.clone()).or_insert_with(|| row.clone());
            }
        });
    }
}
