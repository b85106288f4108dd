//! The tokens file: bearer tokens, each bound to one cluster id or to all clusters.

use std::{fs, io, path::Path};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::model::ids::is_valid_id;

const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why a tokens file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the tokens file: {0}; check --tokens-file and its permissions")]
    Read(#[from] io::Error),
    #[error("the tokens file is larger than 1 MiB; is --tokens-file the right file?")]
    TooLarge,
    #[error("tokens file, line {line}: expected `<token> <cluster id or *>`, separated by white space")]
    Line { line: usize },
    #[error("tokens file, line {line}: an earlier line has the same token; remove one of them")]
    Duplicate { line: usize },
    /// Without a token, the registry could not be used.
    #[error("the tokens file names no token; add a line `<token> <cluster id or *>`")]
    Empty,
}

/// The clusters that a token gives access to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClusterAccess {
    All,
    /// One cluster, by its id.
    Cluster(String),
}

impl ClusterAccess {
    pub(crate) fn covers(&self, cluster: &str) -> bool {
        self.only().is_none_or(|only| only == cluster)
    }

    /// The id of the cluster, if the access is bound to one.
    pub(crate) fn only(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Cluster(id) => Some(id),
        }
    }
}

struct Entry {
    // Hashes have one length, so that comparing them takes the same time for every token.
    hash: [u8; 32],
    access: ClusterAccess,
}

/// The valid tokens. If there are none, the server requires no token.
#[derive(Default)]
pub(crate) struct Tokens(Vec<Entry>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl Tokens {
    /// Reads a file. Each line has a token and a cluster id, or `*` for all clusters. Text after `#` is a comment.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Error> {
        if fs::metadata(path)?.len() > MAX_FILE_BYTES {
            return Err(Error::TooLarge);
        }
        let text = SecretString::from(fs::read_to_string(path)?);
        let tokens = Self::parse(&text)?;
        if tokens.is_empty() { Err(Error::Empty) } else { Ok(tokens) }
    }

    pub(crate) fn parse(text: &SecretString) -> Result<Self, Error> {
        let mut entries: Vec<Entry> = Vec::new();
        for (line, content) in (1..).zip(text.expose_secret().lines()) {
            // A comment starts a line or follows white space; a `#` within a token is part of it.
            let mut words = content.split_whitespace().take_while(|word| !word.starts_with('#'));
            let (Some(token), binding) = (words.next(), words.next()) else { continue };
            let binding = binding.filter(|id| *id == "*" || is_valid_id(id)).ok_or(Error::Line { line })?;
            if words.next().is_some() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Error::Line { line });
            }
            let hash = hash(token);
            if entries.iter().any(|entry| entry.hash == hash) {
                return Err(Error::Duplicate { line });
            }
            let access = if binding == "*" { ClusterAccess::All } else { ClusterAccess::Cluster(binding.to_owned()) };
            entries.push(Entry { hash, access });
        }
        Ok(Self(entries))
    }

    /// Whether the server requires no token.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The access of each token.
    pub(crate) fn accesses(&self) -> Vec<ClusterAccess> {
        self.0.iter().map(|entry| entry.access.clone()).collect()
    }

    /// The access of a token. Takes the same time for every token, valid or not.
    pub(crate) fn access(&self, token: &str) -> Option<ClusterAccess> {
        let hash = hash(token);
        let mut found = None;
        for entry in &self.0 {
            if bool::from(entry.hash.ct_eq(&hash)) {
                found = Some(&entry.access);
            }
        }
        found.cloned()
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Tokens, Error> {
        Tokens::parse(&SecretString::from(text))
    }

    #[test]
    fn token_grants_only_what_it_is_bound_to() {
        let tokens = parse("# people\n\n  all#1 *   # everything\none c-1\r\n").unwrap();
        assert_eq!(tokens.access("all#1"), Some(ClusterAccess::All));
        assert_eq!(tokens.access("one"), Some(ClusterAccess::Cluster("c-1".to_owned())));
        assert_eq!(tokens.access("on"), None);
        assert_eq!(tokens.access(""), None);
        assert!(ClusterAccess::All.covers("x"));
        assert!(!tokens.access("one").unwrap().covers("c-2"));
    }

    #[test]
    fn errors_name_the_line_and_never_the_token() {
        for (text, line) in
            [("a b c", "line 1"), ("ok *\nsecret", "line 2"), ("ok *\nok c", "line 2"), ("a /", "line 1")]
        {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(line) && !message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn a_file_without_tokens_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(Tokens::from_file(file.path()), Err(Error::Empty)));
        assert!(matches!(Tokens::from_file(Path::new("/nowhere/at/all")), Err(Error::Read(_))));
    }
}
