//! Resolves the API server's host.
//!
//! A lookup outlives the request that started it, and its answer is cached. If DNS is slower than a request may be, the
//! next request finds the answer.

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

/// How long an answer is cached.
const CACHED: Duration = Duration::from_secs(30);

type Answer = Result<(Arc<[SocketAddr]>, Instant), (io::ErrorKind, String)>;
type Lookup = Shared<BoxFuture<'static, Answer>>;

/// The system's resolver, shared by all connections.
#[derive(Clone, Default)]
pub(super) struct Resolver {
    newest: Arc<Mutex<Option<(String, Lookup)>>>,
}

impl Resolver {
    /// The running or cached lookup, or a new one.
    fn lookup(&self, host: &str) -> Lookup {
        let mut newest = self.newest.lock();
        let is_usable = |lookup: &Lookup| match lookup.peek() {
            None => true,
            Some(Ok((_, at))) => at.elapsed() < CACHED,
            Some(Err(_)) => false,
        };
        match &*newest {
            Some((name, lookup)) if name == host && is_usable(lookup) => lookup.clone(),
            _ => {
                let lookup = begin(host.to_owned());
                *newest = Some((host.to_owned(), lookup.clone()));
                lookup
            }
        }
    }
}

fn begin(host: String) -> Lookup {
    let lookup = tokio::task::spawn_blocking(move || {
        use std::net::ToSocketAddrs as _;
        let found: Vec<SocketAddr> = (host.as_str(), 0).to_socket_addrs()?.collect();
        io::Result::Ok((found.into(), Instant::now()))
    });
    let answer = async move {
        let answer = lookup.await.map_err(io::Error::other).and_then(|answer| answer);
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
        let lookup = self.lookup(name.as_str());
        let answer = async move {
            let (found, _) = lookup.await.map_err(|(kind, text)| io::Error::new(kind, text))?;
            Ok(Vec::from(&*found).into_iter())
        };
        answer.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lookup_outlives_its_request() {
        let resolver = Resolver::default();
        let first = resolver.lookup("127.0.0.1");
        let second = resolver.lookup("127.0.0.1");
        assert!(first.ptr_eq(&second), "one lookup for both");
        drop(first);
        assert_eq!(second.await.unwrap().0.len(), 1);
        assert!(resolver.lookup("127.0.0.1").peek().is_some(), "the answer is cached");
        assert!(resolver.lookup("::1").peek().is_none(), "another host");
    }
}
