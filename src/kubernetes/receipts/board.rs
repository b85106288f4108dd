//! The receipts that pods show.
//!
//! Watches write to it, and it never makes them wait for a request. It takes 40 bytes per pod if annotations are
//! written, and otherwise only has the pods that wait for their gate.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    model::{
        pass::Pass,
        pod::receipt::{AnnotationMark, ReceiptMarks},
        uid::Uid,
        uid_map::UidMap,
    },
    reconcile::receipts::ReceiptKinds,
    store::View,
};

/// Cheap to clone; all clones share their content.
#[derive(Clone, Debug)]
pub struct ReceiptBoard(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kinds: ReceiptKinds,
    marks: Mutex<Marks>,
    /// Wakes the writer when a pod begins to wait.
    waiting: Notify,
}

#[derive(Debug, Default)]
struct Marks {
    /// The pods that wait for their gate.
    waiting: UidMap<()>,
    /// Those that began to wait since the writer looked.
    fresh: Vec<Uid>,
    annotations: UidMap<AnnotationMark>,
}

impl ReceiptBoard {
    pub fn new(kinds: ReceiptKinds) -> Self {
        Self(Arc::new(Shared { kinds, marks: Mutex::default(), waiting: Notify::new() }))
    }

    /// A watch shows the pod, which is in the store by now.
    pub fn show(&self, pod: &Uid, shown: ReceiptMarks) {
        let kinds = self.0.kinds;
        let mut marks = self.0.marks.lock();
        if kinds.annotation {
            marks.annotations.insert(pod, shown.annotations);
        }
        if kinds.gate && shown.waits {
            if marks.waiting.insert(pod, ()).is_none() {
                marks.fresh.push(pod.clone());
                self.0.waiting.notify_one();
            }
        } else {
            marks.waiting.remove(pod);
        }
    }

    /// The pod is gone.
    pub fn remove(&self, pod: &Uid) {
        let mut marks = self.0.marks.lock();
        marks.waiting.remove(pod);
        marks.annotations.remove(pod);
    }

    /// Waits until a pod begins to wait for its gate.
    pub(super) async fn changed(&self) {
        self.0.waiting.notified().await;
    }

    pub(super) fn take_fresh(&self) -> Vec<Uid> {
        std::mem::take(&mut self.0.marks.lock().fresh)
    }

    /// The pods that wait for their gate.
    pub(super) fn waiting(&self) -> Vec<Uid> {
        self.0.marks.lock().waiting.iter().map(|(pod, ())| pod.clone()).collect()
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.0.marks.lock().waiting.is_empty()
    }

    pub(super) fn of(&self, pod: &Uid) -> ReceiptMarks {
        let marks = self.0.marks.lock();
        let annotations = marks.annotations.get(pod).copied().unwrap_or_default();
        ReceiptMarks { waits: marks.waiting.contains(pod), annotations }
    }

    /// The condition is written. The next event of the watch shows it, too.
    pub(super) fn gate_written(&self, pod: &Uid) {
        self.0.marks.lock().waiting.remove(pod);
    }

    pub(super) fn annotations_written(&self, pod: &Uid, mark: AnnotationMark) {
        if let Some(shown) = self.0.marks.lock().annotations.get_mut(pod) {
            *shown = mark;
        }
    }

    /// A pass over all pods whose annotations are known.
    pub(super) fn pass(&self) -> Pass {
        Pass::over(self.0.marks.lock().annotations.len())
    }

    /// The next `most` pods of a pass. Forgets those that the store has lost.
    pub(super) fn portion(&self, pass: &mut Pass, most: usize, view: &View) -> Vec<Uid> {
        let mut left = most;
        let mut marks = self.0.marks.lock();
        let Some(positions) = pass.portion(&mut left) else { return Vec::new() };
        let mut pods = Vec::new();
        marks.annotations.retain_in(positions, |pod, _| {
            let exists = view.contains(pod);
            if exists {
                pods.push(pod.clone());
            }
            exists
        });
        pods
    }

    /// Forgets the pods that the store has lost without an event.
    pub(super) fn forget_lost(&self, view: &View) {
        let mut marks = self.0.marks.lock();
        marks.waiting.retain(|pod, ()| view.contains(pod));
        marks.annotations.retain(|pod, _| view.contains(pod));
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let marks = self.0.marks.lock();
        marks.annotations.memory() + marks.waiting.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: u32) -> Uid {
        format!("00000000-0000-4000-8000-{number:012x}").as_str().into()
    }

    #[test]
    fn pod_is_fresh_once_per_wait() {
        let board = ReceiptBoard::new(ReceiptKinds { gate: true, ..ReceiptKinds::default() });
        let waits = ReceiptMarks { waits: true, ..ReceiptMarks::default() };
        board.show(&uid(1), waits);
        board.show(&uid(1), waits);
        board.show(&uid(2), ReceiptMarks::default());
        assert_eq!((board.take_fresh(), board.waiting()), (vec![uid(1)], vec![uid(1)]));
        board.gate_written(&uid(1));
        assert!(!board.has_waiting() && board.take_fresh().is_empty());
        board.show(&uid(1), waits);
        assert_eq!(board.take_fresh(), [uid(1)], "the condition was removed");
        board.remove(&uid(1));
        assert!(!board.has_waiting() && board.memory() < 100_000);
    }

    #[test]
    fn pod_with_annotations_takes_few_bytes() {
        let board = ReceiptBoard::new(ReceiptKinds { annotation: true, ..ReceiptKinds::default() });
        for number in 0..150_000 {
            board.show(&uid(number), ReceiptMarks::default());
        }
        let bytes = board.memory() / 150_000;
        assert!((30..=45).contains(&bytes), "{bytes}");
    }
}
