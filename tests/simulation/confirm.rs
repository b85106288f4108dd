//! Answers the questions that the brake of a process asks the cluster.

use std::{collections::HashSet, time::Duration};

use pod_registrar::{
    model::uid::Uid,
    reconcile::absence::inquiry::{Answer, Confirmation, Finding, Inquiry},
};
use tokio::sync::mpsc;

use crate::{
    steps::ConfirmFault,
    world::{Shared, World},
};

/// Answers what the brake of a process asks.
pub(crate) async fn confirm(
    shared: Shared,
    process: usize,
    mut questions: mpsc::Receiver<Inquiry>,
    answers: mpsc::Sender<Confirmation>,
) {
    while let Some(inquiry) = questions.recv().await {
        let round = inquiry.round();
        let (fault, latency) = {
            let mut world = shared.world();
            world.moment(|| format!("the brake asks {inquiry:?}"));
            (world.confirm.pop_front(), world.rng.u64(1..50))
        };
        let latency = if let Some(ConfirmFault::Slow(ms)) = fault { u64::from(ms) } else { latency };
        tokio::time::sleep(Duration::from_millis(latency)).await;
        let finding = finding(&mut shared.world(), process, &inquiry, fault);
        if answers.send(Confirmation { round, finding }).await.is_err() {
            return;
        }
    }
}

fn finding(world: &mut World, process: usize, inquiry: &Inquiry, fault: Option<ConfirmFault>) -> Finding {
    let there: HashSet<Uid> = world.cluster_of(process).selected.values().map(|pod| pod.uid.clone()).collect();
    let finding = match (fault, inquiry) {
        (Some(ConfirmFault::Unanswered), _) => Finding::Answer(Answer::Unanswered("forbidden".into())),
        (Some(ConfirmFault::OtherCluster), _) => {
            world.processes[process].other_cluster = true;
            Finding::OtherCluster { expected: "a".into(), found: "b".into() }
        }
        (_, Inquiry::Whole { .. }) => Finding::Listed(world.cluster_of(process).living()),
        (_, Inquiry::Find { pods, unasked, .. }) => {
            let living = world.cluster_of(process).living();
            let asked = pods.iter().map(|pod| &pod.uid).filter(|uid| living.contains(*uid));
            Finding::Listed(asked.chain(unasked).cloned().collect())
        }
        (_, Inquiry::List { .. }) => {
            let end = world.cluster_of(process).log.len();
            world.processes[process].second_list = Some((inquiry.round(), there.clone(), end));
            Finding::Listed(there)
        }
        (_, Inquiry::LookUp { pods, .. }) => match pods.iter().filter(|pod| there.contains(&pod.uid)).count() {
            0 => {
                world.processes[process].found_gone(inquiry.round());
                Finding::Answer(Answer::Gone)
            }
            count => Finding::Answer(Answer::StillThere(count)),
        },
    };
    world.moment(|| match &finding {
        Finding::Listed(uids) => format!("the cluster answers with a list of {} pods", uids.len()),
        other => format!("the cluster answers {other:?}"),
    });
    finding
}
