//! The pod whose record is written.

use crate::{
    mapping::{samples, spec::TargetSpec},
    model::{
        ids::RecordOwner,
        pod::{Pod, RecordContent},
        record::Record,
        uid::Uid,
    },
};

const UID: &str = "00000000-0000-4000-8000-706f64726567";
const NAME: &str = "pod-registrar-try";

pub(super) struct MadeUpPod {
    namespace: String,
}

impl MadeUpPod {
    /// A pod in a namespace that the target selects.
    pub(super) fn new(spec: &TargetSpec) -> Self {
        let select = spec.connection.select.as_ref();
        let selected = select.and_then(|select| select.namespaces.first()).map(|namespace| namespace.text.clone());
        Self { namespace: selected.unwrap_or_else(|| NAME.to_owned()) }
    }

    pub(super) fn name(&self) -> String {
        format!("{}/{NAME}", self.namespace)
    }

    /// Its record. Each variant has other values, as if the pod had changed.
    pub(super) fn record(&self, owner: &RecordOwner, variant: u8) -> Record {
        let [mut record, ..] = samples::all(&owner.cluster_id, &owner.cluster_name, &owner.owner);
        record.pod.uid = UID.to_owned();
        record.pod.name = NAME.to_owned();
        record.pod.namespace.clone_from(&self.namespace);
        record.placement.node = Some(format!("node-{variant}"));
        record.placement.pod_ips = vec![format!("192.0.2.{variant}"), format!("2001:db8::{variant}")];
        record.state.ready = Some(variant % 2 == 1);
        for container in &mut record.containers {
            container.restarts = Some(variant.into());
        }
        record
    }

    /// # Errors
    /// The record has no canonical form.
    pub(super) fn pod(&self, owner: &RecordOwner, variant: u8) -> Result<Pod, String> {
        let record = self.record(owner, variant);
        Ok(Pod {
            uid: Uid::from(UID),
            namespace: self.namespace.as_str().into(),
            name: NAME.into(),
            resource_version: "".into(),
            generation: None,
            content: Some(RecordContent::of(record).map_err(|error| error.to_string())?),
        })
    }
}
