//! The query parameters of a list or watch.

use std::{collections::BTreeMap, time::Duration};

use super::{selector::Selector, status::StatusError};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Query {
    pub(super) selector: Selector,
    /// None asks for the newest.
    pub(super) resource_version: Option<u64>,
    /// Whether a list has to show exactly this resource version.
    pub(super) exact: bool,
    /// The most items of a page. None is no limit.
    pub(super) limit: Option<usize>,
    pub(super) token: Option<Token>,
    pub(super) watch: bool,
    /// Whether a watch sends all present pods first, as it does without a resource version.
    pub(super) initial_events: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) bookmarks: bool,
}

/// Where a list continues.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    /// The resource version of the list. None continues with the newest one, which is inconsistent.
    pub(super) resource_version: Option<u64>,
    /// The last key that was sent.
    pub(super) after: String,
}

impl Query {
    pub(super) fn parse(params: &BTreeMap<String, String>) -> Result<Self, StatusError> {
        let text = |name: &str| params.get(name).map_or("", String::as_str);
        let selector = Selector::parse(text("labelSelector"), text("fieldSelector"))?;
        let watch = flag(params, "watch");
        let version = version(text("resourceVersion"), watch)?;
        let matching = text("resourceVersionMatch");
        check_match(params, version, watch)?;
        let limit = number(params, "limit")?.filter(|&limit| limit > 0);
        // On a real server, a cache without pages answers resource version 0.
        let limit = limit.filter(|_| version != Some(0) || matching == "NotOlderThan");
        let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let token = match text("continue") {
            "" => None,
            _ if watch => None,
            _ if version.is_some_and(|version| version > 0) => {
                let message = "specifying resource version is not allowed when using continue";
                return Err(StatusError::bad_request(message.to_owned()));
            }
            token => Some(Token::decode(token)?),
        };
        Ok(Self {
            selector,
            resource_version: version,
            exact: matching == "Exact" || (matching.is_empty() && limit.is_some() && version.is_some_and(|v| v > 0)),
            limit,
            token,
            watch,
            initial_events: flag(params, "sendInitialEvents") || version.is_none_or(|version| version == 0),
            timeout: number(params, "timeoutSeconds")?.filter(|&s| s > 0).map(Duration::from_secs),
            bookmarks: flag(params, "allowWatchBookmarks"),
        })
    }
}

impl Token {
    /// The token as text that is opaque to clients.
    pub(super) fn encode(&self) -> String {
        let version = self.resource_version.map_or(String::new(), |version| version.to_string());
        format!("{version}:{}", self.after).bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    fn decode(text: &str) -> Result<Self, StatusError> {
        let bytes = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let plain = bytes.collect::<Option<Vec<u8>>>().and_then(|bytes| String::from_utf8(bytes).ok());
        let parts = plain.as_deref().and_then(|plain| plain.split_once(':'));
        let token = parts.and_then(|(version, after)| {
            let resource_version = if version.is_empty() { None } else { Some(version.parse().ok()?) };
            Some(Self { resource_version, after: after.to_owned() })
        });
        token.ok_or_else(|| {
            StatusError::bad_request(format!("invalid continue token: continue key is not valid: {text}"))
        })
    }
}

/// Rejects options that cannot be combined.
fn check_match(params: &BTreeMap<String, String>, version: Option<u64>, watch: bool) -> Result<(), StatusError> {
    let matching = params.get("resourceVersionMatch").map_or("", String::as_str);
    let initial = params.contains_key("sendInitialEvents");
    let why = match matching {
        _ if initial && !watch => {
            return Err(StatusError::forbidden_option("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        "NotOlderThan" if initial => return Ok(()),
        _ if initial => "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        "" => return Ok(()),
        _ if watch => "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        _ if version.is_none() => "resourceVersionMatch is forbidden unless resourceVersion is provided",
        _ => return Ok(()),
    };
    Err(StatusError::forbidden_option("resourceVersionMatch", why))
}

/// A parameter that is set is true, unless it is `false` or `0`.
pub(super) fn flag(params: &BTreeMap<String, String>, name: &str) -> bool {
    params.get(name).is_some_and(|value| value != "false" && value != "0")
}

fn number(params: &BTreeMap<String, String>, name: &str) -> Result<Option<u64>, StatusError> {
    match params.get(name).map(String::as_str) {
        None | Some("") => Ok(None),
        Some(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(StatusError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        },
    }
}

/// Parses a resource version. As on a real server, an invalid one is a 500 for a watch and a 400 for a list.
fn version(text: &str, watch: bool) -> Result<Option<u64>, StatusError> {
    let why =
        || format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
    match text.parse() {
        Ok(version) => Ok(Some(version)),
        Err(_) if text.is_empty() => Ok(None),
        Err(_) if watch => Err(StatusError::unforeseen(why())),
        Err(_) => Err(StatusError::bad_request(format!("invalid resource version: {}", why()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(params: &[(&str, &str)]) -> Result<Query, StatusError> {
        Query::parse(&params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn page_tokens_round_trip_through_a_client() {
        for resource_version in [Some(17), None] {
            let token = Token { resource_version, after: "shop/web-0".to_owned() };
            assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        }
        assert_eq!(parse(&[("continue", "nonsense")]).unwrap_err().code(), 400);
        assert_eq!(parse(&[("continue", "ää")]).unwrap_err().code(), 400);
    }

    #[test]
    fn a_limit_makes_a_resource_version_exact() {
        assert!(parse(&[("limit", "5"), ("resourceVersion", "7")]).unwrap().exact);
        assert!(!parse(&[("limit", "5"), ("resourceVersion", "0")]).unwrap().exact);
        assert!(!parse(&[("resourceVersion", "7")]).unwrap().exact);
        assert!(parse(&[("resourceVersion", "7"), ("resourceVersionMatch", "Exact")]).unwrap().exact);
    }

    #[test]
    fn invalid_queries_are_refused() {
        assert_eq!(parse(&[("limit", "many")]).unwrap_err().code(), 400);
        assert_eq!(parse(&[("resourceVersion", "x"), ("watch", "1")]).unwrap_err().code(), 500);
        assert_eq!(parse(&[("watch", "1"), ("sendInitialEvents", "true")]).unwrap_err().code(), 422);
        assert!(!parse(&[("watch", "false")]).unwrap().watch);
    }
}
