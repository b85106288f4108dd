//! Reads a registry that speaks protocol v1, for people. Unlike the client, it has no method that writes.

use serde_json::Value;

use super::{Client, Config, RECORD_ANSWER, SMALL_ANSWER};
use crate::{
    mapping::target::Target,
    model::{ids::RecordOwner, pod::Pod, uid::Uid},
    reconcile::{outcome::Failure, takeover::SessionHolder},
    registry::{Capabilities, Projection, Registry as _, credentials::Error, inventory::InventoryItem},
};

/// Records of a page, at most.
const PAGE: usize = 5_000;
/// A list with more pages is taken for an endless one.
const PAGES_MAX: usize = 10_000;

/// Reads the records of one owner.
pub struct V1Reader(Client);

impl V1Reader {
    /// # Errors
    /// The token file or the CA file cannot be used.
    pub fn new(config: Config, owner: RecordOwner) -> Result<Self, Error> {
        Client::new(config, owner).map(Self)
    }

    /// The same for a target of a targets file. `select` is the target, if it selects pods.
    ///
    /// # Errors
    /// The token file or the CA file cannot be used.
    pub fn of_target(config: Config, owner: RecordOwner, select: Option<Target>) -> Result<Self, Error> {
        let client = Client::of_targets_file(config, owner, None)?;
        Ok(Self(match select {
            Some(target) => client.selecting(target),
            None => client,
        }))
    }

    /// How the registry sees a pod.
    pub fn project(&self, pod: &Pod) -> Projection {
        self.0.project(pod)
    }

    /// # Errors
    /// The registry does not answer, or refuses.
    pub async fn capabilities(&self) -> Result<Capabilities, Failure> {
        self.0.capabilities().await
    }

    /// The registry's clock: the header `Date` of an answer.
    ///
    /// # Errors
    /// The registry does not answer.
    pub async fn date(&self) -> Result<Option<String>, Failure> {
        let answer = self.0.get(self.0.http.url("v1/capabilities", &[]), SMALL_ANSWER).await?;
        Ok(answer.headers.get("date").and_then(|date| date.to_str().ok()).map(str::to_owned))
    }

    /// The process that holds the owner's session. `None` if the registry does not know the owner.
    ///
    /// # Errors
    /// The registry does not answer, or refuses.
    pub async fn session_holder(&self) -> Result<Option<SessionHolder>, Failure> {
        self.0.session_holder().await
    }

    /// All records of the owner, without their bodies.
    ///
    /// # Errors
    /// The registry does not answer, or the list has no end.
    pub async fn inventory(&self) -> Result<Vec<InventoryItem>, Failure> {
        let (mut items, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = match self.0.inventory(None, token.take(), PAGE).await {
                // The registry has no record of this cluster yet.
                Err(Failure::NotFound) if items.is_empty() => return Ok(items),
                page => page?,
            };
            items.extend(page.items);
            token = page.next;
            if token.is_none() {
                return Ok(items);
            }
        }
        Err(Failure::Inventory(format!("the list has more than {PAGES_MAX} pages")))
    }

    /// A record as the registry holds it.
    ///
    /// # Errors
    /// The registry does not answer, or refuses.
    pub async fn record(&self, uid: &Uid) -> Result<Option<Value>, Failure> {
        let url = self.0.url(&format!("/pods/{uid}"), &[]);
        match self.0.get(url, RECORD_ANSWER).await?.json() {
            Err(Failure::NotFound | Failure::Expired) => Ok(None),
            record => record.map(Some),
        }
    }
}
