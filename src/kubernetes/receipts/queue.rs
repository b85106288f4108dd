//! The pods whose turn is to come. Each is in the queue once.

use std::collections::VecDeque;

use crate::model::{uid::Uid, uid_map::UidMap};

/// Pods that wait for their turn, at most, besides those that wait for their gate.
const PODS_MAX: usize = 4_096;
/// Events that wait for their turn, at most.
const EVENTS_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct TurnQueue {
    /// Pods that wait for their gate.
    urgent: VecDeque<Uid>,
    others: VecDeque<Uid>,
    /// The pods of both. One that has begun to wait may be in both, and has one turn.
    pods: UidMap<QueuedPod>,
    events: usize,
}

#[derive(Debug, Default)]
struct QueuedPod {
    is_urgent: bool,
    /// The targets whose Events are to be written.
    events: Vec<&'static str>,
}

/// A pod and the targets of its Events.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PodTurn {
    pub(super) pod: Uid,
    pub(super) events: Vec<&'static str>,
}

impl TurnQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// Whether a pass may add pods.
    pub(super) fn has_room(&self) -> bool {
        self.others.len() < PODS_MAX / 2
    }

    /// Adds a pod. False if there is no room.
    pub(super) fn push(&mut self, pod: &Uid, is_urgent: bool) -> bool {
        if let Some(queued) = self.pods.get_mut(pod) {
            if is_urgent && !queued.is_urgent {
                queued.is_urgent = true;
                self.urgent.push_back(pod.clone());
            }
            return true;
        }
        if is_urgent {
            self.urgent.push_back(pod.clone());
        } else if self.others.len() < PODS_MAX {
            self.others.push_back(pod.clone());
        } else {
            return false;
        }
        self.pods.insert(pod, QueuedPod { is_urgent, events: Vec::new() });
        true
    }

    /// Adds an Event of a pod in the queue. False if there is no room.
    pub(super) fn push_event(&mut self, pod: &Uid, target: &'static str) -> bool {
        if self.events >= EVENTS_MAX {
            return false;
        }
        let Some(queued) = self.pods.get_mut(pod) else { return false };
        if !queued.events.contains(&target) {
            queued.events.push(target);
            self.events += 1;
        }
        true
    }

    /// Takes the next `most` pods.
    pub(super) fn take(&mut self, most: usize) -> Vec<PodTurn> {
        let mut turns = Vec::new();
        while turns.len() < most {
            let Some(pod) = self.urgent.pop_front().or_else(|| self.others.pop_front()) else { break };
            // Otherwise it had its turn.
            let Some(QueuedPod { events, .. }) = self.pods.remove(&pod) else { continue };
            self.events -= events.len();
            turns.push(PodTurn { pod, events });
        }
        turns
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: usize) -> Uid {
        format!("uid-{number}").as_str().into()
    }

    fn turn(number: usize, events: &[&'static str]) -> PodTurn {
        PodTurn { pod: uid(number), events: events.to_vec() }
    }

    #[test]
    fn waiting_pods_go_first() {
        let mut queue = TurnQueue::default();
        assert!(queue.push(&uid(1), false) && queue.push(&uid(2), true) && queue.push(&uid(1), false));
        assert!(queue.push_event(&uid(1), "a") && queue.push_event(&uid(1), "b") && queue.push_event(&uid(1), "a"));
        assert!(!queue.push_event(&uid(3), "a"), "it is not in the queue");
        assert_eq!(queue.take(1), [turn(2, &[])]);
        assert_eq!(queue.take(5), [turn(1, &["a", "b"])]);
        assert!(queue.is_empty() && queue.events == 0);
    }

    #[test]
    fn pod_that_begins_to_wait_moves_up() {
        let mut queue = TurnQueue::default();
        assert!(queue.push(&uid(1), false) && queue.push(&uid(2), false) && queue.push_event(&uid(2), "a"));
        assert!(queue.push(&uid(2), true) && queue.push(&uid(2), true));
        assert_eq!(queue.take(1), [turn(2, &["a"])]);
        assert_eq!(queue.take(5), [turn(1, &[])], "it has one turn");
    }

    #[test]
    fn queue_is_bounded() {
        let mut queue = TurnQueue::default();
        let taken = (0..10_000).filter(|number| queue.push(&uid(*number), false)).count();
        assert_eq!(taken, PODS_MAX);
        assert!(queue.push(&uid(20_000), true), "a pod that waits always has room");
        let events = (0..10_000).filter(|number| queue.push_event(&uid(*number), "a")).count();
        assert_eq!(events, EVENTS_MAX);
        queue.clear();
        assert!(queue.has_room() && queue.is_empty());
    }
}
