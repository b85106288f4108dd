//! The driver's side of the stand-in API server.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::http::Method;
use bytes::Bytes;

use crate::{
    error::{Error, Result},
    http::Client,
    latency::Event,
    process::Process,
    stand_in::Stats,
};

/// Time limit of a start. A million pods take a while to lay out.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A running stand-in.
pub(crate) struct StandIn {
    _process: Process,
    pub(crate) url: String,
    pub(crate) kubeconfig: PathBuf,
    client: Client,
}

impl StandIn {
    pub(crate) async fn start(arguments: &[String], folder: &Path) -> Result<Self> {
        let mut process = Process::part("stand-in", arguments, folder)?;
        let address = process.line("listening on ", STARTS_WITHIN).await?;
        let url = format!("http://{address}");
        let kubeconfig = folder.join(format!("kubeconfig-{}", process.id()));
        let text = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "stand-in",
            "clusters": [{"name": "stand-in", "cluster": {"server": url}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": "nobody"}}],
        });
        std::fs::write(&kubeconfig, text.to_string()).map_err(Error::in_step(kubeconfig.display().to_string()))?;
        Ok(Self { _process: process, url, kubeconfig, client: Client::new()? })
    }

    /// Counts since the last reset.
    pub(crate) async fn stats(&self) -> Result<Stats> {
        self.client.get_json(&format!("{}/control/stats", self.url)).await
    }

    /// `reset`, `expire` or `churn`, with its query.
    pub(crate) async fn order(&self, order: &str) -> Result<()> {
        self.client.ask(Method::POST, &format!("{}/control/{order}", self.url), Bytes::new()).await.map(|_| ())
    }

    /// The living pods and their versions.
    pub(crate) async fn pods(&self) -> Result<HashMap<u128, u64>> {
        let pods: Vec<(u128, u64)> = self.client.get_json(&format!("{}/control/pods", self.url)).await?;
        Ok(pods.into_iter().collect())
    }

    /// The changes of the newest churn.
    pub(crate) async fn events(&self) -> Result<Vec<Event>> {
        self.client.get_json(&format!("{}/control/events", self.url)).await
    }
}
