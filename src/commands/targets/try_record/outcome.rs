//! What each step did, for people and as JSON.

use serde_json::{Map, Value, json};

use crate::{
    commands::targets::requests,
    mapping::differences::ValueDifference,
    reconcile::outcome::{Failure, Verdict},
    registry::mapped::recorder::Exchange,
};

/// A step and its exchanges with the registry.
pub(super) struct StepResult {
    pub(super) step: String,
    pub(super) attempted: Attempted,
    pub(super) exchanges: Vec<Exchange>,
}

/// How a step ended.
pub(super) struct Attempted {
    is_good: bool,
    what: String,
    differences: Vec<ValueDifference>,
}

impl StepResult {
    pub(super) fn is_good(&self) -> bool {
        self.attempted.is_good
    }
}

impl Attempted {
    pub(super) fn good(what: String) -> Self {
        Self { is_good: true, what, differences: Vec::new() }
    }

    pub(super) fn failed(what: String) -> Self {
        Self { is_good: false, what, differences: Vec::new() }
    }

    pub(super) fn of(result: Result<String, Failure>) -> Self {
        result.map_or_else(|failure| Self::failed(failure.to_string()), Self::good)
    }

    pub(super) fn of_verdict(verdicts: Result<Vec<Verdict>, Failure>) -> Self {
        let is_done = |verdict: &Verdict| matches!(verdict, Verdict::Done);
        // The worst of them, so that no failure is hidden.
        match verdicts.map(|verdicts| verdicts.into_iter().min_by_key(is_done)) {
            Ok(Some(Verdict::Done)) => Self::good(String::new()),
            Ok(Some(Verdict::Rejected { cause })) => Self::failed(format!("rejected: {cause}")),
            Ok(Some(Verdict::Retry { cause, .. })) => Self::failed(format!("to be sent again later: {cause}")),
            Ok(Some(Verdict::Uncertain { cause })) => Self::failed(format!("uncertain: {cause}")),
            Ok(Some(Verdict::Stale { .. } | Verdict::Tombstoned { .. })) => {
                Self::failed("the registry holds something newer".to_owned())
            }
            Ok(None) => Self::failed("the client gave no verdict".to_owned()),
            Err(failure) => Self::failed(failure.to_string()),
        }
    }

    pub(super) fn with(self, differences: Vec<ValueDifference>) -> Self {
        Self { differences, ..self }
    }
}

/// The members of a record that another has too.
pub(super) fn common_members(record: &Value, other: &Value) -> Value {
    let (Value::Object(record), Value::Object(other)) = (record, other) else { return Value::Null };
    let common = record.iter().filter(|(name, _)| other.contains_key(*name));
    Value::Object(common.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}

pub(super) fn lines(results: &[StepResult]) -> Vec<String> {
    let mut lines = Vec::new();
    for StepResult { step, attempted, exchanges } in results {
        let Attempted { is_good, what, differences } = attempted;
        let ended = if *is_good { "ok" } else { "failed" };
        let separator = if what.is_empty() { "" } else { ": " };
        lines.push(format!("{step}: {ended}{separator}{what}"));
        for ValueDifference { pointer, sent, came_back } in differences {
            let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
            lines.push(format!("  {pointer} was sent as {} and came back as {}", shown(sent), shown(came_back)));
        }
        lines.extend(exchanges.iter().flat_map(requests::exchange));
    }
    lines
}

pub(super) fn json(target: &str, results: &[StepResult]) -> Value {
    let steps = results.iter().map(|StepResult { step, attempted, exchanges }| {
        let difference = |difference: &ValueDifference| {
            json!({"pointer": difference.pointer, "sent": difference.sent, "cameBack": difference.came_back})
        };
        json!({
            "step": step,
            "ok": attempted.is_good,
            "what": attempted.what,
            "differences": attempted.differences.iter().map(difference).collect::<Vec<_>>(),
            "exchanges": exchanges,
        })
    });
    json!({"target": target, "ok": results.iter().all(StepResult::is_good), "steps": steps.collect::<Vec<_>>()})
}
