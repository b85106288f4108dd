//! Clients for the API server: from a pod's service account or a kubeconfig, with time limits on everything.
//!
//! kube's own client waits for ever for a list or for a watch's headers, has no TCP keepalive, and repeats refused
//! requests for minutes without a word. So the stack is put together here from kube's own layers.

use std::{path::PathBuf, time::Duration};

use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, ServiceBuilder};

use super::{ahead::Ahead, tap::Tap};

/// The API server is there within this time, or it is not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence on a connection that is read from; longer than a watch lasts, so that a quiet one is not cut.
const READ_TIMEOUT: Duration = Duration::from_secs(25);
/// Between probes of a connection that is idle; three lost ones end it.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Sent bytes are acknowledged within this time, or the connection is dead.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// How to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// As a pod's service account.
    InCluster,
    /// By a kubeconfig.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The context in it; its current one otherwise.
        context: Option<String>,
    },
}

/// Which pods are watched. The API server applies it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// These namespaces; all if there are none.
    pub namespaces: Vec<String>,
    /// Not these.
    pub excluded_namespaces: Vec<String>,
    /// A label selector.
    pub label_selector: Option<String>,
    /// A field selector.
    pub field_selector: Option<String>,
}

impl Scope {
    /// Whether a pod may leave the scope while it lives: a namespace it cannot leave.
    pub fn can_be_left(&self) -> bool {
        self.label_selector.is_some() || self.field_selector.is_some()
    }

    /// The field selector that leaves out the excluded namespaces as well.
    pub(super) fn fields(&self) -> Option<String> {
        let excluded = self.excluded_namespaces.iter().map(|namespace| format!("metadata.namespace!={namespace}"));
        let all: Vec<String> = self.field_selector.clone().into_iter().chain(excluded).collect();
        (!all.is_empty()).then(|| all.join(","))
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no service account to be found where a pod has one.
    #[error("no in-cluster credentials: {0}; run it in a pod with a service account, or give --kubeconfig FILE")]
    InCluster(#[source] kube::config::InClusterError),
    /// The kubeconfig cannot be used.
    #[error("cannot use the kubeconfig {path}: {source}; give a readable kubeconfig and a context that is in it")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: kube::config::KubeconfigError,
    },
    /// The credentials cannot be used.
    #[error("cannot use the cluster's credentials: {0}")]
    Client(#[source] kube::Error),
}

/// The configuration that the credentials lead to.
///
/// # Errors
/// When there are no credentials to be found, or they cannot be read.
pub async fn config(credentials: &Credentials) -> Result<Config, Error> {
    match credentials {
        Credentials::InCluster => Config::incluster().map_err(Error::InCluster),
        Credentials::Kubeconfig { path, context } => {
            let refused = |source| Error::Kubeconfig { path: path.clone(), source };
            let kubeconfig = Kubeconfig::read_from(path).map_err(refused)?;
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(refused)
        }
    }
}

/// A client for single requests.
///
/// # Errors
/// When the credentials cannot be used.
pub fn client(config: &Config) -> Result<Client, Error> {
    tapped(config, Tap::new(|_| {}))
}

/// Whether the credentials are of a kind that may be read anew: a file, or a command.
pub(super) fn can_be_renewed(config: &Config) -> bool {
    let auth = &config.auth_info;
    auth.token_file.is_some() || auth.exec.is_some() || auth.auth_provider.is_some()
}

/// A client for one watch, with an ear on its traffic.
pub(super) fn tapped(config: &Config, tap: Tap) -> Result<Client, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(3));
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let tls = config.rustls_https_connector_with_connector(tcp).map_err(Error::Client)?;
    let mut connector = TimeoutConnector::new(tls);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_read_timeout(Some(READ_TIMEOUT));
    connector.set_reset_reader_on_write(true);
    let http = HyperClient::builder(TokioExecutor::new()).pool_idle_timeout(READ_TIMEOUT).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(Error::Client)?)
        .layer(config.extra_headers_layer().map_err(Error::Client)?)
        .layer(tap)
        .layer(Ahead)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_namespaces_join_the_field_selector() {
        let scope = Scope {
            excluded_namespaces: vec!["a".into(), "b".into()],
            field_selector: Some("spec.nodeName=n".into()),
            ..Scope::default()
        };
        let fields = "spec.nodeName=n,metadata.namespace!=a,metadata.namespace!=b";
        assert_eq!(scope.fields().as_deref(), Some(fields));
        assert_eq!(Scope::default().fields(), None);
        assert!(
            scope.can_be_left() && !Scope { excluded_namespaces: vec!["a".into()], ..Scope::default() }.can_be_left()
        );
    }
}
