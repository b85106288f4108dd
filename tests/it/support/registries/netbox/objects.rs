//! The objects, and what NetBox removes together with one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Refusal, StatusCode, detail, rules};

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    ClusterType,
    Cluster,
    CustomField,
    Machine,
    Interface,
    Address,
    Vrf,
}

const PATHS: [(&str, Model); 7] = [
    ("virtualization/cluster-types", Model::ClusterType),
    ("virtualization/clusters", Model::Cluster),
    ("extras/custom-fields", Model::CustomField),
    ("virtualization/virtual-machines", Model::Machine),
    ("virtualization/interfaces", Model::Interface),
    ("ipam/ip-addresses", Model::Address),
    ("ipam/vrfs", Model::Vrf),
];

impl Model {
    pub(super) fn at(path: &str) -> Option<Self> {
        PATHS.iter().find(|(known, _)| *known == path).map(|(_, model)| *model)
    }

    /// The name of its type, where custom fields name it.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::ClusterType => "virtualization.clustertype",
            Self::Cluster => "virtualization.cluster",
            Self::CustomField => "extras.customfield",
            Self::Machine => "virtualization.virtualmachine",
            Self::Interface => "virtualization.vminterface",
            Self::Address => "ipam.ipaddress",
            Self::Vrf => "ipam.vrf",
        }
    }

    /// The members that can be written, with their values if nothing is sent.
    fn defaults(self) -> Value {
        match self {
            Self::ClusterType => json!({"name": "", "slug": ""}),
            Self::Cluster => json!({"name": "", "type": null}),
            Self::CustomField => {
                json!({"name": "", "label": "", "type": "", "object_types": [], "filter_logic": "loose",
                "search_weight": 1000, "ui_visible": "always", "ui_editable": "yes"})
            }
            Self::Machine => json!({"name": "", "cluster": null, "status": "active", "description": "", "comments": "",
                "primary_ip4": null, "primary_ip6": null, "custom_fields": {}}),
            Self::Interface => json!({"virtual_machine": null, "name": "", "custom_fields": {}}),
            Self::Address => json!({"address": "", "vrf": null, "assigned_object_type": null,
                "assigned_object_id": null, "custom_fields": {}}),
            Self::Vrf => json!({"name": "", "enforce_unique": true}),
        }
    }
}

/// All objects by id. Ids of different models differ, so that one that stands for another is noticed.
#[derive(Default)]
pub(crate) struct Inventory {
    objects: BTreeMap<u64, (Model, Value)>,
    last: u64,
    /// The object that something else depends on.
    pub(super) protected: Option<u64>,
    pub(super) page_max: Option<usize>,
}

/// Replaces members, and single custom fields. Members that the object does not have are ignored.
pub(super) fn set(object: &mut Value, members: &Value) {
    for (name, value) in members.as_object().unwrap() {
        match object.get_mut(name) {
            Some(Value::Object(fields)) if name == "custom_fields" => fields.extend(value.as_object().unwrap().clone()),
            Some(member) => *member = value.clone(),
            None => {}
        }
    }
}

impl Inventory {
    pub(super) fn of(&self, model: Model) -> impl Iterator<Item = (u64, &Value)> {
        self.objects.iter().filter(move |(_, (of, _))| *of == model).map(|(id, (_, object))| (*id, object))
    }

    pub(super) fn get(&self, model: Model, id: u64) -> Option<&Value> {
        self.objects.get(&id).filter(|(of, _)| *of == model).map(|(_, object)| object)
    }

    /// The custom fields of objects of a model.
    pub(super) fn fields(&self, model: Model) -> impl Iterator<Item = &Value> {
        let applies = move |field: &&Value| {
            let types = field["object_types"].as_array();
            types.is_some_and(|types| types.contains(&model.content_type().into()))
        };
        self.of(Model::CustomField).map(|(_, field)| field).filter(applies)
    }

    pub(super) fn insert(&mut self, model: Model, mut object: Value) -> u64 {
        self.last += 1;
        object["id"] = self.last.into();
        self.objects.insert(self.last, (model, object));
        self.last
    }

    pub(super) fn replace(&mut self, id: u64, object: Value) {
        self.objects.get_mut(&id).expect("an object").1 = object;
    }

    pub(super) fn create(&mut self, model: Model, sent: &Value) -> Result<u64, Refusal> {
        let mut object = model.defaults();
        self.write(model, &mut object, sent)?;
        rules::check(self, model, None, &object)?;
        Ok(self.insert(model, object))
    }

    pub(super) fn update(&mut self, model: Model, id: u64, sent: &Value) -> Result<(), Refusal> {
        let before = self.get(model, id).expect("an object").clone();
        let mut object = before.clone();
        self.write(model, &mut object, sent)?;
        if model == Model::Address {
            rules::primary_address_stays(self, id, &before, &object)?;
        }
        rules::check(self, model, Some(id), &object)?;
        self.replace(id, object);
        Ok(())
    }

    fn write(&self, model: Model, object: &mut Value, sent: &Value) -> Result<(), Refusal> {
        if !sent.is_object() {
            return Err(detail(StatusCode::BAD_REQUEST, "Invalid data. Expected a dictionary."));
        }
        rules::custom_fields(self, model, sent)?;
        set(object, sent);
        // A related object may be named by its attributes.
        if let Some(name) = object["vrf"]["name"].as_str() {
            let found = self.of(Model::Vrf).find(|(_, vrf)| vrf["name"] == name).map(|(id, _)| id);
            object["vrf"] = found.ok_or_else(|| rules::related_missing("vrf", name))?.into();
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, id: u64) -> Result<(), Refusal> {
        if self.protected == Some(id) {
            let text = "Unable to delete object. 1 dependent objects were found: something (1)";
            return Err(detail(StatusCode::CONFLICT, text));
        }
        self.remove(id);
        Ok(())
    }

    /// Removes an object, and those that go with it: interfaces with their machine, addresses with their interface. No
    /// machine has the address as its primary one any more.
    pub(super) fn remove(&mut self, id: u64) {
        let Some((model, _)) = self.objects.remove(&id) else { return };
        let belongs = |(of, object): &(Model, Value)| match (model, of) {
            (Model::Machine, Model::Interface) => object["virtual_machine"] == id,
            (Model::Interface, Model::Address) => object["assigned_object_id"] == id,
            _ => false,
        };
        let along: Vec<u64> = self.objects.iter().filter(|(_, object)| belongs(object)).map(|(id, _)| *id).collect();
        along.into_iter().for_each(|id| self.remove(id));
        for (_, object) in self.objects.values_mut() {
            for member in ["primary_ip4", "primary_ip6"] {
                if object.get(member).is_some_and(|primary| *primary == id) {
                    object[member] = Value::Null;
                }
            }
        }
    }
}
