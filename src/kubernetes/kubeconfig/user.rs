//! Reads the user of a kubeconfig, with the precedence of client-go.
//!
//! | members | rule |
//! | --- | --- |
//! | `tokenFile`, `token` | the file wins if it can be read; not together with `username` |
//! | `username`, `password` | basic authentication |
//! | `client-certificate`, `client-key` (or `-data`) | used in addition to the others |
//! | `exec` | used only if none of the above is set |
//! | `auth-provider` | refused |

use std::path::PathBuf;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{
    Error,
    content::{FileContent, Secret},
    file::{ClusterEntry, Entry, Exec, User, given},
    proxy,
    server::{self, Trust},
};

const KIND: &str = "user";
/// The supported versions of the ExecCredential.
const API_VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
/// The name of the extension with settings for plugins.
const PLUGIN_SETTINGS: &str = "client.authentication.k8s.io/exec";

/// A credential plugin: a command that prints credentials.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) command: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) api_version: String,
    /// The ExecCredential that it gets in `KUBERNETES_EXEC_INFO`.
    pub(crate) info: Value,
}

impl Plugin {
    /// The command's file name. Nothing else of the command may be shown.
    pub(crate) fn name(&self) -> String {
        let name = self.command.file_name().unwrap_or(self.command.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plugin({})", self.name())
    }
}

/// How a request authenticates, apart from a client certificate.
#[derive(Clone, Debug)]
pub(crate) enum Login {
    None,
    /// A bearer token. The file wins if it can be read.
    Token {
        file: Option<FileContent>,
        inline: Option<Secret>,
    },
    /// The value of the `Authorization` header.
    Basic(HeaderValue),
    /// A credential plugin.
    Plugin(Box<Plugin>),
}

pub(super) fn login(user: &Entry<User>, cluster: &Entry<ClusterEntry>) -> Result<Login, Error> {
    let User { token, token_file, username, password, auth_provider, exec, .. } = &user.value;
    if auth_provider.as_ref().is_some_and(|provider| !provider.is_null()) {
        let problem = "auth providers are not supported; use exec, a token or a client certificate";
        return Err(user.refuse(KIND, "auth-provider", problem));
    }
    let inline = given(token.as_deref());
    let file = given(token_file.as_deref());
    let basic = given(username.as_deref()).or(given(password.as_deref()));
    if (inline.is_some() || file.is_some()) && basic.is_some() {
        return Err(user.refuse(KIND, "username", "a token is set as well; remove one of the two"));
    }
    if inline.is_some_and(|token| !token.bytes().all(|c| c.is_ascii_graphic())) {
        return Err(user.refuse(KIND, "token", "it has blanks or other characters that cannot be sent; correct it"));
    }
    if inline.is_some() || file.is_some() {
        let member = format!("{}: {}", user.file.display(), user.member(KIND, "tokenFile"));
        let file = file.map(|path| FileContent::File { member, path: user.path(path) });
        return Ok(Login::Token { file, inline: inline.map(|token| Secret::new(token.as_bytes())) });
    }
    if basic.is_some() {
        let text = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
        let header = proxy::basic(&text(username), &text(password));
        return header.map(Login::Basic).map_err(|problem| user.refuse(KIND, "password", problem));
    }
    match exec {
        Some(exec) if identity(user)?.is_none() => Ok(Login::Plugin(Box::new(plugin(user, exec, cluster)?))),
        _ => Ok(Login::None),
    }
}

/// The client certificate and its key.
pub(super) fn identity(user: &Entry<User>) -> Result<Option<(FileContent, FileContent)>, Error> {
    let User { client_certificate, client_certificate_data, client_key, client_key_data, .. } = &user.value;
    let certificate = ("client-certificate", client_certificate.as_deref());
    let certificate =
        user.content(KIND, certificate, ("client-certificate-data", client_certificate_data.as_deref()))?;
    let key =
        user.content(KIND, ("client-key", client_key.as_deref()), ("client-key-data", client_key_data.as_deref()))?;
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (Some(_), None) => {
            Err(user.refuse(KIND, "client-key", "it is not set, and a client certificate needs it; set it"))
        }
        (None, Some(_)) if is_only_login(user) => {
            let problem = "it is not set, and client-key needs it; set it";
            Err(user.refuse(KIND, "client-certificate", problem))
        }
        (None, _) => Ok(None),
    }
}

/// Whether the user has no credentials but a client certificate. kubectl ignores a lone key if there are others.
fn is_only_login(user: &Entry<User>) -> bool {
    let User { token, token_file, username, password, exec, .. } = &user.value;
    exec.is_none() && [token, token_file, username, password].iter().all(|text| given(text.as_deref()).is_none())
}

pub(super) fn impersonate(user: &Entry<User>) -> Result<HeaderMap, Error> {
    let User { impersonate, as_uid, as_groups, as_user_extra, .. } = &user.value;
    let mut headers = HeaderMap::new();
    let (name, uid) = (given(impersonate.as_deref()), given(as_uid.as_deref()));
    let groups = as_groups.iter().flatten();
    let extra = as_user_extra.iter().flatten();
    if name.is_none() && (uid.is_some() || groups.clone().next().is_some() || extra.clone().next().is_some()) {
        return Err(user.refuse(KIND, "as", "it is not set, but as-uid, as-groups or as-user-extra are; set it"));
    }
    let mut add = |header: &str, member: &str, value: &str| -> Result<(), Error> {
        let refused = || user.refuse(KIND, member, "it cannot be sent in a header; use printable ASCII");
        let header = HeaderName::from_bytes(header.as_bytes()).map_err(|_| refused())?;
        headers.append(header, HeaderValue::from_str(value).map_err(|_| refused())?);
        Ok(())
    };
    if let Some(name) = name {
        add("impersonate-user", "as", name)?;
    }
    if let Some(uid) = uid {
        add("impersonate-uid", "as-uid", uid)?;
    }
    for group in groups {
        add("impersonate-group", "as-groups", group)?;
    }
    for (key, values) in extra {
        let header = format!("impersonate-extra-{}", escaped(&key.to_ascii_lowercase()));
        for value in values.iter().flatten() {
            add(&header, "as-user-extra", value)?;
        }
    }
    Ok(headers)
}

/// Percent-encodes a key for the name of a header.
fn escaped(key: &str) -> String {
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&c);
    key.bytes().map(|c| if is_plain(c) { char::from(c).to_string() } else { format!("%{c:02x}") }).collect()
}

fn plugin(user: &Entry<User>, exec: &Exec, cluster: &Entry<ClusterEntry>) -> Result<Plugin, Error> {
    let command = user.required(KIND, "exec.command", exec.command.as_deref())?;
    let api_version = user.required(KIND, "exec.apiVersion", exec.api_version.as_deref())?;
    if !API_VERSIONS.contains(&api_version) {
        let problem = format!("{api_version:?} is not supported; use {} or {}", API_VERSIONS[0], API_VERSIONS[1]);
        return Err(user.refuse(KIND, "exec.apiVersion", problem));
    }
    match given(exec.interactive_mode.as_deref()) {
        None | Some("Never" | "IfAvailable") => {}
        Some("Always") => {
            let problem = "Always needs a terminal, and there is none here; use IfAvailable or Never";
            return Err(user.refuse(KIND, "exec.interactiveMode", problem));
        }
        Some(_) => return Err(user.refuse(KIND, "exec.interactiveMode", "use Never or IfAvailable")),
    }
    let mut env = Vec::new();
    for variable in exec.env.iter().flatten() {
        let name = user.required(KIND, "exec.env: name", variable.name.as_deref())?;
        let value = variable.value.clone().unwrap_or_default();
        if name.contains(['=', '\0']) || value.contains('\0') {
            return Err(user.refuse(KIND, "exec.env", "a name or a value cannot be passed on; correct it"));
        }
        env.push((name.to_owned(), value));
    }
    let args = exec.args.clone().unwrap_or_default();
    if args.iter().any(|arg| arg.contains('\0')) || command.contains('\0') {
        return Err(user.refuse(KIND, "exec.args", "an argument cannot be passed on; correct it"));
    }
    let mut spec = json!({"interactive": false});
    if exec.provide_cluster_info.unwrap_or_default() {
        spec["cluster"] = cluster_info(cluster)?;
    }
    let info = json!({"kind": "ExecCredential", "apiVersion": api_version, "spec": spec});
    let command = if command.contains('/') { user.path(command) } else { PathBuf::from(command) };
    Ok(Plugin { command, args, env, api_version: api_version.to_owned(), info })
}

/// The `spec.cluster` of the ExecCredential that a plugin gets.
fn cluster_info(cluster: &Entry<ClusterEntry>) -> Result<Value, Error> {
    use base64::Engine as _;
    let value = &cluster.value;
    let mut info = json!({"server": given(value.server.as_deref())});
    let mut set = |member: &str, value: Value| info[member] = value;
    if let Some(name) = given(value.tls_server_name.as_deref()) {
        set("tls-server-name", name.into());
    }
    if value.insecure_skip_tls_verify.unwrap_or_default() {
        set("insecure-skip-tls-verify", true.into());
    }
    if let Some(proxy) = given(value.proxy_url.as_deref()) {
        set("proxy-url", proxy.into());
    }
    if let Trust::Bundle(bundle) = server::trust(cluster)? {
        let bytes = bundle.read().map_err(|problem| cluster.refuse("cluster", "certificate-authority", problem))?;
        let data = base64::engine::general_purpose::STANDARD.encode(bytes.expose());
        set("certificate-authority-data", data.into());
    }
    let settings =
        value.extensions.iter().flatten().find(|extension| extension.name.as_deref() == Some(PLUGIN_SETTINGS));
    if let Some(config) = settings.and_then(|extension| extension.extension.clone()) {
        set("config", config);
    }
    Ok(info)
}
