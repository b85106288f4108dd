//! Writes the JSON of a pod, from its slot and its state.

use super::{
    Kind, Layout, State,
    layout::{Workload, push_suffix},
    mix, push, push_uuid,
    shape::{Field, Part},
};

/// Hours in which pods are created.
const HOURS: u64 = 28 * 24;

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

    /// Appends a pod as the object of an event or of a response.
    pub(crate) fn push_object(&self, slot: u32, state: State, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"kind":"Pod","apiVersion":"v1","#);
        self.push_members(slot, state, out);
    }

    /// Appends a pod as an item of a list of metadata.
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
            Field::Version => push(out, format_args!("{}", self.state.resource_version)),
            Field::Owner => self.push_owner(out),
            Field::OwnerUid => push_uuid(out, workload.uid),
            Field::App => out.extend_from_slice(workload.name.as_bytes()),
            Field::Team => out.extend_from_slice(workload.team.as_bytes()),
            Field::Role => out.extend_from_slice(workload.role.as_bytes()),
            Field::Hash => out.extend_from_slice(workload.hash.as_bytes()),
            Field::Tag => out.extend_from_slice(workload.tag.as_bytes()),
            Field::Ordinal => push(out, format_args!("{}", self.layout.ordinal(self.slot))),
            Field::Node => push(out, format_args!("node-{}", self.node)),
            Field::NodeIp => push_address(out, 192, self.node),
            Field::PodIp => push_address(out, 10, mix(self.random ^ 8)),
            Field::Created => self.push_time(0, out),
            Field::Started => self.push_time(20, out),
            Field::Restarts => push(out, format_args!("{}", self.state.revision.saturating_sub(1))),
            Field::Sha => {
                let random = mix(self.random ^ 9);
                for part in 0..4 {
                    push(out, format_args!("{:016x}", mix(random ^ part)));
                }
            }
            // Of the workload's image, the same in all its pods.
            Field::ImageSha => push(out, format_args!("{:032x}{:032x}", workload.uid, workload.uid.rotate_left(17))),
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

    /// A time in the first four weeks of a year, some seconds after the pod's creation.
    fn push_time(&self, seconds: u64, out: &mut Vec<u8>) {
        let hours = self.random % HOURS;
        let (day, hour) = (1 + hours / 24, hours % 24);
        let (minute, second) = ((self.random >> 16) % 60, (self.random >> 24) % 40 + seconds);
        push(out, format_args!("2026-01-{day:02}T{hour:02}:{minute:02}:{second:02}Z"));
    }
}

/// An address in a network.
fn push_address(out: &mut Vec<u8>, network: u64, number: u64) {
    push(out, format_args!("{network}.{}.{}.{}", (number >> 16) & 0xff, (number >> 8) & 0xff, number & 0xff));
}
