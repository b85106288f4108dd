//! What a registry still knows after a restart.

use crate::conformance::rule::{Level, ProtocolRule, rules};

rules! {
    RESTART_KEEPS_SESSION: Must, "Sessions",
        "You must store the session durably: epoch, `instance`, `scope`, `clusterUid`, and whether it is closed.",
        "Write the session to disk before you answer, and read it when you start.";
    RESTART_KEEPS_EPOCH: Must, "Sessions",
        "A new epoch must be above `minEpoch`, above the writer's newest epoch, and above the epoch of every record and \
         tombstone that you store for the writer.",
        "Keep the newest epoch on disk, and begin above it after a restart.";
    RESTART_KEEPS_RECORDS: Should, "Put a record",
        "The write should be durable before you answer: the controller finds a loss only at its next resync.",
        "Write the record and its version to disk before you answer.";
    RESTART_KEEPS_VERSIONS: Must, "The order of versions",
        "a record, higher version | put or delete | 409 `stale-version`",
        "Keep the version with the record on disk, and compare it after a restart, too.";
    RESTART_KEEPS_TOMBSTONES: Must, "The order of versions",
        "You must keep a tombstone for at least 1 h and should keep it for 24 h.",
        "Keep tombstones on disk, too.";
    RESTART_KEEPS_CHANGES: Must, "Changes",
        "Keep changes for 24 h or 1,000,000 entries.",
        "Keep changes and their numbers on disk, so that readers can resume.";
    RESTART_KEEPS_NUMBERS: Must, "Changes",
        "`n` never goes back, and is never used twice.",
        "Keep the last number on disk, and go on above it after a restart.";
}
