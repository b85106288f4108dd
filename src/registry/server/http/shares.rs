//! Limits requests and streams of changes, in total and per cluster.
//!
//! If the tokens are bound to several clusters, those of one cluster use at most a quarter. A writer with slow bodies
//! then delays only its own cluster.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::registry::server::tokens::ClusterAccess;

/// Requests that are worked on at the same time; others wait. This bounds the memory for bodies.
const REQUESTS: usize = 64;
/// Streams that are open at the same time.
const STREAMS: usize = 64;
/// The tokens of one cluster may use the total divided by this.
const PART: usize = 4;

pub(crate) struct Shares {
    all: Share,
    /// Empty if all tokens have the same access.
    each: HashMap<ClusterAccess, Share>,
}

struct Share {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// The right to work on a request, or to keep a stream open, until this is dropped.
pub(crate) struct RequestShare {
    _own: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

impl Share {
    fn of(part: usize) -> Self {
        let permits = |total: usize| Arc::new(Semaphore::new(total / part));
        Self { requests: permits(REQUESTS), streams: permits(STREAMS) }
    }
}

impl Shares {
    /// Shares for these tokens' accesses.
    pub(crate) fn new(callers: Vec<ClusterAccess>) -> Self {
        let mut each: HashMap<_, _> = callers.into_iter().map(|access| (access, Share::of(PART))).collect();
        if each.len() == 1 {
            each.clear();
        }
        Self { all: Share::of(1), each }
    }

    /// Waits for a share for a request. A caller that waits for its cluster's share takes nothing from the others.
    pub(crate) async fn work(&self, caller: &ClusterAccess) -> Result<RequestShare, AcquireError> {
        let own = match self.each.get(caller) {
            Some(share) => Some(Arc::clone(&share.requests).acquire_owned().await?),
            None => None,
        };
        Ok(RequestShare { _own: own, _all: Arc::clone(&self.all.requests).acquire_owned().await? })
    }

    /// Takes a share for a stream, or fails if none is free.
    pub(crate) fn stream(&self, caller: &ClusterAccess) -> Result<RequestShare, TryAcquireError> {
        let own = self.each.get(caller).map(|share| Arc::clone(&share.streams).try_acquire_owned()).transpose()?;
        Ok(RequestShare { _own: own, _all: Arc::clone(&self.all.streams).try_acquire_owned()? })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn cluster(id: &str) -> ClusterAccess {
        ClusterAccess::Cluster(id.to_owned())
    }

    #[test]
    fn one_cluster_leaves_room_for_others() {
        let shares = Shares::new(vec![cluster("a"), cluster("b")]);
        let work: Vec<_> = std::iter::from_fn(|| shares.work(&cluster("a")).now_or_never()?.ok()).take(100).collect();
        let streams: Vec<_> = std::iter::from_fn(|| shares.stream(&cluster("a")).ok()).take(100).collect();
        assert_eq!((work.len(), streams.len()), (REQUESTS / PART, STREAMS / PART));
        assert!(shares.work(&cluster("b")).now_or_never().is_some() && shares.stream(&cluster("b")).is_ok());
        drop(work);
        assert!(shares.work(&cluster("a")).now_or_never().is_some());
    }

    #[test]
    fn single_caller_may_use_everything() {
        for callers in [vec![], vec![ClusterAccess::All], vec![cluster("a"), cluster("a")]] {
            let caller = callers.first().cloned().unwrap_or(ClusterAccess::All);
            let shares = Shares::new(callers);
            let streams: Vec<_> = std::iter::from_fn(|| shares.stream(&caller).ok()).take(100).collect();
            assert_eq!(streams.len(), STREAMS);
        }
    }
}
