//! `pod-registrar targets render`: prints every request of a target, without sending it.

use std::path::Path;

use serde_json::{Value, json};

use super::requests;
use crate::{
    cli::targets::RenderSettings,
    commands::{Error, informers, owner, report, target_settings, targets_file},
    files,
    kubernetes::{
        client::PodSelection,
        kubeconfig::Environment,
        pods::{self, ReadPod},
    },
    mapping::{
        login::LoginTemplate,
        preview::{HIDDEN, RecordPreview, RequestPreview},
        samples,
        spec::{ConnectionSpec, TargetSpec, auth::AuthSpec},
        target::Target,
    },
    model::{
        ids::RecordOwner,
        pod::{
            object::PodObject,
            to_record::{self, Rule},
        },
        record::Record,
    },
};

/// Pods of the cluster that are rendered.
const MOST: usize = 1_000;
/// The id of the cluster in requests, if neither a flag nor a cluster gives one.
const MADE_UP_ID: &str = "CLUSTER-ID";

/// A pod to render. The record is missing if the object could not be read.
struct Sample {
    name: String,
    record: Result<Record, String>,
}

/// What is shown of one pod.
struct RenderedPod<'a> {
    name: &'a str,
    result: Result<Option<Vec<RecordPreview>>, String>,
}

pub(super) async fn run(settings: RenderSettings, environment: Environment) -> Result<(), Error> {
    let RenderSettings { target: choice, pods: names, pods_file, from_cluster, record, owner, cluster, output, log: _ } =
        settings;
    let loaded = targets_file::find(&choice.targets, &choice.name)?;
    if loaded.speaks_v1() {
        return Err(Error::SpeaksV1 { name: choice.name, fix: "its requests are in docs/protocol-v1.md" });
    }
    let (owner, pods) = if from_cluster {
        let client = informers::cluster(cluster, environment)?.client();
        let owner = owner::of_cluster(owner, &client).await?;
        let rule = owner::rule(&owner, &record);
        let pods = pods::list(&client, &PodSelection::default(), &rule, MOST, of_cluster).await?;
        (owner, pods)
    } else {
        let owner = owner::made_up(owner, MADE_UP_ID);
        let pods = match &pods_file {
            Some(path) => of_file(path, &owner::rule(&owner, &record))?,
            None => of_samples(&owner),
        };
        (owner, pods)
    };
    let pods = chosen(pods, &names)?;
    let (target, login) = target_settings::compile(&loaded.spec, &owner).map_err(Error::Targets)?;
    let report = Report::new(&loaded.spec, &target, login.as_ref(), &pods);
    report::print(output.output, || report.lines(), || report.json()).await
}

fn of_samples(owner: &RecordOwner) -> Vec<Sample> {
    let records = samples::all(&owner.cluster_id, &owner.cluster_name, &owner.owner);
    let named = records.into_iter().zip(samples::NAMES);
    let sample =
        |(record, what): (Record, &str)| Sample { name: format!("{} ({what})", name(&record)), record: Ok(record) };
    named.map(sample).collect()
}

fn of_cluster(read: ReadPod) -> Sample {
    let name = format!("{}/{}", read.pod.namespace, read.pod.name);
    let cause = read.undecodable.unwrap_or_default();
    Sample { name, record: read.pod.content.map(|content| content.record).ok_or(cause) }
}

/// The pods in a file: one Pod, a list, or a document with `items`.
fn of_file(path: &Path, rule: &Rule) -> Result<Vec<Sample>, Error> {
    let unusable = |why: String| Error::Pods { path: path.into(), why };
    let bytes = files::read(path).map_err(|error| unusable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| unusable(error.to_string()))?;
    // JSON is YAML.
    let document: Value = serde_saphyr::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    let objects = pods_of(document).map_err(unusable)?;
    let sample = |object: Value| {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_owned();
        let name = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
        let pod = serde_json::from_value::<PodObject>(object).map_err(|error| error.to_string());
        let pod = pod.and_then(|pod| to_record::desired(pod, rule).map_err(|error| error.to_string()));
        let record = pod.and_then(|pod| pod.content.map(|content| content.record).ok_or_else(String::new));
        Sample { name, record }
    };
    Ok(objects.into_iter().map(sample).collect())
}

/// The objects of a document. Other objects than pods are refused: a Service has a name and a UID, too, and would look
/// like a pod without an address. The items of a list that the API server answers have no `kind`.
fn pods_of(mut document: Value) -> Result<Vec<Value>, String> {
    let is_other = |object: &Value, kinds: &[&str]| {
        let kind = object.get("kind").filter(|kind| !kind.as_str().is_some_and(|kind| kinds.contains(&kind)))?;
        Some(kind.as_str().map_or_else(|| kind.to_string(), str::to_owned))
    };
    let (name, objects) = match document.get_mut("items").map(Value::take) {
        Some(items) => {
            if let Some(kind) = is_other(&document, &["List", "PodList"]) {
                return Err(format!("its `kind` is {kind}, not List or PodList"));
            }
            ("items", items)
        }
        None => ("", document),
    };
    let Value::Array(objects) = objects else {
        return match is_other(&objects, &["Pod"]) {
            Some(kind) => Err(format!("its `kind` is {kind}, not Pod")),
            None => Ok(vec![objects]),
        };
    };
    match objects.iter().enumerate().find_map(|(index, object)| Some((index, is_other(object, &["Pod"])?))) {
        Some((index, kind)) => Err(format!("the `kind` of `{name}[{index}]` is {kind}, not Pod")),
        None => Ok(objects),
    }
}

fn name(record: &Record) -> String {
    format!("{}/{}", record.pod.namespace, record.pod.name)
}

/// The pods that the arguments name; all pods without arguments.
fn chosen(pods: Vec<Sample>, names: &[String]) -> Result<Vec<Sample>, Error> {
    let is_named = |pod: &Sample, name: &str| {
        let full = pod.name.split(' ').next().unwrap_or_default();
        full == name || full.split_once('/').is_some_and(|(_, short)| short == name)
    };
    if let Some(unknown) = names.iter().find(|name| !pods.iter().any(|pod| is_named(pod, name))) {
        return Err(Error::Request { what: "cannot choose pods", why: format!("there is no pod {unknown}") });
    }
    let is_chosen = |pod: &Sample| names.is_empty() || names.iter().any(|name| is_named(pod, name));
    Ok(pods.into_iter().filter(is_chosen).collect())
}

struct Report<'a> {
    spec: &'a TargetSpec,
    target: &'a Target,
    requests: Vec<RequestPreview>,
    pods: Vec<RenderedPod<'a>>,
}

impl<'a> Report<'a> {
    fn new(spec: &'a TargetSpec, target: &'a Target, login: Option<&LoginTemplate>, pods: &'a [Sample]) -> Self {
        let term = target.sample_term();
        let render = |pod: &'a Sample| {
            let result = match &pod.record {
                Ok(record) => target.preview_records(record, &term).map_err(|error| error.to_string()),
                Err(cause) => Err(format!("the pod cannot be read: {cause}")),
            };
            RenderedPod { name: &pod.name, result }
        };
        let login = login.iter().filter_map(|login| of_login(spec, login));
        let requests = login.chain(target.preview_requests(&term)).collect();
        Self { spec, target, requests, pods: pods.iter().map(render).collect() }
    }

    /// The connection whose credentials a request has. A login has none.
    fn connection(&self, request: &RequestPreview) -> Option<&ConnectionSpec> {
        (request.name != LOGIN).then_some(&self.spec.connection)
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("owner mark: {}", self.target.mark())];
        for request in &self.requests {
            lines.push(String::new());
            lines.extend(requests::lines(request, self.connection(request)));
        }
        for pod in &self.pods {
            lines.extend([String::new(), format!("pod {}", pod.name)]);
            match &pod.result {
                Err(error) => lines.push(format!("  has no record: {error}")),
                Ok(None) => lines.push("  `select` excludes it".to_owned()),
                Ok(Some(previews)) if previews.is_empty() => lines.push("  has no record".to_owned()),
                Ok(Some(previews)) => previews.iter().for_each(|preview| lines.extend(self.of_record(preview))),
            }
        }
        lines
    }

    fn of_record(&self, preview: &RecordPreview) -> Vec<String> {
        let RecordPreview { kind, record, requests } = preview;
        let mut lines: Vec<String> = kind.iter().map(|kind| format!("  kind: {kind}")).collect();
        lines.push(format!("  id: {}", record.id));
        lines.extend(record.digest.map(|digest| format!("  digest: {}", digest.hex())));
        for request in requests {
            let shown = requests::lines(request, self.connection(request));
            lines.extend(shown.into_iter().map(|line| format!("  {line}")));
        }
        lines
    }

    fn json(&self) -> Value {
        let requests = |requests: &[RequestPreview]| -> Vec<Value> {
            requests.iter().map(|request| requests::json(request, self.connection(request))).collect()
        };
        let record = |preview: &RecordPreview| {
            json!({
                "id": preview.record.id,
                "digest": preview.record.digest.map(|digest| digest.hex()),
                "body": preview.record.body,
                "requests": requests(&preview.requests),
            })
        };
        let pod = |pod: &RenderedPod<'_>| match &pod.result {
            Err(error) => json!({"pod": pod.name, "error": error}),
            Ok(None) => json!({"pod": pod.name, "selected": false}),
            Ok(Some(previews)) => {
                let mut shown = json!({"pod": pod.name, "selected": true});
                match previews.as_slice() {
                    [only] if only.kind.is_none() => merge(&mut shown, record(only)),
                    several => {
                        let with_kind = |preview: &RecordPreview| {
                            let mut shown = json!({"kind": preview.kind});
                            merge(&mut shown, record(preview));
                            shown
                        };
                        shown["records"] = several.iter().map(with_kind).collect();
                    }
                }
                shown
            }
        };
        json!({
            "target": self.target.name(),
            "mark": self.target.mark(),
            "requests": requests(&self.requests),
            "pods": self.pods.iter().map(pod).collect::<Vec<_>>(),
        })
    }
}

fn merge(shown: &mut Value, members: Value) {
    if let (Value::Object(shown), Value::Object(members)) = (shown, members) {
        shown.extend(members);
    }
}

const LOGIN: &str = "login";

/// The request for a token, with hidden secrets.
fn of_login(spec: &TargetSpec, login: &LoginTemplate) -> Option<RequestPreview> {
    let Some(AuthSpec::Login(auth)) = &spec.connection.auth else { return None };
    let secrets = auth.secrets.iter().map(|(key, _)| (key.text.as_str(), HIDDEN));
    Some(RequestPreview { name: LOGIN.to_owned(), request: login.request(secrets) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_are_no_pods_are_refused() {
        let (pod, service) = (json!({"kind": "Pod", "metadata": {"name": "a"}}), json!({"kind": "Service"}));
        for (document, count) in [
            (pod.clone(), 1),
            (json!({"metadata": {}}), 1),
            (json!([pod, pod]), 2),
            (json!({"kind": "List", "items": [pod]}), 1),
            (json!({"kind": "PodList", "items": [{"metadata": {}}, {}]}), 2),
        ] {
            assert_eq!(pods_of(document.clone()).map(|pods| pods.len()), Ok(count), "{document}");
        }
        for (document, cause) in [
            (service.clone(), "its `kind` is Service, not Pod"),
            (json!({"kind": 1}), "its `kind` is 1, not Pod"),
            (json!([pod, service]), "the `kind` of `[1]` is Service, not Pod"),
            (json!({"kind": "List", "items": [pod, pod, service]}), "the `kind` of `items[2]` is Service, not Pod"),
            (json!({"kind": "ServiceList", "items": [{}]}), "its `kind` is ServiceList, not List or PodList"),
        ] {
            assert_eq!(pods_of(document.clone()), Err(cause.to_owned()), "{document}");
        }
    }
}
