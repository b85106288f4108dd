//! Two replicas with the rights of the deployment and its Lease.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{
    rbac::{apply, deploy, leases},
    world::{ClusterHarness, in_cluster},
};
use crate::support::{SOON, eventually};

async fn lease(world: &ClusterHarness) -> Lease {
    world.api::<Lease>().get(&world.namespace).await.unwrap()
}

async fn held_by(world: &ClusterHarness, instance: &str) -> Lease {
    eventually("the lease is held", SOON * 2, async || {
        let lease = lease(world).await;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        if holder.starts_with(&format!("{instance}:")) { Ok(lease) } else { Err(format!("by {holder:?}")) }
    })
    .await
}

#[tokio::test]
async fn two_replicas_share_the_shipped_lease() {
    // One of them writes.
    in_cluster(async |world| {
        let kubeconfig = deploy(world).await;
        let place = format!("{0}/{0}", world.namespace);
        let replica = |instance: &str| {
            let flags = ["--lease", &place, "--lease-duration", "6s", "--instance", instance];
            world.controller_with(&kubeconfig, &flags)
        };
        let shipped = lease(world).await.spec.unwrap_or_default();
        assert_eq!(shipped, LeaseSpec::default(), "the manifest is empty");
        let mut first = replica("first");
        let spec = held_by(world, "first").await.spec.unwrap();
        assert_eq!((spec.lease_transitions, spec.lease_duration_seconds), (Some(1), Some(6)));
        assert!(spec.acquire_time.is_some() && spec.renew_time.is_some());
        let mut second = replica("second");
        for pod in ["a", "b", "c"] {
            world.create(pod).await;
        }
        world.running(3).await;
        world.equal().await;
        second.ready().await;

        // Applying the manifests again removes nothing from the Lease, and an annotation stays.
        let annotated = Patch::Merge(json!({"metadata": {"annotations": {"kept": "yes"}}}));
        world.api::<Lease>().patch(&world.namespace, &PatchParams::default(), &annotated).await.unwrap();
        apply(&world.client, &leases(&world.namespace), "lease.yaml", &world.namespace).await;
        let renewed = lease(world).await.spec.unwrap().renew_time;
        eventually("it is renewed", SOON, async || {
            let now = lease(world).await.spec.unwrap();
            if now.renew_time > renewed { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
        let spec = held_by(world, "first").await.spec.unwrap();
        assert_eq!(spec.lease_transitions, Some(1));

        first.terminate();
        assert_eq!(first.code().await, 0);
        let handed = held_by(world, "second").await;
        assert_eq!(handed.spec.unwrap().lease_transitions, Some(2));
        assert_eq!(handed.metadata.annotations.unwrap()["kept"], "yes");
        world.delete("a").await;
        world.equal().await;

        let mut third = replica("third");
        third.ready().await;
        second.kill();
        world.delete("b").await;
        world.create("d").await;
        let taken = held_by(world, "third").await;
        assert_eq!(taken.spec.unwrap().lease_transitions, Some(3));
        world.running(2).await;
        world.equal().await;
        assert_eq!((third.figure("watch_errors_total").await, third.figure("leader").await), (0.0, 1.0));
    })
    .await;
}
