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
    pub(super) start: Start,
}

/// Where a page starts in the order of the ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// After this id. Pages that follow each other show every system that stays, whatever changes in between.
    After(String),
    /// After a number of systems. A deletion moves the systems behind it to an earlier page.
    Offset(usize),
}

impl ListQuery {
    /// Reads the parameters. Unknown ones are errors: a list without its filter would show the systems of all owners.
    pub(super) fn parse(parameters: Vec<(String, String)>) -> Result<Self, Error> {
        let (mut owner, mut limit, mut after, mut offset) = (None, None, None, None);
        for (name, value) in parameters {
            let slot = match name.as_str() {
                "owner" => &mut owner,
                "limit" => &mut limit,
                "after" => &mut after,
                "offset" => &mut offset,
                _ => return Err(unknown(&name)),
            };
            if slot.replace(value).is_some() {
                return Err(Error::Invalid(format!("the parameter {name:?} is given twice")));
            }
        }
        let limit = limit.map_or(Ok(DEFAULT_LIMIT), |text| number("limit", &text))?.clamp(1, MOST_LIMIT);
        let start = match (after, offset) {
            (Some(_), Some(_)) => return Err(Error::Invalid("use either after or offset".to_owned())),
            (Some(id), None) => Start::After(id),
            (None, Some(offset)) => Start::Offset(number("offset", &offset)?),
            (None, None) => Start::After(String::new()),
        };
        Ok(Self { owner, limit, start })
    }

    /// The address of the page after one that showed `shown` systems up to the id `last`.
    pub(super) fn next(&self, shown: usize, last: &str) -> String {
        let owner = self.owner.as_deref().map_or_else(String::new, |owner| format!("owner={}&", encode(owner)));
        let start = match self.start {
            Start::After(_) => format!("after={}", encode(last)),
            Start::Offset(offset) => format!("offset={}", offset + shown),
        };
        format!("{SYSTEMS}?{owner}limit={}&{start}", self.limit)
    }
}

fn unknown(name: &str) -> Error {
    Error::Invalid(format!("the parameter {name:?} is unknown; use owner, limit, after or offset"))
}

fn number(name: &str, text: &str) -> Result<usize, Error> {
    let invalid = || Error::Invalid(format!("the parameter {name} is {text:?}; use a whole number"));
    // Bounded, so that sums cannot overflow.
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
    fn query_continues_after_an_id_or_offset() {
        let query = parse(&[("owner", "pod-registrar:c:o"), ("limit", "2")]).unwrap();
        assert_eq!(query.next(2, "a/b"), "/api/systems?owner=pod-registrar%3Ac%3Ao&limit=2&after=a%2Fb");
        let query = parse(&[("offset", "4")]).unwrap();
        assert_eq!(query.next(100, "x"), "/api/systems?limit=100&offset=104");
        assert_eq!(parse(&[("limit", "99999")]).unwrap().limit, MOST_LIMIT);
        assert_eq!(parse(&[("limit", "0")]).unwrap().limit, 1);
    }

    #[test]
    fn unclear_query_is_refused() {
        let wrong: [&[(&str, &str)]; 5] = [
            &[("ower", "a")],
            &[("owner", "a"), ("owner", "b")],
            &[("limit", "-1")],
            &[("offset", "99999999999")],
            &[("after", "a"), ("offset", "1")],
        ];
        for parameters in wrong {
            assert!(matches!(parse(parameters), Err(Error::Invalid(_))), "{parameters:?}");
        }
    }
}
