//! The text of pods: JSON as an API server writes it, with marks where pods differ.
//!
//! A mark is a name between two percent signs. Environment variables and their managedFields are added until a pod has
//! the wanted length.

use std::fmt::Write as _;

use super::{Kind, layout::KINDS};

/// A part of a pod's text.
#[derive(Debug)]
pub(super) enum Part {
    /// The same in all pods of the shape.
    Text(Box<[u8]>),
    /// Differs.
    Field(Field),
}

/// Declares the fields with their marks and their usual lengths.
macro_rules! fields {
    ($($field:ident = $mark:literal $length:literal,)*) => {
        /// What differs between pods of one shape.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Field { $($field,)* }

        const MARKS: &[(&str, Field, usize)] = &[$(($mark, Field::$field, $length),)*];
    };
}

fields! {
    Name = "name" 25,
    Prefix = "prefix" 20,
    Namespace = "namespace" 7,
    Uid = "uid" 36,
    Version = "version" 6,
    Owner = "owner" 19,
    OwnerUid = "owner-uid" 36,
    App = "app" 9,
    Team = "team" 8,
    Role = "role" 8,
    Hash = "hash" 10,
    Tag = "tag" 6,
    Ordinal = "ordinal" 1,
    Node = "node" 8,
    NodeIp = "node-ip" 10,
    PodIp = "pod-ip" 11,
    Created = "created" 20,
    Started = "started" 20,
    Restarts = "restarts" 1,
    Sha = "sha" 64,
    ImageSha = "image-sha" 64,
    Volume = "volume" 5,
}

/// The texts of all kinds and sizes, pending and running.
#[derive(Debug)]
pub(super) struct Shapes {
    /// By kind, then size, then whether it runs.
    parts: Vec<Vec<Part>>,
    sizes: Vec<u32>,
}

impl Shapes {
    /// The texts for one size in kB, or for 3, 5 and 10 kB.
    pub(super) fn new(kilobytes: Option<u32>) -> Self {
        let sizes = kilobytes.map_or_else(|| vec![3, 5, 10], |one| vec![one]);
        let mut parts = Vec::new();
        for kind in KINDS {
            for kilobytes in &sizes {
                let wanted = *kilobytes as usize * 1_000;
                let variables = variables_for(kind, *kilobytes, wanted);
                parts.extend([false, true].map(|runs| parse(&text(kind, *kilobytes, variables, runs))));
            }
        }
        Self { parts, sizes }
    }

    /// The index of a size, for a number below ten: of three sizes two, five and three in ten.
    pub(super) fn pick_size(&self, of_ten: u64) -> usize {
        match (self.sizes.len(), of_ten) {
            (1, _) | (_, 0..2) => 0,
            (_, 2..7) => 1,
            _ => 2,
        }
    }

    /// The text of a kind and size.
    pub(super) fn of(&self, kind: Kind, size: usize, runs: bool) -> &[Part] {
        &self.parts[(kind as usize * self.sizes.len() + size) * 2 + usize::from(runs)]
    }
}

/// The number of environment variables that make a pod as long as is wanted.
fn variables_for(kind: Kind, kilobytes: u32, wanted: usize) -> usize {
    let length = |variables: usize| -> usize {
        let mut length = 0;
        for part in parse(&text(kind, kilobytes, variables, true)) {
            length += match part {
                Part::Text(text) => text.len(),
                Part::Field(field) => MARKS.iter().find(|mark| mark.1 == field).map_or(0, |mark| mark.2),
            };
        }
        length
    };
    (0..200).find(|variables| length(*variables) >= wanted).unwrap_or(200)
}

fn parse(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for (index, piece) in text.split('%').enumerate() {
        let mark = MARKS.iter().find(|mark| mark.0 == piece).filter(|_| index % 2 == 1);
        parts.push(mark.map_or_else(|| Part::Text(piece.as_bytes().into()), |mark| Part::Field(mark.1)));
    }
    parts
}

/// The text without its first brace: the object of an event has its kind there, an item of a list has not.
fn text(kind: Kind, kilobytes: u32, variables: usize, runs: bool) -> String {
    let containers: &[&str] = if kilobytes < 8 { &["app"] } else { &["app", "proxy", "metrics"] };
    let rich = kilobytes >= 5;
    let mut out = metadata(kind, rich);
    managed_fields(&mut out, containers, variables, rich, runs);
    out.push_str(r#"},"spec":{"#);
    spec(&mut out, kind, containers, variables, rich);
    out.push_str(r#"},"status":{"#);
    status(&mut out, containers, rich, runs);
    out.push_str("}}");
    out
}

fn metadata(kind: Kind, rich: bool) -> String {
    let (owner, version, of_kind) = match kind {
        Kind::Deployment => ("ReplicaSet", "apps/v1", r#","pod-template-hash":"%hash%""#),
        Kind::StatefulSet => (
            "StatefulSet",
            "apps/v1",
            concat!(
                r#","apps.kubernetes.io/pod-index":"%ordinal%","controller-revision-hash":"%app%-%hash%""#,
                r#","statefulset.kubernetes.io/pod-name":"%name%""#
            ),
        ),
        Kind::DaemonSet => {
            ("DaemonSet", "apps/v1", r#","controller-revision-hash":"%hash%","pod-template-generation":"3""#)
        }
        Kind::Job => (
            "Job",
            "batch/v1",
            r#","batch.kubernetes.io/controller-uid":"%owner-uid%","batch.kubernetes.io/job-name":"%owner%""#,
        ),
    };
    let more = if rich { r#","app.kubernetes.io/part-of":"shop","app.kubernetes.io/managed-by":"Helm""# } else { "" };
    let annotations = if rich {
        concat!(
            r#""annotations":{"checksum/config":"%image-sha%","prometheus.io/port":"9090","prometheus.io/scrape":"true","#,
            r#""cluster-autoscaler.kubernetes.io/safe-to-evict":"true"},"#
        )
    } else {
        ""
    };
    let mut out = String::from(
        r#""metadata":{"name":"%name%","generateName":"%prefix%","namespace":"%namespace%","uid":"%uid%","resourceVersion":"%version%","generation":1,"creationTimestamp":"%created%","#,
    );
    // Writing into a string cannot fail, here and below.
    let _ = write!(
        out,
        r#""labels":{{"app.kubernetes.io/name":"%app%","app.kubernetes.io/component":"%role%","app.kubernetes.io/version":"%tag%","team":"%team%"{more}{of_kind}}},{annotations}"ownerReferences":[{{"apiVersion":"{version}","kind":"{owner}","name":"%owner%","uid":"%owner-uid%","controller":true,"blockOwnerDeletion":true}}],"#
    );
    out
}

fn managed_fields(out: &mut String, containers: &[&str], variables: usize, rich: bool, runs: bool) {
    out.push_str(
        r#""managedFields":[{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"%created%","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:app.kubernetes.io/component":{},"f:app.kubernetes.io/name":{},"f:team":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"%owner-uid%\"}":{}}},"f:spec":{"f:containers":{"#,
    );
    for (index, container) in containers.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(out, r#"{comma}"k:{{\"name\":\"{container}\"}}":{{".":{{}},"f:image":{{}},"f:name":{{}}"#);
        if index == 0 && variables > 0 {
            out.push_str(r#","f:env":{".":{}"#);
            for variable in 0..variables {
                let _ = write!(
                    out,
                    r#","k:{{\"name\":\"SETTING_{variable}\"}}":{{".":{{}},"f:name":{{}},"f:value":{{}}}}"#
                );
            }
            out.push('}');
        }
        if rich {
            out.push_str(r#","f:livenessProbe":{".":{},"f:httpGet":{".":{},"f:path":{},"f:port":{}}},"f:readinessProbe":{".":{},"f:httpGet":{".":{},"f:path":{},"f:port":{}}},"f:resources":{".":{},"f:limits":{".":{},"f:memory":{}},"f:requests":{".":{},"f:cpu":{},"f:memory":{}}}"#);
        }
        out.push('}');
    }
    out.push_str(r#"},"f:dnsPolicy":{},"f:restartPolicy":{},"f:schedulerName":{}}}}"#);
    if runs {
        out.push_str(r#",{"manager":"kubelet","operation":"Update","apiVersion":"v1","time":"%started%","fieldsType":"FieldsV1","fieldsV1":{"f:status":{"f:conditions":{"k:{\"type\":\"Ready\"}":{".":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},"f:containerStatuses":{},"f:hostIP":{},"f:phase":{},"f:podIP":{},"f:podIPs":{},"f:startTime":{}}},"subresource":"status"}"#);
    }
    out.push(']');
}

fn spec(out: &mut String, kind: Kind, containers: &[&str], variables: usize, rich: bool) {
    if rich {
        out.push_str(r#""volumes":[{"name":"config","configMap":{"name":"%app%-config","defaultMode":420}},{"name":"kube-api-access-%volume%","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},{"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}]}}],"defaultMode":420}}],"#);
    }
    if containers.len() > 2 {
        out.push_str(r#""initContainers":[{"name":"migrate","image":"registry.example.com/%team%/migrate:%tag%","command":["/migrate","--wait"],"resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"#);
    }
    out.push_str(r#""containers":["#);
    for (index, container) in containers.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        container_spec(out, container, if index == 0 { variables } else { 0 }, rich);
    }
    let restart = if kind == Kind::Job { "OnFailure" } else { "Always" };
    let _ = write!(
        out,
        r#"],"restartPolicy":"{restart}","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"%app%","serviceAccount":"%app%","nodeName":"%node%","securityContext":{{}},"schedulerName":"default-scheduler","tolerations":[{{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}},{{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}}],"priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority""#
    );
}

fn container_spec(out: &mut String, name: &str, variables: usize, rich: bool) {
    let _ = write!(
        out,
        r#"{{"name":"{name}","image":"registry.example.com/%team%/{name}:%tag%","args":["--listen=:8080","--log-format=json"],"ports":[{{"name":"http-{name}","containerPort":8080,"protocol":"TCP"}}],"#
    );
    if variables > 0 {
        out.push_str(r#""env":["#);
        for variable in 0..variables {
            let comma = if variable > 0 { "," } else { "" };
            let _ = write!(
                out,
                r#"{comma}{{"name":"SETTING_{variable}","value":"https://backend-{variable}.example.com:8443/v1"}}"#
            );
        }
        out.push_str("],");
    }
    out.push_str(
        r#""resources":{"limits":{"memory":"256Mi"},"requests":{"cpu":"100m","memory":"128Mi"}},"volumeMounts":[{"name":"kube-api-access-%volume%","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"#,
    );
    if rich {
        for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            let _ = write!(
                out,
                r#""{probe}":{{"httpGet":{{"path":"{path}","port":8080,"scheme":"HTTP"}},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3}},"#
            );
        }
    }
    out.push_str(
        r#""terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}"#,
    );
}

fn status(out: &mut String, containers: &[&str], rich: bool, runs: bool) {
    if !runs {
        out.push_str(r#""phase":"Pending","conditions":[{"type":"PodScheduled","status":"True","lastProbeTime":null,"lastTransitionTime":"%created%"}],"qosClass":"Burstable""#);
        return;
    }
    out.push_str(r#""phase":"Running","conditions":["#);
    let conditions: &[&str] = if rich {
        &["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
    } else {
        &["Ready", "PodScheduled"]
    };
    for (index, condition) in conditions.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(
            out,
            r#"{comma}{{"type":"{condition}","status":"True","lastProbeTime":null,"lastTransitionTime":"%started%"}}"#
        );
    }
    out.push_str(r#"],"hostIP":"%node-ip%","hostIPs":[{"ip":"%node-ip%"}],"podIP":"%pod-ip%","podIPs":[{"ip":"%pod-ip%"}],"startTime":"%created%","#);
    if containers.len() > 2 {
        out.push_str(r#""initContainerStatuses":[{"name":"migrate","state":{"terminated":{"exitCode":0,"reason":"Completed","startedAt":"%created%","finishedAt":"%started%","containerID":"containerd://%sha%"}},"lastState":{},"ready":true,"restartCount":0,"image":"registry.example.com/%team%/migrate:%tag%","imageID":"registry.example.com/%team%/migrate@sha256:%image-sha%","containerID":"containerd://%sha%","started":false}],"#);
    }
    out.push_str(r#""containerStatuses":["#);
    for (index, container) in containers.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(
            out,
            r#"{comma}{{"name":"{container}","state":{{"running":{{"startedAt":"%started%"}}}},"lastState":{{}},"ready":true,"restartCount":%restarts%,"image":"registry.example.com/%team%/{container}:%tag%","imageID":"registry.example.com/%team%/{container}@sha256:%image-sha%","containerID":"containerd://%sha%","started":true}}"#
        );
    }
    out.push_str(r#"],"qosClass":"Burstable""#);
}
