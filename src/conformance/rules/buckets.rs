//! Bucket digests, for registries with the feature `digest-inventory`.

use crate::conformance::rule::{Level, ProtocolRule, rules};

rules! {
    BUCKETS_NUMBER: Must, "Bucket digests",
        "The answer has that many entries, in order.",
        "Answer with as many entries as `buckets` says; 256 without the parameter.";
    BUCKETS_COUNT: Must, "Bucket digests",
        "A record's bucket is the number in the first 0, 8 or 16 bits of SHA-256 of its id, big-endian.",
        "Count each record in the bucket that SHA-256 of its id names.";
    BUCKETS_DIGEST: Must, "Bucket digests",
        "A bucket's digest is the xor of the digests of its records, as 64 hexadecimal digits without `sha256:`.",
        "Compute the xor of the digests of the bucket's records; 64 zeros if it is empty.";
    BUCKETS_CONSISTENT: Must, "Bucket digests",
        "All entries, `count` and `asOf` come from one consistent read.",
        "Read everything in one transaction; `count` is the sum of the buckets.";
    BUCKETS_REFUSED: Must, "Bucket digests",
        "`buckets` is 1, 256 (the default) or 65,536.",
        "Answer 422 `schema` to other numbers.";
    BUCKET_PARAMETERS: Must, "Inventory pages",
        "These are 422 `schema`: a `limit` that is 0 or no number, an unknown `view` or `lifecycle`, other `buckets`, a \
         `bucket` that is not from 0 to `buckets` - 1, and one of these parameters twice.",
        "Compare `bucket` with `buckets`, and answer 422 `schema`.";
    INVENTORY_OF_BUCKET: Must, "Inventory pages",
        "`bucket`, `buckets` | | for `digest-inventory`: one bucket, of 256 by default",
        "With `bucket`, send only the records of this bucket.";
}
