//! What a heartbeat says of the registry must be true.

use crate::{
    promise::Promise,
    world::{FIRST, SimulatedWorld},
};

impl SimulatedWorld {
    /// Notes which processes are shown exactly the records of the registry. A moment calls this before it changes
    /// either.
    pub(crate) fn note_equality(&mut self) {
        if self.setup.rest.is_some() {
            return;
        }
        for process in self.processes.iter_mut().filter(|process| process.alive && !process.has_equalled) {
            process.has_equalled = self.registry.holds(&process.shown);
        }
    }

    /// A heartbeat that says `synced` means that the registry has equalled the cluster since the heartbeat before. This
    /// is checked unless another process writes, or something happened that only a resync can find.
    pub(crate) fn heartbeat_sent(&mut self, number: usize, synced: bool, epoch: u64) {
        let alone = self.processes.iter().all(|process| process.instance.starts_with(FIRST));
        let knows = !self.drifted && self.registry.foreign.is_empty() && self.registry.stored.fence(epoch).is_ok();
        self.note_equality();
        let now = self.now();
        let process = &mut self.processes[number];
        // The event loop may not have seen yet what is shown at this moment, or only some of the pods.
        let is_equal = self.registry.holds(&process.shown) || process.shown_at == now;
        let since = &process.shown_since;
        let equals_some =
            self.registry.holds_but_for(&process.shown, |uid| since.get(uid).is_some_and(|at| at.1 == now));
        let has_equalled = std::mem::replace(&mut process.has_equalled, is_equal) || equals_some;
        if synced && alone && knows && !has_equalled {
            self.broken(Promise::Converges, || {
                "a heartbeat says synced, but the registry never equalled the cluster".to_owned()
            });
        }
    }
}
