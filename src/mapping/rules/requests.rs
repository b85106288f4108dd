//! Rules for single requests and for names that the operator chooses.

use crate::mapping::{
    place::{Error, Place},
    spec::{
        reading::NextSpec,
        request::{BatchSpec, OutcomeRule, RequestSpec, RuleOutcome},
        values::{Entries, TemplateText},
    },
};

/// Headers that the client sets.
const SET_BY_CLIENT: [&str; 9] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn request(request: &RequestSpec, errors: &mut Vec<Error>) {
    headers(&request.headers, errors);
    outcome(&request.outcome, errors);
    if let (Some(form), Some(_)) = (&request.form, &request.body) {
        let place = form.first().map_or(&request.place, |(key, _)| &key.place);
        errors.push(place.error("a request has `body` and `form`", "use one of the two"));
    }
    if request.path.text.contains("://") || request.path.text.starts_with("//") {
        errors.push(request.path.place.error("the path is an address", "write the part behind `url`"));
    }
    if let Some(at) = request.path.text.find(['?', '#'])
        && !request.path.text[..at].contains("{{")
    {
        errors.push(request.path.place.error("the path holds a query or a fragment", "use `query`"));
    }
}

/// Without a condition, also a refusal of the credentials would be a success.
pub(super) fn outcome(rules: &[OutcomeRule], errors: &mut Vec<Error>) {
    let is_success = |rule: &&OutcomeRule| matches!(rule.outcome, RuleOutcome::Done | RuleOutcome::Absent);
    for rule in rules.iter().filter(is_success).filter(|rule| rule.status.is_none() && rule.condition.is_none()) {
        let what = format!("every answer is `{}` by this rule, also one without credentials", rule.outcome.name());
        errors.push(rule.place.error(what, "add `status` or `if`"));
    }
}

pub(super) fn headers(headers: &Entries<TemplateText>, errors: &mut Vec<Error>) {
    for (at, (key, _)) in headers.iter().enumerate() {
        if headers.iter().take(at).any(|(before, _)| before.text.eq_ignore_ascii_case(&key.text)) {
            let what = format!("the header `{}` is set twice", key.text);
            errors.push(key.place.error(what, "remove one of the two: names of headers have no case"));
        } else if http::HeaderName::from_bytes(key.text.as_bytes()).is_err() {
            errors.push(key.place.error(format!("`{}` is not the name of a header", key.text), "correct the name"));
        } else {
            not_set_by_client(&key.place, &key.text, errors);
        }
    }
}

pub(super) fn not_set_by_client(place: &Place, header: &str, errors: &mut Vec<Error>) {
    if SET_BY_CLIENT.contains(&header.to_ascii_lowercase().as_str()) {
        let what = format!("the client sets the header `{header}`");
        errors.push(place.error(what, "remove it; credentials are set in `auth`"));
    }
}

/// Names that templates use.
pub(super) fn words<T>(entries: &Entries<T>, errors: &mut Vec<Error>) {
    for (key, _) in entries.iter() {
        let first = key.text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first || !key.text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
            let fix = "use letters, digits and _, and begin with a letter";
            errors.push(key.place.error(format!("templates cannot use the name `{}`", key.text), fix));
        }
    }
}

pub(super) fn next(next: &NextSpec, errors: &mut Vec<Error>) {
    let ways = usize::from(next.url.is_some()) + usize::from(next.link.0) + usize::from(next.then.is_some());
    if ways != 1 {
        let what = if ways == 0 { "does not say how to ask" } else { "has several ways to ask" };
        errors.push(
            next.place.error(format!("`next` {what} for the next page"), "write one of `url`, `link` and `then`"),
        );
    }
    let only_then = next.start.is_some() || next.condition.is_some();
    if only_then && next.then.is_none() && ways == 1 {
        errors.push(next.place.error("`start` and `while` belong to `then`", "remove them, or use `then`"));
    }
}

pub(super) fn batch(batch: &BatchSpec, errors: &mut Vec<Error>) {
    if batch.put.is_empty() && batch.delete.is_empty() {
        errors.push(batch.place.error("the batch has neither `put` nor `delete`", "add one of the two"));
    }
    if batch.max.records.is_none() && batch.max.operations.is_none() {
        errors.push(batch.max.place.error("`max` has neither `records` nor `operations`", "add one of the two"));
    }
    if let Some(operations) = batch.max.operations {
        let one = batch.put.len().max(batch.delete.len());
        if one > operations.0 as usize {
            errors.push(
                batch.max.place.error("one record has more operations than a request may hold", "raise `operations`"),
            );
        }
    }
    if let Some(body) = batch.request.body.as_ref().filter(|_| batch.lines.0) {
        errors.push(body.0.place.error("a batch of `lines` has a `body`", "remove one of the two"));
    }
    if let Some(form) = batch.request.form.as_ref().filter(|_| batch.lines.0) {
        let place = form.first().map_or(&batch.place, |(key, _)| &key.place);
        errors.push(place.error("a batch of `lines` has a `form`", "remove one of the two"));
    }
    if let Some(results) = &batch.results
        && results.id.is_some() == results.index.is_some()
    {
        let found = if results.id.is_some() { "`id` and `index`" } else { "neither `id` nor `index`" };
        errors.push(results.place.error(format!("`results` has {found}"), "write exactly one of the two"));
    }
}
