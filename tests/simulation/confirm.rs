//! Answers the checks of a process's absence guard.

use std::{collections::HashSet, time::Duration};

use pod_registrar::{
    model::uid::Uid,
    reconcile::absence::check::{Check, CheckFinding, CheckResult, Confirmation},
};
use tokio::sync::mpsc;

use crate::{
    steps::ConfirmFault,
    world::{Shared, SimulatedWorld},
};

pub(crate) async fn confirm(
    shared: Shared,
    process: usize,
    mut checks: mpsc::Receiver<Check>,
    answers: mpsc::Sender<CheckResult>,
) {
    while let Some(check) = checks.recv().await {
        let round = check.round();
        let (fault, latency) = {
            let mut world = shared.world();
            world.moment(|| format!("the absence guard asks {check:?}"));
            (world.confirm.pop_front(), world.rng.u64(1..50))
        };
        let latency = if let Some(ConfirmFault::Slow(ms)) = fault { u64::from(ms) } else { latency };
        tokio::time::sleep(Duration::from_millis(latency)).await;
        let finding = finding(&mut shared.world(), process, &check, fault);
        if answers.send(CheckResult { round, finding }).await.is_err() {
            return;
        }
    }
}

fn finding(world: &mut SimulatedWorld, process: usize, check: &Check, fault: Option<ConfirmFault>) -> CheckFinding {
    let there: HashSet<Uid> = world.cluster_of(process).selected.values().map(|pod| pod.uid.clone()).collect();
    let finding = match (fault, check) {
        (Some(ConfirmFault::Unanswered), _) => CheckFinding::Confirmation(Confirmation::Unanswered("forbidden".into())),
        (Some(ConfirmFault::OtherCluster), _) => {
            world.processes[process].other_cluster = true;
            CheckFinding::OtherCluster { expected: "a".into(), found: "b".into() }
        }
        (_, Check::Whole { .. }) => CheckFinding::Listed(world.cluster_of(process).living()),
        (_, Check::Find { pods, not_looked_up, .. }) => {
            let living = world.cluster_of(process).living();
            let asked = pods.iter().map(|pod| &pod.uid).filter(|uid| living.contains(*uid));
            CheckFinding::Listed(asked.chain(not_looked_up).cloned().collect())
        }
        (_, Check::List { .. }) => {
            let end = world.cluster_of(process).log.len();
            world.processes[process].second_list = Some((check.round(), there.clone(), end));
            CheckFinding::Listed(there)
        }
        (_, Check::LookUp { pods, .. }) => match pods.iter().filter(|pod| there.contains(&pod.uid)).count() {
            0 => {
                world.processes[process].found_gone(check.round());
                CheckFinding::Confirmation(Confirmation::Gone)
            }
            count => CheckFinding::Confirmation(Confirmation::StillThere(count)),
        },
    };
    world.moment(|| match &finding {
        CheckFinding::Listed(uids) => format!("the cluster answers with a list of {} pods", uids.len()),
        other => format!("the cluster answers {other:?}"),
    });
    finding
}
