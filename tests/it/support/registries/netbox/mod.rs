//! A stand-in for the parts of NetBox's REST API that hold virtual machines and their addresses, from its documentation
//! and the messages of its sources (version 4.6).
//!
//! | question | file |
//! | --- | --- |
//! | Who may send what, and where to? | this one |
//! | What is stored, and what is removed with it? | `objects` |
//! | What is refused? | `rules` |
//! | How are objects shown and listed? | `view` |

mod objects;
mod rules;
mod view;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::stand_in::StandIn;
use objects::{Inventory, Model};

/// May read and write.
pub(crate) const WRITE_TOKEN: &str = "nbt_writes.0123456789abcdef";
/// May read, and nothing else.
pub(crate) const READ_TOKEN: &str = "nbt_reads.0123456789abcdef";

/// A status, and what is wrong.
type Refusal = (StatusCode, Value);

/// Objects in memory.
pub(crate) type NetBoxFake = StandIn<Inventory>;

impl NetBoxFake {
    pub(crate) async fn start() -> Self {
        Self::serve(Router::new().fallback(answer)).await
    }

    /// What the preset makes, of all owners: by kind and id.
    pub(crate) fn records(&self) -> BTreeMap<String, Value> {
        let all = self.state();
        let mut records = BTreeMap::new();
        for (model, kind) in [(Model::Machine, "vm"), (Model::Interface, "interface"), (Model::Address, "address")] {
            for (id, object) in all.of(model) {
                let ours = object["custom_fields"]["registrar_id"].as_str().map_or(format!("#{id}"), str::to_owned);
                for family in ["4", "6"] {
                    let primary = &object[format!("primary_ip{family}")];
                    if primary.is_u64() {
                        records.insert(format!("primary{family}/{ours}"), primary.clone());
                    }
                }
                records.insert(format!("{kind}/{ours}"), object.clone());
            }
        }
        records
    }

    /// The object of a record, as NetBox stores it.
    pub(crate) fn record(&self, name: &str) -> Value {
        self.records().remove(name).unwrap_or_else(|| panic!("no {name} in {:#?}", self.records().into_keys()))
    }

    /// Lets a person set members of an object of a kind. Nothing is checked.
    pub(crate) fn edit(&self, name: &str, members: &Value) {
        let mut object = self.record(name);
        objects::set(&mut object, members);
        self.state().replace(object["id"].as_u64().unwrap(), object);
    }

    /// Lets a person remove an object, and what NetBox removes with it.
    pub(crate) fn remove(&self, name: &str) {
        let id = self.record(name)["id"].as_u64().unwrap();
        self.state().remove(id);
    }

    /// Lets a person add an object at this path. Nothing is checked. Returns its id.
    pub(crate) fn add(&self, path: &str, object: Value) -> u64 {
        self.state().insert(Model::at(path).expect("a path of NetBox"), object)
    }

    /// How many objects there are at this path.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.state().of(Model::at(path).expect("a path of NetBox")).count()
    }

    /// Something depends on the object of this record from now on, or nothing does.
    pub(crate) fn protect(&self, name: Option<&str>) {
        let id = name.map(|name| self.record(name)["id"].as_u64().unwrap());
        self.state().protected = id;
    }

    /// The setting `MAX_PAGE_SIZE`.
    pub(crate) fn set_page_max(&self, objects: usize) {
        self.state().page_max = Some(objects);
    }
}

async fn answer(
    State(all): State<Arc<Mutex<Inventory>>>,
    method: Method,
    uri: Uri,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut all = all.lock();
    let host = headers.get(header::HOST).map_or("", |host| host.to_str().unwrap());
    let call = Call { method: &method, uri: &uri, query: &query, host };
    match admit(&headers, &method).and_then(|()| call.dispatch(&mut all, &body)) {
        Ok((status, Value::Null)) => status.into_response(),
        Ok((status, body)) => (status, Json(body)).into_response(),
        // The setting `DEFAULT_LANGUAGE` is another one.
        Err((StatusCode::BAD_REQUEST, _)) if !wants_english(&headers) => {
            (StatusCode::BAD_REQUEST, Json(json!({"__all__": ["Die Eingabe ist ungültig."]}))).into_response()
        }
        Err((status, body)) => (status, Json(body)).into_response(),
    }
}

fn wants_english(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT_LANGUAGE).is_some_and(|value| value.as_bytes().starts_with(b"en"))
}

fn detail(status: StatusCode, text: &str) -> Refusal {
    (status, json!({"detail": text}))
}

/// NetBox answers with 403 to a request without a valid token, too.
fn admit(headers: &HeaderMap, method: &Method) -> Result<(), Refusal> {
    let sent = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap());
    let Some(token) = sent.and_then(|sent| sent.strip_prefix("Bearer ")) else {
        return Err(detail(StatusCode::FORBIDDEN, "Authentication credentials were not provided."));
    };
    match token {
        WRITE_TOKEN => Ok(()),
        READ_TOKEN if method == Method::GET => Ok(()),
        READ_TOKEN => Err(detail(StatusCode::FORBIDDEN, "You do not have permission to perform this action.")),
        _ => Err(detail(StatusCode::FORBIDDEN, "Invalid v2 token")),
    }
}

/// A request.
struct Call<'a> {
    method: &'a Method,
    uri: &'a Uri,
    query: &'a [(String, String)],
    host: &'a str,
}

impl Call<'_> {
    /// The objects that are meant, and one of them.
    fn target(&self) -> Result<(Model, Option<u64>), Refusal> {
        let path = self.uri.path().strip_prefix("/api/").unwrap_or_default();
        let missing = || detail(StatusCode::NOT_FOUND, "Not found.");
        let Some(path) = path.strip_suffix('/') else {
            return Err((StatusCode::FOUND, json!({"detail": "the path has no slash at its end"})));
        };
        if let Some(model) = Model::at(path) {
            return Ok((model, None));
        }
        let (path, id) = path.rsplit_once('/').ok_or_else(missing)?;
        let model = Model::at(path).ok_or_else(missing)?;
        Ok((model, Some(id.parse().map_err(|_| missing())?)))
    }

    fn dispatch(&self, all: &mut Inventory, body: &[u8]) -> Result<(StatusCode, Value), Refusal> {
        let (model, id) = self.target()?;
        if let Some(id) = id.filter(|id| all.get(model, *id).is_none()) {
            return Err(detail(StatusCode::NOT_FOUND, &format!("No {model:?} matches the given query: {id}")));
        }
        let sent =
            || serde_json::from_slice::<Value>(body).map_err(|e| detail(StatusCode::BAD_REQUEST, &e.to_string()));
        let shown = |all: &Inventory, id| view::shown(all, model, id, self.query);
        match (self.method.as_str(), id) {
            ("GET", None) => Ok((StatusCode::OK, view::list(all, model, self)?)),
            ("GET", Some(id)) => Ok((StatusCode::OK, shown(all, id))),
            ("POST", None) => {
                let id = all.create(model, &sent()?)?;
                Ok((StatusCode::CREATED, shown(all, id)))
            }
            ("PATCH", Some(id)) => {
                all.update(model, id, &sent()?)?;
                Ok((StatusCode::OK, shown(all, id)))
            }
            ("DELETE", Some(id)) => {
                all.delete(id)?;
                Ok((StatusCode::NO_CONTENT, Value::Null))
            }
            (method, _) => Err(detail(StatusCode::METHOD_NOT_ALLOWED, &format!("Method \"{method}\" not allowed."))),
        }
    }
}
