//! Asks a person at a terminal.

use std::io::{self, IsTerminal as _};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use tokio_util::sync::CancellationToken;

use super::{Error, report::print_table};
use crate::cli::values::OutputFormat;

/// What a command would do, and how an operator can consent.
pub(super) struct Consent {
    /// Whether a flag says so already.
    pub(super) yes: bool,
    pub(super) format: OutputFormat,
    pub(super) stop: CancellationToken,
}

impl Consent {
    /// Whether the operator wants `what`, such as "delete them", to be done with this number of records. Shows these
    /// lines before it asks. Without a person who can answer, the answer is no.
    pub(super) async fn is_given(&self, what: &str, records: usize, shown: Vec<String>) -> Result<bool, Error> {
        if self.yes {
            return Ok(true);
        }
        if self.format == OutputFormat::Json || !can_be_asked() {
            return Ok(false);
        }
        print_table(&shown).await?;
        let question = format!("Type the number of records to {what}: ");
        let answer = self.stop.run_until_cancelled(ask(&question)).await.unwrap_or(Err(Error::Stopped))?;
        Ok(answer == records.to_string())
    }
}

/// Whether a person can answer.
fn can_be_asked() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Returns the line that the person types, without spaces around it. It is empty at the end of the input.
async fn ask(question: &str) -> Result<String, Error> {
    let mut output = tokio::io::stdout();
    output.write_all(question.as_bytes()).await.map_err(Error::Output)?;
    output.flush().await.map_err(Error::Output)?;
    let mut line = String::new();
    BufReader::new(tokio::io::stdin()).read_line(&mut line).await.map_err(Error::Input)?;
    Ok(line.trim().to_owned())
}
