//! The connection of one process to the REST registry: requests take time, and may be refused, lost or late.

use std::{collections::BTreeMap, time::Duration};

use futures::future::BoxFuture;
use pod_registrar::{
    mapping::{answer::Answer, request::RenderedRequest},
    reconcile::outcome::Failure,
    registry::mapped::carrier::{Exchanged, LocalRegistry},
};
use serde_json::{Value as Json, json};

use super::registry::{Parts, Reply};
use crate::{
    network::REQUEST_TIMEOUT,
    steps::{Fault, Refusal},
    world::{Shared, SimulatedWorld},
};

/// A create arrives within this time: the request timeout, and the same time after it.
const CREATE_ARRIVES_WITHIN: Duration = Duration::from_secs(19);
/// A page of a proxy.
const HTML: &str = "<html><body>sign in</body></html>";

#[derive(Clone)]
pub(crate) struct RestConnection {
    pub(crate) shared: Shared,
    pub(crate) process: usize,
}

impl LocalRegistry for RestConnection {
    fn exchange(&self, request: RenderedRequest) -> BoxFuture<'static, Result<Exchanged, Failure>> {
        let connection = self.clone();
        Box::pin(async move { connection.send(request).await })
    }
}

impl RestConnection {
    async fn send(self, request: RenderedRequest) -> Result<Exchanged, Failure> {
        let is_write = request.method != "GET";
        let (fate, there, back) = {
            let mut world = self.shared.world();
            let fate = world.fate(is_write);
            let number = self.process;
            world.trace(|| format!("{number} sends {} {} {fate:?}", request.method, shortened(&request)));
            (fate, world.latency(), world.latency())
        };
        match fate {
            Some(Fault::Refuse(refusal)) => {
                tokio::time::sleep(there).await;
                self.refused(&request, refusal)
            }
            Some(Fault::Swallow) => Err(timed_out().await),
            // Nothing would ever show a late write.
            Some(Fault::Late(_)) if self.remembers() => Err(timed_out().await),
            Some(Fault::Late(ms)) => {
                // No client can wait for a create forever.
                let latest = if request.method == "POST" { CREATE_ARRIVES_WITHIN } else { Duration::MAX };
                let (connection, delay) = (self.clone(), Duration::from_millis(u64::from(ms)).min(latest));
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    connection.arrive(&request, true);
                });
                Err(timed_out().await)
            }
            // Only the answer is lost. The process may end before that.
            Some(Fault::Lose) => {
                self.carry(request, there, false).await?;
                tokio::time::sleep(back).await;
                Err(Failure::Broken("the connection was reset".into()))
            }
            Some(Fault::Items(status, _)) => {
                if status == 500 {
                    self.carry(request, there, false).await?;
                }
                tokio::time::sleep(back).await;
                Ok(answer((status, json!({})), None))
            }
            None => {
                let reply = self.carry(request, there, false).await?;
                tokio::time::sleep(back).await;
                Ok(answer(reply, None))
            }
        }
    }

    /// Brings a request to the registry, which takes it even if the process gives up or is killed.
    async fn carry(&self, request: RenderedRequest, there: Duration, is_late: bool) -> Result<Reply, Failure> {
        let connection = self.clone();
        let arriving = tokio::spawn(async move {
            tokio::time::sleep(there).await;
            connection.arrive(&request, is_late)
        });
        arriving.await.map_err(|_| Failure::Broken("the registry is gone".into()))
    }

    fn remembers(&self) -> bool {
        self.shared.world().rest.rest.remembers
    }

    fn arrive(&self, request: &RenderedRequest, is_late: bool) -> Reply {
        let mut world = self.shared.world();
        world.take_exchange(self.process, request, is_late)
    }

    fn refused(&self, request: &RenderedRequest, refusal: Refusal) -> Result<Exchanged, Failure> {
        match refusal {
            Refusal::Unreachable => Err(Failure::Unreachable("refused".into())),
            // A registry that does not know what it holds deceives every client.
            Refusal::Status(404) if request.method == "GET" || self.remembers() => Ok(answer((503, json!({})), None)),
            Refusal::Status(502) => Ok(Exchanged { answer: Answer::new(200, [], HTML.as_bytes()), retry_after: None }),
            Refusal::Status(status) => Ok(answer((status, json!({})), None)),
            Refusal::After(status, secs) => Ok(answer((status, json!({})), Some(secs))),
        }
    }
}

async fn timed_out() -> Failure {
    tokio::time::sleep(REQUEST_TIMEOUT).await;
    Failure::Broken("no answer in time".into())
}

fn answer((status, body): Reply, retry_after: Option<u8>) -> Exchanged {
    let retry_after = retry_after.map(|secs| Duration::from_secs(u64::from(secs)));
    let text = if body.is_null() { String::new() } else { body.to_string() };
    Exchanged { answer: Answer::new(status, [], text.as_bytes()), retry_after }
}

fn shortened(request: &RenderedRequest) -> String {
    let body = request.body.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    format!("{} {body}", request.url.trim_start_matches("http://registry/"))
}

impl SimulatedWorld {
    /// The registry takes a request.
    fn take_exchange(&mut self, process: usize, request: &RenderedRequest, is_late: bool) -> Reply {
        let url: Vec<&str> = request.url.trim_start_matches("http://registry/").splitn(2, '?').collect();
        let query = url.get(1).copied().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let query: BTreeMap<String, String> = query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let body: Json = request.body.as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
        let parts = Parts { method: &request.method, path: url[0].split('/').collect(), query, body };
        // No list can show that a create is on its way. It ends with the leadership of the process that sent it.
        let creates = parts.method == "POST" && parts.path == ["systems"];
        if (creates || self.rest.rest.remembers) && !self.leads(process) {
            self.trace(|| format!("    lost: {} {}", request.method, shortened(request)));
            return (503, json!({}));
        }
        let now = self.now();
        self.moment(|| {
            let late = if is_late { ", late" } else { "" };
            format!("    the registry takes {} {}{late}", request.method, shortened(request))
        });
        let reply = self.rest.answer(now, &parts);
        self.trace(|| format!("    and answers {} {}", reply.0, reply.1));
        self.check_harm(process, is_late);
        reply
    }

    fn leads(&self, process: usize) -> bool {
        let process = &self.processes[process];
        process.alive && process.leadership.borrow().term(process.clock.now()).is_some()
    }
}
