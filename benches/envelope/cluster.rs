//! The stand-in API server as the driver sees it, and what it says about the truth.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    http::{Client, parse},
    latency::Event,
    process::{Process, Reaper},
};

/// A million pods need a while to be laid out.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// Counts of the stand-in, by its own names.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stats {
    pub(crate) alive: u64,
    pub(crate) churning: bool,
    pub(crate) replaced: u64,
    pub(crate) changes: u64,
    pub(crate) lists: u64,
    pub(crate) first_page_at: u64,
    pub(crate) watch_at: u64,
    pub(crate) told_all_at: u64,
}

/// A running stand-in.
pub(crate) struct StandIn {
    pub(crate) process: Process,
    /// Its address.
    pub(crate) url: String,
    /// A file that leads to it.
    pub(crate) kubeconfig: PathBuf,
    client: Client,
}

impl StandIn {
    /// Starts one.
    pub(crate) async fn start(arguments: &[String], folder: &Path, reaper: &Reaper) -> Result<Self> {
        let mut process = Process::part("stand-in", arguments, folder, reaper)?;
        let address = process.line("listening on ", STARTS_WITHIN).await?;
        let url = format!("http://{address}");
        let kubeconfig = folder.join(format!("kubeconfig-{}", process.id()));
        let text = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "stand-in",
            "clusters": [{"name": "stand-in", "cluster": {"server": url}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": "nobody"}}],
        });
        std::fs::write(&kubeconfig, text.to_string())
            .map_err(|cause| Error::File { path: kubeconfig.clone(), cause })?;
        Ok(Self { process, url, kubeconfig, client: Client::new() })
    }

    /// What it counted since the last reset.
    pub(crate) async fn stats(&self) -> Result<Stats> {
        let url = format!("{}/control/stats", self.url);
        parse(&url, &self.client.get(&url).await?)
    }

    /// Gives an order.
    pub(crate) async fn order(&self, order: &str) -> Result<()> {
        self.client.post(&format!("{}/control/{order}", self.url)).await.map(|_| ())
    }

    /// The pods that are there, each with its version.
    pub(crate) async fn pods(&self) -> Result<HashMap<u128, u64>> {
        let bytes = self.client.get(&format!("{}/control/pods", self.url)).await?;
        let lines = std::str::from_utf8(&bytes).unwrap_or_default().lines();
        let read = lines.map(|line| {
            let mut parts = line.split(' ');
            let uid = u128::from_str_radix(parts.next()?, 16).ok()?;
            Some((uid, parts.next()?.parse().ok()?))
        });
        read.collect::<Option<_>>().ok_or_else(|| self.unreadable("pods"))
    }

    /// What happened in the newest run of changes.
    pub(crate) async fn events(&self) -> Result<Vec<Event>> {
        let bytes = self.client.get(&format!("{}/control/events", self.url)).await?;
        let lines = std::str::from_utf8(&bytes).unwrap_or_default().lines();
        let read = lines.map(|line| {
            let mut parts = line.split(' ');
            Some(Event {
                happened_at: parts.next()?.parse().ok()?,
                told_at: parts.next()?.parse().ok()?,
                deleted: parts.next()? == "DELETED",
                uid: u128::from_str_radix(parts.next()?, 16).ok()?,
                version: parts.next()?.parse().ok()?,
            })
        });
        read.collect::<Option<_>>().ok_or_else(|| self.unreadable("events"))
    }

    fn unreadable(&self, what: &str) -> Error {
        Error::Http { what: format!("{}/control/{what}", self.url), cause: "a line is unreadable".into() }
    }
}
