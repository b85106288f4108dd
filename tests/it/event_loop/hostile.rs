//! A registry that answers anything that its client lets through. The loop survives, and is in sync soon after the
//! answers are true again.

use std::time::Duration;

use fastrand::Rng;
use pod_registrar::{
    model::{
        digest::Digest,
        ids::{INTEGER_LIMIT, Version, is_valid_id},
    },
    reconcile::{
        outcome::{Failure, StoredVersion, Verdict},
        takeover::{ReportedSession, SessionHolder, SessionLiveness},
    },
    registry::{
        Capabilities, Features, RecordName,
        inventory::{BucketDigest, BucketDigests, InventoryItem, InventoryPage},
        session::SessionOpened,
    },
};

use super::{
    fake::Fake,
    world::{EventLoopHarness, SECOND, many, pod},
};
use crate::support::seed;

#[tokio::test(start_paused = true)]
async fn lying_registry_breaks_nothing() {
    // The registry is in sync once its answers are true again.
    let mut rng = Rng::with_seed(seed());
    for _ in 0..25 {
        let registry = Fake::new();
        let mut world = EventLoopHarness::settled(registry.clone(), many(60, "a")).await;
        world.health.watch_listed(0);
        registry.state().liar = Some(rng.fork());
        for round in 0..40 {
            world.apply(pod(&format!("new-{round}"), "a")).await;
            world.apply(pod(&format!("uid-000{:02}", rng.u8(30..60)), &format!("{round}"))).await;
            if round < 30 {
                world.delete(&format!("uid-000{round:02}")).await;
            }
            world.pass(SECOND * rng.u32(1..40)).await;
            assert!(world.health.live().ok());
        }
        // The registry recovers by a restart, and the session that it made up is closed.
        registry.state().liar = None;
        registry.state().end_session();
        registry.state().down = Some(Failure::Unreachable("connection refused".into()));
        world.pass(60 * SECOND).await;
        registry.state().down = None;
        // The next resync finds writes that were acknowledged but not applied.
        world.pass(2 * 1_800 * SECOND).await;
        world.assert_equal();
    }
}

fn number(rng: &mut Rng) -> u64 {
    let near = rng.u64(..200);
    [near, 0, 1, u64::MAX, INTEGER_LIMIT - 1, INTEGER_LIMIT, u64::from(u32::MAX)][rng.usize(..7)]
}

fn text(rng: &mut Rng) -> String {
    ["", "x", "../..", "\u{0}\n", "ü", "uid-00031", "new-1"][rng.usize(..7)].to_owned()
}

fn digest(rng: &mut Rng) -> Digest {
    Digest([rng.u8(..); 32])
}

/// A failure, or the made-up answer of the caller.
fn or_failure<T>(rng: &mut Rng, lie: impl FnOnce(&mut Rng) -> T) -> Result<T, Failure> {
    let (status, detail) = ([400, 409, 422, 429, 500, 503][rng.usize(..6)], text(rng));
    match rng.u8(..22) {
        0 => Err(Failure::Unreachable(detail)),
        1 => Err(Failure::Broken(detail)),
        2 => Err(Failure::Refused { status, detail }),
        3 => Err(Failure::Throttled { status, after: rng.bool().then(|| Duration::from_secs(rng.u64(..=300))) }),
        4 => Err(Failure::Unauthorized { status, detail, named: rng.bool() }),
        5 => Err(Failure::TooLarge),
        6 => Err(Failure::UnknownSession),
        7 => Err(Failure::Expired),
        8 => Err(Failure::NotFound),
        _ => Ok(lie(rng)),
    }
}

pub(super) fn capabilities(rng: &mut Rng) -> Result<Capabilities, Failure> {
    or_failure(rng, |rng| {
        let [max_batch_items, max_batch_bytes, max_record_bytes] =
            [(); 3].map(|()| usize::try_from(number(rng)).unwrap());
        let features = Features { batches: rng.bool(), digests: rng.bool(), ..Features::ALL };
        Capabilities { max_batch_items, max_batch_bytes, max_record_bytes: Some(max_record_bytes), features }
    })
}

fn state(rng: &mut Rng) -> SessionLiveness {
    [SessionLiveness::Live, SessionLiveness::Stale, SessionLiveness::Closed][rng.usize(..3)]
}

/// Epochs stay low enough for the protocol to continue from them.
pub(super) fn session(rng: &mut Rng) -> Result<SessionOpened, Failure> {
    or_failure(rng, |rng| {
        let state = state(rng);
        let (epoch, instance, scope) = (number(rng), text(rng), Some(text(rng)));
        let previous = ReportedSession { epoch, instance, scope, cluster_uid: None, state };
        SessionOpened { epoch: rng.u64(1..1_000), ttl_seconds: number(rng), previous: Some(previous) }
    })
}

pub(super) fn nothing(rng: &mut Rng) -> Result<(), Failure> {
    or_failure(rng, |_| ())
}

pub(super) fn holder(rng: &mut Rng) -> Result<Option<SessionHolder>, Failure> {
    or_failure(rng, |rng| {
        let session = ReportedSession {
            epoch: rng.u64(..1_000),
            instance: text(rng),
            scope: rng.bool().then(|| text(rng)),
            cluster_uid: None,
            state: state(rng),
        };
        Some(SessionHolder { session, heartbeat: rng.bool().then(|| text(rng)), records: rng.u64(..) })
    })
}

pub(super) fn verdicts(rng: &mut Rng, count: usize) -> Result<Vec<Verdict>, Failure> {
    or_failure(rng, |rng| (0..count).map(|_| verdict(rng)).collect())
}

fn verdict(rng: &mut Rng) -> Verdict {
    let version = Version { epoch: rng.u64(..1_000), seq: rng.u64(..10_000) };
    let current = rng.bool().then(|| StoredVersion { version, digest: rng.bool().then(|| digest(rng)) });
    match rng.u8(..8) {
        0 => Verdict::Retry { after: rng.bool().then(|| Duration::from_secs(rng.u64(..=300))), cause: text(rng) },
        1 => Verdict::Rejected { cause: text(rng) },
        2 => Verdict::Stale { current },
        3 => Verdict::Tombstoned { current },
        4 => Verdict::Uncertain { cause: text(rng) },
        _ => Verdict::Done,
    }
}

pub(super) fn buckets(rng: &mut Rng, count: usize) -> Result<BucketDigests, Failure> {
    or_failure(rng, |rng| {
        let buckets = (0..count).map(|_| BucketDigest { count: number(rng), digest: digest(rng) }).collect();
        BucketDigests { buckets, count: number(rng), as_of: number(rng) }
    })
}

pub(super) fn page(rng: &mut Rng) -> Result<InventoryPage, Failure> {
    let page = or_failure(rng, |rng| {
        let items: Vec<_> = (0..rng.usize(..5)).map(|_| item(rng)).collect();
        let count = if rng.bool() { items.len() as u64 } else { number(rng) };
        InventoryPage { items, next: (rng.u8(..4) == 0).then(|| text(rng)), count, as_of: number(rng) }
    })?;
    if page.items.iter().all(|item| is_valid_id(&item.uid.text())) {
        Ok(page)
    } else {
        Err(Failure::Inventory("an id is invalid".into()))
    }
}

fn item(rng: &mut Rng) -> InventoryItem {
    let id = if rng.u8(..8) == 0 { text(rng) } else { format!("uid-000{:02}", rng.u8(..90)) };
    let version = Version { epoch: number(rng), seq: number(rng) };
    InventoryItem { uid: id.into(), fingerprint: Some(digest(rng).fingerprint()), version: Some(version) }
}

pub(super) fn name(rng: &mut Rng) -> Result<Option<RecordName>, Failure> {
    or_failure(rng, |rng| rng.bool().then(|| RecordName { namespace: text(rng), name: text(rng) }))
}
