//! A controller that is measured: ours, or one that it is compared with.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    error::{Error, Result},
    http::Client,
    process::{Process, Reaper},
    registry::free_address,
};

/// Which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// pod-registrar.
    Ours {
        /// Its executable.
        binary: PathBuf,
        /// More flags.
        flags: Vec<String>,
    },
    /// kube's reflector of whole pods.
    Reflector,
    /// A controller written with client-go.
    Informer {
        /// Its executable.
        binary: PathBuf,
        /// More flags.
        flags: Vec<&'static str>,
    },
}

impl Kind {
    /// How it is called in tables.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Ours { .. } => "pod-registrar".into(),
            Self::Reflector => "reflector".into(),
            Self::Informer { flags, .. } => {
                let flags: Vec<_> = flags.iter().map(|flag| flag.trim_start_matches('-')).collect();
                if flags.is_empty() { "informer".into() } else { format!("informer {}", flags.join("+")) }
            }
        }
    }

    /// Whether it speaks to a real registry; the others only need somebody who counts.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Ours { .. })
    }
}

/// A running one.
pub(crate) struct Subject {
    pub(crate) process: Process,
    admin: Option<SocketAddr>,
    client: Client,
}

/// Where it is to be found and what it is told.
pub(crate) struct Place<'a> {
    /// How to reach the API server.
    pub(crate) kubeconfig: &'a Path,
    /// The registry.
    pub(crate) registry: &'a str,
    /// For its log.
    pub(crate) folder: &'a Path,
    /// Ends it with the bench.
    pub(crate) reaper: &'a Reaper,
}

impl Subject {
    /// Starts one.
    pub(crate) async fn start(kind: &Kind, place: &Place<'_>) -> Result<Self> {
        let Place { kubeconfig, registry, folder, reaper } = place;
        let mut arguments: Vec<OsString> = Vec::new();
        let mut push = |values: &[&str]| arguments.extend(values.iter().map(OsString::from));
        let kubeconfig = kubeconfig.to_string_lossy();
        let name = kind.name();
        let (process, admin) = match kind {
            Kind::Ours { binary, flags } => {
                let admin = free_address().await?;
                push(&["run", "--kubeconfig", &kubeconfig, "--registry-url", registry]);
                push(&["--admin-addr", &admin.to_string()]);
                push(&flags.iter().map(String::as_str).collect::<Vec<_>>());
                (Process::start(&name, binary, arguments, folder, reaper)?, Some(admin))
            }
            Kind::Reflector => {
                push(&["--kubeconfig", &kubeconfig, "--registry", registry]);
                (Process::part("reflector", arguments, folder, reaper)?, None)
            }
            Kind::Informer { binary, flags } => {
                push(&["informer", "--kubeconfig", &kubeconfig, "--registry", registry]);
                push(flags);
                (Process::start(&name, binary, arguments, folder, reaper)?, None)
            }
        };
        Ok(Self { process, admin, client: Client::new() })
    }

    /// Figures of its metrics by their names, without the program's prefix; nothing of those that have none.
    pub(crate) async fn metrics(&self, names: &[&str]) -> Result<Vec<f64>> {
        let Some(admin) = self.admin else { return Ok(Vec::new()) };
        let url = format!("http://{admin}/metrics");
        let text = self.client.get(&url).await?;
        let text = String::from_utf8_lossy(&text);
        let figure = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix("pod_registrar_")?.strip_prefix(name));
            found.and_then(|value| value.trim().parse().ok())
        };
        let found = names.iter().map(|name| figure(name)).collect::<Option<Vec<f64>>>();
        found.ok_or_else(|| Error::Http { what: url, cause: format!("one of {names:?} is missing") })
    }

    /// Waits until it says that it lives.
    pub(crate) async fn live(&mut self, within: Duration) -> Result<()> {
        let Some(admin) = self.admin else { return Ok(()) };
        let url = format!("http://{admin}/livez");
        let client = self.client.clone();
        let begun = tokio::time::Instant::now();
        while client.get(&url).await.is_err() {
            self.process.check()?;
            if begun.elapsed() > within {
                let state = self.process.log();
                return Err(Error::TooSlow { what: url, seconds: within.as_secs(), state });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}
