//! What is refused, and what is kept of a record that is written.

use crate::conformance::rule::{Level, ProtocolRule, rules};

rules! {
    UNKNOWN_MEMBERS: Must, "Conventions",
        "Unknown members of a record must be kept and returned.",
        "Store the record as it was received, not the members that you know.";
    RECORD_READ: Must, "One record",
        "The answer has all members as they were received, and `digest`.",
        "Return the stored record, with its digest.";
    RECORD_UNKNOWN: Must, "One record",
        "`GET /v1/clusters/{cluster}/pods/{id}` → 200 with the record · 404 · 422.",
        "Answer 404 for ids without a record.";
    DIGEST_OF_CONTENT: Must, "Digests and the canonical form",
        "The digest that you report must be that of the content that you return.",
        "Return each record as it was received, with the digest of this content.";
    DIGEST: Should, "Digests and the canonical form",
        "You should compute the digest yourself.",
        "Compute the digest in four steps, and test it with docs/protocol-v1-vectors.json.";
    NUMBERS: Must, "Conventions",
        "Numbers are integers between -2^53 and 2^53, both excluded, without fraction or exponent, and not `-0`.",
        "Store epochs, seqs and all other numbers with 64 bits, and return them unchanged.";
    SCHEMA_LATER: Must, "Records",
        "Accept any `schema` from 1 upwards, and store it unchanged.",
        "Check only that `schema` is a whole number from 1.";
    REFUSED_VALUE: Should, "Conventions",
        "You should do so because parsers disagree about these, and the digest would depend on the parser.",
        "Refuse duplicate names, null, other forms of numbers and lone surrogates with 422 `schema`.";
    REFUSED_RECORD: Should, "Records",
        "You should refuse a record with `schema` if a required member is missing, if a known member has another type, \
         if `lifecycle`, `role` or a time has another form, if a time names a day that does not exist, or if `pod.uid` \
         is not the id that the address or the operation names.",
        "Check the record before you store it, and answer 422 `schema`.";
    REFUSED_OWNER: Should, "Records",
        "You should refuse it with `foreign-owner` if `cluster.id` or `owner` is not the writer's.",
        "Compare `cluster.id` and `owner` with the address, and answer 409 `foreign-owner`.";
    REFUSED_DIGEST: Should, "Digests and the canonical form",
        "A digest that is present and wrong is `schema`.",
        "Compute the digest, compare it with the one that was sent, and answer 422 `schema` if they differ.";
    REFUSED_JSON: Must, "Conventions",
        "A body that is no JSON is 422 `schema`.",
        "Answer 422 `schema` to a body that cannot be parsed.";
    RECORD_WITHIN_LIMIT: Must, "Capabilities",
        "`maxRecordBytes` | may | bytes of one record; 65,536 by default. Larger ones are parked",
        "Accept records up to the limit that you claim.";
    RECORD_TOO_LARGE: Must, "Problems",
        "413 | `too-large` | a record, a body or a batch is above a limit",
        "Refuse records above `maxRecordBytes` with 413 `too-large`.";
    UNKNOWN_REASON: Must, "Delete a record",
        "Accept values that you do not know, of up to 64 characters: a later release may send others.",
        "Do not check `reason` and `observed` against a list.";
    DELETE_PARAMETERS: Must, "Delete a record",
        "`epoch` and `seq` are required.",
        "Refuse a deletion without `epoch` or `seq` with 422 `schema`.";
}
