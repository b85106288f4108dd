//! Parsers of single values: durations, numbers, addresses, names.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, str::FromStr, time::Duration};

use jiff::SignedDuration;
use reqwest::Url;
use strum::VariantArray as _;

use super::refusal::ValueProblem;
use crate::{
    model::ids::{is_namespace_name, is_pod_name, is_valid_id},
    reconcile::{absence::hold::HoldId, receipts::ReceiptKind},
    telemetry::logging::LogFormat,
};

/// The longest duration: longer than any process runs, and short enough that sums do not overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    pub namespace: String,
    pub name: String,
}

/// A pod by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodReference {
    pub namespace: String,
    pub name: String,
}

/// How a command prints its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// How `conformance` prints its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// XML for CI systems.
    Junit,
}

fn duration(text: &str, bounds: RangeInclusive<Duration>, fix: &'static str) -> Result<Duration, ValueProblem> {
    let duration: SignedDuration = text.parse().map_err(|_| {
        ValueProblem::new(format!("{text:?} is not a duration"), "use a number and a unit, such as 500ms, 10s or 1h30m")
    })?;
    let duration = Duration::try_from(duration).ok().filter(|duration| bounds.contains(duration));
    duration.ok_or_else(|| ValueProblem::new(format!("{text:?} is out of bounds"), fix))
}

pub(super) fn interval(text: &str) -> Result<Duration, ValueProblem> {
    duration(text, Duration::from_secs(1)..=LONGEST, "use at least 1s, and at most a year")
}

pub(super) fn request_timeout(text: &str) -> Result<Duration, ValueProblem> {
    duration(text, Duration::from_millis(1)..=Duration::from_secs(300), "use 1ms to 5m")
}

/// Whole seconds, because a Lease stores whole seconds.
pub(super) fn lease_duration(text: &str) -> Result<Duration, ValueProblem> {
    let fix = "use 3s to 5m, in whole seconds";
    let duration = duration(text, Duration::from_secs(3)..=Duration::from_secs(300), fix)?;
    let whole = duration.subsec_nanos() == 0;
    whole.then_some(duration).ok_or_else(|| ValueProblem::new(format!("{text:?} is not in whole seconds"), fix))
}

pub(super) fn number<T>(
    bounds: RangeInclusive<T>,
    fix: &'static str,
) -> impl Fn(&str) -> Result<T, ValueProblem> + Clone
where
    T: FromStr + PartialOrd + Clone,
{
    move |text| {
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| ValueProblem::new(format!("{text:?} is not a number within the bounds"), fix))
    }
}

/// An IP address and a port to listen on. A port alone, such as `:8080`, means every address of both families.
pub(super) fn address(text: &str) -> Result<SocketAddr, ValueProblem> {
    let fix = "use an IP address and a port, such as 127.0.0.1:7070 or [::]:8080, or a port alone, such as :8080";
    let full = text.strip_prefix(':').map(|port| format!("[::]:{port}"));
    let address = full.as_deref().unwrap_or(text).parse();
    address.map_err(|_| ValueProblem::new(format!("{text:?} is not an address to listen on"), fix))
}

/// The registry's address, with a path that ends in a slash. Errors do not repeat it, because it may hold a password.
pub(super) fn registry_url(text: &str) -> Result<Url, ValueProblem> {
    let fix = "use an address such as https://registry.example or http://127.0.0.1:7070/prefix";
    if text.is_empty() {
        return Err(ValueProblem::new("it is empty", fix));
    }
    let mut url: Url =
        text.parse().map_err(|error| ValueProblem::new(format!("it is not an address: {error}"), fix))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ValueProblem::new(format!("its scheme is {:?}", url.scheme()), fix));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let fix = "remove it, and give a token in a file, with --registry-token-file or --token-file";
        return Err(ValueProblem::new("it holds a user name or a password", fix));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ValueProblem::new("it holds a query or a fragment", fix));
    }
    if url.path().trim_end_matches('/').ends_with("/v1") {
        return Err(ValueProblem::new("its path ends in /v1", "remove /v1: the controller adds it"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// The address of a collector. Errors do not repeat it, because it may hold a password.
pub(super) fn collector_url(text: &str) -> Result<Url, ValueProblem> {
    let fix = "use an address such as http://collector:4318, without the path /v1/traces";
    let url: Url = text.parse().map_err(|error| ValueProblem::new(format!("it is not an address: {error}"), fix))?;
    match () {
        () if !matches!(url.scheme(), "http" | "https") => {
            Err(ValueProblem::new("its scheme is not http or https", fix))
        }
        () if !url.username().is_empty() || url.password().is_some() => Err(ValueProblem::new(
            "it holds a user name or a password",
            "remove it, and give a header in a file, with --otlp-headers-file",
        )),
        () if url.query().is_some() || url.fragment().is_some() => {
            Err(ValueProblem::new("it holds a query or a fragment", fix))
        }
        () if url.path().contains("/v1/") => {
            Err(ValueProblem::new("its path ends in /v1/…", "remove that: the controller adds it"))
        }
        () => Ok(url),
    }
}

fn text_if(fits: bool, text: &str, what: impl fmt::Display, fix: &'static str) -> Result<String, ValueProblem> {
    if fits { Ok(text.to_owned()) } else { Err(ValueProblem::new(what.to_string(), fix)) }
}

/// The id of a cluster, an owner or a replica, as in the protocol.
pub(super) fn id(text: &str) -> Result<String, ValueProblem> {
    let fix = "use 1 to 128 of A-Z a-z 0-9 . _ ~ : @ -, and begin with a letter or a digit";
    text_if(is_valid_id(text), text, format!("{text:?} is not an id"), fix)
}

pub(super) fn display_name(text: &str) -> Result<String, ValueProblem> {
    let fits = !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
    text_if(fits, text, format!("{text:?} is not a name"), "use 1 to 256 bytes without control characters")
}

pub(super) fn context(text: &str) -> Result<String, ValueProblem> {
    text_if(!text.is_empty(), text, "it is empty", "name a context of the kubeconfig, or remove the flag")
}

/// A command of the shell.
pub(super) fn command(text: &str) -> Result<String, ValueProblem> {
    text_if(!text.trim().is_empty(), text, "it is empty", "write a command as for sh -c, or remove the flag")
}

/// A label or field selector. The API server checks its syntax.
pub(super) fn selector(text: &str) -> Result<String, ValueProblem> {
    text_if(!text.is_empty(), text, "it is empty", "write a selector as for kubectl, or remove the flag")
}

pub(super) fn boolean(text: &str) -> Result<bool, ValueProblem> {
    text.parse().map_err(|_| ValueProblem::new(format!("{text:?} is neither true nor false"), "use true or false"))
}

pub(super) fn hold(text: &str) -> Result<HoldId, ValueProblem> {
    text.parse()
        .map_err(|error| ValueProblem::new(format!("{error}"), "copy it from the controller's log or its Event"))
}

/// A kind of receipt. None for an empty item of a list.
pub(super) fn receipt(text: &str) -> Result<Option<ReceiptKind>, ValueProblem> {
    let kind = ReceiptKind::VARIANTS.iter().copied().find(|kind| <&str>::from(*kind) == text);
    let problem = || ValueProblem::new(format!("{text:?} is no receipt"), "use event, gate, annotation, or several");
    (text.is_empty() || kind.is_some()).then_some(kind).ok_or_else(problem)
}

/// One namespace, or an empty item of a list.
pub(super) fn namespace(text: &str) -> Result<String, ValueProblem> {
    let fix = "use a full name of up to 63 of a-z 0-9 -, without wildcards";
    text_if(text.is_empty() || is_namespace_name(text), text, format!("{text:?} is not a namespace"), fix)
}

/// A namespace and the name of a Lease in it.
pub(super) fn lease(text: &str) -> Result<LeaseName, ValueProblem> {
    let parts = text.split_once('/').filter(|(namespace, name)| {
        is_namespace_name(namespace) && name.len() <= 253 && name.split('.').all(is_namespace_name)
    });
    let lease = parts.map(|(namespace, name)| LeaseName { namespace: namespace.to_owned(), name: name.to_owned() });
    let fix = "use the namespace and the name of the Lease, such as pod-registrar/pod-registrar";
    lease.ok_or_else(|| ValueProblem::new(format!("{text:?} does not name a Lease"), fix))
}

/// A pattern for the keys of labels or annotations, or an empty item of a list.
pub(super) fn pattern(text: &str) -> Result<String, ValueProblem> {
    // A key has up to 253 + 1 + 63 characters.
    let fits = text.len() <= 317 && text.bytes().all(|c| c.is_ascii_graphic());
    let fix = "use a key such as team or app.kubernetes.io/*, with * and ? as wildcards";
    text_if(fits, text, format!("{text:?} matches no key"), fix)
}

pub(super) fn output_format(text: &str) -> Result<OutputFormat, ValueProblem> {
    match text {
        "table" => Ok(OutputFormat::Table),
        "json" => Ok(OutputFormat::Json),
        _ => Err(ValueProblem::new(format!("{text:?} is not an output format"), "use table or json")),
    }
}

pub(super) fn report_format(text: &str) -> Result<ReportFormat, ValueProblem> {
    match text {
        "text" => Ok(ReportFormat::Text),
        "json" => Ok(ReportFormat::Json),
        "junit" => Ok(ReportFormat::Junit),
        _ => Err(ValueProblem::new(format!("{text:?} is not an output format"), "use text, json or junit")),
    }
}

/// A pod's name, with or without its namespace.
pub(super) fn pod(text: &str) -> Result<String, ValueProblem> {
    let (namespace, name) = text.split_once('/').map_or((None, text), |(namespace, name)| (Some(namespace), name));
    let fits = namespace.is_none_or(is_namespace_name) && is_pod_name(name);
    text_if(fits, text, format!("{text:?} does not name a pod"), "use NAMESPACE/NAME or NAME")
}

/// A pod's namespace and name.
pub(super) fn pod_reference(text: &str) -> Result<PodReference, ValueProblem> {
    let parts = text.split_once('/').filter(|(namespace, name)| is_namespace_name(namespace) && is_pod_name(name));
    let pod = parts.map(|(namespace, name)| PodReference { namespace: namespace.into(), name: name.into() });
    pod.ok_or_else(|| ValueProblem::new(format!("{text:?} does not name a pod"), "use NAMESPACE/NAME"))
}

/// The address of the admin pages, without their path.
pub(super) fn admin_url(text: &str) -> Result<Url, ValueProblem> {
    let fix = "use an address such as http://127.0.0.1:8080";
    let url: Url = text.parse().map_err(|error| ValueProblem::new(format!("it is not an address: {error}"), fix))?;
    let is_plain = url.scheme() == "http" && url.username().is_empty() && url.password().is_none();
    is_plain.then_some(url).ok_or_else(|| ValueProblem::new("it is not a plain http address", fix))
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, ValueProblem> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(ValueProblem::new(format!("{text:?} is not a log format"), "use text or json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_bounds() {
        for (text, seconds) in [("10s", 10), ("30m", 1_800), ("6h", 21_600), ("1h30m", 5_400), ("1h 30m", 5_400)] {
            assert_eq!(interval(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "10", "s", "-10s", "999ms", "1d", "8785h", "99999999999999999h", "10s ago"] {
            assert!(interval(text).is_err(), "{text}");
        }
        assert_eq!(request_timeout("1.5s"), Ok(Duration::from_millis(1_500)));
    }

    #[test]
    fn registry_addresses_end_in_a_slash() {
        assert_eq!(registry_url("https://registry.example").unwrap().as_str(), "https://registry.example/");
        assert_eq!(registry_url("http://[::1]:7070/a/b").unwrap().as_str(), "http://[::1]:7070/a/b/");
    }

    #[test]
    fn password_in_address_is_not_repeated() {
        let problem = registry_url("https://me:hunter2@registry.example").unwrap_err().to_string();
        assert!(problem.contains("password") && !problem.contains("hunter2"), "{problem}");
        let problem = registry_url("https://me:hunter2@:bad").unwrap_err().to_string();
        assert!(!problem.contains("hunter2"), "{problem}");
    }

    #[test]
    fn port_alone_listens_on_every_address() {
        assert_eq!(address(":8080").unwrap(), "[::]:8080".parse().unwrap());
        for text in ["", ":", ":port", ":99999", "8080", "::", "localhost:8080"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fractions_have_bounds() {
        let churn = number(0.0..=1000.0, "use 0 to 1000");
        assert_eq!(churn("0.5"), Ok(0.5));
        for text in ["NaN", "inf", "-1", "1001", "two"] {
            assert!(churn(text).is_err(), "{text}");
        }
    }
}
