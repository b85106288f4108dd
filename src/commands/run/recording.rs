//! Records the exchanges with registries in a file.
//!
//! The file holds the last exchanges with each registry, one JSON document per line. It is replaced as a whole, in a
//! thread of its own, so that a slow disk delays nothing else.

use std::{
    convert::Infallible,
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinHandle;

use crate::{clock::Clock, reconcile::fault_log::Reminder, registry::mapped::recorder::ExchangeLog};

const WRITE_EVERY: Duration = Duration::from_secs(5);

/// The exchanges with all registries, and the file for them.
pub(super) struct Recording {
    path: Option<PathBuf>,
    logs: Vec<(&'static str, Arc<ExchangeLog>)>,
    /// The number of exchanges that the file shows, or will show.
    written: u64,
    /// The write under way. It goes on if nothing waits for it.
    writing: Option<JoinHandle<io::Result<()>>>,
    clock: Clock,
    reminder: Reminder,
}

impl Recording {
    /// Without a file, nothing is recorded.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path, logs: Vec::new(), written: 0, writing: None, clock: Clock::start(), reminder: Reminder::default() }
    }

    /// The log of a target.
    pub(super) fn log(&mut self, target: &'static str) -> Option<Arc<ExchangeLog>> {
        self.path.as_ref()?;
        let log = Arc::new(ExchangeLog::default());
        self.logs.push((target, log.clone()));
        Some(log)
    }

    /// Writes the file every few seconds, if there were exchanges.
    pub(super) async fn run(&mut self) -> Infallible {
        if self.path.is_none() {
            std::future::pending::<()>().await;
        }
        loop {
            tokio::time::sleep(WRITE_EVERY).await;
            self.finish().await;
        }
    }

    /// Writes what the file does not show yet.
    pub(super) async fn finish(&mut self) {
        let Some(path) = self.path.clone() else { return };
        self.written().await;
        let count = self.logs.iter().map(|(_, log)| log.count()).sum();
        if count == self.written {
            return;
        }
        let logs = self.logs.clone();
        self.written = count;
        self.writing = Some(tokio::task::spawn_blocking(move || write(&path, &logs)));
        self.written().await;
    }

    /// Waits for the write under way.
    async fn written(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        let written = writing.await;
        self.writing = None;
        if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            self.written = 0;
            if self.reminder.is_due(self.clock.now()) {
                tracing::warn!(%error, "exchanges not recorded; trying again");
            }
        }
    }
}

/// Replaces the file. Records hold the names of pods, so only its owner may read it.
fn write(path: &Path, logs: &[(&'static str, Arc<ExchangeLog>)]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let mut text = Vec::new();
    for (target, log) in logs {
        for exchange in log.exchanges() {
            serde_json::to_writer(&mut text, &json!({"target": target, "exchange": exchange}))?;
            text.push(b'\n');
        }
    }
    file.write_all(&text)?;
    std::fs::rename(&new, path)
}
