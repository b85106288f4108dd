//! The contents of a kubeconfig's members: secrets, in the kubeconfig itself or in files.

use std::{fmt, path::PathBuf, sync::Arc};

use crate::files;

/// Bytes that are never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Arc<[u8]>);

impl Secret {
    pub(crate) fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Bytes from a file, or from the kubeconfig itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileContent {
    /// `member` names the setting in messages. The file is read again when credentials are renewed.
    File {
        member: String,
        path: PathBuf,
    },
    Inline {
        member: String,
        bytes: Secret,
    },
}

impl FileContent {
    pub(crate) fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Inline { bytes, .. } => Ok(bytes.clone()),
            Self::File { path, .. } => {
                files::read(path).map(Secret::new).map_err(|error| self.problem(&error.to_string()))
            }
        }
    }

    /// Puts the source of the bytes before a problem with them.
    pub(crate) fn problem(&self, problem: &str) -> String {
        match self {
            Self::File { member, path } => format!("{member}: {}: {problem}", path.display()),
            Self::Inline { member, .. } => format!("{member}: {problem}"),
        }
    }
}
