//! `pod-registrar watch` as a process.

use std::{
    ops::{Deref, DerefMut},
    path::Path,
};

use super::{
    child::Child,
    poll::{SOON, eventually},
};

pub(crate) struct Watcher {
    child: Child,
}

impl Watcher {
    /// Starts `watch` with these flags.
    pub(crate) fn start(kubeconfig: &Path, more: &[&str]) -> Self {
        let kubeconfig = kubeconfig.to_str().expect("a path of plain characters");
        Self { child: Child::start(&[&["watch", "--kubeconfig", kubeconfig], more].concat()) }
    }

    /// Waits until it has printed exactly these lines.
    pub(crate) async fn prints(&mut self, expected: &[String]) {
        eventually("the lines", SOON, async || {
            let printed = self.child.stdout();
            if printed == expected { Ok(()) } else { Err(format!("{printed:#?}, expected {expected:#?}")) }
        })
        .await;
    }
}

impl Deref for Watcher {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Watcher {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}
