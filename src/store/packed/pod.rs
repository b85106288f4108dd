//! One pod as bytes: its layout, and what is read of it without expanding it.
//!
//! ```text
//! length of the slots | slots | head | generation | resource version | workload | name | rest of the record
//! ```
//!
//! A slot stands for a text: the number of its name plus one, or zero for a text that is written out where its turn comes
//! behind the slots. The namespace has the first slot and always a name. So releasing walks the slots alone, and reading
//! goes through slots and bytes side by side.
//!
//! Of the record, UID, namespace and name are the pod's own and not kept again. A name that begins with its workload's
//! is kept as what follows.

use std::borrow::Cow;

use super::{
    bytes::{ByteReader, ByteWriter, TextReader, is_written},
    expand,
    names::{NameId, NameTable},
    pack,
};
use crate::model::record::Record;

/// Bits of the head: what there is, and how it is written.
pub(super) mod head {
    pub(crate) const RECORD: u16 = 1;
    pub(crate) const GENERATION: u16 = 1 << 1;
    /// The resource version is a number.
    pub(crate) const NUMBERED: u16 = 1 << 2;
    /// The name is the workload's, a dash, and more.
    pub(crate) const NAMED_BY_WORKLOAD: u16 = 1 << 3;
    pub(crate) const WORKLOAD: u16 = 1 << 4;
    pub(crate) const LABELS: u16 = 1 << 5;
    pub(crate) const ANNOTATIONS: u16 = 1 << 6;
    /// It has a node or a node's addresses.
    pub(crate) const PLACED: u16 = 1 << 7;
    pub(crate) const POD_IPS: u16 = 1 << 8;
    pub(crate) const HOST_NETWORK: u16 = 1 << 9;
    pub(crate) const CONTAINERS: u16 = 1 << 10;
    pub(crate) const SERVICE_ACCOUNT: u16 = 1 << 11;
    pub(crate) const TRUNCATED: u16 = 1 << 12;
}

/// One pod, packed. Its names are [`NameTable`]' and have to be given back: [`Packed::release`].
#[derive(Debug)]
pub struct Packed(pub(super) Box<[u8]>);

/// A pod that was expanded again.
#[derive(Clone, Debug, PartialEq)]
pub struct Unpacked {
    /// The namespace.
    pub namespace: String,
    /// The name, which pods may have one after another.
    pub name: String,
    /// The revision of the object.
    pub resource_version: String,
    /// The object's generation.
    pub generation: Option<i64>,
    /// What the registry should hold. None for an object that could not be read.
    pub record: Option<Record>,
}

impl Packed {
    /// Packs a pod. The record's UID, namespace and name are taken to be the pod's.
    pub fn pack(
        namespace: &str,
        name: &str,
        resource_version: &str,
        generation: Option<i64>,
        record: Option<&Record>,
        names: &mut NameTable,
    ) -> Self {
        let mut writer = pack::Packer::new(namespace, name, names);
        writer.identity(name, resource_version, generation, record);
        if let Some(record) = record {
            writer.record(name, record);
        }
        Self(writer.finish())
    }

    /// The pod as it was packed.
    pub fn expand(&self, uid: &str, names: &NameTable) -> Unpacked {
        let mut opened = self.open(names);
        let name = opened.name().into_owned();
        Unpacked {
            namespace: opened.namespace.to_owned(),
            record: opened.has(head::RECORD).then(|| expand::record(&mut opened, uid, &name)),
            name,
            generation: opened.generation,
            resource_version: opened.resource_version.text().into_owned(),
        }
    }

    /// The namespace.
    pub fn namespace<'a>(&self, names: &'a NameTable) -> &'a str {
        name_of(self.split().0.number()).map_or("", |name| names.get(name))
    }

    /// The name.
    pub fn name<'a>(&'a self, names: &'a NameTable) -> Cow<'a, str> {
        self.open(names).name()
    }

    /// The revision of the object.
    pub fn resource_version(&self) -> Cow<'_, str> {
        let (_, mut body) = self.split();
        let head = u16::from_le_bytes(body.array());
        generation(head, &mut body);
        ResourceVersion::read(head, &mut body).text()
    }

    /// The object's generation.
    pub fn generation(&self) -> Option<i64> {
        let (_, mut body) = self.split();
        generation(u16::from_le_bytes(body.array()), &mut body)
    }

    /// Whether the object could be read, so that there is a record.
    pub fn has_record(&self) -> bool {
        u16::from_le_bytes(self.split().1.array()) & head::RECORD != 0
    }

    /// Whether the pod is called so.
    pub fn is_named(&self, namespace: &str, name: &str, names: &NameTable) -> bool {
        self.namespace(names) == namespace && self.open(names).is_named(name)
    }

    /// Bytes that it takes on the heap.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Gives its names back. A packed pod that is dropped otherwise leaves its texts behind for good.
    pub fn release(self, names: &mut NameTable) {
        let (mut slots, _) = self.split();
        while !slots.0.is_empty() {
            if let Some(name) = name_of(slots.number()) {
                names.release(name);
            }
        }
    }

    /// The slots, and what is behind them.
    fn split(&self) -> (ByteReader<'_>, ByteReader<'_>) {
        let mut all = ByteReader(&self.0);
        let len = all.count();
        (ByteReader(all.take(len)), all)
    }

    fn open<'a>(&'a self, names: &'a NameTable) -> OpenPod<'a> {
        OpenPod::new(self.split(), names)
    }
}

/// A packed pod that is being read, up to its name.
pub(super) struct OpenPod<'a> {
    names: &'a NameTable,
    slots: ByteReader<'a>,
    pub(super) body: ByteReader<'a>,
    head: u16,
    pub(super) namespace: &'a str,
    pub(super) generation: Option<i64>,
    resource_version: ResourceVersion<'a>,
    /// What is the same for many workloads, and what is one's own.
    pub(super) workload: (Cow<'a, str>, Cow<'a, str>),
    /// The name, or what of it follows the workload's.
    called: Cow<'a, str>,
}

impl<'a> OpenPod<'a> {
    fn new((slots, mut body): (ByteReader<'a>, ByteReader<'a>), names: &'a NameTable) -> Self {
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

    /// The name of the first workload, where the pod's begins with it.
    fn named_by(&self) -> Option<&str> {
        self.has(head::NAMED_BY_WORKLOAD).then(|| TextReader(&self.workload.1).text())
    }

    fn name(&self) -> Cow<'a, str> {
        self.named_by().map_or_else(|| self.called.clone(), |workload| [workload, "-", &self.called].concat().into())
    }

    fn is_named(&self, name: &str) -> bool {
        let called = match self.named_by() {
            Some(workload) => name.strip_prefix(workload).and_then(|name| name.strip_prefix('-')),
            None => Some(name),
        };
        called == Some(&*self.called)
    }

    pub(super) fn has(&self, flag: u16) -> bool {
        self.head & flag != 0
    }

    /// The text whose turn it is.
    pub(super) fn text(&mut self) -> Cow<'a, str> {
        match name_of(self.slots.number()) {
            Some(name) => Cow::Borrowed(self.names.get(name)),
            None => self.body.text(),
        }
    }

    /// How many slots are named next, each of which takes a byte or more.
    pub(super) fn count_of_slots(&mut self) -> usize {
        usize::try_from(self.body.number()).unwrap_or(usize::MAX).min(self.slots.0.len())
    }
}

/// The name in a slot.
fn name_of(slot: u64) -> Option<NameId> {
    u32::try_from(slot.checked_sub(1)?).ok().map(NameId::from_number)
}

fn generation(head: u16, body: &mut ByteReader<'_>) -> Option<i64> {
    (head & head::GENERATION != 0).then(|| body.signed())
}

/// The revision of an object: a number as a rule, anything in principle.
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

    fn read(head: u16, body: &mut ByteReader<'a>) -> Self {
        if head & head::NUMBERED == 0 { Self::Text(body.text()) } else { Self::Number(body.number()) }
    }

    fn text(self) -> Cow<'a, str> {
        match self {
            Self::Number(number) => number.to_string().into(),
            Self::Text(text) => text,
        }
    }
}
