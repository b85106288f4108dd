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
//!  |   joins the parts: receives, lets them act when they are due, applies what follows for others  |
//!  +----|-------------|--------------|--------------|------------|------------|-------------|-------+
//!       v             v              v              v            v            v             v
//!   comparison     absences       delivery       session      resync    availability   report, display
//!   records,       the guard,     limits of      epoch,       reads     circuit        logs, metrics,
//!   ledger,        holds,         writes,        other        the       breaker,       status, what
//!   queue, lists   scope          retries        writers      inventory capabilities   people see
//!       |             |              |              |            |            |
//!       |             |              +--------------+- requests -+------------+
//!       v             v                                    v
//!   new lists     questions                           the registry
//! ```
//!
//! | question | file |
//! | --- | --- |
//! | Where is a deletion decided? | `comparison::decisions` calls [`crate::reconcile::decide::decide`]; an inferred one first passes `absences` |
//! | Which record does a pod have? | `records`, filled by `comparison::projection` if the registry does not see pods as the store does |
//! | How much does one turn do, and what goes on in the next ones? | `event_loop::turn` |
//! | How does a registry's list become ledger entries? | `inventory` reads and checks pages, `resync` orders them; `resync::learning` calls `Ledger::inventory_has` for each record |
//! | How are writes and retries limited? | the table in `delivery` |
//! | Where does a new request to the registry belong? | a variant of `requests::Request`, returned by the part that needs it |
//! | What happens for a registry without a feature? | `event_loop::EventLoop::ask_registry`; batches in `event_loop::deliver` |
//! | What does a person see of a target? | `display`; `event_loop::inform` adds what the other parts know |
//! | How do users of the cluster learn that a pod is registered? | `receipts`; `comparison::registration` answers the writer |
//! | What does a person see of one record? | `explain`; `comparison::registration` says how the record is compared |
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
