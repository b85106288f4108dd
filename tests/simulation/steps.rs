//! The parts of a history, and how a seed becomes one.
//!
//! Every step is valid after every other step, so that a history can be cut to the steps that matter.

use crate::{cluster::Name, mapped::Rest, registry::Wrong};

/// The first name of a pod in a clone of the cluster.
pub(crate) const CLONE_FROM: Name = 1_000;

/// The constants of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// The seed of latencies, jitter and noise.
    pub(crate) seed: u64,
    /// The pods at the beginning.
    pub(crate) pods: Name,
    /// Whether the registry holds their records already, from an earlier run.
    pub(crate) registered: bool,
    /// The number of watches, one per namespace.
    pub(crate) watches: u8,
    /// The most items in a batch; 1 for a registry without batches.
    pub(crate) batch: u16,
    /// Whether the registry has digests of its inventory.
    pub(crate) digests: bool,
    /// The records on a page of the inventory.
    pub(crate) page: u16,
    /// The pods on a page of a list at the default limit. A page of more than four times this number is too large.
    pub(crate) list_page: u16,
    /// Seconds between resyncs.
    pub(crate) resync_secs: u16,
    /// The longest time of one direction of a request.
    pub(crate) latency_ms: u16,
    pub(crate) max_in_flight: u8,
    pub(crate) writes_per_second: u16,
    /// The backlog's keys that are queued at once.
    pub(crate) backlog_window: u16,
    /// Pods and records that one turn of the event loop visits.
    pub(crate) visits_per_turn: u16,
    /// Whether processes share a lease; otherwise each one believes that it is alone.
    pub(crate) lease: bool,
    /// The pods of a clone of the cluster, to which the process in the second slot belongs. Their names begin with
    /// [`CLONE_FROM`]. Zero means no clone.
    pub(crate) clone: Name,
    /// The registry, if it is not one of protocol v1.
    pub(crate) rest: Option<Rest>,
    /// Whether a restarted process keeps its name, as a container does in its pod.
    pub(crate) in_place: bool,
}

impl Setup {
    /// The setup of most cases: a registry with all features, and no faults.
    pub(crate) const PLAIN: Self = Self {
        seed: 1,
        pods: 0,
        registered: false,
        watches: 1,
        batch: 500,
        digests: true,
        page: 500,
        list_page: 500,
        resync_secs: 600,
        latency_ms: 10,
        max_in_flight: 4,
        writes_per_second: 5_000,
        backlog_window: 4_096,
        visits_per_turn: 5_000,
        lease: false,
        clone: 0,
        rest: None,
        in_place: true,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListFault {
    /// It shows the cluster of this many changes ago.
    Old(u16),
    /// It is empty.
    Empty,
    /// It lacks one pod in this many.
    Lacks(u8),
    /// It contains an item that cannot be identified.
    Unidentified,
    /// It fails.
    Fails,
    /// It takes this many milliseconds.
    Slow(u16),
    /// This many of the next requests for its pages fail.
    Pages(u8, PageFault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageFault {
    Refused(Refusal),
    /// The page has too many bytes.
    TooLarge,
    /// The page does not arrive in time.
    TooSlow,
    /// The version of the list expired. Only a continued page can fail so, and it may offer a token for the rest of the
    /// list.
    Expired {
        offered: bool,
    },
}

/// The fault of an answer to the absence guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfirmFault {
    Unanswered,
    Slow(u16),
    OtherCluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Unreachable,
    Status(u16),
    /// A status with this Retry-After in seconds.
    After(u16, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request is not applied.
    Refuse(Refusal),
    /// Neither the request nor an answer arrives.
    Swallow,
    /// The request is applied, and the answer is lost.
    Lose,
    /// The request times out, and is applied this many milliseconds after it was sent.
    Late(u16),
    /// One item in this many gets this status and is not applied.
    Items(u16, u8),
}

/// A step. Pods are named by numbers. The first number of a step about a process or a watch is the slot, the second one
/// the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Milliseconds pass.
    Wait(u32),
    // The cluster.
    Create(Name),
    Change(Name),
    /// The pod's record is again the one before its last change.
    Revert(Name),
    Delete(Name),
    /// Another pod takes over the name, in one MODIFIED event.
    Replace(Name),
    Leave(Name),
    ComeBack(Name),
    /// This many pods, from this name on.
    CreateMany(Name, Name),
    DeleteMany(Name, Name),
    /// The cluster is restored from a backup of this many changes ago.
    RestoreCluster(u16),
    // The watches.
    Lag(u8, u8),
    CatchUp(u8, u8),
    /// This many of the next events are lost.
    Lose(u8, u8, u8),
    /// This many events are shown again.
    Replay(u8, u8, u16),
    /// The watch breaks, and begins again with a list.
    Relist(u8, u8),
    /// The watch breaks, and its list is wrong.
    WrongList(u8, u8, ListFault),
    /// A list runs beside the watch. The list may be wrong.
    ListBeside(u8, u8, Option<ListFault>),
    // The processes.
    Start(u8),
    Crash(u8),
    /// A clean stop.
    Stop(u8),
    /// The process cannot reach the lease, until it is repaired.
    CutLease(u8),
    RepairLease(u8),
    /// A third party takes the lease, and releases it.
    LoseLease(u8),
    // What the absence guard asks.
    Confirm(ConfirmFault),
    // The registry and the connection to it.
    Write(Fault),
    Ask(Fault),
    Down(Refusal),
    Up,
    Noise(u8),
    /// The most requests per second; others get 429. No limit at zero.
    Limit(u8),
    Poison(Name),
    /// Every write of this pod gets a 500.
    Break(Name),
    Cure,
    Backup,
    Restore,
    ForgetSession,
    EditRecord(Name),
    RemoveRecord(Name),
    AddRecord(u16),
    Foreign(Name),
    WrongInventory(Wrong, u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

impl Fault {
    pub(crate) fn random(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(0..12) {
            0..3 => Self::Refuse(Refusal::random(rng)),
            3 => Self::Swallow,
            4..7 => Self::Lose,
            7..9 => Self::Late(rng.u16(1..40_000)),
            _ => Self::Items(*one_of(rng, &[429, 503, 500, 409, 422]), rng.u8(1..4)),
        }
    }
}

impl ListFault {
    fn random(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(0..14) {
            0..3 => Self::Old(rng.u16(1..12)),
            3 => Self::Empty,
            4 => Self::Lacks(rng.u8(1..5)),
            5 => Self::Unidentified,
            6 => Self::Fails,
            7 => Self::Slow(rng.u16(100..8_000)),
            8..10 => Self::Pages(rng.u8(1..7), PageFault::Refused(Refusal::random(rng))),
            10 => Self::Pages(rng.u8(1..10), PageFault::TooLarge),
            11 => Self::Pages(rng.u8(1..4), PageFault::TooSlow),
            _ => Self::Pages(rng.u8(1..12), PageFault::Expired { offered: rng.u8(0..4) > 0 }),
        }
    }
}

impl Refusal {
    fn random(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(0..8) {
            0..3 => Self::Unreachable,
            3 => Self::After(429, rng.u8(0..20)),
            4 => Self::After(503, rng.u8(0..20)),
            _ => Self::Status(*one_of(rng, &[400, 401, 404, 413, 422, 429, 500, 502, 503])),
        }
    }
}

fn one_of<'a, T>(rng: &mut fastrand::Rng, of: &'a [T]) -> &'a T {
    &of[rng.usize(0..of.len())]
}

impl History {
    /// Often so few that something may happen between any two steps of the backlog.
    fn backlog_window(seed: u64) -> u16 {
        // Drawn separately, so that the other values of a seed do not depend on it.
        let mut rng = fastrand::Rng::with_seed(!seed);
        if rng.bool() { rng.u16(1..8) } else { Setup::PLAIN.backlog_window }
    }

    /// Often so few that something may happen between any two entries of a full reconcile.
    fn visits_per_turn(seed: u64) -> u16 {
        let mut rng = fastrand::Rng::with_seed(seed.rotate_left(16));
        *one_of(&mut rng, &[1, 3, Setup::PLAIN.visits_per_turn])
    }

    /// Often so few that a list of few pods has several pages.
    fn list_page(seed: u64) -> u16 {
        let mut rng = fastrand::Rng::with_seed(seed.rotate_left(32));
        *one_of(&mut rng, &[1, 3, Setup::PLAIN.list_page])
    }

    /// The history of a seed.
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let large = rng.u8(0..16) == 0;
        let setup = Setup {
            seed,
            pods: if large { rng.u16(40..130) } else { rng.u16(0..10) },
            registered: rng.bool(),
            watches: if rng.u8(0..4) == 0 { rng.u8(2..4) } else { 1 },
            batch: *one_of(&mut rng, &[1, 2, 3, 500]),
            digests: rng.u8(0..4) > 0,
            page: *one_of(&mut rng, &[1, 3, 500]),
            list_page: Self::list_page(seed),
            resync_secs: *one_of(&mut rng, &[15, 15, 15, 600]),
            latency_ms: *one_of(&mut rng, &[1, 20, 800]),
            max_in_flight: rng.u8(1..5),
            writes_per_second: *one_of(&mut rng, &[2, 50, 5_000, 5_000]),
            backlog_window: Self::backlog_window(seed),
            visits_per_turn: Self::visits_per_turn(seed),
            lease: rng.u8(0..4) == 0,
            clone: 0,
            rest: None,
            in_place: seed.is_multiple_of(2),
        };
        let mut maker = Maker { watches: setup.watches, large, two: setup.lease || rng.u8(0..5) == 0, rng };
        let count = maker.rng.usize(10..=60);
        let steps = (0..count).flat_map(|_| maker.steps()).take(count).collect();
        Self { setup, steps }
    }
}

impl History {
    /// The history of a seed with a mapped target. Without a lease, only one process writes: nothing else would make a
    /// second one wait.
    pub(crate) fn mapped_of_seed(seed: u64) -> Self {
        let mut history = Self::of_seed(seed);
        let rest = Rest::of_seed(seed);
        history.setup.rest = Some(rest);
        let is_second = |step: &Step| matches!(step, Step::Start(1));
        let lies = |step: &Step| matches!(step, Step::WrongInventory(Wrong::Empty | Wrong::Short(_), _));
        let leased = history.setup.lease;
        // What others do there stays unseen.
        let is_unseen = |step: &Step| {
            use Step::{AddRecord, Backup, EditRecord, Foreign, RemoveRecord, Restore, WrongInventory};
            matches!(
                step,
                Backup | Restore | EditRecord(_) | RemoveRecord(_) | AddRecord(_) | Foreign(_) | WrongInventory(..)
            )
        };
        // A registry that assigns ids and forgets records gets them a second time.
        history.steps.retain(|step| {
            let is_left_out =
                !leased && is_second(step) || rest.assigns && lies(step) || rest.remembers && is_unseen(step);
            !is_left_out
        });
        history
    }
}

struct Maker {
    rng: fastrand::Rng,
    watches: u8,
    large: bool,
    two: bool,
}

impl Maker {
    /// A step, and the time until the next one.
    fn steps(&mut self) -> [Step; 2] {
        let step = match self.rng.u8(0..100) {
            0..42 => self.of_cluster(),
            42..64 => self.of_watches(),
            64..73 => self.of_processes(),
            73..90 => self.of_requests(),
            _ => self.of_registry(),
        };
        let wait = match self.rng.u8(0..10) {
            0..5 => self.rng.u32(0..50),
            5..8 => self.rng.u32(50..1_500),
            8 => self.rng.u32(1_500..8_000),
            _ => self.rng.u32(8_000..30_000),
        };
        [step, Step::Wait(wait)]
    }

    fn name(&mut self) -> Name {
        self.rng.u16(0..if self.large { 130 } else { 10 })
    }

    fn slot(&mut self) -> u8 {
        u8::from(self.two && self.rng.bool())
    }

    fn of_cluster(&mut self) -> Step {
        let name = self.name();
        match self.rng.u8(0..32) {
            0..9 => Step::Create(name),
            9..14 => Step::Change(name),
            14..16 => Step::Revert(name),
            16..23 => Step::Delete(name),
            23..25 => Step::Replace(name),
            25..27 => Step::Leave(name),
            27..29 => Step::ComeBack(name),
            29 => Step::CreateMany(name, if self.large { 60 } else { 5 }),
            30 => Step::DeleteMany(name, if self.large { 70 } else { 5 }),
            _ => Step::RestoreCluster(self.rng.u16(0..10)),
        }
    }

    fn of_watches(&mut self) -> Step {
        let (slot, watch) = (self.slot(), self.rng.u8(0..self.watches));
        match self.rng.u8(0..17) {
            0..3 => Step::Lag(slot, watch),
            3..6 => Step::CatchUp(slot, watch),
            6..8 => Step::Lose(slot, watch, self.rng.u8(1..3)),
            8 => Step::Replay(slot, watch, self.rng.u16(1..6)),
            9..11 => Step::Relist(slot, watch),
            11..14 => Step::WrongList(slot, watch, ListFault::random(&mut self.rng)),
            _ => {
                let fault = self.rng.bool().then(|| ListFault::random(&mut self.rng));
                Step::ListBeside(slot, watch, fault)
            }
        }
    }

    fn of_processes(&mut self) -> Step {
        let slot = self.slot();
        match self.rng.u8(0..14) {
            0..5 => Step::Start(slot),
            5..8 => Step::Crash(slot),
            8..10 => Step::CutLease(slot),
            10 => Step::RepairLease(slot),
            11..13 => Step::LoseLease(slot),
            _ => Step::Stop(slot),
        }
    }

    fn of_requests(&mut self) -> Step {
        match self.rng.u8(0..13) {
            0..5 => Step::Write(Fault::random(&mut self.rng)),
            5..7 => Step::Ask(Fault::random(&mut self.rng)),
            7 => Step::Down(Refusal::random(&mut self.rng)),
            8..10 => Step::Up,
            10 => Step::Noise(*one_of(&mut self.rng, &[0, 0, 10, 50])),
            11 => Step::Limit(*one_of(&mut self.rng, &[0, 1, 5])),
            _ => Step::Confirm(match self.rng.u8(0..5) {
                0..2 => ConfirmFault::Unanswered,
                2..4 => ConfirmFault::Slow(self.rng.u16(0..20_000)),
                _ => ConfirmFault::OtherCluster,
            }),
        }
    }

    fn of_registry(&mut self) -> Step {
        let name = self.name();
        match self.rng.u8(0..15) {
            0 => Step::Poison(name),
            14 => Step::Break(name),
            1 => Step::Cure,
            2..4 => Step::Backup,
            4 => Step::Restore,
            5 => Step::ForgetSession,
            6..8 => Step::EditRecord(name),
            8..10 => Step::RemoveRecord(name),
            10 => Step::AddRecord(self.rng.u16(0..5)),
            11 => Step::Foreign(name),
            _ => {
                let wrong =
                    *one_of(&mut self.rng, &[Wrong::Empty, Wrong::Short(2), Wrong::Short(3), Wrong::Miscounted]);
                Step::WrongInventory(wrong, self.rng.u8(1..4))
            }
        }
    }
}
