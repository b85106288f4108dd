//! Lost, invented and wrong records.

use std::collections::HashMap;

use super::truth::Truth;

#[test]
fn differences_are_counted_by_kind() {
    let living = HashMap::from([(1, 10), (2, 20), (3, 30), (4, 40)]);
    let registered = [(1, Some(10)), (2, Some(19)), (3, None), (9, Some(5))];
    let truth = Truth::of(&living, registered.into_iter());
    assert_eq!(truth, Truth { right: 2, lost: 1, invented: 1, wrong: 1, twice: 0 });
    assert!(!truth.is_equal() && truth.require().is_err());
    assert!(Truth::of(&HashMap::new(), std::iter::empty()).require().is_ok());
    assert!(Truth { twice: 1, ..Truth::default() }.require().is_err());
}
