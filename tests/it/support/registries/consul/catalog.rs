//! Nodes and their service instances.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// An answer that is a text and not a document.
pub(super) type Refusal = (StatusCode, String);

/// The limits of an agent for metadata.
const MOST_PAIRS: usize = 64;
const LONGEST_KEY: usize = 128;
const LONGEST_VALUE: usize = 512;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    All,
    Services,
    None,
}

/// All nodes by name.
#[derive(Clone, Default)]
pub(crate) struct Catalog {
    nodes: BTreeMap<String, CatalogNode>,
    index: u64,
}

#[derive(Clone)]
struct CatalogNode {
    document: Value,
    services: BTreeMap<String, Value>,
}

fn server_error(text: &str) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, text.to_owned())
}

pub(super) fn denied(what: &str) -> Refusal {
    (StatusCode::FORBIDDEN, format!("Permission denied: token lacks permission '{what}'"))
}

/// A member as a text, empty if it is missing.
pub(super) fn text<'a>(document: &'a Value, name: &str) -> &'a str {
    document[name].as_str().unwrap_or_default()
}

impl Catalog {
    pub(super) fn services(&self, node: &str) -> Vec<Value> {
        self.nodes.get(node).map(|node| node.services.values().cloned().collect()).unwrap_or_default()
    }

    /// `PUT /v1/catalog/register`. As in Consul, what is wrong with a document is a server error.
    pub(super) fn register(&mut self, rights: Rights, document: &Value) -> Result<(), Refusal> {
        let name = text(document, "Node");
        let skip_node = document["SkipNodeUpdate"].as_bool().unwrap_or_default();
        if name.is_empty() {
            return Err(server_error("Must provide node"));
        } else if text(document, "Address").is_empty() && !skip_node {
            return Err(server_error("Must provide address if SkipNodeUpdate is not set"));
        }
        // Consul's client writes null if there is none.
        let service = document
            .get("Service")
            .filter(|service| !service.is_null())
            .map(normal)
            .transpose()
            .map_err(|e| server_error(&e))?;
        if service.is_some() && rights == Rights::None {
            return Err(denied("service:write"));
        }
        if !(skip_node && self.nodes.contains_key(name)) {
            if rights != Rights::All {
                return Err(denied("node:write"));
            }
            let node = json!({"Node": name, "Address": document["Address"], "Meta": document["NodeMeta"]});
            let services = self.nodes.remove(name).map(|old| old.services).unwrap_or_default();
            self.nodes.insert(name.to_owned(), CatalogNode { document: node, services });
        }
        service.map_or(Ok(()), |service| self.put(name, service).map(|_| ()).map_err(|e| server_error(&e)))
    }

    /// `PUT /v1/catalog/deregister`. Without a service, it removes the node with all its services.
    pub(super) fn deregister(&mut self, rights: Rights, document: &Value) -> Result<(), Refusal> {
        let (name, id) = (text(document, "Node"), text(document, "ServiceID"));
        if name.is_empty() {
            return Err(server_error("Must provide node"));
        }
        match rights {
            Rights::All => {}
            Rights::None => return Err(denied("node:write")),
            Rights::Services if id.is_empty() => return Err(denied("node:write")),
            Rights::Services if self.service(name, id).is_none() => {
                return Err(server_error(&format!("Unknown service ID {id:?}. Ensure that the service ID is passed")));
            }
            Rights::Services => {}
        }
        if id.is_empty() {
            self.nodes.remove(name);
        } else {
            self.remove(name, id);
        }
        Ok(())
    }

    /// `GET /v1/catalog/node-services/NODE`.
    pub(super) fn list(&self, rights: Rights, node: &str, filter: Option<&str>) -> Result<Value, Refusal> {
        let wanted = filter.map(metadata_filter).transpose()?;
        let matches = |service: &Value| {
            wanted.as_ref().is_none_or(|(key, value)| service["Meta"][key].as_str() == Some(value.as_str()))
        };
        match self.nodes.get(node).filter(|_| rights == Rights::All) {
            None => Ok(json!({"Node": null, "Services": null})),
            Some(node) => {
                let services: Vec<&Value> = node.services.values().filter(|service| matches(service)).collect();
                Ok(json!({"Node": node.document, "Services": services}))
            }
        }
    }

    pub(super) fn service(&self, node: &str, id: &str) -> Option<&Value> {
        self.nodes.get(node)?.services.get(id)
    }

    /// Writes a service instance, and returns it as it is stored.
    pub(super) fn put(&mut self, node: &str, mut service: Value) -> Result<Value, String> {
        let Some(node) = self.nodes.get_mut(node) else { return Err("Missing node registration".to_owned()) };
        self.index += 1;
        service["ModifyIndex"] = self.index.into();
        node.services.insert(text(&service, "ID").to_owned(), service.clone());
        Ok(service)
    }

    pub(super) fn remove(&mut self, node: &str, id: &str) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.services.remove(id);
        }
    }
}

/// A service with the members that Consul stores.
pub(super) fn normal(service: &Value) -> Result<Value, String> {
    let name = text(service, "Service");
    let id = Some(text(service, "ID")).filter(|id| !id.is_empty()).unwrap_or(name);
    if name.is_empty() {
        return Err("Must provide service name (Service.Service) when service ID is provided".to_owned());
    } else if ["0.0.0.0", "::"].contains(&text(service, "Address")) {
        return Err("Invalid service address".to_owned());
    }
    let meta = service["Meta"].as_object().cloned().unwrap_or_default();
    check_metadata(&meta)?;
    Ok(json!({
        "ID": id, "Service": name, "Tags": service["Tags"].as_array().cloned().unwrap_or_default(),
        "Address": text(service, "Address"), "Port": service["Port"].as_u64().unwrap_or_default(), "Meta": meta,
        "Weights": {
            "Passing": service.pointer("/Weights/Passing").and_then(Value::as_u64).unwrap_or_default(),
            "Warning": service.pointer("/Weights/Warning").and_then(Value::as_u64).unwrap_or_default(),
        },
    }))
}

fn check_metadata(meta: &Map<String, Value>) -> Result<(), String> {
    if meta.len() > MOST_PAIRS {
        return Err(format!("Node metadata cannot contain more than {MOST_PAIRS} key/value pairs"));
    }
    for (key, value) in meta {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let Some(value) = value.as_str() else { return Err(format!("Value of {key:?} is no text")) };
        if key.is_empty() || !key.chars().all(is_plain) {
            return Err(format!("Key {key:?} contains invalid characters"));
        } else if key.len() > LONGEST_KEY {
            return Err(format!("Key is too long (limit: {LONGEST_KEY} characters)"));
        } else if key.starts_with("consul-") {
            return Err("Key prefix 'consul-' is reserved for internal use".to_owned());
        } else if value.len() > LONGEST_VALUE {
            return Err(format!("Value is too long (limit: {LONGEST_VALUE} characters)"));
        }
    }
    Ok(())
}

/// The key and the value of `Meta["KEY"] == "VALUE"`, the only expression that the stand-in knows.
fn metadata_filter(expression: &str) -> Result<(String, String), Refusal> {
    let parse = || {
        let (key, value) = expression.strip_prefix("Meta[")?.split_once("] == ")?;
        Some((serde_json::from_str(key).ok()?, serde_json::from_str(value).ok()?))
    };
    parse().ok_or_else(|| (StatusCode::BAD_REQUEST, format!("Failed to create filter: {expression}")))
}
