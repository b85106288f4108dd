//! CoreDNS as a child process, and a client for addresses and reverse names.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
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
const PTR: u16 = 12;
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
    /// Serves these zones, at least one.
    pub(super) async fn start(program: &Path, zones: &[&str], etcd: &str) -> Self {
        for _ in 0..ATTEMPTS {
            let folder = tempfile::tempdir().expect("a folder");
            let corefile = folder.path().join("Corefile");
            let port = free_port();
            let etcd = format!("etcd {{\n path /skydns\n endpoint {etcd}\n }}");
            let served: Vec<String> = zones.iter().map(|zone| format!("{zone}:{port}")).collect();
            let served = served.join(" ");
            std::fs::write(&corefile, format!("{served} {{\n bind 127.0.0.1\n {etcd}\n errors\n}}\n")).unwrap();
            let mut child = Child::start_other(program, &[Path::new("-conf"), &corefile], &[]);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let is_up = eventually("CoreDNS answers", SOON, async || match child.is_running() {
                true => resolve(address, zones[0]).await.map(|_| true),
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
    let four = query(server, name, A).await?;
    let mut addresses = four.addresses();
    addresses.extend(query(server, name, AAAA).await?.addresses());
    addresses.sort_unstable();
    Ok(DnsAnswer { code: four.code, addresses })
}

/// Asks a server for the names of an address. Returns them with the response code.
pub(crate) async fn resolve_reverse(server: SocketAddr, address: IpAddr) -> Result<(u8, Vec<String>), String> {
    let answer = query(server, &reverse_name(address), PTR).await?;
    let names = answer.records.iter().filter(|record| record.kind == PTR);
    let names = names.map(|record| name_at(&answer.bytes, record.data.start).ok_or("an unreadable name".to_owned()));
    Ok((answer.code, names.collect::<Result<_, _>>()?))
}

/// The name that DNS has for an address.
fn reverse_name(address: IpAddr) -> String {
    let (labels, zone): (Vec<String>, _) = match address {
        IpAddr::V4(address) => (address.octets().iter().map(u8::to_string).collect(), "in-addr.arpa"),
        IpAddr::V6(address) => {
            let digits = address.octets().map(|byte| format!("{byte:02x}")).concat();
            (digits.chars().map(String::from).collect(), "ip6.arpa")
        }
    };
    let labels: Vec<String> = labels.into_iter().rev().collect();
    format!("{}.{zone}", labels.join("."))
}

/// A message that answers a question.
struct DnsMessage {
    bytes: Vec<u8>,
    code: u8,
    records: Vec<DnsRecord>,
}

/// The type of a record, and where its data is.
struct DnsRecord {
    kind: u16,
    data: Range<usize>,
}

impl DnsMessage {
    fn addresses(&self) -> Vec<IpAddr> {
        self.records.iter().filter_map(|record| address(record.kind, &self.bytes[record.data.clone()])).collect()
    }
}

fn address(kind: u16, data: &[u8]) -> Option<IpAddr> {
    match kind {
        A => Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
        AAAA => Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
        _ => None,
    }
}

async fn query(server: SocketAddr, name: &str, kind: u16) -> Result<DnsMessage, String> {
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
    let bytes = answer.map_err(|error| error.to_string())?;
    match read(&bytes, question.len()) {
        Some((code, records)) => Ok(DnsMessage { bytes, code, records }),
        None => Err(format!("unreadable: {bytes:?}")),
    }
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

/// The response code and the records of an answer that repeats a question of this length.
fn read(answer: &[u8], question: usize) -> Option<(u8, Vec<DnsRecord>)> {
    let short = |at: usize| Some(u16::from_be_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let (code, count) = (answer.get(3)? & 15, short(6)?);
    let (mut at, mut records) = (question.max(HEADER_BYTES), Vec::new());
    for _ in 0..count {
        at = after_name(answer, at)?;
        let (kind, length) = (short(at)?, usize::from(short(at + 8)?));
        let data = at + 10..at + 10 + length;
        answer.get(data.clone())?;
        at = data.end;
        records.push(DnsRecord { kind, data });
    }
    Some((code, records))
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

/// The name at an offset. A pointer leads to labels before it.
fn name_at(answer: &[u8], mut at: usize) -> Option<String> {
    let mut labels: Vec<&str> = Vec::new();
    loop {
        match *answer.get(at)? {
            0 => return Some(labels.join(".")),
            high @ 192.. => {
                let before = usize::from(high & 63) << 8 | usize::from(*answer.get(at + 1)?);
                at = (before < at).then_some(before)?;
            }
            length => {
                let end = at + 1 + usize::from(length);
                labels.push(std::str::from_utf8(answer.get(at + 1..end)?).ok()?);
                at = end;
            }
        }
    }
}
