//! Watches: the server's lines one by one, until a fault, the end of the server, or a test ends them.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use axum::{
    body::{Body, BodyDataStream},
    http::Response as HttpResponse,
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use tokio::sync::watch::Receiver;

use super::{
    Front,
    fault::{Effect, How, StreamFault},
    layer::Context,
    list::FLUSH,
};

struct Watch {
    context: Context,
    body: BodyDataStream,
    /// Received, and not yet shown.
    buffer: BytesMut,
    /// The number of shown lines.
    shown: usize,
    fault: Option<StreamFault>,
    dropped: Receiver<()>,
    next: Next,
    _open: Open,
}

#[derive(Clone, Copy, PartialEq)]
enum Next {
    Lines,
    End,
    Break,
}

/// Counts the open watches.
struct Open(Arc<Front>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open_watches.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) fn answer(context: Context, effect: Option<Effect>, response: Response) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let fault = match effect {
        Some(Effect::Stream(fault)) => Some(fault),
        _ => None,
    };
    let front = Arc::clone(&context.api.front);
    front.open_watches.fetch_add(1, Ordering::SeqCst);
    let watch = Watch {
        context,
        body: body.into_data_stream(),
        buffer: BytesMut::new(),
        shown: 0,
        fault,
        dropped: front.dropped.subscribe(),
        next: Next::Lines,
        _open: Open(front),
    };
    HttpResponse::from_parts(parts, Body::from_stream(stream::unfold(watch, Watch::next)))
}

impl Watch {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        match self.next {
            Next::Lines => {}
            Next::End => return None,
            Next::Break => {
                // The half line has to leave the buffer before the connection breaks.
                tokio::time::sleep(FLUSH).await;
                return Some((Err(io::Error::other("a scripted fault cuts the watch")), self));
            }
        }
        let due = self.fault.take_if(|fault| fault.after <= self.shown).map(|fault| fault.how);
        let shown = match due {
            Some(How::Stall) => {
                self.context.stop.cancelled().await;
                return None;
            }
            Some(How::End) => return None,
            Some(How::Error(failure)) => {
                self.next = Next::End;
                format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", failure.body()).into()
            }
            Some(How::Line(line)) => format!("{line}\n").into(),
            Some(How::Cut) => {
                self.next = Next::Break;
                let line = self.line().await?;
                line.slice(..line.len() / 2)
            }
            None => {
                self.shown += 1;
                self.line().await?
            }
        };
        Some((Ok(shown), self))
    }

    /// The next line that is shown, or `None` at the end.
    async fn line(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                () = self.context.stop.cancelled() => return None,
                _ = self.dropped.changed() => return None,
                line = received(&mut self.body, &mut self.buffer) => {
                    if let Some(shown) = self.context.api.front.shown(line?) {
                        return Some(shown);
                    }
                }
            }
        }
    }
}

async fn received(body: &mut BodyDataStream, buffer: &mut BytesMut) -> Option<Bytes> {
    loop {
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            return Some(buffer.split_to(end + 1).freeze());
        }
        buffer.extend_from_slice(&body.next().await?.ok()?);
    }
}
