//! Runs a credential plugin: the command of a kubeconfig that prints credentials.
//!
//! Messages name the command and its exit status. Arguments, environment and output may hold secrets and are not shown.
//! The command gets no standard input. Its whole process group is killed after a time limit, and when this process
//! ends.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
};

use super::kubeconfig::{content::Secret, user::Plugin};
use crate::model::time;

/// Bytes of output that are accepted.
const OUTPUT_MAX: u64 = 1 << 20;

/// Why there are no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "credential plugin {name} cannot be started: {reason}; install it, or correct exec.command in the kubeconfig"
    )]
    Start {
        /// The command's file name.
        name: String,
        reason: String,
    },
    #[error("credential plugin {name} failed ({status}); run it by hand to see its messages")]
    Failed { name: String, status: ExitStatus },
    #[error("credential plugin {name} did not end within {limit:?}; the next run may take twice as long, up to 2 min")]
    Late { name: String, limit: Duration },
    #[error("credential plugin {name} printed no usable credentials: {problem}")]
    Output {
        name: String,
        /// What is wrong, without quoting the output.
        problem: String,
    },
}

/// The credentials that a plugin printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Printed {
    pub(super) token: Option<Secret>,
    /// The client's certificate and its key.
    pub(super) identity: Option<(Secret, Secret)>,
    /// Time until they expire.
    pub(super) lasts: Option<Duration>,
}

pub(super) async fn run(plugin: &Plugin, limit: Duration) -> Result<Printed, Error> {
    let name = plugin.name();
    let late = Error::Late { name: name.clone(), limit };
    let output = tokio::time::timeout(limit, output_of(plugin)).await.map_err(|_| late)??;
    let unusable = |problem: &str| Error::Output { name: name.clone(), problem: problem.to_owned() };
    printed(&output, &plugin.api_version).map_err(|problem| unusable(&problem))
}

async fn output_of(plugin: &Plugin) -> Result<Vec<u8>, Error> {
    let name = plugin.name();
    let start = |error: std::io::Error| Error::Start { name: name.clone(), reason: error.to_string() };
    let child = Command::new(&plugin.command)
        .args(&plugin.args)
        .envs(plugin.env.iter().map(|(name, value)| (name, value)))
        .env("KUBERNETES_EXEC_INFO", plugin.info.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let mut running = Running(child);
    let mut output = Vec::new();
    if let Some(stdout) = running.0.stdout.take() {
        stdout.take(OUTPUT_MAX + 1).read_to_end(&mut output).await.map_err(start)?;
    }
    if output.len() as u64 > OUTPUT_MAX {
        return Err(Error::Output { name: name.clone(), problem: "it is larger than 1 MiB".into() });
    }
    let status = running.0.wait().await.map_err(start)?;
    if status.success() { Ok(output) } else { Err(Error::Failed { name, status }) }
}

/// A running command. Dropping it kills its process group.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // An error means that the group has ended already.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    api_version: Option<String>,
    kind: Option<String>,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

fn printed(output: &[u8], api_version: &str) -> Result<Printed, String> {
    // The error's own text would quote the output.
    let credential: Credential = serde_json::from_slice(output).map_err(|error| {
        format!("line {}, column {} is not JSON of an ExecCredential", error.line(), error.column())
    })?;
    if credential.kind.as_deref().is_some_and(|kind| kind != "ExecCredential") {
        return Err("its kind is not ExecCredential".into());
    }
    if credential.api_version.as_deref() != Some(api_version) {
        return Err(format!("its apiVersion is not {api_version}, which exec.apiVersion asks for"));
    }
    let status = credential.status.ok_or("it has no status")?;
    let secret = |text: Option<String>| {
        let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        text.map(|text| Secret::new(text.into_bytes()))
    };
    let token = secret(status.token);
    let identity = match (secret(status.client_certificate_data), secret(status.client_key_data)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("it has a client certificate without a key, or a key without a certificate".into()),
    };
    if token.is_none() && identity.is_none() {
        return Err("it has neither a token nor a client certificate".into());
    }
    let lasts = status.expiration_timestamp.filter(|text| !text.is_empty()).map(|text| remaining(&text)).transpose()?;
    Ok(Printed { token, identity, lasts })
}

/// The time from now until a wall clock time. The caller uses the monotonic clock from then on.
fn remaining(text: &str) -> Result<Duration, String> {
    let until = time::parse(text).ok_or("its expirationTimestamp is not an RFC 3339 time")?;
    let left = until.duration_since(jiff::Timestamp::now());
    Ok(Duration::try_from(left).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "client.authentication.k8s.io/v1";

    fn read(status: &str) -> Result<Printed, String> {
        printed(format!(r#"{{"apiVersion":"{V1}","kind":"ExecCredential","status":{status}}}"#).as_bytes(), V1)
    }

    #[test]
    fn plugin_output_is_read_or_refused_unquoted() {
        // An error never quotes the output, which may hold a secret.
        assert_eq!(read(r#"{"token":" s3cret\n"}"#).unwrap().token, Some(Secret::new(*b"s3cret")));
        let both =
            read(r#"{"clientCertificateData":"c","clientKeyData":"k","expirationTimestamp":"2020-01-01T00:00:00Z"}"#);
        assert_eq!(both.unwrap().lasts, Some(Duration::ZERO), "expired, and used until refused");
        let never = read(r#"{"token":"a","expirationTimestamp":"9999-12-31T23:59:59Z"}"#).unwrap().lasts;
        assert!(never > Some(Duration::from_secs(7_000 * 365 * 86_400)), "{never:?}");
        for status in [
            r#"{"token":""}"#,
            r#"{"clientCertificateData":"s3cret"}"#,
            r#"{"token":"s3cret","expirationTimestamp":"s3cret"}"#,
            r#""s3cret""#,
            "null",
        ] {
            let problem = read(status).unwrap_err();
            assert!(!problem.contains("s3cret"), "{problem}");
        }
        assert!(printed(b"s3cret", V1).is_err_and(|problem| !problem.contains("s3cret")));
        let other = br#"{"apiVersion":"client.authentication.k8s.io/v1beta1","status":{"token":"a"}}"#;
        assert!(printed(other, V1).is_err_and(|problem| problem.contains("apiVersion")));
    }
}
