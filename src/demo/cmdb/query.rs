//! The parameters of a list, and the address of its next page.

use super::error::Error;

pub(super) const SYSTEMS: &str = "/api/systems";
const DEFAULT_LIMIT: usize = 100;
const MOST_LIMIT: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListQuery {
    /// Shows only systems whose member `owner` is this text.
    pub(super) owner: Option<String>,
    /// Systems per page.
    pub(super) limit: usize,
    /// The page starts after this id, so that pages show every system that stays, whatever changes in between.
    pub(super) after: String,
}

impl ListQuery {
    /// Reads the parameters. Unknown ones are errors: a list without its filter would show the systems of all owners.
    pub(super) fn parse(parameters: Vec<(String, String)>) -> Result<Self, Error> {
        let (mut owner, mut limit, mut after) = (None, None, None);
        for (name, value) in parameters {
            let slot = match name.as_str() {
                "owner" => &mut owner,
                "limit" => &mut limit,
                "after" => &mut after,
                _ => return Err(unknown(&name)),
            };
            if slot.replace(value).is_some() {
                return Err(Error::Invalid(format!("the parameter {name:?} is given twice")));
            }
        }
        let limit = limit.map_or(Ok(DEFAULT_LIMIT), |text| number(&text))?.clamp(1, MOST_LIMIT);
        Ok(Self { owner, limit, after: after.unwrap_or_default() })
    }

    /// The address of the page after one that ended with this id.
    pub(super) fn next(&self, last: &str) -> String {
        let owner = self.owner.as_deref().map_or_else(String::new, |owner| format!("owner={}&", encode(owner)));
        format!("{SYSTEMS}?{owner}limit={}&after={}", self.limit, encode(last))
    }
}

fn unknown(name: &str) -> Error {
    Error::Invalid(format!("the parameter {name:?} is unknown; use owner, limit or after"))
}

fn number(text: &str) -> Result<usize, Error> {
    let invalid = || Error::Invalid(format!("the parameter limit is {text:?}; use a whole number"));
    text.parse::<u32>().ok().and_then(|number| usize::try_from(number).ok()).ok_or_else(invalid)
}

/// Percent-encodes a text for a query or for a segment of a path.
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(parameters: &[(&str, &str)]) -> Result<ListQuery, Error> {
        ListQuery::parse(parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn query_continues_after_an_id() {
        let query = parse(&[("owner", "pod-registrar:c:o"), ("limit", "2")]).unwrap();
        assert_eq!(query.next("a/b"), "/api/systems?owner=pod-registrar%3Ac%3Ao&limit=2&after=a%2Fb");
        assert_eq!(parse(&[("limit", "99999")]).unwrap().limit, MOST_LIMIT);
        assert_eq!(parse(&[("limit", "0")]).unwrap().limit, 1);
    }

    #[test]
    fn unclear_query_is_refused() {
        let wrong: [&[(&str, &str)]; 3] = [&[("ower", "a")], &[("owner", "a"), ("owner", "b")], &[("limit", "-1")]];
        for parameters in wrong {
            assert!(matches!(parse(parameters), Err(Error::Invalid(_))), "{parameters:?}");
        }
    }
}
