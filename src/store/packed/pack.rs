//! Packs a record.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

use strum::VariantArray as _;

use super::{
    bytes::{ByteWriter, TextWriter, is_written},
    names::{NameTable, PodTag},
    open::{ResourceVersion, head},
    times,
};
use crate::model::{
    pod::Pod,
    record::{Container, Lifecycle, Placement, PodState, Record, Role, TruncatedPart, WorkloadRef},
};

/// The first byte of a label's value: one of these, or the position of the value in the pod's name.
pub(super) const WRITTEN_OUT: u8 = 0xfe;
pub(super) const WORKLOADS_UID: u8 = 0xff;

/// How an address is written, and whether another one follows.
pub(super) const IPV4: u8 = 1;
pub(super) const IPV6: u8 = 2;
pub(super) const NEXT: u8 = 4;

/// The restart count of a container, in the six bits above its readiness. [`RESTARTS_MOST`] says that the number
/// follows.
pub(super) const NO_RESTARTS: u8 = 0;
pub(super) const RESTARTS: u8 = 1;
pub(super) const RESTARTS_MOST: u8 = 0x3f;

pub(super) const TRUTHS: [Option<bool>; 3] = [None, Some(false), Some(true)];

pub(super) struct Packer<'n> {
    names: &'n mut NameTable,
    pod_tag: PodTag,
    slots: ByteWriter,
    body: ByteWriter,
    /// A reused buffer for joined texts.
    parts: String,
}

impl<'n> Packer<'n> {
    pub(super) fn new(namespace: &str, name: &str, names: &'n mut NameTable) -> Self {
        let pod_tag = names.pod_tag(namespace, name);
        let (slots, body) = (ByteWriter(Vec::with_capacity(64)), ByteWriter(Vec::with_capacity(192)));
        let mut packer = Self { names, pod_tag, slots, body, parts: String::with_capacity(256) };
        packer.shared(namespace);
        packer
    }

    /// Writes everything that is read without the record, up to the name.
    pub(super) fn identity(&mut self, pod: &Pod, record: Option<&Record>) {
        let Pod { name, generation, .. } = pod;
        let resource_version = ResourceVersion::of(&pod.resource_version);
        let workload = record.map_or(&[][..], |record| &record.workload);
        let suffix = workload.first().and_then(|workload| name.strip_prefix(&*workload.name)?.strip_prefix('-'));
        let flags = [
            (generation.is_some(), head::GENERATION),
            (suffix.is_some(), head::NAMED_BY_WORKLOAD),
            (!workload.is_empty(), head::WORKLOAD),
        ];
        let head = flags_of(&flags) | resource_version.flag() | record.map_or(0, head_of);
        self.body.bytes(&head.to_le_bytes());
        if let Some(generation) = generation {
            self.body.signed(*generation);
        }
        resource_version.write(&mut self.body);
        if !workload.is_empty() {
            self.workload(workload);
        }
        self.body.text(suffix.unwrap_or(name));
    }

    /// Writes the rest of the record.
    pub(super) fn record(&mut self, name: &str, record: &Record) {
        self.joined(Keep::Shared, |parts| {
            parts.text(&record.owner);
            parts.text(&record.cluster.id);
            parts.last(&record.cluster.name);
        });
        let workload = record.workload.first().and_then(|workload| workload.uid.as_deref());
        let own = Own { name, workload };
        for pairs in [&record.pod.labels, &record.pod.annotations] {
            if !pairs.is_empty() {
                self.pairs(pairs, own);
            }
        }
        self.placement(&record.placement);
        self.state(&record.state);
        self.containers(&record.containers);
        if let Some(account) = &record.service_account {
            self.shared(account);
        }
        times::pack(&record.times, &mut self.body);
        self.truncated(&record.truncated);
    }

    pub(super) fn finish(self) -> Box<[u8]> {
        let mut whole = ByteWriter(Vec::with_capacity(self.slots.0.len() + self.body.0.len() + 2));
        whole.count(self.slots.0.len());
        whole.bytes(&self.slots.0);
        whole.bytes(&self.body.0);
        whole.0.into_boxed_slice()
    }

    /// Writes a text that is likely shared: it becomes a name at once.
    fn shared(&mut self, text: &str) {
        let name = self.names.intern(text);
        self.slots.number(u64::from(name.number()) + 1);
    }

    /// Writes a text that may belong to this pod alone: it becomes a name once a second pod has it.
    fn offered(&mut self, text: &str) {
        match self.names.intern_if_shared(text, self.pod_tag) {
            Some(name) => self.slots.number(u64::from(name.number()) + 1),
            None => {
                self.slots.number(0);
                self.body.text(text);
            }
        }
    }

    /// Writes several values as one text.
    fn joined(&mut self, keep: Keep, join: impl FnOnce(&mut TextWriter)) {
        let mut parts = TextWriter(std::mem::take(&mut self.parts));
        parts.0.clear();
        join(&mut parts);
        match keep {
            Keep::Shared => self.shared(&parts.0),
            Keep::Offered => self.offered(&parts.0),
        }
        self.parts = parts.0;
    }

    /// Writes the part that many workloads share, then the names and UIDs of this one.
    fn workload(&mut self, workload: &[WorkloadRef]) {
        self.joined(Keep::Shared, |parts| {
            parts.number(workload.len());
            for one in workload {
                parts.text(&one.kind);
                parts.text(&one.api_version);
                parts.number(usize::from(one.derived) | usize::from(one.uid.is_some()) << 1);
            }
        });
        self.joined(Keep::Offered, |parts| {
            let mut before: Option<&str> = None;
            for one in workload {
                match before {
                    None => parts.text(&one.name),
                    // The name of a Deployment is the beginning of the name of its ReplicaSet.
                    Some(before) if before.starts_with(&*one.name) => parts.number(one.name.len() + 1),
                    Some(_) => {
                        parts.number(0);
                        parts.text(&one.name);
                    }
                }
                before = before.or(Some(&one.name));
            }
            for uid in workload.iter().filter_map(|one| one.uid.as_deref()) {
                parts.text(uid);
            }
        });
    }

    /// Writes labels or annotations: first those that pods share with their values, then the others.
    fn pairs(&mut self, pairs: &BTreeMap<String, String>, own: Own<'_>) {
        let mut apart = Vec::new();
        for (key, value) in pairs {
            match own.find(value) {
                Value::WrittenOut if self.pair(key, value) => {}
                found => apart.push((key, value, found)),
            }
        }
        self.body.count(pairs.len() - apart.len());
        self.body.count(apart.len());
        for (key, value, found) in apart {
            match found {
                Value::WrittenOut => self.body.byte(WRITTEN_OUT),
                Value::WorkloadsUid => self.body.byte(WORKLOADS_UID),
                Value::PartOfName(start, len) => self.body.bytes(&[start, len]),
            }
            self.shared(key);
            if matches!(found, Value::WrittenOut) {
                self.body.text(value);
            }
        }
    }

    /// Writes a key with its value if other pods have both. Returns whether it did.
    fn pair(&mut self, key: &str, value: &str) -> bool {
        let mut parts = TextWriter(std::mem::take(&mut self.parts));
        parts.0.clear();
        parts.text(key);
        parts.last(value);
        let name = self.names.intern_if_shared(&parts.0, self.pod_tag);
        self.parts = parts.0;
        if let Some(name) = name {
            self.slots.number(u64::from(name.number()) + 1);
        }
        name.is_some()
    }

    /// Writes the node with its addresses, which many pods share, and the addresses of the pod.
    fn placement(&mut self, placement: &Placement) {
        if is_placed(placement) {
            self.joined(Keep::Shared, |parts| {
                parts.optional(placement.node.as_deref());
                placement.host_ips.iter().for_each(|ip| parts.text(ip));
            });
        }
        let mut left = placement.pod_ips.len();
        for ip in &placement.pod_ips {
            left -= 1;
            address(ip, if left > 0 { NEXT } else { 0 }, &mut self.body);
        }
    }

    fn state(&mut self, state: &PodState) {
        self.joined(Keep::Shared, |parts| {
            parts.number(index(Lifecycle::VARIANTS, state.lifecycle));
            parts.number(index(&TRUTHS, state.ready));
            parts.optional(state.phase.as_deref());
            parts.optional(state.reason.as_deref());
        });
    }

    fn containers(&mut self, containers: &[Container]) {
        if containers.is_empty() {
            return;
        }
        self.body.count(containers.len());
        for container in containers {
            let counted = match container.restarts {
                None => NO_RESTARTS,
                Some(restarts) => u8::try_from(restarts).unwrap_or(u8::MAX).saturating_add(RESTARTS).min(RESTARTS_MOST),
            };
            let ready = u8::try_from(index(&TRUTHS, container.ready)).unwrap_or_default();
            self.body.byte(counted << 2 | ready);
            if counted == RESTARTS_MOST {
                self.body.number(container.restarts.unwrap_or_default());
            }
            self.joined(Keep::Shared, |parts| {
                parts.number(index(Role::VARIANTS, container.role));
                parts.text(&container.name);
                parts.optional(container.image.as_deref());
                parts.optional(container.image_id.as_deref());
            });
        }
    }

    fn truncated(&mut self, truncated: &[TruncatedPart]) {
        if truncated.is_empty() {
            return;
        }
        self.body.count(truncated.len());
        for part in truncated {
            self.body.byte(u8::try_from(index(TruncatedPart::VARIANTS, *part)).unwrap_or_default());
        }
    }
}

/// How a joined text is written: see [`Packer::shared`] and [`Packer::offered`].
#[derive(Clone, Copy)]
enum Keep {
    Shared,
    Offered,
}

/// Texts of a pod that its labels often repeat.
#[derive(Clone, Copy)]
struct Own<'a> {
    name: &'a str,
    /// The UID of the controller.
    workload: Option<&'a str>,
}

/// How the value of a label is written.
enum Value {
    WrittenOut,
    WorkloadsUid,
    /// As a part of the pod's name: start and length.
    PartOfName(u8, u8),
}

impl Own<'_> {
    /// Finds a value in the texts of the pod. In its name only whole words between dashes count: a short value that is
    /// there by chance is better shared.
    fn find(self, value: &str) -> Value {
        if value.is_empty() {
            return Value::WrittenOut;
        }
        if self.workload == Some(value) {
            return Value::WorkloadsUid;
        }
        let begins = std::iter::once(0).chain(self.name.match_indices('-').map(|(at, _)| at + 1));
        let found =
            begins.filter_map(|at| Some((at, self.name.get(at..)?.strip_prefix(value)?))).find_map(|(at, behind)| {
                let word = behind.is_empty() || behind.starts_with('-');
                let place = u8::try_from(at).ok().filter(|place| *place < WRITTEN_OUT)?;
                Some((place, u8::try_from(value.len()).ok()?)).filter(|_| word)
            });
        found.map_or(Value::WrittenOut, |(start, len)| Value::PartOfName(start, len))
    }
}

fn head_of(record: &Record) -> u16 {
    let placement = &record.placement;
    let flags = [
        (true, head::RECORD),
        (!record.pod.labels.is_empty(), head::LABELS),
        (!record.pod.annotations.is_empty(), head::ANNOTATIONS),
        (is_placed(placement), head::PLACED),
        (!placement.pod_ips.is_empty(), head::POD_IPS),
        (placement.host_network, head::HOST_NETWORK),
        (!record.containers.is_empty(), head::CONTAINERS),
        (record.service_account.is_some(), head::SERVICE_ACCOUNT),
        (!record.truncated.is_empty(), head::TRUNCATED),
    ];
    flags_of(&flags)
}

fn flags_of(flags: &[(bool, u16)]) -> u16 {
    flags.iter().fold(0, |all, (set, flag)| if *set { all | flag } else { all })
}

fn is_placed(placement: &Placement) -> bool {
    placement.node.is_some() || !placement.host_ips.is_empty()
}

fn address(text: &str, next: u8, writer: &mut ByteWriter) {
    if let Some(ip) = text.parse::<Ipv4Addr>().ok().filter(|ip| is_written(ip, text)) {
        writer.byte(IPV4 | next);
        writer.bytes(&ip.octets());
    } else if let Some(ip) = text.parse::<Ipv6Addr>().ok().filter(|ip| is_written(ip, text)) {
        writer.byte(IPV6 | next);
        writer.bytes(&ip.octets());
    } else {
        writer.byte(next);
        writer.text(text);
    }
}

/// The index of a value in a list of all values.
fn index<T: PartialEq + Copy>(all: &[T], value: T) -> usize {
    all.iter().position(|one| *one == value).unwrap_or_default()
}
