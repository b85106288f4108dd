//! A TCP proxy that can be made faulty: it passes bytes on unchanged, TLS included, or late, in part or not at all.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// The fault of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Bytes are passed on.
    #[default]
    Clear,
    /// Every connection is reset, and every new one at once.
    Cut,
    /// Bytes are passed on this much later.
    Delay(Duration),
    /// Bytes are dropped. A connection that lost bytes stays silent; only a new connection works.
    Swallow,
    /// A connection passes this many more bytes, and is closed then.
    Truncate(usize),
}

/// The faults of both directions: to the server, and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) up: Fault,
    pub(crate) down: Fault,
}

impl Faults {
    fn cut(&self) -> bool {
        self.up == Fault::Cut || self.down == Fault::Cut
    }
}

/// The running proxy. It stops when this is dropped.
pub(crate) struct FaultyProxy {
    pub(crate) address: SocketAddr,
    faults: Arc<watch::Sender<Faults>>,
    /// How often all open connections were silenced.
    swallowed: Arc<AtomicU64>,
    /// How often a connection lost bytes.
    lost: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl FaultyProxy {
    /// Starts a proxy to an address (`host:port`).
    pub(crate) async fn start(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let faults = Arc::new(watch::Sender::new(Faults::default()));
        let (swallowed, lost) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let task = tokio::spawn(pass(listener, to, faults.clone(), swallowed.clone(), lost.clone()));
        Self { address, faults, swallowed, lost, task }
    }

    /// How often a connection lost bytes so far: a connection that is cut off in one direction counts once.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }

    /// Sets the faults of open and new connections.
    pub(crate) fn set(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    /// Resets every connection, and every new one at once.
    pub(crate) fn cut(&self) {
        self.set(Faults { up: Fault::Cut, down: Fault::Cut });
    }

    /// Silences the open connections for good, without closing them. New ones are not affected.
    pub(crate) fn swallow(&self) {
        self.swallowed.fetch_add(1, Ordering::SeqCst);
    }

    /// Removes all faults.
    pub(crate) fn repair(&self) {
        self.set(Faults::default());
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    listener: TcpListener,
    to: String,
    faults: Arc<watch::Sender<Faults>>,
    swallowed: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let begun = swallowed.load(Ordering::SeqCst);
                let swallowed = swallowed.clone();
                let is_swallowed = move || swallowed.load(Ordering::SeqCst) > begun;
                let lost = lost.clone();
                connections.spawn(connection(accepted.unwrap().0, to.clone(), faults.subscribe(), is_swallowed, lost));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(
    mut near: TcpStream,
    to: String,
    mut faults: watch::Receiver<Faults>,
    is_swallowed: impl Fn() -> bool,
    lost: Arc<AtomicU64>,
) {
    let (up, down) = (faults.clone(), faults.clone());
    let through = async {
        // If the server is down, the proxy refuses connections as well.
        let Ok(mut far) = TcpStream::connect(to).await else { return };
        let ((near_read, near_write), (far_read, far_write)) = (near.split(), far.split());
        // The two ends close a connection. When one direction breaks, both do.
        let _ = tokio::try_join!(
            pump(near_read, far_write, up, &lost, |faults| if is_swallowed() { Fault::Swallow } else { faults.up }),
            pump(far_read, near_write, down, &lost, |faults| if is_swallowed() { Fault::Swallow } else { faults.down }),
        );
    };
    let cut = tokio::select! {
        () = through => false,
        cut = faults.wait_for(Faults::cut) => cut.is_ok(),
    };
    if cut {
        // A dropped connection is reset, unless it has ended.
        let _ = near.set_zero_linger();
    }
}

/// Passes one direction on until it ends.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut faults: watch::Receiver<Faults>,
    lost: &AtomicU64,
    of: impl Fn(&Faults) -> Fault,
) -> std::io::Result<()> {
    let (mut buffer, mut left) = (vec![0; 16 * 1024], None);
    loop {
        let count = from.read(&mut buffer).await?;
        let fault = of(&faults.borrow_and_update());
        match fault {
            // From here on, neither bytes nor an end are passed on.
            Fault::Swallow => {
                lost.fetch_add(u64::from(count > 0), Ordering::SeqCst);
                return swallow(from, &mut buffer).await;
            }
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::Clear | Fault::Cut | Fault::Truncate(_) => {}
        }
        if count == 0 {
            return to.shutdown().await;
        }
        let Fault::Truncate(most) = fault else {
            left = None;
            to.write_all(&buffer[..count]).await?;
            continue;
        };
        let most = left.unwrap_or(most);
        to.write_all(&buffer[..count.min(most)]).await?;
        if count >= most {
            lost.fetch_add(u64::from(count > most), Ordering::SeqCst);
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        left = Some(most - count);
    }
}

/// Reads and drops everything, and hides the end of the connection. Ends with the proxy, or when the other direction
/// breaks.
async fn swallow(mut from: ReadHalf<'_>, buffer: &mut [u8]) -> std::io::Result<()> {
    while from.read(buffer).await? > 0 {}
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time after which no answer is expected any more.
    const SILENCE: Duration = Duration::from_millis(300);

    /// A proxy to a server that echoes everything.
    async fn proxy() -> (FaultyProxy, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = FaultyProxy::start(listener.local_addr().unwrap().to_string()).await;
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    // A connection ends when its client ends it.
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        (proxy, server)
    }

    /// What comes back of five bytes until all arrived or the connection ends; `None` if it stays silent.
    async fn said_back(stream: &mut TcpStream) -> Option<std::io::Result<usize>> {
        let said = async {
            stream.write_all(b"hello").await?;
            let (mut back, mut count) = ([0; 5], 0);
            while count < back.len() {
                match stream.read(&mut back[count..]).await? {
                    0 => break,
                    more => count += more,
                }
            }
            Ok(count)
        };
        tokio::time::timeout(SILENCE, said).await.ok()
    }

    async fn connect(proxy: &FaultyProxy) -> TcpStream {
        TcpStream::connect(proxy.address).await.unwrap()
    }

    fn both(fault: Fault) -> [Faults; 3] {
        let clear = Fault::Clear;
        [Faults { up: fault, down: clear }, Faults { up: clear, down: fault }, Faults { up: fault, down: fault }]
    }

    #[tokio::test]
    async fn cut_resets_old_and_new_connections() {
        // After the repair, new connections work.
        let (proxy, _server) = proxy().await;
        for faults in both(Fault::Cut) {
            let mut old = connect(&proxy).await;
            assert!(matches!(said_back(&mut old).await, Some(Ok(5))));
            proxy.set(faults);
            for stream in [&mut old, &mut connect(&proxy).await] {
                assert!(matches!(said_back(stream).await, Some(Err(_))), "{faults:?}");
            }
            proxy.repair();
            assert!(matches!(said_back(&mut connect(&proxy).await).await, Some(Ok(5))));
        }
    }

    #[tokio::test]
    async fn connection_that_lost_bytes_stays_silent() {
        // A connection that lost no bytes works again after the repair.
        let (proxy, _server) = proxy().await;
        for faults in both(Fault::Swallow) {
            let (mut old, mut idle) = (connect(&proxy).await, connect(&proxy).await);
            assert!(matches!(said_back(&mut old).await, Some(Ok(5))));
            proxy.set(faults);
            let mut new = connect(&proxy).await;
            for stream in [&mut old, &mut new] {
                assert!(said_back(stream).await.is_none(), "{faults:?}");
            }
            proxy.repair();
            for stream in [&mut old, &mut new] {
                assert!(said_back(stream).await.is_none(), "{faults:?}");
            }
            assert!(matches!(said_back(&mut idle).await, Some(Ok(5))));
        }
    }

    #[tokio::test]
    async fn truncated_connection_ends_after_its_bytes() {
        let (proxy, _server) = proxy().await;
        for faults in both(Fault::Truncate(3)) {
            let lost = proxy.lost();
            proxy.set(faults);
            let said = said_back(&mut connect(&proxy).await).await.expect("it ends");
            // Bytes that were not read before a reset are lost.
            assert!(said.is_err() || said.is_ok_and(|count| count <= 3), "{faults:?}");
            assert_eq!(proxy.lost(), lost + 1, "{faults:?}");
        }
    }

    #[tokio::test]
    async fn a_delayed_answer_comes_later() {
        let (proxy, _server) = proxy().await;
        for faults in both(Fault::Delay(SILENCE * 2)) {
            proxy.set(faults);
            let mut stream = connect(&proxy).await;
            assert!(said_back(&mut stream).await.is_none(), "{faults:?}");
            let mut back = [0; 5];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"hello");
        }
    }
}
