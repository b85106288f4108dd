//! Finds the cluster that this pod runs in, by its service account.

use std::path::Path;

use super::{
    Environment,
    access::{ApiAccess, Origin},
    content::FileContent,
    server::Trust,
    user::Login,
};
use crate::files;

pub(super) const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The access of a service account. `Err(None)` means that this is not a pod.
pub(super) fn find(mount: &Path, environment: &Environment) -> Result<ApiAccess, Option<String>> {
    let text =
        |name| environment.get(name).and_then(|value| value.to_str()).map(str::trim).filter(|text| !text.is_empty());
    let (Some(host), Some(port)) = (text("KUBERNETES_SERVICE_HOST"), text("KUBERNETES_SERVICE_PORT")) else {
        return Err(None);
    };
    let token = mount.join("token");
    if !token.exists() {
        let problem = "the file does not exist; set automountServiceAccountToken, or give --kubeconfig FILE";
        return Err(Some(format!("{}: {problem}", token.display())));
    }
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let access = ApiAccess::anonymous(&format!("https://{host}:{port}"))
        .map_err(|problem| Some(format!("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: {problem}")))?;
    let proxies = ["HTTPS_PROXY", "https_proxy"];
    if let Some((name, _)) = environment.first(proxies) {
        tracing::info!(name, "proxy of the environment is ignored inside the cluster");
    }
    // Only the token is required.
    let namespace = files::read(&mount.join("namespace")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let namespace = namespace.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let file = |name: &str| FileContent::File { member: "the service account".to_owned(), path: mount.join(name) };
    let trust = if mount.join("ca.crt").exists() { Trust::Bundle(file("ca.crt")) } else { Trust::System };
    Ok(ApiAccess {
        trust,
        login: Login::Token { file: Some(file("token")), inline: None },
        namespace: namespace.unwrap_or(access.namespace),
        origin: Origin { context: None, file: mount.to_owned() },
        ..access
    })
}
