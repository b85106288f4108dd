//! Requests about a target as a whole: a sign of life, and the two around a round.

use std::time::Duration;

use minijinja::Value;

use super::{
    outcome::RequestPurpose,
    request::{RequestTemplate, Shared},
    scope::Scope,
    spec::{RecordsSpec, request::RequestSpec},
    target::{Target, TermWords},
    template::Compiler,
    words::Word,
};

/// The requests of a target.
#[derive(Debug, Default)]
pub struct TargetNotices {
    pub keepalive: Option<KeepaliveRequest>,
    pub round: Option<RoundRequests>,
}

#[derive(Debug)]
pub struct KeepaliveRequest {
    pub every: Duration,
    pub request: RequestTemplate,
}

/// What is sent before and after all records are put again.
#[derive(Debug)]
pub struct RoundRequests {
    pub every: Duration,
    pub begin: RequestTemplate,
    pub end: RequestTemplate,
}

/// The word `change` of these requests. They have no order among the changes of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeWords {
    /// The same for each attempt.
    pub id: String,
    /// RFC 3339, in UTC.
    pub time: String,
    pub kind: NoticeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    Keepalive,
    Begin,
    End,
}

impl NoticeKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Keepalive => "keepalive",
            Self::Begin => "begin",
            Self::End => "end",
        }
    }
}

impl TargetNotices {
    pub(super) fn compile(records: &RecordsSpec, shared: &Shared<'_>, compiler: &mut Compiler<'_>) -> Option<Self> {
        let mut compile =
            |spec: &RequestSpec| RequestTemplate::compile(spec, RequestPurpose::Notice, false, shared, compiler);
        let mut notices = Self::default();
        if let Some(spec) = &records.keepalive {
            let request = compile(&spec.request)?;
            notices.keepalive = Some(KeepaliveRequest { every: spec.every.duration, request });
        }
        if let Some(spec) = &records.round {
            let (begin, end) = (compile(&spec.begin), compile(&spec.end));
            notices.round = Some(RoundRequests { every: spec.every.duration, begin: begin?, end: end? });
        }
        Some(notices)
    }

    /// All requests, with their names and kinds.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, NoticeKind, &RequestTemplate)> {
        let keepalive = self.keepalive.iter().map(|keepalive| ("keepalive", NoticeKind::Keepalive, &keepalive.request));
        let rounds = self.round.iter().flat_map(|round| {
            [("round begin", NoticeKind::Begin, &round.begin), ("round end", NoticeKind::End, &round.end)]
        });
        keepalive.chain(rounds)
    }
}

impl Target {
    /// The words of a request about the target.
    pub fn notice_scope(&self, term: &TermWords, words: &NoticeWords) -> Scope {
        let change =
            Value::from_pairs([("id", words.id.as_str()), ("kind", words.kind.name()), ("time", words.time.as_str())]);
        term.scope().with(vec![(Word::Change, change)])
    }
}
