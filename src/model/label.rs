//! How a record is shown to people, in logs and on pages.

use super::uid::Uid;

/// A record, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLabel {
    /// The key of the record in the ledger.
    pub key: Uid,
    /// The name of its kind. None if its target has no `kinds`, or it is not known.
    pub kind: Option<String>,
    /// Its id in the registry. None if that is the key, or is not known.
    pub id: Option<String>,
    /// The UID of its pod.
    pub uid: Option<Uid>,
    /// The namespace and name of its pod, as `NAMESPACE/NAME`.
    pub pod: Option<String>,
}

impl RecordLabel {
    pub fn of_key(key: Uid) -> Self {
        Self { key, kind: None, id: None, uid: None, pod: None }
    }

    /// The id in the registry, or else the key.
    pub fn id_or_key(&self) -> String {
        self.id.clone().unwrap_or_else(|| self.key.to_string())
    }

    /// The same behind its kind, because two kinds may have the same ids.
    pub fn name(&self) -> String {
        let id = self.id_or_key();
        self.kind.as_ref().map_or_else(|| id.clone(), |kind| format!("{kind} {id}"))
    }
}
