//! Packed pods come back unchanged: usual pods, odd ones, and corrupted bytes. Usual pods stay small.

use fastrand::Rng;

use crate::model::pod::{Pod, RecordContent, to_record};
use crate::model::record::{
    ClusterName, Container, Lifecycle, Placement, PodName, PodState, Record, Role, Times, TruncatedPart, WorkloadRef,
};
use crate::store::packed::names::NameTable;
use crate::store::packed::pod::Packed;

const UID: &str = "5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33";

fn uuid(rng: &mut Rng) -> String {
    let part = |rng: &mut Rng| format!("{:04x}", rng.u16(..));
    let [a, b, c, d, e, f, g, h] = std::array::from_fn(|_| part(rng));
    format!("{a}{b}-{c}-{d}-{e}-{f}{g}{h}")
}

fn pairs<const N: usize>(all: [(&str, String); N]) -> std::collections::BTreeMap<String, String> {
    all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn workload(kind: &str, api_version: &str, name: &str, uid: Option<&str>) -> WorkloadRef {
    let (kind, api_version, name) = (kind.to_owned(), api_version.to_owned(), name.to_owned());
    WorkloadRef { kind, api_version, name, uid: uid.map(str::to_owned), derived: uid.is_none() }
}

fn container(name: &str, role: Role) -> Container {
    Container {
        name: name.into(),
        role,
        image: Some(format!("registry.example.com/platform/{name}:1.27.4")),
        image_id: Some(format!("registry.example.com/platform/{name}@sha256:{}", "4bcff639".repeat(8))),
        ready: Some(true),
        restarts: Some(0),
    }
}

/// A running pod of a workload, with labels. `nth` numbers the pods of the workload.
fn running(name: String, workload: Vec<WorkloadRef>, nth: u8) -> Record {
    Record {
        owner: "pod-registrar".into(),
        cluster: ClusterName { id: "0d2b6d5e-9f2f-4d53-8f0e-1c9c6c9d1a11".into(), name: "prod-eu".into() },
        pod: PodName { uid: UID.into(), namespace: "shop".into(), name, labels: pairs([]), annotations: pairs([]) },
        workload,
        placement: Placement {
            node: Some("ip-10-1-2-3.eu-central-1.compute.internal".into()),
            host_ips: vec!["10.1.2.3".into()],
            pod_ips: vec![format!("10.64.0.{nth}")],
            host_network: false,
        },
        state: PodState {
            lifecycle: Lifecycle::Active,
            phase: Some("Running".into()),
            ready: Some(true),
            reason: None,
        },
        containers: vec![container("checkout", Role::App), container("istio-proxy", Role::Sidecar)],
        service_account: Some("checkout".into()),
        times: Times {
            created: "2026-11-23T10:00:00.000Z".into(),
            scheduled: Some("2026-11-23T10:00:00.000Z".into()),
            started: Some("2026-11-23T10:00:02.000Z".into()),
            deletion_requested: None,
            finished: None,
        },
        truncated: Vec::new(),
    }
}

fn deployment_pod(nth: u8) -> Record {
    let workload = vec![
        workload("ReplicaSet", "apps/v1", "checkout-7c6f5d9b88", Some("aa11bb22-0000-4000-8000-000000000001")),
        workload("Deployment", "apps/v1", "checkout", None),
    ];
    let mut record = running(format!("checkout-7c6f5d9b88-x2x{nth:02}"), workload, nth);
    record.pod.labels = pairs([
        ("app.kubernetes.io/name", "checkout".into()),
        ("app.kubernetes.io/instance", "checkout-eu".into()),
        ("app.kubernetes.io/version", "1.27.4".into()),
        ("app.kubernetes.io/part-of", "webshop".into()),
        ("team", "payments".into()),
        ("pod-template-hash", "7c6f5d9b88".into()),
    ]);
    record
}

fn stateful_set_pod(nth: u8) -> Record {
    let workload = vec![workload("StatefulSet", "apps/v1", "orders-db", Some("aa11bb22-0000-4000-8000-000000000002"))];
    let mut record = running(format!("orders-db-{nth}"), workload, nth);
    record.pod.labels = pairs([
        ("app.kubernetes.io/name", "postgresql".into()),
        ("app.kubernetes.io/instance", "orders-db".into()),
        ("team", "payments".into()),
        ("controller-revision-hash", "orders-db-5c8f7b6d9".into()),
        ("statefulset.kubernetes.io/pod-name", format!("orders-db-{nth}")),
        ("apps.kubernetes.io/pod-index", nth.to_string()),
    ]);
    record
}

/// A pod with a Job of its own: nearly nothing is shared.
fn job_pod(nth: u8) -> Record {
    let job = format!("report-{}", 29_384_700 + u32::from(nth));
    let uid = format!("aa11bb22-0000-4000-8000-0000000001{nth:02}");
    let mut record = running(format!("{job}-4xk{nth:02}"), vec![workload("Job", "batch/v1", &job, Some(&uid))], nth);
    record.pod.labels = pairs([
        ("team", "payments".into()),
        ("app.kubernetes.io/name", "report".into()),
        ("batch.kubernetes.io/controller-uid", uid.clone()),
        ("batch.kubernetes.io/job-name", job.clone()),
        ("controller-uid", uid),
        ("job-name", job),
    ]);
    record.containers.truncate(1);
    record.containers[0].ready = Some(false);
    record.state =
        PodState { lifecycle: Lifecycle::Finished, phase: Some("Succeeded".into()), ready: Some(false), reason: None };
    record.times.finished = Some("2026-11-23T10:04:17.000Z".into());
    record
}

fn pod(record: &Record) -> Pod {
    Pod {
        uid: UID.into(),
        namespace: record.pod.namespace.as_str().into(),
        name: record.pod.name.as_str().into(),
        resource_version: "1088123456".into(),
        generation: Some(1),
        content: Some(RecordContent::of(record.clone()).unwrap()),
    }
}

fn pack(record: &Record, names: &mut NameTable) -> Packed {
    Packed::pack(&pod(record), names)
}

/// The size of a pod once its shared texts are stored.
#[test]
#[expect(clippy::print_stdout, reason = "shown by the test runner if the test fails")]
fn usual_pods_are_small() {
    type Shape = (&'static str, fn(u8) -> Record, usize);
    let shapes: [Shape; 3] =
        [("Deployment", deployment_pod, 51), ("StatefulSet", stateful_set_pod, 50), ("Job", job_pod, 89)];
    for (shape, record, most) in shapes {
        let mut names = NameTable::new();
        let pods: Vec<(Record, Packed)> = (10..40)
            .map(|nth| {
                let record = record(nth);
                let packed = pack(&record, &mut names);
                (record, packed)
            })
            .collect();
        let sizes: Vec<usize> = pods.iter().map(|(_, packed)| packed.bytes()).collect();
        println!("{shape}: {sizes:?} bytes, {} texts in {} bytes", names.len(), names.bytes());
        assert!(sizes[2..].iter().all(|size| *size <= most), "{shape}: {sizes:?}");
        for (record, packed) in pods {
            assert_eq!(packed.expand(&UID.into(), &names), pod(&record));
            packed.release(&mut names);
        }
        assert!(names.is_empty());
    }
}

#[test]
fn a_pod_is_read_without_its_record() {
    let mut names = NameTable::new();
    let record = deployment_pod(1);
    let name = record.pod.name.as_str();
    let unreadable = to_record::unreadable(UID, "ops", name, "x-1");
    let other = Packed::pack(&unreadable, &mut names);
    let pod = pack(&record, &mut names);
    for pod in [pod, pack(&record, &mut names)] {
        assert_eq!((pod.namespace(&names), &*pod.name(&names)), ("shop", name));
        assert_eq!(pod.resource_version(), "1088123456");
        assert!(pod.is_named("shop", name, &names) && !pod.is_named("ops", name, &names));
        assert!(!pod.is_named("shop", "x2x01", &names) && !pod.is_named("shop", "checkout-7c6f5d9b88", &names));
        pod.release(&mut names);
    }
    assert_eq!(other.resource_version(), "x-1");
    assert!(other.is_named("ops", name, &names));
    assert_eq!(other.expand(&UID.into(), &names), unreadable);
    other.release(&mut names);
    assert!(names.is_empty());
}

/// Texts that are easy to confuse with other values.
fn text(rng: &mut Rng) -> String {
    const ODD: [&str; 24] = [
        "",
        "\0",
        "a",
        "-",
        "--",
        "a-b",
        "web",
        "web-1",
        "web-1-",
        "ä",
        "0",
        "07",
        "18446744073709551615",
        "18446744073709551616",
        "10.0.0.1",
        "010.0.0.1",
        "::1",
        "::FFFF:1.2.3.4",
        "fe80::1%eth0",
        "a\0b",
        "=",
        "1:a",
        "\u{7f}",
        "aa11bb22-0000-4000-8000-000000000001",
    ];
    match rng.u8(..12) {
        0 => uuid(rng),
        1 => format!("{}{}", ODD[rng.usize(..ODD.len())], uuid(rng)),
        2 => (0..rng.usize(..400)).map(|_| rng.char(..)).collect(),
        3 => rng.u64(..).to_string(),
        4 => format!("{}-{}", ODD[rng.usize(..ODD.len())], ODD[rng.usize(..ODD.len())]),
        _ => ODD[rng.usize(..ODD.len())].to_owned(),
    }
}

fn maybe<T>(rng: &mut Rng, make: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.bool().then(|| make(rng))
}

fn some<T>(rng: &mut Rng, make: impl Fn(&mut Rng) -> T) -> Vec<T> {
    let count = if rng.u8(..50) == 0 { rng.usize(..200) } else { rng.usize(..4) };
    (0..count).map(|_| make(rng)).collect()
}

fn time(rng: &mut Rng) -> String {
    let near = 1_764_000_000_000 + rng.i64(0..100_000_000);
    let millis = match rng.u8(..8) {
        0 => return text(rng),
        1 => rng.i64(-62_167_219_200_000..253_402_200_000_000),
        2 => near,
        _ => near / 1_000 * 1_000,
    };
    format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap())
}

fn number(rng: &mut Rng) -> u64 {
    match rng.u8(..4) {
        0 => rng.u64(..),
        1 => [u64::MAX, 60, 61, 62, 63, 64, 254, 255, 256, 1 << 53][rng.usize(..10)],
        _ => rng.u64(..3),
    }
}

fn odd_container(rng: &mut Rng) -> Container {
    Container {
        name: text(rng),
        role: [Role::Init, Role::Sidecar, Role::App, Role::Ephemeral][rng.usize(..4)],
        image: maybe(rng, text),
        image_id: maybe(rng, text),
        ready: maybe(rng, Rng::bool),
        restarts: maybe(rng, number),
    }
}

/// A label's value, often one that occurs elsewhere in the pod.
fn value(name: &str, workload: &[WorkloadRef], rng: &mut Rng) -> String {
    let ends: Vec<usize> = name.char_indices().map(|(at, _)| at).chain([name.len()]).collect();
    let (one, two) = (ends[rng.usize(..ends.len())], ends[rng.usize(..ends.len())]);
    match rng.u8(..5) {
        0 => name.to_owned(),
        1 => name[one.min(two)..one.max(two)].to_owned(),
        2 => workload.first().and_then(|one| one.uid.clone()).unwrap_or_default(),
        3 => workload.first().map(|one| one.name.clone()).unwrap_or_default(),
        _ => text(rng),
    }
}

fn odd(rng: &mut Rng) -> Record {
    let workload: Vec<WorkloadRef> = some(rng, |rng| WorkloadRef {
        kind: text(rng),
        api_version: text(rng),
        name: text(rng),
        uid: maybe(rng, text),
        derived: rng.bool(),
    });
    let first = workload.first().map(|one| one.name.clone()).unwrap_or_default();
    let name = match rng.u8(..4) {
        0 => first,
        1 => text(rng),
        _ => format!("{first}-{}", text(rng)),
    };
    let pairs = |rng: &mut Rng| some(rng, |rng| (text(rng), value(&name, &workload, rng))).into_iter().collect();
    Record {
        owner: text(rng),
        cluster: ClusterName { id: text(rng), name: text(rng) },
        pod: PodName { uid: UID.into(), namespace: text(rng), labels: pairs(rng), annotations: pairs(rng), name },
        workload,
        placement: Placement {
            node: maybe(rng, text),
            host_ips: some(rng, text),
            pod_ips: some(rng, text),
            host_network: rng.bool(),
        },
        state: PodState {
            lifecycle: [Lifecycle::Pending, Lifecycle::Active, Lifecycle::Terminating, Lifecycle::Finished]
                [rng.usize(..4)],
            phase: maybe(rng, text),
            ready: maybe(rng, Rng::bool),
            reason: maybe(rng, text),
        },
        containers: some(rng, odd_container),
        service_account: maybe(rng, text),
        times: Times {
            created: time(rng),
            scheduled: maybe(rng, time),
            started: maybe(rng, time),
            deletion_requested: maybe(rng, time),
            finished: maybe(rng, time),
        },
        truncated: some(rng, |rng| {
            [
                TruncatedPart::Annotations,
                TruncatedPart::Placement,
                TruncatedPart::Containers,
                TruncatedPart::Labels,
                TruncatedPart::Workload,
            ][rng.usize(..5)]
        }),
    }
}

fn any(rng: &mut Rng) -> Record {
    let usual = [deployment_pod, stateful_set_pod, job_pod][rng.usize(..3)](rng.u8(..100));
    let odd = odd(rng);
    match rng.u8(..8) {
        0 => usual,
        1 => Record { pod: odd.pod, ..usual },
        2 => Record { workload: odd.workload, times: odd.times, ..usual },
        3 => Record { placement: odd.placement, containers: odd.containers, ..usual },
        _ => odd,
    }
}

/// Pods are added and removed at random. Each comes back unchanged, and no text is left.
#[test]
#[expect(clippy::print_stdout, reason = "shown by the test runner if the test fails")]
fn packed_pods_come_back_unchanged() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut names = NameTable::new();
    let mut pods: Vec<(Pod, Packed)> = Vec::new();
    for _ in 0..6_000 {
        let mut pod = match rng.u8(..20) {
            0 => to_record::unreadable(UID, &text(&mut rng), &text(&mut rng), ""),
            _ => pod(&any(&mut rng)),
        };
        pod.resource_version = if rng.bool() { rng.u64(..).to_string() } else { text(&mut rng) }.into();
        pod.generation = maybe(&mut rng, |rng| [0, 1, i64::MIN, i64::MAX, rng.i64(..)][rng.usize(..5)]);
        let packed = Packed::pack(&pod, &mut names);
        pods.push((pod, packed));
        if pods.len() > 200 {
            let (pod, packed) = pods.swap_remove(rng.usize(..pods.len()));
            assert_eq!(packed.expand(&UID.into(), &names), pod);
            assert_eq!((packed.namespace(&names), &*packed.name(&names)), (&*pod.namespace, &*pod.name));
            assert!(packed.is_named(&pod.namespace, &pod.name, &names));
            assert_eq!(*packed.resource_version(), *pod.resource_version);
            packed.release(&mut names);
        }
    }
    for (pod, packed) in pods {
        assert_eq!(packed.expand(&UID.into(), &names), pod);
        packed.release(&mut names);
    }
    assert!(names.is_empty());
}

#[test]
fn a_pod_of_a_thousand_containers_comes_back() {
    let mut names = NameTable::new();
    let mut rng = Rng::with_seed(7);
    let mut record = deployment_pod(1);
    record.containers = (0..1_000).map(|_| odd_container(&mut rng)).collect();
    record.pod.annotations = (0..1_000).map(|n| (n.to_string(), "x".repeat(n))).collect();
    let packed = pack(&record, &mut names);
    assert_eq!(packed.expand(&UID.into(), &names), pod(&record));
    packed.release(&mut names);
    assert!(names.is_empty());
}

/// Reading corrupted bytes ends without a panic, although the bytes never leave the process.
#[test]
#[expect(clippy::print_stdout, reason = "shown by the test runner if the test fails")]
fn spoilt_bytes_are_read_without_a_panic() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    for _ in 0..3_000 {
        let mut names = NameTable::new();
        let record = any(&mut rng);
        let twin = pack(&record, &mut names);
        let mut packed = pack(&record, &mut names);
        for _ in 0..rng.u8(1..4) {
            let at = rng.usize(..packed.0.len());
            packed.0[at] = rng.u8(..);
        }
        packed.0 = packed.0[..rng.usize(..=packed.0.len())].into();
        let pod = packed.expand(&UID.into(), &names);
        assert_eq!(*packed.name(&names), *pod.name);
        packed.release(&mut names);
        twin.release(&mut names);
    }
}
