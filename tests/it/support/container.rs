//! The container of a manifest as a process of the test, as a kubelet would start it.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use super::child::Child;

/// The arguments and the environment that a manifest gives to the first container of a pod.
pub(crate) struct Container {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
}

impl Container {
    /// The container of this pod, whose volumes are in a folder. `config_map` has the data of each ConfigMap.
    pub(crate) fn of(pod: &Value, name: &str, folder: &Path, config_map: impl Fn(&str) -> Value) -> Self {
        let container = &pod["spec"]["containers"][0];
        let mut environment = BTreeMap::new();
        for source in container["envFrom"].as_array().into_iter().flatten() {
            let data = config_map(source["configMapRef"]["name"].as_str().expect("a ConfigMap"));
            let members = data.as_object().expect("data").iter();
            environment.extend(members.map(|(name, value)| (name.clone(), text(value))));
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => name.to_owned(),
                Some(other) => panic!("a field that this test does not know: {other}"),
                None => in_volume(container, folder, &text(&variable["value"])),
            };
            environment.insert(text(&variable["name"]), value);
        }
        let arguments = container["args"].as_array().expect("arguments").iter().map(text).collect();
        Self { arguments, environment }
    }

    /// Sets a variable, for example because there is no account of a pod here.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Runs the program as the container.
    pub(crate) fn start(&self) -> Child {
        Child::start_in(&self.arguments, &self.environment)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

/// A path in a mounted volume is below the folder.
fn in_volume(container: &Value, folder: &Path, value: &str) -> String {
    let mut mounts = container["volumeMounts"].as_array().into_iter().flatten();
    let is_below = |mount: &Value| value.starts_with(&format!("{}/", text(&mount["mountPath"])));
    if mounts.any(is_below) { format!("{}{value}", folder.display()) } else { value.to_owned() }
}
