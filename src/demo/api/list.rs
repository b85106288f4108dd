//! Lists: pages of one consistent moment, streamed from the bytes that are stored.

use std::{collections::BTreeMap, io, ops::Bound, sync::Arc, vec};

use axum::{body::Body, http::StatusCode, response::Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    fault::{How, StreamFault},
    object::Object,
    query::{Query, Token},
    spoil::Spoiled,
    status::{Failure, json_response},
    store::{Snapshot, State},
    watch::FLUSH,
};

/// The size of a chunk of a body.
const CHUNK: usize = 128 * 1024;

/// One page of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) resource_version: u64,
    pub(super) items: Vec<Arc<Object>>,
    pub(super) next: Option<Token>,
    /// How many items are still to come; a list with a selector does not tell.
    pub(super) remaining: Option<usize>,
}

impl Page {
    /// The page of the server's own content that a query asks for.
    pub(super) fn of(state: &State, namespace: Option<&str>, query: &Query) -> Result<Self, Failure> {
        let now = state.resource_version;
        let at = match &query.token {
            Some(token) => token.resource_version.unwrap_or(now),
            None => match query.resource_version {
                Some(asked) if asked > now => return Err(Failure::too_large(asked, now)),
                Some(asked) if query.exact => asked,
                _ => now,
            },
        };
        if !state.history.holds(at) {
            return Err(match &query.token {
                Some(token) => {
                    Failure::expired_token(Token { resource_version: None, after: token.after.clone() }.encode())
                }
                None => Failure::new(410, "The resourceVersion for the provided list is too old."),
            });
        }
        Ok(Self::build(&state.pods, &state.history.undo(at), at, namespace, query))
    }

    /// The page as it was at an earlier moment.
    pub(super) fn of_snapshot(snapshot: &Snapshot, namespace: Option<&str>, query: &Query) -> Self {
        Self::build(&snapshot.pods, &BTreeMap::new(), snapshot.resource_version, namespace, query)
    }

    /// A list of nothing.
    pub(super) fn empty(resource_version: u64) -> Self {
        Self { resource_version, items: Vec::new(), next: None, remaining: None }
    }

    fn build(
        pods: &BTreeMap<Arc<str>, Arc<Object>>,
        undo: &BTreeMap<Arc<str>, Option<Arc<Object>>>,
        at: u64,
        namespace: Option<&str>,
        query: &Query,
    ) -> Self {
        // '0' is the character after '/': the range of the keys of one namespace.
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

    /// The body, with or without a fault of the script.
    pub(super) fn into_response(
        self,
        spoiled: Spoiled,
        fault: Option<StreamFault>,
        stop: CancellationToken,
    ) -> Response {
        let mut head = format!(
            r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{}""#,
            self.resource_version
        );
        if let Some(next) = &self.next {
            head.push_str(&format!(r#","continue":{}"#, Value::from(next.encode())));
        }
        if let Some(remaining) = self.remaining {
            head.push_str(&format!(r#","remainingItemCount":{remaining}"#));
        }
        head.push_str(r#"},"items":["#);
        let writer =
            Writer { items: self.items.into_iter(), written: 0, head: Some(head), spoiled, fault, stop, done: false };
        json_response(StatusCode::OK, Body::from_stream(stream::unfold(writer, Writer::next)))
    }
}

/// All pods of a range as they were before what is undone.
fn merge<'a>(
    pods: &'a BTreeMap<Arc<str>, Arc<Object>>,
    undo: &'a BTreeMap<Arc<str>, Option<Arc<Object>>>,
    range: (Bound<&str>, Bound<&str>),
) -> impl Iterator<Item = &'a Arc<Object>> {
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

/// Writes a page chunk by chunk.
struct Writer {
    items: vec::IntoIter<Arc<Object>>,
    written: usize,
    head: Option<String>,
    spoiled: Spoiled,
    fault: Option<StreamFault>,
    stop: CancellationToken,
    done: bool,
}

impl Writer {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.done {
            return self.misbehave().await.map(|error| (Err(error), self));
        }
        let mut chunk = BytesMut::with_capacity(CHUNK);
        chunk.put_slice(self.head.take().unwrap_or_default().as_bytes());
        while chunk.len() < CHUNK && !self.done {
            if self.fault.as_ref().is_some_and(|fault| fault.after <= self.written) {
                self.done = true;
                if let (Some(StreamFault { how: How::Cut, .. }), Some(item)) =
                    (&self.fault, self.items.as_slice().first())
                {
                    chunk.put_slice(item.item().get(..item.item().len() / 2).unwrap_or_default());
                }
                break;
            }
            let Some(item) = self.items.next() else {
                chunk.put_slice(b"]}\n");
                self.fault = None;
                self.done = true;
                break;
            };
            if self.written > 0 {
                chunk.put_u8(b',');
            }
            self.spoiled.write_item(&item, &mut chunk);
            self.written += 1;
        }
        Some((Ok(chunk.freeze()), self))
    }

    /// What happens when everything that is to be sent has been sent: nothing, if there is no fault.
    async fn misbehave(&self) -> Option<io::Error> {
        match self.fault.as_ref()?.how {
            How::Cut => {
                tokio::time::sleep(FLUSH).await;
                Some(io::Error::other("a fault of the script cuts the list"))
            }
            How::Stall => {
                self.stop.cancelled().await;
                None
            }
            How::End | How::Error(_) | How::Line(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(page: &Page) -> Vec<&str> {
        page.items.iter().map(|pod| &*pod.key).collect()
    }

    fn query(params: &[(&str, &str)]) -> Query {
        Query::parse(&params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()).unwrap()
    }

    #[test]
    fn pages_show_one_moment_whatever_happens_in_between() {
        let mut state = State::new(1, 100);
        for name in ["b", "d", "f", "h"] {
            state.create("n", json!({"metadata": {"name": name}})).unwrap();
        }
        state.create("other", json!({"metadata": {"name": "x"}})).unwrap();
        let mut asked = query(&[("limit", "2")]);
        let first = Page::of(&state, Some("n"), &asked).unwrap();
        assert_eq!((names(&first), first.remaining), (vec!["n/b", "n/d"], Some(2)));
        state.create("n", json!({"metadata": {"name": "e"}})).unwrap();
        let gone = state.pod("n", "f").unwrap();
        state.remove(&gone, true).unwrap();
        asked.token = first.next;
        let second = Page::of(&state, Some("n"), &asked).unwrap();
        assert_eq!(names(&second), ["n/f", "n/h"]);
        assert_eq!((second.resource_version, second.next), (first.resource_version, None));
        assert_eq!(names(&Page::of(&state, None, &query(&[])).unwrap()), ["n/b", "n/d", "n/e", "n/h", "other/x"]);
        state.history.compact(state.resource_version);
        assert_eq!(Page::of(&state, Some("n"), &asked).unwrap_err().code(), 410);
        asked.token = asked.token.map(|token| Token { resource_version: None, ..token });
        assert_eq!(names(&Page::of(&state, Some("n"), &asked).unwrap()), ["n/e", "n/h"]);
    }

    #[test]
    fn one_namespace_is_not_a_prefix_of_another() {
        let mut state = State::new(1, 100);
        for namespace in ["a", "a-b", "ab"] {
            state.create(namespace, json!({"metadata": {"name": "p"}})).unwrap();
        }
        assert_eq!(names(&Page::of(&state, Some("a"), &query(&[])).unwrap()), ["a/p"]);
        assert_eq!(names(&Page::of(&state, None, &query(&[])).unwrap()), ["a-b/p", "a/p", "ab/p"]);
    }

    #[test]
    fn versions_of_the_future_and_the_past() {
        let mut state = State::new(1, 100);
        let pod = state.create("n", json!({"metadata": {"name": "p"}})).unwrap();
        state.remove(&pod, false).unwrap();
        let at = pod.resource_version.to_string();
        let asked = query(&[("resourceVersion", &at), ("resourceVersionMatch", "Exact")]);
        assert_eq!(names(&Page::of(&state, None, &asked).unwrap()), ["n/p"]);
        assert!(Page::of(&state, None, &query(&[("resourceVersion", &at)])).unwrap().items.is_empty());
        assert_eq!(Page::of(&state, None, &query(&[("resourceVersion", "999999")])).unwrap_err().code(), 504);
    }
}
