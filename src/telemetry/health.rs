//! Whether the process is live, and whether it is ready.
//!
//! | probe | passes if |
//! | --- | --- |
//! | live | every event loop turned in the last 30 s; before its first turn, within 120 s of the start |
//! | ready | every watch has delivered one complete list, a target has no other writer, and the process is not stopping |
//!
//! Each target has an event loop. A process that still writes for one target is ready. Liveness does not depend on the
//! API server or the registry: a restart fixes neither, and an outage would restart every replica. Watches that fail
//! later are for metrics.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The loop turns at least every second, so after this time it hangs.
pub const LONGEST_TURN: Duration = Duration::from_secs(30);

/// Time limit before the first turn of a loop. Code that waits for the API server there calls
/// [`Health::starting`], so that an outage at the start causes no restart.
pub const STARTUP_GRACE: Duration = Duration::from_secs(120);

/// What the event loops and the watches report about themselves. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health(Arc<Marks>);

/// What one event loop reports about itself. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LoopHealth {
    process: Health,
    marks: Arc<LoopMarks>,
}

#[derive(Debug)]
struct LoopMarks {
    /// The last turn, in milliseconds after the start of the process plus one; 0 before the first.
    turned: AtomicU64,
    fenced: AtomicBool,
}

#[derive(Debug)]
struct Marks {
    started: Instant,
    /// The last sign of life before there are loops, in milliseconds after `started` plus one; 0 before the first.
    alive_at: AtomicU64,
    loops: Mutex<Vec<Arc<LoopMarks>>>,
    /// When each watch last reported anything, in milliseconds after `started`.
    watch_alive: Box<[AtomicU64]>,
    /// The last failure of each watch, and when it was, as in `watch_alive`.
    watch_failures: Mutex<BTreeMap<usize, (u64, WatchFailure)>>,
    listed: Box<[AtomicBool]>,
    /// How far the list of each watch is that is being read.
    reading: Mutex<Box<[Option<ListRead>]>>,
    stopping: AtomicBool,
}

/// Why the requests of a watch fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchFailure {
    /// `*` stands for all namespaces.
    pub namespace: String,
    /// With the fix, if it is known.
    pub cause: String,
}

/// How far a list of pods is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRead {
    /// Time since its first page was requested.
    pub elapsed: Duration,
    /// Pods that were read.
    pub done: u64,
    /// None if it is not known.
    pub total: Option<u64>,
}

impl Health {
    /// For a process that starts now. The number of watches is fixed.
    pub fn new(watches: usize) -> Self {
        Self(Arc::new(Marks {
            started: Instant::now(),
            alive_at: AtomicU64::new(0),
            loops: Mutex::default(),
            watch_alive: (0..watches).map(|_| AtomicU64::new(0)).collect(),
            watch_failures: Mutex::default(),
            listed: (0..watches).map(|_| AtomicBool::new(false)).collect(),
            reading: Mutex::new(vec![None; watches].into()),
            stopping: AtomicBool::new(false),
        }))
    }

    /// An event loop begins. From now on, liveness depends on its turns.
    pub fn add_loop(&self) -> LoopHealth {
        let begun = self.elapsed_ms().saturating_add(1);
        let marks = Arc::new(LoopMarks { turned: AtomicU64::new(begun), fenced: AtomicBool::new(false) });
        self.0.loops.lock().push(marks.clone());
        LoopHealth { process: self.clone(), marks }
    }

    /// The process is alive, and has no event loop yet.
    pub fn starting(&self) {
        self.0.alive_at.store(self.elapsed_ms().saturating_add(1), Ordering::Relaxed);
    }

    /// A watch reported something: an event, a bookmark, its regular end or a page of a list. An unknown index is
    /// ignored.
    pub fn watch_alive(&self, watch: usize) {
        if let Some(alive) = self.0.watch_alive.get(watch) {
            alive.store(self.elapsed_ms(), Ordering::Relaxed);
        }
    }

    /// The time since each watch last reported anything, or since the start.
    pub fn watch_silences(&self) -> Vec<Duration> {
        let now = self.elapsed_ms();
        let silence = |alive: &AtomicU64| Duration::from_millis(now.saturating_sub(alive.load(Ordering::Relaxed)));
        self.0.watch_alive.iter().map(silence).collect()
    }

    /// A request of a watch failed.
    pub fn watch_failed(&self, watch: usize, failure: WatchFailure) {
        self.0.watch_failures.lock().insert(watch, (self.elapsed_ms(), failure));
    }

    /// Why watches have reported nothing since their last failure.
    pub fn watch_failures(&self) -> Vec<WatchFailure> {
        let is_silent = |watch: usize, failed_at: u64| {
            self.0.watch_alive.get(watch).is_some_and(|alive| alive.load(Ordering::Relaxed) <= failed_at)
        };
        let failures = self.0.watch_failures.lock();
        let silent = failures.iter().filter(|(watch, (failed_at, _))| is_silent(**watch, *failed_at));
        silent.map(|(_, (_, failure))| failure.clone()).collect()
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A watch delivered a complete list. An unknown index is ignored.
    pub fn watch_listed(&self, watch: usize) {
        if let Some(listed) = self.0.listed.get(watch) {
            listed.store(true, Ordering::Relaxed);
        }
    }

    /// A watch reads a list, or has read it if that is `None`. An unknown index is ignored.
    pub fn watch_lists(&self, watch: usize, read: Option<ListRead>) {
        if let Some(reading) = self.0.reading.lock().get_mut(watch) {
            *reading = read;
        }
    }

    /// How far all watches are that read a list, together. None if none does.
    pub fn lists(&self) -> Option<ListRead> {
        let all = |all: ListRead, one: &ListRead| ListRead {
            elapsed: all.elapsed.max(one.elapsed),
            done: all.done + one.done,
            total: all.total.zip(one.total).map(|(all, one)| all + one),
        };
        let reading = self.0.reading.lock();
        let mut lists = reading.iter().flatten();
        let first = *lists.next()?;
        Some(lists.fold(first, all))
    }

    pub fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    pub fn live(&self) -> Report {
        let loops = self.0.loops.lock();
        let slowest = loops.iter().map(|marks| marks.turned.load(Ordering::Relaxed)).min();
        let turned = slowest.unwrap_or_else(|| self.0.alive_at.load(Ordering::Relaxed));
        liveness(self.0.started.elapsed(), turned.checked_sub(1).map(Duration::from_millis))
    }

    pub fn ready(&self) -> Report {
        let marks = &self.0;
        let listed = marks.listed.iter().filter(|listed| listed.load(Ordering::Relaxed)).count();
        let loops = marks.loops.lock();
        let fenced = !loops.is_empty() && loops.iter().all(|marks| marks.fenced.load(Ordering::Relaxed));
        readiness(listed, marks.listed.len(), fenced, marks.stopping.load(Ordering::Relaxed))
    }
}

impl LoopHealth {
    /// The health of the whole process.
    pub fn process(&self) -> &Health {
        &self.process
    }

    /// The loop calls this at least every second.
    pub fn turned(&self) {
        self.marks.turned.store(self.process.elapsed_ms().saturating_add(1), Ordering::Relaxed);
    }

    pub fn set_fenced(&self, fenced: bool) {
        self.marks.fenced.store(fenced, Ordering::Relaxed);
    }

    /// The loop ended, and the process goes on without it.
    pub fn ended(&self) {
        self.process.0.loops.lock().retain(|marks| !Arc::ptr_eq(marks, &self.marks));
    }
}

/// The results of the checks of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(Vec<Check>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    name: &'static str,
    failure: Option<String>,
}

impl Report {
    pub fn ok(&self) -> bool {
        self.0.iter().all(|check| check.failure.is_none())
    }
}

/// One line per check, as the API server writes them: `[+]watch ok`, `[-]watch failed: why`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { name, failure } in &self.0 {
            match failure {
                None => writeln!(f, "[+]{name} ok")?,
                Some(why) => writeln!(f, "[-]{name} failed: {why}")?,
            }
        }
        Ok(())
    }
}

/// Both times count from the start of the process: now, and the last turn of the loop.
fn liveness(now: Duration, turned: Option<Duration>) -> Report {
    let (since, limit) = turned.map_or((now, STARTUP_GRACE), |turned| (now.saturating_sub(turned), LONGEST_TURN));
    let failure = (since > limit).then(|| match turned {
        Some(_) => format!("it did not turn for {} s; the limit is {} s", since.as_secs(), limit.as_secs()),
        None => format!("it did not turn within {} s of the start", limit.as_secs()),
    });
    Report(vec![Check { name: "loop", failure }])
}

fn readiness(listed: usize, watches: usize, fenced: bool, stopping: bool) -> Report {
    let waiting = || format!("{listed} of {watches} have delivered a complete list");
    let check = |name, failure| Check { name, failure };
    Report(vec![
        check("watch", (listed < watches).then(waiting)),
        check("session", fenced.then(|| "another writer took over the session".to_owned())),
        check("running", stopping.then(|| "the process is stopping".to_owned())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lists_of_all_watches_add_up() {
        let read = |seconds, done, total| ListRead { elapsed: Duration::from_secs(seconds), done, total };
        let health = Health::new(3);
        assert_eq!(health.lists(), None);
        health.watch_lists(0, Some(read(3, 500, Some(2_000))));
        health.watch_lists(2, Some(read(9, 100, Some(400))));
        health.watch_lists(3, Some(read(90, 1, None)));
        assert_eq!(health.lists(), Some(read(9, 600, Some(2_400))), "there is no watch 3");
        health.watch_lists(1, Some(read(0, 0, None)));
        assert_eq!(health.lists(), Some(read(9, 600, None)), "nothing is known of one");
        (0..3).for_each(|watch| health.watch_lists(watch, None));
        assert_eq!(health.lists(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn process_is_live_while_the_loop_turns() {
        let health = Health::new(1);
        assert!(health.live().ok(), "it is starting");
        tokio::time::advance(Duration::from_secs(119)).await;
        assert!(health.live().ok());
        health.starting();
        let event_loop = health.add_loop();
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(health.live().ok());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(health.live().to_string(), "[-]loop failed: it did not turn for 31 s; the limit is 30 s\n");
        event_loop.turned();
        assert!(health.live().ok());
    }

    #[tokio::test(start_paused = true)]
    async fn every_loop_has_to_turn() {
        let health = Health::new(1);
        let [first, second] = [health.add_loop(), health.add_loop()];
        tokio::time::advance(Duration::from_secs(31)).await;
        first.turned();
        assert!(!health.live().ok());
        second.ended();
        assert!(health.live().ok(), "only one loop is left");
    }

    #[test]
    fn startup_grace_ends_after_two_minutes() {
        let report = liveness(Duration::from_secs(121), None);
        assert_eq!(report.to_string(), "[-]loop failed: it did not turn within 120 s of the start\n");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_of_a_watch_counts_from_its_report() {
        let health = Health::new(2);
        tokio::time::advance(Duration::from_secs(9)).await;
        let refused = WatchFailure { namespace: "shop".into(), cause: "403".into() };
        health.watch_failed(0, refused.clone());
        assert_eq!(health.watch_failures(), [refused]);
        tokio::time::advance(Duration::from_secs(1)).await;
        health.watch_alive(0);
        assert_eq!(health.watch_failures(), []);
        health.watch_alive(2);
        assert_eq!(health.watch_silences(), [Duration::ZERO, Duration::from_secs(10)]);
    }

    #[tokio::test]
    async fn a_turn_in_the_first_millisecond_counts() {
        let health = Health::new(0);
        health.starting();
        assert!(health.0.alive_at.load(Ordering::Relaxed) > 0);
        assert!(health.add_loop().marks.turned.load(Ordering::Relaxed) > 0);
    }

    #[tokio::test]
    async fn process_is_ready_once_every_watch_has_listed() {
        let health = Health::new(2);
        health.watch_listed(0);
        health.watch_listed(7);
        let waiting = "[-]watch failed: 1 of 2 have delivered a complete list\n[+]session ok\n[+]running ok\n";
        assert_eq!(health.ready().to_string(), waiting);
        assert!(!health.ready().ok());
        health.watch_listed(1);
        assert!(health.ready().ok());
    }

    #[tokio::test]
    async fn process_is_not_ready_when_fenced_or_stopping() {
        let health = Health::new(0);
        let [first, second] = [health.add_loop(), health.add_loop()];
        first.set_fenced(true);
        assert!(health.ready().ok(), "it still writes for the other target");
        second.set_fenced(true);
        assert!(!health.ready().ok() && health.live().ok());
        second.set_fenced(false);
        assert!(health.ready().ok());
        health.stopping();
        assert!(!health.ready().ok() && health.live().ok());
    }
}
