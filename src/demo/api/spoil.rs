//! Pods that are shown in a shape that no decoder accepts, though the server holds them well.

use std::{collections::BTreeSet, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};

use super::object::Object;

/// The names of pods to be shown with a text where the list of containers belongs.
#[derive(Clone, Debug, Default)]
pub(super) struct Spoiled(Arc<BTreeSet<String>>);

impl Spoiled {
    pub(super) fn insert(&mut self, name: &str) {
        Arc::make_mut(&mut self.0).insert(name.to_owned());
    }

    pub(super) fn remove(&mut self, name: &str) {
        Arc::make_mut(&mut self.0).remove(name);
    }

    /// Writes a pod as a list item.
    pub(super) fn write_item(&self, pod: &Arc<Object>, to: &mut BytesMut) {
        to.put_slice(self.shown(pod).item());
    }

    /// A pod as a single object.
    pub(super) fn single(&self, pod: &Arc<Object>) -> Bytes {
        let mut out = BytesMut::with_capacity(pod.item().len() + 64);
        self.shown(pod).write_single(&mut out);
        out.freeze()
    }

    /// A pod's event, as one line of a watch.
    pub(super) fn line(&self, kind: &str, pod: &Arc<Object>) -> Bytes {
        let mut out = BytesMut::with_capacity(pod.item().len() + 96);
        out.put_slice(br#"{"type":""#);
        out.put_slice(kind.as_bytes());
        out.put_slice(br#"","object":"#);
        self.shown(pod).write_single(&mut out);
        out.put_slice(b"}\n");
        out.freeze()
    }

    fn shown(&self, pod: &Arc<Object>) -> Arc<Object> {
        if self.0.is_empty() || !self.0.contains(pod.names().1) {
            return pod.clone();
        }
        let spoiled = pod.document().and_then(|mut document| {
            document["spec"]["containers"] = "not a list".into();
            Object::new(pod.key.clone(), pod.resource_version, &document)
        });
        spoiled.map_or_else(|_| pod.clone(), Arc::new)
    }
}
