//! Looks up the API server's host.
//!
//! A look-up outlives the request that asked for it, and its answer is kept for a while: where DNS takes longer than a
//! request may, the next request finds the answer.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use hyper_util::client::legacy::connect::dns::Name;
use parking_lot::Mutex;
use tokio::time::Instant;
use tower::Service;

/// How long an answer is used.
const KEPT: Duration = Duration::from_secs(30);

type Answer = Result<(Arc<[SocketAddr]>, Instant), (io::ErrorKind, String)>;
type LookUp = Shared<BoxFuture<'static, Answer>>;

/// The system's resolver, shared by all connections.
#[derive(Clone, Default)]
pub(super) struct Resolver {
    newest: Arc<Mutex<Option<(String, LookUp)>>>,
}

impl Resolver {
    /// The look-up that is under way or whose answer is still good; a new one otherwise.
    fn look_up(&self, host: &str) -> LookUp {
        let mut newest = self.newest.lock();
        let is_good = |look_up: &LookUp| match look_up.peek() {
            None => true,
            Some(Ok((_, at))) => at.elapsed() < KEPT,
            Some(Err(_)) => false,
        };
        match &*newest {
            Some((name, look_up)) if name == host && is_good(look_up) => look_up.clone(),
            _ => {
                let look_up = begin(host.to_owned());
                *newest = Some((host.to_owned(), look_up.clone()));
                look_up
            }
        }
    }
}

fn begin(host: String) -> LookUp {
    let asked = tokio::task::spawn_blocking(move || {
        use std::net::ToSocketAddrs as _;
        let found: Vec<SocketAddr> = (host.as_str(), 0).to_socket_addrs()?.collect();
        io::Result::Ok((found.into(), Instant::now()))
    });
    let answer = async move {
        let answer = asked.await.map_err(io::Error::other).and_then(|answer| answer);
        answer.map_err(|error| (error.kind(), error.to_string()))
    };
    answer.boxed().shared()
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let look_up = self.look_up(name.as_str());
        let answer = async move {
            let (found, _) = look_up.await.map_err(|(kind, text)| io::Error::new(kind, text))?;
            Ok(Vec::from(&*found).into_iter())
        };
        answer.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn look_up_outlives_the_request_that_asked() {
        let resolver = Resolver::default();
        let first = resolver.look_up("127.0.0.1");
        let second = resolver.look_up("127.0.0.1");
        assert!(first.ptr_eq(&second), "one look-up for both");
        drop(first);
        assert_eq!(second.await.unwrap().0.len(), 1);
        assert!(resolver.look_up("127.0.0.1").peek().is_some(), "the answer is kept");
        assert!(resolver.look_up("::1").peek().is_none(), "another host");
    }
}
