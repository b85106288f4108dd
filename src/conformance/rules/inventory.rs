//! The inventory: its pages, and its digests for registries with the feature `digest-inventory`.

use crate::conformance::rule::{Level, ProtocolRule, rules};

rules! {
    INVENTORY_COMPLETE: Must, "Inventory pages",
        "A record that exists during the whole reading must appear exactly once, even while others change.",
        "Continue a page after the last id of the page before, not at an offset.";
    INVENTORY_ONCE: Must, "Inventory pages",
        "A record that exists during the whole reading must appear exactly once, even while others change.",
        "Make `next` name the place after the page's last record, and use it.";
    INVENTORY_ORDER: Must, "Inventory pages",
        "Items are ordered by id, compared as bytes.",
        "Sort by the bytes of the id, without regard to a language.";
    INVENTORY_ITEMS: Must, "Inventory pages",
        "`view` | must | `digest`: id, digest and version, the default; `full`: whole records (may)",
        "Send id, digest and version of each record.";
    INVENTORY_LIMIT: Must, "Inventory pages",
        "`limit` | must | items per page; 500 by default, above 5,000 counts as 5,000",
        "Send at most `limit` items per page, and `next` if there are more.";
    INVENTORY_NEXT: Must, "Inventory pages",
        "`next` is opaque, at most 1,024 bytes, and absent on the last page.",
        "Leave `next` out on the last page.";
    INVENTORY_PAGES_FILLED: Must, "Inventory pages",
        "A page may be shorter than `limit`, but only the last one may be empty.",
        "Leave `next` out of an empty page.";
    INVENTORY_LIMIT_REDUCED: Must, "Inventory pages",
        "`limit` | must | items per page; 500 by default, above 5,000 counts as 5,000",
        "Take a `limit` above 5,000 as 5,000; do not refuse it.";
    INVENTORY_COUNT: Must, "Inventory pages",
        "`count` is the number of records that match, over all pages.",
        "Count all records of the writer, not those of the page.";
    INVENTORY_AS_OF: Must, "Inventory pages",
        "`asOf` is the number of the last change that this page has seen; it must not decrease during a reading.",
        "Send a number that never decreases, or 0.";
    INVENTORY_PAGE_UNREADABLE: Must, "Inventory pages",
        "A `page` that you cannot read is 410 `gone`; an empty one counts as absent.",
        "Answer 410 `gone` to a page token that is not yours.";
    INVENTORY_PARAMETERS: Must, "Inventory pages",
        "These are 422 `schema`: a `limit` that is 0 or no number, an unknown `view` or `lifecycle`, other `buckets`, a \
         `bucket` that is not from 0 to `buckets` - 1, and one of these parameters twice.",
        "Check the parameters, and answer 422 `schema`.";
    INVENTORY_FULL: Must, "Inventory pages",
        "`view` | must | `digest`: id, digest and version, the default; `full`: whole records (may)",
        "With view=full, send each record with all members as they were received, or answer 422 to this view.";
    INVENTORY_TEXT: Must, "Inventory pages",
        "`q` | may | text in namespace/name, id or node, without regard to case",
        "With `q`, send only records that have the text, and count them; or ignore `q`.";
    INVENTORY_LIFECYCLE: Must, "Inventory pages",
        "`lifecycle` | may | only records in this state",
        "With `lifecycle`, send only records in this state, and count them; or ignore `lifecycle`.";
}
