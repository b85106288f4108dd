//! The pure core: what should be registered, what the registry is believed to hold, and what to do next.
//!
//! Nothing here waits, reads a clock, draws a random number or knows of HTTP: time and seeds come in, values go out.

pub mod brake;
pub mod budget;
pub mod compact;
pub mod desired;
mod digest;
mod ends;
mod freshness;
mod ids;
pub mod lease;
pub mod ledger;
mod moment;
pub mod notices;
pub mod object;
pub mod outage;
pub mod pace;
pub mod paging;
pub mod plan;
mod pod;
pub mod read_back;
pub mod record;
pub mod retry;
pub mod session;
mod sighting;
pub mod silence;
mod standing;
mod takeover;
pub mod tally;
pub mod time;
mod tolerant;
mod uid;
pub mod uid_map;
pub mod verdict;
pub mod watch_ends;

pub use compact::{Name, Names, Packed, Unpacked};
pub use desired::{AllowList, Rule};
pub use digest::{Buckets, Digest, Fingerprint, NOT_DIGESTED, ParseDigestError};
pub use freshness::{ListAge, Newest};
pub use ids::{
    DEFAULT_OWNER, INTEGER_LIMIT, Version, Writer, compare_resource_versions, is_namespace_name, is_pod_name,
    is_valid_id,
};
pub use lease::Leadership;
pub use ledger::{
    Applied, Attempt, Belief, Blame, Drift, Ended, Flight, Isolation, Known, Ledger, Settled, Tries, Walk, Work,
};
pub use moment::Moment;
pub use object::PodObject;
pub use plan::{Action, Removal, Wanted, decide, wanted};
pub use pod::{Content, Pod, PodRef, Shown};
pub use sighting::{Sighting, WatchList};
pub use standing::{Ability, SessionState, Standing};
pub use takeover::{Liveness, OtherWriter, Takeover};
pub use uid::{Text, Uid};
pub use uid_map::UidMap;
pub use verdict::{Failure, OperationKind, Said, StoredVersion, Verdict};
