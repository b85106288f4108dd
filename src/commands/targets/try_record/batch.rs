//! Two made-up records in one batch: written, read and deleted.

use super::{Attempt, made_up::MadeUpPod, outcome::Attempted};
use crate::{mapping::batch::BatchRequest, reconcile::outcome::Failure, registry::Registry as _};

/// Records in a page of the client's list.
const PAGE: usize = 1_000;

impl Attempt {
    /// Does nothing if the target has no batch. The records are deleted also after a failure.
    pub(super) async fn run_batches(&mut self, one: &MadeUpPod, other: &MadeUpPod) {
        let batches = || self.reader.target().kinds.iter().flat_map(|kind| &kind.batches);
        let (puts, deletes) = (batches().any(BatchRequest::puts), batches().any(BatchRequest::deletes));
        if !puts && !deletes {
            return;
        }
        self.put_all(if puts { "batch put" } else { "put two" }, &[one, other]).await;
        // Results of a batch name no revisions, so the client reads them, as it does in a resync.
        if let Err(failure) = self.learn().await {
            self.add("list", Attempted::of(Err(failure)));
        }
        self.delete_all(if deletes { "batch delete" } else { "delete two" }, &[one, other]).await;
        self.read_deleted(one).await;
        self.read_deleted(other).await;
    }

    /// The client reads all records, if the registry can list them.
    pub(super) async fn learn(&self) -> Result<(), Failure> {
        if !self.reader.target().lists() {
            return Ok(());
        }
        let mut page = self.client.inventory(None, None, PAGE).await?;
        while page.next.is_some() {
            page = self.client.inventory(None, page.next, PAGE).await?;
        }
        Ok(())
    }
}
