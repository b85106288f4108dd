//! `docs/examples/registry.py`, the smallest registry that the controller works with.

use std::{
    io::{BufRead as _, BufReader, ErrorKind},
    process::{Child, Command, Stdio},
};

use pod_registrar::model::{digest::Digest, ids::DEFAULT_OWNER};

use super::world::{CLUSTER, Kube, name};
use crate::{
    project,
    support::{Controller, Reader, SOON, notice},
};

/// The example as a process. It is killed when this is dropped.
pub(super) struct Example {
    process: Child,
    pub(super) url: String,
}

impl Example {
    /// Starts the example on a port of its own. Returns `None` if Python is missing.
    pub(super) fn start() -> Option<Self> {
        let file = project::root().join("docs/examples/registry.py");
        let spawned = Command::new("python3").arg(file).arg("0").stdout(Stdio::piped()).spawn();
        let mut process = match spawned {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            spawned => spawned.unwrap(),
        };
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Some(Self { process, url })
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn example_registry_equals_the_cluster() {
    let Some(example) = Example::start() else { return notice("skipped: python3 is missing") };
    let (kube, registry) = (Kube::start().await, Reader::new(&example.url));
    kube.create(0..5);
    let mut controller = Controller::start(&kube.kubeconfig, &example.url, &[]);
    kube.equals(&registry, SOON).await;
    kube.create(5..8);
    kube.label(&name(1), "changed");
    kube.delete(2..4);
    kube.equals(&registry, SOON).await;
    // The inventory shows what changed while no controller was running.
    controller.synced().await;
    controller.kill();
    kube.create(8..9);
    kube.label(&name(0), "changed");
    kube.delete(4..6);
    let mut controller = Controller::start(&kube.kubeconfig, &example.url, &[]);
    kube.equals(&registry, SOON).await;
    for record in registry.records(CLUSTER, DEFAULT_OWNER).await.unwrap().values() {
        let digest = Digest::of_record(record.as_object().unwrap()).unwrap().to_string();
        assert_eq!(record["digest"], digest, "{record}");
    }
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    assert_eq!(registry.writer(CLUSTER, DEFAULT_OWNER).await.unwrap()["state"], "closed");
}
