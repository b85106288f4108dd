//! The connection to the API server: one HTTP client and one source of credentials for the whole process.
//!
//! kube's own client waits for ever for a list or for a watch's headers, has no TCP keepalive, and repeats refused
//! requests for minutes without a word. So the stack is put together here. [`Cluster::client`] is cheap: every client
//! shares the connections and the credentials.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
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
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _, util::BoxCloneSyncService};

use super::tap::Tap;

/// The API server is there within this time, or it is not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence on a connection that is read from. Every request has a limit of its own, the longest that of a list's page.
const READ_TIMEOUT: Duration = Duration::from_secs(65);
/// How long an idle connection is kept.
const POOL_IDLE: Duration = Duration::from_secs(25);
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
    /// The address of the server cannot be used.
    #[error("cannot use the address {0:?} of the API server; write http or https, a host and a port")]
    Address(String),
    /// The credentials cannot be used.
    #[error("cannot use the cluster's credentials: {0}")]
    Client(#[source] kube::Error),
}

/// A cluster and the way into it. Clones share one HTTP client and one source of credentials.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

impl Cluster {
    /// The cluster that the credentials lead to.
    ///
    /// # Errors
    /// When there are no credentials, or they cannot be used.
    pub async fn find(credentials: &Credentials) -> Result<Self, Error> {
        Self::new(config(credentials).await?)
    }

    /// A server that asks for no credentials.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn at(server: &str) -> Result<Self, Error> {
        let server = server.parse().map_err(|_| Error::Address(server.to_owned()))?;
        Self::new(Config::new(server))
    }

    fn new(config: Config) -> Result<Self, Error> {
        let stack = stack(&config)?;
        let shared = Shared { config, present: Mutex::new(Present { generation: 0, stack }), renewal: Arc::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A client for single requests.
    pub fn client(&self) -> Client {
        Client::new(self.transport(), self.shared.config.default_namespace.clone())
    }

    /// A client for one watch, whose requests go through its tap.
    pub(super) fn tapped(&self, tap: Tap) -> Client {
        let service = ServiceBuilder::new().layer(tap).service(self.transport());
        Client::new(service, self.shared.config.default_namespace.clone())
    }

    fn transport(&self) -> Transport {
        Transport { shared: self.shared.clone() }
    }
}

/// The HTTP client with the credentials that it uses now.
struct Shared {
    config: Config,
    present: Mutex<Present>,
    /// Held while credentials are read again.
    renewal: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone)]
struct Present {
    /// Grows with every renewal.
    generation: u64,
    stack: Stack,
}

type Stack = BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>;

impl Shared {
    fn present(&self) -> Present {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the credentials again after those of this generation were refused. Those that cannot be read stay as they
    /// are. Says whether there are newer ones.
    async fn renew(self: &Arc<Self>, refused: u64) -> bool {
        let auth = &self.config.auth_info;
        if auth.token_file.is_none() && auth.exec.is_none() && auth.auth_provider.is_none() {
            return false;
        }
        let _one_at_a_time = self.renewal.lock().await;
        if self.present().generation != refused {
            return true;
        }
        let shared = self.clone();
        let built = tokio::task::spawn_blocking(move || stack(&shared.config)).await;
        match built.map_err(|error| error.to_string()).and_then(|built| built.map_err(|error| error.to_string())) {
            Ok(stack) => {
                let present = Present { generation: refused + 1, stack };
                *self.present.lock().unwrap_or_else(PoisonError::into_inner) = present;
                true
            }
            Err(error) => {
                tracing::warn!(error, "credentials not read; keeping the old ones");
                false
            }
        }
    }

    /// Sends a request, and sends it once more if the credentials were refused and there are newer ones.
    async fn send(self: Arc<Self>, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let Present { generation, stack } = self.present();
        let (parts, body) = request.into_parts();
        let again = body.try_clone().map(|body| Request::from_parts(parts.clone(), body));
        let response = stack.oneshot(Request::from_parts(parts, body)).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !self.renew(generation).await {
            return Ok(response);
        }
        match again {
            Some(request) => self.present().stack.oneshot(request).await,
            None => Ok(response),
        }
    }
}

/// Sends requests with the present credentials.
#[derive(Clone)]
struct Transport {
    shared: Arc<Shared>,
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let sent = self.shared.clone().send(request);
        Box::pin(sent)
    }
}

/// The configuration that the credentials lead to.
async fn config(credentials: &Credentials) -> Result<Config, Error> {
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

fn stack(config: &Config) -> Result<Stack, Error> {
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
    let http = HyperClient::builder(TokioExecutor::new()).pool_idle_timeout(POOL_IDLE).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(Error::Client)?)
        .layer(config.extra_headers_layer().map_err(Error::Client)?)
        .map_err(BoxError::from)
        .service(http);
    Ok(BoxCloneSyncService::new(service))
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
