//! A collector of traces and log lines, made of the official definitions of OTLP.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
    resource::v1::Resource,
    trace::v1::Span,
};
use prost::Message as _;
use tokio::{net::TcpListener, task::JoinHandle};

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    lines: Vec<LogRecord>,
    resources: Vec<Resource>,
    /// The values of `Authorization`, of all requests.
    credentials: Vec<String>,
    /// The statuses of the next answers. When they are used up, requests are taken.
    statuses: VecDeque<u16>,
}

type Shared = Arc<Mutex<Received>>;

/// The running collector. It stops when this is dropped.
pub(crate) struct Collector {
    pub(crate) url: String,
    received: Shared,
    task: JoinHandle<std::io::Result<()>>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Shared::default();
        let router = Router::new()
            .route("/v1/traces", post(take_spans))
            .route("/v1/logs", post(take_lines))
            .with_state(received.clone());
        let task = tokio::spawn(axum::serve(listener, router).into_future());
        Self { url, received, task }
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap()
    }

    /// The statuses of the next answers, in order.
    pub(crate) fn answers_with(&self, statuses: impl IntoIterator<Item = u16>) {
        self.lock().statuses.extend(statuses);
    }

    /// The number of all requests, also of refused ones.
    pub(crate) fn requests(&self) -> usize {
        self.lock().credentials.len()
    }

    /// The values of `Authorization`, of all requests; empty if a request had none.
    pub(crate) fn credentials(&self) -> Vec<String> {
        self.lock().credentials.clone()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.lock().spans.clone()
    }

    pub(crate) fn lines(&self) -> Vec<LogRecord> {
        self.lock().lines.clone()
    }

    pub(crate) fn resources(&self) -> Vec<Resource> {
        self.lock().resources.clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An attribute as a text.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// Notes a request. Returns the answer if it is refused.
fn admit(received: &mut Received, headers: &HeaderMap) -> Option<Response> {
    assert_eq!(headers[CONTENT_TYPE], "application/x-protobuf");
    let credential = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    received.credentials.push(credential.unwrap_or_default());
    let status = received.statuses.pop_front().filter(|status| *status != 200)?;
    Some((StatusCode::from_u16(status).unwrap(), [("retry-after", "0")]).into_response())
}

fn taken(answer: &impl prost::Message) -> Response {
    ([(CONTENT_TYPE, "application/x-protobuf")], answer.encode_to_vec()).into_response()
}

async fn take_spans(State(received): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut received = received.lock().unwrap();
    if let Some(refusal) = admit(&mut received, &headers) {
        return refusal;
    }
    for of_resource in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        received.resources.extend(of_resource.resource);
        received.spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    taken(&ExportTraceServiceResponse::default())
}

async fn take_lines(State(received): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut received = received.lock().unwrap();
    if let Some(refusal) = admit(&mut received, &headers) {
        return refusal;
    }
    for of_resource in ExportLogsServiceRequest::decode(body).unwrap().resource_logs {
        received.resources.extend(of_resource.resource);
        received.lines.extend(of_resource.scope_logs.into_iter().flat_map(|scope| scope.log_records));
    }
    taken(&ExportLogsServiceResponse::default())
}
