//! A stand-in for Consul's catalog, from its documentation and the messages of its server.
//!
//! It is stricter where Consul's catalog trusts its agents: it limits metadata as an agent does. `consul-client`, which
//! is Consul's own Go client, checks that it answers as Consul does.

mod catalog;
mod transaction;

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use serde_json::Value;

use super::{BuiltRegistries, stand_in::StandIn};
use crate::support::child::Child;
use catalog::{Catalog, Refusal, Rights};

/// May read and write nodes and services.
pub(crate) const FULL_TOKEN: &str = "full";
/// May write services, and read nothing.
pub(crate) const SERVICE_TOKEN: &str = "services";

/// The default limit of Consul for the body of a transaction.
const BODY_BYTES: usize = 512 << 10;

pub(crate) type ConsulFake = StandIn<Catalog>;

impl ConsulFake {
    pub(crate) async fn start() -> Self {
        Self::serve(axum::Router::new().fallback(answer)).await
    }

    /// The service instances of a node.
    pub(crate) fn services(&self, node: &str) -> Vec<Value> {
        self.state().services(node)
    }
}

impl BuiltRegistries {
    /// Runs Consul's own Go client against a server. Returns its exit code and output.
    pub(crate) async fn consul_client(&self, url: &str, token: &str, arguments: &[&str]) -> (i32, Vec<String>) {
        let environment = [("CONSUL_HTTP_ADDR", url), ("CONSUL_HTTP_TOKEN", token)];
        let mut client = Child::start_other(&self.program("consul-client"), arguments, &environment);
        let code = client.code().await;
        (code, [client.stdout(), client.stderr()].concat())
    }
}

async fn answer(
    State(catalog): State<Arc<Mutex<Catalog>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut catalog = catalog.lock();
    let mut response = match rights(&headers).and_then(|rights| dispatch(&mut catalog, rights, &method, &uri, &body)) {
        Ok(answer) => answer,
        Err((status, text)) => (status, text).into_response(),
    };
    // Consul's client reads these from every answer.
    for (name, value) in [("x-consul-index", "1"), ("x-consul-knownleader", "true"), ("x-consul-lastcontact", "0")] {
        response.headers_mut().insert(name, value.parse().expect("a header"));
    }
    response
}

fn rights(headers: &HeaderMap) -> Result<Rights, Refusal> {
    match headers.get("x-consul-token").map(|token| token.as_bytes()) {
        None | Some(b"") => Ok(Rights::None),
        Some(token) if token == FULL_TOKEN.as_bytes() => Ok(Rights::All),
        Some(token) if token == SERVICE_TOKEN.as_bytes() => Ok(Rights::Services),
        Some(_) => Err((StatusCode::FORBIDDEN, "ACL not found".to_owned())),
    }
}

fn dispatch(
    catalog: &mut Catalog,
    rights: Rights,
    method: &Method,
    uri: &Uri,
    body: &[u8],
) -> Result<Response, Refusal> {
    if let Some(node) = uri.path().strip_prefix("/v1/catalog/node-services/") {
        allow(method, &Method::GET)?;
        return list(catalog, rights, node, uri);
    }
    allow(method, &Method::PUT)?;
    if body.len() > BODY_BYTES {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("Request body({} bytes) too large", body.len())));
    }
    let document: Value =
        serde_json::from_slice(body).map_err(|e| (StatusCode::BAD_REQUEST, format!("Request decode failed: {e}")))?;
    match uri.path() {
        "/v1/catalog/register" => catalog.register(rights, &document)?,
        "/v1/catalog/deregister" => catalog.deregister(rights, &document)?,
        "/v1/txn" => {
            let (status, answer) = transaction::apply(catalog, rights, &document)?;
            return Ok((status, axum::Json(answer)).into_response());
        }
        path => return Err((StatusCode::NOT_FOUND, format!("Invalid URL path: {path}"))),
    }
    Ok(axum::Json(true).into_response())
}

fn allow(method: &Method, allowed: &Method) -> Result<(), Refusal> {
    if method == allowed {
        return Ok(());
    }
    Err((StatusCode::METHOD_NOT_ALLOWED, format!("method {method} not allowed")))
}

fn list(catalog: &Catalog, rights: Rights, node: &str, uri: &Uri) -> Result<Response, Refusal> {
    let url = reqwest::Url::parse(&format!("http://localhost{uri}")).expect("a URI of a request");
    let filter = url.query_pairs().find(|(name, _)| name == "filter").map(|(_, value)| value.into_owned());
    let answer = catalog.list(rights, &unescape(node), filter.as_deref())?;
    let mut response = axum::Json(answer).into_response();
    // Consul does not tell anonymous readers that something is left out.
    if rights == Rights::Services {
        response.headers_mut().insert("x-consul-results-filtered-by-acls", "true".parse().expect("a header"));
    }
    Ok(response)
}

/// Decodes a part of a path.
fn unescape(text: &str) -> String {
    let query = format!("http://localhost/?{}", text.replace('+', "%2B"));
    let url = reqwest::Url::parse(&query).expect("a path of a request");
    url.query_pairs().next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}
