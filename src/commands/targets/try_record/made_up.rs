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

/// Without the last two digits.
const UID: &str = "00000000-0000-4000-8000-706f647265";
const NAME: &str = "pod-registrar-try";

#[derive(Clone)]
pub(super) struct MadeUpPod {
    namespace: String,
    /// From 1 to 3: each has a name, a UID and addresses of its own.
    number: u8,
}

impl MadeUpPod {
    /// Pods in a namespace that the target selects.
    pub(super) fn all(spec: &TargetSpec) -> [Self; 3] {
        let select = spec.connection.select.as_ref();
        let selected = select.and_then(|select| select.namespaces.first()).map(|namespace| namespace.text.clone());
        let namespace = selected.unwrap_or_else(|| NAME.to_owned());
        [1, 2, 3].map(|number| Self { namespace: namespace.clone(), number })
    }

    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name())
    }

    fn name(&self) -> String {
        if self.number == 1 { NAME.to_owned() } else { format!("{NAME}-{}", self.number) }
    }

    fn uid(&self) -> String {
        format!("{UID}{:02x}", 0x66 + self.number)
    }

    /// Its record. Each variant has other values, as if the pod had changed.
    pub(super) fn record(&self, owner: &RecordOwner, variant: u8) -> Record {
        let [mut record, ..] = samples::all(&owner.cluster_id, &owner.cluster_name, &owner.owner);
        record.pod.uid = self.uid();
        record.pod.name = self.name();
        record.pod.namespace.clone_from(&self.namespace);
        record.placement.node = Some(format!("node-{variant}"));
        record.placement.pod_ips =
            vec![format!("192.0.2.{}{variant}", self.number), format!("2001:db8::{}{variant}", self.number)];
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
            uid: Uid::from(self.uid()),
            namespace: self.namespace.as_str().into(),
            name: self.name().as_str().into(),
            resource_version: "".into(),
            generation: None,
            content: Some(RecordContent::of(record).map_err(|error| error.to_string())?),
        })
    }
}
