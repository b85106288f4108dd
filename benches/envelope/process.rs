//! Processes of the bench: started with a log of their own, measured by what the kernel counts, and never left behind.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::error::{Error, Result};

/// How long a process may take to end when it is told to.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// How much of a log is shown of a process that ended by itself.
const LOG_BYTES: usize = 3_000;
/// One tick of the kernel's processor times.
const TICK: Duration = Duration::from_millis(10);

/// Kills what is left when the bench is gone, however it went: a process that reads on its standard input which ones there
/// are, until that ends.
#[derive(Clone)]
pub(crate) struct Reaper(Arc<Mutex<ChildStdin>>);

impl Reaper {
    /// Starts it.
    pub(crate) fn start() -> Result<Self> {
        let failed = |cause| Error::Start { what: "the reaper".into(), cause };
        let this = std::env::current_exe().map_err(failed)?;
        let mut child =
            Command::new(this).arg("reaper").process_group(0).stdin(Stdio::piped()).spawn().map_err(failed)?;
        let stdin = child.stdin.take().ok_or_else(|| failed(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self(Arc::new(Mutex::new(stdin))))
    }

    fn tell(&self, sign: char, id: u32) {
        // Without a reaper what is started still ends with the bench's own guards.
        let _ = writeln!(self.0.lock(), "{sign}{id}");
    }
}

/// The reaper's own process.
pub(crate) fn reap() {
    let mut told = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut told);
    let told = String::from_utf8_lossy(&told).into_owned();
    let mut left: Vec<&str> = Vec::new();
    for line in told.lines() {
        match line.split_at_checked(1) {
            Some(("+", id)) => left.push(id),
            Some((_, id)) => left.retain(|other| *other != id),
            None => {}
        }
    }
    for id in left {
        let _ = kill("-KILL", id);
    }
}

/// A running process, killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    reaper: Reaper,
}

impl Process {
    /// Starts a program, with standard output and error in a file of the folder. What it reads ends with this value.
    pub(crate) fn start<S: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
        folder: &Path,
        reaper: &Reaper,
    ) -> Result<Self> {
        let log = folder.join(format!("{}-{}.log", name.replace(' ', "-"), fastrand::u32(..)));
        let file = |cause| Error::File { path: log.clone(), cause };
        let out = File::create(&log).map_err(file)?;
        let err = out.try_clone().map_err(file)?;
        let child = Command::new(program)
            .args(arguments)
            .env("RUST_LOG", "info")
            // An interrupt at the terminal is for the bench, which ends the others in its own way.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|cause| Error::Start { what: name.to_owned(), cause })?;
        reaper.tell('+', child.id());
        Ok(Self { child, name: name.to_owned(), log, reaper: reaper.clone() })
    }

    /// This executable in another part.
    pub(crate) fn part<S: AsRef<OsStr>>(
        part: &str,
        arguments: impl IntoIterator<Item = S>,
        folder: &Path,
        reaper: &Reaper,
    ) -> Result<Self> {
        let this = std::env::current_exe().map_err(|cause| Error::Start { what: part.to_owned(), cause })?;
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        Self::start(part, &this, std::iter::once(OsStr::new(part).to_owned()).chain(arguments), folder, reaper)
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        let status = self.child.try_wait().map_err(|cause| Error::Start { what: self.name.clone(), cause })?;
        let Some(status) = status else { return Ok(()) };
        let log = self.log();
        let from = log.len().saturating_sub(LOG_BYTES);
        let log = log.get(from..).unwrap_or(&log).to_owned();
        Err(Error::Ended { what: self.name.clone(), how: status.to_string(), log })
    }

    /// Waits for something that another one does, as long as this one runs.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut look: impl AsyncFnMut() -> Result<std::result::Result<T, String>>,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            self.check()?;
            let state = match look().await {
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

    /// Waits for a line of its log that begins like this; what follows there.
    pub(crate) async fn line(&mut self, beginning: &str, within: Duration) -> Result<String> {
        let log = self.log.clone();
        self.until(&format!("a line with {beginning:?}"), within, async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
            let found = complete.lines().find_map(|line| line.strip_prefix(beginning)).map(str::to_owned);
            Ok(found.ok_or_else(|| "it has not come".to_owned()))
        })
        .await
    }

    /// Asks it to stop and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.signal("-TERM")?;
        self.wait(ENDS_WITHIN).await
    }

    /// Waits for an end by itself.
    pub(crate) async fn wait(&mut self, within: Duration) -> Result<()> {
        let begun = Instant::now();
        while self.child.try_wait().ok().flatten().is_none() {
            if begun.elapsed() > within {
                let state = "it still runs".to_owned();
                let what = format!("the end of {}", self.name);
                return Err(Error::TooSlow { what, seconds: within.as_secs(), state });
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn signal(&self, signal: &str) -> Result<()> {
        kill(signal, &self.id().to_string()).map(|_| ()).map_err(|cause| Error::Start { what: "kill".into(), cause })
    }

    /// Its memory now and at most.
    pub(crate) fn memory(&self) -> Result<Memory> {
        Memory::of(self.id())
    }

    /// Lets the kernel forget the most memory that it has held.
    pub(crate) fn reset_peak(&self) -> Result<()> {
        let path = PathBuf::from(format!("/proc/{}/clear_refs", self.id()));
        std::fs::write(&path, "5").map_err(|cause| Error::File { path, cause })
    }

    /// How long it has had a processor so far.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        processor_time(self.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.reaper.tell('-', self.child.id());
    }
}

/// Bytes of memory that are really there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) now: u64,
    /// At most since the peak was reset.
    pub(crate) peak: u64,
}

impl Memory {
    /// What the kernel says.
    pub(crate) fn of(id: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).map_err(|_| Error::NoFigures(id))?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
        };
        let both = bytes("VmRSS:").zip(bytes("VmHWM:"));
        both.map(|(now, peak)| Self { now, peak }).ok_or(Error::NoFigures(id))
    }
}

/// Sends a signal by the shell's own command: a machine may have no other.
fn kill(signal: &str, id: &str) -> std::io::Result<std::process::ExitStatus> {
    Command::new("sh").args(["-c", r#"kill "$0" "$1""#, signal, id]).stderr(Stdio::null()).status()
}

/// The processor time of a process. Threads that run tell it in nanoseconds; those that have ended only in ticks, so that
/// the greater of the two counts is the truer one.
pub(crate) fn processor_time(id: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).map_err(|_| Error::NoFigures(id))?;
    let (_, after_name) = stat.rsplit_once(") ").ok_or(Error::NoFigures(id))?;
    // The state is the third field of all, and the times in the program and in the kernel the 14th and 15th.
    let ticks: u32 = after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    let mut exact = Duration::ZERO;
    for task in std::fs::read_dir(format!("/proc/{id}/task")).map_err(|_| Error::NoFigures(id))?.flatten() {
        let times = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let ran = times.split(' ').next().and_then(|ran| ran.parse().ok()).unwrap_or_default();
        exact += Duration::from_nanos(ran);
    }
    Ok(exact.max(TICK * ticks.saturating_sub(1)))
}
