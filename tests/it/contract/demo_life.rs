//! The demo's cluster over HTTP: a client that lists once and watches from there knows every pod, whatever ends its
//! watches.
#![expect(clippy::unwrap_used, reason = "these helpers are part of tests")]

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
};
use pod_registrar::demo::{api::ApiOptions, life};
use tokio_util::sync::CancellationToken;

use crate::support::apiserver::{self, Server};

const LIMIT: Duration = Duration::from_secs(20);

fn key(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap(), pod.name_any())
}

/// Lists once and then watches, again and again, until the known pods are the `wanted` ones after the end of the churn.
async fn follow(pods: Api<Pod>, server: apiserver::Api, ended: CancellationToken) -> usize {
    let list = pods.list(&ListParams::default().limit(7)).await.unwrap();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut page = list;
    let mut version = page.metadata.resource_version.clone().unwrap();
    loop {
        known.extend(page.items.iter().map(|pod| (key(pod), pod.uid().unwrap())));
        let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) else { break };
        page = pods.list(&ListParams::default().limit(7).continue_token(&token)).await.unwrap();
    }
    let mut watches = 0;
    loop {
        let mut events = pods.watch(&WatchParams::default(), &version).await.unwrap().boxed();
        watches += 1;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                // Checked in every round: the churn may end when no event is left.
                () = tokio::time::sleep(Duration::from_millis(20)) => {
                    if ended.is_cancelled() && known == server.uids() {
                        return watches;
                    }
                    continue;
                }
            };
            let Some(event) = event else { break };
            match event.unwrap() {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    version = pod.resource_version().unwrap();
                    known.insert(key(&pod), pod.uid().unwrap());
                }
                WatchEvent::Deleted(pod) => {
                    version = pod.resource_version().unwrap();
                    assert_eq!(known.remove(&key(&pod)), pod.uid(), "the deletion of a known pod");
                }
                other => unreachable!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_list_and_its_watch_show_every_pod() {
    let server = Server::start(ApiOptions::default()).await.unwrap();
    let options = life::LifeOptions { pods: 100, churn: 60.0, nodes: 4, seed: fastrand::u64(..) };
    let seed = options.seed;
    let ended = CancellationToken::new();
    let living = tokio::spawn(life::live(server.content(), options, ended.clone().cancelled_owned()));
    let mut config = Config::new(server.url().parse().unwrap());
    config.default_retry = false;
    let pods = Api::all(Client::try_from(config).unwrap());
    let following = tokio::spawn(follow(pods, server.api(), ended.clone()));
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.drop_watches();
    }
    ended.cancel();
    living.await.unwrap();
    let watches = tokio::time::timeout(LIMIT, following).await;
    let watches =
        watches.unwrap_or_else(|_| unreachable!("seed {seed}: the known pods never equalled the cluster")).unwrap();
    assert!(watches >= 5, "seed {seed}: {watches} watches");
    server.stop().await.unwrap();
}
