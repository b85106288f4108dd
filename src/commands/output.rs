//! Standard output, written without blocking a thread of the runtime.

use std::io;

use tokio::io::{AsyncWriteExt as _, Stdout, stdout};

pub(super) struct Output(Stdout);

impl Default for Output {
    fn default() -> Self {
        Self(stdout())
    }
}

impl Output {
    /// Writes lines, and waits until the reader has taken them.
    pub(super) async fn print(&mut self, lines: &[String]) -> io::Result<()> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.0.write_all(text.as_bytes()).await?;
        self.0.flush().await
    }
}
