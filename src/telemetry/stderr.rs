//! Writes standard error in a thread of its own.
//!
//! A log line is appended to a buffer. If standard error is blocked, the buffer fills up, and further lines are dropped
//! and counted. A full pipe thus blocks only this thread, and none that answers probes, handles signals or renews the
//! Lease.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd as _,
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;

/// Size limit of the buffer.
const MOST_BYTES: usize = 256 << 10;
/// Memory that an empty buffer keeps.
const KEEP_BYTES: usize = 16 << 10;
/// Time limit of the last lines at the end of the process.
const LAST_LINES: Duration = Duration::from_secs(1);
/// Pause before another attempt if the other end made standard error non-blocking.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Lines dropped since the process started.
pub static LINES_DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// A handle to the thread. Each write has to be one whole line. Cheap to clone.
#[derive(Clone)]
pub struct Stderr(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    writing: bool,
    /// Lines dropped since the last log line about it.
    dropped: u64,
}

impl Stderr {
    /// Starts the thread, which lives as long as the process.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start() -> io::Result<Self> {
        // In a descriptor of its own, because a blocked write would hold the lock of the standard library's handle.
        let to = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Self::start_with(to)
    }

    fn start_with(to: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let written = Arc::clone(&shared);
        thread::Builder::new().name("stderr".to_owned()).spawn(move || written.write_to(to))?;
        Ok(Self(shared))
    }

    /// Waits until everything is written, for at most a second.
    pub fn flush(&self) {
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        // A timeout changes nothing: the process ends next.
        self.0.changed.wait_while_for(&mut self.0.state.lock(), busy, LAST_LINES);
    }
}

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        if state.waiting.len() + line.len() > MOST_BYTES {
            state.dropped += 1;
            LINES_DROPPED.inc();
        } else {
            state.waiting.extend_from_slice(line);
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn write_to(&self, mut to: impl Write) {
        let mut lines = Vec::new();
        loop {
            let waiting = |state: &mut State| state.waiting.is_empty();
            let mut state = self.state.lock();
            self.changed.wait_while(&mut state, waiting);
            std::mem::swap(&mut state.waiting, &mut lines);
            state.writing = true;
            drop(state);
            let result = write_all(&mut to, &lines);
            let lost = if result.is_ok() { 0 } else { lines.iter().filter(|byte| **byte == b'\n').count() };
            lines.clear();
            lines.shrink_to(KEEP_BYTES);
            let mut state = self.state.lock();
            state.writing = false;
            state.dropped += lost as u64;
            LINES_DROPPED.inc_by(lost as u64);
            let dropped = if result.is_ok() { std::mem::take(&mut state.dropped) } else { 0 };
            self.changed.notify_all();
            drop(state);
            if dropped > 0 {
                tracing::warn!(lines = dropped, "standard error was blocked; log lines were dropped");
            }
        }
    }
}

/// Like [`Write::write_all`], but waits if the descriptor is non-blocking and full.
fn write_all(to: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pipe in which a write blocks until the test takes it.
    struct Pipe(mpsc::SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn blocked_stderr_drops_and_counts_lines() {
        let (written, pipe) = mpsc::sync_channel(0);
        let mut stderr = Stderr::start_with(Pipe(written)).unwrap();
        let before = LINES_DROPPED.get();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        // The thread takes some lines at once, and is then blocked.
        let lines = 2 * MOST_BYTES / line.len() + 500;
        for _ in 0..lines {
            stderr.write_all(&line).unwrap();
        }
        let dropped = stderr.0.state.lock().dropped;
        assert!(dropped >= 500, "{dropped}");
        assert!(LINES_DROPPED.get() >= before + dropped);
        let mut read = 0;
        while read < lines * line.len() - usize::try_from(dropped).unwrap() * line.len() {
            read += pipe.recv_timeout(Duration::from_secs(10)).unwrap().len();
        }
        stderr.flush();
        let state = stderr.0.state.lock();
        assert!(state.waiting.is_empty() && state.dropped == 0, "it works again and logged the loss");
    }

    #[test]
    fn flush_of_blocked_stderr_ends_in_time() {
        let (written, _pipe) = mpsc::sync_channel(0);
        let mut stderr = Stderr::start_with(Pipe(written)).unwrap();
        stderr.write_all(b"last words\n").unwrap();
        let begun = std::time::Instant::now();
        Stderr::flush(&stderr);
        assert!((LAST_LINES..LAST_LINES * 5).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }

    #[test]
    fn lines_keep_their_order() {
        let (written, pipe) = mpsc::sync_channel(1_000);
        let mut stderr = Stderr::start_with(Pipe(written)).unwrap();
        let expected: String = (0..100).map(|n| format!("{n}\n")).collect();
        for line in expected.split_inclusive('\n') {
            stderr.write_all(line.as_bytes()).unwrap();
        }
        Stderr::flush(&stderr);
        let read: Vec<u8> = pipe.try_iter().flatten().collect();
        assert_eq!(String::from_utf8(read).unwrap(), expected);
    }
}
