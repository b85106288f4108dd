//! The page `/`: the status for people. It is made of memory alone, and bounded: a few rows per target.
//!
//! The server makes the whole page, so it works without JavaScript. With it, the page reads itself again every two
//! seconds and takes over what changed. Names of pods and the registry's words are texts of others: each is escaped.

mod sections;

use std::fmt::{self, Write as _};

use axum::{Router, response::Response};
use jiff::{SignedDuration, Timestamp};
use minijinja::HtmlEscape;

use super::{
    status::StatusDocument,
    summary::{self, Urgency},
};
use crate::listen::document::{HTML, document, file};

const HEAD: &str = include_str!("page/head.html");
const FOOT: &str = include_str!("page/foot.html");

/// The files of the page.
pub(super) fn files<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/page/app.js", file("text/javascript; charset=utf-8", include_str!("page/app.js")))
        .route("/page/style.css", file("text/css; charset=utf-8", include_str!("page/style.css")))
        .route("/page/icon.svg", file("image/svg+xml", include_str!("page/icon.svg")))
}

pub(super) fn answer(status: &StatusDocument) -> Response {
    // Writing to a text cannot fail.
    document(HTML, render(status).unwrap_or_default())
}

/// The page.
///
/// # Errors
/// Never: writing to a text does not fail.
pub fn render(status: &StatusDocument) -> Result<String, fmt::Error> {
    let cluster =
        status.cluster.as_ref().map_or("", |cluster| if cluster.name.is_empty() { &cluster.id } else { &cluster.name });
    let (level, headline) = summary::headline(status);
    let (title, heading) = match cluster {
        "" => (format!("{}pod-registrar", mark(level)), "pod-registrar".to_owned()),
        name => (
            format!("{}{} – pod-registrar", mark(level), HtmlEscape(name)),
            format!("{} <span>pod-registrar</span>", HtmlEscape(name)),
        ),
    };
    let mut page = HEAD.replace("{title}", &title).replace("{cluster}", &heading);
    let (name, headline) = (level.name(), HtmlEscape(&headline));
    writeln!(page, "<p id=\"headline\" class=\"{name}\" role=\"status\">{headline}</p>\n<main id=\"status\">")?;
    let clock = WallClock(status.time.parse().ok());
    sections::problems(status, &mut page)?;
    sections::holds(status, &mut page)?;
    sections::parked(status, clock, &mut page)?;
    sections::failed_renders(status, &mut page)?;
    sections::work(status, &mut page)?;
    sections::targets(status, clock, &mut page)?;
    sections::changes(status, clock, &mut page)?;
    sections::process(status, &mut page)?;
    page.push_str("</main>\n");
    page.push_str(FOOT);
    Ok(page)
}

/// The title of a tab in the background says whether to look.
fn mark(level: Urgency) -> &'static str {
    match level {
        Urgency::Wrong => "! ",
        Urgency::Busy | Urgency::Standby | Urgency::Good => "",
    }
}

/// The wall clock when the status was made, if it could be read.
#[derive(Clone, Copy)]
struct WallClock(Option<Timestamp>);

impl WallClock {
    /// A point in time as people read it: how long ago it was, and when.
    fn ago(self, seconds: f64, page: &mut String) -> fmt::Result {
        let ago = summary::duration(seconds);
        let at = || self.0?.checked_sub(SignedDuration::try_from_secs_f64(seconds).ok()?).ok();
        match at() {
            None => write!(page, "<time>{ago} ago</time>"),
            Some(at) => {
                let (exact, short) = (at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime("%H:%M:%S UTC"));
                write!(page, "<time datetime=\"{exact}\" title=\"{exact}\">{ago} ago <small>{short}</small></time>")
            }
        }
    }
}

#[cfg(test)]
mod tests;
