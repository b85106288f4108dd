//! What histories are made of, and how a seed becomes one.
//!
//! Every step means something whatever came before it, so that a history can be cut to the steps that matter.

use crate::{cluster::Name, registry::Wrong};

/// The first name of a pod in a clone of the cluster.
pub(crate) const CLONE_FROM: Name = 1_000;

/// What stays the same during a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Where latencies, jitter and noise come from.
    pub(crate) seed: u64,
    /// Pods that live at the beginning.
    pub(crate) pods: Name,
    /// Whether the registry holds them already, from an earlier run.
    pub(crate) registered: bool,
    /// Watches, one a namespace.
    pub(crate) watches: u8,
    /// Items in a batch; 1 for a registry without batches.
    pub(crate) batch: u16,
    /// Whether the registry gives digests of its inventory.
    pub(crate) digests: bool,
    /// Items in a page of the inventory.
    pub(crate) page: u16,
    /// Pods in a page of a pod list at the default limit. A page of more than four times this number is too large.
    pub(crate) list_page: u16,
    /// Seconds between comparisons of the inventory.
    pub(crate) resync_secs: u16,
    /// A way to or from the registry takes so long at most.
    pub(crate) latency_ms: u16,
    pub(crate) max_in_flight: u8,
    pub(crate) writes_per_second: u16,
    /// Keys of the backlog that are queued at once.
    pub(crate) backlog_window: u16,
    /// Whether processes share a lease; otherwise each of them takes itself for the only one.
    pub(crate) lease: bool,
    /// Pods of a clone of the cluster, to which the process in the second slot belongs. Their names begin with
    /// [`CLONE_FROM`]. Without them there is no clone.
    pub(crate) clone: Name,
    /// Whether a process that is started again has the name of the one before it, as a container has in its pod.
    pub(crate) in_place: bool,
}

impl Setup {
    /// What most named cases are about: a registry that does everything, and nothing in the way.
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
        lease: false,
        clone: 0,
        in_place: true,
    };
}

/// How a list is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListFault {
    /// It shows the cluster as it was so many changes ago.
    Old(u16),
    /// It is empty.
    Empty,
    /// It lacks one pod in so many.
    Lacks(u8),
    /// It holds something that cannot be identified.
    Unidentified,
    /// There is none.
    Fails,
    /// It takes this long.
    Slow(u16),
    /// The next requests for its pages fail, this number of them.
    Pages(u8, PageFault),
}

/// How a request for a page of a list fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageFault {
    Refused(Refusal),
    /// The page has too many bytes.
    TooLarge,
    /// The page does not arrive within its time.
    TooSlow,
    /// The list's version expired. Fails continued pages only, and may offer a token for the rest of the list.
    Expired {
        offered: bool,
    },
}

/// How a question about absent pods is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfirmFault {
    Unanswered,
    Slow(u16),
    OtherCluster,
}

/// How a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Unreachable,
    Status(u16),
    /// With this Retry-After in seconds.
    After(u16, u8),
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is applied.
    Refuse(Refusal),
    /// Neither the request nor an answer arrives.
    Swallow,
    /// It is applied, and the answer is lost.
    Lose,
    /// It is given up, and applied so many milliseconds after it was sent.
    Late(u16),
    /// One item in so many is answered with this status and not applied.
    Items(u16, u8),
}

/// A step. Pods are named by numbers; the first number of a step about processes is the slot, that of a watch follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Milliseconds pass.
    Wait(u32),
    // The cluster.
    Create(Name),
    Change(Name),
    /// It becomes again what it was before.
    Revert(Name),
    Delete(Name),
    /// The name goes to another pod in one MODIFIED event.
    Replace(Name),
    Leave(Name),
    ComeBack(Name),
    /// So many pods, from this name on.
    CreateMany(Name, Name),
    DeleteMany(Name, Name),
    /// The cluster is restored from a backup, so many changes old.
    RestoreCluster(u16),
    // The watches.
    Lag(u8, u8),
    CatchUp(u8, u8),
    /// The next events, so many, never come.
    Lose(u8, u8, u8),
    /// So many events come again.
    Replay(u8, u8, u16),
    /// The watch breaks off, and begins anew with a list.
    Relist(u8, u8),
    /// The same, and the list is wrong.
    WrongList(u8, u8, ListFault),
    /// A list comes in while the watch goes on. The list may be wrong.
    ListBeside(u8, u8, Option<ListFault>),
    // The processes.
    Start(u8),
    Crash(u8),
    /// A clean stop.
    Stop(u8),
    /// The lease cannot be reached, or can be again.
    CutLease(u8),
    MendLease(u8),
    /// Another one takes it, and lets go of it again.
    LoseLease(u8),
    // What the brake asks.
    Confirm(ConfirmFault),
    // The registry and the way to it.
    Write(Fault),
    Ask(Fault),
    Down(Refusal),
    Up,
    Noise(u8),
    /// Requests per second that are let through; others get 429. None of it at zero.
    Limit(u8),
    Poison(Name),
    /// Every write for it gets a 500.
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

/// A history.
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
    /// Often so few that each step of the walk is one that something may come between.
    fn backlog_window(seed: u64) -> u16 {
        // By itself, so that what a seed is otherwise does not depend on it.
        let mut rng = fastrand::Rng::with_seed(!seed);
        if rng.bool() { rng.u16(1..8) } else { Setup::PLAIN.backlog_window }
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
            lease: rng.u8(0..4) == 0,
            clone: 0,
            in_place: seed.is_multiple_of(2),
        };
        let mut maker = Maker { watches: setup.watches, large, two: setup.lease || rng.u8(0..5) == 0, rng };
        let count = maker.rng.usize(10..=60);
        let steps = (0..count).flat_map(|_| maker.steps()).take(count).collect();
        Self { setup, steps }
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
            10 => Step::MendLease(slot),
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
