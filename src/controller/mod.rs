//! The controller: an event loop that keeps the registry equal to the store.
//!
//! One task owns the ledger and all parts, so there are no locks. A part does not know the others: it says when it is
//! due, and returns requests and effects as values.
//!
//! ```text
//!   pod events            answers about absences       Lease, approvals           replies of the registry
//!       |                          |                         |                            |
//!       v                          v                         v                            v
//!  +---------------------------------- event_loop -------------------------------------------------+
//!  | intake -> decisions: decide() for one pod or all <-> ledger          replies, apply (effects)  |
//!  +-----|------------|-------------------|----------------|--------------------|------------------+
//!        v            v                   v                v                    v
//!    absences      delivery            session         resync             availability
//!    lists,        queue, limits,      epoch, other    reading the        circuit breaker,
//!    guard         retries, answers    writers         inventory          capabilities
//!        |            |                   |                |                    |
//!        |            +-------------------+-- requests ----+--------------------+
//!        v                                       v
//!   questions, new lists                  the registry            report: logs, metrics, status
//! ```
//!
//! | question | file |
//! | --- | --- |
//! | Where is a deletion decided? | `event_loop::decisions` calls [`crate::reconcile::decide::decide`]; an inferred one first passes `absences` |
//! | Which record does a pod have? | `records`, filled by `event_loop::projected` if the registry does not see pods as the store does |
//! | How much does one turn do, and what goes on in the next ones? | `event_loop::turn` |
//! | How does a registry's list become ledger entries? | `inventory` reads and checks pages, `resync` orders them; `resync::learning` calls `Ledger::inventory_has` for each record |
//! | How are writes and retries limited? | the table in `delivery` |
//! | Where does a new request to the registry belong? | a variant of `requests::Request`, returned by the part that needs it |
//! | What happens for a registry without a feature? | `event_loop::EventLoop::ask_registry`; batches in `event_loop::deliver` |
//! | What does a person see of a target? | `activity`; `event_loop::activity` collects it |
//! | How do users of the cluster learn that a pod is registered? | `receipts`; `event_loop::receipts` answers the writer |
//! | What does a person see of one record? | `explain`; `event_loop::explain` collects it |
//! | What does an outcome change? | `delivery::answers` for writes, `event_loop::replies` for the others |

mod absences;
mod availability;
mod cluster;
mod comparison;
mod delivery;
mod display;
pub mod error;
pub mod event_loop;
pub mod explain;
mod identity;
mod inventory;
mod leadership;
mod lists;
mod notices;
pub mod options;
mod queue;
pub mod receipts;
mod records;
mod report;
mod requests;
mod resync;
mod session;
mod traces;
mod unknown_pods;
