//! The workloads, their namespaces, and the slots of their pods.

use super::{State, mix, shape::Shapes, uuid};

/// The controller of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
    Job,
}

pub(super) const KINDS: [Kind; 4] = [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::Job];

#[derive(Debug)]
pub(crate) struct Workload {
    pub(super) kind: Kind,
    pub(super) namespace: u32,
    /// Without the hash of a ReplicaSet.
    pub(super) name: String,
    pub(super) team: &'static str,
    pub(super) role: &'static str,
    pub(super) hash: String,
    pub(super) tag: String,
    pub(super) uid: u128,
    /// The index of its pods' size.
    pub(super) size: usize,
    first: u32,
}

#[derive(Debug)]
pub(crate) struct Layout {
    pub(super) seed: u64,
    pub(super) namespaces: u64,
    pub(super) nodes: u64,
    workloads: Vec<Workload>,
    of_slot: Vec<u32>,
    pub(super) shapes: Shapes,
}

const APPS: [&str; 16] = [
    "web",
    "api",
    "worker",
    "checkout",
    "search",
    "billing",
    "auth",
    "catalog",
    "gateway",
    "inventory",
    "mailer",
    "notifier",
    "payments",
    "pricing",
    "reports",
    "sessions",
];
const TEAMS: [&str; 8] = ["platform", "storefront", "payments", "search", "data", "growth", "identity", "logistics"];
const ROLES: [&str; 4] = ["frontend", "backend", "database", "batch"];
/// Letters of generated names: without vowels, as in the API server.
pub(super) const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A generated part of a name.
pub(super) fn push_suffix(out: &mut Vec<u8>, mut random: u64, letters: u32) {
    for _ in 0..letters {
        out.push(ALPHABET[(random % 27) as usize]);
        random /= 27;
    }
}

impl Layout {
    /// Slots for `pods` pods, of one size in kB or of 3, 5 and 10 kB.
    pub(crate) fn new(seed: u64, pods: u32, kilobytes: Option<u32>) -> Self {
        let nodes = u64::from(pods / 30).max(3);
        let mut layout = Self {
            seed,
            namespaces: u64::from(pods / 150).clamp(100, 1_000),
            nodes,
            workloads: Vec::new(),
            of_slot: Vec::new(),
            shapes: Shapes::new(kilobytes),
        };
        while let Some(left) = pods.checked_sub(layout.slots()).filter(|left| *left > 0) {
            layout.add_workload(left);
        }
        layout
    }

    fn add_workload(&mut self, left: u32) {
        let number = u32::try_from(self.workloads.len()).unwrap_or(u32::MAX);
        let random = mix(self.seed ^ (u64::from(number) << 20) ^ 0x77);
        let pick = |shift: u32, of: u64| (random >> shift) % of;
        let kind = match pick(0, 100) {
            0..80 => Kind::Deployment,
            80..90 => Kind::StatefulSet,
            90..91 => Kind::DaemonSet,
            _ => Kind::Job,
        };
        let replicas = match kind {
            Kind::Deployment => 3 + pick(8, 48),
            Kind::StatefulSet => 3 + pick(8, 7),
            Kind::DaemonSet => self.nodes.min(500),
            Kind::Job => 1 + pick(8, 8),
        };
        let index = |shift: u32, of: usize| usize::try_from(pick(shift, of as u64)).unwrap_or_default();
        let mut hash = Vec::new();
        push_suffix(&mut hash, mix(random), 10);
        self.workloads.push(Workload {
            kind,
            namespace: u32::try_from(pick(16, self.namespaces)).unwrap_or_default(),
            name: format!("{}-{number}", APPS[index(30, APPS.len())]),
            team: TEAMS[index(34, TEAMS.len())],
            role: ROLES[index(38, ROLES.len())],
            hash: String::from_utf8_lossy(&hash).into_owned(),
            tag: format!("{}.{}.{}", 1 + pick(40, 4), pick(44, 20), pick(48, 10)),
            uid: uuid(mix(random ^ 1), mix(random ^ 2)),
            size: self.shapes.pick_size(pick(52, 10)),
            first: self.slots(),
        });
        let replicas = u32::try_from(replicas).unwrap_or(left).min(left) as usize;
        self.of_slot.extend(std::iter::repeat_n(number, replicas));
    }

    pub(crate) fn slots(&self) -> u32 {
        u32::try_from(self.of_slot.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn workload(&self, slot: u32) -> &Workload {
        &self.workloads[self.of_slot[slot as usize] as usize]
    }

    /// The number of a slot in its workload.
    pub(super) fn ordinal(&self, slot: u32) -> u32 {
        slot - self.workload(slot).first
    }

    /// A number for each life in each slot.
    pub(super) fn random(&self, slot: u32, life: u32) -> u64 {
        mix(mix(self.seed.wrapping_add(u64::from(slot))) ^ u64::from(life))
    }

    pub(crate) fn uid(&self, slot: u32, life: u32) -> u128 {
        let random = self.random(slot, life);
        uuid(mix(random ^ 3), mix(random ^ 4))
    }

    pub(crate) fn push_name(&self, slot: u32, state: State, out: &mut Vec<u8>) {
        let workload = self.workload(slot);
        out.extend_from_slice(workload.name.as_bytes());
        out.push(b'-');
        if workload.kind == Kind::StatefulSet {
            super::push(out, format_args!("{}", self.ordinal(slot)));
            return;
        }
        if workload.kind == Kind::Deployment {
            out.extend_from_slice(workload.hash.as_bytes());
            out.push(b'-');
        }
        // Two letters for the slot, so that no two living pods have the same name.
        push_suffix(out, mix(self.random(slot, state.life) ^ 5), 3);
        push_suffix(out, u64::from(self.ordinal(slot)), 2);
    }

    pub(crate) fn push_namespace(&self, slot: u32, out: &mut Vec<u8>) {
        super::push(out, format_args!("team-{}", self.workload(slot).namespace));
    }

    /// The UID of the namespace `kube-system`, which identifies the cluster.
    pub(crate) fn cluster_uid(&self) -> u128 {
        uuid(mix(self.seed ^ 6), mix(self.seed ^ 7))
    }
}
