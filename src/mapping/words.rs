//! The words of templates, and which of them exist where.
//!
//! | where | words |
//! | --- | --- |
//! | `mark` | `cluster owner` |
//! | `select.when`, `id` | the record, `cluster owner mark vars` |
//! | `each`, `when` of a kind | those of `id` |
//! | `body` | the record, `cluster owner id mark digest prepared vars omit` |
//! | `put`, `create`, `update`, `put` of a batch | those of `body`, `body remote seen change term` |
//! | `delete`, `delete` of a batch | `id remote seen mark owner cluster term change removal prepared vars omit` |
//! | `find` | those of `delete` without `change` and `removal` |
//! | `adopt` | those of `body`, `body term` |
//! | `list` | `mark owner cluster term prepared vars omit page` |
//! | a batch's own request | `mark owner cluster term prepared vars omit operations` |
//! | `prepare` | `mark owner cluster term prepared vars omit` |
//! | `keepalive`, `round` | the same, and `change` |
//! | readings and conditions on answers | `answer item header status text page mark owner cluster term prepared vars` |
//!
//! A kind with `each` has the word `each` wherever the record is, and one with `of` has the word `of` wherever `body`
//! is.

use std::fmt;

/// A word of templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Word {
    Answer,
    Body,
    Change,
    Cluster,
    Containers,
    Digest,
    /// The element of a kind's `each`.
    Each,
    Header,
    Id,
    /// The element of `$each`.
    It,
    Item,
    Mark,
    /// The records that a record belongs to, by kind.
    Of,
    Omit,
    Operations,
    Owner,
    Page,
    Placement,
    Pod,
    Prepared,
    Remote,
    Removal,
    /// The outermost workload, or the pod.
    Root,
    /// Only in `auth.login`.
    Secret,
    Seen,
    ServiceAccount,
    State,
    Status,
    Term,
    Text,
    Times,
    Truncated,
    Vars,
    Workload,
}

use self::Word::{
    Answer, Body, Change, Cluster, Containers, Digest, Each, Header, Id, It, Item, Mark, Of, Omit, Operations, Owner,
    Page, Placement, Pod, Prepared, Remote, Removal, Root, Secret, Seen, ServiceAccount, State, Status, Term, Text,
    Times, Truncated, Vars, Workload,
};

impl Word {
    pub const ALL: [Self; 34] = [
        Answer,
        Body,
        Change,
        Cluster,
        Containers,
        Digest,
        Each,
        Header,
        Id,
        It,
        Item,
        Mark,
        Of,
        Omit,
        Operations,
        Owner,
        Page,
        Placement,
        Pod,
        Prepared,
        Remote,
        Removal,
        Root,
        Secret,
        Seen,
        ServiceAccount,
        State,
        Status,
        Term,
        Text,
        Times,
        Truncated,
        Vars,
        Workload,
    ];

    pub fn named(name: &str) -> Option<Self> {
        // A match is much faster than a search, and each use of a word in a template comes here.
        Some(match name {
            "answer" => Answer,
            "body" => Body,
            "change" => Change,
            "cluster" => Cluster,
            "containers" => Containers,
            "digest" => Digest,
            "each" => Each,
            "header" => Header,
            "id" => Id,
            "it" => It,
            "item" => Item,
            "mark" => Mark,
            "of" => Of,
            "omit" => Omit,
            "operations" => Operations,
            "owner" => Owner,
            "page" => Page,
            "placement" => Placement,
            "pod" => Pod,
            "prepared" => Prepared,
            "remote" => Remote,
            "removal" => Removal,
            "root" => Root,
            "secret" => Secret,
            "seen" => Seen,
            "serviceAccount" => ServiceAccount,
            "state" => State,
            "status" => Status,
            "term" => Term,
            "text" => Text,
            "times" => Times,
            "truncated" => Truncated,
            "vars" => Vars,
            "workload" => Workload,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Answer => "answer",
            Body => "body",
            Change => "change",
            Cluster => "cluster",
            Containers => "containers",
            Digest => "digest",
            Each => "each",
            Header => "header",
            Id => "id",
            It => "it",
            Item => "item",
            Mark => "mark",
            Of => "of",
            Omit => "omit",
            Operations => "operations",
            Owner => "owner",
            Page => "page",
            Placement => "placement",
            Pod => "pod",
            Prepared => "prepared",
            Remote => "remote",
            Removal => "removal",
            Root => "root",
            Secret => "secret",
            Seen => "seen",
            ServiceAccount => "serviceAccount",
            State => "state",
            Status => "status",
            Term => "term",
            Text => "text",
            Times => "times",
            Truncated => "truncated",
            Vars => "vars",
            Workload => "workload",
        }
    }
}

/// A set of words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordSet(u64);

impl WordSet {
    pub const NONE: Self = Self(0);
    /// The words that hold the v1 record.
    pub const RECORD: Self = Self::of(&[
        Cluster,
        Containers,
        Owner,
        Placement,
        Pod,
        Root,
        ServiceAccount,
        State,
        Times,
        Truncated,
        Workload,
    ]);
    /// The words that a record's members do not change.
    pub const IDENTITY: Self = Self::of(&[Digest, Mark]);
    /// The words whose values are unknown when the file is loaded.
    pub const UNKNOWN: Self =
        Self::of(&[Answer, Header, Item, Of, Operations, Page, Prepared, Remote, Secret, Seen, Text]);
    /// The words that can tell one record from another. The body is not among them: it says what the record holds.
    pub const NAMING: Self = Self::RECORD.and(Self::of(&[Each, Id, Of, Remote])).without(Self::of(&[Cluster, Owner]));
    /// The words that only some kinds have.
    pub const OF_KINDS: Self = Self::of(&[Each, Of]);

    pub const fn of(words: &[Word]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < words.len() {
            bits |= 1 << words[at] as u64;
            at += 1;
        }
        Self(bits)
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn has(self, word: Word) -> bool {
        self.overlaps(Self::of(&[word]))
    }

    pub fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn words(self) -> impl Iterator<Item = Word> {
        Word::ALL.into_iter().filter(move |word| self.has(*word))
    }
}

/// Lists the words, as errors name them.
impl fmt::Display for WordSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.words().map(Word::name).collect();
        f.write_str(&names.join(", "))
    }
}

/// Where a template stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    Mark,
    When,
    /// `each` of a kind.
    KindEach,
    /// `when` of a kind.
    KindWhen,
    Id,
    Body,
    /// `put`, `create`, `update`, and `put` of a batch.
    Write,
    Delete,
    Find,
    Adopt,
    List,
    /// A batch's own request.
    Batch,
    Prepare,
    /// `keepalive`, and `begin` and `end` of a round.
    Notice,
    /// A reading or a condition on an answer.
    Answer,
    /// A reading of one item of an answer.
    Item,
    /// A reading or a condition for the next page.
    Next,
    /// The word that names the first page.
    FirstPage,
    Vars,
    Login,
}

impl Position {
    pub fn words(self) -> WordSet {
        const TERM: WordSet = WordSet::of(&[Mark, Owner, Cluster, Term, Prepared, Vars]);
        const OMIT: WordSet = WordSet::of(&[Omit]);
        const BODY: WordSet = WordSet::RECORD.and(WordSet::of(&[Each, Id, Mark, Digest, Of, Prepared, Vars, Omit]));
        const FIND: WordSet = TERM.and(WordSet::of(&[Id, Remote, Seen, Omit]));
        const ANSWER: WordSet = TERM.and(WordSet::of(&[Answer, Header, Status, Text]));
        match self {
            Self::Mark => WordSet::of(&[Cluster, Owner]),
            Self::When => WordSet::RECORD.and(WordSet::of(&[Mark, Vars])),
            Self::KindEach | Self::KindWhen | Self::Id => WordSet::RECORD.and(WordSet::of(&[Each, Mark, Vars])),
            Self::Body => BODY,
            Self::Write => BODY.and(WordSet::of(&[Body, Remote, Seen, Change, Term])),
            Self::Delete => FIND.and(WordSet::of(&[Change, Removal])),
            Self::Find => FIND,
            Self::Adopt => BODY.and(WordSet::of(&[Body, Term])),
            Self::List => TERM.and(WordSet::of(&[Page, Omit])),
            Self::Batch => TERM.and(WordSet::of(&[Operations, Omit])),
            Self::Prepare => TERM.and(OMIT),
            Self::Notice => TERM.and(WordSet::of(&[Change, Omit])),
            Self::Answer => ANSWER,
            Self::Item => ANSWER.and(WordSet::of(&[Item])),
            Self::Next => ANSWER.and(WordSet::of(&[Page])),
            Self::FirstPage => TERM,
            Self::Vars => WordSet(u64::MAX).without(WordSet::of(&[Omit, It, Of, Secret])),
            Self::Login => WordSet::of(&[Cluster, Owner, Secret]),
        }
    }

    /// The position, as errors name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mark => "`mark`",
            Self::When => "`select.when`",
            Self::KindEach => "`each`",
            Self::KindWhen => "`when`",
            Self::Id => "`id`",
            Self::Body => "`body`",
            Self::Write => "a request that writes",
            Self::Delete => "`delete`",
            Self::Find => "`find`",
            Self::Adopt => "`adopt`",
            Self::List => "`list`",
            Self::Batch => "a batch's own request",
            Self::Prepare => "`prepare`",
            Self::Notice => "`keepalive` and `round`",
            Self::Answer => "a reading of an answer",
            Self::Item => "a reading of an item",
            Self::Next => "`next`",
            Self::FirstPage => "`next.start`",
            Self::Vars => "`vars`",
            Self::Login => "`auth.login`",
        }
    }

    /// Why the position lacks the word, if the reason is not obvious.
    pub fn reason_against(self, word: Word) -> &'static str {
        match (self, word) {
            (Self::Delete | Self::Find, word) if WordSet::RECORD.and(WordSet::OF_KINDS).has(word) => {
                ": the pod is gone when it is sent"
            }
            (Self::Body, Change | Term | Seen) => ": it changes by itself, so every record would be written again",
            (Self::Id | Self::When | Self::KindEach | Self::KindWhen, Prepared | Of) => {
                ": it is not known when the pod is read"
            }
            (Self::Vars, Of) => ": use it where the variable is used",
            (Self::KindEach | Self::KindWhen | Self::Id | Self::Body | Self::Write | Self::Adopt, Each) => {
                ": neither this kind nor one that it belongs to has `each`"
            }
            (Self::Body | Self::Write | Self::Adopt, Of) => {
                ": this record belongs to no other, because there is no `of`"
            }
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_names_agree() {
        for (index, word) in Word::ALL.into_iter().enumerate() {
            assert_eq!((word as usize, Word::named(word.name())), (index, Some(word)));
        }
        assert_eq!(Word::named("pods"), None);
        assert_eq!(WordSet::of(&[Pod, Id]).to_string(), "id, pod");
    }

    #[test]
    fn record_is_missing_where_pod_is_gone() {
        for position in [Position::Delete, Position::Find, Position::List, Position::Answer, Position::Item] {
            let record = WordSet::RECORD.without(WordSet::of(&[Cluster, Owner]));
            assert!(!position.words().overlaps(record), "{position:?}");
        }
        assert!(!Position::Body.words().overlaps(WordSet::of(&[Change, Term, Seen])));
    }
}
