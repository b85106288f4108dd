//! Finds the cluster as kubectl does, and refuses at start what cannot be used.
//!
//! | looked at, in this order | rule |
//! | --- | --- |
//! | `--kubeconfig` | this file alone, which has to be there |
//! | `KUBECONFIG` | a list of files; missing ones are skipped |
//! | `~/.kube/config` | where `KUBECONFIG` is not set |
//! | a pod's service account | where none of these names a cluster |
//!
//! Of several files, the first one that names a cluster, a user, a context or the current context wins. Relative paths
//! are relative to their file. A member that changes where we connect, or as whom, has kubectl's meaning or is refused
//! by name. Blank is absent. Only the chosen context is looked at. Credentials are not sent to a plain `http` address,
//! unless it is on this machine.

pub(super) mod access;
mod address;
mod file;
mod in_cluster;
pub(super) mod proxy;
mod server;
pub(super) mod user;

use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use access::{ApiAccess, Login, Origin};

use file::{Entry, Files};

/// The environment variables that decide which cluster is found. Their values may hold a proxy's password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<(&'static str, OsString)>);

impl Environment {
    /// The variables that are looked at.
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

    /// Takes what is set and not empty.
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
    /// This file alone.
    pub kubeconfig: Option<PathBuf>,
    /// The context, instead of the current one.
    pub context: Option<String>,
    /// The environment.
    pub environment: Environment,
}

/// Why no cluster was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kubeconfig cannot be read.
    #[error("cannot read the kubeconfig {path}: {source}; check the path and who may read the file")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A kubeconfig is not YAML, or a member has another type. The text is not shown, as it may hold secrets.
    #[error("{path}: {place}: {problem}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The member, line and column, if they are known.
        place: String,
        /// What is wrong, and how to fix it.
        problem: &'static str,
    },
    /// A member cannot be used.
    #[error("{file}: {member}: {problem}")]
    Member {
        /// The file.
        file: PathBuf,
        /// The entry and the member, such as `user "dev": tokenFile`.
        member: String,
        /// What is wrong with it, and how to fix it.
        problem: String,
    },
    /// The context is in none of the files.
    #[error("the context {context:?} is not in {files}; choose one of: {known}")]
    NoSuchContext {
        /// The context.
        context: String,
        /// The files.
        files: String,
        /// Those that are there.
        known: String,
    },
    /// The context needs a kubeconfig, and there is none.
    #[error(
        "the context {context:?} needs a kubeconfig: looked at {looked_at}; give --kubeconfig FILE, or set KUBECONFIG"
    )]
    NoKubeconfig {
        /// The context.
        context: String,
        /// The files.
        looked_at: String,
    },
    /// No context is chosen.
    #[error("{files}: current-context is not set; set it, or choose with --context one of: {known}")]
    NoContext {
        /// The files.
        files: String,
        /// The contexts that are there.
        known: String,
    },
    /// There is no kubeconfig, and this is not a pod with a service account.
    #[error(
        "no cluster found: looked at {looked_at}; give --kubeconfig FILE, set KUBECONFIG, or run in a pod with a service \
         account"
    )]
    Nothing {
        /// Everything that was looked at.
        looked_at: String,
    },
    /// The service account cannot be used.
    #[error("cannot use the pod's service account: {0}")]
    InCluster(String),
    /// An environment variable cannot be used.
    #[error("{name} in the environment: {problem}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// Finds the cluster.
///
/// # Errors
/// When there is none, or what describes it cannot be used.
pub(super) fn find(search: &Search) -> Result<ApiAccess, Error> {
    let paths = paths(search);
    let files = Files::read(&paths, search.kubeconfig.is_some())?;
    if files.is_empty() && search.kubeconfig.is_none() && search.context.is_none() {
        return in_cluster::find(Path::new(in_cluster::MOUNT), &search.environment).map_err(|error| match error {
            Some(problem) => Error::InCluster(problem),
            None => Error::Nothing { looked_at: looked_at(&paths) },
        });
    }
    match &search.context {
        Some(context) if files.names().is_empty() => {
            Err(Error::NoKubeconfig { context: context.clone(), looked_at: shown(&paths) })
        }
        _ => from_files(&files, search),
    }
}

/// The access that the chosen context describes.
fn from_files(files: &Files, search: &Search) -> Result<ApiAccess, Error> {
    let named = files.names();
    let known = || files.contexts();
    let context = match (&search.context, files.current_context()) {
        (Some(context), _) => context.clone(),
        (None, Some(current)) => current.to_owned(),
        (None, None) => return Err(Error::NoContext { files: named, known: known() }),
    };
    let Some(chosen) = files.context(&context) else {
        return Err(Error::NoSuchContext { context, files: named, known: known() });
    };
    let cluster_name = chosen.required("context", "cluster", chosen.value.cluster.as_deref())?;
    let cluster = files.cluster(cluster_name).ok_or_else(|| {
        chosen.refuse("context", "cluster", format!("there is no cluster {cluster_name:?} in {named}; add it"))
    })?;
    let user = match file::given(chosen.value.user.as_deref()) {
        None => None,
        Some(name) => Some(files.user(name).ok_or_else(|| {
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

fn looked_at(paths: &[PathBuf]) -> String {
    format!("{}, the service account in {}", shown(paths), in_cluster::MOUNT)
}

fn shown(paths: &[PathBuf]) -> String {
    match paths {
        [] => "no file, as HOME is not set".to_owned(),
        paths => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests;
