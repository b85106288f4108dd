//! Effects: values by which a part of the loop asks the others to act.

/// Effects in the order in which the loop applies them.
#[must_use = "an effect takes place only when the event loop applies it"]
#[derive(Debug)]
pub(super) struct Effects<E>(Vec<E>);

impl<E> Default for Effects<E> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<E> Effects<E> {
    pub(super) fn add(&mut self, effect: E) {
        self.0.push(effect);
    }
}

impl<E> IntoIterator for Effects<E> {
    type Item = E;
    type IntoIter = std::vec::IntoIter<E>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
