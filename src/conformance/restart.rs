//! Restarts the registry with a command of its operator, and waits until it answers again.

use std::{io, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

use super::suite::{Halt, Suite};

/// Time limit of the command.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);
/// How long the registry may take to answer after the command.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Returns when the registry has been restarted.
pub(super) async fn restart(suite: &Suite, command: &str) -> Result<(), Halt> {
    tracing::info!("restarting the registry");
    run(command).await.map_err(|why| Halt::Run(format!("the restart command {why}")))?;
    let answers = async {
        while !suite.is_alive().await {
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    let seconds = ANSWERS_WITHIN.as_secs();
    timeout(ANSWERS_WITHIN, answers)
        .await
        .map_err(|_| Halt::Run(format!("the registry did not answer within {seconds} s after its restart")))
}

/// Runs a command of the shell. What it prints goes to standard error, because the report is on standard output.
async fn run(command: &str) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(io::stderr()).kill_on_drop(true);
    let status = timeout(COMMAND_WITHIN, shell.status()).await;
    match status.map_err(|_| format!("did not end within {} s", COMMAND_WITHIN.as_secs()))? {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("failed: {status}")),
        Err(error) => Err(format!("cannot be run: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn failed_command_says_its_status() {
        assert_eq!(run("true").await, Ok(()));
        assert_eq!(run("exit 3").await, Err("failed: exit status: 3".to_owned()));
    }
}
