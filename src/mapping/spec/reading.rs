//! Requests that read, and how records are read from their answers.

use super::{
    request::{RequestSpec, WriteSpec},
    values::{Entries, Flag, Period, ReadingText, ReadingTree, TemplateText, TemplateTree, WordName},
};
use crate::mapping::members::members;

members! {
    /// The request that reads all records, page by page.
    pub struct ListSpec("`list`") {
        /// The request.
        pub request: RequestSpec = flatten,
        /// The list of records in the answer.
        pub items: ReadingText = "items",
        /// How to ask for the next page. Default: there is one page.
        pub next: Option<NextSpec> = "next",
        /// The number of all records, as the registry counts them.
        pub count: Option<ReadingText> = "count",
        /// For how long a list may not show what was written. Default: 0s.
        pub lag: Option<Period> = "lag",
    }
}

members! {
    /// How to ask for the next page: `url`, `link`, or `then` with `start` and `while`.
    pub struct NextSpec("`next`") {
        /// The address of the next page, as the answer names it. Only its path and query are used.
        pub url: Option<ReadingText> = "url",
        /// Whether the header `Link` names the next page.
        pub link: Flag = "link",
        /// The word `page` of the first request. Default: undefined.
        pub start: Option<TemplateTree> = "start",
        /// The word `page` of the next request. Without a value, the list is complete.
        pub then: Option<ReadingTree> = "then",
        /// Whether there is a next page.
        pub condition: Option<TemplateText> = "while",
    }
}

members! {
    /// The request that reads one record.
    pub struct FindSpec("a request that finds a record") {
        /// The request.
        pub request: RequestSpec = flatten,
        /// The record in the answer. An empty text is the whole answer.
        pub at: ReadingText = "at",
    }
}

members! {
    /// How to read one record from `list` and `find`.
    pub struct ItemSpec("`item`") {
        /// The record's id.
        pub id: ReadingText = "id",
        /// The id, or a map of ids, that the registry assigned.
        pub remote: Option<ReadingTree> = "remote",
        /// The record's revision, or a map of values that make it.
        pub seen: Option<ReadingTree> = "seen",
        /// The owner mark. A record with another mark, or none, is never touched.
        pub mark: Option<ReadingText> = "mark",
        /// Instead of `body`: the digest that the record's body stored. Edits that keep it stay unseen.
        pub digest: Option<ReadingText> = "digest",
        /// The record's body, or a map of readings. The members that it reads are compared.
        pub body: Option<ReadingTree> = "body",
        /// Whether the record is retired: it exists and counts as deleted.
        pub gone: Option<ReadingText> = "gone",
    }
}

members! {
    /// Something that records refer to, such as a type or a tag. At least one of `find` and `create` is required.
    pub struct PrepareSpec("an item of `prepare`") {
        /// The name, used as `prepared.NAME`.
        pub name: WordName = "name",
        /// Looks it up.
        pub find: Option<FindSpec> = "find",
        /// Creates it if it was not found. Default method: POST.
        pub create: Option<WriteSpec> = "create",
        /// Values to keep from the answer, used as `prepared.NAME.WORD`.
        pub keep: Entries<ReadingText> = "keep",
    }
}
