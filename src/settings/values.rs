//! Single values: durations, counts, addresses, names.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, str::FromStr, time::Duration};

use reqwest::Url;

use super::{refusal::Problem, run::LeaseName};
use crate::{
    model::{brake::HoldId, is_valid_id},
    telemetry::LogFormat,
};

/// Longer than any process lives; it keeps sums of durations far from overflowing.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A whole number and a unit: `500ms`, `10s`, `30m`, `6h`.
pub(super) fn duration(text: &str) -> Result<Duration, Problem> {
    let mend = "write a whole number and a unit, such as 500ms, 10s, 30m or 6h";
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| Problem::new(format!("{text:?} is not a duration"), mend))?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(Problem::new(format!("{text:?} is not a duration"), mend)),
    };
    let duration = millis.map(Duration::from_millis).filter(|duration| *duration <= LONGEST);
    duration.ok_or_else(|| Problem::new(format!("{text:?} is more than a year"), mend))
}

/// How often something is done: at least a second.
pub(super) fn interval(text: &str) -> Result<Duration, Problem> {
    let interval = duration(text)?;
    if interval < Duration::from_secs(1) {
        return Err(Problem::new(format!("{text:?} is too short"), "give at least 1s"));
    }
    Ok(interval)
}

/// How long a request may take: something, and at most five minutes.
pub(super) fn request_timeout(text: &str) -> Result<Duration, Problem> {
    let timeout = duration(text)?;
    if timeout.is_zero() || timeout > Duration::from_secs(300) {
        return Err(Problem::new(format!("{text:?} is out of bounds"), "give 1ms to 5m"));
    }
    Ok(timeout)
}

/// A number within bounds.
pub(super) fn number<T>(bounds: RangeInclusive<T>, mend: &'static str) -> impl FnOnce(&str) -> Result<T, Problem>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| {
        let number: T = text.parse().map_err(|_| Problem::new(format!("{text:?} is not such a number"), mend))?;
        if bounds.contains(&number) {
            return Ok(number);
        }
        Err(Problem::new(format!("{text:?} is out of bounds"), mend))
    }
}

/// An IP address and a port to listen on. A port alone, such as `:8080`, means every address of both families.
pub(super) fn address(text: &str) -> Result<SocketAddr, Problem> {
    let mend = "write an IP address and a port, such as 127.0.0.1:7070 or [::]:8080, or a port alone, such as :8080";
    let full = text.strip_prefix(':').map(|port| format!("[::]:{port}"));
    let address = full.as_deref().unwrap_or(text).parse();
    address.map_err(|_| Problem::new(format!("{text:?} is not an address to listen on"), mend))
}

/// The registry's address, with a path that ends in a slash. Refusals do not repeat it, as it may hold a password.
pub(super) fn registry_url(text: &str) -> Result<Url, Problem> {
    let mend = "write an address such as https://registry.example or http://127.0.0.1:7070/prefix";
    if text.is_empty() {
        return Err(Problem::new("it is empty", mend));
    }
    let mut url: Url = text.parse().map_err(|error| Problem::new(format!("it is not an address: {error}"), mend))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Problem::new(format!("its scheme is {:?}", url.scheme()), mend));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let mend = "leave it out and put a token into the file of --registry-token-file";
        return Err(Problem::new("it holds a user name or a password", mend));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Problem::new("it holds a query or a fragment", mend));
    }
    if url.path().trim_end_matches('/').ends_with("/v1") {
        let mend = "leave that out: it is the protocol's own, and is added to the address";
        return Err(Problem::new("its path ends in /v1", mend));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// The id of a cluster or an owner.
pub(super) fn id(text: &str) -> Result<String, Problem> {
    let mend = "use 1 to 128 of A-Z a-z 0-9 . _ ~ : @ -, a letter or a digit first";
    is_valid_id(text).then(|| text.to_owned()).ok_or_else(|| Problem::new(format!("{text:?} is not an id"), mend))
}

/// A name for people: short and printable.
pub(super) fn display_name(text: &str) -> Result<String, Problem> {
    let fits = !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
    let refused = || Problem::new(format!("{text:?} is not a name"), "use 1 to 256 bytes without control characters");
    fits.then(|| text.to_owned()).ok_or_else(refused)
}

/// The name of a kubeconfig's context.
pub(super) fn context(text: &str) -> Result<String, Problem> {
    let refused = || Problem::new("it is empty", "name a context of the kubeconfig, or leave it out");
    (!text.is_empty()).then(|| text.to_owned()).ok_or_else(refused)
}

/// Yes or no.
pub(super) fn boolean(text: &str) -> Result<bool, Problem> {
    text.parse().map_err(|_| Problem::new(format!("{text:?} is neither"), "write true or false"))
}

/// The name of held deletions.
pub(super) fn hold(text: &str) -> Result<HoldId, Problem> {
    text.parse().map_err(|error| Problem::new(format!("{error}"), "copy it from the controller's log or its Event"))
}

/// The name of a namespace.
pub(super) fn namespace(text: &str) -> Result<String, Problem> {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let fits = text.len() <= 63 && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-');
    let mend = "use the full name: up to 63 of a-z 0-9 -, patterns are not supported";
    fits.then(|| text.to_owned()).ok_or_else(|| Problem::new(format!("{text:?} is not a namespace"), mend))
}

/// A namespace and the name of a Lease in it.
pub(super) fn lease(text: &str) -> Result<LeaseName, Problem> {
    let refused = || {
        let mend = "write the namespace and the name of the Lease, such as pod-registrar/pod-registrar";
        Problem::new(format!("{text:?} is not a Lease's place"), mend)
    };
    let (within, name) = text.split_once('/').ok_or_else(refused)?;
    let part = |part: &str| !part.is_empty() && namespace(part).is_ok();
    let fits = part(within) && name.len() <= 253 && name.split('.').all(part);
    fits.then(|| LeaseName { namespace: within.to_owned(), name: name.to_owned() }).ok_or_else(refused)
}

/// How long a lease lasts: whole seconds, as the API server knows no others.
pub(super) fn lease_duration(text: &str) -> Result<Duration, Problem> {
    let duration = duration(text)?;
    if !(3..=300).contains(&duration.as_secs()) || duration.subsec_nanos() != 0 {
        return Err(Problem::new(format!("{text:?} is out of bounds"), "give 3s to 5m, in whole seconds"));
    }
    Ok(duration)
}

/// A pattern for the keys of labels or annotations.
pub(super) fn pattern(text: &str) -> Result<String, Problem> {
    // A key has up to 253 + 1 + 63 characters.
    let fits = text.len() <= 317 && text.bytes().all(|c| c.is_ascii_graphic());
    let mend = "write a key such as team or app.kubernetes.io/*, with * and ? as wildcards";
    fits.then(|| text.to_owned()).ok_or_else(|| Problem::new(format!("{text:?} matches no key"), mend))
}

/// How logs are written.
pub(super) fn log_format(text: &str) -> Result<LogFormat, Problem> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(Problem::new(format!("{text:?} is not a format"), "use text or json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("30m", 1_800_000), ("6h", 21_600_000), ("0s", 0)] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis));
        }
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "10 s",
            "1d",
            "1h30m",
            "9000h",
            "99999999999999999h",
            "18446744073709551616ms",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn registry_addresses_end_in_a_slash() {
        assert_eq!(registry_url("https://registry.example").unwrap().as_str(), "https://registry.example/");
        assert_eq!(registry_url("http://[::1]:7070/a/b").unwrap().as_str(), "http://[::1]:7070/a/b/");
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let problem = registry_url("https://me:hunter2@registry.example").unwrap_err().to_string();
        assert!(problem.contains("password") && !problem.contains("hunter2"), "{problem}");
        let problem = registry_url("https://me:hunter2@:bad").unwrap_err().to_string();
        assert!(!problem.contains("hunter2"), "{problem}");
    }

    #[test]
    fn port_alone_means_every_address() {
        assert_eq!(address(":8080").unwrap(), "[::]:8080".parse().unwrap());
        for text in ["", ":", ":port", ":99999", "8080", "::", "localhost:8080"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_hold_for_fractions_too() {
        let churn = |text| number(0.0..=1000.0, "give 0 to 1000")(text);
        assert_eq!(churn("0.5"), Ok(0.5));
        for text in ["NaN", "inf", "-1", "1001", "two"] {
            assert!(churn(text).is_err(), "{text}");
        }
    }
}
