//! Requests, and how their answers are judged.

use super::values::{
    ByteSize, Count, Entries, Flag, Method, Period, QueryParameters, ReadingText, ReadingTree, StatusPatterns,
    TemplateText, TemplateTree,
};
use crate::mapping::members::{members, names};

members! {
    /// One HTTP request.
    pub struct RequestSpec("a request") {
        /// The method.
        pub method: Option<Method> = "method",
        /// The path, joined to `url` with one slash. Values of templates are percent-encoded.
        pub path: TemplateText = "path",
        /// The query. A list repeats its parameter. Values of templates are percent-encoded.
        pub query: QueryParameters = "query",
        /// Headers, which come on top of the target's.
        pub headers: Entries<TemplateText> = "headers",
        /// The body, sent as JSON. Default: the record's `body` in put, create and update, otherwise none.
        pub body: Option<TemplateTree> = "body",
        /// Instead of `body`: form fields, sent as `application/x-www-form-urlencoded`.
        pub form: Option<Entries<TemplateText>> = "form",
        /// A condition that an answer with status 2xx must meet.
        pub check: Option<TemplateText> = "check",
        /// Rules for answers; the first that matches decides.
        pub outcome: Vec<OutcomeRule> = "outcome",
    }
}

members! {
    /// A request that writes one record.
    pub struct WriteSpec("a request") {
        /// The request.
        pub request: RequestSpec = flatten,
        /// `true`: a member that the record's `body` leaves out is sent as null, so that a PATCH clears it. `false`:
        /// the registry clears what a PATCH lacks.
        pub clear: Option<Flag> = "clear",
        /// How to read the id that the registry assigned from the answer.
        pub remote: Option<ReadingTree> = "remote",
        /// How to read the record's new revision from the answer.
        pub seen: Option<ReadingTree> = "seen",
    }
}

members! {
    /// A rule for answers. It matches if all of its conditions hold.
    pub struct OutcomeRule("a rule of `outcome`") {
        /// Statuses, such as 409 or 5xx, or a list of them. Default: all.
        pub status: Option<StatusPatterns> = "status",
        /// A condition, as a template that is exactly one expression.
        pub condition: Option<TemplateText> = "if",
        /// What the answer means.
        pub outcome: RuleOutcome = "is",
    }
}

members! {
    /// A sign of life.
    pub struct KeepaliveSpec("`keepalive`") {
        /// The interval, 1s to 24h.
        pub every: Period = "every",
        /// The request. Default method: POST.
        pub request: RequestSpec = "request",
    }
}

members! {
    /// A full push between two requests.
    pub struct RoundSpec("`round`") {
        /// The interval, 1m to 24h.
        pub every: Period = "every",
        /// The request before the first record. Default method: POST.
        pub begin: RequestSpec = "begin",
        /// The request after all records were acknowledged. Default method: POST.
        pub end: RequestSpec = "end",
    }
}

names! {
    /// What an answer means.
    pub enum RuleOutcome("an outcome") {
        /// The registry holds what was sent.
        Done = "done",
        /// Whether the request took effect is unknown.
        Uncertain = "uncertain",
        /// The record does not exist.
        Absent = "absent",
        /// A record with this id exists already.
        Exists = "exists",
        /// The record changed since it was read.
        Stale = "stale",
        /// The request did not take effect; sent again later.
        Retry = "retry",
        /// The record is refused and parked.
        Reject = "reject",
        /// The whole target waits.
        Pause = "pause",
        /// Another leader's term is in force.
        Fenced = "fenced",
    }
}

members! {
    /// A bulk request.
    pub struct BatchSpec("a batch") {
        /// The request. In its templates, `operations` is the list that the records add to.
        pub request: RequestSpec = flatten,
        /// The operations that one record to write adds.
        pub put: Vec<TemplateTree> = "put",
        /// The operations that one record to delete adds.
        pub delete: Vec<TemplateTree> = "delete",
        /// Limits of one request.
        pub max: BatchLimitsSpec = "max",
        /// Whether the body is one operation per line (NDJSON).
        pub lines: Flag = "lines",
        /// Whether a refused request changed nothing. It is then split to find the record at fault.
        pub atomic: Flag = "atomic",
        /// How to read the result of each record. Default: all have the result of the request.
        pub results: Option<ResultsSpec> = "results",
    }
}

members! {
    /// Limits of one bulk request. At least one of `records` and `operations` is required.
    pub struct BatchLimitsSpec("`max`") {
        /// Records, 1 to 10000.
        pub records: Option<Count<10_000>> = "records",
        /// Operations, 1 to 100000.
        pub operations: Option<Count<100_000>> = "operations",
        /// Bytes of the body, 1KiB to 256MiB.
        pub bytes: Option<ByteSize> = "bytes",
    }
}

members! {
    /// How to read the results of a bulk request. One of `id` and `index` is required.
    pub struct ResultsSpec("`results`") {
        /// The list of results in the answer.
        pub items: ReadingText = "items",
        /// The record's id in a result.
        pub id: Option<ReadingText> = "id",
        /// The position of the operation in the request, from 0.
        pub index: Option<ReadingText> = "index",
        /// The id that the registry assigned, or a map of ids.
        pub remote: Option<ReadingText> = "remote",
        /// The revision of the written record.
        pub seen: Option<ReadingText> = "seen",
        /// The result's status, as an HTTP status.
        pub status: Option<ReadingText> = "status",
        /// Rules for results; the first that matches decides.
        pub outcome: Vec<OutcomeRule> = "outcome",
        /// The reason of a refusal in a result.
        pub reason: Option<ReadingText> = "reason",
        /// Whether the list names only records that failed.
        pub failures_only: Flag = "failuresOnly",
    }
}
