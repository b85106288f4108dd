//! Reads kubeconfig files and merges them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use base64::Engine as _;
use serde::Deserialize;

use super::{
    Error,
    content::{FileContent, Secret},
};
use crate::files;

/// A kubeconfig file. Other members are ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    kind: Option<String>,
    #[serde(rename = "current-context")]
    current_context: Option<String>,
    clusters: Option<Vec<Named<ClusterEntry>>>,
    contexts: Option<Vec<Named<Context>>>,
    users: Option<Vec<Named<User>>>,
}

/// An item of one of the lists.
#[derive(Deserialize)]
struct Named<T> {
    name: Option<String>,
    #[serde(rename = "cluster", alias = "context", alias = "user")]
    value: Option<T>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct ClusterEntry {
    pub(super) server: Option<String>,
    pub(super) tls_server_name: Option<String>,
    pub(super) insecure_skip_tls_verify: Option<bool>,
    pub(super) certificate_authority: Option<String>,
    pub(super) certificate_authority_data: Option<String>,
    pub(super) proxy_url: Option<String>,
    /// May hold settings for credential plugins.
    pub(super) extensions: Option<Vec<Extension>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Extension {
    pub(super) name: Option<String>,
    pub(super) extension: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Context {
    pub(super) cluster: Option<String>,
    pub(super) user: Option<String>,
    pub(super) namespace: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct User {
    pub(super) client_certificate: Option<String>,
    pub(super) client_certificate_data: Option<String>,
    pub(super) client_key: Option<String>,
    pub(super) client_key_data: Option<String>,
    pub(super) token: Option<String>,
    #[serde(rename = "tokenFile")]
    pub(super) token_file: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    #[serde(rename = "as")]
    pub(super) impersonate: Option<String>,
    pub(super) as_uid: Option<String>,
    pub(super) as_groups: Option<Vec<String>>,
    pub(super) as_user_extra: Option<BTreeMap<String, Option<Vec<String>>>>,
    pub(super) auth_provider: Option<serde_json::Value>,
    pub(super) exec: Option<Exec>,
}

/// A credential plugin.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Exec {
    pub(super) api_version: Option<String>,
    pub(super) command: Option<String>,
    pub(super) args: Option<Vec<String>>,
    pub(super) env: Option<Vec<Variable>>,
    pub(super) interactive_mode: Option<String>,
    pub(super) provide_cluster_info: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Variable {
    pub(super) name: Option<String>,
    pub(super) value: Option<String>,
}

/// A named cluster, context or user, and its file.
pub(super) struct Entry<T> {
    pub(super) file: PathBuf,
    pub(super) name: String,
    pub(super) value: T,
}

impl<T> Entry<T> {
    /// A member's name in messages, such as `user "dev": tokenFile`.
    pub(super) fn member(&self, kind: &str, member: &str) -> String {
        format!("{kind} {:?}: {member}", self.name)
    }

    pub(super) fn refuse(&self, kind: &str, member: &str, problem: impl Into<String>) -> Error {
        Error::Member { file: self.file.clone(), member: self.member(kind, member), problem: problem.into() }
    }

    pub(super) fn required<'a>(&self, kind: &str, member: &str, value: Option<&'a str>) -> Result<&'a str, Error> {
        given(value).ok_or_else(|| self.refuse(kind, member, "it is not set; set it"))
    }

    /// Resolves a path relative to the file.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The content of a pair of members such as `client-key` and `client-key-data`. At most one of them may be set.
    pub(super) fn content(
        &self,
        kind: &str,
        (member, path): (&str, Option<&str>),
        (data_member, data): (&str, Option<&str>),
    ) -> Result<Option<FileContent>, Error> {
        let named = |member| format!("{}: {}", self.file.display(), self.member(kind, member));
        match (given(path), given(data)) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                Err(self.refuse(kind, member, format!("{data_member} is set as well; remove one of the two")))
            }
            (Some(path), None) => Ok(Some(FileContent::File { member: named(member), path: self.path(path) })),
            (None, Some(data)) => {
                let lines: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
                let bytes = base64::engine::general_purpose::STANDARD.decode(lines);
                let bytes = bytes.map_err(|_| self.refuse(kind, data_member, "it is not base64; encode it again"))?;
                Ok(Some(FileContent::Inline { member: named(data_member), bytes: Secret::new(bytes) }))
            }
        }
    }
}

/// The trimmed text, if it is not blank.
pub(super) fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// Kubeconfig files, merged.
#[derive(Default)]
pub(super) struct Files {
    read: Vec<PathBuf>,
    current_context: Option<String>,
    pub(super) clusters: Vec<Entry<ClusterEntry>>,
    pub(super) contexts: Vec<Entry<Context>>,
    pub(super) users: Vec<Entry<User>>,
}

impl Files {
    /// Reads files. Missing files are skipped unless they are required.
    pub(super) fn read(paths: &[PathBuf], required: bool) -> Result<Self, Error> {
        let mut files = Self::default();
        for path in paths {
            match files::read(path) {
                Ok(bytes) => files.add(path, &bytes)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {}
                Err(source) => return Err(Error::Read { path: path.clone(), source }),
            }
        }
        Ok(files)
    }

    /// Adds a file. Entries of earlier files win.
    fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let Document { api_version, kind, current_context, clusters, contexts, users } = parse(path, bytes)?;
        let refused =
            |member: &str, problem: String| Error::Member { file: path.into(), member: member.into(), problem };
        match (given(api_version.as_deref()), given(kind.as_deref())) {
            (Some(other), _) if other != "v1" => {
                return Err(refused("apiVersion", format!("{other:?} is not supported; use v1")));
            }
            (_, Some(other)) if other != "Config" => {
                return Err(refused("kind", format!("{other:?} is not a kubeconfig; use Config")));
            }
            _ => {}
        }
        add_all(&mut self.clusters, path, "clusters", clusters)?;
        add_all(&mut self.contexts, path, "contexts", contexts)?;
        add_all(&mut self.users, path, "users", users)?;
        let current_context = given(current_context.as_deref()).map(str::to_owned);
        self.current_context = self.current_context.take().or(current_context);
        self.read.push(path.to_owned());
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.contexts.is_empty() && self.users.is_empty()
    }

    pub(super) fn names(&self) -> String {
        self.read.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn context_names(&self) -> String {
        match self.contexts.as_slice() {
            [] => "(there is none)".to_owned(),
            all => all.iter().map(|context| context.name.as_str()).collect::<Vec<_>>().join(", "),
        }
    }

    pub(super) fn current_context(&self) -> Option<&str> {
        self.current_context.as_deref()
    }
}

/// The entry with this name.
pub(super) fn find<'a, T>(entries: &'a [Entry<T>], name: &str) -> Option<&'a Entry<T>> {
    entries.iter().find(|entry| entry.name == name)
}

fn add_all<T: Default>(
    all: &mut Vec<Entry<T>>,
    file: &Path,
    list: &str,
    entries: Option<Vec<Named<T>>>,
) -> Result<(), Error> {
    for Named { name, value } in entries.into_iter().flatten() {
        let name = name.unwrap_or_default();
        match all.iter().find(|entry| entry.name == name) {
            Some(other) if other.file == file => {
                let problem = format!("the name {name:?} is used twice; remove or rename one of the two");
                return Err(Error::Member { file: file.into(), member: list.into(), problem });
            }
            Some(_) => {}
            None => all.push(Entry { file: file.into(), name, value: value.unwrap_or_default() }),
        }
    }
    Ok(())
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Document, Error> {
    let refused = |place: String, problem| Error::Parse { path: path.into(), place, problem };
    let text = std::str::from_utf8(bytes);
    let text =
        text.map_err(|error| refused(format!("byte {}", error.valid_up_to()), "it is not UTF-8; save it as UTF-8"))?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Ok(Document::default());
    }
    let (mut path_of_error, mut parsed) = (None, None);
    let whole = serde_saphyr::with_deserializer_from_str(text, |yaml| {
        let document: Option<Document> = serde_path_to_error::deserialize(yaml).map_err(|error| {
            path_of_error = Some(error.path().to_string());
            error.into_inner()
        })?;
        parsed = document;
        Ok(())
    });
    match whole {
        Ok(()) => Ok(parsed.unwrap_or_default()),
        // Like kubectl, this reads the first of several documents.
        Err(error) if matches!(error.without_snippet(), serde_saphyr::Error::MultipleDocuments { .. }) => {
            Ok(parsed.unwrap_or_default())
        }
        Err(error) => Err(refused(place(&error, path_of_error), problem(&error))),
    }
}

/// The member, line and column of an error, as far as they are known.
fn place(error: &serde_saphyr::Error, member: Option<String>) -> String {
    let member = member.filter(|member| member != ".");
    let at = error.location().map(|at| format!("line {}, column {}", at.line(), at.column()));
    member.into_iter().chain(at).collect::<Vec<_>>().join(", ")
}

/// What is wrong. The error's own text would quote the file.
fn problem(error: &serde_saphyr::Error) -> &'static str {
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { .. } => "a key is used twice; remove one of the two",
        _ => "the value has the wrong type or is not YAML; `kubectl config view` shows more",
    }
}
