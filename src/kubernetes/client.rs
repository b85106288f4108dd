//! The connection to the API server: one HTTP client and one source of credentials for the whole process.
//!
//! kube's own client waits for ever for a list or for a watch's headers, has no TCP keepalive, and repeats refused
//! requests for minutes without a word. So the stack is put together here. [`ClusterConnection::client`] is cheap: every client
//! shares the connections and the credentials.

use std::{
    error::Error as StdError,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use kube::{Client, client::Body};
use tower::Service;

use super::{
    credentials::{self, CredentialSource, Present},
    kubeconfig::{
        self, Search,
        access::{ApiAccess, Login, Origin, Trust},
        proxy::Proxy,
    },
    proxied,
};
use crate::connect::{self, explain::SettingNames};

/// What the settings of the connection are called.
const NAMES: SettingNames = SettingNames {
    address: "server in the kubeconfig",
    authorities: "certificate-authority in the kubeconfig",
    timeout: "the limit (it grows by itself)",
};

/// Which pods are watched. The API server applies it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSelection {
    /// These namespaces; all if there are none.
    pub namespaces: Vec<String>,
    /// Not these.
    pub excluded_namespaces: Vec<String>,
    /// A label selector.
    pub label_selector: Option<String>,
    /// A field selector.
    pub field_selector: Option<String>,
}

impl PodSelection {
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

/// Why the cluster cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cluster was found.
    #[error(transparent)]
    Find(#[from] kubeconfig::Error),
    /// There are no credentials.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// The address of the server cannot be used.
    #[error("the address of the API server: {0}")]
    Address(String),
    /// The request has no usable path.
    #[error("the request's path cannot be used")]
    Path,
    /// No connection was made, or it broke.
    #[error("cannot reach the API server {server}: {why}")]
    Unreachable {
        /// Its address.
        server: String,
        /// What is wrong, what to change, and every cause.
        why: String,
    },
}

/// A cluster and the way into it. Clones share one HTTP client and one source of credentials.
#[derive(Clone)]
pub struct ClusterConnection {
    source: Arc<CredentialSource>,
}

impl ClusterConnection {
    /// The cluster that kubectl would find, and the log line that says which one it is.
    ///
    /// # Errors
    /// When there is none, or it is described in a way that cannot be used.
    pub fn find(search: &Search) -> Result<Self, Error> {
        let access = kubeconfig::find(search)?;
        let cluster = Self::by(access)?;
        let ApiAccess { server, proxy, trust, login, is_withheld, origin, .. } = cluster.source.access();
        let Origin { context, file } = origin;
        let (server, file) = (address(server), file.display());
        let proxy = proxy.as_ref().map(|proxy| &proxy.shown);
        match context {
            Some(context) => tracing::info!(context, %server, %file, proxy, "cluster found in a kubeconfig"),
            None => tracing::info!(%server, %file, "cluster found by the pod's service account"),
        }
        if *trust == Trust::Anything {
            tracing::warn!(%server, "insecure-skip-tls-verify is set; the API server's certificate is not checked");
        }
        if *is_withheld {
            tracing::warn!(
                %server,
                "server in the kubeconfig is a plain http address; the user's credentials are not sent; use an https \
                 address if the API server needs them"
            );
        }
        if let Login::Plugin(plugin) = login {
            tracing::info!(plugin = plugin.name(), "credentials come from a plugin");
        }
        Ok(cluster)
    }

    /// A server that asks for no credentials.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn at(server: &str) -> Result<Self, Error> {
        Self::by(ApiAccess::anonymous(server).map_err(Error::Address)?)
    }

    fn by(access: ApiAccess) -> Result<Self, Error> {
        Ok(Self { source: Arc::new(CredentialSource::new(access)?) })
    }

    /// A client for single requests.
    pub fn client(&self) -> Client {
        Client::new(self.transport(), self.source.access().namespace.clone())
    }

    /// The service below [`Self::client`], for clients with further layers.
    pub(super) fn transport(&self) -> Transport {
        Transport { source: self.source.clone() }
    }
}

/// An address without a slash at its end.
fn address(uri: &Uri) -> String {
    uri.to_string().trim_end_matches('/').to_owned()
}

/// Sends requests with the present credentials, and once more where those were refused and there are others now.
///
/// Everything happens in the future that `call` makes: kube's worker, which calls it, has nothing to do that could panic.
#[derive(Clone)]
pub(super) struct Transport {
    source: Arc<CredentialSource>,
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Incoming>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

impl Transport {
    async fn send(self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let present = self.source.present().await?;
        let (parts, body) = request.into_parts();
        let again = body.try_clone().map(|body| Request::from_parts(parts.clone(), body));
        let answer = self.attempt(&present, Request::from_parts(parts, body)).await;
        let is_refused = match &answer {
            Ok(response) => response.status() == StatusCode::UNAUTHORIZED,
            Err(Attempt::Failed(error)) => is_handshake(error),
            Err(Attempt::Path) => false,
        };
        if !is_refused || !self.source.renew(present.generation).await {
            return answer.map_err(|error| self.unreachable(error));
        }
        let Some(request) = again else { return answer.map_err(|error| self.unreachable(error)) };
        let present = self.source.present().await?;
        self.attempt(&present, request).await.map_err(|error| self.unreachable(error))
    }

    /// Sends a request once.
    async fn attempt(&self, present: &Present, mut request: Request<Body>) -> Result<Response<Incoming>, Attempt> {
        *request.uri_mut() = self.whole(request.uri()).ok_or(Attempt::Path)?;
        let headers = request.headers_mut();
        if let Some(header) = &present.header {
            headers.insert(header::AUTHORIZATION, header.clone());
        }
        if let Some(header) = self.source.proxy_authorization() {
            headers.insert(header::PROXY_AUTHORIZATION, header.clone());
        }
        headers.extend(self.source.access().impersonate.clone());
        let mut unanswered = Unanswered { source: &self.source, generation: present.generation, is_answered: false };
        let answer = present.http.request(request).await;
        unanswered.is_answered = true;
        answer.map_err(Attempt::Failed)
    }

    /// A path as an address of the API server.
    fn whole(&self, uri: &Uri) -> Option<Uri> {
        let server = self.source.server();
        let asked = uri.path_and_query()?.as_str();
        let path = format!("{}{asked}", server.path().trim_end_matches('/'));
        Uri::builder()
            .scheme(server.scheme()?.clone())
            .authority(server.authority()?.clone())
            .path_and_query(path)
            .build()
            .ok()
    }

    fn unreachable(&self, error: Attempt) -> Error {
        match error {
            Attempt::Path => Error::Path,
            Attempt::Failed(error) => {
                let why = why(&error, self.source.access().proxy.as_ref());
                Error::Unreachable { server: address(self.source.server()), why }
            }
        }
    }
}

/// Why there is no connection, with the proxy if there is one.
fn why(error: &(dyn StdError + 'static), proxy: Option<&Proxy>) -> String {
    let Some(Proxy { setting, shown, .. }) = proxy else { return connect::explain::explain(error, &NAMES) };
    match connect::explain::layers(error).find_map(|layer| layer.downcast_ref::<proxied::Error>()) {
        Some(error) => format!("the proxy {shown}: {}", error.explain(&SettingNames { address: setting, ..NAMES })),
        None => format!("through the proxy {shown} from {setting}: {}", connect::explain::explain(error, &NAMES)),
    }
}

/// Why an attempt came to nothing.
enum Attempt {
    Path,
    Failed(hyper_util::client::legacy::Error),
}

/// A request that waits for its answer. Idle connections are dropped with it when nobody waits any more.
struct Unanswered<'a> {
    source: &'a CredentialSource,
    generation: u64,
    is_answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.source.distrust(self.generation);
        }
    }
}

/// Whether the TLS handshake failed: another certificate, ours or theirs, may change that.
fn is_handshake(error: &(dyn StdError + 'static)) -> bool {
    connect::explain::layers(error).any(|layer| layer.is::<rustls::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_namespaces_join_the_field_selector() {
        let scope = PodSelection {
            excluded_namespaces: vec!["a".into(), "b".into()],
            field_selector: Some("spec.nodeName=n".into()),
            ..PodSelection::default()
        };
        let fields = "spec.nodeName=n,metadata.namespace!=a,metadata.namespace!=b";
        assert_eq!(scope.fields().as_deref(), Some(fields));
        assert_eq!(PodSelection::default().fields(), None);
        assert!(
            scope.can_be_left()
                && !PodSelection { excluded_namespaces: vec!["a".into()], ..PodSelection::default() }.can_be_left()
        );
    }
}
