//! Command lines, environments and files of any shape: they are taken within their bounds, or refused with a few words and
//! an exit code of 0 or 2.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::{Command, files, parse, selectors, values};
use crate::fuzz::{self, Found, ensure};

/// Command lines, one argument a line; what has a `=` and begins in upper case stands in the environment.
const LINES: [&str; 6] = [
    "run\n--registry-url\nhttps://registry.example/a\n--namespace\nshop,bank\n--label-selector\napp in (a, c),!x\n--field-selector\nstatus.phase!=Failed",
    "run\n--owner\nours\n--max-in-flight\n7\n--resync-interval\n30m\nPOD_REGISTRAR_REGISTRY_URL=http://[::1]:7070/prefix\nPOD_REGISTRAR_CLUSTER_ID=c",
    "run\n--registry-url=http://127.0.0.1:1\n--request-timeout\n10s\n--admin-addr\n[::]:8080\n--label-allow\napp.*\n--annotation-allow\n*\n--log-format\njson",
    "watch\n--exclude-namespace\nkube-system",
    "registry\n--listen\n127.0.0.1:7070",
    "demo\n--pods\n50\n--churn\n2.5\n--duration\n5s\n--seed\n7",
];

fn corpus(lines: &[&str]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}

#[test]
fn a_command_line_of_any_shape_is_taken_within_bounds_or_refused() {
    fuzz::check(&corpus(&LINES), |input, _| command_line(input));
}

fn command_line(input: &[u8]) -> Found {
    let lines = || input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
    let variable = |line: &[u8]| line.first().is_some_and(u8::is_ascii_uppercase) && line.contains(&b'=');
    let arguments = std::iter::once(b"pod-registrar".to_vec()).chain(lines().filter(|line| !variable(line)));
    let environment = |name: &str| {
        let value = lines().find_map(|line| line.strip_prefix(format!("{name}=").as_bytes()).map(<[u8]>::to_vec));
        value.map(OsString::from_vec)
    };
    match parse(arguments.map(OsString::from_vec), environment) {
        Ok(Command::Run(settings)) => {
            let (registry, intervals) = (&settings.registry, [settings.resync_interval, settings.relist_interval]);
            ensure((1..=64).contains(&registry.max_in_flight), || "requests at a time".to_owned())?;
            ensure(registry.max_writes_per_second > 0, || "no writes".to_owned())?;
            ensure((1..=300_000).contains(&registry.request_timeout.as_millis()), || "the time-out".to_owned())?;
            ensure(registry.url.path().ends_with('/') && registry.url.username().is_empty(), || {
                "the address".to_owned()
            })?;
            let year = 366 * 24 * 3600;
            ensure(intervals.iter().all(|i| (1..=year).contains(&i.as_secs())), || format!("{intervals:?}"))
        }
        Ok(_) => Ok(()),
        Err(refusal) => {
            let (code, text) = (refusal.exit_code(), refusal.to_string());
            ensure(matches!(code, 0 | 2), || format!("exit code {code}"))?;
            // A refusal repeats what was typed, escaped, and the help is a few pages.
            ensure(text.len() <= 20_000 + 12 * input.len(), || format!("{} bytes of refusal", text.len()))
        }
    }
}

#[test]
fn a_value_of_any_shape_is_taken_or_refused() {
    let values = [
        "app in (a, c),!x,cores>4",
        "spec.nodeName=node-1,status.phase!=Failed",
        "1h",
        "500ms",
        "0.5",
        "https://me:hunter2@registry.example/a?b#c",
        "app.kubernetes.io/*",
        "[::1]:7070",
        "kube-system",
    ];
    fuzz::check(&corpus(&values), |input, _| {
        let text = String::from_utf8_lossy(input);
        let label = selectors::label(&text);
        ensure(label.as_ref().map_or(true, |label| *label == text), || "a selector that was changed".to_owned())?;
        // In parentheses commas separate values, and outside requirements: an open one would change what is selected.
        let balanced = text.matches('(').count() == text.matches(')').count();
        ensure(label.is_err() || balanced, || format!("{text:?} is taken"))?;
        let field = selectors::field(&text);
        ensure(field.map_or(true, |field| field == text), || "a selector that was changed".to_owned())?;
        let duration = values::duration(&text);
        ensure(duration.map_or(true, |time| time.as_secs() <= 366 * 24 * 3600), || "longer than a year".to_owned())?;
        let url = values::registry_url(&text);
        match &url {
            Ok(url) => {
                ensure(url.username().is_empty() && url.password().is_none(), || format!("a password in {url}"))?
            }
            Err(refusal) => ensure(!refusal.to_string().contains("hunter2"), || format!("a password in {refusal}"))?,
        }
        drop((values::namespace(&text), values::pattern(&text), values::id(&text), values::address(&text)));
        drop((values::display_name(&text), values::context(&text), values::log_format(&text), values::interval(&text)));
        Ok(())
    });
}

#[test]
fn a_file_of_any_content_is_taken_or_refused() {
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nAAAA\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    fuzz::check(&corpus(&["a-token\n", pem, "apiVersion: v1\nkind: Config\n"]), |input, _| {
        std::fs::write(path, input).map_err(|error| error.to_string())?;
        let token = input.trim_ascii();
        let token = token.strip_prefix(b"\xef\xbb\xbf").unwrap_or(token).trim_ascii();
        let fits = !token.is_empty() && token.iter().all(u8::is_ascii_graphic) && input.len() <= 4 << 20;
        ensure(files::token(path).is_ok() == fits, || "a token that cannot be sent, or could".to_owned())?;
        ensure(files::readable(path).is_ok() != input.is_empty(), || "an empty file".to_owned())?;
        for refusal in [files::token(path), files::certificates(path), files::private_key(path)] {
            let text = refusal.err().map_or(String::new(), |problem| problem.to_string());
            ensure(text.len() < 1_000, || format!("{} bytes of refusal", text.len()))?;
        }
        Ok(())
    });
}
