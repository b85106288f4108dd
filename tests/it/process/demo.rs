//! The command `demo`: all parts in one process, with its defaults.

use crate::support::Child;

#[tokio::test]
async fn demo_shows_pods_and_ends_with_code_0() {
    // Pods are created, changed and deleted, and the demo ends when its time is over.
    let arguments =
        ["demo", "--pods", "15", "--churn", "10", "--seed", "7", "--duration", "5s", "--listen", "127.0.0.1:0"];
    let mut demo = Child::start(&arguments);
    assert_eq!(demo.code().await, 0);
    let shown = demo.stdout();
    assert!(shown[0].starts_with("The registry's page:      http://127.0.0.1:"), "{shown:?}");
    for verb in ["registered", "changed", "deregistered"] {
        let lines = shown.iter().filter(|line| line.starts_with(&format!("{verb} ")));
        assert!(lines.count() > 0, "{verb} is not in {shown:#?}");
    }
    assert!(demo.logged("session closed"));
}

#[tokio::test]
async fn demo_ends_on_sigterm() {
    let mut demo = Child::start(&["demo", "--pods", "5", "--listen", "127.0.0.1:0"]);
    demo.log_line("session opened").await;
    demo.terminate();
    assert_eq!(demo.code().await, 0);
}
