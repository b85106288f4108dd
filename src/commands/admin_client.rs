//! Asks a running controller for one of its admin pages.

use std::time::Duration;

use reqwest::{StatusCode, Url};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of the answer.
const ANSWER_BYTES: usize = 4 << 20;

/// Asks for a page. The error says why there is no answer.
pub(super) async fn get(admin: &Url, path: &str) -> Result<(StatusCode, Vec<u8>), String> {
    let mut url = admin.clone();
    url.set_path(path);
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_certs_only([])
        .timeout(ANSWER_WITHIN)
        .build();
    let client = client.map_err(|error| error.to_string())?;
    let failed = |error: reqwest::Error| format!("the controller does not answer at {admin}: {error}");
    let mut answer = client.get(url).send().await.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES {
            return Err(format!("the answer is too long for a controller; check the address {admin}"));
        }
    }
    Ok((answer.status(), body))
}
