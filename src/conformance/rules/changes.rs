//! The feed of changes, for registries with the feature `changes`.

use crate::conformance::rule::{Level, ProtocolRule, rules};

rules! {
    CHANGES_LISTED: Must, "Changes",
        "An operation is a change if it created a record, changed its digest, or removed it.",
        "Log each such operation in its transaction, with `op`, `id`, `cluster` and `owner`.";
    CHANGES_ONLY_REAL: Must, "Changes",
        "Repeated requests, equal puts and deletions of unknown ids are no changes.",
        "Log nothing if the content stays as it is.";
    CHANGES_ORDER: Must, "Changes",
        "`n` never goes back, and is never used twice.",
        "Take `n` from one counter for all clusters, in the transaction of the change.";
    CHANGES_RESUME: Must, "Changes",
        "`next` is the `since` of the next request; if nothing matches, it is the last number.",
        "Send as `next` the number of the last change of the answer.";
    CHANGES_SINCE: Must, "Changes",
        "`next` is the `since` of the next request; if nothing matches, it is the last number.",
        "Send only changes with a number above `since`.";
    CHANGES_LAST: Must, "Changes",
        "`next` is the `since` of the next request; if nothing matches, it is the last number.",
        "If no change matches, send the number of the last change of all clusters as `next`.";
    CHANGES_LIMIT: Must, "Changes",
        "`limit` is 1,000 by default; above 5,000 counts as 5,000.",
        "Send at most `limit` changes, and take a higher `limit` as 5,000.";
    CHANGES_OF_ALL: Must, "Changes",
        "Without it, show the changes of all clusters that the token covers; that is not 403.",
        "Without `cluster`, send the changes of all clusters.";
    CHANGES_FILTER: Must, "Changes",
        "`cluster` is an optional filter, and the only one.",
        "With `cluster`, send only changes of this cluster.";
    CHANGES_REASON: Must, "Changes",
        "`reason` and `observed` come with deletions.",
        "Keep `reason` and `observed` of a deletion in its change.";
    CHANGES_GONE: Must, "Changes",
        "A `since` that is older, or above the last number, is 410 `gone`: the reader reads the inventory and continues \
         from its `asOf`.",
        "Answer 410 `gone` to a `since` above the last number.";
    CHANGES_STREAM: Must, "Changes",
        "With `Accept: text/event-stream`, the same changes come as server-sent events: `id` is `n`, `data` is one item.",
        "Answer Accept: text/event-stream with one event per change, and end it with an empty line.";
    CHANGES_STREAM_RESUME: Must, "Changes",
        "`Last-Event-ID` resumes and counts more than `since`.",
        "Begin after the number in the header Last-Event-ID, whatever `since` says.";
    CHANGES_AS_OF: Must, "Inventory pages",
        "`asOf` is the number of the last change that this page has seen; it must not decrease during a reading.",
        "Send the number of the last change as `asOf` of the inventory.";
}
