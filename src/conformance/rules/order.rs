//! The order of versions: one stored record or tombstone, and one operation.

use crate::conformance::rule::{Level, ProtocolRule, rules};

rules! {
    PUT_CREATES: Must, "The order of versions", "nothing | put | created, 201",
        "Answer 201 when no record is stored under the id.";
    STORED_ANSWER: Must, "Put a record",
        "The answer is JSON with the stored version and digest. All three members are required:",
        "Answer puts with `id`, `digest` and `version`.";
    PUT_REPEATED: Must, "The order of versions",
        "a record, equal version | put, equal digest | nothing, 200: a repeated request",
        "Answer 200 to a put that is stored already.";
    PUT_REPLACES: Must, "The order of versions", "a record, lower version | put, other digest | replaced, 200",
        "Store the newer record, and answer 200.";
    PUT_MOVES_VERSION: Must, "The order of versions",
        "a record, lower version | put, equal digest | only the version moves, 200; this is no change",
        "Store the newer version also if the content is equal.";
    VERSION_PAIR: Must, "How it works",
        "version | the pair (epoch, seq), compared as a pair: first the epoch, then the seq",
        "Compare the epochs first, and the seqs only if the epochs are equal.";
    SAME_VERSION_OTHER_PUT: Must, "The order of versions",
        "a record, equal version | put, other digest | 409 `stale-version`",
        "Refuse other content under a version that is stored.";
    LATE_PUT: Must, "The order of versions", "a record, higher version | put or delete | 409 `stale-version`",
        "Compare the versions in the transaction of the write.";
    LATE_DELETE: Must, "The order of versions", "a record, higher version | put or delete | 409 `stale-version`",
        "Compare the versions in the transaction of the write.";
    SAME_VERSION_DELETE: Must, "The order of versions", "a record, equal version | delete | 409 `stale-version`",
        "Refuse a deletion with the version of the stored record.";
    DELETE: Must, "The order of versions", "a record, lower version | delete | the record becomes a tombstone, 204",
        "Remove the record, keep the version of the deletion, and answer 204.";
    DELETED_IS_GONE: Must, "Delete a record",
        "204: the record is gone now, was gone before, or was never known.",
        "Show deleted records neither by id nor in the inventory.";
    PUT_AFTER_DELETION: Must, "The order of versions", "a tombstone, equal or higher | put | 409 `tombstoned`",
        "Keep the version of a deletion, and refuse puts that are not above it.";
    PUT_COMES_BACK: Must, "The order of versions",
        "a tombstone, lower version | put | created again, 201: a pod that came back to a selection",
        "Store a put above the tombstone as a new record, with 201.";
    DELETE_REPEATED: Must, "The order of versions",
        "a tombstone, equal version | delete | nothing, 204: a repeated request",
        "Answer 204 to a deletion that was applied already.";
    DELETE_MOVES_TOMBSTONE: Must, "The order of versions",
        "a tombstone, lower version | delete | the tombstone moves, 204",
        "Keep the version of the newest deletion.";
    LATE_DELETE_OF_TOMBSTONE: Must, "The order of versions",
        "a tombstone, higher version | delete | 409 `stale-version`",
        "Refuse a deletion that is older than the tombstone.";
    DELETE_UNKNOWN: Must, "The order of versions", "nothing | delete | a tombstone is stored, 204",
        "Store a tombstone also for ids that you do not know.";
    CURRENT: Should, "Problems",
        "With `stale-version` and `tombstoned`, `current` should have what is stored, without `digest` for a tombstone.",
        "Send `current` with epoch and seq of what is stored, and with the digest of a record.";
    EPOCH_BEFORE_VERSION: Must, "Conventions",
        "The token (401, 403) comes first, then the address and the query (422), the size (413), `schema`, \
         `foreign-owner`, the epoch, and the version last.",
        "Check the epoch before the version: an old epoch is `stale-epoch`, whatever is stored.";
    SCHEMA_BEFORE_EPOCH: Should, "Conventions",
        "The token (401, 403) comes first, then the address and the query (422), the size (413), `schema`, \
         `foreign-owner`, the epoch, and the version last.",
        "Check the record before the epoch.";
}
