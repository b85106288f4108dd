//! Reads the body of a request, with limits.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::answer::Refusal;
use crate::registry::server::problem::ProblemKind;

/// The limit for receiving a body, since a slow client occupies a share of the server.
const BODY_TIME: Duration = Duration::from_secs(15);
/// Bytes above the limit that are still read and dropped. Many clients read the answer only after they sent their body.
const DRAINED_BYTES: usize = 16 << 20;

/// Reads a body of at most `limit` bytes as UTF-8.
pub(crate) async fn read_body(body: Body, limit: usize) -> Result<String, Refusal> {
    let bytes = tokio::time::timeout(BODY_TIME, collect(body, limit))
        .await
        .map_err(|_| ProblemKind::Unavailable.with("the body did not arrive within 15 s; nothing was applied"))??;
    String::from_utf8(bytes.into()).map_err(|_| ProblemKind::Schema.with("the body is not UTF-8").into())
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ProblemKind::Schema.with("the body is incomplete"))?;
        let Ok(data) = frame.into_data() else { continue };
        total += data.len();
        if total <= limit {
            bytes.extend_from_slice(&data);
        } else if total > limit + DRAINED_BYTES {
            break;
        }
    }
    if total > limit {
        return Err(ProblemKind::TooLarge.with(format!("the body has more than {limit} bytes")).into());
    }
    Ok(bytes.freeze())
}
