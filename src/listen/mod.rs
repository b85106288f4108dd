//! Listening sockets for IPv4 and IPv6, and an HTTP server with a bounded number of connections.
//!
//! [`server::serve`] serves the admin pages and the reference registry. It always accepts new connections: when its
//! table is full, it closes the connection that has been idle for the longest time. Probes therefore get an answer,
//! however many connections other clients keep open.

pub mod document;
pub mod server;
mod table;

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use socket2::{Domain, Socket, Type};

/// Number of connections that the kernel queues until they are accepted.
const BACKLOG: i32 = 1_024;

/// Binds an address. `[::]` accepts IPv4 connections, too, and becomes `0.0.0.0` if the kernel has no IPv6.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    bind_with(address, open)
}

fn bind_with(address: SocketAddr, open: impl Fn(SocketAddr) -> io::Result<TcpListener>) -> io::Result<TcpListener> {
    match open(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks_ipv6(&error) => {
            let fallback = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            tracing::info!(%address, %fallback, %error, "no IPv6 on this host; listening on IPv4 only");
            open(fallback)
        }
        result => result,
    }
}

/// Whether the kernel does not support the address family.
fn lacks_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT and EPROTONOSUPPORT have no `ErrorKind`; these are their numbers on Linux.
    matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported)
        || matches!(error.raw_os_error(), Some(93 | 97))
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // The system's default, net.ipv6.bindv6only, varies.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restart must not wait until the old process's connections have timed out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpStream};

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

    #[test]
    fn unspecified_address_listens_on_both_families() {
        let listener = bind(ANY).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        // A machine without IPv6 got the fallback, and has no such address to connect to.
        if listener.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn host_without_ipv6_listens_on_ipv4() {
        for code in [93, 97, 99] {
            let refuse = |address: SocketAddr| match address.is_ipv6() {
                true => Err(io::Error::from_raw_os_error(code)),
                false => open(address),
            };
            let address = bind_with(ANY, refuse).unwrap().local_addr().unwrap();
            assert!(address.is_ipv4() && address.ip().is_unspecified(), "{address}");
        }
    }

    #[test]
    fn other_bind_errors_are_returned() {
        let specific = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        assert!(bind_with(specific, |_| Err(io::Error::from_raw_os_error(97))).is_err(), "only [::] has a fallback");
        assert!(bind_with(ANY, |_| Err(ErrorKind::AddrInUse.into())).is_err(), "a taken port stays an error");
    }
}
