//! An inventory of a REST API, for targets that a file describes: it keeps each record as it was put, and lists them
//! page by page in the order of their ids.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use axum::{
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use parking_lot::Mutex;

use crate::{
    operations::{Batch, BatchOperation},
    pods::{push_uuid, read_uuid},
};

/// Records in a page.
const PAGE: usize = 500;

/// The records by id: each one's JSON. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Inventory(Arc<Mutex<BTreeMap<u128, Box<str>>>>);

impl Inventory {
    pub(crate) fn answer(&self, method: &Method, uri: &Uri, body: &[u8]) -> Response {
        let id = uri.path().rsplit('/').next().and_then(read_uuid);
        match (method, id) {
            (&Method::GET, None) => self.page(uri.query().unwrap_or_default()),
            (&Method::POST, None) => self.batch(body),
            (&Method::GET, Some(id)) => match self.0.lock().get(&id) {
                Some(record) => json(with_id(id, record)),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            (&Method::PUT, Some(id)) => {
                self.0.lock().insert(id, String::from_utf8_lossy(body).into());
                StatusCode::NO_CONTENT.into_response()
            }
            (&Method::DELETE, Some(id)) => match self.0.lock().remove(&id) {
                Some(_) => StatusCode::NO_CONTENT.into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        }
    }

    /// Applies all operations. The answer names none, so that all of them are done.
    fn batch(&self, body: &[u8]) -> Response {
        let Ok(Batch { operations }) = serde_json::from_slice(body) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        let mut records = self.0.lock();
        for BatchOperation { id, record } in operations {
            let Some(id) = read_uuid(id) else { return StatusCode::BAD_REQUEST.into_response() };
            match record {
                Some(record) => _ = records.insert(id, record.get().into()),
                None => _ = records.remove(&id),
            }
        }
        StatusCode::NO_CONTENT.into_response()
    }

    fn page(&self, query: &str) -> Response {
        let after = query.split('&').find_map(|pair| read_uuid(pair.strip_prefix("after=")?));
        let records = self.0.lock();
        let from = after.map_or(Unbounded, Excluded);
        let page: Vec<_> = records.range((from, Unbounded)).take(PAGE).collect();
        let items: Vec<_> = page.iter().map(|(id, record)| with_id(**id, record)).collect();
        let mut text = format!(r#"{{"results":[{}]"#, items.join(","));
        if page.len() == PAGE
            && let Some((last, _)) = page.last()
        {
            // Writing to a text cannot fail.
            _ = write!(text, r#","next":"/systems?after={}""#, written(**last));
        }
        text.push('}');
        json(text)
    }
}

fn written(id: u128) -> String {
    let mut text = Vec::new();
    push_uuid(&mut text, id);
    String::from_utf8_lossy(&text).into_owned()
}

/// A record as the inventory returns it.
fn with_id(id: u128, record: &str) -> String {
    format!(r#"{{"id":"{}",{}"#, written(id), record.trim_start_matches('{'))
}

fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
