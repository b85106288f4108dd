//! Rules about members that belong together. They need no templates.

mod kinds;
mod memory;
mod records;
mod requests;
mod sign;

use std::time::Duration;

use super::{
    load::LoadedTarget,
    place::{Error, Place, Source},
    spec::{ConnectionSpec, TargetSpec, auth::AuthSpec, checks::has_wrong_escape},
    tree::{Node, Tree},
};

/// The members of a target that speaks protocol v1.
const OF_V1: [&str; 7] = ["name", "preset", "url", "select", "auth", "tls", "limits"];

const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(300);

pub(super) fn check(document: &Tree, targets: &[LoadedTarget], errors: &mut Vec<Error>) {
    if targets.is_empty() {
        errors.push(document.place.error("the file has no target", "add one to `targets`"));
    }
    names_are_unique(targets, errors);
    memory::are_unique(targets, errors);
    for target in targets {
        let before = errors.len();
        keys_are_literal(&target.tree, errors);
        connection(&target.spec.connection, &target.tree, errors);
        credentials_in_forms(&target.spec, errors);
        if let Some(Tree { place, node: Node::Map(kinds) }) = target.tree.get("kinds")
            && kinds.is_empty()
        {
            errors.push(place.error("`kinds` has no kind", "add one, or remove `kinds`"));
        } else if target.speaks_v1() {
            members_of_v1(&target.tree, &target.spec.connection, errors);
        } else {
            records::check(&target.spec.records, errors);
            sign::check(&target.spec, errors);
            memory::check(&target.spec, errors);
        }
        errors[before..].iter_mut().for_each(|error| show_in_file(error, &document.place.source, &target.tree.place));
    }
}

/// A member of a preset that lacks a part was cut by the target. The error belongs to the target then.
fn show_in_file(error: &mut Error, file: &Source, target: &Place) {
    if error.place.source != *file {
        error.what = format!("with {}, {}", error.place.source.name, error.what);
        error.place = target.clone();
    }
}

fn names_are_unique(targets: &[LoadedTarget], errors: &mut Vec<Error>) {
    let names: Vec<_> = targets.iter().map(|target| &target.spec.connection.name).collect();
    for (at, name) in names.iter().enumerate() {
        if names[..at].iter().any(|before| before.text == name.text) {
            errors
                .push(name.place.error(format!("two targets have the name `{}`", name.text), "rename one of the two"));
        }
    }
}

/// A template in a key would be sent as it is written.
fn keys_are_literal(tree: &Tree, errors: &mut Vec<Error>) {
    match &tree.node {
        Node::List(items) => items.iter().for_each(|item| keys_are_literal(item, errors)),
        Node::Map(entries) => {
            for (key, value) in entries {
                if key.text.contains("{{") || key.text.contains("{%") {
                    let fix = "write it literally, or use `$each`, `$key` and `$value`";
                    errors.push(key.place.error("a key holds a template", fix));
                }
                keys_are_literal(value, errors);
            }
        }
        _ => {}
    }
}

fn connection(connection: &ConnectionSpec, tree: &Tree, errors: &mut Vec<Error>) {
    let namespaces = tree.get("select").and_then(|select| select.get("namespaces"));
    if let Some(Tree { place, node: Node::List(items) }) = namespaces
        && items.is_empty()
    {
        errors.push(place.error("no namespace is selected", "name namespaces, or remove `namespaces` for all"));
    }
    if let Some(tls) = &connection.tls {
        if tls.cert_file.is_some() != tls.key_file.is_some() {
            errors.push(tls.place.error("`certFile` and `keyFile` belong together", "add the other one"));
        }
        if connection.url.text.starts_with("http://") {
            errors.push(tls.place.error("`tls` has no effect on an http address", "use https, or remove `tls`"));
        }
    }
    let timeout = connection.limits.as_ref().and_then(|limits| limits.timeout.as_ref());
    if let Some(timeout) = timeout
        && !TIMEOUTS.contains(&timeout.duration)
    {
        errors.push(timeout.place.error("the time-out is out of bounds", "use 1ms to 5m"));
    }
    match &connection.auth {
        Some(AuthSpec::Body(body)) if !is_pointer(&body.at.text) => {
            errors.push(body.at.place.error("`at` is not a JSON Pointer to a member", "write it as `/member`"));
        }
        Some(AuthSpec::Login(login)) => {
            requests::words(&login.secrets, errors);
            requests::headers(&login.headers, errors);
        }
        _ => {}
    }
}

/// Whether the text names a member.
fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && !text.contains("{{") && !has_wrong_escape(text)
}

/// `auth.body` sets a member of JSON.
fn credentials_in_forms(target: &TargetSpec, errors: &mut Vec<Error>) {
    let Some(AuthSpec::Body(body)) = &target.connection.auth else { return };
    if target.records.requests().any(|request| request.form.is_some()) {
        let what = "`auth.body` sets a member of a JSON body, and a request has a `form`";
        errors.push(body.at.place.error(what, "use `auth.header` or `auth.query`"));
    }
}

fn members_of_v1(tree: &Tree, connection: &ConnectionSpec, errors: &mut Vec<Error>) {
    let mut refuse = |place: &Place, what: &str, fix: &str| {
        errors.push(place.error(format!("{what} is not used with preset `v1`"), fix));
    };
    if let Node::Map(entries) = &tree.node {
        for (key, _) in entries.iter().filter(|(key, _)| !OF_V1.contains(&key.text.as_str())) {
            refuse(&key.place, &format!("`{}`", key.text), "remove it, or use another preset");
        }
    }
    if let Some(auth) = tree.get("auth").filter(|auth| auth.get("bearer").is_none()) {
        refuse(&auth.place, "this kind of credentials", "use `bearer`");
    }
    if let Some(AuthSpec::Bearer(bearer)) = &connection.auth
        && let Some(scheme) = &bearer.scheme
    {
        refuse(&scheme.place, "`scheme`", "remove it");
    }
    for limit in ["answerBytes", "pages"] {
        if let Some(value) = tree.get("limits").and_then(|limits| limits.get(limit)) {
            refuse(&value.place, &format!("`limits.{limit}`"), "remove it");
        }
    }
    if let Some(file) = connection.tls.as_ref().and_then(|tls| tls.cert_file.as_ref()) {
        refuse(&file.place, "a client certificate", "remove it");
    }
}
