//! Batches, for registries with the feature `batch`.

use crate::conformance::rule::{Level, ProtocolRule, rules};

rules! {
    BATCH_RESULTS: Must, "Write a batch",
        "`results` must have one entry per operation, in the order of the request, with the operation's `id` as it was \
         sent, even if it is no valid id.",
        "Answer with one result per operation, in the order of the operations.";
    BATCH_SUCCEEDS: Must, "Write a batch",
        "Answer 200 if all operations succeeded, and 207 if some did not.",
        "Answer 200 if the status of each operation is 200, 201 or 204.";
    BATCH_MIXED: Must, "Write a batch",
        "A batch is not atomic. Judge and apply each operation as if it were a request of its own.",
        "Answer 207, and apply the operations that are right.";
    BATCH_AS_REQUEST: Must, "Write a batch",
        "A batch is not atomic. Judge and apply each operation as if it were a request of its own.",
        "Use the same code for the operations of a batch and for single requests.";
    BATCH_PROBLEM: Must, "Write a batch",
        "After a failure, add `problem`.",
        "Add the problem that the operation would have had as a request.";
    BATCH_DIGEST: Should, "Write a batch",
        "After a put, `digest` should be the stored digest.",
        "Add the stored digest to the result of each put.";
    BATCH_EMPTY: Must, "Write a batch",
        "A batch without operations is 200 with empty `results`.",
        "Answer 200 with {\"results\":[]}.";
    BATCH_DUPLICATE: Must, "Write a batch",
        "An id that occurs twice is 422 `schema` for the whole batch.",
        "Look for duplicate ids before you apply the first operation.";
    BATCH_STALE_EPOCH: Must, "Write a batch",
        "Check the epoch of the batch once, for the whole batch: 409 `stale-epoch` or `unknown-session`, and nothing is \
         applied.",
        "Compare the batch's epoch with the newest session's, in the transaction of the writes.";
    BATCH_UNKNOWN_SESSION: Must, "Write a batch",
        "Check the epoch of the batch once, for the whole batch: 409 `stale-epoch` or `unknown-session`, and nothing is \
         applied.",
        "Refuse an epoch above the newest session's with 409 `unknown-session`.";
    BATCH_OPERATION_EPOCH: Must, "Write a batch",
        "An operation whose version names another epoch than the batch is `schema`.",
        "Compare the epoch of each operation with the batch's.";
    BATCH_UNKNOWN_OPERATION: Must, "Write a batch",
        "An unknown `op`, or an operation that is malformed, is `schema` for that operation alone.",
        "Answer 422 `schema` for that operation, and apply the others.";
    BATCH_VERSIONS: Must, "Write a batch",
        "`status` is the status that the operation would have had as a request.",
        "Apply the order of versions to each operation.";
    BATCH_NO_ID: Must, "Write a batch",
        "Where there is no `id`, or one that is no string, it is empty.",
        "Answer such an operation with an empty `id` and status 422, and judge the others.";
    BATCH_WITHIN_LIMIT: Must, "Capabilities",
        "`maxBatchItems` | may | operations per batch; 500 by default",
        "Take batches up to the limits that you claim, or claim the limits that you have.";
    BATCH_TOO_MANY: Must, "Write a batch",
        "More operations or bytes than your capabilities allow are 413 `too-large` for the whole batch.",
        "Count the operations before you apply the first one.";
    BATCH_REFUSED_WHOLE: Must, "Write a batch",
        "With any 4xx for the whole batch, nothing may have been applied.",
        "Judge the batch as a whole before you apply its first operation.";
    BATCH_TOO_LARGE: Must, "Write a batch",
        "More operations or bytes than your capabilities allow are 413 `too-large` for the whole batch.",
        "Read at most `maxBatchBytes`, and answer 413 `too-large`.";
    BATCH_RECORD_TOO_LARGE: Must, "Write a batch",
        "A record that is too large is `too-large` for its operation alone.",
        "Answer 413 `too-large` for that operation, and apply the others.";
}
