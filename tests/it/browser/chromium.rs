//! Runs Chromium without a window, with a profile of its own, for one page.

use std::{process::Stdio, time::Duration};

use tokio::process::Command;

use crate::support::notice;

/// Chromium is slow to start on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);

/// Whether the program is installed. Says so if it is not.
pub(super) async fn is_missing() -> bool {
    let found = Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    let is_missing = !found.is_ok_and(|status| status.success());
    if is_missing {
        notice("skipped, chromium is not installed; .ci/run browser installs it");
    }
    is_missing
}

/// The document after this time of its own clock, which runs as fast as the page lets it.
pub(super) async fn document(url: &str, is_dark: bool, after: Duration) -> String {
    let profile = tempfile::tempdir().unwrap();
    let scheme = format!("preferredColorScheme={}", u8::from(!is_dark));
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--blink-settings={scheme}"))
        .arg(format!("--virtual-time-budget={}", after.as_millis()))
        .args(["--window-size=1700,1000", "--dump-dom", url])
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(WITHIN, output).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
