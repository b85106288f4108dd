//! What our controller is compared with, each a process of its own: a client that only reads, and a controller made of
//! kube's reflector.

use std::{pin::pin, sync::Arc, time::Instant};

use bytes::Bytes;
use clap::Args;
use futures::TryStreamExt;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
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

/// How many pods a page has, as in kube's watcher.
const PAGE: usize = 500;
/// Requests to the registry under way at a time.
const IN_FLIGHT: usize = 16;

/// Reads all pages of the list one after the other and throws them away: what the API server and the wire take by
/// themselves. Says how many nanoseconds that took, and how many bytes came.
pub(crate) async fn read_only(api: &str) -> Result<()> {
    let client = Client::new();
    let begun = Instant::now();
    let (mut bytes, mut next) = (0_usize, String::new());
    loop {
        let url = format!("{api}/api/v1/pods?limit={PAGE}{next}");
        let failed = |cause: String| Error::Http { what: url.clone(), cause };
        let request = Request::builder().uri(&url).body(Full::new(Bytes::new()));
        let response = client.send(request.map_err(|error| failed(error.to_string()))?).await?;
        let mut body = response.into_body();
        let mut head = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failed(error.to_string()))?;
            let Some(data) = frame.data_ref() else { continue };
            bytes += data.len();
            if head.len() < 1_024 {
                head.extend_from_slice(&data[..data.len().min(1_024)]);
            }
        }
        let head = String::from_utf8_lossy(&head);
        let token = head.split_once(r#""continue":""#).and_then(|(_, rest)| rest.split('"').next());
        let Some(token) = token.filter(|token| !token.is_empty()) else { break };
        next = format!("&continue={token}");
    }
    crate::say(&format!("read {} {bytes}", begun.elapsed().as_nanos()));
    Ok(())
}

/// What the reflector's controller is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How to reach the API server.
    #[arg(long)]
    kubeconfig: std::path::PathBuf,
    /// Where each pod is put and deleted.
    #[arg(long)]
    registry: String,
}

/// A controller of whole pods: kube's watcher into kube's reflector, one request for each change.
pub(crate) async fn reflect(options: &Options) -> Result<()> {
    let failed = |cause: String| Error::Http { what: "the API server".into(), cause };
    let file = Kubeconfig::read_from(&options.kubeconfig).map_err(|error| failed(error.to_string()))?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let client = kube::Client::try_from(config.map_err(|error| failed(error.to_string()))?);
    let api: Api<Pod> = Api::all(client.map_err(|error| failed(error.to_string()))?);
    let (store, writer) = reflector::store::<Pod>();
    let events = reflector::reflector(writer, watcher::watcher(api, watcher::Config::default()));
    let mut events = pin!(events);
    let senders = senders(&options.registry);
    loop {
        let changes: Vec<(Method, Arc<Pod>)> = match events.try_next().await {
            Ok(Some(Event::Apply(pod))) => vec![(Method::PUT, pod.into())],
            Ok(Some(Event::Delete(pod))) => vec![(Method::DELETE, pod.into())],
            Ok(Some(Event::InitDone)) => store.state().into_iter().map(|pod| (Method::PUT, pod)).collect(),
            // The watcher tries again by itself after an error.
            Ok(Some(Event::Init | Event::InitApply(_))) | Err(_) => continue,
            Ok(None) => return Ok(()),
        };
        for change in changes {
            let uid = change.1.metadata.uid.as_deref().unwrap_or_default();
            // The same one for the same pod, so that its changes stay in order.
            let digits = uid.get(..8).and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let _ = senders[digits.unwrap_or_default() % IN_FLIGHT].send(change);
        }
    }
}

/// Those who each have one request under way.
fn senders(registry: &str) -> Vec<mpsc::UnboundedSender<(Method, Arc<Pod>)>> {
    let client = Client::new();
    let start = |_| {
        let (sender, mut changes) = mpsc::unbounded_channel::<(Method, Arc<Pod>)>();
        let (client, registry) = (client.clone(), registry.to_owned());
        tokio::spawn(async move {
            while let Some((method, pod)) = changes.recv().await {
                send(&client, &registry, method, &pod).await;
            }
        });
        sender
    };
    (0..IN_FLIGHT).map(start).collect()
}

/// Says one change. What fails is lost, as there is nothing behind it that would try again.
async fn send(registry: &Client, url: &str, method: Method, pod: &Pod) {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let body = if method == Method::PUT { record(pod) } else { Bytes::new() };
    let _ = registry.ask(method, &format!("{url}/pods/{uid}"), body).await;
}

/// About what our records say.
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
