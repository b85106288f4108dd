//! Random command lines, values and files are accepted within their bounds or rejected with an error.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use clap::CommandFactory as _;

use crate::cli::{Program, files, flags::Command, parse_with, values};
use crate::fuzz::{self, Found, ensure};

/// Command lines, one argument per line.
const LINES: [&str; 6] = [
    "run\n--registry-url\nhttps://registry.example/a\n--namespace\nshop,bank\n--label-selector\napp in (a, c),!x\n--field-selector\nstatus.phase!=Failed",
    "run\n--owner\nours\n--max-in-flight\n7\n--resync-interval\n1h30m\n--registry-url=http://[::1]:7070/prefix\n--cluster-id=c",
    "run\n--registry-url=http://127.0.0.1:1\n--request-timeout\n10s\n--admin-addr\n[::]:8080\n--label-allow\napp.*\n--annotation-allow\n*\n--log-format\njson",
    "watch\n--exclude-namespace\nkube-system",
    "registry\n--listen\n127.0.0.1:7070",
    "demo\n--pods\n50\n--churn\n2.5\n--duration\n5s\n--seed\n7",
];

fn corpus(lines: &[&str]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}

#[test]
fn random_command_line_is_accepted_within_bounds() {
    fuzz::check(&corpus(&LINES), |input, _| command_line(input));
}

fn command_line(input: &[u8]) -> Found {
    let arguments = input.split(|byte| *byte == b'\n').map(|argument| OsString::from_vec(argument.to_vec()));
    match parse_with(Program::command(), std::iter::once("pod-registrar".into()).chain(arguments)) {
        Ok(Command::Run(settings)) => {
            let (registry, intervals) = (&settings.registry, [settings.resync_interval, settings.relist_interval]);
            ensure((1..=64).contains(&registry.max_in_flight), || "--max-in-flight out of bounds".to_owned())?;
            ensure(registry.max_writes_per_second > 0, || "--max-writes-per-second is 0".to_owned())?;
            ensure((1..=300_000).contains(&registry.connection.request_timeout.as_millis()), || {
                "--request-timeout out of bounds".to_owned()
            })?;
            let is_valid = |url: &reqwest::Url| url.path().ends_with('/') && url.username().is_empty();
            ensure(registry.connection.registry_url.as_ref().is_none_or(is_valid), || {
                "an invalid --registry-url".to_owned()
            })?;
            ensure(registry.connection.registry_url.is_some() != registry.connection.targets.is_some(), || {
                "no registry, or two".to_owned()
            })?;
            let year = 366 * 24 * 3600;
            ensure(intervals.iter().all(|i| (1..=year).contains(&i.as_secs())), || format!("{intervals:?}"))
        }
        Ok(_) => Ok(()),
        Err(error) => {
            let (code, text) = (error.exit_code(), error.to_string());
            ensure(matches!(code, 0 | 2), || format!("exit code {code}"))?;
            let names_origin = error.kind() != clap::error::ErrorKind::ValueValidation || text.starts_with("error: --");
            ensure(names_origin, || format!("no flag is named: {text}"))?;
            // An error repeats the value, escaped; the help has a few pages.
            ensure(text.len() <= 20_000 + 12 * input.len(), || format!("{} bytes of error", text.len()))
        }
    }
}

#[test]
fn random_value_is_accepted_or_rejected() {
    let corpus =
        corpus(&["1h", "0.5", "https://me:hunter2@registry.example/a?b#c", "app.kubernetes.io/*", "[::1]:7070"]);
    fuzz::check(&corpus, |input, _| {
        let text = String::from_utf8_lossy(input);
        match values::registry_url(&text) {
            Ok(url) => {
                ensure(url.username().is_empty() && url.password().is_none(), || format!("a password in {url}"))?;
            }
            Err(problem) => ensure(!problem.to_string().contains("hunter2"), || format!("a password in {problem}"))?,
        }
        drop((values::namespace(&text), values::pattern(&text), values::id(&text), values::address(&text)));
        drop((values::display_name(&text), values::lease(&text), values::hold(&text), values::interval(&text)));
        Ok(())
    });
}

#[test]
fn random_file_is_accepted_or_rejected() {
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nAAAA\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    fuzz::check(&corpus(&["a-token\n", pem, "apiVersion: v1\nkind: Config\n"]), |input, _| {
        std::fs::write(path, input).map_err(|error| error.to_string())?;
        let token = input.trim_ascii();
        let token = token.strip_prefix(b"\xef\xbb\xbf").unwrap_or(token).trim_ascii();
        let fits = !token.is_empty() && token.iter().all(u8::is_ascii_graphic) && input.len() <= 4 << 20;
        ensure(files::token(path).is_ok() == fits, || "a token is accepted or rejected wrongly".to_owned())?;
        ensure(files::readable(path).is_ok() != input.is_empty(), || {
            "an empty file is accepted, or another one rejected".to_owned()
        })?;
        for rejected in [files::token(path), files::certificates(path), files::private_key(path)] {
            let text = rejected.err().map_or(String::new(), |problem| problem.to_string());
            ensure(text.len() < 1_000, || format!("{} bytes of error", text.len()))?;
        }
        Ok(())
    });
}
