//! Objects as NetBox shows them, and lists of them.

use serde_json::{Map, Value, json};

use super::{
    Call, Refusal, StatusCode, detail,
    objects::{Inventory, Model},
};

/// The settings `PAGINATE_COUNT` and `MAX_PAGE_SIZE`.
const PAGE: usize = 50;
const PAGE_MAX: usize = 1_000;

type Query<'a> = &'a [(String, String)];

fn parameter<'a>(query: Query<'a>, name: &str) -> Option<&'a str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// An object, with all members or those that the request names.
pub(super) fn shown(all: &Inventory, model: Model, id: u64, query: Query<'_>) -> Value {
    let mut object = all.get(model, id).expect("an object").clone();
    let related = [
        ("type", Model::ClusterType),
        ("cluster", Model::Cluster),
        ("virtual_machine", Model::Machine),
        ("primary_ip4", Model::Address),
        ("primary_ip6", Model::Address),
        ("vrf", Model::Vrf),
    ];
    for (member, of) in related {
        if let Some(id) = object[member].as_u64() {
            object[member] = nested(all, of, id);
        }
    }
    for choice in ["status", "filter_logic"] {
        if let Some(value) = object[choice].as_str().map(str::to_owned) {
            object[choice] = json!({"value": value, "label": value.to_uppercase()});
        }
    }
    if object["custom_fields"].is_object() {
        // Also those without a value.
        let field = |field: &Value| {
            let name = field["name"].as_str().unwrap().to_owned();
            let value = object["custom_fields"][&name].clone();
            (name, value)
        };
        object["custom_fields"] = all.fields(model).map(field).collect::<Map<_, _>>().into();
    }
    if model == Model::Machine && parameter(query, "exclude") != Some("config_context") {
        object["config_context"] = json!({});
    }
    if let (Some(fields), Some(members)) = (parameter(query, "fields"), object.as_object_mut()) {
        members.retain(|name, _| fields.split(',').any(|field| field == name));
    }
    object
}

/// A related object.
fn nested(all: &Inventory, model: Model, id: u64) -> Value {
    let of = all.get(model, id).unwrap_or(&Value::Null);
    match model {
        Model::Address => json!({"id": id, "display": of["address"], "address": of["address"]}),
        _ => json!({"id": id, "display": of["name"], "name": of["name"]}),
    }
}

/// Whether an object passes all filters. A parameter that is no filter is ignored.
fn is_selected(all: &Inventory, model: Model, object: &Value, query: Query<'_>) -> bool {
    query.iter().all(|(name, value)| match name.strip_prefix("cf_") {
        Some(field) => all.fields(model).find(|known| known["name"] == field).is_none_or(|known| {
            let has = object["custom_fields"][field].as_str().unwrap_or_default();
            if known["filter_logic"] == "exact" { has == value } else { has.contains(value.as_str()) }
        }),
        None if name == "name" || name == "slug" => object[name] == value.as_str(),
        None => true,
    })
}

/// A page: from an id on with `start`, and else from a position on.
pub(super) fn list(all: &Inventory, model: Model, call: &Call<'_>) -> Result<Value, Refusal> {
    let number = |name: &str| parameter(call.query, name).and_then(|value| value.parse::<u64>().ok());
    let most = all.page_max.unwrap_or(PAGE_MAX);
    let limit = match number("limit").map(|limit| usize::try_from(limit).unwrap()) {
        Some(0) => most,
        Some(limit) => limit.min(most),
        None => PAGE.min(most),
    };
    let ids = all.of(model).filter(|(_, object)| is_selected(all, model, object, call.query)).map(|(id, _)| id);
    let show = |ids: &[u64]| ids.iter().map(|id| shown(all, model, *id, call.query)).collect::<Vec<_>>();
    match (number("start"), number("offset")) {
        (Some(_), Some(_)) => Err(detail(StatusCode::BAD_REQUEST, "'start' and 'offset' are mutually exclusive.")),
        (Some(start), None) => {
            let page: Vec<u64> = ids.filter(|id| *id >= start).take(limit).collect();
            let next = page.last().filter(|_| page.len() == limit).map(|last| next(call, "start", last + 1, limit));
            Ok(json!({"count": null, "next": next, "previous": null, "results": show(&page)}))
        }
        (None, offset) => {
            let (found, offset) = (ids.collect::<Vec<_>>(), usize::try_from(offset.unwrap_or(0)).unwrap());
            let page: Vec<u64> = found.iter().skip(offset).take(limit).copied().collect();
            let after = offset + limit;
            let next = (after < found.len()).then(|| next(call, "offset", after as u64, limit));
            Ok(json!({"count": found.len(), "next": next, "previous": null, "results": show(&page)}))
        }
    }
}

/// The address of the next page.
fn next(call: &Call<'_>, name: &str, value: u64, limit: usize) -> String {
    let mut url = reqwest::Url::parse(&format!("http://{}{}", call.host, call.uri.path())).expect("an address");
    let kept = call.query.iter().filter(|(known, _)| known != name && known != "limit");
    url.query_pairs_mut()
        .extend_pairs(kept)
        .append_pair(name, &value.to_string())
        .append_pair("limit", &limit.to_string());
    url.into()
}
