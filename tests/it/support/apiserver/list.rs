//! Lists that go wrong: old, empty, with a missing page, with unreadable pods, cut or stuck.

use std::{io, time::Duration};

use axum::{
    body::Body,
    extract::Request as HttpRequest,
    http::{Response as HttpResponse, Uri, header::CONTENT_TYPE, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future, stream};
use pod_registrar::demo::api::{self, store::Snapshot};
use serde::Deserialize;
use serde_json::value::RawValue;
use tower::ServiceExt as _;

use super::{
    fault::{Effect, How, StreamFault},
    layer::{Context, text},
};

/// The time for sent bytes to leave before the connection is closed.
pub(super) const FLUSH: Duration = Duration::from_millis(10);

pub(super) async fn answer(context: &Context, effect: Option<Effect>, http: HttpRequest, next: Next) -> Response {
    let (response, fault) = match effect {
        Some(Effect::Empty) => return empty(context.api.resource_version()),
        Some(Effect::Stale(snapshot)) => (stale(snapshot, http.uri()).await, None),
        Some(Effect::MissingPage) => (missing_page(http, next).await, None),
        Some(Effect::Stream(fault)) => (next.run(http).await, Some(fault)),
        _ => (next.run(http).await, None),
    };
    let spoils = !context.api.front.spoiled.lock().is_empty();
    if !response.status().is_success() || (fault.is_none() && !spoils) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let list = text(body).await;
    let (head, items) = split(&list);
    let shown = |item: &&RawValue| context.api.front.spoiled(item.get()).unwrap_or_else(|| item.get().to_owned());
    let items: Vec<String> = items.iter().map(shown).collect();
    let body = match fault.filter(|fault| fault.after <= items.len()) {
        None => Body::from(format!("{head}{}]}}\n", items.join(","))),
        Some(fault) => broken(context, head, &items, &fault),
    };
    HttpResponse::from_parts(parts, body)
}

fn empty(resource_version: u64) -> Response {
    let list = format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{resource_version}"}},"items":[]}}"#
    );
    ([(CONTENT_TYPE, "application/json")], list).into_response()
}

/// The list of an earlier moment, whatever version is requested.
async fn stale(at: Snapshot, uri: &Uri) -> Response {
    let past = api::Api::new(api::ApiOptions::default());
    past.restore(at);
    let uri = format!("{}?{}", uri.path(), kept(uri).join("&"));
    past.router().oneshot(HttpRequest::get(uri).body(Body::empty()).unwrap()).await.unwrap()
}

/// A page whose continue token is that of the next page.
async fn missing_page(http: HttpRequest, next: Next) -> Response {
    let (mut parts, _) = http.into_parts();
    let (head, page) = page(parts.clone(), next.clone()).await;
    let Some(token) = token(&page) else { return HttpResponse::from_parts(head, Body::from(page)) };
    let mut query = kept(&parts.uri);
    query.retain(|pair| !pair.starts_with("continue="));
    let uri = format!("{}?{}&continue={token}", parts.uri.path(), query.join("&"));
    parts.uri = uri.parse().unwrap();
    let (_, after) = self::page(parts, next).await;
    let member = format!(r#","continue":"{token}""#);
    let new = self::token(&after).map_or(String::new(), |token| format!(r#","continue":"{token}""#));
    HttpResponse::from_parts(head, Body::from(page.replacen(&member, &new, 1)))
}

async fn page(parts: Parts, next: Next) -> (axum::http::response::Parts, String) {
    let (parts, body) = next.run(HttpRequest::from_parts(parts, Body::empty())).await.into_parts();
    (parts, text(body).await)
}

/// The continue token of a list: letters and digits.
fn token(list: &str) -> Option<&str> {
    let (_, rest) = split(list).0.split_once(r#""continue":""#)?;
    rest.split_once('"').map(|(token, _)| token)
}

/// The parameters of a query without the resource version.
fn kept(uri: &Uri) -> Vec<&str> {
    uri.query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("resourceVersion")).collect()
}

/// Splits a list into the text before its first item, and its items.
fn split(list: &str) -> (&str, Vec<&RawValue>) {
    #[derive(Deserialize)]
    struct Items<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
    }
    const ITEMS: &str = r#""items":["#;
    let head = list.find(ITEMS).map_or(list, |at| &list[..at + ITEMS.len()]);
    (head, serde_json::from_str::<Items<'_>>(list).unwrap().items)
}

/// The items before the fault, and then the fault.
fn broken(context: &Context, head: &str, items: &[String], fault: &StreamFault) -> Body {
    let mut sent = format!("{head}{}", items[..fault.after].join(","));
    let stop = context.stop.clone();
    let end = match fault.how {
        How::Cut => {
            if let Some(next) = items.get(fault.after) {
                sent.push_str(&next[..next.len() / 2]);
            }
            let cut = io::Error::other("a scripted fault cuts the list");
            async { tokio::time::sleep(FLUSH).await }.map(|()| Some(Err(cut))).boxed()
        }
        How::Stall => async move { stop.cancelled().await }.map(|()| None).boxed(),
        How::End | How::Error(_) | How::Line(_) => future::ready(None).boxed(),
    };
    let sent = stream::once(future::ready(Some(io::Result::Ok(Bytes::from(sent)))));
    Body::from_stream(sent.chain(stream::once(end)).filter_map(future::ready))
}
