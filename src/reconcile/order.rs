//! The order of writes among records that belong together: a parent is put before its children, and deleted after them.
//!
//! | a record | waits for | until |
//! | --- | --- | --- |
//! | to be put | its parent | the registry holds the parent, and no deletion of it is in flight |
//! | to be deleted, which the registry removes with its parent | its parent, if no pod has that one | the registry does not hold the parent |
//! | to be deleted | each child | no request about the child is in flight, and the registry does not hold it or removes it with its parent |
//! | to be deleted | each child that moves to another parent | the registry holds the child there, or refuses it or its new parent again and again |

use super::{ledger::entry::Known, outcome::OperationKind};

/// What is known about a record that another one belongs to, or that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relative {
    pub known: Known,
    pub in_flight: Option<OperationKind>,
    /// Whether a pod has the record.
    pub is_desired: bool,
    /// Whether the registry removes the child together with the parent.
    pub cascade: bool,
    /// Whether the child is to be put below another parent, and nothing hinders that.
    pub is_moving: bool,
}

/// Whether a record whose parent is this one has to wait before it is put.
pub fn waits_to_put(parent: &Relative) -> bool {
    !matches!(parent.known, Known::Registered(_)) || parent.in_flight == Some(OperationKind::Delete)
}

/// Whether a record with these relatives has to wait before it is deleted.
pub fn waits_to_delete(parent: Option<Relative>, mut children: impl Iterator<Item = Relative>) -> bool {
    let goes_with_it = |child: &Relative| child.cascade && !child.is_moving;
    let is_held =
        |child: Relative| child.in_flight.is_some() || (!goes_with_it(&child) && child.known != Known::Absent);
    parent.as_ref().is_some_and(goes_along) || children.any(is_held)
}

/// Whether the registry removes a record together with this parent, which no pod has any more.
pub fn goes_along(parent: &Relative) -> bool {
    parent.cascade && !parent.is_desired && parent.known != Known::Absent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::Fingerprint;

    fn held() -> Known {
        Known::Registered(Fingerprint::default())
    }

    fn relative(known: Known) -> Relative {
        Relative { known, in_flight: None, is_desired: true, cascade: false, is_moving: false }
    }

    #[test]
    fn child_waits_for_its_parent() {
        let cases = [(held(), false), (Known::Absent, true), (Known::Unknown, true), (Known::Uncertain, true)];
        for (known, waits) in cases {
            assert_eq!(waits_to_put(&relative(known)), waits, "{known:?}");
        }
        let with = |kind| Relative { in_flight: Some(kind), ..relative(held()) };
        assert!(waits_to_put(&with(OperationKind::Delete)) && !waits_to_put(&with(OperationKind::Put)));
    }

    #[test]
    fn parent_waits_for_its_children() {
        let waits = |child| waits_to_delete(None, [child].into_iter());
        for (known, expected) in [(held(), true), (Known::Uncertain, true), (Known::Absent, false)] {
            assert_eq!(waits(relative(known)), expected, "{known:?}");
            let along = Relative { cascade: true, ..relative(known) };
            assert!(!waits(along), "the registry removes it");
            assert_eq!(waits(Relative { is_moving: true, ..along }), expected, "it would be lost: {known:?}");
            assert!(waits(Relative { in_flight: Some(OperationKind::Put), ..along }), "it may arrive afterwards");
        }
        assert!(!waits_to_delete(None, std::iter::empty()));
    }

    #[test]
    fn child_goes_along_only_with_leaving_parent() {
        let waits = |parent| waits_to_delete(Some(parent), std::iter::empty());
        let leaving = Relative { is_desired: false, cascade: true, ..relative(held()) };
        assert!(waits(leaving));
        assert!(!waits(Relative { is_desired: true, ..leaving }), "the pod has fewer records");
        assert!(!waits(Relative { cascade: false, ..leaving }));
        assert!(!waits(Relative { known: Known::Absent, ..leaving }));
    }
}
