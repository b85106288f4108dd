//! The disturbances of a round, drawn from a seed.

use std::{fmt, time::Duration};

use super::plane::PARTS;
use crate::support::{Fault, Faults};

/// The latest begin of a disturbance, in milliseconds.
const BEGIN_WITHIN: u64 = 16_000;

/// A disturbance, which is undone later. Replicas are numbered.
#[derive(Clone, Debug)]
pub(super) enum Disturbance {
    /// SIGKILL, and a new process.
    Kill(usize),
    /// SIGSTOP, and SIGCONT.
    Pause(usize),
    /// SIGTERM, and a new process.
    Terminate(usize),
    /// The registry is killed, and started again with its file.
    Registry,
    /// A part of the control plane is killed, and started again with its data.
    Part(&'static str),
    /// The connection of a replica to the API server is faulty.
    ApiConnection(usize, Faults),
    /// The connections of both replicas to the registry are faulty; only the leader uses its own.
    RegistryConnections(Faults),
    /// This many pods are deleted while no replica runs, or none reaches the API server.
    Unseen { pods: usize, killed: bool },
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    begin: Duration,
    lasts: Duration,
    what: Disturbance,
}

/// The begin or the end of a disturbance.
pub(super) struct Moment {
    pub(super) at: Duration,
    pub(super) begins: bool,
    pub(super) what: Disturbance,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.1?} for {:.1?}: {:?}", self.begin, self.lasts, self.what)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", if self.begins { "begin" } else { "end" }, self.what)
    }
}

pub(super) fn draw(random: &mut fastrand::Rng, with_parts: bool) -> Vec<Step> {
    let count = random.usize(3..=6);
    let mut steps: Vec<Step> = (0..count).map(|_| step(random, with_parts)).collect();
    steps.sort_by_key(|step| step.begin);
    steps
}

fn step(random: &mut fastrand::Rng, with_parts: bool) -> Step {
    let replica = random.usize(..2);
    let what = match random.u32(..if with_parts { 21 } else { 16 }) {
        0 | 1 => Disturbance::Kill(replica),
        2 | 3 => Disturbance::Pause(replica),
        4 | 5 => Disturbance::Terminate(replica),
        6 | 7 => Disturbance::Registry,
        8 | 9 => unseen(random),
        10..13 => Disturbance::ApiConnection(replica, faults(random)),
        13..16 => Disturbance::RegistryConnections(faults(random)),
        _ => Disturbance::Part(random.choice(PARTS).unwrap()),
    };
    // A leader has to be paused beyond its lease now and then.
    let longest = if matches!(what, Disturbance::Pause(_)) { 24_000 } else { 10_000 };
    let millis = |millis| Duration::from_millis(millis);
    Step { begin: millis(random.u64(500..BEGIN_WITHIN)), lasts: millis(random.u64(200..longest)), what }
}

/// Mostly fewer than the absence guard lets through, sometimes more.
fn unseen(random: &mut fastrand::Rng) -> Disturbance {
    let pods = if random.u32(..4) == 0 { random.usize(55..90) } else { random.usize(5..45) };
    Disturbance::Unseen { pods, killed: random.bool() }
}

fn faults(random: &mut fastrand::Rng) -> Faults {
    let fault = match random.u32(..4) {
        0 => Fault::Cut,
        1 => Fault::Delay(Duration::from_millis(random.u64(50..3_000))),
        2 => Fault::Swallow,
        // From within the head of a request to far into a list.
        _ => Fault::Truncate(1 << random.u32(4..19)),
    };
    match random.u32(..3) {
        0 => Faults { up: fault, down: Fault::Clear },
        1 => Faults { up: Fault::Clear, down: fault },
        _ => Faults { up: fault, down: fault },
    }
}

/// The begins and ends of all steps, ordered by time.
pub(super) fn moments(steps: &[Step]) -> Vec<Moment> {
    let both = |Step { begin, lasts, what }: &Step| {
        let moment = |at, begins| Moment { at, begins, what: what.clone() };
        [moment(*begin, true), moment(*begin + *lasts, false)]
    };
    let mut moments: Vec<Moment> = steps.iter().flat_map(both).collect();
    moments.sort_by_key(|moment| moment.at);
    moments
}
