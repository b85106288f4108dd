//! The parts of the control plane, which a command kills and starts.
//!
//! The command is called as `COMMAND kill|start PART --dir DIR`. A started part keeps its data and ports. If it runs
//! already, the command says so (`… runs already`) and fails.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// The parts, in the order in which they have to be started.
pub(super) const PARTS: [&str; 5] = ["etcd", "apiserver", "controllers", "scheduler", "kubelet"];
const COMMAND: &str = "POD_REGISTRAR_TEST_CLUSTER_COMMAND";
const DIR: &str = "POD_REGISTRAR_TEST_CLUSTER_DIR";

#[derive(Clone)]
pub(super) struct Plane {
    command: PathBuf,
    dir: PathBuf,
}

impl Plane {
    /// The control plane that the environment names, if any.
    pub(super) fn from_environment() -> Option<Self> {
        let path = |variable| std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
        Some(Self { command: path(COMMAND)?, dir: path(DIR)? })
    }

    async fn run(&self, verb: &'static str, part: &'static str) -> Output {
        let this = self.clone();
        // A start waits until the part works.
        let output = tokio::task::spawn_blocking(move || {
            Command::new(&this.command).args([verb, part, "--dir"]).arg(&this.dir).output()
        });
        output.await.unwrap().unwrap_or_else(|error| panic!("{verb} {part} by {}: {error}", self.command.display()))
    }

    pub(super) async fn kill(&self, part: &'static str) {
        let output = self.run("kill", part).await;
        assert!(output.status.success(), "kill {part}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts a part unless it runs.
    async fn start(&self, part: &'static str) {
        let output = self.run("start", part).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || error.contains("runs already"), "start {part}: {error}");
    }

    /// Starts a part, and before it the first two, which all others need.
    pub(super) async fn bring_back(&self, part: &str) {
        let needed = PARTS.into_iter().take_while(|other| *other != part).take(2);
        for part in needed.chain(PARTS.into_iter().find(|other| *other == part)) {
            self.start(part).await;
        }
    }

    /// Starts every part that does not run.
    pub(super) async fn all_up(&self) {
        for part in PARTS {
            self.start(part).await;
        }
    }
}
