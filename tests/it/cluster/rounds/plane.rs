//! The parts of the control plane, which can be killed and brought back by a command.
//!
//! The command is called as `COMMAND kill|start PART --dir DIR`. A part that is started has its data and ports of before; where
//! it runs already, the command says so (`… runs already`) and fails.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// What can be killed, in the order in which it has to be started.
pub(super) const PARTS: [&str; 5] = ["etcd", "apiserver", "controllers", "scheduler", "kubelet"];
/// The variable that names the command.
const COMMAND: &str = "POD_REGISTRAR_TEST_CLUSTER_COMMAND";
/// The variable that names the folder of the control plane.
const DIR: &str = "POD_REGISTRAR_TEST_CLUSTER_DIR";

/// A control plane whose parts are processes.
#[derive(Clone)]
pub(super) struct Plane {
    command: PathBuf,
    dir: PathBuf,
}

impl Plane {
    /// The one that the environment names, if it does.
    pub(super) fn from_environment() -> Option<Self> {
        let path = |variable| std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
        Some(Self { command: path(COMMAND)?, dir: path(DIR)? })
    }

    async fn tell(&self, verb: &'static str, part: &'static str) -> Output {
        let this = self.clone();
        // A start waits until the part is of use.
        let told = tokio::task::spawn_blocking(move || {
            Command::new(&this.command).args([verb, part, "--dir"]).arg(&this.dir).output()
        });
        told.await.unwrap().unwrap_or_else(|error| panic!("{verb} {part} by {}: {error}", self.command.display()))
    }

    /// Kills a part with SIGKILL.
    pub(super) async fn kill(&self, part: &'static str) {
        let said = self.tell("kill", part).await;
        assert!(said.status.success(), "kill {part}: {}", String::from_utf8_lossy(&said.stderr));
    }

    /// Starts a part unless it runs.
    async fn start(&self, part: &'static str) {
        let said = self.tell("start", part).await;
        let error = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() || error.contains("runs already"), "start {part}: {error}");
    }

    /// Brings a part back, and before it the first two, without which no other starts.
    pub(super) async fn bring_back(&self, part: &str) {
        let needed = PARTS.into_iter().take_while(|other| *other != part).take(2);
        for part in needed.chain(PARTS.into_iter().find(|other| *other == part)) {
            self.start(part).await;
        }
    }

    /// Brings every part back that is not there.
    pub(super) async fn all_up(&self) {
        for part in PARTS {
            self.start(part).await;
        }
    }
}
