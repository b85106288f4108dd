//! A thread that owns the writing connection of a SQLite database. It runs waiting jobs in one transaction, commits,
//! and then answers them, so that many small writes share one wait for the disk.

use std::{
    io,
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use rusqlite::{Connection, Savepoint, TransactionBehavior};
use tokio::sync::mpsc;

/// Jobs in the queue.
const QUEUE: usize = 256;
/// Jobs per commit, at most.
const GROUP: usize = 64;

/// Sends the result to the caller, after the commit.
pub(super) type CommitReply = Box<dyn FnOnce() + Send>;
/// Runs within a savepoint. `Err` rolls it back.
pub(super) type CommitJob = Box<dyn FnOnce(&Connection) -> Result<CommitReply, FailedJob> + Send>;

pub(super) struct FailedJob {
    pub(super) reply: CommitReply,
    /// None if the job did not fail in the database.
    pub(super) cause: Option<rusqlite::Error>,
}

/// What a database does besides its jobs.
pub(super) trait GroupHooks: Send + 'static {
    /// What the hooks learn in a transaction.
    type Learned;

    /// A transaction is about to begin, or the queue has ended. May replace the connection. Returns whether it can be
    /// used; otherwise the job is dropped.
    fn begin(&mut self, conn: &mut Connection) -> bool {
        let _ = conn;
        true
    }

    /// Ends a transaction, before its commit.
    fn complete(&mut self, tx: &Connection) -> rusqlite::Result<Self::Learned>;

    /// The transaction was committed. Its jobs are answered after this call.
    fn committed(&mut self, learned: Self::Learned);

    /// A transaction failed. Its jobs and their replies are dropped after this call.
    fn failed(&mut self, error: &rusqlite::Error);
}

/// The queue of jobs, and the thread that runs them.
pub(super) struct CommitQueue {
    // `finish` empties it. The thread ends when the last sender is gone.
    jobs: Mutex<Option<mpsc::Sender<CommitJob>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl CommitQueue {
    pub(super) fn start(name: &str, conn: Connection, hooks: impl GroupHooks) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(conn, receiver, hooks))?;
        Ok(Self { jobs: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// Queues a job. Waits while the queue is full. Returns whether the queue is open.
    pub(super) async fn send(&self, job: CommitJob) -> bool {
        let jobs = self.jobs.lock().clone();
        match jobs {
            Some(jobs) => jobs.send(job).await.is_ok(),
            None => false,
        }
    }

    /// Queues a job at once. Returns whether the queue is open and has room.
    pub(super) fn try_send(&self, job: CommitJob) -> bool {
        self.jobs.lock().as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }

    /// Takes no more jobs. The thread runs those that wait, and closes the database.
    pub(super) fn finish(&self) {
        drop(self.jobs.lock().take());
    }

    /// The same, and waits for the end of the thread. This blocks.
    pub(super) fn join(&self) {
        self.finish();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("store thread panicked; please report this bug");
        }
    }
}

impl Drop for CommitQueue {
    fn drop(&mut self) {
        self.join();
    }
}

fn work(mut conn: Connection, mut jobs: mpsc::Receiver<CommitJob>, mut hooks: impl GroupHooks) {
    while let Some(first) = jobs.blocking_recv() {
        if !hooks.begin(&mut conn) {
            continue;
        }
        // They outlive the call: a caller whose reply is dropped asks at once what failed.
        let (mut next, mut replies) = (Some(first), Vec::new());
        match group(&mut conn, &mut next, &mut jobs, &mut replies, &mut hooks) {
            Ok(learned) => {
                hooks.committed(learned);
                replies.into_iter().for_each(|reply| reply());
            }
            Err(error) => hooks.failed(&error),
        }
    }
    // Nothing may have been written for a long time.
    hooks.begin(&mut conn);
    // Closing moves a write-ahead log into the database. If it fails, only the next start is slower.
    if let Err(error) = conn.close() {
        tracing::warn!(error = %error.1, "database not closed cleanly; the next start recovers it");
    }
}

fn group<H: GroupHooks>(
    conn: &mut Connection,
    next: &mut Option<CommitJob>,
    jobs: &mut mpsc::Receiver<CommitJob>,
    replies: &mut Vec<CommitReply>,
    hooks: &mut H,
) -> rusqlite::Result<H::Learned> {
    let mut tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    while next.is_some() {
        let savepoint = tx.savepoint()?;
        if let Some(job) = next.take() {
            run(savepoint, job, replies)?;
        }
        *next = if replies.len() < GROUP { jobs.try_recv().ok() } else { None };
    }
    let learned = hooks.complete(&tx)?;
    tx.commit()?;
    Ok(learned)
}

fn run(savepoint: Savepoint<'_>, job: CommitJob, replies: &mut Vec<CommitReply>) -> rusqlite::Result<()> {
    match job(&savepoint) {
        Ok(reply) => {
            replies.push(reply);
            savepoint.commit()
        }
        Err(FailedJob { reply, cause }) => {
            replies.push(reply);
            // On some errors, such as a full disk, SQLite has rolled back the whole transaction.
            savepoint.finish().map_err(|error| cause.unwrap_or(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc as channel};

    use super::*;

    /// Counts commits, and notes failures.
    #[derive(Clone, Default)]
    struct Counts(Arc<Mutex<(usize, usize)>>);

    impl GroupHooks for Counts {
        type Learned = ();

        fn complete(&mut self, tx: &Connection) -> rusqlite::Result<()> {
            tx.query_row("SELECT count(*) FROM t", [], |_| Ok(()))
        }

        fn committed(&mut self, (): ()) {
            self.0.lock().0 += 1;
        }

        fn failed(&mut self, _: &rusqlite::Error) {
            self.0.lock().1 += 1;
        }
    }

    fn queue() -> (CommitQueue, Counts) {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (n)").unwrap();
        let counts = Counts::default();
        (CommitQueue::start("test", conn, counts.clone()).unwrap(), counts)
    }

    #[test]
    fn waiting_jobs_share_a_commit() {
        let (queue, counts) = queue();
        let (go, waits) = channel::channel::<()>();
        let (answer, answers) = channel::channel();
        // The first one waits until all are queued.
        assert!(queue.try_send(Box::new(move |_| {
            waits.recv().unwrap();
            Ok(Box::new(|| ()))
        })));
        for n in 1..=GROUP {
            let answer = answer.clone();
            let is_sent = queue.try_send(Box::new(move |conn| {
                conn.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
                Ok(Box::new(move || _ = answer.send(n)))
            }));
            assert!(is_sent);
        }
        go.send(()).unwrap();
        queue.join();
        assert_eq!(answers.try_iter().collect::<Vec<_>>(), (1..=GROUP).collect::<Vec<_>>());
        assert_eq!(*counts.0.lock(), (2, 0), "one commit of a whole group, and one of the last job");
        assert!(!queue.try_send(Box::new(|_| Ok(Box::new(|| ())))), "it is closed");
    }

    #[derive(Clone, Default)]
    struct Causes(Arc<Mutex<Vec<String>>>);

    impl GroupHooks for Causes {
        type Learned = ();

        fn complete(&mut self, _: &Connection) -> rusqlite::Result<()> {
            Ok(())
        }

        fn committed(&mut self, (): ()) {}

        fn failed(&mut self, error: &rusqlite::Error) {
            self.0.lock().push(error.to_string());
        }
    }

    /// Sends the causes that are known when it is dropped.
    struct SendsCauses(Causes, channel::Sender<Vec<String>>);

    impl Drop for SendsCauses {
        fn drop(&mut self) {
            let _ = self.1.send(self.0.0.lock().clone());
        }
    }

    #[test]
    fn hooks_know_of_a_commit_before_callers() {
        let (queue, counts) = queue();
        let (answer, answers) = channel::channel();
        assert!(queue.try_send(Box::new(move |_| Ok(Box::new(move || _ = answer.send(counts.0.lock().0))))));
        queue.join();
        assert_eq!(answers.recv(), Ok(1));
    }

    #[test]
    fn full_database_is_named_as_the_cause() {
        let (conn, causes) = (Connection::open_in_memory().unwrap(), Causes::default());
        // SQLite rolls back the whole transaction then, with all savepoints.
        conn.execute_batch("CREATE TABLE t (n); PRAGMA max_page_count = 2").unwrap();
        let queue = CommitQueue::start("test", conn, causes.clone()).unwrap();
        let (note, noted) = channel::channel();
        let dropped = SendsCauses(causes, note);
        assert!(queue.try_send(Box::new(move |conn| {
            let cause = conn.execute("INSERT INTO t VALUES (zeroblob(100000))", []).unwrap_err();
            Err(FailedJob { reply: Box::new(move || drop(dropped)), cause: Some(cause) })
        })));
        queue.join();
        assert_eq!(noted.recv().unwrap(), ["database or disk is full"], "known before the reply is dropped");
    }

    #[test]
    fn failed_commit_drops_replies_and_goes_on() {
        let (queue, counts) = queue();
        let (answer, answers) = channel::channel();
        let run = |sql: &'static str| {
            let answer = answer.clone();
            assert!(queue.try_send(Box::new(move |conn| {
                conn.execute_batch(sql).unwrap();
                Ok(Box::new(move || _ = answer.send(sql)))
            })));
        };
        // Nothing can be counted then, so that the transaction fails.
        run("DROP TABLE t");
        while counts.0.lock().1 == 0 {
            thread::yield_now();
        }
        run("INSERT INTO t VALUES (1)");
        queue.join();
        assert_eq!(answers.try_iter().collect::<Vec<_>>(), ["INSERT INTO t VALUES (1)"]);
        assert_eq!(*counts.0.lock(), (1, 1));
    }
}
