//! Pods for the store, from the objects of lists and events, and the receipts that they show.

use super::Informer;
use crate::{
    kubernetes::watch::pod_object::Watched,
    model::{
        ids::is_valid_id,
        moment::Moment,
        pod::{Pod, receipt::ReceiptMarks, to_record},
        uid::Uid,
    },
};

/// A pod as an object shows it.
pub(super) struct DecodedPod {
    pub(super) pod: Pod,
    /// None if no receipts are written, or the object cannot be decoded.
    marks: Option<ReceiptMarks>,
}

impl Informer {
    /// The pod for the store. An undecodable pod keeps its stored form, or gets one without content. None if it has no
    /// valid UID.
    pub(super) fn pod(&self, mut object: Watched, now: Moment) -> Option<DecodedPod> {
        let cause = match object.take_pod() {
            Ok(pod) => {
                let marks = self.setup.receipts.as_ref().map(|_| ReceiptMarks::of(&pod));
                match to_record::desired(pod, &self.setup.rule) {
                    Ok(pod) => return Some(DecodedPod { pod, marks }),
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => error,
        };
        self.setup.metrics.pod_undecodable();
        let (namespace, name) = (object.namespace(), object.name());
        self.log.pod_unreadable(namespace, name, &cause, now);
        let uid = object.uid().filter(|uid| is_valid_id(uid))?;
        let unreadable = || to_record::unreadable(uid, namespace, name, object.resource_version());
        Some(DecodedPod { pod: self.writer.get(&uid.into()).unwrap_or_else(unreadable), marks: None })
    }

    /// The store has the pod now.
    pub(super) fn note_receipts(&self, decoded: &DecodedPod) {
        if let (Some(board), Some(marks)) = (&self.setup.receipts, decoded.marks) {
            board.show(&decoded.pod.uid, marks);
        }
    }

    pub(super) fn forget_receipts(&self, pod: &Uid) {
        if let Some(board) = &self.setup.receipts {
            board.remove(pod);
        }
    }
}
