//! The processes of the bench: each has a log file, is measured by the kernel's counts, and is killed when it is
//! dropped.

use std::{
    ffi::OsStr,
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::error::{Error, Result};

/// Time limit of a process after SIGTERM.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of its log that are shown for a process that exited.
const LOG_BYTES: usize = 3_000;
/// The event loop of pod-registrar logs its long turns.
const LOG_LEVELS: &str = "info,pod_registrar::controller::event_loop=debug";
/// Unit of the kernel's processor times.
const TICK: Duration = Duration::from_millis(10);

/// A running process, killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program, with its standard output and error in a file in the folder. Its standard input ends with this
    /// value.
    pub(crate) fn start<S: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{}-{}.log", name.replace(' ', "-"), fastrand::u32(..)));
        let out = File::create(&log).map_err(Error::in_step(log.display().to_string()))?;
        let err = out.try_clone().map_err(Error::in_step(log.display().to_string()))?;
        let child = Command::new(program)
            .args(arguments)
            .env("RUST_LOG", LOG_LEVELS)
            // An interrupt at the terminal reaches only the bench, which then ends the others.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(Error::in_step(format!("starting {name}")))?;
        Ok(Self { child, name: name.to_owned(), log })
    }

    /// Starts a part of this executable.
    pub(crate) fn part<S: AsRef<OsStr>>(
        part: &str,
        arguments: impl IntoIterator<Item = S>,
        folder: &Path,
    ) -> Result<Self> {
        let this = std::env::current_exe().map_err(Error::in_step(part))?;
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        Self::start(part, &this, std::iter::once(OsStr::new(part).to_owned()).chain(arguments), folder)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output and error.
    pub(crate) fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// # Errors
    /// When it has exited.
    pub(crate) fn check(&mut self) -> Result<()> {
        let status = self.child.try_wait().map_err(Error::in_step(&self.name))?;
        let Some(status) = status else { return Ok(()) };
        let log = self.log();
        let from = log.len().saturating_sub(LOG_BYTES);
        let log = log.get(from..).unwrap_or(&log).to_owned();
        Err(Error::Exited { what: self.name.clone(), status: status.to_string(), log })
    }

    /// Waits for a state outside of this process. Fails if the process exits.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut state_of: impl AsyncFnMut() -> Result<std::result::Result<T, String>>,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            self.check()?;
            let state = match state_of().await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(state)) => state,
                Err(error) => error.to_string(),
            };
            if begun.elapsed() > within {
                return Err(Error::TooSlow { what: what.to_owned(), seconds: within.as_secs(), state });
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for a line in its log that has this beginning; returns the rest of it.
    pub(crate) async fn line(&mut self, beginning: &str, within: Duration) -> Result<String> {
        let log = self.log.clone();
        self.until(&format!("a line with {beginning:?}"), within, async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
            let found = complete.lines().find_map(|line| line.strip_prefix(beginning)).map(str::to_owned);
            Ok(found.ok_or_else(|| "there is none".to_owned()))
        })
        .await
    }

    /// Sends SIGTERM and waits for the exit.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        id.map_or(Ok(()), |id| kill_process(id, Signal::TERM))
            .map_err(Error::in_step(format!("stopping {}", self.name)))?;
        self.wait(ENDS_WITHIN).await
    }

    /// Waits for the exit.
    pub(crate) async fn wait(&mut self, within: Duration) -> Result<()> {
        let begun = Instant::now();
        while self.child.try_wait().ok().flatten().is_none() {
            if begun.elapsed() > within {
                let state = "it still runs".to_owned();
                let what = format!("the exit of {}", self.name);
                return Err(Error::TooSlow { what, seconds: within.as_secs(), state });
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        Memory::of(self.id())
    }

    /// Begins a new peak of memory.
    pub(crate) fn reset_peak(&self) -> Result<()> {
        let path = PathBuf::from(format!("/proc/{}/clear_refs", self.id()));
        std::fs::write(&path, "5").map_err(Error::in_step(path.display().to_string()))
    }

    pub(crate) fn processor_time(&self) -> Result<Duration> {
        processor_time(self.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if it has exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    /// Since the last reset.
    pub(crate) peak: u64,
}

impl Memory {
    pub(crate) fn of(id: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).map_err(Error::in_step(figures(id)))?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
        };
        let both = bytes("VmRSS:").zip(bytes("VmHWM:"));
        both.map(|(now, peak)| Self { now, peak }).ok_or("no memory").map_err(Error::in_step(figures(id)))
    }
}

fn figures(id: u32) -> String {
    format!("the kernel's figures of process {id} (it has exited, or this is not Linux)")
}

/// The processor time of a process. The kernel counts it in nanoseconds for running threads, and in ticks for all
/// threads; the greater count is the better one.
fn processor_time(id: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).map_err(Error::in_step(figures(id)))?;
    let (_, after_name) = stat.rsplit_once(") ").ok_or("no name").map_err(Error::in_step(figures(id)))?;
    // The state is the third field of all, and the times in the program and in the kernel the 14th and 15th.
    let ticks: u32 = after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    let mut exact = Duration::ZERO;
    for task in std::fs::read_dir(format!("/proc/{id}/task")).map_err(Error::in_step(figures(id)))?.flatten() {
        let times = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let ran = times.split(' ').next().and_then(|ran| ran.parse().ok()).unwrap_or_default();
        exact += Duration::from_nanos(ran);
    }
    Ok(exact.max(TICK * ticks.saturating_sub(1)))
}
