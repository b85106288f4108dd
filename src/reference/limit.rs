//! Limits the connections: how many there are, and how long one may refuse to take what it asked for.

use std::{
    future::{Ready, ready},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready as wait},
    time::Duration,
};

use axum_server::accept::Accept;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

/// Connections at the same time; one more is closed at once.
const CONNECTIONS: usize = 512;
/// How long a client may take nothing of an answer that waits for it.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// Accepts connections up to the limit.
#[derive(Clone)]
pub(crate) struct Limited {
    places: Arc<Semaphore>,
    write_time: Duration,
}

impl Default for Limited {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(CONNECTIONS)), write_time: WRITE_TIME }
    }
}

impl<S> Accept<TcpStream, S> for Limited {
    type Stream = LimitedStream;
    type Service = S;
    type Future = Ready<io::Result<(LimitedStream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!(limit = CONNECTIONS, "a connection was refused: too many are open");
            return ready(Err(io::Error::other("too many connections")));
        };
        // Answers are small and complete: waiting to fill a packet only delays them.
        ready(stream.set_nodelay(true).map(|()| (LimitedStream::new(stream, self.write_time, permit), service)))
    }
}

/// A connection that holds a place and fails when its client stops reading.
pub(crate) struct LimitedStream {
    stream: TcpStream,
    write_time: Duration,
    deadline: Pin<Box<Sleep>>,
    blocked: bool,
    _permit: OwnedSemaphorePermit,
}

impl LimitedStream {
    fn new(stream: TcpStream, write_time: Duration, permit: OwnedSemaphorePermit) -> Self {
        Self { stream, write_time, deadline: Box::pin(sleep(write_time)), blocked: false, _permit: permit }
    }

    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked = false;
            return written;
        }
        if !self.blocked {
            self.blocked = true;
            let deadline = Instant::now() + self.write_time;
            self.deadline.as_mut().reset(deadline);
        }
        wait!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_let_go() {
        let limited = Limited { places: Arc::new(Semaphore::new(1)), write_time: Duration::from_millis(50) };
        let (_client, server) = pair().await;
        let (mut stream, ()) = limited.accept(server, ()).await.unwrap();
        // More than the kernel buffers on both sides.
        let error = stream.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_is_refused_until_another_ends() {
        let limited = Limited { places: Arc::new(Semaphore::new(1)), write_time: WRITE_TIME };
        let (_one, first) = pair().await;
        let (_two, second) = pair().await;
        let (_three, third) = pair().await;
        let held = limited.accept(first, ()).await.unwrap();
        assert!(limited.accept(second, ()).await.is_err());
        drop(held);
        assert!(limited.accept(third, ()).await.is_ok());
    }
}
