//! What an informer concludes from kube's errors: how to go on after a failure.

use kube::Error as ClientError;
use kube_runtime::watcher;

use crate::telemetry::metrics::RelistReason;

/// A watch that cannot be resumed after so many tries is built anew.
const RESUME_TRIES: u32 = 5;

/// How to go on after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoOn {
    /// The same watcher knows how.
    Same,
    /// A new watcher, which begins with a list.
    Anew(RelistReason),
}

/// How to go on after the `failures`-th failure in a row.
///
/// kube's watcher resumes a broken connection from where it was. It also skips what it cannot decode for good, and
/// never lists again when a watch is refused with a *status* 410: then it has to be dropped.
pub(super) fn after(error: &watcher::Error, failures: u32) -> GoOn {
    let refused_for_good = |error: &ClientError| match error {
        ClientError::Api(status) => status.code == 410,
        _ => false,
    };
    match error {
        watcher::Error::InitialListFailed(_) => GoOn::Same,
        watcher::Error::WatchStartFailed(error) if refused_for_good(error) => GoOn::Anew(RelistReason::Gone),
        watcher::Error::WatchStartFailed(ClientError::Api(status))
            if failures >= RESUME_TRIES && !matches!(status.code, 401 | 403 | 429 | 500..) =>
        {
            GoOn::Anew(RelistReason::Error)
        }
        watcher::Error::WatchStartFailed(_) => GoOn::Same,
        // In the stream, the watcher itself lists again on a 410.
        watcher::Error::WatchError(status) if status.code == 410 || failures < RESUME_TRIES => GoOn::Same,
        watcher::Error::WatchFailed(
            ClientError::ReadEvents(_) | ClientError::HyperError(_) | ClientError::Service(_),
        ) => GoOn::Same,
        watcher::Error::WatchFailed(_) => GoOn::Anew(RelistReason::Undecodable),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => GoOn::Anew(RelistReason::Error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn status(code: u16) -> Box<Status> {
        Status::failure("refused", "Refused").with_code(code).boxed()
    }

    #[test]
    fn what_kube_would_skip_or_repeat_for_ever_is_begun_anew() {
        use watcher::Error::*;
        let undecodable = WatchFailed(ClientError::SerdeError(serde_json::from_str::<u8>("x").unwrap_err()));
        let reset = WatchFailed(ClientError::ReadEvents(std::io::Error::other("reset")));
        let cases = [
            (WatchStartFailed(ClientError::Api(status(410))), 1, GoOn::Anew(RelistReason::Gone)),
            (WatchStartFailed(ClientError::Api(status(401))), 99, GoOn::Same),
            (WatchStartFailed(ClientError::Api(status(400))), 1, GoOn::Same),
            (WatchStartFailed(ClientError::Api(status(400))), 5, GoOn::Anew(RelistReason::Error)),
            (WatchError(status(410)), 9, GoOn::Same),
            (WatchError(status(500)), 5, GoOn::Anew(RelistReason::Error)),
            (undecodable, 1, GoOn::Anew(RelistReason::Undecodable)),
            (reset, 1, GoOn::Same),
            (InitialListFailed(ClientError::Api(status(403))), 99, GoOn::Same),
        ];
        for (error, failures, expected) in cases {
            assert_eq!(after(&error, failures), expected, "{error}");
        }
    }
}
