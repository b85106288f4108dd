//! What the targets of a process share: each gets every pod event, all of them have one status, and an approval goes to
//! the target whose deletions it names.
//!
//! An event loop never waits for its registry, so it takes its events at the speed of the processor. A loop that is
//! behind delays the others only when its channel is full.

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::{mpsc, watch};

use super::targets::RunningTarget;
use crate::{
    commands::{informers::POD_EVENTS_WAITING, tasks::Tasks},
    reconcile::{absence::hold::HoldId, pod_event::PodEvent, status::ControllerStatus},
};

const APPROVALS_WAITING: usize = 4;

/// Gives each of `count` receivers every pod event.
pub(super) fn pod_events(
    mut events: mpsc::Receiver<PodEvent>,
    count: usize,
    tasks: &mut Tasks,
) -> Vec<mpsc::Receiver<PodEvent>> {
    if count == 1 {
        return vec![events];
    }
    let (senders, receivers): (Vec<_>, _) = (0..count).map(|_| mpsc::channel(POD_EVENTS_WAITING)).unzip();
    tasks.spawn("pod events", async move {
        while let Some(event) = events.recv().await {
            for sender in &senders {
                // The loop of a target may have ended while the others go on.
                let _ = sender.send(event.clone()).await;
            }
        }
        // The watches ended. Their loops report that, with the reason.
        drop(senders);
        std::future::pending().await
    });
    receivers
}

/// The status of the process, for the election and for approvals.
pub(super) fn status(targets: &[RunningTarget], tasks: &mut Tasks) -> watch::Receiver<ControllerStatus> {
    if let [target] = targets {
        return target.status.subscribe();
    }
    let targets = targets.to_vec();
    let (sender, receiver) = watch::channel(ControllerStatus::default());
    tasks.spawn("status", async move {
        let mut changes: FuturesUnordered<_> =
            targets.iter().map(|target| changed(target.status.subscribe())).collect();
        while let Some(next) = changes.next().await {
            let shown: Vec<ControllerStatus> = targets.iter().filter_map(RunningTarget::shown).collect();
            let all = ControllerStatus::of_all(&shown);
            sender.send_if_modified(|before| {
                *before != all && {
                    *before = all;
                    true
                }
            });
            changes.extend(next.map(changed));
        }
        Ok(())
    });
    receiver
}

async fn changed(mut status: watch::Receiver<ControllerStatus>) -> Option<watch::Receiver<ControllerStatus>> {
    status.changed().await.ok().map(|()| status)
}

/// The sender of approvals, and a receiver per target. Names of holds differ between targets.
pub(super) fn approvals(
    targets: &[RunningTarget],
    tasks: &mut Tasks,
) -> (mpsc::Sender<HoldId>, Vec<mpsc::Receiver<HoldId>>) {
    let (approval, mut approvals) = mpsc::channel(APPROVALS_WAITING);
    if targets.len() == 1 {
        return (approval, vec![approvals]);
    }
    let (senders, receivers): (Vec<_>, _) = targets.iter().map(|_| mpsc::channel::<HoldId>(APPROVALS_WAITING)).unzip();
    let targets = targets.to_vec();
    tasks.spawn("approvals of targets", async move {
        while let Some(id) = approvals.recv().await {
            for (target, sender) in targets.iter().zip(&senders) {
                if target.status.borrow().holds.iter().any(|hold| hold.is_named(&id)) {
                    let _ = sender.send(id.clone()).await;
                }
            }
        }
        // Without a Lease for approvals, none ever come.
        std::future::pending().await
    });
    (approval, receivers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_loop_gets_every_pod_event() {
        let mut tasks = Tasks::default();
        let (sender, events) = mpsc::channel(1);
        let mut receivers = pod_events(events, 3, &mut tasks);
        // The loop of one target has ended.
        drop(receivers.remove(1));
        for watch in 0..10 {
            sender.send(PodEvent::ListFailed { watch }).await.unwrap();
        }
        drop(sender);
        for receiver in &mut receivers {
            for watch in 0..10 {
                assert_eq!(receiver.recv().await, Some(PodEvent::ListFailed { watch }));
            }
            assert_eq!(receiver.recv().await, None, "the watches ended");
        }
        tasks.end().await;
    }
}
