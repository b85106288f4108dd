//! A way to the API server that can be cut: bytes are passed on as they are, TLS and all.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// The way. It ends when it is dropped.
pub(crate) struct Cuttable {
    pub(crate) address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Cuttable {
    /// Opens a way to an address (`host:port`).
    pub(crate) async fn start(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(watch::Sender::new(true));
        let task = tokio::spawn(pass(listener, to, open.clone()));
        Self { address, open, task }
    }

    /// Breaks every connection, and every new one at once.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Cuttable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(listener: TcpListener, to: String, open: Arc<watch::Sender<bool>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let ((mut near, _), to, mut open) = (accepted.unwrap(), to.clone(), open.subscribe());
                connections.spawn(async move {
                    let through = async {
                        let mut far = TcpStream::connect(to).await?;
                        copy_bidirectional(&mut near, &mut far).await
                    };
                    tokio::select! {
                        // How a connection ends is its two ends' matter.
                        _ = through => {}
                        _ = open.wait_for(|open| !open) => {}
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
