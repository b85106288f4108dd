//! Changes that were sent and are not acknowledged yet.

use super::memory::ChangeContent;
use crate::model::ids::Version;

/// A change that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) content: ChangeContent,
    /// Of the first attempt.
    pub(super) version: Version,
    /// When the first attempt began, in milliseconds since 1970.
    pub(super) began: i64,
    pub(super) arrival: Arrival,
}

/// Whether the registry may hold something else than what it acknowledged last, because of what was sent since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Arrival {
    /// No: nothing was sent, or the registry clearly refused it.
    #[default]
    No,
    /// A request is on its way. If the registry clearly refuses it, nothing has changed. `is_first` says that it is the
    /// first put of a record.
    OnItsWay { is_first: bool },
    /// Yes: a request had no clear answer.
    Maybe,
}

impl Attempt {
    /// Whether the registry may have taken it without an acknowledgement.
    pub(super) fn is_open(&self) -> bool {
        self.arrival != Arrival::No
    }

    /// Whether this change is sent again. A deletion that the registry may have received keeps its reason, because
    /// another process may know another one: that the pod is absent, and not that it was deleted.
    pub(super) fn repeats(&self, content: ChangeContent) -> bool {
        match (self.content, content) {
            (ChangeContent::Delete(Some(_)), ChangeContent::Delete(_)) if self.is_open() => true,
            (before, content) => before == content,
        }
    }
}
