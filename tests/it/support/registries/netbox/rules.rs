//! What NetBox refuses, and what it says then.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{
    Refusal, StatusCode,
    objects::{Inventory, Model},
};

const NAME_MAX: usize = 64;
const DESCRIPTION_MAX: usize = 200;
const STATUSES: [&str; 7] = ["offline", "active", "planned", "staged", "failed", "decommissioning", "paused"];

fn refused(member: &str, text: &str) -> Refusal {
    (StatusCode::BAD_REQUEST, json!({member: [text]}))
}

/// What is wrong with several members together.
fn of_all(text: &str) -> Refusal {
    refused("__all__", text)
}

pub(super) fn related_missing(member: &str, name: &str) -> Refusal {
    refused(member, &format!("Related object not found using the provided attributes: {{'name': '{name}'}}"))
}

pub(super) fn check(all: &Inventory, model: Model, id: Option<u64>, object: &Value) -> Result<(), Refusal> {
    let mut others = all.of(model).filter(|(other, _)| Some(*other) != id).map(|(_, other)| other);
    match model {
        Model::ClusterType | Model::CustomField => {
            let kind = if model == Model::CustomField { "custom field" } else { "cluster type" };
            let taken = |member: &str| format!("{kind} with this {member} already exists.");
            let is_taken = |other: &Value, member: &str| other.get(member).is_some_and(|of| *of == object[member]);
            match others.find_map(|other| ["name", "slug"].into_iter().find(|member| is_taken(other, member))) {
                Some(member) => Err(refused(member, &taken(member))),
                None => Ok(()),
            }
        }
        Model::Cluster => has_related(all, Model::ClusterType, object, "type"),
        Model::Machine => machine(all, id, object, others),
        Model::Interface => {
            has_related(all, Model::Machine, object, "virtual_machine")?;
            is_short(object, "name", NAME_MAX)?;
            let same = |other: &Value| {
                other["virtual_machine"] == object["virtual_machine"] && other["name"] == object["name"]
            };
            match others.any(same) {
                true => Err(of_all("Interface with this Virtual machine and Name already exists.")),
                false => Ok(()),
            }
        }
        Model::Address => address(all, object, others),
        Model::Vrf => Ok(()),
    }
}

fn is_short(object: &Value, member: &str, most: usize) -> Result<(), Refusal> {
    match object[member].as_str().map(|text| text.chars().count()) {
        Some(length) if length <= most => Ok(()),
        Some(_) => Err(refused(member, &format!("Ensure this field has no more than {most} characters."))),
        None => Err(refused(member, "Not a valid string.")),
    }
}

fn has_related(all: &Inventory, model: Model, object: &Value, member: &str) -> Result<(), Refusal> {
    match object[member].as_u64() {
        None => Err(refused(member, "This field is required.")),
        Some(id) if all.get(model, id).is_some() => Ok(()),
        Some(id) => Err(refused(member, &format!("Related object not found using the provided numeric ID: {id}"))),
    }
}

/// A custom field has to exist for the type of the object.
pub(super) fn custom_fields(all: &Inventory, model: Model, sent: &Value) -> Result<(), Refusal> {
    let Some(fields) = sent["custom_fields"].as_object() else { return Ok(()) };
    match fields.keys().find(|name| !all.fields(model).any(|field| field["name"] == name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let text = format!("Custom field '{name}' does not exist for this object type.");
            Err((StatusCode::BAD_REQUEST, json!({"custom_fields": {name: [text]}})))
        }
    }
}

fn machine<'a>(
    all: &Inventory,
    id: Option<u64>,
    object: &Value,
    mut others: impl Iterator<Item = &'a Value>,
) -> Result<(), Refusal> {
    is_short(object, "name", NAME_MAX)?;
    is_short(object, "description", DESCRIPTION_MAX)?;
    let status = object["status"].as_str().unwrap_or_default();
    if !STATUSES.contains(&status) {
        return Err(refused("status", &format!("\"{status}\" is not a valid choice.")));
    }
    if object["cluster"].is_null() {
        return Err(of_all("A virtual machine must be assigned to a site, cluster, or device."));
    }
    has_related(all, Model::Cluster, object, "cluster")?;
    for member in ["primary_ip4", "primary_ip6"] {
        primary(all, id, object, member)?;
    }
    let lower = |machine: &Value| machine["name"].as_str().unwrap_or_default().to_lowercase();
    match others.any(|other| other["cluster"] == object["cluster"] && lower(other) == lower(object)) {
        true => Err(of_all("Virtual machine name must be unique per cluster.")),
        false => Ok(()),
    }
}

/// A primary address has the right family, and is assigned to an interface of the machine.
fn primary(all: &Inventory, machine: Option<u64>, object: &Value, member: &str) -> Result<(), Refusal> {
    if object[member].is_null() {
        return Ok(());
    }
    has_related(all, Model::Address, object, member)?;
    let address = object[member].as_u64().and_then(|id| all.get(Model::Address, id)).expect("an address");
    let text = address["address"].as_str().unwrap_or_default();
    if text.contains(':') != member.ends_with('6') {
        return Err(refused(member, &format!("Must be an IPv{} address. ({text} is not one.)", &member[10..])));
    }
    if machine.is_none() || machine_of(all, address) != machine {
        return Err(refused(member, &format!("The specified IP address ({text}) is not assigned to this VM.")));
    }
    Ok(())
}

/// The machine that an address is assigned to.
fn machine_of(all: &Inventory, address: &Value) -> Option<u64> {
    let interface = all.get(Model::Interface, address["assigned_object_id"].as_u64()?)?;
    interface["virtual_machine"].as_u64()
}

/// The address of a text with a mask.
fn host(text: &Value) -> Option<IpAddr> {
    let (host, mask) = text.as_str()?.split_once('/')?;
    mask.parse::<u8>().ok()?;
    host.parse().ok()
}

fn address<'a>(all: &Inventory, object: &Value, mut others: impl Iterator<Item = &'a Value>) -> Result<(), Refusal> {
    let Some(wanted) = host(&object["address"]) else {
        return Err(refused("address", &format!("Invalid IP address format: {}", object["address"])));
    };
    let is_unique =
        object["vrf"].as_u64().and_then(|id| all.get(Model::Vrf, id)).map(|vrf| vrf["enforce_unique"] == true);
    let same = |other: &&Value| other["vrf"] == object["vrf"] && host(&other["address"]) == Some(wanted);
    match others.find(same).filter(|_| is_unique.unwrap_or(true)) {
        Some(other) => {
            let text = format!("Duplicate IP address found in global table: {}", other["address"].as_str().unwrap());
            Err(refused("address", &text))
        }
        None => Ok(()),
    }
}

/// The primary address of a machine stays assigned to it.
pub(super) fn primary_address_stays(all: &Inventory, id: u64, before: &Value, after: &Value) -> Result<(), Refusal> {
    let is_primary =
        all.of(Model::Machine).any(|(_, machine)| machine["primary_ip4"] == id || machine["primary_ip6"] == id);
    let was_assigned = !before["assigned_object_id"].is_null();
    match is_primary && was_assigned && machine_of(all, before) != machine_of(all, after) {
        true => {
            Err(of_all("Cannot reassign IP address while it is designated as the primary IP for the parent object"))
        }
        false => Ok(()),
    }
}
