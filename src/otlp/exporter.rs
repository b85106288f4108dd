//! The task that sends one kind of items to the collector, in batches.
//!
//! | limit | value |
//! | --- | --- |
//! | items that wait in the queue | `QUEUE`; more are dropped by those who make them |
//! | items in a request | `BATCH` |
//! | wait for more items before a request | `GATHER` |
//! | pause before a request is sent again | 1 s to 30 s, growing; or as the collector asks, at most 60 s |
//! | time until a batch is dropped that the collector does not take | `GIVE_UP_AFTER` |
//!
//! When the process stops, what waits is sent once more, without pauses.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{WallClock, answer::Exported, messages::OtlpResource};
use crate::{
    clock::Clock,
    model::moment::Moment,
    reconcile::{fault_log::Reminder, retry},
    telemetry::metrics::{
        Metrics,
        labels::{ExportOutcome, Signal},
    },
};

/// Items that wait to be sent.
pub const QUEUE: usize = 2_048;
const BATCH: usize = 512;
const GATHER: Duration = Duration::from_secs(1);
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// A kind of items, and how they are sent.
pub struct ExportRoute<T> {
    pub signal: Signal,
    /// Below the address of the collector.
    pub path: &'static str,
    pub encode: fn(&OtlpResource, &[T], WallClock) -> Vec<u8>,
}

/// The clocks, and the source of jitter.
pub struct Timing {
    pub clock: Clock,
    /// Reads the time since 1970.
    pub wall: fn() -> Duration,
    pub rng: fastrand::Rng,
}

/// How requests reach the collector.
pub trait ExportTransport {
    /// Sends a body to a path of OTLP, such as `v1/traces`. It ends within a bounded time.
    fn send(&mut self, path: &str, body: Bytes) -> impl Future<Output = Exported> + Send;
}

pub struct Exporter<T, C> {
    route: ExportRoute<T>,
    queue: mpsc::Receiver<T>,
    connection: C,
    resource: OtlpResource,
    timing: Timing,
    metrics: Metrics,
    /// Items that are to be sent next.
    batch: Vec<T>,
    reminder: Reminder,
    refusals: Reminder,
}

impl<T, C: ExportTransport> Exporter<T, C> {
    pub fn new(
        route: ExportRoute<T>,
        queue: mpsc::Receiver<T>,
        connection: C,
        resource: OtlpResource,
        timing: Timing,
        metrics: Metrics,
    ) -> Self {
        let (batch, reminder, refusals) = (Vec::new(), Reminder::default(), Reminder::default());
        Self { route, queue, connection, resource, timing, metrics, batch, reminder, refusals }
    }

    /// Sends items until `stop` is cancelled, and then those that wait.
    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.gather()).await.is_some() {
            self.send(&stop).await;
        }
        self.queue.close();
        loop {
            while self.batch.len() < BATCH
                && let Ok(item) = self.queue.try_recv()
            {
                self.batch.push(item);
            }
            if self.batch.is_empty() {
                return;
            }
            self.send(&stop).await;
        }
    }

    /// Waits for an item, and then for more. What has come stays in the batch if nobody waits any longer.
    async fn gather(&mut self) {
        if self.batch.is_empty() && self.queue.recv_many(&mut self.batch, BATCH).await == 0 {
            // All makers of items are gone.
            std::future::pending::<()>().await;
        }
        let until = self.timing.clock.now() + GATHER;
        while self.batch.len() < BATCH {
            let left = BATCH - self.batch.len();
            tokio::select! {
                biased;
                more = self.queue.recv_many(&mut self.batch, left) => if more == 0 { return },
                () = self.timing.clock.sleep_until(until) => return,
            }
        }
    }

    /// Sends the batch, again if the collector asks for it. After the stop, once more.
    async fn send(&mut self, stop: &CancellationToken) {
        let clock = WallClock { moment: self.timing.clock.now(), wall: (self.timing.wall)() };
        let body = Bytes::from((self.route.encode)(&self.resource, &self.batch, clock));
        let (give_up_at, mut failures) = (clock.moment + GIVE_UP_AFTER, 0_u32);
        loop {
            // A stop ends the pause, and one attempt follows.
            let is_last = stop.is_cancelled();
            match self.connection.send(self.route.path, body.clone()).await {
                Exported::Taken { refused, reason } => return self.taken(refused, &reason),
                Exported::Refused { reason } => return self.refused(&reason),
                Exported::Again { after, reason } => {
                    failures = failures.saturating_add(1);
                    let pause = retry::backoff(PAUSE.0, PAUSE.1, failures, self.timing.rng.u64(..));
                    let again_at = self.timing.clock.now() + pause.max(after.unwrap_or_default());
                    self.not_taken(&reason);
                    if is_last || again_at > give_up_at {
                        return self.count(ExportOutcome::Dropped, self.batch.len());
                    }
                    stop.run_until_cancelled(self.timing.clock.sleep_until(again_at)).await;
                }
            }
        }
    }

    fn taken(&mut self, refused: usize, reason: &str) {
        let refused = refused.min(self.batch.len());
        let (signal, items) = (self.signal(), self.batch.len());
        if self.reminder.over() {
            tracing::info!(signal, "the collector answers again; exporting");
        }
        if refused > 0 && self.refusals.is_due(self.now()) {
            tracing::warn!(signal, refused, items, reason, "the collector refused some items; dropping them");
        }
        self.metrics.exported(self.route.signal, ExportOutcome::Refused, refused);
        self.count(ExportOutcome::Exported, items - refused);
    }

    fn refused(&mut self, reason: &str) {
        let (signal, items) = (self.signal(), self.batch.len());
        if self.refusals.is_due(self.now()) {
            tracing::warn!(signal, items, reason, "the collector refused a request; dropping its items");
        }
        self.count(ExportOutcome::Refused, items);
    }

    fn not_taken(&mut self, reason: &str) {
        let signal = self.signal();
        if self.reminder.is_due(self.now()) {
            tracing::warn!(
                signal,
                reason,
                "the collector does not take requests; retrying, and dropping what is too much"
            );
        } else {
            tracing::debug!(signal, reason, "the collector does not take requests; retrying");
        }
    }

    /// The batch is over.
    fn count(&mut self, outcome: ExportOutcome, items: usize) {
        self.metrics.exported(self.route.signal, outcome, items);
        self.batch.clear();
    }

    fn signal(&self) -> &'static str {
        self.route.signal.into()
    }

    fn now(&self) -> Moment {
        self.timing.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Arc};

    use parking_lot::Mutex;

    use super::*;
    use crate::telemetry::health::Health;

    /// A collector that answers each request in turn, and then takes all.
    struct Script {
        clock: Clock,
        answers: VecDeque<Exported>,
        /// When each body came.
        sent: Vec<(Moment, Vec<u8>)>,
    }

    impl ExportTransport for Arc<Mutex<Script>> {
        async fn send(&mut self, _: &str, body: Bytes) -> Exported {
            let mut script = self.lock();
            let now = script.clock.now();
            script.sent.push((now, body.to_vec()));
            let taken = Exported::Taken { refused: 0, reason: String::new() };
            script.answers.pop_front().unwrap_or(taken)
        }
    }

    struct World {
        to: mpsc::Sender<u8>,
        collector: Arc<Mutex<Script>>,
        metrics: Metrics,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn again(after: Option<u64>) -> Exported {
        Exported::Again { after: after.map(Duration::from_secs), reason: "busy".into() }
    }

    fn start(answers: Vec<Exported>) -> World {
        let clock = Clock::start();
        let collector = Arc::new(Mutex::new(Script { clock, answers: answers.into(), sent: Vec::new() }));
        let route = ExportRoute {
            signal: Signal::Traces,
            path: "v1/traces",
            encode: |_: &OtlpResource, items: &[u8], _| items.to_vec(),
        };
        let timing = Timing { clock, wall: || Duration::ZERO, rng: fastrand::Rng::with_seed(1) };
        let (metrics, stop, (to, queue)) =
            (Metrics::new(Health::new(0)), CancellationToken::new(), mpsc::channel(QUEUE));
        let resource = OtlpResource { attributes: Vec::new() };
        let exporter = Exporter::new(route, queue, collector.clone(), resource, timing, metrics.clone());
        let task = tokio::spawn(exporter.run(stop.clone()));
        World { to, collector, metrics, stop, task }
    }

    impl World {
        fn sent(&self) -> Vec<Vec<u8>> {
            self.collector.lock().sent.iter().map(|(_, body)| body.clone()).collect()
        }

        /// How many items were exported, dropped and refused.
        fn counts(&self) -> [String; 3] {
            let text = self.metrics.encode().unwrap();
            ["exported", "dropped", "refused"].map(|outcome| {
                let series = format!("pod_registrar_exports_total{{signal=\"traces\",outcome=\"{outcome}\"}} ");
                text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().to_owned()
            })
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn items_of_one_second_share_a_request() {
        let world = start(Vec::new());
        for item in [1, 2] {
            world.to.send(item).await.unwrap();
        }
        pass(2).await;
        world.to.send(3).await.unwrap();
        pass(2).await;
        assert_eq!(world.sent(), [vec![1, 2], vec![3]]);
        assert_eq!(world.counts(), ["3", "0", "0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_waits_as_the_collector_asks() {
        let world = start(vec![again(Some(20)), again(None)]);
        world.to.send(1).await.unwrap();
        pass(60).await;
        let at: Vec<u64> = world.collector.lock().sent.iter().map(|(at, _)| at.since_start().as_secs()).collect();
        let [first, second, third] = at[..] else { panic!("{at:?}") };
        assert!(second - first == 20 && (1..=3).contains(&(third - second)), "{at:?}");
        assert_eq!(world.counts(), ["1", "0", "0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn batch_is_dropped_after_a_minute() {
        let world = start(vec![again(None); 1_000]);
        world.to.send(1).await.unwrap();
        pass(90).await;
        assert_eq!(world.counts(), ["0", "1", "0"]);
        let last = world.collector.lock().sent.last().unwrap().0.since_start();
        assert!(last <= Duration::from_secs(61), "{last:?}");
        let requests = world.sent().len();
        assert!((4..10).contains(&requests), "{requests} requests");
    }

    #[tokio::test(start_paused = true)]
    async fn refused_items_are_counted() {
        let partly = Exported::Taken { refused: 1, reason: "too old".into() };
        let world = start(vec![partly, Exported::Refused { reason: "no".into() }]);
        for item in [1, 2] {
            world.to.send(item).await.unwrap();
        }
        pass(2).await;
        world.to.send(3).await.unwrap();
        pass(2).await;
        assert_eq!((world.counts(), world.sent().len()), (["1", "0", "2"].map(str::to_owned), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn stop_sends_what_waits_once() {
        // A pause is under way, and more waits than one request takes.
        let world = start(vec![again(Some(50)), again(None)]);
        world.to.send(0).await.unwrap();
        pass(5).await;
        for _ in 0..BATCH + 1 {
            world.to.send(1).await.unwrap();
        }
        world.stop.cancel();
        let begun = tokio::time::Instant::now();
        world.task.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let text = world.metrics.encode().unwrap();
        assert!(text.contains(&format!("outcome=\"exported\"}} {}\n", BATCH + 1)), "{text}");
        assert!(text.contains("signal=\"traces\",outcome=\"dropped\"} 1\n"), "{text}");
    }
}
