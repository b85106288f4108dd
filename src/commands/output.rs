//! Standard output, for people and pipes.

use std::io;

use tokio::io::{AsyncWriteExt as _, Stdout, stdout};

/// Writes lines without blocking a thread of the runtime: a reader that has stopped delays only who waits for it.
pub(super) struct Output(Stdout);

impl Default for Output {
    fn default() -> Self {
        Self(stdout())
    }
}

impl Output {
    /// Writes lines, and waits until they are taken.
    pub(super) async fn print(&mut self, lines: &[String]) -> io::Result<()> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.0.write_all(text.as_bytes()).await?;
        self.0.flush().await
    }
}
