//! Who may use how much: requests in work and streams of changes, in sum and for each cluster's tokens.
//!
//! Where tokens are bound to more than one cluster, the tokens of one use a quarter at most. A writer with slow bodies
//! then delays its own cluster, not the others.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::registry::server::tokens::ClusterAccess;

/// Requests of known callers that are worked on at the same time; others wait. Bounds the memory of bodies.
const IN_WORK: usize = 64;
/// Streams of changes that are open at the same time.
const STREAMS: usize = 64;
/// The part of both that the tokens of one cluster may use.
const PART: usize = 4;

/// What is in use, in sum and by each kind of caller.
pub(crate) struct Shares {
    all: Share,
    each: HashMap<ClusterAccess, Share>,
}

struct Share {
    in_work: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// A place that is in use until this is dropped.
pub(crate) struct RequestShare {
    _own: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

impl Share {
    fn of(part: usize) -> Self {
        let places = |total: usize| Arc::new(Semaphore::new(total / part));
        Self { in_work: places(IN_WORK), streams: places(STREAMS) }
    }
}

impl Shares {
    /// Shares for the callers that there may be.
    pub(crate) fn new(callers: Vec<ClusterAccess>) -> Self {
        let mut each: HashMap<_, _> = callers.into_iter().map(|access| (access, Share::of(PART))).collect();
        if each.len() == 1 {
            each.clear();
        }
        Self { all: Share::of(1), each }
    }

    /// A place for a request, as soon as there is one. Who waits for its own share holds nothing of the others'.
    pub(crate) async fn work(&self, caller: &ClusterAccess) -> Result<RequestShare, AcquireError> {
        let own = match self.each.get(caller) {
            Some(share) => Some(Arc::clone(&share.in_work).acquire_owned().await?),
            None => None,
        };
        Ok(RequestShare { _own: own, _all: Arc::clone(&self.all.in_work).acquire_owned().await? })
    }

    /// A place for a stream, if there is one now.
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
        assert_eq!((work.len(), streams.len()), (IN_WORK / PART, STREAMS / PART));
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
