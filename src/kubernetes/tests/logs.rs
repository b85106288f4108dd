//! Collects the log lines of a test.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::{Dispatch, subscriber::DefaultGuard, subscriber::NoSubscriber};

/// The log lines of the current thread, while the guard lives.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn start() -> (Self, (Dispatch, DefaultGuard)) {
        let log = Self::default();
        let sink = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || sink.clone()).finish();
        // Two dispatchers: with one, another test's thread could disable a log line for this one.
        let second = Dispatch::new(NoSubscriber::new());
        (log, (second, tracing::subscriber::set_default(subscriber)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The number of lines with both texts.
    pub(crate) fn count(&self, level: &str, message: &str) -> usize {
        self.text().lines().filter(|line| line.contains(level) && line.contains(message)).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
