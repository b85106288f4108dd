//! Asks a person at a terminal.

use std::io::{self, IsTerminal as _};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::Error;

/// Whether a person can answer.
pub(super) fn can_be_asked() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Returns the line that the person types, without spaces around it. It is empty at the end of the input.
pub(super) async fn ask(question: &str) -> Result<String, Error> {
    let mut output = tokio::io::stdout();
    output.write_all(question.as_bytes()).await.map_err(Error::Output)?;
    output.flush().await.map_err(Error::Output)?;
    let mut line = String::new();
    BufReader::new(tokio::io::stdin()).read_line(&mut line).await.map_err(Error::Input)?;
    Ok(line.trim().to_owned())
}
