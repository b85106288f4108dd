//! `pod-registrar approve`: a person says that held deletions may leave.

use super::{Error, informers, output::Output};
use crate::{
    cli::{flags::ApproveSettings, values::LeaseName},
    kubernetes::{
        kubeconfig::Environment,
        lease::{LeaseClient, LeaseRef, approvals},
    },
};

/// Writes the approval to where the controller reads it. Kubernetes asks whether this person may, and keeps the record.
pub(super) async fn run(settings: ApproveSettings, environment: Environment) -> Result<(), Error> {
    let ApproveSettings { hold, approval_lease, cluster, log: _ } = settings;
    let client = informers::cluster(cluster, environment)?.client();
    let LeaseName { namespace, name } = approval_lease;
    let lease = LeaseRef { namespace, name };
    approvals::approve(&LeaseClient::new(client, lease.clone()), &hold).await?;
    let said = format!("approved {hold} on the Lease {lease}; the controller reads it within seconds");
    Output::default().print(&[said]).await.map_err(Error::Output)
}
