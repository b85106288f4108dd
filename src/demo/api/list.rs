//! Lists. All pages of a list show one resource version, and their items are the stored bytes.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use axum::{body::Body, http::StatusCode, response::Response};
use serde_json::Value;

use super::{
    object::JsonObject,
    query::{Query, Token},
    status::{StatusError, json_response},
    store::ApiState,
};

#[derive(Debug)]
pub(super) struct ListPage {
    pub(super) resource_version: u64,
    pub(super) items: Vec<Arc<JsonObject>>,
    pub(super) next: Option<Token>,
    /// The number of items after this page. None for a list with a selector, as on a real server.
    pub(super) remaining: Option<usize>,
}

impl ListPage {
    pub(super) fn of(state: &ApiState, namespace: Option<&str>, query: &Query) -> Result<Self, StatusError> {
        let now = state.resource_version;
        let at = match &query.token {
            Some(token) => token.resource_version.unwrap_or(now),
            None => match query.resource_version {
                Some(asked) if asked > now => return Err(StatusError::too_large(asked, now)),
                Some(asked) if query.exact => asked,
                _ => now,
            },
        };
        if !state.history.holds(at) {
            return Err(match &query.token {
                Some(token) => {
                    StatusError::expired_token(Token { resource_version: None, after: token.after.clone() }.encode())
                }
                None => StatusError::new(410, "The resourceVersion for the provided list is too old."),
            });
        }
        Ok(Self::build(&state.pods, &state.history.undo(at), at, namespace, query))
    }

    fn build(
        pods: &BTreeMap<Arc<str>, Arc<JsonObject>>,
        undo: &BTreeMap<Arc<str>, Option<Arc<JsonObject>>>,
        at: u64,
        namespace: Option<&str>,
        query: &Query,
    ) -> Self {
        // '0' is the character after '/', so this range holds the keys of one namespace.
        let first = namespace.map_or(String::new(), |namespace| format!("{namespace}/"));
        let end = namespace.map(|namespace| format!("{namespace}0"));
        let from = match &query.token {
            Some(token) => Bound::Excluded(token.after.as_str()),
            None => Bound::Included(first.as_str()),
        };
        let range = (from, end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
        let mut selected = merge(pods, undo, range).filter(|pod| query.selector.matches(pod));
        let items: Vec<_> = selected.by_ref().take(query.limit.unwrap_or(usize::MAX)).cloned().collect();
        let remaining = match query.limit {
            Some(_) if query.selector.is_empty() => selected.count(),
            Some(_) => usize::from(selected.next().is_some()),
            None => 0,
        };
        let next = items.last().filter(|_| remaining > 0);
        let next = next.map(|last| Token { resource_version: Some(at), after: last.key.to_string() });
        let remaining = (remaining > 0 && query.selector.is_empty()).then_some(remaining);
        Self { resource_version: at, items, next, remaining }
    }

    pub(super) fn into_response(self) -> Response {
        let mut body = format!(
            r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{}""#,
            self.resource_version
        );
        if let Some(next) = &self.next {
            body.push_str(&format!(r#","continue":{}"#, Value::from(next.encode())));
        }
        if let Some(remaining) = self.remaining {
            body.push_str(&format!(r#","remainingItemCount":{remaining}"#));
        }
        body.push_str(r#"},"items":["#);
        let mut body = body.into_bytes();
        for (number, pod) in self.items.iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            body.extend_from_slice(pod.item());
        }
        body.extend_from_slice(b"]}\n");
        json_response(StatusCode::OK, Body::from(body))
    }
}

/// The pods of a range, with the changes in `undo` taken back.
fn merge<'a>(
    pods: &'a BTreeMap<Arc<str>, Arc<JsonObject>>,
    undo: &'a BTreeMap<Arc<str>, Option<Arc<JsonObject>>>,
    range: (Bound<&str>, Bound<&str>),
) -> impl Iterator<Item = &'a Arc<JsonObject>> {
    let mut now = pods.range::<str, _>(range).filter(|(key, _)| !undo.contains_key(*key)).peekable();
    let mut then = undo.range::<str, _>(range).filter_map(|(key, pod)| Some((key, pod.as_ref()?))).peekable();
    std::iter::from_fn(move || {
        let older = match (now.peek(), then.peek()) {
            (Some((a, _)), Some((b, _))) => b < a,
            (None, Some(_)) => true,
            _ => false,
        };
        Some(if older { then.next()?.1 } else { now.next()?.1 })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(page: &ListPage) -> Vec<&str> {
        page.items.iter().map(|pod| &*pod.key).collect()
    }

    fn query(params: &[(&str, &str)]) -> Query {
        Query::parse(&params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()).unwrap()
    }

    #[test]
    fn pages_show_one_moment_whatever_happens_in_between() {
        let mut state = ApiState::new(1, 100);
        for name in ["b", "d", "f", "h"] {
            state.create("n", json!({"metadata": {"name": name}})).unwrap();
        }
        state.create("other", json!({"metadata": {"name": "x"}})).unwrap();
        let mut asked = query(&[("limit", "2")]);
        let first = ListPage::of(&state, Some("n"), &asked).unwrap();
        assert_eq!((names(&first), first.remaining), (vec!["n/b", "n/d"], Some(2)));
        state.create("n", json!({"metadata": {"name": "e"}})).unwrap();
        let gone = state.pod("n", "f").unwrap();
        state.remove(&gone).unwrap();
        asked.token = first.next;
        let second = ListPage::of(&state, Some("n"), &asked).unwrap();
        assert_eq!(names(&second), ["n/f", "n/h"]);
        assert_eq!((second.resource_version, second.next), (first.resource_version, None));
        assert_eq!(names(&ListPage::of(&state, None, &query(&[])).unwrap()), ["n/b", "n/d", "n/e", "n/h", "other/x"]);
        state.history.compact(state.resource_version);
        assert_eq!(ListPage::of(&state, Some("n"), &asked).unwrap_err().code(), 410);
        asked.token = asked.token.map(|token| Token { resource_version: None, ..token });
        assert_eq!(names(&ListPage::of(&state, Some("n"), &asked).unwrap()), ["n/e", "n/h"]);
    }

    #[test]
    fn namespaces_match_by_their_whole_name() {
        let mut state = ApiState::new(1, 100);
        for namespace in ["a", "a-b", "ab"] {
            state.create(namespace, json!({"metadata": {"name": "p"}})).unwrap();
        }
        assert_eq!(names(&ListPage::of(&state, Some("a"), &query(&[])).unwrap()), ["a/p"]);
        assert_eq!(names(&ListPage::of(&state, None, &query(&[])).unwrap()), ["a-b/p", "a/p", "ab/p"]);
    }

    #[test]
    fn past_versions_are_served_and_future_ones_refused() {
        let mut state = ApiState::new(1, 100);
        let pod = state.create("n", json!({"metadata": {"name": "p"}})).unwrap();
        state.remove(&pod).unwrap();
        let at = pod.resource_version.to_string();
        let asked = query(&[("resourceVersion", &at), ("resourceVersionMatch", "Exact")]);
        assert_eq!(names(&ListPage::of(&state, None, &asked).unwrap()), ["n/p"]);
        assert!(ListPage::of(&state, None, &query(&[("resourceVersion", &at)])).unwrap().items.is_empty());
        assert_eq!(ListPage::of(&state, None, &query(&[("resourceVersion", "999999")])).unwrap_err().code(), 504);
    }
}
