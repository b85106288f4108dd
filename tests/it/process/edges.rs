//! The surroundings of the process: pipes that are not read, strangers at the admin address, and a panic.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    process::Command,
    time::{Duration, Instant},
};

use pod_registrar::telemetry::{
    logging::{self, LogFormat},
    panics,
    stderr::Stderr,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::world::{Kube, ProcessHarness};
use crate::support::{Child, SOON, apiserver::Kind, eventually, http_client, until};

/// The probe timeout of the kubelet, as in `deploy/`.
const PROBE: Duration = Duration::from_secs(2);

/// A port that was free a moment ago, on every address.
fn free_port() -> u16 {
    TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap().local_addr().unwrap().port()
}

async fn get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let client = http_client();
    let answer =
        client.get(format!("http://{address}{path}")).timeout(PROBE).send().await.map_err(|e| e.to_string())?;
    Ok((answer.status().as_u16(), answer.text().await.map_err(|e| e.to_string())?))
}

async fn answers(address: SocketAddr, path: &str) {
    eventually(path, SOON, async || match get(address, path).await? {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// Starts a controller whose log goes into a pipe that is not read, and waits until the pipe is full.
async fn controller_with_a_full_pipe(world: &ProcessHarness) -> (Child, SocketAddr) {
    let port = free_port().to_string();
    let arguments = [
        "run",
        "--kubeconfig",
        world.kube.kubeconfig.to_str().unwrap(),
        "--registry-url",
        world.registry_url(),
        "--admin-addr",
        &format!(":{port}"),
    ];
    let child = Child::start_unread(&arguments, "trace");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().unwrap()));
    answers(address, "/livez").await;
    eventually("lines are dropped", SOON, async || {
        // Each of these causes one line.
        for _ in 0..200 {
            let mut stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
            stream.write_all(b"no HTTP\r\n\r\n").await.map_err(|e| e.to_string())?;
        }
        let (_, metrics) = get(address, "/metrics").await?;
        let figure = metrics.lines().find_map(|line| line.strip_prefix("pod_registrar_log_lines_dropped_total "));
        match figure.ok_or("no such metric")?.parse::<u64>() {
            Ok(0) => Err("none yet".to_owned()),
            other => other.map(|_| ()).map_err(|e| e.to_string()),
        }
    })
    .await;
    (child, address)
}

#[tokio::test]
async fn full_stderr_pipe_blocks_neither_work_nor_signals() {
    let world = ProcessHarness::start().await;
    let (mut controller, address) = controller_with_a_full_pipe(&world).await;
    world.kube.create(0..50);
    world.kube.equals(&world.registry(), SOON).await;
    for path in ["/livez", "/readyz", "/status"] {
        answers(address, path).await;
    }
    let asked = Instant::now();
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

/// The lines of 10,000 pods are more than a pipe holds, so `watch` is in the middle of its output when it has to stop.
#[tokio::test]
async fn unread_stdout_does_not_delay_sigterm() {
    let kube = Kube::start().await;
    kube.create(0..10_000);
    let arguments = ["watch", "--kubeconfig", kube.kubeconfig.to_str().unwrap()];
    let mut watch = Child::start_unread(&arguments, "info");
    // It prints each page of the list when it arrives; a page is more than a pipe holds.
    until("further pages are requested", || kube.api.requests(Kind::List) > 2).await;
    watch.terminate();
    assert_eq!(watch.code().await, 0);
}

#[tokio::test]
async fn admin_address_answers_on_ipv4_and_ipv6() {
    // Idle connections do not block the probes.
    let world = ProcessHarness::start().await;
    let port = free_port();
    let arguments = [
        "run",
        "--kubeconfig",
        world.kube.kubeconfig.to_str().unwrap(),
        "--registry-url",
        world.registry_url(),
        "--admin-addr",
        &format!("[::]:{port}"),
    ];
    let _controller = Child::start(&arguments);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    answers(address, "/readyz").await;
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..3 {
        assert_eq!(get(address, "/livez").await.map(|(status, _)| status), Ok(200));
    }
    // A machine without IPv6 has no such address.
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        answers(SocketAddr::from((Ipv6Addr::LOCALHOST, port)), "/livez").await;
    }
}

/// The panic message of the child process.
const PANIC_VARIABLE: &str = "POD_REGISTRAR_TEST_PANIC_MESSAGE";

/// The child process of the next test. It panics in a task of its runtime, and would go on otherwise.
#[test]
#[ignore = "ends its process; run by panic_ends_the_process"]
fn panicking_process() {
    let stderr = Stderr::start().unwrap();
    panics::end_the_process(stderr.clone());
    logging::init(LogFormat::Json, stderr, None).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let secret = std::env::var(PANIC_VARIABLE).unwrap_or_default();
    let task = runtime.spawn(async move {
        if secret.is_empty() {
            panic!("a defect");
        }
        panic!("refused {secret}");
    });
    // If only the task ends, this test passes, and its process ends with code 0 instead of 1.
    _ = runtime.block_on(task);
}

#[test]
fn panic_ends_the_process() {
    for (secret, message) in [("", "a defect"), ("hunter2", "(formatted, not shown)")] {
        let test = ["--exact", "process::edges::panicking_process", "--ignored", "--nocapture"];
        let mut process = Command::new(std::env::current_exe().unwrap());
        let output = process.args(test).env(PANIC_VARIABLE, secret).env("RUST_LOG", "info").output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        let line = text.lines().find(|line| line.contains("panic; ending the process")).expect("it is logged");
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["message"], "panic; ending the process. Please report this defect");
        assert_eq!((line["level"].as_str(), line["panic"].as_str()), (Some("ERROR"), Some(message)), "{line}");
        assert!(line["location"].as_str().unwrap().contains("edges.rs:"), "{line}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
