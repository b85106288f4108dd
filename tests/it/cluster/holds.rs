//! Held deletions with the rights of the deployment: an Event reports them, and an annotation of the Lease approves
//! them.

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::Value;

use super::{
    rbac::deploy,
    world::{ClusterHarness, in_cluster},
};
use crate::support::{Child, SOON, eventually};

/// Waits until the registry holds this many records of this owner.
async fn records(world: &ClusterHarness, count: usize) {
    eventually("the records", SOON, async || {
        let records = world.reader().records(&world.cluster, &world.owner).await?;
        if records.len() == count { Ok(()) } else { Err(format!("{} records", records.len())) }
    })
    .await;
}

#[tokio::test]
async fn approval_releases_records_of_narrowed_settings() {
    in_cluster(async |world| {
        let kubeconfig = deploy(world).await;
        let place = format!("{0}/{0}", world.namespace);
        for pod in ["a", "b", "c"] {
            world.create(pod).await;
        }
        world.running(3).await;
        world.label("b", "other").await;
        let mut wide = world.controller_with(&kubeconfig, &["--lease", &place]);
        world.equal().await;
        wide.terminate();
        assert_eq!(wide.code().await, 0);

        let mut narrow = world.controller_with(&kubeconfig, &["--lease", &place, "--label-selector", "app=web"]);
        let line = narrow.log_line("deletions are held").await;
        let hold = line.split("hold=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
        let event = eventually("the Event", SOON, async || {
            let events = world.api::<Event>().list(&ListParams::default()).await.map_err(|e| e.to_string())?;
            let holds = events.items.iter().filter(|event| event.reason.as_deref() == Some("DeletionsHeld"));
            match holds.collect::<Vec<_>>().as_slice() {
                [event] => Ok((*event).clone()),
                other => Err(format!("{} of {}", other.len(), events.items.len())),
            }
        })
        .await;
        let note = event.note.unwrap();
        assert!(note.contains(&format!("pod-registrar approve {hold} --approval-lease {place}")), "{note}");
        assert_eq!(event.regarding.unwrap().kind.as_deref(), Some("Lease"));
        records(world, 3).await;

        // With its own account, the controller cannot approve anything.
        for (account, code) in [(&kubeconfig, 1), (&world.kubeconfig, 0)] {
            let account = account.to_str().unwrap();
            let mut said = Child::start(&["approve", &hold, "--approval-lease", &place, "--kubeconfig", account]);
            assert_eq!(said.code().await, code, "{:?}", said.stderr());
        }
        records(world, 2).await;
        let changes = world.reader().changes(&world.cluster).await.unwrap();
        let removed: Vec<&Value> = changes.iter().filter(|change| change["op"] == "delete").collect();
        assert!(removed.len() == 1 && removed[0]["reason"] == "left-rule", "{removed:?}");
        narrow.log_line("declaring the current ones").await;
        assert_eq!(narrow.figure("leader").await, 1.0, "it led all the time");
    })
    .await;
}
