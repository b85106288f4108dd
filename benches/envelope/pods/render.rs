//! From a place and a state to a pod's JSON, appended to a buffer.

use super::{
    Kind, Layout, State,
    layout::{Workload, push_suffix},
    mix, push_hex, push_number, push_uuid,
    shape::{Field, Part},
};

/// How many different hours of creation there are.
const HOURS: u64 = 28 * 24;

/// One pod that is being written.
struct Pod<'a> {
    layout: &'a Layout,
    workload: &'a Workload,
    slot: u32,
    state: State,
    random: u64,
    node: u64,
}

impl Layout {
    /// Appends a pod as an item of a list.
    pub(crate) fn push_item(&self, slot: u32, state: State, out: &mut Vec<u8>) {
        out.push(b'{');
        self.push_members(slot, state, out);
    }

    /// Appends a pod as the object of an event, or of an answer of its own.
    pub(crate) fn push_object(&self, slot: u32, state: State, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"kind":"Pod","apiVersion":"v1","#);
        self.push_members(slot, state, out);
    }

    /// Appends what a list of metadata alone tells of a pod.
    pub(crate) fn push_metadata_item(&self, slot: u32, state: State, out: &mut Vec<u8>) {
        let pod = self.pod(slot, state);
        out.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"#);
        let members: [(&[u8], Field); 4] = [
            (br#""name":""#, Field::Name),
            (br#"","namespace":""#, Field::Namespace),
            (br#"","uid":""#, Field::Uid),
            (br#"","resourceVersion":""#, Field::Version),
        ];
        for (before, field) in members {
            out.extend_from_slice(before);
            pod.push(field, out);
        }
        out.extend_from_slice(br#""}}"#);
    }

    fn push_members(&self, slot: u32, state: State, out: &mut Vec<u8>) {
        let pod = self.pod(slot, state);
        for part in self.shapes.of(pod.workload.kind, pod.workload.size, state.revision > 0) {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Field(field) => pod.push(*field, out),
            }
        }
    }

    fn pod(&self, slot: u32, state: State) -> Pod<'_> {
        let random = self.random(slot, state.life);
        let workload = self.workload(slot);
        let node = if workload.kind == Kind::DaemonSet { u64::from(self.ordinal(slot)) } else { random };
        Pod { layout: self, workload, slot, state, random, node: node % self.nodes }
    }
}

impl Pod<'_> {
    fn push(&self, field: Field, out: &mut Vec<u8>) {
        let workload = self.workload;
        match field {
            Field::Name => self.layout.push_name(self.slot, self.state, out),
            Field::Prefix => {
                self.push_owner(out);
                out.push(b'-');
            }
            Field::Namespace => self.layout.push_namespace(self.slot, out),
            Field::Uid => push_uuid(out, self.layout.uid(self.slot, self.state.life)),
            Field::Version => push_number(out, self.state.resource_version),
            Field::Owner => self.push_owner(out),
            Field::OwnerUid => push_uuid(out, workload.uid),
            Field::App => out.extend_from_slice(workload.name.as_bytes()),
            Field::Team => out.extend_from_slice(workload.team.as_bytes()),
            Field::Role => out.extend_from_slice(workload.role.as_bytes()),
            Field::Hash => out.extend_from_slice(workload.hash.as_bytes()),
            Field::Tag => out.extend_from_slice(workload.tag.as_bytes()),
            Field::Ordinal => push_number(out, u64::from(self.layout.ordinal(self.slot))),
            Field::Node => {
                out.extend_from_slice(b"node-");
                push_number(out, self.node);
            }
            Field::NodeIp => push_address(out, 192, self.node),
            Field::PodIp => push_address(out, 10, mix(self.random ^ 8)),
            Field::Created => self.push_time(0, out),
            Field::Started => self.push_time(20, out),
            Field::Restarts => push_number(out, u64::from(self.state.revision.saturating_sub(1))),
            Field::Sha => {
                let random = mix(self.random ^ 9);
                for part in 0..4 {
                    push_hex(out, u128::from(mix(random ^ part)), 16);
                }
            }
            // Of the workload's image, the same in all its pods.
            Field::ImageSha => {
                push_hex(out, workload.uid, 32);
                push_hex(out, workload.uid.rotate_left(17), 32);
            }
            Field::Volume => push_suffix(out, self.random, 5),
        }
    }

    fn push_owner(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.workload.name.as_bytes());
        if self.workload.kind == Kind::Deployment {
            out.push(b'-');
            out.extend_from_slice(self.workload.hash.as_bytes());
        }
    }

    /// A time in the first four weeks of a year, some seconds after the pod's beginning.
    fn push_time(&self, seconds: u64, out: &mut Vec<u8>) {
        let hour = self.random % HOURS;
        let (minute, second) = ((self.random >> 16) % 60, (self.random >> 24) % 40 + seconds);
        let parts: [(&[u8], u64); 4] =
            [(b"2026-01-", 1 + hour / 24), (b"T", hour % 24), (b":", minute), (b":", second)];
        for (before, number) in parts {
            out.extend_from_slice(before);
            if number < 10 {
                out.push(b'0');
            }
            push_number(out, number);
        }
        out.push(b'Z');
    }
}

/// An address in a network whose first number is given.
fn push_address(out: &mut Vec<u8>, network: u64, number: u64) {
    push_number(out, network);
    for part in [number >> 16, number >> 8, number] {
        out.push(b'.');
        push_number(out, part & 0xff);
    }
}
