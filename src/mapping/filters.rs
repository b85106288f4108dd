//! The filters of targets, beside those of the engine.

use core::net::IpAddr;
use std::{borrow::Cow, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use minijinja::{Environment, Error, ErrorKind, Value};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    json_part::JsonPart,
    url,
    values::{self, Budget, Segments},
};

pub(super) const NAMES: [&str; 13] = [
    "arpa", "b64", "b64d", "date", "dnslabel", "epoch", "fit", "fromjson", "json", "metakey", "segments", "sha256",
    "uuid5",
];
/// Characters of a DNS label.
const LABEL: usize = 63;
/// Characters of a metadata key in Consul.
const META_KEY: usize = 128;
/// Hexadecimal digits that keep two cut texts apart.
const HASH: usize = 8;
/// Characters of a date format.
const DATE_FORMAT: usize = 100;

pub(super) fn add_to(engine: &mut Environment<'static>) {
    engine.add_filter("arpa", arpa);
    engine.add_filter("b64", b64);
    engine.add_filter("b64d", b64d);
    engine.add_filter("date", date);
    engine.add_filter("dnslabel", dnslabel);
    engine.add_filter("epoch", epoch);
    engine.add_filter("fit", fit);
    engine.add_filter("fromjson", fromjson);
    engine.add_filter("json", json);
    engine.add_filter("metakey", metakey);
    engine.add_filter("segments", segments);
    engine.add_filter("sha256", sha256);
    engine.add_filter("uuid5", uuid5);
}

fn error(what: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// The text of a value, as it stands in a text.
fn text(value: &Value) -> Result<Cow<'_, str>, Error> {
    if let Some(text) = value.as_str() {
        return Ok(Cow::Borrowed(text));
    }
    let mut text = String::new();
    values::push_text(value, &mut text, &mut Budget::default()).map_err(|cause| error(cause.to_string()))?;
    Ok(Cow::Owned(text))
}

fn b64(value: &Value) -> Result<String, Error> {
    Ok(STANDARD.encode(&*text(value)?))
}

fn b64d(value: &Value) -> Result<String, Error> {
    let bytes = STANDARD.decode(&*text(value)?).map_err(|_| error("b64d: the text is not base64"))?;
    String::from_utf8(bytes).map_err(|_| error("b64d: the bytes are not UTF-8"))
}

fn json(value: &Value) -> Result<String, Error> {
    match values::to_json(value, &mut Budget::default()) {
        Ok(Some(json)) => Ok(json.to_string()),
        Ok(None) => Err(error("json: `omit` has no JSON form")),
        Err(cause) => Err(error(cause.to_string())),
    }
}

fn fromjson(value: &Value) -> Result<Value, Error> {
    let json: Json = serde_json::from_str(&text(value)?).map_err(|cause| error(format!("fromjson: {cause}")))?;
    Ok(JsonPart::value(Arc::new(json)))
}

fn sha256(value: &Value) -> Result<String, Error> {
    Ok(hex_sha256(&text(value)?))
}

fn hex_sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A UUID made of a name. The namespace is `dns`, `url`, `oid`, `x500` or a UUID.
fn uuid5(value: &Value, namespace: Option<&str>) -> Result<String, Error> {
    let namespace = match namespace {
        None | Some("url") => Uuid::NAMESPACE_URL,
        Some("dns") => Uuid::NAMESPACE_DNS,
        Some("oid") => Uuid::NAMESPACE_OID,
        Some("x500") => Uuid::NAMESPACE_X500,
        Some(text) => text.parse().map_err(|_| error("uuid5: the namespace is not dns, url, oid, x500 or a UUID"))?,
    };
    Ok(Uuid::new_v5(&namespace, text(value)?.as_bytes()).to_string())
}

/// At most `limit` characters. With `unique`, a text that is cut ends with a hash of it, so that it stays different
/// from other texts that begin in the same way.
fn fit(value: &Value, limit: usize, unique: Option<Value>) -> Result<String, Error> {
    let text = text(value)?;
    match unique {
        None => Ok(text.chars().take(limit).collect()),
        Some(unique) => Ok(cut(text.into_owned(), limit, &self::text(&unique)?)),
    }
}

fn cut(text: String, limit: usize, unique: &str) -> String {
    if text.chars().nth(limit).is_none() {
        return text;
    }
    let hash: String = hex_sha256(unique).chars().take(HASH).collect();
    let kept = limit.saturating_sub(HASH + 1);
    let start: String = text.chars().take(kept).collect();
    let joined = if start.is_empty() { hash } else { format!("{start}-{hash}") };
    joined.chars().take(limit).collect()
}

/// A DNS label: lower case, with `-` for each run of other characters.
fn dnslabel(value: &Value) -> Result<String, Error> {
    let text = text(value)?;
    let mut label = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            label.push(c);
        } else if !label.is_empty() && !label.ends_with('-') {
            label.push('-');
        }
    }
    let label = cut(label.trim_end_matches('-').to_owned(), LABEL, &text);
    if label.is_empty() { Err(error("dnslabel: no letter or digit is left")) } else { Ok(label) }
}

/// A key of letters, digits, `-` and `_`, which Consul accepts in metadata.
fn metakey(value: &Value) -> Result<String, Error> {
    let text = text(value)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let key = text.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    let key = cut(key, META_KEY, &text);
    if key.is_empty() { Err(error("metakey: the text is empty")) } else { Ok(key) }
}

/// The name under which DNS holds the name of an address.
fn arpa(value: &Value) -> Result<String, Error> {
    let address: IpAddr = text(value)?.parse().map_err(|_| error("arpa: the text is not an IP address"))?;
    Ok(match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            nibbles.collect::<String>() + "ip6.arpa"
        }
    })
}

fn time(value: &Value) -> Result<jiff::Timestamp, Error> {
    crate::model::time::parse(&text(value)?).ok_or_else(|| error("the text is not an RFC 3339 time"))
}

/// A time in UTC, in the format of strftime.
fn date(value: &Value, format: &str) -> Result<String, Error> {
    if format.len() > DATE_FORMAT {
        return Err(error(format!("date: the format is longer than {DATE_FORMAT} bytes")));
    }
    // A width such as %999999Y would write as many characters.
    if format.as_bytes().windows(4).any(|part| part[0] == b'%' && part[1..].iter().all(u8::is_ascii_digit)) {
        return Err(error("date: the width of a field is more than two digits"));
    }
    let time = time(value)?;
    jiff::fmt::strtime::format(format.as_bytes(), &time.to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|cause| error(format!("date: {cause}")))
}

/// Seconds since 1970.
fn epoch(value: &Value) -> Result<i64, Error> {
    time(value).map(jiff::Timestamp::as_second)
}

/// Lets the slashes of a text separate segments of a path. Each segment is percent-encoded.
fn segments(value: &Value) -> Result<Value, Error> {
    let text = text(value)?;
    let encoded: Vec<String> = text.split('/').map(url::encode).collect();
    Ok(Value::from_object(Segments(encoded.join("/"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::engine::Compiled;

    fn result(text: &str) -> Result<String, String> {
        let value = Compiled::new(text).unwrap().evaluate(&Value::from(())).map_err(|error| error.to_string())?;
        self::text(&value).map(Cow::into_owned).map_err(|error| error.to_string())
    }

    fn results(table: &[(&str, &str)]) {
        for (text, expected) in table {
            assert_eq!(result(text).as_deref(), Ok(*expected), "{text}");
        }
    }

    #[test]
    fn encodings_survive_a_round_trip() {
        results(&[
            ("'a😀' | b64", "YfCfmIA="),
            ("'YfCfmIA=' | b64d", "a😀"),
            ("{'b': [true, 1.5], 'a': '\"'} | json", r#"{"a":"\"","b":[true,1.5]}"#),
            ("('{\"a\": [1, null]}' | fromjson).a[0]", "1"),
            ("'' | sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("'www.example.com' | uuid5('dns')", "2ed6657d-e927-568b-95e1-2665a8aea6a2"),
            ("true | b64", "dHJ1ZQ=="),
        ]);
        for text in ["'?' | b64d", "'/w==' | b64d", "'{' | fromjson", "[omit_] | json", "[] | b64", "'a' | uuid5('x')"]
        {
            assert!(result(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cut_texts_stay_different() {
        let long = |end: char| format!("'{}{end}' | fit(64, '{end}')", "a".repeat(70));
        let (x, y) = (result(&long('x')).unwrap(), result(&long('y')).unwrap());
        assert_ne!(x, y);
        assert_eq!((x.len(), y.len()), (64, 64));
        results(&[
            ("'short' | fit(64, 'x')", "short"),
            ("'😀😀😀' | fit(2)", "😀😀"),
            ("'abcdef' | fit(0)", ""),
            ("'abcdefghijkl' | fit(4, 'x')", "2d71"),
        ]);
    }

    #[test]
    fn labels_and_keys_are_valid() {
        results(&[
            ("'Web.Shop/😀-' | dnslabel", "web-shop"),
            ("'app.kubernetes.io/name' | metakey", "app_kubernetes_io_name"),
        ]);
        assert!(result("'😀' | dnslabel").is_err() && result("'' | metakey").is_err());
        let long = result(&format!("'{}' | dnslabel", "b.".repeat(60))).unwrap();
        assert!(long.len() <= 63 && !long.ends_with('-') && !long.starts_with('-'), "{long}");
    }

    #[test]
    fn addresses_become_reverse_names() {
        results(&[
            ("'10.64.0.7' | arpa", "7.0.64.10.in-addr.arpa"),
            ("'2001:db8::1' | arpa", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
        ]);
        assert!(result("'a' | arpa").is_err());
    }

    #[test]
    fn times_are_formatted_in_utc() {
        results(&[
            ("'2026-01-02T03:04:05.678Z' | date('%Y-%m-%d %H:%M:%S')", "2026-01-02 03:04:05"),
            ("'2026-01-02T03:04:05+01:00' | epoch", "1767319445"),
        ]);
        for text in
            ["'never' | epoch", "'2026-01-02T03:04:05Z' | date('%999999999Y')", "'2026-01-02T03:04:05Z' | date('%!')"]
        {
            assert!(result(text).is_err(), "{text}");
        }
    }
}
