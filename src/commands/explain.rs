//! `pod-registrar explain`: one pod, its record for each target, what the registry holds, and what happens next.
//!
//! The record and the next step are worked out from the cluster and the registries. With `--admin`, the running
//! controller says where each record stands and what it does next, also for a pod that was deleted lately.

mod controller;
mod next;

use serde_json::{Value, json};

use self::{
    controller::{ControllerAnswer, ControllerView},
    next::{Explained, explain, explain_gone},
};
use super::{DONE, Error, informers, owner, registry_reader::Registries, report};
use crate::{
    cli::{inspect::ExplainSettings, values::PodReference},
    kubernetes::{kubeconfig::Environment, pods},
    model::uid::Uid,
};

/// One pod in one target.
struct TargetLines {
    name: String,
    /// Its records, or one that says why there is none.
    explained: Result<Vec<Explained>, String>,
    /// What the controller says.
    state: Option<ControllerView>,
}

pub(super) async fn run(settings: ExplainSettings, environment: Environment) -> Result<u8, Error> {
    let ExplainSettings { pod, admin, cluster, record, registries, owner, output, log: _ } = settings;
    let registries = Registries::load(registries)?;
    let client = informers::cluster(cluster, environment)?.client();
    let owner = owner::of_cluster(owner, &client).await?;
    let PodReference { namespace, name } = pod;
    let read = pods::get(&client, &namespace, &name, &owner::rule(&owner, &record)).await?;
    let asked = match &admin {
        None => None,
        Some(url) => Some(controller::ask(url, &namespace, &name).await),
    };
    let pod = format!("{namespace}/{name}");
    let uid = match (&read, &asked) {
        (Some(read), _) => read.pod.uid.clone(),
        (None, Some(Ok(answer))) => answer.uid(),
        (None, asked) => return Err(unknown(&pod, asked.as_ref().and_then(|asked| asked.as_ref().err()))),
    };
    let mut targets = Vec::new();
    for (name, reader) in registries.each_reader(&owner) {
        let state = asked.as_ref().and_then(|asked| asked.as_ref().ok()?.of_target(&name));
        let explained = match (reader, &read) {
            (Err(error), _) => Err(error.to_string()),
            (Ok(reader), Some(read)) => explain(reader, read).await.map_err(|failure| failure.to_string()),
            (Ok(reader), None) => {
                let id = state.as_ref().and_then(ControllerView::id);
                explain_gone(reader, &uid, id).await.map(|gone| vec![gone]).map_err(|failure| failure.to_string())
            }
        };
        targets.push(TargetLines { name, explained, state });
    }
    let lines = || lines(&pod, &uid, read.is_some(), &targets, asked.as_ref());
    let json = || {
        let controller = asked
            .as_ref()
            .map(|asked| asked.as_ref().map_or_else(|error| json!({"error": error}), ControllerAnswer::json));
        let targets: Vec<Value> = targets.iter().map(TargetLines::json).collect();
        json!({"pod": pod, "uid": uid, "exists": read.is_some(), "targets": targets, "controller": controller})
    };
    report::print(output.output, lines, json).await?;
    Ok(DONE)
}

/// Neither the cluster nor the controller has the pod.
fn unknown(pod: &str, controller: Option<&String>) -> Error {
    let more = match controller {
        None => "with --admin, the running controller tells of pods that were deleted lately".to_owned(),
        Some(error) => error.clone(),
    };
    let why = format!("there is no pod {pod}; {more}; pod-registrar plan shows records without a pod");
    Error::Request { what: "cannot explain the pod", why }
}

fn lines(
    pod: &str,
    uid: &Uid,
    exists: bool,
    targets: &[TargetLines],
    asked: Option<&Result<ControllerAnswer, String>>,
) -> Vec<String> {
    let gone = if exists { "" } else { ", deleted" };
    let mut lines = vec![format!("pod {pod}, UID {uid}{gone}")];
    match asked {
        Some(Ok(answer)) if answer.uid() != *uid => {
            lines.push(format!("the controller sees another pod of this name, UID {}", answer.uid()));
        }
        Some(Err(error)) => lines.push(format!("controller: {error}")),
        _ => {}
    }
    for TargetLines { name, explained, state } in targets {
        lines.extend([String::new(), format!("target {name}")]);
        match explained {
            Ok(records) => {
                for record in records {
                    lines.extend(record.lines());
                    // Of several records, the controller tells only about one.
                    if state.is_none() || record.kind().is_some() {
                        lines.push(format!("  next:     {}", record.next()));
                    }
                }
            }
            Err(error) => lines.push(format!("  registry: {error}")),
        }
        lines.extend(state.iter().flat_map(ControllerView::lines));
    }
    lines
}

impl TargetLines {
    fn json(&self) -> Value {
        let Self { name, explained, state } = self;
        let mut shown = match explained {
            Ok(records) => match records.as_slice() {
                [only] if only.kind().is_none() => only.json(name),
                several => {
                    let with_kind = |record: &Explained| {
                        let mut shown = record.json(name);
                        shown["kind"] = record.kind().into();
                        shown
                    };
                    json!({"target": name, "records": several.iter().map(with_kind).collect::<Vec<_>>()})
                }
            },
            Err(error) => json!({"target": name, "error": error}),
        };
        shown["controller"] = state.as_ref().map(ControllerView::json).into();
        shown
    }
}
