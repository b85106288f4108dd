//! The web page: a table of the systems, with the columns that they happen to have.
//!
//! The server makes the whole page, so it works without JavaScript. With it, the page reads itself again every two
//! seconds and takes over the new table.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    time::Duration,
};

use axum::{
    Router,
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
    routing::get,
};
use minijinja::HtmlEscape;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Cmdb,
    html::{age, cell},
    query::{SYSTEMS, encode},
    store::{ShownSystems, SystemMembers},
};
use crate::listen::document::{HTML, document, file};

/// Systems per page.
const ROWS: usize = 100;
const MOST_COLUMNS: usize = 24;
const FILTER_CHARS: usize = 200;
/// How long a changed row is highlighted: somewhat longer than the page's interval.
const FRESH: Duration = Duration::from_millis(2_500);
/// Columns that people look for first, and those that only programs need. The others are in between, sorted by name.
const FIRST: [&str; 6] = ["name", "title", "hostname", "namespace", "state", "status"];
const LAST: [&str; 4] = ["uid", "owner", "mark", "digest"];
/// Members of a system that the server adds. They have no columns, or others.
const OWN: [&str; 2] = ["id", "revision"];

const HEAD: &str = include_str!("page/head.html");
const FOOT: &str = include_str!("page/foot.html");

/// The parameters of the page. Those that cannot be read are left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    q: String,
    page: String,
}

pub(super) fn router() -> Router<Cmdb> {
    Router::new()
        .route("/", get(index))
        .route("/page/app.js", file("text/javascript; charset=utf-8", include_str!("page/app.js")))
        .route("/page/style.css", file("text/css; charset=utf-8", include_str!("page/style.css")))
        .route("/page/icon.svg", file("image/svg+xml", include_str!("page/icon.svg")))
}

async fn index(State(cmdb): State<Cmdb>, view: Result<Query<View>, QueryRejection>) -> Response {
    let view = view.map(|Query(view)| view).unwrap_or_default();
    let filter: String = view.q.trim().chars().take(FILTER_CHARS).collect();
    let number = view.page.parse().map_or(1, |page: u16| usize::from(page.max(1)));
    let shown = cmdb.store().show(&filter, (number - 1) * ROWS, ROWS);
    match render(&shown, &filter, number, Instant::now()) {
        Ok(page) => document(HTML, page),
        // Writing to a text cannot fail.
        Err(fmt::Error) => document(HTML, ""),
    }
}

struct Row {
    id: String,
    members: SystemMembers,
    age: Duration,
}

fn render(shown: &ShownSystems, filter: &str, number: usize, now: Instant) -> Result<String, fmt::Error> {
    let rows: Vec<Row> = shown
        .systems
        .iter()
        .map(|(id, system)| Row {
            id: id.clone(),
            members: serde_json::from_str(&system.text).unwrap_or_default(),
            age: now.saturating_duration_since(system.changed),
        })
        .collect();
    let mut page = HEAD.replace("{filter}", &HtmlEscape(filter).to_string());
    let count = match (shown.matching, shown.total) {
        (_, 1) => "1 system".to_owned(),
        (matching, total) if matching == total => format!("{total} systems"),
        (matching, total) => format!("{matching} of {total} systems"),
    };
    write!(page, "<p id=\"count\">{count}</p>")?;
    match rows.is_empty() {
        true if shown.total == 0 => page.push_str("<p class=\"hint\">No systems yet.</p>"),
        true => page.push_str("<p class=\"hint\">No systems match.</p>"),
        false => table(&rows, &mut page)?,
    }
    pager(shown.matching, filter, number, &mut page)?;
    page.push_str(FOOT);
    Ok(page)
}

/// The names of all members that the rows have, in the order of the columns.
fn columns(rows: &[Row]) -> (Vec<&str>, usize) {
    let names: BTreeSet<&str> = rows.iter().flat_map(|row| row.members.keys().map(String::as_str)).collect();
    let mut names: Vec<&str> = names.into_iter().filter(|name| !OWN.contains(name)).collect();
    let place = |name: &str| match (FIRST.iter().position(|first| *first == name), LAST.contains(&name)) {
        (Some(place), _) => place,
        (None, is_last) => FIRST.len() + usize::from(is_last),
    };
    // The sort is stable, so that equal places stay sorted by name.
    names.sort_by_key(|name| place(name));
    let hidden = names.len().saturating_sub(MOST_COLUMNS);
    names.truncate(MOST_COLUMNS);
    (names, hidden)
}

fn table(rows: &[Row], page: &mut String) -> fmt::Result {
    let (columns, hidden) = columns(rows);
    page.push_str("<div class=\"scroll\"><table><thead><tr><th>id</th>");
    for name in &columns {
        write!(page, "<th>{}</th>", HtmlEscape(name))?;
    }
    page.push_str("<th class=\"num\">changed</th></tr></thead><tbody>");
    for row in rows {
        let class = if row.age < FRESH { " class=\"fresh\"" } else { "" };
        let (path, id) = (encode(&row.id), HtmlEscape(&row.id));
        write!(page, "<tr{class}><td class=\"id\"><a href=\"{SYSTEMS}/{path}\">{id}</a></td>")?;
        for name in &columns {
            let value = row.members.get(*name);
            let class = if value.is_some_and(Value::is_number) { " class=\"num\"" } else { "" };
            let text = value.map(cell).unwrap_or_default();
            write!(page, "<td{class}>{}</td>", HtmlEscape(&text))?;
        }
        write!(page, "<td class=\"num\">{}</td></tr>", age(row.age))?;
    }
    page.push_str("</tbody></table></div>");
    if hidden > 0 {
        write!(page, "<p class=\"hint\">{hidden} more members are not shown.</p>")?;
    }
    Ok(())
}

fn pager(matching: usize, filter: &str, number: usize, page: &mut String) -> fmt::Result {
    let last = matching.div_ceil(ROWS).max(1);
    if last == 1 && number == 1 {
        return Ok(());
    }
    page.push_str("<nav class=\"pager\" aria-label=\"Pages\">");
    // A page behind the last one, which became empty, leads back to the last one.
    link(number.min(last + 1) - 1, "← Previous", number > 1, filter, page)?;
    write!(page, "<span>Page {number} of {last}</span>")?;
    link(number + 1, "Next →", number < last, filter, page)?;
    page.push_str("</nav>");
    Ok(())
}

fn link(number: usize, text: &str, exists: bool, filter: &str, page: &mut String) -> fmt::Result {
    match exists {
        true => write!(page, "<a href=\"/?q={}&amp;page={number}\">{text}</a>", encode(filter)),
        false => write!(page, "<span>{text}</span>"),
    }
}

#[cfg(test)]
mod tests;
