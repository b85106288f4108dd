//! The composition root: from settings to running tasks, from signals and results to an exit code.
//!
//! Only this room sees the settings whole; it hands each room what that room needs.

mod approve;
mod demo;
mod informers;
mod instance;
mod output;
mod registry;
mod run;
mod signals;
mod status;
mod tasks;
mod watch;

use std::{env, io::Write as _, pin::pin, process::ExitCode, time::Duration};

use tokio::task::JoinError;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    cli::{self, flags::Command},
    controller, kubernetes,
    registry::server as registry_server,
    telemetry::{logging, panics, stderr::Stderr},
};

/// Exit code of a process that failed while running.
const FAILED: u8 = 1;
/// Exit code of a process whose settings were refused.
const REFUSED: u8 = 2;
/// Exit code of a process that a second signal ended.
const ABORTED: u8 = 130;
/// Threads of the runtime, at least and at most.
const WORKERS: (usize, usize) = (2, 4);
/// How long a command may take to end once it was asked to; a pod has 30 s.
const STOP_AT_MOST: Duration = Duration::from_secs(25);
/// Blocking work that is still going on at the end is left behind after this time.
const LEAVE_AFTER: Duration = Duration::from_millis(500);

/// Why the program ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime could not be made.
    #[error("cannot start: {0}")]
    Start(#[source] std::io::Error),
    /// Logging could not be set up.
    #[error(transparent)]
    Logging(#[from] logging::Error),
    /// The credentials for the cluster cannot be used.
    #[error(transparent)]
    Cluster(#[from] kubernetes::client::Error),
    /// The settings for the registry cannot be used.
    #[error(transparent)]
    Registry(#[from] crate::registry::client::credentials::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {fix}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
        /// How to fix it.
        fix: &'static str,
    },
    /// The pods cannot be selected as the settings say.
    #[error(transparent)]
    Informer(#[from] kubernetes::watch::informer::Error),
    /// An approval could not be written.
    #[error(transparent)]
    Approval(#[from] kubernetes::lease::approvals::Error),
    /// The event loop ended.
    #[error(transparent)]
    Sync(#[from] controller::error::Error),
    /// The reference registry ended.
    #[error(transparent)]
    Reference(#[from] registry_server::serve::Error),
    /// A task that should never end did.
    #[error("the task {0:?} ended, without which nothing can go on")]
    TaskEnded(&'static str),
    /// A task panicked.
    #[error("the task {name:?} failed: {source}")]
    TaskFailed {
        /// Which.
        name: &'static str,
        /// How.
        source: tokio::task::JoinError,
    },
    /// A signal ended a command that had not done its work.
    #[error("interrupted before it was done")]
    Interrupted,
    /// Standard output cannot be written to.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] std::io::Error),
}

impl Error {
    /// The exit code that tells this error: a setting that cannot be used is a refused setting, whenever it is found.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Logging(_) | Self::Cluster(_) | Self::Registry(_) | Self::Informer(_) => REFUSED,
            Self::Reference(registry_server::serve::Error::Tokens(_) | registry_server::serve::Error::Tls { .. }) => {
                REFUSED
            }
            _ => FAILED,
        }
    }
}

/// Runs the program by its command line and its environment.
pub fn main() -> ExitCode {
    let search = kubernetes::kubeconfig::Environment::of(|name| env::var_os(name));
    let command = match cli::parse(env::args_os()) {
        Ok(command) => command,
        Err(error) => {
            // If this fails, nothing can be printed at all.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS };
        }
    };
    let Ok(mut stderr) = Stderr::start() else {
        // Without a thread for its log the process could not say why it ends, whatever it tried.
        return ExitCode::from(FAILED);
    };
    panics::end_the_process(stderr.clone());
    let code = start(command, search, &stderr).unwrap_or_else(|error| {
        // Writing to the buffer cannot fail.
        let _ = stderr.write_all(format!("error: {error}\n").as_bytes());
        error.exit_code()
    });
    Stderr::flush(&stderr);
    ExitCode::from(code)
}

fn start(command: Command, environment: kubernetes::kubeconfig::Environment, stderr: &Stderr) -> Result<u8, Error> {
    logging::init(command.log_format(), stderr.clone())?;
    // The one TLS provider of the program; a second call would fail and change nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build();
    let runtime = runtime.map_err(Error::Start)?;
    let code = runtime.block_on(run(command, environment));
    runtime.shutdown_timeout(LEAVE_AFTER);
    code
}

/// How many threads the runtime has. One event loop and a watch or two are all that ever has much to do: on a node of 64
/// processors as many threads would hold memory and take work from each other. With a second one, health is answered
/// while the first is busy.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(WORKERS.0, |n| n.get().clamp(WORKERS.0, WORKERS.1))
}

/// Runs a command until it ends, or is asked to twice.
async fn run(command: Command, environment: kubernetes::kubeconfig::Environment) -> Result<u8, Error> {
    let mut signals = signals::Signals::new().map_err(Error::Start)?;
    let stop = CancellationToken::new();
    // A task of its own: a command that is busy must not keep signals from being heard.
    let work = AbortOnDropHandle::new(tokio::spawn(execute(command, environment, stop.clone())));
    supervise(work, stop, async || signals.next().await).await
}

/// Waits for the end of a command. It always comes: after a second signal, and some time after the first one.
async fn supervise(
    mut work: AbortOnDropHandle<Result<(), Error>>,
    stop: CancellationToken,
    mut next_signal: impl AsyncFnMut() -> &'static str,
) -> Result<u8, Error> {
    let mut overdue = pin!(async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_AT_MOST).await;
    });
    loop {
        tokio::select! {
            result = &mut work => return result_of(result),
            () = &mut overdue => {
                tracing::error!(seconds = STOP_AT_MOST.as_secs(), "the command does not stop; ending the process");
                return Ok(FAILED);
            }
            signal = next_signal() => {
                if stop.is_cancelled() {
                    tracing::warn!(signal, "second signal, aborted");
                    return Ok(ABORTED);
                }
                tracing::info!(signal, "stopping, a second signal aborts");
                stop.cancel();
            }
        }
    }
}

/// What a command came to. A panic in it, or in the event loop, is a failure of the process.
fn result_of(result: Result<Result<(), Error>, JoinError>) -> Result<u8, Error> {
    result.map_err(|source| Error::TaskFailed { name: "command", source })?.map(|()| 0)
}

async fn execute(
    command: Command,
    environment: kubernetes::kubeconfig::Environment,
    stop: CancellationToken,
) -> Result<(), Error> {
    match command {
        Command::Run(settings) => run::run(*settings, environment, stop).await,
        Command::Watch(settings) => watch::run(settings, environment, stop).await,
        Command::Registry(settings) => registry::run(settings, stop).await,
        Command::Demo(settings) => demo::run(settings, environment, stop).await,
        Command::Approve(settings) => {
            stop.run_until_cancelled(approve::run(settings, environment)).await.unwrap_or(Err(Error::Interrupted))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As one whose plugin, or whose request, never comes to an end.
    #[tokio::test(start_paused = true)]
    async fn command_that_ignores_signals_ends_in_time() {
        let work = AbortOnDropHandle::new(tokio::spawn(std::future::pending()));
        let mut signals = ["SIGTERM"].into_iter();
        let next_signal = async || match signals.next() {
            Some(signal) => signal,
            None => std::future::pending().await,
        };
        let begun = tokio::time::Instant::now();
        let code = supervise(work, CancellationToken::new(), next_signal).await;
        assert_eq!((code.unwrap(), begun.elapsed().as_secs()), (FAILED, STOP_AT_MOST.as_secs()));
    }

    #[tokio::test]
    async fn panic_in_a_command_exits_with_code_1() {
        // The error carries the text of the panic.
        let error = result_of(tokio::spawn(async { panic!("a defect") }).await).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().contains("a defect")), (FAILED, true), "{error}");
        assert_eq!(result_of(tokio::spawn(async { Ok(()) }).await).unwrap(), 0);
    }
}
