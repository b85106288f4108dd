//! Receipts: writes to pods that they are registered, as Events, conditions of readiness gates and annotations.
//!
//! ```text
//!   watches ──marks──> board ──waiting pods, passes──┐
//!                                                    v
//!   event loops ──acknowledgements────────────────> writer ──one task per pod──> request ──> API server
//!        ^                                           │
//!        └── what does each registry hold? ──────────┘
//! ```
//!
//! Nothing waits for the writer. It compares what pods show with what the registries hold, so whatever is lost on the
//! way is found by the next pass, also after a restart. Only Events are written once or never.
//!
//! | file | what it is for |
//! | --- | --- |
//! | [`board`] | the receipts that pods show, from the watches |
//! | `queue` | pods whose turn is to come, those that wait for their gate first |
//! | [`writer`] | passes, limits, leadership |
//! | `request` | one receipt: the request, its answer, and the retries |

pub mod board;
mod queue;
mod request;
pub mod writer;

use crate::reconcile::receipts::ReceiptKind;

/// The right that receipts of one kind need.
pub(super) struct KindRight {
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
    pub(super) verbs: &'static [&'static str],
}

impl KindRight {
    pub(super) fn of(kind: ReceiptKind) -> Self {
        match kind {
            ReceiptKind::Event => Self { group: "events.k8s.io", resource: "events", verbs: &["create"] },
            ReceiptKind::Gate => Self { group: "", resource: "pods/status", verbs: &["patch"] },
            ReceiptKind::Annotation => Self { group: "", resource: "pods", verbs: &["patch"] },
        }
    }
}

#[cfg(test)]
mod tests;
