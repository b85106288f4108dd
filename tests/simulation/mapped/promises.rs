//! The promises about mapped registries.

use std::collections::BTreeMap;

use pod_registrar::{
    model::{pod::Pod, uid::Uid},
    reconcile::deletion::Removal,
};
use serde_json::Value as Json;

use super::{
    Rest,
    target::{key_of, records, wanted},
};
use crate::{promise::Promise, world::SimulatedWorld};

/// A pod that a process was shown for this long has a record that is known to be needed.
const SHOWN_FOR_MS: u64 = 1_000;

impl SimulatedWorld {
    /// The keys of our records, and what they hold.
    fn held(&self) -> BTreeMap<Uid, &Json> {
        let rest = self.rest.rest;
        self.rest.ours().map(|(_, _, row)| (key_of(rest, row), row)).collect()
    }

    /// The registry holds what it should, as from an earlier run.
    pub(crate) fn hold_wanted(&mut self, rest: Rest) {
        // Parts name what was assigned to the records that are held already.
        for is_part in [false, true] {
            let bodies = wanted(rest, &self.cluster, &|key| self.rest.remote_of(key));
            let of_kind = bodies.values().filter(|body| (body["kind"] == "part") == is_part);
            of_kind.for_each(|body| self.rest.hold(body));
        }
    }

    /// Checks what the last request did. Nothing but a version would make a registry refuse a late deletion.
    pub(super) fn check_harm(&mut self, process: usize, is_late: bool) {
        if let Some(harm) = self.rest.harm.take() {
            self.broken(Promise::Harmless, || harm);
        }
        for row in std::mem::take(&mut self.rest.removed).into_iter().filter(|_| !is_late) {
            self.check_removed(process, &row);
        }
    }

    /// A record of ours was removed.
    fn check_removed(&mut self, process: usize, row: &Json) {
        let rest = self.rest.rest;
        let key = key_of(rest, row);
        let (now, writer) = (self.now(), &self.processes[process]);
        if writer.misled_keys.contains(&key) {
            return;
        }
        let needs = self.cluster.selected.values().find(|pod| {
            let lasts = self.cluster.lives.get(&pod.uid).is_some_and(|life| !life.interrupted);
            // The parts of a pod follow its state: the process has to see the one that has them. A deletion that was
            // sent before that cannot be taken back.
            let is_part = row["kind"] == "part";
            let since = writer.shown_since.get(&pod.uid).map(|(pod, state)| if is_part { state } else { pod });
            let shown = since.is_some_and(|since| since + SHOWN_FOR_MS < now);
            let digest = pod.content.as_ref().map(|content| content.digest);
            let sees = || writer.shown.get(&pod.uid).is_some_and(|(held, _)| *held == digest);
            lasts && shown && has(rest, pod, &key) && (!is_part || sees())
        });
        if let Some(pod) = needs.map(|pod| pod.uid.clone()) {
            self.broken(Promise::NoFalseDelete, || format!("the record of {pod} is removed, and the cluster shows it"));
        }
    }

    /// A deletion of a record is built that several pods may share.
    pub(super) fn shared_delete_built(&mut self, process: usize, key: &Uid, removal: Removal) {
        let rest = self.rest.rest;
        let pods = self.cluster.selected.values().filter(|pod| has(rest, pod, key));
        let writer = &self.processes[process];
        // Its lists or its watch lack each of the pods.
        let is_misled = pods.clone().all(|pod| !writer.shown.contains_key(&pod.uid)) && pods.count() > 0;
        if removal == Removal::LeftSelection && !self.healed {
            self.broken(Promise::NoFalseDelete, || {
                format!("a delete of {key} because of settings, which did not change")
            });
        }
        self.note_misled(process, key, is_misled);
    }

    pub(super) fn note_misled(&mut self, process: usize, key: &Uid, is_misled: bool) {
        let keys = &mut self.processes[process].misled_keys;
        if is_misled {
            keys.insert(key.clone());
        } else {
            keys.remove(key);
        }
    }

    /// The records that are missing or different, and those that are left over.
    pub(crate) fn rest_differences(&self) -> (Vec<String>, Vec<String>) {
        let remote = |key: &str| self.rest.remote_of(key);
        let (wanted, held) = (wanted(self.rest.rest, &self.cluster, &remote), self.held());
        let is_equal = |row: &Json, body: &Json| {
            body.as_object().is_some_and(|body| body.iter().all(|(name, value)| row[name] == *value))
        };
        let is_foreign = |id: &Json| id.as_str().is_some_and(|id| self.rest.is_foreign(id));
        // A part waits while the record that it belongs to is missing, which counts for itself, or foreign.
        let waits = |body: &Json| body["kind"] == "part" && (body["parent"].is_null() || is_foreign(&body["parent"]));
        let free = |body: &Json| !is_foreign(&body["key"]) && !waits(body);
        let missing = wanted.iter().filter(|(key, body)| !held.get(*key).is_some_and(|row| is_equal(row, body)));
        let missing = missing.filter(|(_, body)| free(body)).map(|(_, body)| body["key"].to_string()).collect();
        let extra = held.iter().filter(|(key, _)| !wanted.contains_key(*key)).map(|(_, row)| row["key"].to_string());
        (missing, extra.collect())
    }
}

/// Whether this is the key of one of the pod's records.
fn has(rest: Rest, pod: &Pod, key: &Uid) -> bool {
    records(rest, pod, &|_| None).iter().any(|(of_pod, _)| of_pod == key)
}
