//! The credentials of every request to the API server, read from files or from a credential plugin.
//!
//! | when | what happens |
//! | --- | --- |
//! | at start | files are read; unusable ones are an error |
//! | every 5 s | files are read again; the next request uses what changed |
//! | shortly before a plugin's credentials expire | the plugin runs again |
//! | after a 401 or a failed TLS handshake | files are read and the plugin runs at once; the request is sent again |
//! | a later read fails | the old credentials stay, with a warning at growing intervals |
//!
//! One task at a time reads; all requests share it. It goes on when a request stops waiting, and ends with this source.

use std::{sync::Arc, time::Duration};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use http::{HeaderValue, Uri};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{
    connector::{ApiClient, Connector},
    kubeconfig::{
        access::ApiAccess,
        content::{FileContent, Secret},
        server::Trust,
        user::Login,
    },
    plugin::{self, Printed},
    tls::{self, TlsMaterial},
};
use crate::{
    clock::Clock,
    files,
    reconcile::{fault_log::Reminder, retry},
};

/// How often files are read.
const READ_EVERY: Duration = Duration::from_secs(5);
/// A plugin runs again this long before its credentials expire. For short-lived ones, it is a quarter of their
/// lifetime.
const RENEW_AHEAD: Duration = Duration::from_secs(30);
/// A plugin's credentials are used at least this long, even if they expire sooner.
const MIN_USE: Duration = Duration::from_secs(10);
/// A plugin's credentials are used at most this long.
const MAX_USE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Delays after plugin runs that failed or did not help: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Time limit of a plugin: the first, and the longest after it doubled.
const PLUGIN_LIMIT: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(120));

/// Why there are no credentials.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A file or a member of the kubeconfig cannot be used. The text names it, and how to fix it.
    #[error("{0}")]
    Unusable(String),
    #[error(transparent)]
    Plugin(#[from] plugin::Error),
    /// The task that reads them panicked.
    #[error("credentials were not read: the task ended")]
    Ended,
}

/// What was read, not yet checked.
#[derive(Clone, PartialEq, Eq, Default)]
struct Material {
    tls: TlsMaterial,
    token: Option<Secret>,
}

/// What requests are sent with.
#[derive(Clone)]
pub(super) struct CurrentCredentials {
    /// Grows with every change.
    pub(super) generation: u64,
    pub(super) http: ApiClient,
    tls: Arc<ClientConfig>,
    pub(super) header: Option<HeaderValue>,
}

/// The result of a task.
#[derive(Clone)]
struct Read {
    material: Material,
    /// What the plugin printed, if it ran.
    printed: Option<Printed>,
}

type Task = Shared<BoxFuture<'static, Result<Read, Error>>>;

struct State {
    /// None until a plugin has printed credentials.
    current: Option<CurrentCredentials>,
    material: Material,
    /// The plugin's last output.
    printed: Option<Printed>,
    /// The running task.
    task: Option<Task>,
    read_at: Instant,
    /// When the plugin runs again.
    expires_at: Option<Instant>,
    /// The plugin does not run before this.
    not_before: Instant,
    attempts: u32,
    /// The error of the last attempt.
    failed: Option<Error>,
    warned: Reminder,
    plugin_limit: Duration,
    rng: fastrand::Rng,
}

pub(super) struct CredentialSource {
    access: Arc<ApiAccess>,
    connector: Connector,
    clock: Clock,
    state: Mutex<State>,
}

impl CredentialSource {
    /// Reads the files. A plugin runs with the first request.
    pub(super) fn new(access: ApiAccess) -> Result<Self, Error> {
        let connector = Connector::new(&access);
        let now = Instant::now();
        let state = State {
            current: None,
            material: Material::default(),
            printed: None,
            task: None,
            read_at: now + READ_EVERY,
            expires_at: None,
            not_before: now,
            attempts: 0,
            failed: None,
            warned: Reminder::default(),
            plugin_limit: PLUGIN_LIMIT.0,
            rng: fastrand::Rng::new(),
        };
        let source = Self { access: Arc::new(access), connector, clock: Clock::start(), state: Mutex::new(state) };
        let material = read(&source.access, None)?;
        let current = source.build(&material, None)?;
        let has_all = !source.has_plugin();
        {
            let mut state = source.state.lock();
            state.material = material;
            state.current = has_all.then_some(current);
        }
        Ok(source)
    }

    fn has_plugin(&self) -> bool {
        matches!(self.access.login, Login::Plugin(_))
    }

    pub(super) fn server(&self) -> &Uri {
        &self.access.server
    }

    pub(super) fn access(&self) -> &ApiAccess {
        &self.access
    }

    /// The current credentials. Waits only while there are none.
    pub(super) async fn current(&self) -> Result<CurrentCredentials, Error> {
        let (current, task) = self.current_and_task();
        let Some(current) = current else {
            let Some(task) = task else { return Err(self.failure()) };
            let read = task.clone().await;
            self.take(&task, read, None);
            let current = self.state.lock().current.clone();
            return current.ok_or_else(|| self.failure());
        };
        let Some(task) = task else { return Ok(current) };
        if let Some(read) = task.clone().now_or_never() {
            self.take(&task, read, None);
        }
        Ok(self.state.lock().current.clone().unwrap_or(current))
    }

    fn failure(&self) -> Error {
        self.state.lock().failed.clone().unwrap_or(Error::Ended)
    }

    /// The current credentials and the running task. Starts a task if one is due.
    fn current_and_task(&self) -> (Option<CurrentCredentials>, Option<Task>) {
        let mut state = self.state.lock();
        let now = Instant::now();
        let is_over = state.current.is_none() || state.expires_at.is_some_and(|at| now >= at);
        let runs_plugin = self.has_plugin() && is_over && now >= state.not_before;
        let is_due = runs_plugin || (state.current.is_some() && now >= state.read_at);
        let task = match state.task.clone() {
            None if is_due => Some(self.begin(&mut state, runs_plugin)),
            task => task,
        };
        (state.current.clone(), task)
    }

    /// Reads files again and runs the plugin, after the credentials of this generation were refused. True if there are
    /// newer ones now.
    pub(super) async fn renew(&self, refused: u64) -> bool {
        let is_newer = |state: &State| state.current.as_ref().is_some_and(|current| current.generation != refused);
        let task = {
            let mut state = self.state.lock();
            if is_newer(&state) {
                return true;
            }
            match state.task.clone() {
                Some(task) => task,
                None => {
                    // With a server that refuses everything, the plugin must not run for every request.
                    let runs_plugin = self.has_plugin() && Instant::now() >= state.not_before;
                    self.begin(&mut state, runs_plugin)
                }
            }
        };
        let read = task.clone().await;
        self.take(&task, read, Some(refused));
        is_newer(&self.state.lock())
    }

    /// Starts a task that runs the plugin if asked to, and reads the files.
    fn begin(&self, state: &mut State, runs_plugin: bool) -> Task {
        let (access, before, limit) = (self.access.clone(), state.printed.clone(), state.plugin_limit);
        let work = tokio::spawn(async move {
            let printed = match &access.login {
                Login::Plugin(plugin) if runs_plugin => Some(plugin::run(plugin, limit).await?),
                _ => None,
            };
            let used = printed.clone().or(before);
            let material = tokio::task::spawn_blocking(move || read(&access, used.as_ref()));
            Ok(Read { material: material.await.map_err(|_| Error::Ended)??, printed })
        });
        let work = AbortOnDropHandle::new(work);
        let task = async move { work.await.unwrap_or(Err(Error::Ended)) }.boxed().shared();
        state.task = Some(task.clone());
        task
    }

    /// Applies the result of a task, once.
    fn take(&self, task: &Task, read: Result<Read, Error>, refused: Option<u64>) {
        let mut state = self.state.lock();
        if !state.task.as_ref().is_some_and(|current| current.ptr_eq(task)) {
            return;
        }
        let now = Instant::now();
        (state.task, state.read_at) = (None, now + READ_EVERY);
        let applied = read.and_then(|read| self.apply(&mut state, read, now));
        match applied {
            // The plugin's new credentials may be refused as well. It must not run again at once.
            Ok(ran) if ran && refused.is_some() => state.back_off(now),
            Ok(ran) => {
                if ran {
                    state.attempts = 0;
                }
                if state.warned.over() {
                    tracing::info!("credentials read again");
                }
            }
            Err(error) => {
                if matches!(error, Error::Plugin(plugin::Error::Late { .. })) {
                    state.plugin_limit = (state.plugin_limit * 2).min(PLUGIN_LIMIT.1);
                }
                state.back_off(now);
                if state.current.is_some() && state.warned.is_due(self.clock.now()) {
                    tracing::warn!(%error, "credentials not read; keeping the old ones and retrying");
                }
                state.failed = Some(error);
            }
        }
    }

    /// Makes the result the current credentials if it differs from them. True if the plugin ran.
    fn apply(&self, state: &mut State, read: Read, now: Instant) -> Result<bool, Error> {
        let Read { material, printed } = read;
        if material != state.material || state.current.is_none() {
            let current = self.build(&material, Some(state))?;
            tracing::debug!(generation = current.generation, "credentials changed; using the new ones");
            (state.current, state.material) = (Some(current), material);
        }
        let ran = printed.is_some();
        if let Some(printed) = printed {
            let used_for = |lasts: Duration| lasts.saturating_sub(RENEW_AHEAD.min(lasts / 4)).max(MIN_USE);
            state.expires_at = printed.lasts.map(|lasts| now + used_for(lasts.min(MAX_USE)));
            state.printed = Some(printed);
        }
        Ok(ran)
    }

    /// A client and a header. Connections are kept unless certificates changed.
    fn build(&self, material: &Material, before: Option<&State>) -> Result<CurrentCredentials, Error> {
        let header = match (&self.access.login, &material.token) {
            (Login::Basic(header), _) => Some(header.clone()),
            (login, Some(token)) => Some(bearer(token, login)?),
            _ => None,
        };
        let old = before.and_then(|state| Some((state.current.as_ref()?, &state.material)));
        let (tls, http) = match old {
            Some((current, old)) if old.tls == material.tls => (current.tls.clone(), current.http.clone()),
            _ => {
                let tls = tls::config(&self.access, &material.tls).map_err(Error::Unusable)?;
                (tls.clone(), self.connector.http(tls))
            }
        };
        let generation = old.map_or(1, |(current, _)| current.generation + 1);
        Ok(CurrentCredentials { generation, http, tls, header })
    }

    /// The header for a proxy that the request itself is sent to.
    pub(super) fn proxy_authorization(&self) -> Option<&HeaderValue> {
        self.connector.proxy_authorization(&self.access.server)
    }

    /// Drops idle connections after a request got no answer: they may be dead, too.
    pub(super) fn drop_connections(&self, generation: u64) {
        let mut state = self.state.lock();
        if let Some(current) = state.current.as_mut().filter(|current| current.generation == generation) {
            current.http = self.connector.http(current.tls.clone());
        }
    }
}

impl State {
    fn back_off(&mut self, now: Instant) {
        self.attempts = self.attempts.saturating_add(1);
        self.not_before = now + retry::backoff(BACKOFF.0, BACKOFF.1, self.attempts, self.rng.u64(..));
    }
}

fn read(access: &ApiAccess, printed: Option<&Printed>) -> Result<Material, Error> {
    let bytes = |content: &FileContent| content.read().map_err(Error::Unusable);
    let bundle = match &access.trust {
        Trust::Bundle(content) => Some(bytes(content)?),
        Trust::System | Trust::Anything => None,
    };
    let identity = match &access.identity {
        Some((certificate, key)) => Some((bytes(certificate)?, bytes(key)?)),
        None => printed.and_then(|printed| printed.identity.clone()),
    };
    let token = match &access.login {
        Login::Token { file, inline } => Some(token(file.as_ref(), inline.as_ref())?),
        Login::Plugin(_) => printed.and_then(|printed| printed.token.clone()),
        Login::None | Login::Basic(_) => None,
    };
    Ok(Material { tls: TlsMaterial { bundle, identity }, token })
}

/// The token in the file, or the one in the kubeconfig if the file cannot be used.
fn token(file: Option<&FileContent>, inline: Option<&Secret>) -> Result<Secret, Error> {
    let from_file = file.map(|content| {
        let bytes = content.read()?;
        let token = files::token(bytes.expose());
        token
            .map(|token| Secret::new(token.as_bytes()))
            .map_err(|what| content.problem(&format!("the file {what}; write one token into it")))
    });
    match (from_file, inline) {
        (Some(Ok(token)), _) => Ok(token),
        (Some(Err(problem)), None) => Err(Error::Unusable(problem)),
        (_, Some(inline)) => Ok(inline.clone()),
        (None, None) => Err(Error::Ended),
    }
}

fn bearer(token: &Secret, login: &Login) -> Result<HeaderValue, Error> {
    let value = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat());
    let mut value = value.map_err(|_| {
        let problem = "the token has characters that cannot be sent";
        match login {
            Login::Plugin(plugin) => plugin::Error::Output { name: plugin.name(), problem: problem.to_owned() }.into(),
            _ => Error::Unusable(problem.to_owned()),
        }
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
