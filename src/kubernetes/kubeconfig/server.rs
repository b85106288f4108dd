//! Reads the cluster of a kubeconfig: address, server name and trusted certificates.

use http::Uri;
use rustls::pki_types::ServerName;

use super::{
    Error, address,
    content::FileContent,
    file::{ClusterEntry, Entry, given},
};

const KIND: &str = "cluster";

/// Which certificates of servers are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Certificates of the authorities of the operating system.
    System,
    /// Certificates of these authorities.
    Bundle(FileContent),
    /// All certificates.
    Anything,
}

pub(super) fn address(cluster: &Entry<ClusterEntry>) -> Result<Uri, Error> {
    let text = cluster.required(KIND, "server", cluster.value.server.as_deref())?;
    address::server(text).map_err(|problem| cluster.refuse(KIND, "server", problem))
}

/// The name that the server's certificate must have, instead of the host.
pub(super) fn server_name(cluster: &Entry<ClusterEntry>) -> Result<Option<ServerName<'static>>, Error> {
    let Some(name) = given(cluster.value.tls_server_name.as_deref()) else { return Ok(None) };
    let refused = |_| cluster.refuse(KIND, "tls-server-name", "it is neither a DNS name nor an IP address; correct it");
    ServerName::try_from(name.to_owned()).map(Some).map_err(refused)
}

pub(super) fn trust(cluster: &Entry<ClusterEntry>) -> Result<Trust, Error> {
    let ClusterEntry { certificate_authority: file, certificate_authority_data: data, .. } = &cluster.value;
    let (file, data) = (("certificate-authority", file.as_deref()), ("certificate-authority-data", data.as_deref()));
    let bundle = cluster.content(KIND, file, data)?;
    match (cluster.value.insecure_skip_tls_verify.unwrap_or_default(), bundle) {
        (true, Some(_)) => {
            let problem = "a certificate authority is set as well; remove one of the two";
            Err(cluster.refuse(KIND, "insecure-skip-tls-verify", problem))
        }
        (true, None) => Ok(Trust::Anything),
        (false, Some(bundle)) => Ok(Trust::Bundle(bundle)),
        (false, None) => Ok(Trust::System),
    }
}
