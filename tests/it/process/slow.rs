//! A controller that gets almost no processor time, or none for a while.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    churn::assert_in_order,
    world::{CLUSTER, ProcessHarness, name},
};
use crate::support::{SOON, apiserver::Kind, eventually, until};

/// Stops a process most of the time, until this is dropped.
struct Throttle(Child);

impl Throttle {
    /// Lets a process run for 5 ms after every 700 ms.
    fn start(process: u32) -> Self {
        let script = format!(
            "trap 'kill -CONT {process}; exit' TERM; \
             while kill -STOP {process} && sleep 0.7 && kill -CONT {process}; do sleep 0.005; done"
        );
        let shell = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(shell.expect("a shell"))
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // The shell continues the process before it ends.
        let _ = Command::new("sh").args(["-c", r#"kill -TERM "$0""#, &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn controller_converges_on_a_hundredth_of_a_cpu() {
    // It does not list the pods again and again.
    let world = ProcessHarness::start().await;
    world.kube.create(0..40);
    let mut controller = world.controller();
    controller.log_line("health and metrics are served").await;
    let (began, before) = (Instant::now(), controller.processor_time());
    let throttle = Throttle::start(controller.id());
    world.kube.equals(&world.registry(), SOON * 6).await;
    world.kube.delete(0..3);
    world.kube.create(40..45);
    world.kube.label(&name(20), "changed");
    world.kube.equals(&world.registry(), SOON * 6).await;
    let (had, wall) = (controller.processor_time() - before, began.elapsed());
    assert!(had * 20 < wall + SOON / 10, "it ran for {had:?} of {wall:?}");
    let lists = world.kube.api.requests(Kind::List);
    assert!(lists <= 3, "{lists} lists of pods");
    assert_eq!(controller.page("/livez").await.0, 200, "slow is not hung");
    drop(throttle);
    until("it still runs", || controller.is_running()).await;
}

#[tokio::test]
async fn suspended_controller_recovers_with_a_request_in_flight() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..20);
    let mut controller = world.controller_with(&["--request-timeout", "1s"]);
    world.equal().await;
    controller.synced().await;
    world.proxy.hold_writes();
    world.kube.label(&name(1), "in flight");
    let uid = world.kube.uid(&name(1));
    until("a write is in flight", || world.proxy.seen().iter().any(|exchange| exchange.writes_about(&uid))).await;
    controller.pause();
    let gone = (2..7).map(|number| world.kube.uid(&name(number))).collect();
    world.kube.delete(2..7);
    world.kube.create(20..25);
    world.kube.label(&name(1), "changed again");
    // Longer than every time limit of the request.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.proxy.release();
    controller.resume();
    world.equal().await;
    eventually("nothing is pending", SOON, async || match controller.figure("pending").await {
        0.0 => Ok(()),
        pending => Err(format!("{pending} pending")),
    })
    .await;
    assert_eq!((controller.page("/livez").await.0, controller.page("/readyz").await.0), (200, 200));
    assert_in_order(&world.registry().changes(CLUSTER).await.unwrap(), &gone);
}
