//! The connection to the API server: one HTTP client and one source of credentials for the whole process.
//!
//! kube's own client has no time limit for lists and for the headers of watches, no TCP keepalive, and retries refused
//! requests for minutes without a log line. So this module builds its own stack. [`ClusterConnection::client`] is
//! cheap: all clients share connections and credentials.

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
    credentials::{self, CredentialSource, CurrentCredentials},
    kubeconfig::{
        self, Search,
        access::{ApiAccess, Origin},
        proxy::Proxy,
        server::Trust,
        user::Login,
    },
    proxied,
};
use crate::connect::{self, failures::SettingNames};

const NAMES: SettingNames = SettingNames {
    address: "server in the kubeconfig",
    authorities: "certificate-authority in the kubeconfig",
    timeout: "the limit (it grows by itself)",
};

/// Which pods are watched. The API server does the selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSelection {
    /// Empty stands for all namespaces.
    pub namespaces: Vec<String>,
    pub excluded_namespaces: Vec<String>,
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
}

impl PodSelection {
    /// Whether a running pod can leave the selection. It can change its labels and fields, but not its namespace.
    pub fn can_be_left(&self) -> bool {
        self.label_selector.is_some() || self.field_selector.is_some()
    }

    /// The field selector with the excluded namespaces added.
    pub(super) fn fields(&self) -> Option<String> {
        let excluded = self.excluded_namespaces.iter().map(|namespace| format!("metadata.namespace!={namespace}"));
        let all: Vec<String> = self.field_selector.clone().into_iter().chain(excluded).collect();
        (!all.is_empty()).then(|| all.join(","))
    }
}

/// Why the cluster cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Find(#[from] kubeconfig::Error),
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    #[error("the address of the API server: {0}")]
    Address(String),
    /// The path of a request, put behind the server's address, is no URL.
    #[error("the request's path cannot be used")]
    Path,
    /// The connection failed.
    #[error("cannot reach the API server {server}: {why}")]
    Unreachable {
        server: String,
        /// What is wrong, what to change, and every cause.
        why: String,
    },
}

/// The connection to one cluster. Clones share the HTTP client and the credentials.
#[derive(Clone)]
pub struct ClusterConnection {
    source: Arc<CredentialSource>,
}

impl ClusterConnection {
    /// Finds the cluster that kubectl would find, and logs which one it is.
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

    /// Connects to a server without credentials.
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

/// An address without a trailing slash.
fn address(uri: &Uri) -> String {
    uri.to_string().trim_end_matches('/').to_owned()
}

/// Sends requests with the current credentials. If those are refused and there are newer ones, it sends the request
/// again, once.
///
/// All work is in the future of `call`, so that a panic cannot end the worker of kube that calls it.
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
        let current = self.source.current().await?;
        let (mut parts, body) = request.into_parts();
        parts.uri = self.full_uri(&parts.uri).ok_or(Error::Path)?;
        let again = body.try_clone().map(|body| Request::from_parts(parts.clone(), body));
        let answer = self.attempt(&current, Request::from_parts(parts, body)).await;
        let is_refused = match &answer {
            Ok(response) => response.status() == StatusCode::UNAUTHORIZED,
            Err(error) => is_handshake(error),
        };
        if !is_refused || !self.source.renew(current.generation).await {
            return answer.map_err(|error| self.unreachable(&error));
        }
        let Some(request) = again else { return answer.map_err(|error| self.unreachable(&error)) };
        let current = self.source.current().await?;
        self.attempt(&current, request).await.map_err(|error| self.unreachable(&error))
    }

    async fn attempt(
        &self,
        current: &CurrentCredentials,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let headers = request.headers_mut();
        if let Some(header) = &current.header {
            headers.insert(header::AUTHORIZATION, header.clone());
        }
        if let Some(header) = self.source.proxy_authorization() {
            headers.insert(header::PROXY_AUTHORIZATION, header.clone());
        }
        headers.extend(self.source.access().impersonate.clone());
        let mut unanswered = Unanswered { source: &self.source, generation: current.generation, is_answered: false };
        let answer = current.http.request(request).await;
        unanswered.is_answered = true;
        answer
    }

    /// Puts the path of a request behind the server's address.
    fn full_uri(&self, uri: &Uri) -> Option<Uri> {
        let server = self.source.server();
        let path = uri.path_and_query()?.as_str();
        let path = format!("{}{path}", server.path().trim_end_matches('/'));
        Uri::builder()
            .scheme(server.scheme()?.clone())
            .authority(server.authority()?.clone())
            .path_and_query(path)
            .build()
            .ok()
    }

    fn unreachable(&self, error: &hyper_util::client::legacy::Error) -> Error {
        let why = why(error, self.source.access().proxy.as_ref());
        Error::Unreachable { server: address(self.source.server()), why }
    }
}

/// Why there is no connection, with the proxy in use.
fn why(error: &(dyn StdError + 'static), proxy: Option<&Proxy>) -> String {
    let Some(Proxy { setting, shown, .. }) = proxy else { return connect::failures::describe(error, &NAMES) };
    match connect::failures::layers(error).find_map(|layer| layer.downcast_ref::<proxied::Error>()) {
        Some(error) => format!("the proxy {shown}: {}", error.explain(&SettingNames { address: setting, ..NAMES })),
        None => format!("through the proxy {shown} from {setting}: {}", connect::failures::describe(error, &NAMES)),
    }
}

/// A request without an answer yet. If it is cancelled, idle connections are dropped.
struct Unanswered<'a> {
    source: &'a CredentialSource,
    generation: u64,
    is_answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.source.drop_connections(self.generation);
        }
    }
}

/// Whether the TLS handshake failed. Newly read certificates may change that.
fn is_handshake(error: &(dyn StdError + 'static)) -> bool {
    connect::failures::layers(error).any(|layer| layer.is::<rustls::Error>())
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
