//! Identifies the caller of a request by a bearer token, or by the cookie of the web page.
//!
//! The page exchanges a token for the cookie, which allows reading only. Without tokens, no credential is required.

use std::collections::VecDeque;

use axum::{
    body::Body,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::{
    App,
    answer::{HandlerResult, Refusal},
    body::read_body,
};
use crate::{
    model::digest::Digest,
    registry::server::{problem::ProblemKind, tokens::ClusterAccess},
};

const COOKIE: &str = "pod-registrar-page";
const SIGNED_IN: HeaderName = HeaderName::from_static("pod-registrar-signed-in");
/// How long a person stays signed in.
const LOGIN_SECONDS: i64 = 12 * 60 * 60;
/// Sign-ins, at most. One more replaces the oldest with the same access, or the oldest of all if there is none.
const MAX_LOGINS: usize = 256;
const MAX_FORM_BYTES: usize = 8 << 10;

/// The caller's access. [`check`] adds it to the request.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) ClusterAccess);

impl Caller {
    pub(crate) fn must_cover(&self, cluster: &str) -> Result<(), Refusal> {
        if self.0.covers(cluster) {
            Ok(())
        } else {
            Err(ProblemKind::Forbidden.with("the token is bound to another cluster").into())
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        // It is absent only if a route lacks the check. Such a route must refuse everything.
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ProblemKind::Unauthorized.with("send `Authorization: Bearer <token>`").into())
    }
}

/// The sign-ins of the page. They are in memory, so that a restart ends them.
#[derive(Default)]
pub(crate) struct Logins(Mutex<VecDeque<Login>>);

struct Login {
    key: [u8; 32],
    until_ms: i64,
    access: ClusterAccess,
}

impl Logins {
    fn add(&self, key: [u8; 32], access: ClusterAccess, now: i64) {
        let mut logins = self.0.lock();
        logins.retain(|login| login.until_ms > now);
        if logins.len() >= MAX_LOGINS {
            let oldest = logins.iter().position(|login| login.access == access).unwrap_or(0);
            logins.remove(oldest);
        }
        logins.push_back(Login { key, until_ms: now + LOGIN_SECONDS * 1_000, access });
    }

    fn access(&self, key: &[u8; 32], now: i64) -> Option<ClusterAccess> {
        let logins = self.0.lock();
        let mut found = None;
        for login in logins.iter().filter(|login| login.until_ms > now) {
            if bool::from(login.key.ct_eq(key)) {
                found = Some(login.access.clone());
            }
        }
        found
    }

    fn remove(&self, key: &[u8; 32]) {
        self.0.lock().retain(|login| login.key != *key);
    }
}

/// Refuses requests without a valid credential and adds the [`Caller`] to the others.
pub(crate) async fn check(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match identify(&app, request.method(), request.headers()) {
        Ok((access, by_cookie)) => {
            request.extensions_mut().insert(Caller(access));
            let mut response = next.run(request).await;
            if by_cookie {
                // The page's script cannot read the cookie. With this header it shows the button for signing out.
                response.headers_mut().insert(SIGNED_IN, HeaderValue::from_static("cookie"));
            }
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Refuses writes that a browser sends for a page of another site. Otherwise a registry without tokens on a person's
/// machine would be open to every page that the person visits.
pub(crate) async fn same_site(request: Request, next: Next) -> Response {
    let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads || matches!(site, None | Some(b"same-origin" | b"none")) {
        return next.run(request).await;
    }
    Refusal::from(ProblemKind::Forbidden.with("a page of another site may not write here")).into_response()
}

/// Returns the caller's access, and whether the credential is a cookie.
fn identify(app: &App, method: &Method, headers: &HeaderMap) -> Result<(ClusterAccess, bool), Refusal> {
    if app.tokens.is_empty() {
        return Ok((ClusterAccess::All, false));
    }
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let access = value.to_str().ok().and_then(bearer).and_then(|token| app.tokens.access(token));
        let access = access.ok_or_else(|| ProblemKind::Unauthorized.with("the bearer token is unknown"))?;
        return Ok((access, false));
    }
    let Some(key) = cookie(headers) else {
        return Err(ProblemKind::Unauthorized.with("send `Authorization: Bearer <token>`").into());
    };
    let access = app.logins.access(&key, app.store.now_ms());
    let access = access.ok_or_else(|| ProblemKind::Unauthorized.with("the sign-in has expired; sign in again"))?;
    // Browsers add cookies to requests that other pages cause, so a cookie never allows a write.
    if matches!(*method, Method::GET | Method::HEAD) {
        Ok((access, true))
    } else {
        Err(ProblemKind::Forbidden.with("the cookie is for reading; write with a bearer token").into())
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<[u8; 32]> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, key) = pairs.find(|(name, _)| *name == COOKIE)?;
    key.parse::<Digest>().ok().map(|digest| digest.0)
}

#[derive(Deserialize)]
struct Form {
    token: String,
}

/// Exchanges a token for a cookie that scripts cannot read.
pub(crate) async fn login(State(app): State<App>, request: Request) -> HandlerResult {
    let form = read_body(request.into_body(), MAX_FORM_BYTES).await?;
    let form: Form = serde_json::from_str(&form).map_err(|_| ProblemKind::Schema.with("expected {\"token\":\"…\"}"))?;
    let access = app.tokens.access(form.token.trim());
    let access = access.ok_or_else(|| ProblemKind::Unauthorized.with("the token is unknown"))?;
    let key = random().ok_or_else(|| ProblemKind::Internal.with("the system gives no random numbers"))?;
    app.logins.add(key, access, app.store.now_ms());
    with_cookie(&app, &Digest(key).hex(), LOGIN_SECONDS)
}

/// Ends the sign-in and removes the cookie from the browser.
pub(crate) async fn logout(State(app): State<App>, request: Request) -> HandlerResult {
    if let Some(key) = cookie(request.headers()) {
        app.logins.remove(&key);
    }
    with_cookie(&app, "", 0)
}

fn with_cookie(app: &App, key: &str, seconds: i64) -> HandlerResult {
    let secure = if app.secure { "; Secure" } else { "" };
    let text = format!("{COOKIE}={key}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut value =
        HeaderValue::from_str(&text).map_err(|_| ProblemKind::Internal.with("the cookie cannot be written"))?;
    value.set_sensitive(true);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::SET_COOKIE, value);
    Ok(response)
}

fn random() -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_ins_of_one_token_end_no_others() {
        let (logins, other) = (Logins::default(), ClusterAccess::Cluster("other".to_owned()));
        logins.add([255; 32], other.clone(), 0);
        for n in 0..2 * MAX_LOGINS {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            logins.add(key, ClusterAccess::All, 0);
        }
        assert_eq!(logins.access(&[255; 32], 1), Some(other));
        assert_eq!(logins.0.lock().len(), MAX_LOGINS);
    }
}
