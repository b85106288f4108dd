//! A registry as a child process, and plain HTTP requests to it.

use std::{net::TcpListener, time::Duration};

use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    child::Child,
    poll::{SOON, eventually},
    registry::http_client,
};

/// Another process may take a free port before the server listens on it.
pub(super) const ATTEMPTS: usize = 5;

/// An answer as a registry gave it. A body that is not JSON is a text.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn text(&self, pointer: &str) -> String {
        let text = self.body.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("no text at {pointer} of {self:?}")).to_owned()
    }

    /// A header's text, empty if it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a plain header"))
    }
}

/// Requests to a registry.
#[derive(Clone)]
pub(crate) struct RegistryCalls {
    client: reqwest::Client,
    url: String,
    header: Option<(String, String)>,
}

impl RegistryCalls {
    pub(crate) fn new(url: &str) -> Self {
        Self { client: http_client(), url: url.to_owned(), header: None }
    }

    /// Sends this header from now on.
    pub(crate) fn authorize(&mut self, name: &str, value: &str) {
        self.header = Some((name.to_owned(), value.to_owned()));
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.try_send(method, path, body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn try_send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, reqwest::Error> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some((name, value)) = &self.header {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, headers, body })
    }
}

/// Starts a server with a port and a folder.
type Launch = Box<dyn Fn(u16, &str) -> Child + Send + Sync>;

/// A running registry.
pub(crate) struct HttpRegistry {
    pub(crate) url: String,
    calls: RegistryCalls,
    port: u16,
    path: String,
    /// How long its start may take.
    within: Duration,
    launch: Launch,
    // Dropped before the folder of its data.
    child: Child,
    data: TempDir,
}

impl HttpRegistry {
    /// The folder of its data.
    pub(crate) fn data(&self) -> String {
        self.data.path().to_str().expect("a path of plain characters").to_owned()
    }

    /// Kills the server, calls `during`, and starts the server again with its data and at its address.
    pub(crate) async fn restart(&mut self, during: impl AsyncFnOnce()) {
        self.child.kill();
        during().await;
        self.child = (self.launch)(self.port, &self.data());
        let is_up = is_up(&mut self.child, &self.calls, &self.path, self.within).await;
        assert!(is_up, "the registry does not start again: {:?}", self.child.stderr());
    }
}

impl std::ops::Deref for HttpRegistry {
    type Target = RegistryCalls;

    fn deref(&self) -> &Self::Target {
        &self.calls
    }
}

impl std::ops::DerefMut for HttpRegistry {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.calls
    }
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").port()
}

/// Waits until the path answers with 200. Returns false if the server ends.
async fn is_up(child: &mut Child, calls: &RegistryCalls, path: &str, within: Duration) -> bool {
    eventually("a registry that answers", within, async || {
        if !child.is_running() {
            return Ok(false);
        }
        match calls.try_send(Method::GET, path, None).await {
            Ok(answer) if answer.status == 200 => Ok(true),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// Starts a server with a free port and an empty folder, and waits until the path answers with 200.
pub(super) async fn start(path: &str, launch: impl Fn(u16, &str) -> Child + Send + Sync + 'static) -> HttpRegistry {
    start_within(SOON, path, launch).await
}

/// The same, for a server that starts slowly.
pub(super) async fn start_within(
    within: Duration,
    path: &str,
    launch: impl Fn(u16, &str) -> Child + Send + Sync + 'static,
) -> HttpRegistry {
    for _ in 0..ATTEMPTS {
        let data = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let mut child = launch(port, data.path().to_str().expect("a path of plain characters"));
        let calls = RegistryCalls::new(&url);
        if is_up(&mut child, &calls, path, within).await {
            let (path, launch) = (path.to_owned(), Box::new(launch));
            return HttpRegistry { url, calls, port, path, within, launch, child, data };
        }
    }
    panic!("a registry ended {ATTEMPTS} times before it answered at {path}");
}
