//! The commands: from checked settings to running tasks, from signals and results to an exit code.
//!
//! | file or folder | content |
//! | --- | --- |
//! | the name of a command, such as `run` or `targets` | that command; a large one has a folder for its parts |
//! | `signals`, `tasks`, `output`, `report`, `progress_line`, `question` | shared: how a command stops, the tasks it runs, its output, and the question before it writes |
//! | `admin_client` | shared: asks a running controller |
//! | `informers`, `lease`, `owner`, `registry_reader`, `targets_file` | shared: the pods, the Lease, the owner of records, the registries of a command |
//! | `collector` | shared: where traces and log lines go |
//! | `target_settings`, `instance` | parts of `run`: its registries and its name |
//!
//! Only this module sees all settings. It hands each part what that part needs.
//!
//! What a new command `name` needs:
//!
//! | what | where |
//! | --- | --- |
//! | its help and flags | `cli/flags.rs`: a settings type, a variant of `Command`, an arm in `log_format` and `check` |
//! | its code | `commands/name.rs` with an async function `run`, and an arm in `execute` below |
//! | a clean end | `run` returns soon after its [`CancellationToken`] is cancelled; after 25 s the process ends |
//! | pods | `informers::cluster` and `informers::start` |
//! | tasks that run as long as the command | `tasks::Tasks` |
//! | a result that can be JSON | `report::print`, with `--output` |
//! | lines on standard output | `output::Output`; everything else is logged |
//! | its exit code | `execute` returns it; errors have `Error::exit_code` |
//! | its errors | a variant of [`Error`], and `Error::exit_code` if a setting is to blame |
//! | its documentation | the generated `docs/settings.md`, the README and the change log |

mod admin_client;
mod adopt;
mod approve;
mod check;
mod collector;
mod conformance;
mod demo;
mod explain;
mod informers;
mod instance;
mod lease;
mod output;
mod owner;
mod plan;
mod progress_line;
mod purge;
mod question;
mod registry;
mod registry_reader;
mod report;
mod run;
mod signals;
mod status;
mod target_settings;
mod targets;
mod targets_file;
mod tasks;
mod watch;

use std::{env, io::Write as _, pin::pin, process::ExitCode, time::Duration};

use tokio::task::JoinError;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    cli::{self, flags::Command},
    controller, kubernetes,
    mapping::place,
    otlp,
    registry::server as registry_server,
    telemetry::{
        log_export::{self, LogLines},
        logging, panics,
        stderr::Stderr,
    },
};

/// Exit code of a command that did what it should.
const DONE: u8 = 0;
/// Exit code of a process that failed while running.
const FAILED: u8 = 1;
/// Exit code of a process whose settings were rejected.
const REFUSED: u8 = 2;
/// Exit code of a command that found differences.
const DIFFERS: u8 = 3;
/// Exit code of a process that a second signal ended.
const ABORTED: u8 = 130;
/// Threads of the runtime: the least and the most.
const WORKERS: (usize, usize) = (2, 4);
/// Time limit of a command after the first signal. A pod has 30 s.
const STOP_AT_MOST: Duration = Duration::from_secs(25);
/// Time limit of blocking work when the runtime ends.
const LEAVE_AFTER: Duration = Duration::from_millis(500);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime, a signal handler or a listening socket could not be set up.
    #[error("cannot start: {0}")]
    Start(#[source] std::io::Error),
    #[error(transparent)]
    Logging(#[from] logging::Error),
    /// The kubeconfig or the credentials for the cluster cannot be used.
    #[error(transparent)]
    Cluster(#[from] kubernetes::client::Error),
    /// The token file or the CA file for the registry cannot be used.
    #[error(transparent)]
    Registry(#[from] crate::registry::credentials::Error),
    /// The files for the collector cannot be used.
    #[error(transparent)]
    Export(#[from] otlp::connection::Error),
    /// A file that a target of the targets file names cannot be used.
    #[error("target {name}: {source}")]
    Target { name: String, source: crate::registry::credentials::Error },
    /// The targets file is not UTF-8, or was removed after the flags were checked.
    #[error("cannot read the targets file {path}: {source}; give a readable file in UTF-8 with --targets")]
    TargetsFile { path: std::path::PathBuf, source: std::io::Error },
    /// The targets file has errors, each with its line.
    #[error("the targets file cannot be used\n{}", lines(.0))]
    Targets(Vec<place::Error>),
    #[error("the demo's own registry is the target {0}; give the target in the file another name")]
    NameInUse(&'static str),
    #[error("the targets file has no target {name:?}; use one of: {known}")]
    NoSuchTarget { name: String, known: String },
    /// The command works only with targets that a file describes.
    #[error("the target {name} speaks protocol v1, which the file does not describe; {fix}")]
    SpeaksV1 { name: String, fix: &'static str },
    /// The target lacks what the command needs.
    #[error("the target {name} {why}")]
    Unfit { name: String, why: &'static str },
    #[error("cannot use the pods in {path}: {why}; write them with kubectl get pods -o json")]
    Pods { path: std::path::PathBuf, why: String },
    /// A request that this command needs failed.
    #[error("{what}: {why}")]
    Request { what: &'static str, why: String },
    /// A port is taken, or an address is not one of this machine.
    #[error("cannot listen on {address}: {source}; {fix}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error, fix: &'static str },
    /// The API server rejected a selector.
    #[error(transparent)]
    Informer(#[from] kubernetes::watch::informer::Error),
    /// A file of the settings of `conformance` cannot be used.
    #[error(transparent)]
    Conformance(#[from] crate::conformance::http::Error),
    #[error(transparent)]
    Approval(#[from] kubernetes::lease::approvals::Error),
    #[error(transparent)]
    Controller(#[from] controller::error::Error),
    #[error(transparent)]
    RegistryServer(#[from] registry_server::serve::Error),
    /// An essential task returned: a defect.
    #[error("the task {0:?} ended, and the process cannot work without it; please report this defect")]
    TaskEnded(&'static str),
    /// An essential task panicked: a defect.
    #[error("the task {name:?} failed: {source}; please report this defect")]
    TaskFailed { name: &'static str, source: tokio::task::JoinError },
    /// Several targets are described, and the command is for one.
    #[error("name one of the targets in the file: {0}")]
    WhichTarget(String),
    /// A controller or another command holds the Lease.
    #[error(
        "another process holds the Lease {lease}; stop the controller first, such as with \
         kubectl scale deployment/NAME --replicas=0, and run the command again"
    )]
    Led { lease: String },
    /// Another writer took over the session of the registry.
    #[error("another process writes to the registry for this cluster id and owner; stop the controller first")]
    OtherWriter,
    /// The absence guard wants to delete records that were not shown.
    #[error("the registry holds more records than were shown; run the command again")]
    MoreThanShown,
    /// The answer on standard input cannot be read.
    #[error("cannot read standard input: {0}; use --yes")]
    Input(#[source] std::io::Error),
    /// A signal ended a command that only reads.
    #[error("interrupted; nothing was changed")]
    Stopped,
    #[error(transparent)]
    PodList(#[from] kubernetes::pods::Error),
    /// A signal ended `approve` before its request was answered.
    #[error("interrupted before the approval was written; run the command again")]
    Interrupted,
    /// Standard output is closed or full.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] std::io::Error),
}

impl Error {
    /// A setting that cannot be used exits with code 2, whenever it is noticed.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Logging(_) | Self::Cluster(_) | Self::Registry(_) | Self::Informer(_) => REFUSED,
            Self::Conformance(_) | Self::Export(_) => REFUSED,
            Self::Target { .. } | Self::TargetsFile { .. } | Self::Targets(_) => REFUSED,
            Self::NameInUse(_) | Self::NoSuchTarget { .. } | Self::SpeaksV1 { .. } | Self::Pods { .. } => REFUSED,
            Self::WhichTarget(_) | Self::Unfit { .. } => REFUSED,
            Self::RegistryServer(
                registry_server::serve::Error::Tokens(_) | registry_server::serve::Error::Tls { .. },
            ) => REFUSED,
            _ => FAILED,
        }
    }
}

fn lines(errors: &[place::Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Runs the program with its command line and its environment.
pub fn main() -> ExitCode {
    let Ok(mut stderr) = Stderr::start() else {
        // Without the thread that writes standard error, the process cannot say why it ends.
        return ExitCode::from(FAILED);
    };
    // Before anything that may panic: the executable is built without unwinding.
    panics::end_the_process(stderr.clone());
    let search = kubernetes::kubeconfig::Environment::of(|name| env::var_os(name));
    let command = match cli::parse(env::args_os()) {
        Ok(command) => command,
        Err(error) => {
            // If this fails, nothing can be printed at all.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS };
        }
    };
    let code = start(command, search, &stderr).unwrap_or_else(|error| {
        // Writing to the buffer cannot fail.
        let _ = stderr.write_all(format!("error: {error}\n").as_bytes());
        error.exit_code()
    });
    Stderr::flush(&stderr);
    ExitCode::from(code)
}

/// Bytes of the stack of a thread. Documents may have 48 levels, and their values are read, compiled and dropped level
/// by level; only what is used takes memory.
const STACK: usize = 8 << 20;

fn start(command: Command, environment: kubernetes::kubeconfig::Environment, stderr: &Stderr) -> Result<u8, Error> {
    let (export, lines) = command.exports_logs().then(|| log_export::queue(otlp::exporter::QUEUE)).unzip();
    logging::init(command.log_format(), stderr.clone(), export)?;
    // This can only fail if a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .thread_stack_size(STACK)
        .enable_all()
        .build();
    let runtime = runtime.map_err(Error::Start)?;
    let code = runtime.block_on(run(command, environment, lines));
    runtime.shutdown_timeout(LEAVE_AFTER);
    code
}

/// Threads of the runtime. Only the event loop and a watch or two ever have much to do, so more threads would only cost
/// memory. A second thread answers health requests while the first is busy.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(WORKERS.0, |n| n.get().clamp(WORKERS.0, WORKERS.1))
}

/// Runs a command until it ends, or until the second signal.
async fn run(
    command: Command,
    environment: kubernetes::kubeconfig::Environment,
    lines: Option<LogLines>,
) -> Result<u8, Error> {
    let mut signals = signals::Signals::new().map_err(Error::Start)?;
    let stop = CancellationToken::new();
    let name = name_of(&command);
    // In a task of its own, so that a busy command does not delay signals.
    let work = AbortOnDropHandle::new(tokio::spawn(execute(command, environment, lines, stop.clone())));
    supervise(name, work, stop, async || signals.next().await).await
}

fn name_of(command: &Command) -> &'static str {
    match command {
        Command::Run(_) => "run",
        Command::Registry(_) => "registry",
        Command::Demo(_) => "demo",
        Command::Watch(_) => "watch",
        Command::Approve(_) => "approve",
        Command::Targets(_) => "targets",
        Command::Plan(_) => "plan",
        Command::Check(_) => "check",
        Command::Explain(_) => "explain",
        Command::Status(_) => "status",
        Command::Conformance(_) => "conformance",
        Command::Purge(_) => "purge",
        Command::Adopt(_) => "adopt",
    }
}

/// Waits until a command ends. A second signal ends it at once, the first one after [`STOP_AT_MOST`].
async fn supervise(
    name: &'static str,
    mut work: AbortOnDropHandle<Result<u8, Error>>,
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
                tracing::error!(
                    task = name,
                    seconds = STOP_AT_MOST.as_secs(),
                    "the command does not stop; ending the process. Please report this defect"
                );
                return Ok(FAILED);
            }
            signal = next_signal() => {
                if stop.is_cancelled() {
                    tracing::warn!(signal, "second signal; aborting");
                    return Ok(ABORTED);
                }
                tracing::info!(signal, "stopping; a second signal aborts");
                stop.cancel();
            }
        }
    }
}

/// The exit code of a command that ended. A panic in it is an error.
fn result_of(result: Result<Result<u8, Error>, JoinError>) -> Result<u8, Error> {
    result.map_err(|source| Error::TaskFailed { name: "command", source })?
}

/// Runs a command. Returns its exit code.
async fn execute(
    command: Command,
    environment: kubernetes::kubeconfig::Environment,
    lines: Option<LogLines>,
    stop: CancellationToken,
) -> Result<u8, Error> {
    match command {
        Command::Run(settings) => run::run(*settings, environment, lines, stop).await,
        Command::Watch(settings) => watch::run(settings, environment, stop).await,
        Command::Registry(settings) => registry::run(settings, stop).await,
        Command::Demo(settings) => demo::run(settings, environment, stop).await,
        Command::Approve(settings) => {
            stop.run_until_cancelled(approve::run(settings, environment)).await.unwrap_or(Err(Error::Interrupted))
        }
        Command::Targets(settings) => return targets::run(*settings, environment, stop).await,
        // Requests that are in flight at a signal are awaited.
        Command::Purge(settings) => return purge::run(*settings, environment, stop).await,
        Command::Adopt(settings) => return adopt::run(*settings, environment, stop).await,
        // Its records are removed also after a signal.
        Command::Conformance(settings) => return conformance::run(*settings, stop).await,
        Command::Check(settings) => {
            let checked = stop.run_until_cancelled(check::run(*settings, environment)).await;
            return checked.unwrap_or(Err(Error::Stopped));
        }
        Command::Explain(settings) => {
            let explained = stop.run_until_cancelled(explain::run(*settings, environment)).await;
            return explained.unwrap_or(Err(Error::Stopped));
        }
        Command::Status(settings) => return status::run(settings, stop).await,
        Command::Plan(settings) => {
            let planned = stop.run_until_cancelled(plan::run(*settings, environment)).await;
            return planned.unwrap_or(Err(Error::Stopped));
        }
    }
    .map(|()| DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn command_that_ignores_signals_ends_in_time() {
        // Such a command waits for a credential plugin or a request that never ends.
        let work = AbortOnDropHandle::new(tokio::spawn(std::future::pending()));
        let mut signals = ["SIGTERM"].into_iter();
        let next_signal = async || match signals.next() {
            Some(signal) => signal,
            None => std::future::pending().await,
        };
        let begun = tokio::time::Instant::now();
        let code = supervise("run", work, CancellationToken::new(), next_signal).await;
        assert_eq!((code.unwrap(), begun.elapsed().as_secs()), (FAILED, STOP_AT_MOST.as_secs()));
    }

    #[tokio::test]
    async fn panic_in_a_command_exits_with_code_1() {
        // The error carries the text of the panic.
        let error = result_of(tokio::spawn(async { panic!("a defect") }).await).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().contains("a defect")), (FAILED, true), "{error}");
        assert_eq!(result_of(tokio::spawn(async { Ok(DONE) }).await).unwrap(), DONE);
    }
}
