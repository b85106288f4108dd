//! The layout of a packed pod, and access to it without expanding it.
//!
//! ```text
//! length of the slots | slots | head | generation | resource version | workload | name | rest of the record
//! ```
//!
//! A slot stands for a text: the number of its name plus one, or zero for a text that is written in full after the
//! slots, where its turn comes. The first slot is the namespace, which always has a name. Releasing a pod therefore
//! reads only the slots, and expanding it reads slots and bytes side by side.
//!
//! The UID, namespace and name of the record are those of the pod and are not stored twice. If the name begins with the
//! name of the workload, only the rest is stored.

use std::borrow::Cow;

use super::{
    bytes::ByteReader,
    expand,
    names::NameTable,
    open::{OpenPod, ResourceVersion, generation, head, name_of},
    pack,
};
use crate::model::{
    pod::{Pod, RecordContent},
    uid::Uid,
};

/// A packed pod. Give its names back with [`Packed::release`].
#[derive(Debug)]
pub struct Packed(pub(super) Box<[u8]>);

impl Packed {
    /// Packs a pod. The UID, namespace and name of its record must be its own.
    pub fn pack(pod: &Pod, names: &mut NameTable) -> Self {
        let record = pod.content.as_ref().map(|content| &content.record);
        let mut writer = pack::Packer::new(&pod.namespace, &pod.name, names);
        writer.identity(pod, record);
        if let Some(record) = record {
            writer.record(&pod.name, record);
        }
        Self(writer.finish())
    }

    pub fn expand(&self, uid: &Uid, names: &NameTable) -> Pod {
        let mut opened = self.open(names);
        let name = opened.name();
        let record = opened.has(head::RECORD).then(|| expand::record(&mut opened, &uid.text(), &name));
        Pod {
            uid: uid.clone(),
            namespace: opened.namespace.into(),
            name: name.into(),
            generation: opened.generation,
            resource_version: opened.resource_version.text().into(),
            // It never fails: the record had a canonical form before it was packed.
            content: record.and_then(|record| RecordContent::of(record).ok()),
        }
    }

    pub fn namespace<'a>(&self, names: &'a NameTable) -> &'a str {
        name_of(self.split().0.number()).map_or("", |name| names.get(name))
    }

    pub fn name<'a>(&'a self, names: &'a NameTable) -> Cow<'a, str> {
        self.open(names).name()
    }

    pub fn resource_version(&self) -> Cow<'_, str> {
        let (_, mut body) = self.split();
        let head = u16::from_le_bytes(body.array());
        generation(head, &mut body);
        ResourceVersion::read(head, &mut body).text()
    }

    pub fn is_named(&self, namespace: &str, name: &str, names: &NameTable) -> bool {
        self.namespace(names) == namespace && self.open(names).is_named(name)
    }

    /// Size on the heap in bytes.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Releases the names. A packed pod that is dropped without it leaks its texts.
    pub fn release(self, names: &mut NameTable) {
        let (mut slots, _) = self.split();
        while !slots.0.is_empty() {
            if let Some(name) = name_of(slots.number()) {
                names.release(name);
            }
        }
    }

    /// The slots, and the bytes after them.
    fn split(&self) -> (ByteReader<'_>, ByteReader<'_>) {
        let mut all = ByteReader(&self.0);
        let len = all.count();
        (ByteReader(all.take(len)), all)
    }

    fn open<'a>(&'a self, names: &'a NameTable) -> OpenPod<'a> {
        OpenPod::new(self.split(), names)
    }
}
