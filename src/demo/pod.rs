//! Builds whole pod documents, as long and as nested as those of a real server.

use serde_json::{Value, json};

/// Describes a pod. [`PodBuilder::build`] or `into()` turns it into a document.
#[must_use]
#[derive(Clone, Debug)]
pub struct PodBuilder {
    /// The document without its status.
    document: Value,
    ip: Option<String>,
    phase: &'static str,
    at: String,
}

/// A pending pod in the namespace `default`, without a node.
pub fn pod(name: impl Into<String>) -> PodBuilder {
    let name = name.into();
    let spec = spec(&name);
    let metadata = json!({"name": name, "namespace": "default", "managedFields": managed_fields()});
    PodBuilder {
        document: json!({"metadata": metadata, "spec": spec}),
        ip: None,
        phase: "Pending",
        at: "2026-01-01T00:00:00Z".to_owned(),
    }
}

impl PodBuilder {
    fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.document);
        self
    }

    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        self.with(|pod| pod["metadata"]["namespace"] = namespace.into().into())
    }

    /// Sets the UID. Otherwise the server chooses one.
    pub fn uid(self, uid: impl Into<String>) -> Self {
        self.with(|pod| pod["metadata"]["uid"] = uid.into().into())
    }

    pub fn label(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let key = key.into();
        self.with(|pod| {
            let managed = &mut pod["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"];
            managed["f:labels"][format!("f:{key}")] = json!({});
            pod["metadata"]["labels"][key] = value.into().into();
        })
    }

    pub fn annotation(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|pod| pod["metadata"]["annotations"][key.into()] = value.into().into())
    }

    /// Adds the owner reference of its controller.
    pub fn owner(self, kind: &str, name: impl Into<String>, uid: impl Into<String>) -> Self {
        let version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
        let owner = json!({
            "apiVersion": version, "kind": kind, "name": name.into(), "uid": uid.into(),
            "controller": true, "blockOwnerDeletion": true,
        });
        self.with(|pod| pod["metadata"]["ownerReferences"] = json!([owner]))
    }

    pub fn node(self, node: impl Into<String>) -> Self {
        self.with(|pod| pod["spec"]["nodeName"] = node.into().into())
    }

    pub fn ip(mut self, ip: impl Into<String>) -> Self {
        self.ip = Some(ip.into());
        self
    }

    pub fn image(self, image: impl Into<String>) -> Self {
        self.with(|pod| pod["spec"]["containers"][0]["image"] = image.into().into())
    }

    /// Sets the time in its status.
    pub fn at(mut self, time: impl Into<String>) -> Self {
        self.at = time.into();
        self
    }

    /// Running on a node with an address, by default `node-1` and `10.0.0.1`.
    pub fn running(self) -> Self {
        self.placed("Running")
    }

    pub fn succeeded(self) -> Self {
        self.placed("Succeeded")
    }

    pub fn failed(self) -> Self {
        self.placed("Failed")
    }

    fn placed(mut self, phase: &'static str) -> Self {
        self.phase = phase;
        self.ip.get_or_insert_with(|| "10.0.0.1".to_owned());
        if self.document.pointer("/spec/nodeName").is_some() { self } else { self.node("node-1") }
    }

    pub fn build(mut self) -> Value {
        set_phase(&mut self.document, self.phase, self.ip.as_deref(), &self.at);
        self.document
    }
}

impl From<PodBuilder> for Value {
    fn from(builder: PodBuilder) -> Self {
        builder.build()
    }
}

/// Sets the phase of a pod, with the matching conditions and container statuses.
pub(super) fn set_phase(document: &mut Value, phase: &str, ip: Option<&str>, now: &str) {
    let scheduled = document.pointer("/spec/nodeName").is_some();
    let image = document.pointer("/spec/containers/0/image").cloned().unwrap_or_default();
    let name = document.pointer("/spec/containers/0/name").cloned().unwrap_or_default();
    let ready = phase == "Running";
    let condition = |kind: &str, yes: bool| {
        let status = if yes { "True" } else { "False" };
        json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": now, "observedGeneration": 1})
    };
    let state = match phase {
        "Running" => json!({"running": {"startedAt": now}}),
        "Succeeded" => {
            json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}})
        }
        "Failed" => json!({"terminated": {"exitCode": 1, "reason": "Error", "startedAt": now, "finishedAt": now}}),
        _ => json!({"waiting": {"reason": "ContainerCreating"}}),
    };
    let mut status = json!({"phase": phase, "qosClass": "Burstable", "observedGeneration": 1});
    if scheduled {
        status["conditions"] = json!([
            condition("PodReadyToStartContainers", ready),
            condition("Initialized", true),
            condition("Ready", ready),
            condition("ContainersReady", ready),
            condition("PodScheduled", true),
        ]);
        status["hostIP"] = "192.168.0.10".into();
        status["hostIPs"] = json!([{"ip": "192.168.0.10"}]);
        status["startTime"] = now.into();
        status["containerStatuses"] = json!([{
            "name": name, "image": image, "ready": ready, "started": ready, "restartCount": 0, "state": state, "lastState": {},
            "imageID": "registry.example.com/team/app@sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1",
            "containerID": "containerd://f0a4b2c4d1e8d9d5a3d7a0c1f2e3b4a5968778695a4b3c2d1e0f112233445566",
            "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
            "volumeMounts": [{"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                "readOnly": true, "recursiveReadOnly": "Disabled"}],
        }]);
    }
    if let Some(ip) = ip {
        status["podIP"] = ip.into();
        status["podIPs"] = json!([{"ip": ip}]);
    }
    document["status"] = status;
}

fn spec(name: &str) -> Value {
    let probe = |path: &str| {
        json!({"httpGet": {"path": path, "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
            "successThreshold": 1, "failureThreshold": 3})
    };
    let from_field = |variable: &str, path: &str| json!({"name": variable, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let tolerate =
        |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    json!({
        "containers": [{
            "name": name, "image": "registry.example.com/team/app:1.0.0", "imagePullPolicy": "IfNotPresent",
            "args": ["--listen=0.0.0.0:8080", "--log-format=json"],
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "env": [
                from_field("POD_NAME", "metadata.name"), from_field("POD_IP", "status.podIP"),
                {"name": "LOG_LEVEL", "value": "info"},
                {"name": "DATABASE_URL", "value": "postgres://db.example.com:5432/app?sslmode=verify-full"},
                {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "app-secrets", "key": "api-key"}}},
            ],
            "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
            "volumeMounts": [{"name": "kube-api-access-x7k2p", "readOnly": true,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
            "livenessProbe": probe("/livez"), "readinessProbe": probe("/readyz"),
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
        "volumes": [{"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]}}],
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default", "serviceAccount": "default", "securityContext": {}, "schedulerName": "default-scheduler",
        "tolerations": [tolerate("node.kubernetes.io/not-ready"), tolerate("node.kubernetes.io/unreachable")],
        "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
    })
}

/// Takes up most of a real document. Nothing here reads it.
fn managed_fields() -> Value {
    json!([
        {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {
                "f:metadata": {"f:generateName": {}, "f:labels": {}, "f:ownerReferences": {}},
                "f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {
                    ".": {}, "f:args": {}, "f:env": {".": {}, "k:{\"name\":\"LOG_LEVEL\"}": {".": {}, "f:name": {}, "f:value": {}}},
                    "f:image": {}, "f:imagePullPolicy": {}, "f:livenessProbe": {".": {}, "f:failureThreshold": {}, "f:httpGet": {}},
                    "f:name": {}, "f:ports": {}, "f:readinessProbe": {".": {}, "f:failureThreshold": {}, "f:httpGet": {}},
                    "f:resources": {".": {}, "f:limits": {}, "f:requests": {}}, "f:terminationMessagePath": {}}},
                    "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:terminationGracePeriodSeconds": {}}}},
        {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "subresource": "status",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {
                "f:conditions": {"k:{\"type\":\"Ready\"}": {".": {}, "f:lastProbeTime": {}, "f:status": {}, "f:type": {}}},
                "f:containerStatuses": {}, "f:hostIP": {}, "f:phase": {}, "f:podIP": {}, "f:podIPs": {}, "f:startTime": {}}}},
    ])
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    #[test]
    fn document_decodes_as_a_pod_of_realistic_size() {
        let document =
            pod("web-0").namespace("shop").label("app", "web").owner("StatefulSet", "web", "u").running().build();
        let size = document.to_string().len();
        assert!((3_000..8_000).contains(&size), "{size} bytes");
        let pod: Pod = serde_json::from_value(document).unwrap();
        assert_eq!(pod.status.unwrap().pod_ip.as_deref(), Some("10.0.0.1"));
        assert_eq!(pod.metadata.owner_references.unwrap()[0].kind, "StatefulSet");
    }
}
