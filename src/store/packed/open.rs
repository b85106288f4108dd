//! Reads a packed pod up to its name, and then text by text.

use std::borrow::Cow;

use super::{
    bytes::{ByteReader, ByteWriter, TextReader, is_written},
    names::{NameId, NameTable},
};

/// Bits of the head: which parts exist, and how they are written.
pub(super) mod head {
    pub(crate) const RECORD: u16 = 1;
    pub(crate) const GENERATION: u16 = 1 << 1;
    pub(crate) const NUMBERED: u16 = 1 << 2;
    /// The name starts with the name of the workload and a dash.
    pub(crate) const NAMED_BY_WORKLOAD: u16 = 1 << 3;
    pub(crate) const WORKLOAD: u16 = 1 << 4;
    pub(crate) const LABELS: u16 = 1 << 5;
    pub(crate) const ANNOTATIONS: u16 = 1 << 6;
    pub(crate) const PLACED: u16 = 1 << 7;
    pub(crate) const POD_IPS: u16 = 1 << 8;
    pub(crate) const HOST_NETWORK: u16 = 1 << 9;
    pub(crate) const CONTAINERS: u16 = 1 << 10;
    pub(crate) const SERVICE_ACCOUNT: u16 = 1 << 11;
    pub(crate) const TRUNCATED: u16 = 1 << 12;
}

/// A packed pod that was read up to its name.
pub(super) struct OpenPod<'a> {
    names: &'a NameTable,
    slots: ByteReader<'a>,
    pub(super) body: ByteReader<'a>,
    head: u16,
    pub(super) namespace: &'a str,
    pub(super) generation: Option<i64>,
    pub(super) resource_version: ResourceVersion<'a>,
    /// The part that many workloads share, and the part of this one.
    pub(super) workload: (Cow<'a, str>, Cow<'a, str>),
    /// The name, or the part after the name of the workload.
    called: Cow<'a, str>,
}

impl<'a> OpenPod<'a> {
    pub(super) fn new((slots, mut body): (ByteReader<'a>, ByteReader<'a>), names: &'a NameTable) -> Self {
        let head = u16::from_le_bytes(body.array());
        let generation = generation(head, &mut body);
        let resource_version = ResourceVersion::read(head, &mut body);
        let (namespace, workload, called) = ("", Default::default(), Cow::default());
        let mut opened = Self { names, slots, body, head, namespace, generation, resource_version, workload, called };
        if let Cow::Borrowed(namespace) = opened.text() {
            opened.namespace = namespace;
        }
        if opened.has(head::WORKLOAD) {
            opened.workload = (opened.text(), opened.text());
        }
        opened.called = opened.body.text();
        opened
    }

    /// The name of the first workload, if the pod's name starts with it.
    fn named_by(&self) -> Option<&str> {
        self.has(head::NAMED_BY_WORKLOAD).then(|| TextReader(&self.workload.1).text())
    }

    pub(super) fn name(&self) -> Cow<'a, str> {
        self.named_by().map_or_else(|| self.called.clone(), |workload| [workload, "-", &self.called].concat().into())
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        let called = match self.named_by() {
            Some(workload) => name.strip_prefix(workload).and_then(|name| name.strip_prefix('-')),
            None => Some(name),
        };
        called == Some(&*self.called)
    }

    pub(super) fn has(&self, flag: u16) -> bool {
        self.head & flag != 0
    }

    /// Reads the next text, from a slot or from the bytes.
    pub(super) fn text(&mut self) -> Cow<'a, str> {
        match name_of(self.slots.number()) {
            Some(name) => Cow::Borrowed(self.names.get(name)),
            None => self.body.text(),
        }
    }

    /// A number of slots. Each takes at least one byte, which bounds the result.
    pub(super) fn count_of_slots(&mut self) -> usize {
        usize::try_from(self.body.number()).unwrap_or(usize::MAX).min(self.slots.0.len())
    }
}

pub(super) fn name_of(slot: u64) -> Option<NameId> {
    u32::try_from(slot.checked_sub(1)?).ok().map(NameId::from_number)
}

pub(super) fn generation(head: u16, body: &mut ByteReader<'_>) -> Option<i64> {
    (head & head::GENERATION != 0).then(|| body.signed())
}

/// The resource version of an object: usually a number, but any text is allowed.
pub(super) enum ResourceVersion<'a> {
    Number(u64),
    Text(Cow<'a, str>),
}

impl<'a> ResourceVersion<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        match text.parse() {
            Ok(number) if is_written(number, text) => Self::Number(number),
            _ => Self::Text(text.into()),
        }
    }

    pub(super) fn flag(&self) -> u16 {
        if matches!(self, Self::Number(_)) { head::NUMBERED } else { 0 }
    }

    pub(super) fn write(&self, writer: &mut ByteWriter) {
        match self {
            Self::Number(number) => writer.number(*number),
            Self::Text(text) => writer.text(text),
        }
    }

    pub(super) fn read(head: u16, body: &mut ByteReader<'a>) -> Self {
        if head & head::NUMBERED == 0 { Self::Text(body.text()) } else { Self::Number(body.number()) }
    }

    pub(super) fn text(self) -> Cow<'a, str> {
        match self {
            Self::Number(number) => number.to_string().into(),
            Self::Text(text) => text,
        }
    }
}
