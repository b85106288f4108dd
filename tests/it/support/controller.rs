//! `pod-registrar run` as a process.

use std::{
    ops::{Deref, DerefMut},
    path::Path,
};

use super::{
    child::Child,
    poll::{SOON, eventually},
    registry::http_client,
    series::series,
};

pub(crate) struct Controller {
    child: Child,
}

impl Controller {
    /// Starts a controller with these flags, besides the ones that every test needs.
    pub(crate) fn start(kubeconfig: &Path, registry_url: &str, more: &[&str]) -> Self {
        let kubeconfig = kubeconfig.to_str().expect("a path of plain characters");
        let common = ["run", "--kubeconfig", kubeconfig, "--registry-url", registry_url, "--admin-addr", "127.0.0.1:0"];
        Self { child: Child::start(&[&common, more].concat()) }
    }

    /// Starts a controller with the targets of this file.
    pub(crate) fn start_with_targets(kubeconfig: &Path, targets: &Path, more: &[&str]) -> Self {
        let [kubeconfig, targets] =
            [kubeconfig, targets].map(|path| path.to_str().expect("a path of plain characters"));
        let common = ["run", "--kubeconfig", kubeconfig, "--targets", targets, "--admin-addr", "127.0.0.1:0"];
        Self { child: Child::start(&[&common, more].concat()) }
    }

    /// The address that serves health and metrics.
    pub(crate) async fn address(&mut self) -> String {
        let line = self.child.log_line("health and metrics are served").await;
        line.rsplit_once("address=").expect("an address in the log").1.to_owned()
    }

    /// Requests a page. Returns its status and text.
    pub(crate) async fn page(&mut self, path: &str) -> (u16, String) {
        let address = self.address().await;
        let answer = http_client().get(format!("http://{address}{path}")).send().await.expect("it answers");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    /// The value of a metric; see [`series`].
    pub(crate) async fn figure(&mut self, name: &str) -> f64 {
        let (status, text) = self.page("/metrics").await;
        assert_eq!(status, 200, "{text}");
        series(&text, name)
    }

    pub(crate) async fn ready(&mut self) {
        eventually("readiness", SOON, async || match self.page("/readyz").await {
            (200, _) => Ok(()),
            (_, text) => Err(text),
        })
        .await;
    }

    /// Waits until the registry has equalled the cluster for the first time.
    pub(crate) async fn synced(&mut self) {
        eventually("the first complete sync", SOON * 2, async || {
            let figures = [self.figure("first_complete_sync_seconds").await, self.figure("pending").await];
            if figures[0] > 0.0 { Ok(()) } else { Err(format!("{figures:?}")) }
        })
        .await;
    }
}

impl Deref for Controller {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Controller {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}
