//! Shows requests, for people and as JSON.

use serde_json::{Value, json};

use crate::{
    mapping::{
        preview::{RequestPreview, with_hidden_secrets},
        request::RenderedRequest,
        spec::ConnectionSpec,
    },
    registry::mapped::recorder::Exchange,
};

/// The lines of a request, with the hidden credentials of a connection, or why it cannot be rendered.
pub(super) fn lines(preview: &RequestPreview, connection: Option<&ConnectionSpec>) -> Vec<String> {
    let request = match &preview.request {
        Ok(request) => shown(request, connection),
        Err(error) => return vec![preview.name.clone(), format!("  cannot be rendered: {error}")],
    };
    let RenderedRequest { method, url, headers, body, change: _ } = request;
    let mut lines = vec![preview.name.clone(), format!("  {method} {url}")];
    lines.extend(headers.iter().map(|(name, value)| format!("  {name}: {value}")));
    lines.extend(body.iter().flat_map(|body| indented(&String::from_utf8_lossy(body))));
    lines
}

pub(super) fn json(preview: &RequestPreview, connection: Option<&ConnectionSpec>) -> Value {
    let request = match &preview.request {
        Ok(request) => shown(request, connection),
        Err(error) => return json!({"name": preview.name, "error": error.to_string()}),
    };
    let RenderedRequest { method, url, headers, body, change: _ } = request;
    let headers: serde_json::Map<String, Value> =
        headers.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
    let body = body.map(|body| document(&String::from_utf8_lossy(&body)));
    json!({"name": preview.name, "method": method, "url": url, "headers": headers, "body": body})
}

/// The lines of a request that was sent, and of its answer.
pub(super) fn exchange(exchange: &Exchange) -> Vec<String> {
    let Exchange { method, url, body, status, answer, milliseconds, .. } = exchange;
    let mut lines = vec![format!("  > {method} {url}")];
    lines.extend(body.lines().map(|line| format!("  > {line}")));
    let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    lines.push(format!("  < {status} ({milliseconds} ms)"));
    lines.extend(answer.lines().map(|line| format!("  < {line}")));
    lines
}

fn shown(request: &RenderedRequest, connection: Option<&ConnectionSpec>) -> RenderedRequest {
    connection.map_or_else(|| request.clone(), |connection| with_hidden_secrets(request.clone(), connection))
}

fn indented(text: &str) -> Vec<String> {
    text.lines().map(|line| format!("  {line}")).collect()
}

/// A body as JSON, if it is JSON.
fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}
