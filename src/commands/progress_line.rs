//! How far a command is that takes long: a line on standard error that replaces itself, if that is a terminal.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, time::Instant};

use crate::{
    admin::summary::{grouped, rest},
    reconcile::progress::remaining,
};

const SHOWN_EVERY: Duration = Duration::from_millis(500);
/// Back to the start of the line, and clears it.
const CLEARED: &str = "\r\u{1b}[K";

pub(super) struct ProgressLine {
    what: &'static str,
    begun: Instant,
    shown_at: Option<Instant>,
    is_terminal: bool,
}

impl ProgressLine {
    /// `what` is a word such as "deleting".
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, begun: Instant::now(), shown_at: None, is_terminal: io::stderr().is_terminal() }
    }

    pub(super) async fn show(&mut self, done: usize, total: usize) {
        if !self.is_terminal || self.shown_at.is_some_and(|at| at.elapsed() < SHOWN_EVERY) {
            return;
        }
        self.shown_at = Some(Instant::now());
        let line = line(self.what, self.begun.elapsed(), done as u64, total as u64);
        write(&format!("{CLEARED}{line}")).await;
    }

    /// Clears the line.
    pub(super) async fn end(self) {
        if self.shown_at.is_some() {
            write(CLEARED).await;
        }
    }
}

fn line(what: &str, elapsed: Duration, done: u64, total: u64) -> String {
    let left = remaining(elapsed, done, total).map(|left| left.as_secs_f64());
    format!("{what}: {} of {}, {}", grouped(done), grouped(total), rest(left))
}

async fn write(text: &str) {
    let mut stderr = tokio::io::stderr();
    // Without this line, the command does the same.
    let _ = stderr.write_all(text.as_bytes()).await;
    let _ = stderr.flush().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_says_how_far_it_is() {
        let line = |seconds, done| line("deleting", Duration::from_secs(seconds), done, 4_000);
        assert_eq!(line(1, 100), "deleting: 100 of 4,000, time left unknown");
        assert_eq!(line(60, 1_000), "deleting: 1,000 of 4,000, about 3 min left");
    }
}
