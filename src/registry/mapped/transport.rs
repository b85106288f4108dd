//! Sends rendered requests: adds credentials, limits rate and size, and records the exchange.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{
    Method, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use secrecy::SecretString;
use tokio::time::Instant;

use super::{
    auth::{Auth, Outgoing},
    carrier::{Carrier, Exchanged, LocalRegistry},
    recorder::{Exchange, ExchangeLog, milliseconds},
    secrets::{redact, redact_body},
    sign::Signer,
};
use crate::{
    connect::failures::SettingNames,
    mapping::{
        answer::Answer,
        login::LoginTemplate,
        request::RenderedRequest,
        spec::{ConnectionSpec, auth::TlsSpec, values::FilePath},
    },
    reconcile::outcome::Failure,
    registry::{
        credentials::Error,
        http::{Connection, PemFiles},
        pacer::Pacer,
    },
};

/// Bytes of an answer, if the file sets no limit.
const ANSWER_BYTES: u32 = 16 << 20;
const NAMES: SettingNames = SettingNames { address: "url", authorities: "tls.caFile", timeout: "limits.timeout" };

pub(super) struct TargetTransport {
    carrier: Carrier,
    pub(super) auth: Auth,
    signer: Signer,
    pub(super) pacer: Option<Pacer>,
    pub(super) log: Option<Arc<ExchangeLog>>,
    /// Requests that were answered.
    answers: AtomicU64,
    /// How long a request may take.
    pub(super) timeout: Duration,
    /// Bytes of an answer, at most.
    pub(super) answer_bytes: usize,
}

impl TargetTransport {
    /// Reads the files that `spec` names, and connects later.
    pub(super) fn new(
        spec: &ConnectionSpec,
        login: Option<LoginTemplate>,
        timeout: Duration,
        log: Option<Arc<ExchangeLog>>,
    ) -> Result<Self, Error> {
        let limits = spec.limits.as_ref();
        let timeout = limits.and_then(|limits| limits.timeout.as_ref()).map_or(timeout, |period| period.duration);
        let answer_bytes = limits.and_then(|limits| limits.answer_bytes).map_or(ANSWER_BYTES, |bytes| bytes.0);
        let base: Url = spec.url.text.parse().map_err(|_| Error::Address)?;
        Ok(Self {
            carrier: Carrier::Http(Connection::new(&base, pem_files(spec.tls.as_ref()), timeout, &NAMES)?),
            auth: Auth::new(spec.auth.as_ref(), login)?,
            signer: Signer::new(spec.sign.as_ref())?,
            pacer: limits.and_then(|limits| limits.requests_per_second).map(|rate| Pacer::new(rate.0)),
            log,
            answers: AtomicU64::new(0),
            timeout,
            answer_bytes: usize::try_from(answer_bytes).unwrap_or(usize::MAX),
        })
    }

    /// Without credentials and limits.
    pub(super) fn local(registry: Box<dyn LocalRegistry>, timeout: Duration) -> Self {
        let answer_bytes = usize::try_from(ANSWER_BYTES).unwrap_or(usize::MAX);
        let (carrier, answers) = (Carrier::Local(registry), AtomicU64::new(0));
        let (auth, signer) = (Auth::None, Signer::None);
        Self { carrier, auth, signer, pacer: None, log: None, answers, timeout, answer_bytes }
    }

    /// Sends a request. If the credentials are refused and others are there by now, it is sent once more. For an
    /// expired token, some registries answer 403.
    pub(super) async fn send(&self, request: &RenderedRequest) -> Result<Exchanged, Failure> {
        let sent_at = Instant::now();
        let exchanged = self.send_once(request).await?;
        let status = exchanged.answer.status;
        // A signature that is refused may be one of a secret that was replaced.
        if matches!(status, 401 | 403) && (self.auth.refused(status, sent_at).await | self.signer.refresh()) {
            return self.send_once(request).await;
        }
        Ok(exchanged)
    }

    async fn send_once(&self, request: &RenderedRequest) -> Result<Exchanged, Failure> {
        if let Some(pacer) = &self.pacer {
            pacer.turn().await;
        }
        let begun = Instant::now();
        let result = match &self.carrier {
            Carrier::Http(connection) => self.send_over(connection, request).await,
            Carrier::Local(registry) => registry.exchange(request.clone()).await,
        };
        self.answers.fetch_add(result.is_ok().into(), Ordering::Relaxed);
        self.record(request, &result, begun.elapsed());
        result
    }

    async fn send_over(&self, connection: &Connection, request: &RenderedRequest) -> Result<Exchanged, Failure> {
        if connection.refresh_if_due() {
            self.auth.refresh();
            self.signer.refresh();
        }
        let mut outgoing = outgoing(request)?;
        self.auth.authorize(&mut outgoing, connection).await?;
        // The answer may echo those that were sent, although the files are read again before it comes.
        let mut secrets = self.secrets();
        // Last, because credentials may be in the body.
        self.signer.sign(&mut outgoing, request.change.as_deref())?;
        let method = Method::from_bytes(request.method.as_bytes());
        let method = method.map_err(|_| unsendable("method"))?;
        let mut sent = connection.request(method, outgoing.url).headers(outgoing.headers);
        if let Some(body) = outgoing.body {
            sent = sent.body(body);
        }
        let answer = connection.send(sent, self.answer_bytes).await?;
        secrets.extend(self.secrets());
        let headers = answer.headers.iter().map(|(name, value)| {
            (name.as_str().to_owned(), redact(&String::from_utf8_lossy(value.as_bytes()), &secrets))
        });
        let headers = headers.collect::<Vec<_>>();
        let body = redact_body(answer.body, &secrets);
        let read = Answer::new(answer.status, headers, &body);
        Ok(Exchanged { answer: read, retry_after: answer.retry_after })
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    fn record(&self, request: &RenderedRequest, result: &Result<Exchanged, Failure>, took: Duration) {
        let Some(log) = &self.log else { return };
        let secrets = self.secrets();
        let (status, answer) = match result {
            Ok(exchanged) => (Some(exchanged.answer.status), exchanged.answer.text().to_owned()),
            Err(failure) => (None, failure.to_string()),
        };
        let body = request.body.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        log.add(Exchange {
            number: 0,
            method: request.method.clone(),
            url: redact(&request.url, &secrets),
            body: redact(&body, &secrets),
            status,
            answer: redact(&answer, &secrets),
            milliseconds: milliseconds(took),
        });
    }

    /// The registry may refuse the credentials or the signature. Reads the files again.
    pub(super) fn renew_credentials(&self) {
        self.auth.renew();
        self.signer.refresh();
    }

    /// What must not be shown.
    fn secrets(&self) -> Vec<SecretString> {
        let mut secrets = self.auth.secrets();
        secrets.extend(self.signer.secrets());
        secrets
    }

    /// A text from an answer, without credentials.
    pub(super) fn clean(&self, text: &str) -> String {
        redact(text, &self.secrets())
    }
}

fn pem_files(tls: Option<&TlsSpec>) -> PemFiles {
    let path = |file: &FilePath| PathBuf::from(&file.text);
    let Some(tls) = tls else { return PemFiles::default() };
    let identity = tls.cert_file.as_ref().zip(tls.key_file.as_ref());
    PemFiles {
        authorities: tls.ca_file.as_ref().map(path),
        identity: identity.map(|(certificate, key)| (path(certificate), path(key))),
    }
}

fn outgoing(request: &RenderedRequest) -> Result<Outgoing, Failure> {
    let url: Url = request.url.parse().map_err(|_| unsendable("address"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable("header"))?;
        headers.insert(name, HeaderValue::from_str(value).map_err(|_| unsendable("header"))?);
    }
    Ok(Outgoing { url, headers, body: request.body.clone() })
}

/// The file was checked when it was read, so this is a defect. Nothing was sent.
fn unsendable(what: &str) -> Failure {
    Failure::Unreachable(format!("the request's {what} cannot be sent"))
}
