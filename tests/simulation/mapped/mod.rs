//! Registries that a targets file describes: the client of mapped targets against a plain REST registry in memory.
//!
//! | setup | the registry |
//! | --- | --- |
//! | `assigns` | assigns ids when a record is created; otherwise we choose them |
//! | `shares` | has one record for several pods |
//! | `compares_bodies` | has records without a digest, so that their members are compared |
//! | `trims` | stores a text without the spaces around it |
//! | `lag_ms` | lists what it held this long ago |
//! | `remembers` | cannot be read at all, and the client has a memory |
//! | `parts` | has records that belong to that of the pod: a kind of their own |

pub(crate) mod memory;
pub(crate) mod network;
pub(crate) mod promises;
pub(crate) mod registry;
pub(crate) mod target;
mod writer;

pub(crate) use writer::Writer;

/// The kind of a registry that a file describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Rest {
    pub(crate) assigns: bool,
    pub(crate) shares: bool,
    pub(crate) compares_bodies: bool,
    pub(crate) trims: bool,
    pub(crate) lag_ms: u16,
    /// Whether records are written in atomic batches.
    pub(crate) batches: bool,
    pub(crate) remembers: bool,
    pub(crate) parts: PartRecords,
}

/// Further records of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum PartRecords {
    #[default]
    None,
    /// The registry keeps a record while others belong to it.
    Kept,
    /// The registry removes them with the record that they belong to.
    Cascade,
}

impl Rest {
    /// The registry of a seed.
    pub(crate) fn of_seed(seed: u64) -> Self {
        // Drawn separately, so that the other values of a seed do not depend on it.
        let mut rng = fastrand::Rng::with_seed(seed.rotate_left(17));
        let assigns = rng.bool();
        let rest = Self {
            assigns,
            shares: rng.u8(0..3) == 0,
            compares_bodies: rng.bool(),
            trims: rng.bool(),
            lag_ms: [0, 0, 2_000, 9_000][rng.usize(0..4)],
            batches: !assigns && rng.bool(),
            remembers: false,
            parts: [PartRecords::None, PartRecords::Kept, PartRecords::Cascade][rng.usize(0..3)],
        };
        match rng.u8(0..4) {
            0 => {
                let parts = if rng.bool() { PartRecords::None } else { rest.parts };
                Self { assigns: false, compares_bodies: false, lag_ms: 0, remembers: true, parts, ..rest }
            }
            _ => rest,
        }
    }
}
