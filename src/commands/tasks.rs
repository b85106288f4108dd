//! The essential tasks of a command. When one of them ends, the command ends with an error that names it.
//!
//! `tokio_util::task::JoinMap` would replace `names`, but its feature brings a third copy of `hashbrown` for five lines.

use std::future::Future;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Error;

#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<(&'static str, Result<(), Error>)>,
    names: Vec<(tokio::task::Id, &'static str)>,
}

impl Tasks {
    /// Starts a task that should run as long as the command.
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let handle = self.set.spawn(async move { (name, task.await) });
        self.names.push((handle.id(), name));
    }

    /// Waits until a task ends, and returns the reason. Without tasks, it waits for ever.
    pub(super) async fn first_end(&mut self) -> Error {
        match self.next_end().await {
            Some((_, error)) => error,
            None => std::future::pending().await,
        }
    }

    /// Waits until a task ends before `stop` is cancelled, and returns the reason. After that, it waits for ever: a task
    /// that works for an event loop ends with it.
    pub(super) async fn first_end_before(&mut self, stop: &CancellationToken) -> Error {
        let error = self.first_end().await;
        if stop.is_cancelled() {
            std::future::pending().await
        }
        error
    }

    /// Waits until a task of this name ends, and returns the reason. Other tasks may end before it.
    pub(super) async fn end_of(&mut self, name: &'static str) -> Error {
        while let Some((ended, error)) = self.next_end().await {
            if ended == name {
                return error;
            }
        }
        Error::TaskEnded(name)
    }

    async fn next_end(&mut self) -> Option<(&'static str, Error)> {
        Some(match self.set.join_next().await? {
            Ok((name, Ok(()))) => (name, Error::TaskEnded(name)),
            Ok((name, Err(error))) => (name, error),
            Err(source) => {
                let name = self.names.iter().find(|(id, _)| *id == source.id()).map_or("?", |(_, name)| name);
                (name, Error::TaskFailed { name, source })
            }
        })
    }

    /// Aborts all tasks and waits until they have ended.
    pub(super) async fn end(mut self) {
        self.set.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::commands::FAILED;

    async fn end_of(task: impl Future<Output = Result<(), Error>> + Send + 'static) -> Error {
        let mut tasks = Tasks::default();
        tasks.spawn("idle", std::future::pending());
        tasks.spawn("watch", task);
        let error = tasks.first_end().await;
        tasks.end().await;
        error
    }

    #[tokio::test]
    async fn ended_or_panicked_task_ends_the_process() {
        // The process exits with code 1, and the error names the task.
        let panicked = end_of(async { panic!("a defect") }).await;
        assert!(matches!(&panicked, Error::TaskFailed { name: "watch", .. }), "{panicked}");
        let text = panicked.to_string();
        assert!(text.contains("\"watch\" failed") && text.contains("a defect"), "{text}");
        let ended = end_of(async { Ok(()) }).await;
        assert!(matches!(&ended, Error::TaskEnded("watch")), "{ended}");
        assert_eq!((panicked.exit_code(), ended.exit_code()), (FAILED, FAILED));
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_may_end_after_a_stop() {
        let (mut tasks, stop) = (Tasks::default(), CancellationToken::new());
        tasks.spawn("watch", async { Ok(()) });
        assert!(matches!(tasks.first_end_before(&stop).await, Error::TaskEnded("watch")));
        tasks.spawn("watch", async { Ok(()) });
        stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(60), tasks.first_end_before(&stop)).await;
        assert!(ended.is_err());
    }

    #[tokio::test]
    async fn named_task_is_told_from_earlier_ends() {
        let mut tasks = Tasks::default();
        tasks.spawn("confirm", async { Ok(()) });
        tasks.spawn("watch", async {
            tokio::task::yield_now().await;
            Err(Error::Interrupted)
        });
        assert!(matches!(tasks.end_of("watch").await, Error::Interrupted));
        assert!(matches!(tasks.end_of("watch").await, Error::TaskEnded("watch")));
    }
}
