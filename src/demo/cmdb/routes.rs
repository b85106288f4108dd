//! The paths and their handlers.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::time::{Instant, timeout};

use super::{
    Cmdb,
    error::Error,
    page,
    query::{ListQuery, SYSTEMS, encode},
    request::{SystemId, etag, id_of, is_known, members, precondition},
    store::{StoredSystem, WrittenSystem},
};

/// The limit of one request, as [`Error::Slow`] says. A slow body holds its part until then.
const REQUEST_TIME: Duration = Duration::from_secs(15);

type Answer = Result<Response, Error>;

impl Cmdb {
    pub fn router(&self) -> Router {
        let system = get(read).put(replace).patch(patch).delete(delete);
        Router::new()
            .route(SYSTEMS, get(list).post(create))
            .route("/api/systems/{id}", system)
            .merge(page::router())
            .method_not_allowed_fallback(|| async { Error::Method })
            .fallback(|| async { Error::Path })
            .layer(middleware::from_fn_with_state(self.clone(), with_limits))
            .with_state(self.clone())
    }
}

/// Admits requests with the token, and ends those that take too long.
async fn with_limits(State(cmdb): State<Cmdb>, request: Request, next: Next) -> Answer {
    cmdb.gate().check(request.headers())?;
    timeout(REQUEST_TIME, next.run(request)).await.map_err(|_| Error::Slow)
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn shown(status: StatusCode, system: &StoredSystem) -> Response {
    let mut response = json(status, system.text.to_string());
    response.headers_mut().extend(etag(system.revision).parse().ok().map(|tag| (header::ETAG, tag)));
    response
}

fn written(written: &WrittenSystem) -> Response {
    if !written.is_new {
        return shown(StatusCode::OK, &written.system);
    }
    let mut response = shown(StatusCode::CREATED, &written.system);
    let location = format!("{SYSTEMS}/{}", encode(&written.id)).parse();
    response.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    response
}

async fn list(State(cmdb): State<Cmdb>, parameters: Result<Query<Vec<(String, String)>>, QueryRejection>) -> Answer {
    let Query(parameters) = parameters.map_err(|error| Error::Invalid(error.to_string()))?;
    let query = ListQuery::parse(parameters)?;
    let body = cmdb.store().list(&query);
    Ok(json(StatusCode::OK, body))
}

async fn read(State(cmdb): State<Cmdb>, SystemId(id): SystemId, headers: HeaderMap) -> Answer {
    let system = cmdb.store().get(&id)?.clone();
    let status = if is_known(&headers, system.revision) { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut response = shown(status, &system);
    if status == StatusCode::NOT_MODIFIED {
        *response.body_mut() = Body::empty();
    }
    Ok(response)
}

async fn create(State(cmdb): State<Cmdb>, headers: HeaderMap, body: Body) -> Answer {
    let members = members(&headers, body).await?;
    let id = id_of(&members)?;
    let created = cmdb.store().create(id, &members, Instant::now())?;
    Ok(written(&created))
}

async fn replace(State(cmdb): State<Cmdb>, SystemId(id): SystemId, headers: HeaderMap, body: Body) -> Answer {
    let members = members(&headers, body).await?;
    if id_of(&members)?.is_some_and(|other| other != id) {
        return Err(Error::Invalid("the body has another id than the path".to_owned()));
    }
    let replaced = cmdb.store().put(id, &members, &precondition(&headers)?, Instant::now())?;
    Ok(written(&replaced))
}

async fn patch(State(cmdb): State<Cmdb>, SystemId(id): SystemId, headers: HeaderMap, body: Body) -> Answer {
    let patch = members(&headers, body).await?;
    let patched = cmdb.store().patch(id, patch, &precondition(&headers)?, Instant::now())?;
    Ok(written(&patched))
}

async fn delete(State(cmdb): State<Cmdb>, SystemId(id): SystemId, headers: HeaderMap) -> Answer {
    cmdb.store().remove(id, &precondition(&headers)?)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
