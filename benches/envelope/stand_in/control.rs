//! What the bench orders and asks.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::{Response, StatusCode, Uri};

use super::{Api, churn, failure};
use crate::http::{Body, full, json, number};

pub(super) fn answer(api: &Api, order: &str, uri: &Uri) -> Response<Body> {
    match order {
        "stats" => stats(api),
        "reset" => {
            let counts = api.counts();
            for count in [
                &counts.lists,
                &counts.pages,
                &counts.watches,
                &counts.list_bytes,
                &counts.watch_bytes,
                &counts.events,
                &counts.first_page_at,
                &counts.last_page_at,
                &counts.watch_at,
                &counts.told_all_at,
            ] {
                count.store(0, Ordering::Relaxed);
            }
            json(StatusCode::OK, "{}")
        }
        "churn" => {
            let lasts = Duration::from_secs(number(uri, "seconds").unwrap_or(10));
            match number(uri, "rate") {
                Some(rate) if churn::start(api, rate, lasts) => json(StatusCode::OK, "{}"),
                Some(_) => failure(StatusCode::CONFLICT, "Conflict", "pods come and go already"),
                None => failure(StatusCode::BAD_REQUEST, "BadRequest", "no rate"),
            }
        }
        "stop" => {
            api.churn().stop = true;
            json(StatusCode::OK, "{}")
        }
        "expire" => {
            api.0.expired.send_modify(|times| *times += 1);
            api.0.changed.send_replace(());
            json(StatusCode::OK, "{}")
        }
        "pods" => pods(api),
        "events" => events(api),
        _ => failure(StatusCode::NOT_FOUND, "NotFound", "no such order"),
    }
}

fn stats(api: &Api) -> Response<Body> {
    let counts = api.counts();
    let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (version, alive) = {
        let world = api.world();
        (world.version(), world.alive())
    };
    let (running, replaced, logged) = {
        let churn = api.churn();
        (churn.running, churn.pods, churn.log.len())
    };
    let text = serde_json::json!({
        "version": version, "alive": alive, "churning": running, "replaced": replaced, "changes": logged,
        "lists": get(&counts.lists), "pages": get(&counts.pages), "watches": get(&counts.watches),
        "openWatches": get(&counts.open_watches), "listBytes": get(&counts.list_bytes),
        "watchBytes": get(&counts.watch_bytes), "events": get(&counts.events),
        "firstPageAt": get(&counts.first_page_at), "lastPageAt": get(&counts.last_page_at),
        "watchAt": get(&counts.watch_at), "toldAllAt": get(&counts.told_all_at),
    });
    json(StatusCode::OK, text.to_string())
}

/// All pods that are there: UID in hexadecimal digits, version, revision; a line each.
fn pods(api: &Api) -> Response<Body> {
    let mut text = String::new();
    for (slot, state) in api.world().living() {
        // Writing into a string cannot fail.
        let _ =
            writeln!(text, "{:032x} {} {}", api.layout().uid(slot, state.life), state.resource_version, state.revision);
    }
    Response::new(full(text))
}

/// What happened in the newest run: when, when it was told, what, to whom, and the version; a line each.
fn events(api: &Api) -> Response<Body> {
    let mut text = String::new();
    for logged in &api.churn().log {
        let _ = writeln!(
            text,
            "{} {} {} {:032x} {}",
            logged.happened_at,
            logged.told_at,
            logged.happened.as_str(),
            logged.uid,
            logged.version
        );
    }
    Response::new(full(text))
}
