//! How answers are judged.
//!
//! The rules of a request come first, then those of the target; the first that matches decides. Without one:
//!
//! | answer | outcome |
//! | --- | --- |
//! | 2xx, and `check` holds | done |
//! | 2xx with HTML, or `check` fails; 3xx, 5xx | uncertain |
//! | 404, 410 | absent; for a put, a create or a batch: reject, because the path is wrong |
//! | 409 | exists; for a delete, and for a request that uses `seen`: stale |
//! | 412 | stale |
//! | 408, 425, 429, 503 | retry |
//! | 401, 403, 407 | pause |
//! | other 4xx | reject |

use super::{
    answer::Answer,
    reading::{Reading, text_of},
    scope::Scope,
    spec::{
        request::{OutcomeRule, RuleOutcome},
        values::{ReadingText, StatusPatterns, TemplateText},
    },
    template::{Compiler, Leaf},
    values::shorten,
    words::{Position, Word, WordSet},
};

/// Characters of a reason.
const REASON: usize = 300;

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPurpose {
    Put,
    Create,
    Update,
    Delete,
    Find,
    Adopt,
    List,
    Batch,
    PrepareFind,
    PrepareCreate,
    /// It is about the target as a whole.
    Notice,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub outcome: RuleOutcome,
    /// For people: one line of at most 300 characters.
    pub reason: String,
    /// Whether a rule of the file decided, and not the default for the status.
    pub by_rule: bool,
}

#[derive(Debug)]
struct Rule {
    status: Option<StatusPatterns>,
    condition: Option<Leaf>,
    outcome: RuleOutcome,
}

/// How the answers to one request, or the results in a batch's answer, are judged.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    check: Option<Leaf>,
    reason: Option<Reading>,
}

/// The parts of the file that judge an answer.
pub(super) struct RulesSpec<'a> {
    /// The request's rules, then the target's.
    pub(super) rules: [&'a [OutcomeRule]; 2],
    pub(super) check: Option<&'a TemplateText>,
    pub(super) reason: Option<&'a ReadingText>,
}

impl Rules {
    pub(super) fn compile(spec: &RulesSpec<'_>, position: Position, compiler: &mut Compiler<'_>) -> Option<Self> {
        let mut rules = Vec::new();
        for rule in spec.rules.into_iter().flatten() {
            let condition = match &rule.condition {
                None => None,
                Some(text) => Some(compiler.condition(position, text)?),
            };
            rules.push(Rule { status: rule.status.clone(), condition, outcome: rule.outcome });
        }
        let check = match spec.check {
            None => None,
            Some(text) => Some(compiler.condition(position, text)?),
        };
        let reason = match spec.reason {
            None => None,
            Some(text) => Some(Reading::compile(text, position, compiler)?),
        };
        Some(Self { rules, check, reason })
    }

    /// Whether success depends on the answer's body.
    pub(super) fn has_check(&self) -> bool {
        self.check.is_some()
    }

    /// Judges the answer to a whole request. `words_used` are those of its templates; `scope` holds the words of the
    /// term.
    pub(super) fn judge(
        &self,
        purpose: RequestPurpose,
        words_used: WordSet,
        answer: &Answer,
        scope: &Scope,
    ) -> Judgement {
        let words = || answer.scope(scope);
        let reason = || match answer.header("location") {
            Some(location) if (300..400).contains(&answer.status) => {
                let status = answer.status;
                shorten(&format!("status {status} leads to {location}; correct `url` or `path`"), REASON)
            }
            _ => self.reason(answer.json(), answer.status, answer.text(), &words()),
        };
        if let Some(outcome) = self.by_rule(answer.status, &words) {
            return Judgement { outcome, reason: reason(), by_rule: true };
        }
        let judged = |outcome, reason| Judgement { outcome, reason, by_rule: false };
        if !answer.is_success() {
            return judged(default(purpose, words_used, answer.status), reason());
        }
        if answer.is_html() {
            return judged(RuleOutcome::Uncertain, "the answer is HTML; a proxy may have answered".to_owned());
        }
        match self.check.as_ref().map(|check| check.holds(&words())) {
            None | Some(Ok(true)) => judged(RuleOutcome::Done, String::new()),
            Some(Ok(false)) => judged(RuleOutcome::Uncertain, format!("`check` does not hold: {}", reason())),
            Some(Err(error)) => judged(RuleOutcome::Uncertain, shorten(&format!("`check`: {error}"), REASON)),
        }
    }

    /// Judges one result of a batch. `scope` holds the words of the answer, and `item`.
    pub(super) fn judge_result(&self, status: u16, item: &serde_json::Value, scope: &Scope) -> Judgement {
        let reason = self.reason(Some(item), status, "", scope);
        match self.by_rule(status, &|| scope.clone()) {
            Some(outcome) => Judgement { outcome, reason, by_rule: true },
            None => Judgement { outcome: default_of_result(status), reason, by_rule: false },
        }
    }

    /// A rule whose condition cannot be evaluated does not match.
    fn by_rule(&self, status: u16, words: &dyn Fn() -> Scope) -> Option<RuleOutcome> {
        let matches = |rule: &&Rule| {
            rule.status.as_ref().is_none_or(|status_of_rule| status_of_rule.matches(status))
                && rule.condition.as_ref().is_none_or(|condition| condition.holds(&words()).unwrap_or_default())
        };
        self.rules.iter().find(matches).map(|rule| rule.outcome)
    }

    fn reason(&self, root: Option<&serde_json::Value>, status: u16, text: &str, scope: &Scope) -> String {
        let read = self.reason.as_ref().and_then(|reading| reading.read(root, || scope.clone()).ok().flatten());
        let reason = read.map(|json| text_of(&json).unwrap_or_else(|| json.to_string()));
        let reason = reason.unwrap_or_else(|| text.trim().to_owned());
        shorten(format!("status {status}: {reason}").trim_end_matches([':', ' ']), REASON)
    }
}

/// A record that a bulk request does not find is absent. Only for a deletion, that is a success.
fn default_of_result(status: u16) -> RuleOutcome {
    match status {
        404 | 410 => RuleOutcome::Absent,
        _ => default(RequestPurpose::Batch, WordSet::NONE, status),
    }
}

fn default(purpose: RequestPurpose, words_used: WordSet, status: u16) -> RuleOutcome {
    match (status, purpose) {
        (200..=299, _) => RuleOutcome::Done,
        (401 | 403 | 407, _) => RuleOutcome::Pause,
        (404 | 410, RequestPurpose::Put | RequestPurpose::Create | RequestPurpose::Batch | RequestPurpose::Notice) => {
            RuleOutcome::Reject
        }
        (404 | 410, _) => RuleOutcome::Absent,
        (409, RequestPurpose::Delete) | (412, _) => RuleOutcome::Stale,
        // It names the revision that it replaces, which is another one by now.
        (409, _) if words_used.has(Word::Seen) => RuleOutcome::Stale,
        (409, _) => RuleOutcome::Exists,
        (408 | 425 | 429 | 503, _) => RuleOutcome::Retry,
        (400..=499, _) => RuleOutcome::Reject,
        _ => RuleOutcome::Uncertain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_one_default() {
        use RequestPurpose::{Batch, Create, Delete, Find, List, PrepareCreate, PrepareFind, Put, Update};
        use RuleOutcome::{Absent, Done, Exists, Pause, Reject, Retry, Stale, Uncertain};
        let kinds = [Put, Create, Update, Delete, Find, List, Batch, PrepareFind, PrepareCreate];
        let same = [
            (200, Done),
            (202, Done),
            (204, Done),
            (301, Uncertain),
            (400, Reject),
            (401, Pause),
            (403, Pause),
            (407, Pause),
            (408, Retry),
            (412, Stale),
            (413, Reject),
            (415, Reject),
            (422, Reject),
            (425, Retry),
            (429, Retry),
            (500, Uncertain),
            (502, Uncertain),
            (503, Retry),
            (599, Uncertain),
            (199, Uncertain),
        ];
        for (status, outcome) in same {
            assert!(kinds.iter().all(|kind| default(*kind, WordSet::NONE, status) == outcome), "{status}");
        }
        assert_eq!(
            [Put, Create, Update, Delete, Find].map(|kind| default(kind, WordSet::NONE, 404)),
            [Reject, Reject, Absent, Absent, Absent]
        );
        assert_eq!(
            [Put, Create, Update, Delete, Find].map(|kind| default(kind, WordSet::NONE, 409)),
            [Exists, Exists, Exists, Stale, Exists]
        );
        let by_revision = WordSet::of(&[Word::Seen]);
        assert_eq!([Put, Update, Batch, Delete].map(|kind| default(kind, by_revision, 409)), [Stale; 4]);
        assert_eq!([404, 410, 409, 422].map(default_of_result), [Absent, Absent, Exists, Reject]);
    }
}
