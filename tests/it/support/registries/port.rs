//! A stand-in for Port's API of entities, from its documentation.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, Method, StatusCode, Uri},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::stand_in::StandIn;

/// The most entities of a bulk request.
const BULK_MAX: usize = 20;
/// The properties of the blueprint.
const PROPERTIES: [&str; 5] = ["node", "state", "addresses", "images", "registrarOwner"];
const TOKEN: &str = "a-token-for-three-hours";

type Reply = (StatusCode, Json<Value>);

#[derive(Default)]
pub(crate) struct Portal {
    has_blueprint: bool,
    entities: BTreeMap<String, Value>,
}

pub(crate) type PortFake = StandIn<Portal>;

impl PortFake {
    pub(crate) async fn start() -> Self {
        Self::serve(Router::new().fallback(answer)).await
    }

    pub(crate) fn entities(&self) -> BTreeMap<String, Value> {
        self.state().entities.clone()
    }

    /// Lets a person change the entities.
    pub(crate) fn by_hand(&self, change: impl FnOnce(&mut BTreeMap<String, Value>)) {
        change(&mut self.state().entities);
    }
}

fn ok(mut body: Value) -> Reply {
    body["ok"] = true.into();
    (StatusCode::OK, Json(body))
}

fn refused(status: StatusCode, error: &str, message: &str) -> Reply {
    (status, Json(json!({"ok": false, "error": error, "message": message})))
}

async fn answer(
    State(portal): State<Arc<Mutex<Portal>>>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: String,
) -> Reply {
    let mut portal = portal.lock();
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let path = uri.path();
    if path == "/v1/auth/access_token" {
        let is_known = body == json!({"clientId": "id", "clientSecret": "secret-of-the-client"});
        return match is_known {
            true => ok(json!({"accessToken": TOKEN, "expiresIn": 10_800, "tokenType": "Bearer"})),
            false => refused(StatusCode::UNAUTHORIZED, "unauthorized", "Invalid credentials"),
        };
    }
    if headers.get("authorization").is_none_or(|value| value != &format!("Bearer {TOKEN}")) {
        return refused(StatusCode::UNAUTHORIZED, "unauthorized", "Missing token");
    }
    let Some(rest) = path.strip_prefix("/v1/blueprints") else {
        return refused(StatusCode::NOT_FOUND, "not_found", "Route not found");
    };
    let missing = || refused(StatusCode::NOT_FOUND, "not_found", "Blueprint was not found");
    match (method.as_str(), rest) {
        ("POST", "") => {
            portal.has_blueprint = true;
            (StatusCode::CREATED, Json(json!({"ok": true, "blueprint": body})))
        }
        _ if !portal.has_blueprint => missing(),
        ("GET", "/k8s_pod") => ok(json!({"blueprint": {"identifier": "k8s_pod"}})),
        ("POST", "/k8s_pod/entities") => match portal.upsert(&body, &query) {
            Ok(entity) => ok(json!({"entity": entity})),
            Err((status, message)) => refused(status, "invalid_request", &message),
        },
        ("POST", "/k8s_pod/entities/bulk") => portal.bulk(&body, &query),
        ("POST", "/k8s_pod/entities/search") => portal.search(&body),
        (method, rest) => match rest.strip_prefix("/k8s_pod/entities/") {
            Some(id) => portal.entity(method, id),
            None => missing(),
        },
    }
}

impl Portal {
    fn upsert(&mut self, entity: &Value, query: &HashMap<String, String>) -> Result<Value, (StatusCode, String)> {
        let id = entity["identifier"].as_str().unwrap_or_default();
        let sent = entity["properties"].as_object().cloned().unwrap_or_default();
        if let Some(unknown) = sent.keys().find(|name| !PROPERTIES.contains(&name.as_str())) {
            return Err((StatusCode::UNPROCESSABLE_ENTITY, format!("property {unknown:?} is not in the blueprint")));
        }
        if entity.to_string().contains("unusable") {
            return Err((StatusCode::UNPROCESSABLE_ENTITY, "\"images\" must match the pattern".to_owned()));
        }
        let flag = |name: &str| query.get(name).is_some_and(|value| value == "true");
        if self.entities.contains_key(id) && !flag("upsert") {
            return Err((StatusCode::CONFLICT, "entity already exists".to_owned()));
        }
        let before = self.entities.get(id).filter(|_| flag("merge")).cloned();
        let mut stored = before.unwrap_or_else(|| json!({"identifier": id, "blueprint": "k8s_pod"}));
        stored["title"] = entity["title"].clone();
        for name in PROPERTIES {
            let kept = stored["properties"][name].clone();
            stored["properties"][name] = sent.get(name).cloned().unwrap_or(kept);
        }
        self.entities.insert(id.to_owned(), stored.clone());
        Ok(stored)
    }

    fn bulk(&mut self, body: &Value, query: &HashMap<String, String>) -> Reply {
        let sent = body["entities"].as_array().cloned().unwrap_or_default();
        if sent.len() > BULK_MAX {
            return refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_request",
                "\"entities\" must not have more than 20 items",
            );
        }
        let (mut entities, mut errors) = (Vec::new(), Vec::new());
        for (index, entity) in sent.iter().enumerate() {
            let id = &entity["identifier"];
            match self.upsert(entity, query) {
                Ok(_) => entities.push(json!({"created": true, "identifier": id, "index": index})),
                Err((status, message)) => errors.push(json!({
                    "identifier": id, "index": index, "statusCode": status.as_u16(), "error": "invalid_request",
                    "message": message,
                })),
            }
        }
        (StatusCode::MULTI_STATUS, Json(json!({"ok": true, "entities": entities, "errors": errors})))
    }

    /// Pages begin after an identifier.
    fn search(&self, body: &Value) -> Reply {
        let rule = &body["query"]["rules"][0];
        assert_eq!((&rule["property"], &rule["operator"]), (&json!("registrarOwner"), &json!("=")));
        let limit = usize::try_from(body["limit"].as_u64().unwrap_or(200)).unwrap();
        let after = body["from"].as_str().unwrap_or_default();
        let ours = |entity: &&Value| entity["properties"]["registrarOwner"] == rule["value"];
        let found = self.entities.iter().filter(|(id, _)| id.as_str() > after).map(|(_, entity)| entity).filter(ours);
        let mut page: Vec<Value> = found.take(limit + 1).cloned().collect();
        let next = (page.len() > limit).then(|| {
            page.truncate(limit);
            page[limit - 1]["identifier"].clone()
        });
        ok(json!({"entities": page, "next": next}))
    }

    fn entity(&mut self, method: &str, id: &str) -> Reply {
        let missing = || refused(StatusCode::NOT_FOUND, "not_found", "Entity was not found");
        match method {
            "GET" => self.entities.get(id).map_or_else(missing, |entity| ok(json!({"entity": entity}))),
            "DELETE" => self.entities.remove(id).map_or_else(missing, |_| ok(json!({}))),
            _ => refused(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "Method not allowed"),
        }
    }
}
