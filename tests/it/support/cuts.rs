//! A way to the API server that can be cut, or swallow what is open: bytes are passed on as they are, TLS and all.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// How the way is.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    cut: bool,
    /// How often everything that was open then was swallowed.
    swallowed: u64,
}

/// The way. It ends when it is dropped.
pub(crate) struct Cuttable {
    pub(crate) address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    task: JoinHandle<()>,
}

impl Cuttable {
    /// Opens a way to an address (`host:port`).
    pub(crate) async fn start(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new(State::default()));
        let task = tokio::spawn(pass(listener, to, state.clone()));
        Self { address, state, task }
    }

    /// Breaks every connection, and every new one at once.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cut = true);
    }

    /// Keeps the connections of now open, and never passes anything on over them again. New ones are as they were.
    pub(crate) fn swallow(&self) {
        self.state.send_modify(|state| state.swallowed += 1);
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.state.send_modify(|state| state.cut = false);
    }
}

impl Drop for Cuttable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(listener: TcpListener, to: String, state: Arc<watch::Sender<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                connections.spawn(carry(accepted.unwrap().0, to.clone(), state.subscribe()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection. How it ends is its two ends' matter.
async fn carry(mut near: TcpStream, to: String, mut state: watch::Receiver<State>) {
    let through = async {
        let mut far = TcpStream::connect(to).await?;
        copy_bidirectional(&mut near, &mut far).await
    };
    let begun = state.borrow().swallowed;
    let mut through = std::pin::pin!(through);
    let swallowed = tokio::select! {
        biased;
        state = state.wait_for(|state| state.cut || state.swallowed > begun) => state.is_ok_and(|state| !state.cut),
        _ = &mut through => false,
    };
    if swallowed {
        // Both ends stay open: neither is told that nothing comes through.
        std::future::pending::<()>().await;
    }
}
