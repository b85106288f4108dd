//! The essential tasks of a command: the first one to end ends them all.

use std::future::Future;

use tokio::task::JoinSet;

use super::Error;

/// Owned tasks, each with a name.
#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<(&'static str, Result<(), Error>)>,
    names: Vec<(tokio::task::Id, &'static str)>,
}

impl Tasks {
    /// Starts a task that is not to end by itself.
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let handle = self.set.spawn(async move { (name, task.await) });
        self.names.push((handle.id(), name));
    }

    /// Waits for the first task to end, and says which it was. Never, while there are none.
    pub(super) async fn first_end(&mut self) -> Error {
        match self.set.join_next().await {
            None => std::future::pending().await,
            Some(Ok((name, Ok(())))) => Error::TaskEnded(name),
            Some(Ok((_, Err(error)))) => error,
            Some(Err(source)) => {
                let name = self.names.iter().find(|(id, _)| *id == source.id()).map_or("?", |(_, name)| name);
                Error::TaskFailed { name, source }
            }
        }
    }

    /// Ends all tasks and waits until they have ended.
    pub(super) async fn end(mut self) {
        self.set.shutdown().await;
    }
}
