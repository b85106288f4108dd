//! The one source of credentials: what every request to the API server is sent with.
//!
//! | when | what happens |
//! | --- | --- |
//! | at start | files are read; what cannot be used is refused |
//! | every 5 s | files are read again; what changed is used from the next request on |
//! | shortly before a plugin's credentials end | the plugin runs again |
//! | after a 401 or a failed handshake | files are read and the plugin runs at once; the request is sent once more |
//! | what is read then cannot be used | the old credentials stay, with a warning that is repeated at growing intervals |
//!
//! The work is a task that this source owns: a request that gives up waiting does not end it, and other requests wait for
//! the same one.

use std::{sync::Arc, time::Duration};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use http::{HeaderValue, Uri};
use parking_lot::{Mutex, MutexGuard};
use rustls::ClientConfig;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{
    connector::{ApiClient, Connector},
    kubeconfig::access::{ApiAccess, FileContent, Login, Secret, Trust},
    plugin::{self, Printed},
    tls::{self, TlsMaterial},
};
use crate::{
    clock::Clock,
    reconcile::{notices::Reminder, retry},
};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A plugin runs again so long before its credentials end, or after three quarters of their time.
const AHEAD: Duration = Duration::from_secs(30);
/// Credentials that end sooner are used for so long all the same.
const LEAST: Duration = Duration::from_secs(10);
/// Credentials that last longer are replaced by then all the same.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// Delays after attempts that did not help.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long a plugin may run: at first, and at most once that was too short.
const PLUGIN_LIMIT: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(120));

/// Why there are no credentials.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A file or a member cannot be used.
    #[error("{0}")]
    Unusable(String),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The plugin gave none.
    #[error(transparent)]
    Plugin(#[from] plugin::Error),
    /// The task that reads them panicked.
    #[error("credentials were not read: the task ended")]
    Ended,
}

/// What was read, before anything is made of it.
#[derive(Clone, PartialEq, Eq, Default)]
struct Material {
    tls: TlsMaterial,
    token: Option<Secret>,
}

/// What requests are sent with.
#[derive(Clone)]
pub(super) struct Present {
    /// Grows with every change.
    pub(super) generation: u64,
    pub(super) http: ApiClient,
    tls: Arc<ClientConfig>,
    pub(super) header: Option<HeaderValue>,
}

/// What a task has read.
#[derive(Clone)]
struct Read {
    material: Material,
    /// What the plugin printed, if it ran.
    printed: Option<Printed>,
}

type Task = Shared<BoxFuture<'static, Result<Read, Error>>>;

struct State {
    present: Option<Present>,
    material: Material,
    /// What the plugin printed last.
    printed: Option<Printed>,
    /// The work that is under way.
    task: Option<Task>,
    look_at: Instant,
    /// When the plugin's credentials should be replaced.
    expires_at: Option<Instant>,
    /// Not sooner after attempts that did not help.
    not_before: Instant,
    attempts: u32,
    /// What the last attempt failed with.
    failed: Option<Error>,
    warned: Reminder,
    plugin_limit: Duration,
    rng: fastrand::Rng,
}

/// The source.
pub(super) struct CredentialSource {
    access: Arc<ApiAccess>,
    connector: Connector,
    clock: Clock,
    state: Mutex<State>,
}

impl CredentialSource {
    /// A source that has read the files.
    ///
    /// # Errors
    /// When a file or a member cannot be used.
    pub(super) fn new(access: ApiAccess) -> Result<Self, Error> {
        let connector = Connector::new(&access);
        let now = Instant::now();
        let state = State {
            present: None,
            material: Material::default(),
            printed: None,
            task: None,
            look_at: now + LOOK_EVERY,
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
        let present = source.made(&material, None)?;
        let has_all = !source.has_plugin();
        {
            let mut state = source.lock();
            state.material = material;
            state.present = has_all.then_some(present);
        }
        Ok(source)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
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

    /// The present credentials. Waits only while there are none.
    pub(super) async fn present(&self) -> Result<Present, Error> {
        let (present, task) = self.looked_at();
        let Some(present) = present else {
            let Some(task) = task else { return Err(self.failure()) };
            let read = task.clone().await;
            self.take(&task, read, None);
            let present = self.lock().present.clone();
            return present.ok_or_else(|| self.failure());
        };
        let Some(task) = task else { return Ok(present) };
        if let Some(read) = task.clone().now_or_never() {
            self.take(&task, read, None);
        }
        Ok(self.lock().present.clone().unwrap_or(present))
    }

    fn failure(&self) -> Error {
        self.lock().failed.clone().unwrap_or(Error::Ended)
    }

    /// The present credentials, and the work that is under way or due.
    fn looked_at(&self) -> (Option<Present>, Option<Task>) {
        let mut state = self.lock();
        let now = Instant::now();
        let is_over = state.present.is_none() || state.expires_at.is_some_and(|at| now >= at);
        let runs_plugin = self.has_plugin() && is_over && now >= state.not_before;
        let is_due = runs_plugin || (state.present.is_some() && now >= state.look_at);
        let task = match state.task.clone() {
            None if is_due => Some(self.begin(&mut state, runs_plugin)),
            task => task,
        };
        (state.present.clone(), task)
    }

    /// Reads files again and runs the plugin, after the credentials of this generation were refused. Says whether there
    /// are others now.
    pub(super) async fn renew(&self, refused: u64) -> bool {
        let is_other = |state: &State| state.present.as_ref().is_some_and(|present| present.generation != refused);
        let task = {
            let mut state = self.lock();
            if is_other(&state) {
                return true;
            }
            match state.task.clone() {
                Some(task) => task,
                None => {
                    // A server that refuses everything is no reason to run the plugin all the time.
                    let runs_plugin = self.has_plugin() && Instant::now() >= state.not_before;
                    self.begin(&mut state, runs_plugin)
                }
            }
        };
        let read = task.clone().await;
        self.take(&task, read, Some(refused));
        is_other(&self.lock())
    }

    /// Begins to read files, and to run the plugin if asked to.
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

    /// Uses what a task has read, once.
    fn take(&self, task: &Task, read: Result<Read, Error>, refused: Option<u64>) {
        let mut state = self.lock();
        if !state.task.as_ref().is_some_and(|current| current.ptr_eq(task)) {
            return;
        }
        let now = Instant::now();
        (state.task, state.look_at) = (None, now + LOOK_EVERY);
        let taken = read.and_then(|read| self.used(&mut state, read, now));
        match taken {
            // Others that are refused as well, or the same: the plugin does not run again at once.
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
                if state.present.is_some() && state.warned.is_due(self.clock.now()) {
                    tracing::warn!(%error, "credentials not read; keeping the old ones and retrying");
                }
                state.failed = Some(error);
            }
        }
    }

    /// Makes what was read the present credentials, if it is something else. Says whether the plugin ran.
    fn used(&self, state: &mut State, read: Read, now: Instant) -> Result<bool, Error> {
        let Read { material, printed } = read;
        if material != state.material || state.present.is_none() {
            let present = self.made(&material, Some(state))?;
            tracing::debug!(generation = present.generation, "credentials changed; using the new ones");
            (state.present, state.material) = (Some(present), material);
        }
        let ran = printed.is_some();
        if let Some(printed) = printed {
            let used_for = |lasts: Duration| lasts.saturating_sub(AHEAD.min(lasts / 4)).max(LEAST);
            state.expires_at = printed.lasts.map(|lasts| now + used_for(lasts.min(LONGEST)));
            state.printed = Some(printed);
        }
        Ok(ran)
    }

    /// A client and a header from what was read. Connections stay while their certificates do.
    fn made(&self, material: &Material, before: Option<&State>) -> Result<Present, Error> {
        let header = match (&self.access.login, &material.token) {
            (Login::Basic(header), _) => Some(header.clone()),
            (login, Some(token)) => Some(bearer(token, login)?),
            _ => None,
        };
        let present = before.and_then(|state| Some((state.present.as_ref()?, &state.material)));
        let (tls, http) = match present {
            Some((present, old)) if old.tls == material.tls => (present.tls.clone(), present.http.clone()),
            _ => {
                let tls = tls::config(&self.access, &material.tls)?;
                (tls.clone(), self.connector.http(tls))
            }
        };
        let generation = present.map_or(1, |(present, _)| present.generation + 1);
        Ok(Present { generation, http, tls, header })
    }

    /// The header for a proxy that reads requests itself.
    pub(super) fn proxy_authorization(&self) -> Option<&HeaderValue> {
        self.connector.proxy_authorization(&self.access.server)
    }

    /// Drops idle connections after a request got no answer: others may be as dead as that one.
    pub(super) fn distrust(&self, generation: u64) {
        let mut state = self.lock();
        if let Some(present) = state.present.as_mut().filter(|present| present.generation == generation) {
            present.http = self.connector.http(present.tls.clone());
        }
    }
}

impl State {
    fn back_off(&mut self, now: Instant) {
        self.attempts = self.attempts.saturating_add(1);
        self.not_before = now + retry::backoff(BACKOFF.0, BACKOFF.1, self.attempts, self.rng.u64(..));
    }
}

/// Reads the files of an access.
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

/// The token in a file, or the one in the kubeconfig where the file has none.
fn token(file: Option<&FileContent>, inline: Option<&Secret>) -> Result<Secret, Error> {
    let from_file = file.map(|content| {
        let bytes = content.read()?;
        let token = bytes.expose();
        let token = token.strip_prefix(b"\xef\xbb\xbf").unwrap_or(token).trim_ascii();
        match token {
            [] => Err(content.problem("the file is empty; write a token into it")),
            token if token.iter().all(u8::is_ascii_graphic) => Ok(Secret::new(token)),
            _ => Err(content.problem("the token has blanks or other characters that cannot be sent; write one token")),
        }
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
