//! Finds the cluster as kubectl does. Unusable settings are an error at the start.
//!
//! | source, in this order | rule |
//! | --- | --- |
//! | `--kubeconfig` | only this file, which must exist |
//! | `KUBECONFIG` | a list of files; missing ones are skipped |
//! | `~/.kube/config` | if `KUBECONFIG` is not set |
//! | a pod's service account | if no file names a cluster |
//!
//! If several files have the same cluster, user, context or current context, the first one wins. Paths are relative to
//! their file. A member that changes the address or the identity means the same as to kubectl, or is refused by name.
//! Blank values count as absent. Only the chosen context is checked. Credentials are not sent to a plain `http`
//! address, unless it is on this machine.

pub(super) mod access;
mod address;
pub(super) mod content;
mod file;
mod in_cluster;
pub(super) mod proxy;
pub(super) mod server;
pub(super) mod user;

use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use access::{ApiAccess, Origin};
use file::{Entry, Files};
use user::Login;

/// The environment variables that decide which cluster is found. Values may hold a proxy's password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<(&'static str, OsString)>);

impl Environment {
    pub const VARIABLES: [&'static str; 10] = [
        "KUBECONFIG",
        "HOME",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT",
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "NO_PROXY",
        "no_proxy",
    ];

    /// Keeps the variables that are set and not empty.
    pub fn of(look_up: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = Self::VARIABLES.into_iter().filter_map(|name| Some((name, look_up(name)?)));
        Self(set.filter(|(_, value)| !value.is_empty()).collect())
    }

    fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().find(|(set, _)| *set == name).map(|(_, value)| value.as_os_str())
    }

    /// The first of these variables that is set, with its name.
    fn first(&self, names: [&'static str; 2]) -> Option<(&'static str, &OsStr)> {
        names.into_iter().find_map(|name| Some((name, self.get(name)?)))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Where to look for the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Replaces the files of the environment.
    pub kubeconfig: Option<PathBuf>,
    /// Overrides `current-context`.
    pub context: Option<String>,
    pub environment: Environment,
}

/// Why no cluster was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the kubeconfig {path}: {source}; check the path and who may read the file")]
    Read { path: PathBuf, source: std::io::Error },
    /// The file is not YAML, or a member has another type. The text is not shown because it may hold secrets.
    #[error("{path}: {place}: {problem}")]
    Parse {
        path: PathBuf,
        /// The member, line and column, as far as they are known.
        place: String,
        /// What is wrong, and how to fix it.
        problem: &'static str,
    },
    #[error("{file}: {member}: {problem}")]
    Member {
        file: PathBuf,
        /// The entry and the member, such as `user "dev": tokenFile`.
        member: String,
        /// What is wrong, and how to fix it.
        problem: String,
    },
    #[error("the context {context:?} is not in {files}; choose one of: {known}")]
    NoSuchContext { context: String, files: String, known: String },
    #[error(
        "the context {context:?} needs a kubeconfig, and there is none (searched: {searched}); give --kubeconfig FILE, \
         or set KUBECONFIG"
    )]
    NoKubeconfig { context: String, searched: String },
    #[error("{files}: current-context is not set; set it, or choose with --context one of: {known}")]
    NoContext { files: String, known: String },
    /// There is neither a kubeconfig nor a service account.
    #[error(
        "no cluster found (searched: {searched}); give --kubeconfig FILE, set KUBECONFIG, or run in a pod with a \
         service account"
    )]
    Nothing { searched: String },
    #[error("cannot use the pod's service account: {0}")]
    InCluster(String),
    #[error("{name} in the environment: {problem}")]
    Variable {
        name: &'static str,
        /// What is wrong, and how to fix it.
        problem: String,
    },
}

pub(super) fn find(search: &Search) -> Result<ApiAccess, Error> {
    let paths = paths(search);
    let files = Files::read(&paths, search.kubeconfig.is_some())?;
    if files.is_empty() && search.kubeconfig.is_none() && search.context.is_none() {
        return in_cluster::find(Path::new(in_cluster::MOUNT), &search.environment).map_err(|error| match error {
            Some(problem) => Error::InCluster(problem),
            None => Error::Nothing { searched: searched(&paths) },
        });
    }
    match &search.context {
        Some(context) if files.names().is_empty() => {
            Err(Error::NoKubeconfig { context: context.clone(), searched: shown(&paths) })
        }
        _ => from_files(&files, search),
    }
}

/// The access of the chosen context.
fn from_files(files: &Files, search: &Search) -> Result<ApiAccess, Error> {
    let named = files.names();
    let known = || files.context_names();
    let context = match (&search.context, files.current_context()) {
        (Some(context), _) => context.clone(),
        (None, Some(current)) => current.to_owned(),
        (None, None) => return Err(Error::NoContext { files: named, known: known() }),
    };
    let Some(chosen) = file::find(&files.contexts, &context) else {
        return Err(Error::NoSuchContext { context, files: named, known: known() });
    };
    let cluster_name = chosen.required("context", "cluster", chosen.value.cluster.as_deref())?;
    let cluster = file::find(&files.clusters, cluster_name).ok_or_else(|| {
        chosen.refuse("context", "cluster", format!("there is no cluster {cluster_name:?} in {named}; add it"))
    })?;
    let user = match file::given(chosen.value.user.as_deref()) {
        None => None,
        Some(name) => Some(file::find(&files.users, name).ok_or_else(|| {
            chosen.refuse("context", "user", format!("there is no user {name:?} in {named}; add it"))
        })?),
    };
    let anonymous = Entry { file: chosen.file.clone(), name: String::new(), value: file::User::default() };
    let user = user.unwrap_or(&anonymous);
    let login = user::login(user, cluster)?;
    let identity = user::identity(user)?;
    let trust = server::trust(cluster)?;
    let server = server::address(cluster)?;
    let server_name = server::server_name(cluster)?;
    let proxy = proxy::find(cluster, &server, &search.environment)?;
    let is_readable = server.scheme_str() == Some("http") && !(proxy.is_none() && proxy::is_loopback(&server));
    let is_withheld = is_readable && (identity.is_some() || !matches!(login, Login::None));
    let (identity, login) = if is_withheld { (None, Login::None) } else { (identity, login) };
    Ok(ApiAccess {
        server_name,
        trust,
        identity,
        login,
        is_withheld,
        impersonate: user::impersonate(user)?,
        proxy,
        namespace: file::given(chosen.value.namespace.as_deref()).unwrap_or("default").to_owned(),
        origin: Origin { context: Some(context), file: cluster.file.clone() },
        server,
    })
}

fn paths(search: &Search) -> Vec<PathBuf> {
    if let Some(path) = &search.kubeconfig {
        return vec![path.clone()];
    }
    if let Some(list) = search.environment.get("KUBECONFIG") {
        let mut paths: Vec<PathBuf> = std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect();
        let mut seen = std::collections::HashSet::new();
        paths.retain(|path| seen.insert(path.clone()));
        return paths;
    }
    search.environment.get("HOME").map(|home| Path::new(home).join(".kube/config")).into_iter().collect()
}

fn searched(paths: &[PathBuf]) -> String {
    format!("{}, the service account in {}", shown(paths), in_cluster::MOUNT)
}

fn shown(paths: &[PathBuf]) -> String {
    match paths {
        [] => "no file, because HOME is not set".to_owned(),
        paths => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests;
