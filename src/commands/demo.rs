//! `pod-registrar demo`: the whole system in one process.
//!
//! It runs a stand-in for the API server with a small simulated cluster, the reference registry, and the real
//! controller between them. A real cluster can take the place of the stand-in, and another registry that of the
//! reference registry. A targets file adds registries, and an ordinary inventory that it may describe. It prints the
//! changes of the reference registry.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Error, informers,
    output::Output,
    run::{Controller, listen},
    target_settings::TargetSettings,
    tasks::Tasks,
};
use crate::{
    cli::{
        self,
        flags::{DemoSettings, RunSettings},
    },
    demo::{
        api::{Api, ApiOptions},
        cmdb::{Cmdb, CmdbOptions},
        life,
    },
    kubernetes::{client::ClusterConnection, kubeconfig::Environment},
    listen::{self, server::Limits},
    model::ids::DEFAULT_TARGET,
    registry::server::{
        serve::{RegistryServer, ServerOptions},
        store::{RecordStore, query::LoggedChange},
    },
};

/// Changes that are printed one by one per second. For the rest, only their number is printed.
const LINES_PER_SECOND: usize = 20;
/// A free port of the loopback interface.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const FREE_A_PORT: &str = "free a port on the loopback interface";
/// Changes that the API server keeps. A watch that is opened again at the fastest churn still finds its version.
const HISTORY: usize = 100_000;
/// The clients of the API server are the controller and perhaps `kubectl`.
const LIMITS: Limits = Limits {
    connections: 128,
    head_timeout: Duration::from_secs(60),
    head_bytes: 32 << 10,
    write_timeout: Duration::from_secs(30),
    drain: Duration::ZERO,
};

/// Runs the demo for its duration, or until `stop` is cancelled.
pub(super) async fn run(
    settings: DemoSettings,
    environment: Environment,
    stop: CancellationToken,
) -> Result<(), Error> {
    let DemoSettings {
        pods,
        churn,
        duration,
        listen: page,
        registry_url,
        registry_token_file,
        targets,
        inventory_listen,
        seed,
        cluster,
        log: _,
    } = settings;
    let admin = listen(LOOPBACK, FREE_A_PORT)?;
    let mut addresses = vec![format!("The controller's page:    http://{}/", address_of(&admin)?)];
    let mut tasks = Tasks::default();
    let cluster = match (&cluster.kubeconfig, &cluster.context) {
        (Some(_), _) | (_, Some(_)) => informers::cluster(cluster, environment)?,
        (None, None) => {
            let seed = seed.unwrap_or_else(|| fastrand::u64(..));
            let life = life::LifeOptions { pods, churn, seed, ..life::LifeOptions::default() };
            let url = stand_in(life, &mut tasks)?;
            addresses.insert(0, format!("The cluster's API server: {url}"));
            ClusterConnection::at(&url)?
        }
    };
    if targets.is_some() {
        addresses.insert(0, format!("The inventory's page:     {}", inventory(inventory_listen, &mut tasks)?));
    }
    let registry = match registry_url {
        Some(url) => {
            addresses.insert(0, format!("The registry:             {url}"));
            tasks.spawn("addresses", print_addresses(addresses));
            url.to_string()
        }
        None => reference(page, addresses, &mut tasks)?,
    };
    let mut settings = run_settings(&registry)?;
    settings.registry.connection.registry_token_file = registry_token_file;
    let targets = all_targets(&settings, targets)?;
    let controller = Controller::with_targets(cluster, settings, targets);
    let stop = stop.child_token();
    let over = stop.clone();
    let timer = async move {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
        over.cancel();
        // The controller finishes the requests in flight and closes its session.
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        result = controller.run(admin, stop) => result,
        error = tasks.first_end() => Err(error),
        () = timer => Ok(()),
    };
    tasks.end().await;
    result
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(Error::Start)
}

/// Starts the reference registry, whose changes are printed. Returns its address.
fn reference(page: SocketAddr, mut addresses: Vec<String>, tasks: &mut Tasks) -> Result<String, Error> {
    let listener = listen(page, "choose another address with --listen")?;
    let url = format!("http://{}/", address_of(&listener)?);
    let registry = RegistryServer::open(ServerOptions::default())?;
    let (store, listener) = (registry.store(), listener.into_std().map_err(Error::Start)?);
    tasks.spawn("registry", async move { Ok(registry.serve(listener, std::future::pending()).await?) });
    // In a task of its own, so that a blocked standard output delays nothing else.
    addresses.insert(0, format!("The registry's page:      {url}"));
    tasks.spawn("changes", print_changes(addresses, store));
    Ok(url)
}

/// Starts the inventory. Returns its address.
fn inventory(page: SocketAddr, tasks: &mut Tasks) -> Result<String, Error> {
    let listener = listen(page, "choose another address with --inventory-listen")?;
    let url = format!("http://{}/", address_of(&listener)?);
    let router = Cmdb::new(CmdbOptions::default()).router();
    tasks.spawn("inventory", async move {
        listen::server::serve(listener, router, None, LIMITS, std::future::pending()).await;
        Ok(())
    });
    Ok(url)
}

/// The first registry, and those of the targets file.
fn all_targets(settings: &RunSettings, file: Option<PathBuf>) -> Result<Vec<TargetSettings>, Error> {
    let mut targets = TargetSettings::of(settings.registry.clone())?;
    if let Some(path) = file {
        let mut of_file = settings.registry.clone();
        (of_file.connection.registry_url, of_file.connection.targets) = (None, Some(path));
        targets.extend(TargetSettings::of(of_file)?);
        if targets.iter().filter(|target| target.name == DEFAULT_TARGET).count() > 1 {
            return Err(Error::NameInUse(DEFAULT_TARGET));
        }
    }
    Ok(targets)
}

/// Starts the stand-in for the API server and the simulated cluster in it. Returns its address.
fn stand_in(life: life::LifeOptions, tasks: &mut Tasks) -> Result<String, Error> {
    let listener = listen(LOOPBACK, FREE_A_PORT)?;
    let address = address_of(&listener)?;
    let api = Api::new(ApiOptions { seed: life.seed, history: HISTORY, ..ApiOptions::default() });
    let router = api.router();
    tasks.spawn("API server", async move {
        listen::server::serve(listener, router, None, LIMITS, std::future::pending()).await;
        Ok(())
    });
    tasks.spawn("life", async move {
        life::live(api, life, std::future::pending()).await;
        Ok(())
    });
    Ok(format!("http://{address}"))
}

/// The settings of `run`, with intervals short enough to watch.
fn run_settings(registry: &str) -> Result<RunSettings, Error> {
    let mut settings = cli::defaults(registry).map_err(|error| Error::Start(io::Error::other(error)))?;
    settings.identity.names.cluster_name = Some("demo".into());
    settings.resync_interval = Duration::from_secs(60);
    settings.relist_interval = Duration::from_secs(600);
    Ok(settings)
}

async fn print_addresses(addresses: Vec<String>) -> Result<(), Error> {
    Output::default().print(&addresses).await.map_err(Error::Output)?;
    std::future::pending().await
}

/// Prints the changes of the registry once per second.
async fn print_changes(addresses: Vec<String>, store: RecordStore) -> Result<(), Error> {
    let mut output = Output::default();
    output.print(&addresses).await.map_err(Error::Output)?;
    let (mut seen, mut registered) = (0, HashSet::new());
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let changes = match store.changes_since(seen).await {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!(%error, "cannot read the registry's changes; retrying");
                continue;
            }
        };
        seen = changes.last().map_or(seen, |change| change.n);
        let mut lines: Vec<String> = changes.iter().map(|change| line(change, &mut registered)).collect();
        if lines.len() > LINES_PER_SECOND {
            let more = lines.split_off(LINES_PER_SECOND).len();
            lines.push(format!("… and {more} more"));
        }
        output.print(&lines).await.map_err(Error::Output)?;
    }
}

fn line(change: &LoggedChange, registered: &mut HashSet<String>) -> String {
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "?".into());
    let pod = format!("{}/{}", name(&change.namespace), name(&change.name));
    if change.op == "delete" {
        registered.remove(&change.id);
        let reason = change.reason.as_deref().unwrap_or("?");
        return format!("deregistered  {pod}  ({reason})");
    }
    let verb = if registered.insert(change.id.clone()) { "registered  " } else { "changed     " };
    format!("{verb}  {pod}")
}
