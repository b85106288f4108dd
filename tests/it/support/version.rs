//! The two versions of the program between which upgrades are tested.
//!
//! Texts in logs and names of metrics are no promise between versions, so these tests look at neither of the previous
//! one: they use its flags, its endpoints for probes, the Lease and the registry.

use std::path::{Path, PathBuf};

use super::{child::Child, poll::notice};

const VARIABLE: &str = "POD_REGISTRAR_TEST_PREVIOUS";

/// An executable of the program.
#[derive(Clone, Debug)]
pub(crate) struct Version(PathBuf);

impl Version {
    /// The version that is tested.
    pub(crate) fn current() -> Self {
        Self(env!("CARGO_BIN_EXE_pod-registrar").into())
    }

    /// The version before it, or `None` and a notice if no executable of it is named.
    pub(crate) fn previous() -> Option<Self> {
        let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        if named.is_none() {
            notice(&format!("skipped: {VARIABLE} is not set; tests/upgrade/build prints its value"));
        }
        let path = named?;
        assert!(path.is_file(), "{VARIABLE}: {} is not a file", path.display());
        Some(Self(path))
    }

    pub(crate) fn is_current(&self) -> bool {
        self.path() == Path::new(env!("CARGO_BIN_EXE_pod-registrar"))
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        Child::start_version(self.path(), arguments)
    }

    /// Whether a command has a flag, or a notice that a test is skipped without it.
    pub(crate) async fn has(&self, command: &str, flag: &str) -> bool {
        let mut help = self.start(&[command, "--help"]);
        let has = help.code().await == 0 && help.stdout().iter().any(|line| line.trim_start().starts_with(flag));
        if !has {
            notice(&format!("skipped: the previous version has no {flag} in {command}"));
        }
        has
    }

    fn path(&self) -> &Path {
        &self.0
    }
}
