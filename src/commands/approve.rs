//! `pod-registrar approve`: approves the deletions of one hold.

use super::{Error, informers, output::Output};
use crate::{
    cli::{flags::ApproveSettings, values::LeaseName},
    kubernetes::{
        kubeconfig::Environment,
        lease::{LeaseClient, LeaseRef, approvals},
    },
};

/// Writes the approval to the Lease that the controller reads. Kubernetes checks whether the operator may change it.
pub(super) async fn run(settings: ApproveSettings, environment: Environment) -> Result<(), Error> {
    let ApproveSettings { hold, approval_lease, cluster, log: _ } = settings;
    let client = informers::cluster(cluster, environment)?.client();
    let LeaseName { namespace, name } = approval_lease;
    let lease = LeaseRef { namespace, name };
    approvals::approve(&LeaseClient::new(client, lease.clone()), &hold).await?;
    let line = format!("approved {hold} on the Lease {lease}; the controller reads it within seconds");
    Output::default().print(&[line]).await.map_err(Error::Output)
}
