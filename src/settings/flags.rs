//! What can be typed.
//!
//! Values are text here: they are read one step later, where it is known whether a value came from a flag or from the
//! environment, so that a refusal can say so. The comments on the fields are the help texts and the README's table.

use clap::{Args, Parser, Subcommand};

/// Keeps an external registry of systems equal to the pods of a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "pod-registrar", version, arg_required_else_help = true, disable_help_subcommand = true)]
pub(super) struct Program {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Keep the registry equal to the cluster's pods, until told to stop.
    Run(Box<Run>),
    /// Serve the reference registry.
    Registry(Registry),
    /// Show the whole at work: a reference registry with its page, a registrar, and pods that come and go.
    Demo(Demo),
    /// Show the cluster's pods as they change; nothing is registered.
    Watch(Watch),
    /// Approve deletions that the controller holds: exactly those that were shown under this name.
    Approve(Approve),
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) cluster: Cluster,
    #[command(flatten)]
    pub(super) scope: Scope,
    #[command(flatten)]
    pub(super) record: Record,
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    pub(super) identity: Identity,
    #[command(flatten)]
    pub(super) election: Election,
    #[command(flatten)]
    pub(super) holds: Holds,
    /// The IP address and port that serve health and metrics. `[::]` listens on IPv6 and IPv4, a port alone such as
    /// `:8080` means the same, and `0.0.0.0` is IPv4 only.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    pub(super) admin_addr: String,
    /// How often the registry's contents are compared with what they should be. At least 1s.
    #[arg(long, value_name = "DURATION", default_value = "30m")]
    pub(super) resync_interval: String,
    /// How often all pods are listed anew. At least 1s.
    #[arg(long, value_name = "DURATION", default_value = "6h")]
    pub(super) relist_interval: String,
    #[command(flatten)]
    pub(super) log: Log,
}

#[derive(Debug, Args)]
pub(super) struct Approve {
    /// The hold's name, as the log, the Event and the status page tell it.
    #[arg(value_name = "HOLD")]
    pub(super) hold: String,
    /// The Lease whose annotation says what is approved: the controller's --approval-lease or --lease.
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "pod-registrar/pod-registrar")]
    pub(super) approval_lease: String,
    #[command(flatten)]
    pub(super) cluster: Cluster,
    #[command(flatten)]
    pub(super) log: Log,
}

#[derive(Debug, Args)]
pub(super) struct Holds {
    /// The Lease whose annotation says which held deletions a person approved. That of --lease by default.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(super) approval_lease: Option<String>,
    /// Whether records of pods that are there and no longer selected, because these settings changed, are held until a
    /// person approves: true or false.
    #[arg(long, value_name = "BOOL", default_value = "true")]
    pub(super) hold_on_scope_change: String,
}

#[derive(Debug, Args)]
pub(super) struct Watch {
    #[command(flatten)]
    pub(super) cluster: Cluster,
    #[command(flatten)]
    pub(super) scope: Scope,
    #[command(flatten)]
    pub(super) log: Log,
}

#[derive(Debug, Args)]
pub(super) struct Registry {
    /// Where the registry is served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070")]
    pub(super) listen: String,
    /// The database file; made when it is not there. Without it everything is kept in memory and lost at the end.
    #[arg(long, value_name = "FILE")]
    pub(super) database: Option<String>,
    /// The bearer tokens that are accepted. Without it everybody is let in.
    #[arg(long, value_name = "FILE")]
    pub(super) tokens_file: Option<String>,
    /// The certificate chain to serve HTTPS with, as PEM. Needs the key as well.
    #[arg(long, value_name = "FILE")]
    pub(super) tls_cert_file: Option<String>,
    /// The certificate's private key, as PEM. Needs the certificate as well.
    #[arg(long, value_name = "FILE")]
    pub(super) tls_key_file: Option<String>,
    #[command(flatten)]
    pub(super) log: Log,
}

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// How many pods live at a time.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, default_value = "50")]
    pub(super) pods: String,
    /// How many pods are replaced a second; may be a fraction.
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, default_value = "2")]
    pub(super) churn: String,
    /// When to stop. Without it the demo goes on until it is interrupted.
    #[arg(long, value_name = "DURATION")]
    pub(super) duration: Option<String>,
    /// Where the registry and its page are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070")]
    pub(super) listen: String,
    /// Makes the pods' comings and goings repeatable.
    #[arg(long, value_name = "NUMBER")]
    pub(super) seed: Option<String>,
    #[command(flatten)]
    pub(super) cluster: Cluster,
    #[command(flatten)]
    pub(super) log: Log,
}

#[derive(Debug, Args)]
pub(super) struct Cluster {
    /// The kubeconfig of the cluster. By default the cluster that kubectl would use: KUBECONFIG, then ~/.kube/config,
    /// then the pod's service account. `demo` uses a stand-in unless --kubeconfig or --context is set.
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<String>,
    /// The kubeconfig context to use, instead of the current one.
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Scope {
    /// Only pods of these namespaces, at most 500: each costs a watch. All by default, with a single watch.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) namespace: Vec<String>,
    /// No pods of these namespaces. Not together with --namespace.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) exclude_namespace: Vec<String>,
    /// Only pods with these labels, in the API server's syntax.
    #[arg(long, value_name = "SELECTOR")]
    pub(super) label_selector: Option<String>,
    /// Only pods with these fields, in the API server's syntax.
    #[arg(long, value_name = "SELECTOR")]
    pub(super) field_selector: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Record {
    /// The pod labels that are registered, as patterns with * and ?.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', default_value = "*")]
    pub(super) label_allow: Vec<String>,
    /// The pod annotations that are registered, as patterns with * and ?. None by default.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub(super) annotation_allow: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Target {
    /// The registry's address, http or https, with a path before /v1 where it has one. Required.
    #[arg(long, value_name = "URL")]
    pub(super) registry_url: Option<String>,
    /// The bearer token for the registry; read again every 30 s, and when the registry refuses it.
    #[arg(long, value_name = "FILE")]
    pub(super) registry_token_file: Option<String>,
    /// The certificate authorities to trust for the registry, as PEM, instead of the system's; read again every 30 s, and
    /// when no connection can be made.
    #[arg(long, value_name = "FILE")]
    pub(super) registry_ca_file: Option<String>,
    /// How long a request to the registry may take. At most 5m.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(super) request_timeout: String,
    /// How many requests to the registry are under way at a time, 1 to 64.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, default_value = "4")]
    pub(super) max_in_flight: String,
    /// How many records are written a second, at most.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, default_value = "20000")]
    pub(super) max_writes_per_second: String,
}

#[derive(Debug, Args)]
pub(super) struct Identity {
    /// The cluster's id in the registry. The UID of the kube-system namespace by default.
    #[arg(long, value_name = "ID")]
    pub(super) cluster_id: Option<String>,
    /// The cluster's name for people. Its id by default.
    #[arg(long, value_name = "NAME")]
    pub(super) cluster_name: Option<String>,
    /// The name of this installation; two in one cluster never touch each other's records.
    #[arg(long, value_name = "ID", default_value = crate::model::DEFAULT_OWNER)]
    pub(super) owner: String,
    /// The UID of the kube-system namespace of a cluster that is gone and that this one replaces under the same --cluster-id.
    /// The controller takes over that cluster's records. Without it, a cluster with another UID is refused.
    #[arg(long, value_name = "UID")]
    pub(super) replaces_cluster_uid: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Election {
    /// The Lease by which several replicas agree on the one that writes. It has to be there; empty will do. Without it
    /// this process is the only one and writes.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(super) lease: Option<String>,
    /// After how much silence of the one that writes another one takes over. 3s to 5m, in whole seconds.
    #[arg(long, value_name = "DURATION", default_value = "15s")]
    pub(super) lease_duration: String,
    /// The name of this process among the replicas. The host's name by default, which is the pod's.
    #[arg(long, value_name = "NAME")]
    pub(super) instance: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Log {
    /// How logs are written to standard error: text or json. What is logged is said by RUST_LOG, info by default.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(super) log_format: String,
}
