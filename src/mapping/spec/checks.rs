//! Checks of single texts. An error is what is wrong, to be read after the value's name, and the fix.

use std::time::Duration;

use jiff::SignedDuration;

use super::values::StatusPattern;
use crate::{mapping::selector::LabelSelector, model::ids::is_namespace_name};

type Checked = Result<(), (String, &'static str)>;

fn ensure(fits: bool, what: &str, fix: &'static str) -> Checked {
    if fits { Ok(()) } else { Err((what.to_owned(), fix)) }
}

pub(super) fn target_name(text: &str) -> Checked {
    ensure(is_namespace_name(text), "is not a DNS label", "use 1 to 63 of a-z 0-9 -, and begin and end with a-z 0-9")
}

pub(super) fn namespace(text: &str) -> Checked {
    ensure(is_namespace_name(text), "has no valid name", "use a full name of up to 63 of a-z 0-9 -, without wildcards")
}

pub(super) fn word(text: &str) -> Checked {
    let fits = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    ensure(fits, "cannot be used in templates", "use letters, digits and _, and begin with a letter")
}

pub(super) fn not_empty(text: &str) -> Checked {
    ensure(!text.is_empty(), "is empty", "write a text, or remove the member")
}

pub(super) fn header_name(text: &str) -> Checked {
    let fits = http::HeaderName::from_bytes(text.as_bytes()).is_ok();
    ensure(fits, "is not a valid name", "use letters, digits and -, such as X-Token")
}

pub(super) fn method(text: &str) -> Checked {
    let fits = ["GET", "PUT", "POST", "PATCH", "DELETE"].contains(&text);
    ensure(fits, "is not a known method", "use GET, PUT, POST, PATCH or DELETE, in upper case")
}

pub(super) fn label_selector(text: &str) -> Checked {
    match LabelSelector::parse(text) {
        Ok(_) => Ok(()),
        Err(what) => Err((what, "write a selector as for kubectl, such as `app=web,tier in (a,b),!test`")),
    }
}

/// An address to which a path can be joined. Errors do not repeat it, because it may hold a password.
pub(super) fn base_url(text: &str) -> Checked {
    let fix = "use an address such as https://registry.example/api/";
    ensure(!text.contains('#'), "holds a fragment", "remove # and what follows it")?;
    let uri: http::Uri = text.parse().map_err(|error| (format!("is not an address: {error}"), fix))?;
    ensure(matches!(uri.scheme_str(), Some("http" | "https")), "does not begin with http:// or https://", fix)?;
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    ensure(!authority.contains('@'), "holds a user name or a password", "remove it, and use `auth`")?;
    ensure(!uri.host().unwrap_or_default().is_empty(), "has no host", fix)?;
    let port = authority.strip_prefix(uri.host().unwrap_or_default()).unwrap_or_default();
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    ensure(
        port.is_empty() || port.strip_prefix(':').is_some_and(is_port),
        "has no valid port",
        "use a port from 1 to 65535",
    )?;
    ensure(uri.query().is_none(), "holds a query", "remove ? and what follows it, and use `query` of the requests")?;
    let whole = !uri.path().split('/').any(|segment| matches!(segment, "." | ".."));
    ensure(whole, "holds the path segment . or ..", "write the path without it")
}

pub(super) fn is_reading(text: &str) -> bool {
    text.is_empty() || text.starts_with('/') || text.contains("{{")
}

/// Whether `~` is followed by neither 0 nor 1 in a JSON Pointer (RFC 6901).
pub(in crate::mapping) fn has_wrong_escape(pointer: &str) -> bool {
    pointer.split('~').skip(1).any(|after| !after.starts_with(['0', '1']))
}

/// At most a day, so that sums do not overflow.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let duration: SignedDuration = text.parse().ok()?;
    Duration::try_from(duration).ok().filter(|duration| *duration <= Duration::from_secs(24 * 3600))
}

pub(super) fn byte_size(text: &str) -> Option<u32> {
    let (digits, unit) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
        (Some(digits), _) => (digits, 1 << 10),
        (_, Some(digits)) => (digits, 1 << 20),
        _ => return None,
    };
    let number = if digits.bytes().all(|c| c.is_ascii_digit()) { digits.parse::<u32>().ok()? } else { return None };
    number.checked_mul(unit).filter(|bytes| (1 << 10..=256 << 20).contains(bytes))
}

pub(super) fn status(text: &str) -> Option<StatusPattern> {
    if let Some(class) = text.strip_suffix("xx") {
        return class.parse().ok().filter(|class| (1..=5).contains(class)).map(StatusPattern::Class);
    }
    text.parse().ok().filter(|status| (100..=599).contains(status)).map(StatusPattern::Exact)
}
