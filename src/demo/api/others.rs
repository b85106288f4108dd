//! Namespaces, leases and events. They are few, so they are stored as documents.

use serde_json::{Value, json};

use super::{
    status::{EVENTS, NAMESPACES, Named, Resource, StatusError},
    store::ApiState,
};

const EVENTS_LIMIT: usize = 1_000;

impl ApiState {
    /// Creates a namespace if it does not exist.
    pub(super) fn ensure_namespace(&mut self, name: &str) {
        if self.others.get(&NAMESPACES, "", name).is_err() {
            let document = json!({"metadata": {"name": name}, "status": {"phase": "Active"}});
            // It cannot fail, because the name is free.
            let _created = self.create_other(&NAMESPACES, "", document);
        }
    }

    pub(super) fn create_other(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        mut document: Value,
    ) -> Result<Value, StatusError> {
        let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if name.is_empty() {
            let why = "Required value: name or generateName is required";
            return Err(StatusError::invalid(resource, Named::Kind, "", "metadata.name", why));
        }
        if self.others.get(resource, namespace, &name).is_ok() {
            return Err(StatusError::already_exists(resource, &name));
        }
        if document.pointer("/metadata/resourceVersion").is_some_and(|version| version != "") {
            return Err(StatusError::unforeseen("resourceVersion should not be set on objects to be created"));
        }
        document["metadata"]["uid"] = self.new_uid().into();
        document["metadata"]["creationTimestamp"] = self.now().into();
        if resource.plural == NAMESPACES.plural {
            document["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.as_str().into();
            document["spec"] = json!({"finalizers": ["kubernetes"]});
            document["status"] = json!({"phase": "Active"});
        } else {
            document["metadata"]["namespace"] = namespace.into();
        }
        if resource.plural == EVENTS.plural && self.others.all(resource, None).count() >= EVENTS_LIMIT {
            self.others.0.retain(|(plural, _, _), _| *plural != EVENTS.plural);
        }
        Ok(self.write_other(resource, namespace, &name, document))
    }

    /// Replaces a document, if the new one names the stored resource version.
    pub(super) fn replace_other(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        mut document: Value,
    ) -> Result<Value, StatusError> {
        let stored = self.others.get(resource, namespace, name)?;
        let version = &document["metadata"]["resourceVersion"];
        if version.is_null() || version == "" {
            let why = "Invalid value: 0: must be specified for an update";
            return Err(StatusError::invalid(resource, Named::Plural, name, "metadata.resourceVersion", why));
        }
        if *version != stored["metadata"]["resourceVersion"] {
            return Err(StatusError::conflict(resource, Named::Plural, name, MODIFIED));
        }
        for kept in ["name", "namespace", "uid", "creationTimestamp"] {
            document["metadata"][kept] = stored["metadata"][kept].clone();
        }
        if document["spec"] == stored["spec"] && document["metadata"] == stored["metadata"] {
            return Ok(stored.clone());
        }
        Ok(self.write_other(resource, namespace, name, document))
    }

    /// Applies a JSON merge patch (RFC 7396).
    pub(super) fn patch_other(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value, StatusError> {
        let mut document = self.others.get(resource, namespace, name)?.clone();
        json_patch::merge(&mut document, patch);
        self.replace_other(resource, namespace, name, document)
    }

    pub(super) fn remove_other(
        &mut self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Value, StatusError> {
        let found = self.others.0.remove(&(resource.plural, namespace.to_owned(), name.to_owned()));
        let mut document = found.ok_or_else(|| StatusError::not_found(resource, name))?;
        document["metadata"]["resourceVersion"] = self.next_version().to_string().into();
        Ok(document)
    }

    fn write_other(&mut self, resource: &Resource, namespace: &str, name: &str, mut document: Value) -> Value {
        document["kind"] = resource.kind.into();
        document["apiVersion"] = resource.api_version().into();
        document["metadata"]["resourceVersion"] = self.next_version().to_string().into();
        let _older = self.others.0.insert((resource.plural, namespace.to_owned(), name.to_owned()), document.clone());
        document
    }
}

/// The message for a write with an old resource version.
pub(super) const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

#[cfg(test)]
mod tests {
    use super::{super::status::LEASES, *};

    #[test]
    fn lease_is_replaced_only_from_its_newest_version() {
        let mut state = ApiState::new(1, 10);
        let lease = json!({"metadata": {"name": "leader"}, "spec": {"holderIdentity": "a"}});
        assert_eq!(state.replace_other(&LEASES, "shop", "leader", lease.clone()).unwrap_err().code(), 404);
        let first = state.create_other(&LEASES, "shop", lease.clone()).unwrap();
        assert_eq!(state.create_other(&LEASES, "shop", lease.clone()).unwrap_err().code(), 409);
        assert_eq!(state.replace_other(&LEASES, "shop", "leader", lease).unwrap_err().code(), 422);
        let mut second = first.clone();
        second["spec"]["holderIdentity"] = "b".into();
        let second = state.replace_other(&LEASES, "shop", "leader", second).unwrap();
        assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"]);
        assert_eq!(state.replace_other(&LEASES, "shop", "leader", first).unwrap_err().code(), 409);
    }

    #[test]
    fn merge_patch_adds_changes_and_removes_members() {
        let mut state = ApiState::new(1, 10);
        let lease = json!({"metadata": {"name": "leader", "annotations": {"a": "1", "b": "2"}}, "spec": {"x": 1}});
        state.create_other(&LEASES, "shop", lease).unwrap();
        let patch = json!({"metadata": {"annotations": {"a": null, "b": "3", "c": "4"}}});
        let patched = state.patch_other(&LEASES, "shop", "leader", &patch).unwrap();
        assert_eq!(patched["metadata"]["annotations"], json!({"b": "3", "c": "4"}));
        assert_eq!(patched["spec"], json!({"x": 1}));
        assert_eq!(state.patch_other(&LEASES, "shop", "other", &json!({})).unwrap_err().code(), 404);
    }
}
