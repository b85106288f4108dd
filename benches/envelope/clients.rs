//! Two peers, each in a process of its own: a client that reads a list and discards it, and a controller made of kube's
//! reflector.

use std::{pin::pin, sync::Arc, time::Instant};

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use clap::Args;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    config::{KubeConfigOptions, Kubeconfig},
};
use kube_runtime::{reflector, watcher, watcher::Event};
use tokio::sync::mpsc;

use crate::{
    error::{Error, Result},
    http::Client,
};

/// Pods per page, as in kube's watcher.
const PAGE: usize = 500;
/// Requests to the registry in flight at a time.
const IN_FLIGHT: usize = 16;

/// Reads all pages of the list one after the other and discards them: the time that the API server and the network
/// take. Prints the nanoseconds and the bytes.
pub(crate) async fn read_only(api: &str) -> Result<()> {
    let client = Client::new()?;
    let begun = Instant::now();
    let (mut bytes, mut next) = (0_usize, String::new());
    loop {
        let url = format!("{api}/api/v1/pods?limit={PAGE}{next}");
        let mut response = client.send(Method::GET, &url, HeaderMap::new(), Bytes::new()).await?;
        let mut head = Vec::new();
        while let Some(data) = response.chunk().await.map_err(Error::in_step(&url))? {
            bytes += data.len();
            if head.len() < 1_024 {
                head.extend_from_slice(&data[..data.len().min(1_024)]);
            }
        }
        let head = String::from_utf8_lossy(&head);
        let Some(token) = token_in(&head) else { break };
        next = format!("&continue={token}");
    }
    crate::say(&format!("read {} {bytes}", begun.elapsed().as_nanos()));
    Ok(())
}

/// The continue token in a page.
pub(crate) fn token_in(page: &str) -> Option<&str> {
    let token = page.split_once(r#""continue":""#)?.1.split('"').next()?;
    Some(token).filter(|token| !token.is_empty())
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[arg(long)]
    kubeconfig: std::path::PathBuf,
    /// The URL below which each pod is put and deleted.
    #[arg(long)]
    registry: String,
}

/// kube's client of the cluster in a kubeconfig.
pub(crate) async fn kube_client(kubeconfig: &std::path::Path) -> Result<kube::Client> {
    let what = kubeconfig.display().to_string();
    let file = Kubeconfig::read_from(kubeconfig).map_err(Error::in_step(&what))?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    kube::Client::try_from(config.map_err(Error::in_step(&what))?).map_err(Error::in_step(&what))
}

/// A controller of whole pods: kube's watcher into kube's reflector, one request per change.
pub(crate) async fn reflect(options: &Options) -> Result<()> {
    let api: Api<Pod> = Api::all(kube_client(&options.kubeconfig).await?);
    let (store, writer) = reflector::store::<Pod>();
    let events = reflector::reflector(writer, watcher::watcher(api, watcher::Config::default()));
    let mut events = pin!(events);
    let senders = senders(&options.registry)?;
    loop {
        let changes: Vec<Change> = match events.try_next().await {
            Ok(Some(Event::Apply(pod))) => vec![(Method::PUT, pod.into())],
            Ok(Some(Event::Delete(pod))) => vec![(Method::DELETE, pod.into())],
            Ok(Some(Event::InitDone)) => store.state().into_iter().map(|pod| (Method::PUT, pod)).collect(),
            // The watcher retries after an error.
            Ok(Some(Event::Init | Event::InitApply(_))) | Err(_) => continue,
            Ok(None) => return Ok(()),
        };
        for change in changes {
            let uid = change.1.metadata.uid.as_deref().unwrap_or_default();
            // A pod always has the same sender, so that its changes stay in order.
            let digits = uid.get(..8).and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let _ = senders[digits.unwrap_or_default() % IN_FLIGHT].send(change);
        }
    }
}

type Change = (Method, Arc<Pod>);

/// Queues to tasks that have one request in flight each.
fn senders(registry: &str) -> Result<Vec<mpsc::UnboundedSender<Change>>> {
    let client = Client::new()?;
    let start = |_| {
        let (sender, mut changes) = mpsc::unbounded_channel::<Change>();
        let (client, registry) = (client.clone(), registry.to_owned());
        tokio::spawn(async move {
            while let Some((method, pod)) = changes.recv().await {
                send(&client, &registry, method, &pod).await;
            }
        });
        sender
    };
    Ok((0..IN_FLIGHT).map(start).collect())
}

/// Sends one change. A request that fails is lost: a controller as simple as this does not retry.
async fn send(registry: &Client, url: &str, method: Method, pod: &Pod) {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let body = if method == Method::PUT { record(pod) } else { Bytes::new() };
    let _ = registry.ask(method, &format!("{url}/pods/{uid}"), body).await;
}

/// A record with about the content of one of pod-registrar.
fn record(pod: &Pod) -> Bytes {
    let status = pod.status.as_ref();
    let spec = pod.spec.as_ref();
    let record = serde_json::json!({
        "namespace": pod.metadata.namespace, "name": pod.metadata.name, "uid": pod.metadata.uid,
        "labels": pod.metadata.labels, "owners": pod.metadata.owner_references,
        "node": spec.and_then(|spec| spec.node_name.as_ref()),
        "images": spec.map(|spec| spec.containers.iter().map(|container| &container.image).collect::<Vec<_>>()),
        "phase": status.and_then(|status| status.phase.as_ref()),
        "podIPs": status.and_then(|status| status.pod_ips.as_ref()),
        "resourceVersion": pod.metadata.resource_version,
    });
    record.to_string().into()
}
