//! Finds the proxy in front of the API server: `proxy-url`, or the environment's proxy if kubectl would use it.

use std::net::IpAddr;

use base64::Engine as _;
use http::{HeaderValue, Uri};

use super::{
    Environment, Error, address,
    content::Secret,
    file::{ClusterEntry, Entry, given},
};

#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// The name of its setting, for messages.
    pub(crate) setting: &'static str,
    /// Scheme, host and port without the password, for messages.
    pub(crate) shown: String,
    /// The address for the connection. Its scheme is `http` for SOCKS, too.
    pub(crate) address: Uri,
    pub(crate) route: Route,
}

/// The protocol of a proxy, with the login.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// The value of `Proxy-Authorization`.
    Http(Option<HeaderValue>),
    /// SOCKS 5, with user and password.
    Socks(Option<(String, Secret)>),
}

pub(super) fn find(
    cluster: &Entry<ClusterEntry>,
    server: &Uri,
    environment: &Environment,
) -> Result<Option<Proxy>, Error> {
    if let Some(text) = given(cluster.value.proxy_url.as_deref()) {
        let refused = |problem| cluster.refuse("cluster", "proxy-url", problem);
        if address::scheme(text).is_none() {
            return Err(refused("it has no scheme; write http://, https:// or socks5://".to_owned()));
        }
        return proxy(text, "proxy-url in the kubeconfig").map(Some).map_err(refused);
    }
    let variables = match server.scheme_str() {
        Some("https") => ["HTTPS_PROXY", "https_proxy"],
        _ => ["HTTP_PROXY", "http_proxy"],
    };
    let Some((name, value)) = environment.first(variables) else { return Ok(None) };
    if is_direct(server, environment) {
        return Ok(None);
    }
    let refused = |problem| Error::Variable { name, problem };
    let text = value.to_str().ok_or_else(|| refused("it is not UTF-8; correct it".to_owned()))?.trim();
    let whole = if address::scheme(text).is_some() { text.to_owned() } else { format!("http://{text}") };
    proxy(&whole, name).map(Some).map_err(refused)
}

/// Parses a proxy's address. Errors do not quote it because it may hold a password.
fn proxy(text: &str, setting: &'static str) -> Result<Proxy, String> {
    let (scheme, rest) = address::scheme(text).unwrap_or_default();
    if !matches!(scheme.as_str(), "http" | "https" | "socks5" | "socks5h") {
        return Err(format!("the scheme {scheme:?} is not supported; use http, https or socks5"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, authority) = match authority.rsplit_once('@') {
        Some((login, authority)) => (Some(login), authority),
        None => (None, authority),
    };
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("it contains blanks; write a blank of a password as %20".into());
    }
    let authority = address::check_authority(authority).map_err(|_| "it names no usable host and port; correct it")?;
    let with_port = match (authority.rsplit_once(':'), scheme.as_str()) {
        (Some((_, port)), _) if port.parse::<u16>().is_ok() => authority,
        (_, "http") => format!("{authority}:80"),
        (_, "https") => format!("{authority}:443"),
        _ => format!("{authority}:1080"),
    };
    let shown = format!("{scheme}://{with_port}");
    let connect = if scheme == "https" { "https" } else { "http" };
    let address = Uri::builder().scheme(connect).authority(with_port).path_and_query("/").build();
    let address = address.map_err(|_| "it is not an address; correct it")?;
    let login = login.map(|login| login.split_once(':').unwrap_or((login, "")));
    let login = login.map(|(user, password)| (decoded(user), decoded(password)));
    let route = match (scheme.starts_with("socks"), login) {
        (true, login) => {
            let login =
                login.map(|(user, password)| (String::from_utf8_lossy(&user).into_owned(), Secret::new(password)));
            Route::Socks(login)
        }
        (false, None) => Route::Http(None),
        (false, Some((user, password))) => Route::Http(Some(basic(&user, &password)?)),
    };
    Ok(Proxy { setting, shown, address, route })
}

/// The header value of basic authentication.
pub(super) fn basic(user: &[u8], password: &[u8]) -> Result<HeaderValue, String> {
    let pair = base64::engine::general_purpose::STANDARD.encode([user, b":", password].concat());
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).map_err(|_| "it cannot be sent; correct it")?;
    value.set_sensitive(true);
    Ok(value)
}

/// Decodes percent-encoding leniently: an invalid sequence stays as it is.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let hex = (*byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        let hex = hex.filter(|hex| hex.bytes().all(|c| c.is_ascii_hexdigit()));
        let meant = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(meant.unwrap_or(*byte));
        at += if meant.is_some() { 3 } else { 1 };
    }
    decoded
}

/// The host of an address in the form in which hosts are compared.
fn host(server: &Uri) -> String {
    server.host().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

pub(super) fn is_loopback(server: &Uri) -> bool {
    let host = host(server);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether the environment's proxy is not used for this host, because it is loopback or in `NO_PROXY`. Go's rules
/// apply.
fn is_direct(server: &Uri, environment: &Environment) -> bool {
    let host = host(server);
    let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("https") { 443 } else { 80 });
    let ip = host.parse::<IpAddr>().ok();
    if is_loopback(server) {
        return true;
    }
    let no_proxy =
        environment.first(["NO_PROXY", "no_proxy"]).map(|(_, value)| value.to_string_lossy().to_ascii_lowercase());
    let no_proxy = no_proxy.unwrap_or_default();
    no_proxy.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| excludes(entry, &host, ip, port))
}

/// Whether an entry of `NO_PROXY` matches a host.
fn excludes(entry: &str, host: &str, ip: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/') {
        let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
        return ip.is_some_and(|ip| is_within(ip, network, bits));
    }
    if let Ok(entry) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
        return ip == Some(entry);
    }
    let entry = match entry.rsplit_once(':') {
        Some((name, only)) if only.parse::<u16>().is_ok() => {
            if only != port.to_string() {
                return false;
            }
            name.trim_matches(['[', ']'])
        }
        _ => entry,
    };
    let entry = entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry);
    match entry.strip_prefix('.') {
        Some(_) => host.ends_with(entry),
        None => host == entry || host.strip_suffix(entry).is_some_and(|before| before.ends_with('.')),
    }
}

fn is_within(ip: IpAddr, network: IpAddr, bits: u32) -> bool {
    let (ip, network, width) = match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => (u128::from(ip.to_bits()), u128::from(network.to_bits()), 32_u32),
        (IpAddr::V6(ip), IpAddr::V6(network)) => (ip.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let Some(rest) = width.checked_sub(bits) else { return false };
    ip.checked_shr(rest) == network.checked_shr(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_follows_gos_rules() {
        let cases = [
            ("*", "a.example", true),
            ("example", "a.example", true),
            (".example", "a.example", true),
            (".a.example", "a.example", false),
            ("*.example", "a.example", true),
            ("xample", "a.example", false),
            ("a.example:6443", "a.example", true),
            ("a.example:443", "a.example", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("fd00::/8", "fd00::1", true),
            ("", "a.example", false),
        ];
        for (entry, host, expected) in cases {
            let found = !entry.is_empty() && excludes(entry, host, host.parse().ok(), 6443);
            assert_eq!(found, expected, "{entry} {host}");
        }
    }

    #[test]
    fn proxy_login_is_decoded_and_never_shown() {
        let proxy = proxy("http://me:p%40ss@proxy.example:3128", "x").unwrap();
        let Route::Http(Some(login)) = &proxy.route else { panic!("{proxy:?}") };
        assert_eq!(login.to_str().unwrap(), "Basic bWU6cEBzcw==");
        assert_eq!(proxy.address.to_string(), "http://proxy.example:3128/");
        assert!(!format!("{proxy:?}").contains("bWU6"), "{proxy:?}");
        let problem = super::proxy("http://u:p@ss word@proxy:3128", "x").unwrap_err();
        assert!(problem.contains("blanks") && !problem.contains("ss word"), "{problem}");
    }
}
