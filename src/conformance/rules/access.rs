//! Capabilities, problems, addresses and tokens.

use crate::conformance::rule::{Level, ProtocolRule, rules};

rules! {
    CAPABILITIES: Must, "Capabilities",
        "`protocol` | must | `v1`. The controller writes nothing to a registry that answers otherwise",
        "Answer GET /v1/capabilities with status 200 and JSON that has \"protocol\":\"v1\".";
    CAPABILITIES_MEMBERS: Must, "Capabilities",
        "`maxBatchItems` | may | operations per batch; 500 by default",
        "Leave the limits out, or send whole numbers of at least 1. `features` is a list of texts.";
    VALID_REQUEST: Must, "Conventions",
        "A request that follows this page must be answered with a status of success that its address names.",
        "Accept the request that was sent; the checks after it need it.";
    UNKNOWN_PARAMETERS: Must, "Conventions",
        "Unknown members elsewhere, unknown query parameters and unknown features must be ignored.",
        "Read the members and parameters that you know, and ignore all others.";
    IDS: Must, "Conventions",
        "Ids of clusters, owners and pods are 1 to 128 of `[A-Za-z0-9._~:@-]`; the first is a letter or a digit.",
        "Accept `:`, `@` and `~` in ids of 128 characters.";
    IDS_ESCAPED: Must, "Conventions",
        "In an address, decode `%`-escapes in ids only: the controller writes the `:` of `pods:batch` and `pods:digest` \
         as it is.",
        "Decode %-escapes in the last part of the address: `a%3Ab` is the id `a:b`.";
    ABSENT_NOT_NULL: Must, "Conventions",
        "Absent values are left out, never `null`.",
        "Leave members without a value out of your answers.";
    TIMES: Must, "Conventions",
        "Times are RFC 3339 in UTC with milliseconds: `2026-11-23T10:00:00.000Z`.",
        "Write times in UTC with three digits after the second, and `Z`.";
    HEAD: May, "Conventions",
        "HEAD may be answered like GET.",
        "Answer HEAD with the status of GET and no body.";
    PROBLEM_MEDIA_TYPE: Must, "Problems",
        "Errors are `application/problem+json` (RFC 9457).",
        "Send Content-Type: application/problem+json with each error.";
    PROBLEM_TYPE: Must, "Problems",
        "`type` must be there.",
        "Send the member `type` with each error: urn:pod-registrar:problem: and the name.";
    PROBLEM_DETAIL: Should, "Problems",
        "`detail` should say what is wrong and how to fix it; the controller logs its first 300 characters.",
        "Send the member `detail` with each error.";
    NOT_FOUND: Should, "Problems",
        "404 | `not-found` | there is nothing at this address",
        "Answer addresses that do not exist with 404 and a problem.";
    METHOD_NOT_ALLOWED: Should, "Problems",
        "405 | `method-not-allowed` | the address does not take this method. Send `Allow`",
        "Answer 405 with a problem and the header `Allow`.";
    TOKEN_MISSING: Must, "Problems",
        "401 | `unauthorized` | no token, or an unknown one. Send `WWW-Authenticate: Bearer`",
        "Answer requests without Authorization with 401 `unauthorized` and WWW-Authenticate: Bearer.";
    TOKEN_EVERYWHERE: Must, "Security",
        "The controller sends `Authorization: Bearer <token>` with every request, capabilities included.",
        "Check the token at every address, that of the capabilities included.";
    TOKEN_UNKNOWN: Must, "Security",
        "Answer 401 to an unknown token, 403 to another cluster's, before you check anything else of the request.",
        "Answer tokens that you do not know with 401 `unauthorized`.";
    TOKEN_OTHER: Must, "Security",
        "Answer 401 to an unknown token, 403 to another cluster's, before you check anything else of the request.",
        "Answer a token of another cluster with 403 `forbidden`.";
    TOKEN_FIRST: Must, "Conventions",
        "The token (401, 403) comes first, then the address and the query (422), the size (413), `schema`, \
         `foreign-owner`, the epoch, and the version last.",
        "Check the token before the address, the query and the body.";
}
