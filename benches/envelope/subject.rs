//! A controller that is measured: pod-registrar or a peer.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    described::Form,
    error::{Error, Result},
    http::Client,
    process::Process,
    registry::free_address,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// pod-registrar.
    Ours { binary: PathBuf, flags: Vec<String> },
    /// pod-registrar with a registry that a file describes.
    Described { binary: PathBuf, flags: Vec<String>, form: Form },
    /// kube's reflector of whole pods.
    Reflector,
    /// A controller written with client-go.
    Informer { binary: PathBuf, flags: Vec<&'static str> },
}

impl Kind {
    /// Its name in tables.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Ours { .. } => "pod-registrar".into(),
            Self::Described { form, .. } => form.name().into(),
            Self::Reflector => "reflector".into(),
            Self::Informer { flags, .. } => {
                let flags: Vec<_> = flags.iter().map(|flag| flag.trim_start_matches('-')).collect();
                if flags.is_empty() { "informer".into() } else { format!("informer {}", flags.join("+")) }
            }
        }
    }
}

pub(crate) struct Subject {
    pub(crate) process: Process,
    admin: Option<SocketAddr>,
    client: Client,
}

impl Subject {
    /// Starts one, with its log in the folder. `registry` is a URL.
    pub(crate) async fn start(kind: &Kind, kubeconfig: &Path, registry: &str, folder: &Path) -> Result<Self> {
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
                (Process::start(&name, binary, arguments, folder)?, Some(admin))
            }
            Kind::Described { binary, flags, form } => {
                let admin = free_address().await?;
                let file = folder.join(format!("targets-{}.yaml", fastrand::u32(..)));
                std::fs::write(&file, form.file(registry)).map_err(Error::in_step(file.display().to_string()))?;
                push(&["run", "--kubeconfig", &kubeconfig, "--targets", &file.to_string_lossy()]);
                push(&["--admin-addr", &admin.to_string()]);
                push(&flags.iter().map(String::as_str).collect::<Vec<_>>());
                (Process::start(&name, binary, arguments, folder)?, Some(admin))
            }
            Kind::Reflector => {
                push(&["--kubeconfig", &kubeconfig, "--registry", registry]);
                (Process::part("reflector", arguments, folder)?, None)
            }
            Kind::Informer { binary, flags } => {
                push(&["informer", "--kubeconfig", &kubeconfig, "--registry", registry]);
                push(flags);
                (Process::start(&name, binary, arguments, folder)?, None)
            }
        };
        Ok(Self { process, admin, client: Client::new()? })
    }

    /// Metrics by their names without the prefix. Empty for a peer.
    pub(crate) async fn metrics(&self, names: &[&str]) -> Result<Vec<f64>> {
        let Some(admin) = self.admin else { return Ok(Vec::new()) };
        let url = format!("http://{admin}/metrics");
        let text = self.client.get(&url).await?;
        let text = String::from_utf8_lossy(&text);
        let figure = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix("pod_registrar_")?.strip_prefix(name));
            // The benches run one target.
            let value = |rest: &str| rest.strip_prefix("{target=\"default\"}").unwrap_or(rest).trim().parse().ok();
            lines.find_map(value)
        };
        let found = names.iter().map(|name| figure(name)).collect::<Option<Vec<f64>>>();
        found.ok_or_else(|| format!("one of {names:?} is missing")).map_err(Error::in_step(url))
    }

    /// Waits until `/livez` answers.
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
