//! The simulated cluster: pods by name, and the log of everything that a watch could have shown of them.
//!
//! A view of the cluster is a place in the log. Lists and watches of any age are made from it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use pod_registrar::model::{
    digest::Digest,
    ids::RecordOwner,
    pod::{
        Pod, RecordContent,
        to_record::{self, AllowList, Rule},
    },
    uid::Uid,
};

/// The number of a pod, which is its name in the steps of a history.
pub(crate) type Name = u16;

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A created or changed pod.
    Shown(Arc<Pod>),
    /// A pod that was deleted, or that left the selection.
    Deleted(Arc<Pod>),
    /// The cluster was restored from a backup and contains these pods. Every watch breaks.
    Restored(BTreeMap<Name, Arc<Pod>>),
}

#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The resource version of the cluster after the change.
    pub(crate) version: u64,
    /// The watch that shows the change.
    pub(crate) watch: usize,
    pub(crate) what: What,
}

/// The history of one UID.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// Its first place in the log.
    pub(crate) born: usize,
    /// Whether a consistent read at some moment since then did not show it.
    pub(crate) interrupted: bool,
}

pub(crate) struct Cluster {
    watches: usize,
    pub(crate) version: u64,
    /// The pods that the rule selects.
    pub(crate) selected: BTreeMap<Name, Arc<Pod>>,
    /// Pods that exist and are not selected.
    left: BTreeMap<Name, Arc<Pod>>,
    pub(crate) log: Vec<Change>,
    pub(crate) lives: HashMap<Uid, Life>,
    bodies: u32,
    /// The content of each pod before its last change.
    before: HashMap<Uid, RecordContent>,
}

impl Cluster {
    pub(crate) fn new(watches: usize) -> Self {
        Self {
            watches,
            version: 1,
            selected: BTreeMap::new(),
            left: BTreeMap::new(),
            log: Vec::new(),
            lives: HashMap::new(),
            bodies: 0,
            before: HashMap::new(),
        }
    }

    /// The watch that shows pods of this name.
    pub(crate) fn watch_of(&self, name: Name) -> usize {
        usize::from(name) % self.watches
    }

    /// The namespace of a pod by its UID. UIDs that never existed here are in a namespace that is not watched.
    pub(crate) fn namespace_of(&self, uid: &Uid) -> String {
        let text = uid.to_string();
        let name = text.split('-').next().and_then(|name| name.parse().ok());
        name.map_or_else(|| "elsewhere".to_owned(), |name| format!("ns-{}", self.watch_of(name)))
    }

    /// Whether a consistent read shows the UID now.
    pub(crate) fn shows(&self, uid: &Uid) -> bool {
        self.selected.values().any(|pod| pod.uid == *uid)
    }

    /// All pods, selected or not.
    pub(crate) fn living(&self) -> HashSet<Uid> {
        self.selected.values().chain(self.left.values()).map(|pod| pod.uid.clone()).collect()
    }

    /// The records that the registry should hold.
    pub(crate) fn wanted(&self) -> BTreeMap<Uid, Digest> {
        let digest = |pod: &Pod| pod.content.as_ref().map(|content| content.digest);
        self.selected.values().filter_map(|pod| Some((pod.uid.clone(), digest(pod)?))).collect()
    }

    fn log(&mut self, name: Name, what: What) {
        let watch = self.watch_of(name);
        self.log.push(Change { version: self.version, watch, what });
    }

    fn pod(&mut self, name: Name, uid: &Uid) -> Arc<Pod> {
        self.version += 1;
        self.bodies += 1;
        let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
        let rule = Rule { owner, labels: AllowList::default(), annotations: AllowList::default() };
        let object = serde_json::json!({
            "metadata": {"uid": uid, "namespace": format!("ns-{}", self.watch_of(name)), "name": format!("pod-{name}"),
                "resourceVersion": self.version.to_string(), "creationTimestamp": "2026-11-23T10:00:00Z"},
            "status": {"reason": self.bodies.to_string()},
        });
        Arc::new(to_record::desired(serde_json::from_value(object).unwrap(), &rule).unwrap())
    }

    /// Creates a pod of this name, unless one exists.
    pub(crate) fn create(&mut self, name: Name) {
        if self.selected.contains_key(&name) || self.left.contains_key(&name) {
            return;
        }
        let uid = Uid::from(format!("{name}-{}", self.lives.len()));
        self.lives.insert(uid.clone(), Life { born: self.log.len(), interrupted: false });
        let pod = self.pod(name, &uid);
        self.selected.insert(name, pod.clone());
        self.log(name, What::Shown(pod));
    }

    /// Changes the pod's record.
    pub(crate) fn change(&mut self, name: Name) {
        if let Some(before) = self.selected.get(&name).cloned() {
            self.before.extend(before.content.clone().map(|content| (before.uid.clone(), content)));
            let pod = self.pod(name, &before.uid);
            self.selected.insert(name, pod.clone());
            self.log(name, What::Shown(pod));
        }
    }

    /// Changes the pod's record back to the one before.
    pub(crate) fn revert(&mut self, name: Name) {
        let before = self.selected.get(&name).and_then(|pod| self.before.get(&pod.uid).cloned());
        if let Some(content) = before {
            self.change(name);
            if let Some(pod) = self.selected.get_mut(&name) {
                *pod = Arc::new(Pod { content: Some(content), ..(**pod).clone() });
                if let Some(Change { what: What::Shown(shown), .. }) = self.log.last_mut() {
                    *shown = pod.clone();
                }
            }
        }
    }

    pub(crate) fn delete(&mut self, name: Name) {
        self.left.remove(&name);
        self.unselect(name);
    }

    /// Changes the pod's labels so that the selector no longer selects it.
    pub(crate) fn leave(&mut self, name: Name) {
        if let Some(pod) = self.unselect(name) {
            self.left.insert(name, pod);
        }
    }

    pub(crate) fn come_back(&mut self, name: Name) {
        if let Some(pod) = self.left.remove(&name) {
            let pod = self.pod(name, &pod.uid);
            self.selected.insert(name, pod.clone());
            self.log(name, What::Shown(pod));
        }
    }

    fn unselect(&mut self, name: Name) -> Option<Arc<Pod>> {
        let pod = self.selected.remove(&name)?;
        self.version += 1;
        self.interrupt(&pod.uid);
        self.log(name, What::Deleted(pod.clone()));
        Some(pod)
    }

    fn interrupt(&mut self, uid: &Uid) {
        if let Some(life) = self.lives.get_mut(uid) {
            life.interrupted = true;
        }
    }

    /// Replaces the pod by another one of the same name. The watch shows one MODIFIED event.
    pub(crate) fn replace(&mut self, name: Name) {
        if let Some(pod) = self.selected.remove(&name) {
            self.interrupt(&pod.uid);
            self.create(name);
        }
    }

    /// Restores the cluster from a backup of when the log had this many entries less.
    pub(crate) fn restore(&mut self, back: usize) {
        let place = self.log.len().saturating_sub(back);
        let pods = self.state_at(place);
        let version = self.log[..place].last().map_or(1, |change| change.version);
        for pod in std::mem::take(&mut self.selected).into_values() {
            if !pods.values().any(|there| there.uid == pod.uid) {
                self.interrupt(&pod.uid);
            }
        }
        self.left.clear();
        self.selected.clone_from(&pods);
        self.version = version;
        self.log.push(Change { version, watch: 0, what: What::Restored(pods) });
    }

    /// The place this many changes before. It is never before a restoration.
    pub(crate) fn earlier(&self, place: usize, back: usize) -> usize {
        let restored = self.log[..place].iter().rposition(|change| matches!(change.what, What::Restored(_)));
        place.saturating_sub(back).max(restored.map_or(0, |at| at + 1)).min(place)
    }

    /// The pods that a read showed when the log had this length.
    fn state_at(&self, place: usize) -> BTreeMap<Name, Arc<Pod>> {
        if place >= self.log.len() {
            return self.selected.clone();
        }
        let mut pods: BTreeMap<Name, Arc<Pod>> = BTreeMap::new();
        for change in &self.log[..place] {
            match &change.what {
                What::Shown(pod) => _ = pods.insert(name_of(pod), pod.clone()),
                What::Deleted(pod) => {
                    if pods.get(&name_of(pod)).is_some_and(|there| there.uid == pod.uid) {
                        pods.remove(&name_of(pod));
                    }
                }
                What::Restored(all) => pods.clone_from(all),
            }
        }
        pods
    }

    /// The pods and the resource version of a list of this watch when the log had this length.
    pub(crate) fn list_at(&self, watch: usize, place: usize) -> (Vec<Arc<Pod>>, u64) {
        let mine = |name: &Name| self.watch_of(*name) == watch;
        let version = match self.log[..place.min(self.log.len())].last() {
            _ if place >= self.log.len() => self.version,
            last => last.map_or(1, |change| change.version),
        };
        (self.state_at(place).into_iter().filter(|(name, _)| mine(name)).map(|(_, pod)| pod).collect(), version)
    }
}

/// The number in a pod's UID, which is its name.
pub(crate) fn name_in(uid: &Uid) -> Name {
    uid.text().split('-').next().and_then(|name| name.parse().ok()).unwrap_or_default()
}

/// The number in a pod's name.
pub(crate) fn name_of(pod: &Pod) -> Name {
    pod.name.trim_start_matches("pod-").parse().unwrap()
}
