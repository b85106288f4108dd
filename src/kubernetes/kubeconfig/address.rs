//! Checks addresses of API servers and proxies.

use http::Uri;
use rustls::pki_types::ServerName;

/// The scheme in lower case and the rest of the text, if there is a scheme.
pub(super) fn scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    fits.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// The address of an API server as kubectl reads it. A missing scheme means http, even with certificates. Query and
/// fragment are ignored.
pub(super) fn server(text: &str) -> Result<Uri, String> {
    let (scheme, rest, is_whole) = match scheme(text) {
        Some((scheme, rest)) => (scheme, rest, true),
        None => ("http".to_owned(), text, false),
    };
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(format!("the scheme {scheme:?} is not supported; use https or http"));
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !is_whole && !matches!(path, "" | "/") {
        return Err("it is neither a URL nor a host and a port; write https://HOST:PORT".into());
    }
    if authority.contains('@') {
        return Err("it holds a user name; put it into username and password of the user".into());
    }
    let authority = check_authority(authority)?;
    let path = path.trim_end_matches('/');
    let uri = Uri::builder().scheme(scheme.as_str()).authority(authority.as_str()).path_and_query(format!("{path}/"));
    uri.build().map_err(|_| "it is not an address; write https://HOST:PORT".into())
}

/// Checks a host with an optional port.
pub(super) fn check_authority(text: &str) -> Result<String, String> {
    let (host, port) = match text.rfind(':') {
        Some(at) if !text[at..].contains(']') => (&text[..at], &text[at + 1..]),
        _ => (text, ""),
    };
    if host.is_empty() {
        return Err("it names no host; write https://HOST:PORT".into());
    }
    if !port.is_empty() && !matches!(port.parse::<u16>(), Ok(1..)) {
        return Err(format!("the port {port:?} is not a number from 1 to 65535; correct it"));
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_usable = match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
        None => ServerName::try_from(host).is_ok(),
    };
    if !is_usable {
        return Err(format!("{host:?} is not a host; write a DNS name or an IP address, IPv6 in brackets"));
    }
    Ok(if port.is_empty() { host.to_owned() } else { format!("{host}:{port}") })
}
