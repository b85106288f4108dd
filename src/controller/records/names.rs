//! Records as people know them.

use super::DesiredRecords;
use crate::{
    model::{
        label::RecordLabel,
        pod::{Pod, PodRef},
        uid::Uid,
    },
    registry::{RecordId, Registry},
};

/// Names of absent pods to keep, at least. The guard asks for those of a sample of 20.
const NAMES_KEPT: usize = 100;

impl DesiredRecords {
    /// The registry named the pods of these records, which are absent.
    pub(in crate::controller) fn note_names(&mut self, pods: &[PodRef]) {
        for PodRef { uid, namespace, name } in pods {
            self.registered_names.insert(uid, format!("{namespace}/{name}").into(), NAMES_KEPT);
        }
    }

    /// A record as people know it.
    pub(in crate::controller) fn label<R: Registry>(&self, key: Uid, registry: &R) -> RecordLabel {
        let form_of = registry.may_be_that_of(&key);
        let pod = self.pod_of(form_of.as_ref().unwrap_or(&key));
        let known = registry.record_id(&key, pod.as_ref());
        let (kind, id) = known.map_or((None, None), |RecordId { kind, id }| (kind, id));
        let name = pod.as_ref().map(Pod::full_name);
        let uid = pod.map(|pod| pod.uid).or_else(|| self.keys_are_uids().then(|| key.clone()));
        let registered = || self.registered_names.get(&key).map(|name| name.to_string());
        let pod = name.or_else(|| self.view.departed(uid.as_ref()?)).or_else(registered);
        RecordLabel { key, kind, id, uid, pod }
    }
}
