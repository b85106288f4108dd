//! Reads a registry that speaks protocol v1, for people. Unlike the client, it has no method that writes.

use serde_json::Value;

use super::{Client, Config, RECORD_ANSWER};
use crate::{
    model::{ids::RecordOwner, uid::Uid},
    reconcile::{outcome::Failure, takeover::SessionHolder},
    registry::{Capabilities, Registry as _, credentials::Error, inventory::InventoryItem},
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

    /// # Errors
    /// The registry does not answer, or refuses.
    pub async fn capabilities(&self) -> Result<Capabilities, Failure> {
        self.0.capabilities().await
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
