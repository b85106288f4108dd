//! `pod-registrar check`: checks what an operator can get wrong, before `run`.
//!
//! Each check has one line. A check whose requirement failed is skipped.

mod clocks;

use std::time::Duration;

use bytes::Bytes;
use clap::error::ErrorKind;
use kube::Client;
use serde_json::{Value, json};

use super::{
    DONE, Error, FAILED, collector, informers, owner,
    registry_reader::{Registries, RegistryReader},
    report,
};
use crate::{
    cli::{self, export::CollectorSettings, inspect::CheckSettings, targets::OwnerSettings, values::LeaseName},
    connect::failures::one_line,
    kubernetes::{
        identity,
        kubeconfig::Environment,
        lease::{LeaseClient, LeaseRef},
        rights::{self, RequiredRight},
    },
    model::ids::RecordOwner,
    otlp::{answer::Exported, connection::CollectorConnection, exporter::ExportTransport as _},
    reconcile::outcome::Failure,
};

/// Characters of what is wrong with a setting.
const SETTING_CHARS: usize = 500;
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// The id of the cluster while registries are checked, if it is not known.
const UNKNOWN_ID: &str = "unknown";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckStatus {
    Ok,
    Failed,
    Skipped,
}

/// The result of one check.
#[derive(Clone, Debug)]
pub(super) struct CheckLine {
    name: String,
    result: CheckStatus,
    what: String,
    fix: String,
}

impl CheckLine {
    fn ok(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self { name: name.into(), result: CheckStatus::Ok, what: what.into(), fix: String::new() }
    }

    fn skipped(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self { name: name.into(), result: CheckStatus::Skipped, what: what.into(), fix: String::new() }
    }

    fn failed(name: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name: name.into(), result: CheckStatus::Failed, what: what.into(), fix: fix.into() }
    }

    fn result(&self) -> &'static str {
        match self.result {
            CheckStatus::Ok => "ok",
            CheckStatus::Failed => "failed",
            CheckStatus::Skipped => "skipped",
        }
    }

    fn json(&self) -> Value {
        let fix = Some(&self.fix).filter(|fix| !fix.is_empty());
        json!({"check": self.name, "result": self.result(), "what": self.what, "fix": fix})
    }
}

pub(super) async fn run(settings: CheckSettings, environment: Environment) -> Result<u8, Error> {
    let CheckSettings { cluster, scope, registries, owner, lease, approval_lease, receipts, collector, output, log: _ } =
        settings;
    let mut lines: Vec<CheckLine> = unusable_setting().into_iter().collect();
    // The error of a wrong file has many lines, so it ends the command.
    let registries = Registries::load(registries)?;
    if let Some(count) = registries.described() {
        lines.push(CheckLine::ok("targets file", format!("{count} targets")));
    }
    let mut record_owner = owner::made_up(owner.clone(), UNKNOWN_ID);
    match informers::cluster(cluster, environment) {
        Err(error) => lines.push(CheckLine::failed("cluster", error.to_string(), "")),
        Ok(cluster) => {
            let client = cluster.client();
            let scope = informers::scope(scope);
            of_api_server(&client, &owner, &mut record_owner, &mut lines).await;
            let leases = leases(lease, approval_lease);
            let mut required = RequiredRight::of_run(&scope, owner.cluster_id.is_none(), &leases);
            required.extend(RequiredRight::of_receipts(&scope, receipts.receipts.into_iter().flatten().collect()));
            of_rights(&client, &required, &mut lines).await;
            of_leases(&client, &leases, &mut lines).await;
        }
    }
    of_registries(&registries, &record_owner, &mut lines).await;
    of_collector(collector, &mut lines).await;
    let json = || json!({"ok": !has_failed(&lines), "checks": lines.iter().map(CheckLine::json).collect::<Vec<_>>()});
    report::print(output.output, || table(&lines), json).await?;
    Ok(if has_failed(&lines) { FAILED } else { DONE })
}

/// A variable that `run` refuses, whether `check` uses it or not.
fn unusable_setting() -> Option<CheckLine> {
    let error = cli::parse(["pod-registrar", "run"]).err()?;
    let is_value = matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue);
    let text = error.to_string();
    let what = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    is_value.then(|| CheckLine::failed("settings of run", one_line(what, SETTING_CHARS), ""))
}

fn has_failed(lines: &[CheckLine]) -> bool {
    lines.iter().any(|line| line.result == CheckStatus::Failed)
}

fn table(lines: &[CheckLine]) -> Vec<String> {
    let row = |line: &CheckLine| {
        let separator = if line.fix.is_empty() { "" } else { "; " };
        [line.name.clone(), line.result().to_owned(), format!("{}{separator}{}", line.what, line.fix)]
    };
    report::table(&lines.iter().map(row).collect::<Vec<_>>())
}

/// The Leases that `run` uses, each once.
fn leases(lease: Option<LeaseName>, approval_lease: Option<LeaseName>) -> Vec<LeaseRef> {
    let mut leases: Vec<LeaseRef> = [lease, approval_lease]
        .into_iter()
        .flatten()
        .map(|LeaseName { namespace, name }| LeaseRef { namespace, name })
        .collect();
    leases.dedup();
    leases
}

async fn of_api_server(client: &Client, settings: &OwnerSettings, owner: &mut RecordOwner, lines: &mut Vec<CheckLine>) {
    match rights::date(client).await {
        Err(error) => {
            lines.push(CheckLine::failed("API server", error, "check the cluster's address and the network"));
            return;
        }
        Ok(date) => {
            lines.push(CheckLine::ok("API server", "it answers"));
            lines.push(clocks::line("clock of the API server".to_owned(), date.as_deref()));
        }
    }
    let read = tokio::time::timeout(ANSWER_WITHIN, identity::read(client)).await;
    match read {
        Ok(Ok(uid)) => {
            *owner = owner::made_up(settings.clone(), &uid);
            lines.push(CheckLine::ok("cluster identity", format!("its id is {}", owner.cluster_id)));
        }
        // The controller works without it.
        Ok(Err(error)) if settings.cluster_id.is_some() => {
            lines.push(CheckLine::skipped("cluster identity", format!("--cluster-id is used: {error}")));
        }
        Ok(Err(error)) => lines.push(CheckLine::failed("cluster identity", error.to_string(), "")),
        Err(_) => {
            let what = format!("no answer within {ANSWER_WITHIN:?}");
            lines.push(CheckLine::failed("cluster identity", what, "check the API server"));
        }
    }
}

async fn of_rights(client: &Client, required: &[RequiredRight], lines: &mut Vec<CheckLine>) {
    for right in required {
        let name = format!("right to {}", right.what());
        lines.push(match right.missing(client).await {
            Ok(missing) if missing.is_empty() => CheckLine::ok(name, "granted"),
            Ok(missing) => CheckLine::failed(name, format!("{} is not granted", missing.join(", ")), right.advice()),
            Err(error) => CheckLine::skipped(name, format!("the API server was not asked: {error}")),
        });
    }
}

async fn of_leases(client: &Client, leases: &[LeaseRef], lines: &mut Vec<CheckLine>) {
    if leases.is_empty() {
        let what = "no --lease: one process always leads, and held deletions cannot be approved";
        lines.push(CheckLine::skipped("Lease", what));
    }
    for lease in leases {
        let (name, leases) = (format!("Lease {lease}"), LeaseClient::new(client.clone(), lease.clone()));
        let exists = tokio::time::timeout(ANSWER_WITHIN, leases.exists()).await;
        lines.push(match exists.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_WITHIN:?}"))) {
            Ok(true) => CheckLine::ok(name, "it exists"),
            Ok(false) => CheckLine::failed(name, "it does not exist", "create it; it may be empty"),
            Err(error) => CheckLine::failed(name, error, "check the API server and the rights"),
        });
    }
}

async fn of_registries(registries: &Registries, owner: &RecordOwner, lines: &mut Vec<CheckLine>) {
    for (name, reader) in registries.each_reader(owner) {
        let mut reader = match reader {
            Ok(reader) => reader,
            Err(error) => {
                lines.push(CheckLine::failed(format!("registry {name}"), error.to_string(), ""));
                continue;
            }
        };
        let (line, date) = match ask(&mut reader).await {
            Ok(Answered::Date(date)) => (CheckLine::ok(format!("registry {name}"), "it answers"), Some(date)),
            Ok(Answered::NotAsked) => {
                let what = "the target has no `list`, so nothing is asked that is always allowed";
                (CheckLine::skipped(format!("registry {name}"), what), None)
            }
            Err(failure) => {
                let fix = advice(&failure);
                (CheckLine::failed(format!("registry {name}"), failure.to_string(), fix), None)
            }
        };
        lines.push(line);
        lines.extend(date.map(|date| clocks::line(format!("clock of registry {name}"), date.as_deref())));
    }
}

/// Sends requests without spans and lines. Reachability, certificates and headers are all needed for them.
async fn of_collector(settings: CollectorSettings, lines: &mut Vec<CheckLine>) {
    let paths = [(true, "collector", "v1/traces"), (settings.export_logs, "collector of log lines", "v1/logs")];
    let Some(collector) = collector::collector(settings) else { return };
    for (_, name, path) in paths.into_iter().filter(|(is_used, ..)| *is_used) {
        lines.push(match CollectorConnection::new(collector.clone()) {
            Err(error) => CheckLine::failed(name, error.to_string(), ""),
            Ok(mut connection) => match connection.send(path, Bytes::new()).await {
                Exported::Taken { .. } => CheckLine::ok(name, "it takes requests"),
                Exported::Again { reason, .. } | Exported::Refused { reason } => CheckLine::failed(name, reason, ""),
            },
        });
    }
}

/// The answer of a registry to a request that changes nothing.
enum Answered {
    /// Its header `Date`.
    Date(Option<String>),
    NotAsked,
}

/// Connection, certificates and credentials are all needed for this.
async fn ask(reader: &mut RegistryReader) -> Result<Answered, Failure> {
    match reader {
        RegistryReader::V1(reader) => {
            reader.capabilities().await?;
            reader.session_holder().await?;
            reader.date().await.map(Answered::Date)
        }
        RegistryReader::Mapped(reader) => {
            reader.prepare().await?;
            Ok(reader.probe().await?.map_or(Answered::NotAsked, Answered::Date))
        }
    }
}

fn advice(failure: &Failure) -> &'static str {
    match failure {
        Failure::Unauthorized { .. } => "check the credential's file, and what the registry allows it",
        Failure::Refused { .. } | Failure::NotFound => "check the address and the paths",
        _ => "",
    }
}
