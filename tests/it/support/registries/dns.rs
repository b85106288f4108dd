//! CoreDNS as a child process, and a client for addresses.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use tempfile::TempDir;
use tokio::net::UdpSocket;

use super::server::{ATTEMPTS, free_port};
use crate::support::{
    child::Child,
    poll::{SOON, eventually},
};

const A: u16 = 1;
const AAAA: u16 = 28;
const HEADER_BYTES: usize = 12;
const WAIT: Duration = Duration::from_secs(2);

/// A running CoreDNS.
pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    _child: Child,
    _folder: TempDir,
}

impl DnsServer {
    pub(super) async fn start(program: &Path, zone: &str, etcd: &str) -> Self {
        for _ in 0..ATTEMPTS {
            let folder = tempfile::tempdir().expect("a folder");
            let corefile = folder.path().join("Corefile");
            let port = free_port();
            let etcd = format!("etcd {{\n path /skydns\n endpoint {etcd}\n }}");
            std::fs::write(&corefile, format!("{zone}:{port} {{\n bind 127.0.0.1\n {etcd}\n errors\n}}\n")).unwrap();
            let mut child = Child::start_other(program, &[Path::new("-conf"), &corefile], &[]);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let is_up = eventually("CoreDNS answers", SOON, async || match child.is_running() {
                true => resolve(address, zone).await.map(|_| true),
                false => Ok(false),
            });
            if is_up.await {
                return Self { address, _child: child, _folder: folder };
            }
        }
        panic!("CoreDNS ended {ATTEMPTS} times before it answered");
    }
}

/// What a name resolves to: the response code of its A query, and all addresses in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DnsAnswer {
    pub(crate) code: u8,
    pub(crate) addresses: Vec<IpAddr>,
}

/// Asks a server for the addresses of a name, of both families.
pub(crate) async fn resolve(server: SocketAddr, name: &str) -> Result<DnsAnswer, String> {
    let (code, mut addresses) = query(server, name, A).await?;
    addresses.extend(query(server, name, AAAA).await?.1);
    addresses.sort_unstable();
    Ok(DnsAnswer { code, addresses })
}

async fn query(server: SocketAddr, name: &str, kind: u16) -> Result<(u8, Vec<IpAddr>), String> {
    let question = question(name, kind);
    let exchange = async {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(server).await?;
        socket.send(&question).await?;
        let mut answer = vec![0; 4096];
        let length = socket.recv(&mut answer).await?;
        answer.truncate(length);
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(WAIT, exchange).await.map_err(|_| "no answer".to_owned())?;
    let answer = answer.map_err(|error| error.to_string())?;
    read(&answer, question.len()).ok_or_else(|| format!("unreadable: {answer:?}"))
}

fn question(name: &str, kind: u16) -> Vec<u8> {
    // An id, the flag for recursion, one question.
    let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len().try_into().expect("a label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(1_u16.to_be_bytes());
    bytes
}

/// The response code and the addresses of an answer that repeats a question of this length.
fn read(answer: &[u8], question: usize) -> Option<(u8, Vec<IpAddr>)> {
    let short = |at: usize| Some(u16::from_be_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let (code, count) = (answer.get(3)? & 15, short(6)?);
    let (mut at, mut addresses) = (question.max(HEADER_BYTES), Vec::new());
    for _ in 0..count {
        at = after_name(answer, at)?;
        let (kind, length) = (short(at)?, usize::from(short(at + 8)?));
        let data = answer.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        match kind {
            A => addresses.push(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
            AAAA => addresses.push(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
            _ => {}
        }
    }
    Some((code, addresses))
}

/// The offset after a name: labels that end with an empty one or with a pointer.
fn after_name(answer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *answer.get(at)? {
            0 => return Some(at + 1),
            192.. => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}
