//! `pod-registrar status`: the status of the running controller in a terminal, as its page shows it.

mod lines;

use std::{
    io::{self, IsTerminal as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use reqwest::{StatusCode, Url};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::lines::lines;
use super::{
    DIFFERS, DONE, Error, admin_client,
    report::{print, print_lines, printable},
};
use crate::{
    admin::status::StatusDocument,
    cli::{inspect::StatusSettings, values::OutputFormat},
};

const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Clears a terminal before the next status.
const CLEARED: &str = "\u{1b}[H\u{1b}[2J";

/// The answer of the controller: as it is, and as this program reads it.
struct Answer {
    json: Value,
    status: StatusDocument,
}

pub(super) async fn run(settings: StatusSettings, stop: CancellationToken) -> Result<u8, Error> {
    let StatusSettings { url, admin_addr, watch, output, log: _ } = settings;
    let url = match url {
        Some(url) => url,
        None => on_this_machine(admin_addr)?,
    };
    if watch {
        return stop.run_until_cancelled(show_always(&url, output.output)).await.unwrap_or(Ok(DONE));
    }
    let asked = stop.run_until_cancelled(ask(&url)).await.ok_or(Error::Stopped)?;
    let Answer { json, status } = asked.map_err(|why| Error::Request { what: "cannot show the status", why })?;
    print(output.output, || lines(&status), || json).await?;
    Ok(if status.all.in_sync { DONE } else { DIFFERS })
}

/// The address of a controller on this machine that listens there.
fn on_this_machine(listens: SocketAddr) -> Result<Url, Error> {
    let ip = if listens.ip().is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { listens.ip() };
    let url = format!("http://{}", SocketAddr::new(ip, listens.port()));
    url.parse::<Url>().map_err(|error| Error::Request { what: "cannot use --admin-addr", why: error.to_string() })
}

async fn ask(url: &Url) -> Result<Answer, String> {
    let (code, body) = admin_client::get(url, "/status").await?;
    read(code, &body).ok_or_else(|| format!("the answer is not that of a controller; check the address {url}"))
}

fn read(code: StatusCode, body: &[u8]) -> Option<Answer> {
    let json: Value = serde_json::from_slice(body).ok().filter(|_| code.is_success())?;
    let status = serde_json::from_value(json.clone()).ok().filter(|_| json["targets"].is_array())?;
    Some(Answer { json, status })
}

/// Shows the status every second. A controller that does not answer may be back the next time.
async fn show_always(url: &Url, format: OutputFormat) -> Result<u8, Error> {
    let is_terminal = io::stdout().is_terminal();
    loop {
        let mut shown = match (ask(url).await, format) {
            (Ok(answer), OutputFormat::Table) => lines(&answer.status),
            // One line per document.
            (Ok(answer), OutputFormat::Json) => vec![answer.json.to_string()],
            (Err(why), OutputFormat::Table) => vec![why],
            (Err(why), OutputFormat::Json) => vec![serde_json::json!({ "error": why }).to_string()],
        };
        shown.iter_mut().for_each(|line| *line = printable(line));
        match format {
            OutputFormat::Table if is_terminal => shown[0].insert_str(0, CLEARED),
            OutputFormat::Table => shown.push(String::new()),
            OutputFormat::Json => {}
        }
        print_lines(&shown).await?;
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_address_is_reached_over_loopback() {
        let url = |listens: &str| on_this_machine(listens.parse().unwrap()).unwrap().to_string();
        assert_eq!(url("[::]:8080"), "http://127.0.0.1:8080/");
        assert_eq!(url("0.0.0.0:1"), "http://127.0.0.1:1/");
        assert_eq!(url("[::1]:9"), "http://[::1]:9/");
    }

    #[test]
    fn only_the_status_of_controllers_is_read() {
        let read = |code: u16, body: &str| read(StatusCode::from_u16(code).unwrap(), body.as_bytes());
        let answer = read(200, r#"{"inSync": true, "targets": [], "later": 1}"#).unwrap();
        assert!(answer.status.all.in_sync && answer.json["later"] == 1);
        for (code, body) in
            [(500, r#"{"targets": []}"#), (200, "[]"), (200, "{}"), (200, "ok"), (200, r#"{"targets": [1]}"#)]
        {
            assert!(read(code, body).is_none(), "{body}");
        }
    }
}
