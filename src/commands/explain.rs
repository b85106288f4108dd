//! `pod-registrar explain`: one pod, its record for each target, what the registry holds, and what would happen next.

mod next;

use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};

use self::next::{Explained, explain};
use super::{
    DONE, Error, informers, owner,
    registry_reader::{NamedReader, Registries},
    report,
};
use crate::{
    cli::{inspect::ExplainSettings, values::PodReference},
    kubernetes::{kubeconfig::Environment, pods},
};

const STATUS_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of the controller's status.
const STATUS_BYTES: usize = 4 << 20;

pub(super) async fn run(settings: ExplainSettings, environment: Environment) -> Result<u8, Error> {
    let ExplainSettings { pod, admin, cluster, record, registries, owner, output, log: _ } = settings;
    let registries = Registries::load(registries)?;
    let client = informers::cluster(cluster, environment)?.client();
    let owner = owner::of_cluster(owner, &client).await?;
    let PodReference { namespace, name } = pod;
    let read = pods::get(&client, &namespace, &name, &owner::rule(&owner, &record)).await?;
    let read = read.ok_or_else(|| Error::Request {
        what: "cannot explain the pod",
        why: format!("there is no pod {namespace}/{name}; pod-registrar plan shows records without a pod"),
    })?;
    let mut targets = Vec::new();
    for NamedReader { name, reader } in registries.readers(&owner)? {
        let explained = explain(reader, &read).await.map_err(|failure| failure.to_string());
        targets.push((name, explained));
    }
    let status = match admin {
        None => None,
        Some(url) => Some(status(&url).await),
    };
    let uid = read.pod.uid.to_string();
    let lines = || lines(&format!("{namespace}/{name}"), &uid, &targets, status.as_ref());
    let json = || {
        let target = |(name, explained): &(String, Result<Explained, String>)| match explained {
            Ok(explained) => explained.json(name),
            Err(error) => json!({"target": name, "error": error}),
        };
        let targets: Vec<Value> = targets.iter().map(target).collect();
        let status =
            status.as_ref().map(|status| status.as_ref().map_or_else(|error| json!({"error": error}), Value::clone));
        json!({"pod": format!("{namespace}/{name}"), "uid": uid, "targets": targets, "controller": status})
    };
    report::print(output.output, lines, json).await?;
    Ok(DONE)
}

fn lines(
    pod: &str,
    uid: &str,
    targets: &[(String, Result<Explained, String>)],
    status: Option<&Result<Value, String>>,
) -> Vec<String> {
    let mut lines = vec![format!("pod {pod}, UID {uid}")];
    for (name, explained) in targets {
        lines.extend([String::new(), format!("target {name}")]);
        match explained {
            Ok(explained) => lines.extend(explained.lines()),
            Err(error) => lines.push(format!("  {error}")),
        }
    }
    match status {
        None => {}
        Some(Err(error)) => lines.extend([String::new(), format!("controller: {error}")]),
        Some(Ok(status)) => {
            lines.extend([String::new(), "controller".to_owned()]);
            lines.extend(of_status(status));
        }
    }
    lines
}

/// What concerns any pod: whether records are written at all, and which deletions wait for approval.
fn of_status(status: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let whole = std::slice::from_ref(status);
    let targets = status["targets"].as_array().map_or(whole, Vec::as_slice);
    for target in targets {
        let name = target["name"].as_str().unwrap_or("default");
        let state = target.pointer("/session/state").and_then(Value::as_str).unwrap_or("unknown");
        let in_sync = &target["inSync"];
        lines.push(format!("  {name}: session {state}, in sync: {in_sync}"));
        for hold in target["holds"].as_array().into_iter().flatten() {
            let text = |name| hold[name].as_str().unwrap_or("?");
            let (id, deletions, because) = (text("id"), &hold["deletions"], text("because"));
            lines.push(format!("  {name}: hold {id} keeps {deletions} deletions back: {because}"));
        }
    }
    lines
}

/// The status of the running controller.
async fn status(admin: &Url) -> Result<Value, String> {
    let mut url = admin.clone();
    url.set_path("/status");
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_certs_only([])
        .timeout(STATUS_WITHIN)
        .build();
    let client = client.map_err(|error| error.to_string())?;
    let failed = |error: reqwest::Error| format!("the controller does not answer at {admin}: {error}");
    let mut answer = client.get(url).send().await.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() > STATUS_BYTES {
            return Err("the answer is too long for a status; check --admin".to_owned());
        }
    }
    serde_json::from_slice(&body).map_err(|_| "the answer is not a status; check --admin".to_owned())
}
