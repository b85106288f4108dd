//! The program, and other servers, as child processes, which do not outlive their test.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child as Process, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use super::poll::{SOON, eventually};

/// A running program. It is killed when this is dropped; its logs are shown if the test fails.
pub(crate) struct Child {
    process: Process,
    command: String,
    out: Arc<Mutex<Vec<String>>>,
    err: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Child {
    /// Starts the program with an empty environment, except for the log level.
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Self {
        Self::start_unread(arguments, "info").read()
    }

    /// Starts another version of the program in the same way.
    pub(crate) fn start_version<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Self {
        Self::program(program, arguments, "info").read()
    }

    /// Starts the program with this environment, and no other.
    pub(crate) fn start_in<S: AsRef<OsStr>>(arguments: &[S], environment: &BTreeMap<String, String>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pod-registrar"));
        Self::spawn(command.args(arguments).env_clear().envs(environment).stdin(Stdio::null())).read()
    }

    /// Starts another program in the environment of the test. Its standard input ends with the test, also if that is
    /// killed.
    pub(crate) fn start_other<S: AsRef<OsStr>>(program: &Path, arguments: &[S], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::piped());
        Self::spawn(&mut command).read()
    }

    /// Starts the program with pipes that are not read, as if a log collector hangs.
    pub(crate) fn start_unread<S: AsRef<OsStr>>(arguments: &[S], level: &str) -> Self {
        Self::program(Path::new(env!("CARGO_BIN_EXE_pod-registrar")), arguments, level)
    }

    fn program<S: AsRef<OsStr>>(program: &Path, arguments: &[S], level: &str) -> Self {
        let mut command = Command::new(program);
        Self::spawn(command.args(arguments).env_clear().env("RUST_LOG", level).stdin(Stdio::null()))
    }

    fn spawn(command: &mut Command) -> Self {
        let name = command.get_args().map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
        let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        Self { process, command: name, out: Arc::default(), err: Arc::default(), readers: Vec::new() }
    }

    fn read(mut self) -> Self {
        self.readers = vec![
            follow(self.process.stdout.take().expect("it is piped"), Arc::clone(&self.out)),
            follow(self.process.stderr.take().expect("it is piped"), Arc::clone(&self.err)),
        ];
        self
    }

    /// The process id. It belongs to this process as long as this guard exists.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The lines on standard output so far.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.out.lock().unwrap().clone()
    }

    /// The lines on standard error so far.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.err.lock().unwrap().clone()
    }

    /// Whether a line on standard error contains this text.
    pub(crate) fn logged(&self, text: &str) -> bool {
        self.err.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// Waits until a line on standard error contains this text, and returns the line.
    pub(crate) async fn log_line(&mut self, text: &str) -> String {
        eventually(&format!("a log line with {text:?}"), SOON, async || {
            if let Some(line) = self.err.lock().unwrap().iter().find(|line| line.contains(text)) {
                return Ok(line.clone());
            }
            Err(match self.process.try_wait().unwrap() {
                None => "it runs".into(),
                Some(status) => format!("it ended with {status}"),
            })
        })
        .await
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&mut self) {
        self.signal("-TERM");
    }

    /// Stops the process with SIGSTOP.
    pub(crate) fn pause(&mut self) {
        self.signal("-STOP");
    }

    /// Continues the process with SIGCONT.
    pub(crate) fn resume(&mut self) {
        self.signal("-CONT");
    }

    fn signal(&mut self, signal: &str) {
        assert!(self.is_running(), "{} has ended unexpectedly", self.command);
        // The id is valid until the end of the process is waited for, which only this guard does.
        let sent = Command::new("sh")
            // The built-in of the shell, because a machine may have no other `kill`.
            .args(["-c", r#"kill "$0" "$1""#, signal, &self.process.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "{sent}");
    }

    /// The processor time so far, as the kernel counts it, in ticks of 10 ms.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("a running process, on Linux");
        let (_, after_name) = stat.rsplit_once(") ").expect("the name in parentheses");
        // The state is field 3; user and system time are fields 14 and 15.
        let ticks = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// The peak memory so far, in bytes, as the kernel counts it.
    pub(crate) fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("a running process, on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line with VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    /// Sends SIGKILL and waits for the end of the process.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("a process that can be killed");
        self.process.wait().expect("it ends");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits for the end of the process, with all its output read. Returns the exit code.
    pub(crate) async fn code(&mut self) -> i32 {
        self.code_within(SOON).await
    }

    /// The same, for a command that takes longer.
    pub(crate) async fn code_within(&mut self, limit: Duration) -> i32 {
        let status = eventually(&format!("the end of {}", self.command), limit, async || {
            self.process.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        })
        .await;
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader of the output");
        }
        status.code().unwrap_or_else(|| panic!("{} was ended by a signal: {status}", self.command))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            for reader in self.readers.drain(..) {
                let _ = reader.join();
            }
            eprintln!("--- {} wrote:\n{}\n{}", self.command, self.stdout().join("\n"), self.stderr().join("\n"));
        }
    }
}

fn follow(from: impl Read + Send + 'static, into: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            into.lock().unwrap().push(line);
        }
    })
}
