//! A pass over the positions of a table, in portions and from the highest position down.
//!
//! A table may change between two portions. In a [`UidMap`](super::uid_map::UidMap), entries move only to lower
//! positions, so the pass sees every entry that was there when it began and is still there. It may see one twice.

use std::ops::Range;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    length: usize,
    /// The positions below this one are still to come.
    below: usize,
}

impl Pass {
    /// Begins a pass over a table of this length.
    pub fn over(length: usize) -> Self {
        Self { length, below: length }
    }

    /// The next positions: as many as `left` allows, which is reduced by their number. None if the pass is over or
    /// nothing is left.
    pub fn portion(&mut self, left: &mut usize) -> Option<Range<usize>> {
        let count = self.below.min(*left);
        let portion = self.below - count..self.below;
        (self.below, *left) = (portion.start, *left - count);
        (count > 0).then_some(portion)
    }

    /// The number of positions that are done, and of all.
    pub fn done_of(&self) -> (usize, usize) {
        (self.length - self.below, self.length)
    }

    pub fn is_over(&self) -> bool {
        self.below == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_goes_down_in_portions() {
        let (mut pass, mut portions) = (Pass::over(7), Vec::new());
        while !pass.is_over() {
            let mut left = 3;
            portions.extend(pass.portion(&mut left));
            assert_eq!(left, if pass.is_over() { 2 } else { 0 });
        }
        assert_eq!(portions, [4..7, 1..4, 0..1]);
        assert_eq!((pass.portion(&mut 3), Pass::over(0).is_over()), (None, true));
    }

    #[test]
    fn pass_waits_when_nothing_is_left() {
        let mut pass = Pass::over(2);
        assert_eq!((pass.portion(&mut 0), pass.is_over()), (None, false));
    }
}
