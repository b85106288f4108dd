//! Expands a packed pod into its record.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

use strum::VariantArray as _;

use super::{
    bytes::{ByteReader, TextReader},
    open::{OpenPod, head},
    pack::{IPV4, IPV6, NEXT, NO_RESTARTS, RESTARTS, RESTARTS_MOST, TRUTHS, WORKLOADS_UID, WRITTEN_OUT},
    times,
};
use crate::model::record::{
    ClusterName, Container, Lifecycle, Placement, PodName, PodState, Record, Role, TruncatedPart, WorkloadRef,
};

/// Expands the record of a pod that was read up to its name.
pub(super) fn record(opened: &mut OpenPod<'_>, uid: &str, name: &str) -> Record {
    let origin = opened.text();
    let mut origin = TextReader(&origin);
    let owner = origin.text().to_owned();
    let cluster = ClusterName { id: origin.text().to_owned(), name: origin.last().to_owned() };
    let workload = workload(opened);
    let controller = workload.first().and_then(|workload| workload.uid.as_deref()).unwrap_or_default();
    Record {
        owner,
        cluster,
        pod: PodName {
            uid: uid.to_owned(),
            namespace: opened.namespace.to_owned(),
            name: name.to_owned(),
            labels: pairs(head::LABELS, (name, controller), opened),
            annotations: pairs(head::ANNOTATIONS, (name, controller), opened),
        },
        workload,
        placement: placement(opened),
        state: state(opened),
        containers: containers(opened),
        service_account: opened.has(head::SERVICE_ACCOUNT).then(|| opened.text().into_owned()),
        times: times::expand(&mut opened.body),
        truncated: truncated(opened),
    }
}

fn workload(opened: &OpenPod<'_>) -> Vec<WorkloadRef> {
    let (kinds, own) = &opened.workload;
    let (mut kinds, mut own) = (TextReader(kinds), TextReader(own));
    let count = kinds.count();
    let mut all: Vec<WorkloadRef> = Vec::with_capacity(count);
    let mut with_uid = Vec::with_capacity(count);
    for _ in 0..count {
        let (kind, api_version, flags) = (kinds.text().to_owned(), kinds.text().to_owned(), kinds.number());
        let name = match all.first() {
            None => own.text(),
            Some(first) => match own.number().checked_sub(1) {
                Some(len) => first.name.get(..len).unwrap_or_default(),
                None => own.text(),
            },
        };
        all.push(WorkloadRef { kind, api_version, name: name.to_owned(), uid: None, derived: flags & 1 != 0 });
        with_uid.push(flags & 2 != 0);
    }
    for (one, _) in all.iter_mut().zip(with_uid).filter(|(_, with_uid)| *with_uid) {
        one.uid = Some(own.text().to_owned());
    }
    all
}

fn pairs(flag: u16, (name, controller): (&str, &str), opened: &mut OpenPod<'_>) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    if !opened.has(flag) {
        return pairs;
    }
    let (shared, apart) = (opened.count_of_slots(), opened.count_of_slots());
    for _ in 0..shared {
        let text = opened.text();
        let mut parts = TextReader(&text);
        pairs.insert(parts.text().to_owned(), parts.last().to_owned());
    }
    for _ in 0..apart {
        let start = opened.body.byte();
        let len = if start < WRITTEN_OUT { opened.body.byte() } else { 0 };
        let key = opened.text().into_owned();
        let value = match start {
            WRITTEN_OUT => opened.body.text().into_owned(),
            WORKLOADS_UID => controller.to_owned(),
            start => {
                let from = usize::from(start);
                name.get(from..from + usize::from(len)).unwrap_or_default().to_owned()
            }
        };
        pairs.insert(key, value);
    }
    pairs
}

fn placement(opened: &mut OpenPod<'_>) -> Placement {
    let mut placement = Placement { host_network: opened.has(head::HOST_NETWORK), ..Placement::default() };
    if opened.has(head::PLACED) {
        let text = opened.text();
        let mut parts = TextReader(&text);
        placement.node = parts.optional().map(str::to_owned);
        while !parts.0.is_empty() {
            placement.host_ips.push(parts.text().to_owned());
        }
    }
    let mut more = opened.has(head::POD_IPS);
    while more {
        let how = opened.body.byte();
        placement.pod_ips.push(address(how & !NEXT, &mut opened.body));
        more = how & NEXT != 0;
    }
    placement
}

fn address(how: u8, body: &mut ByteReader<'_>) -> String {
    match how {
        IPV4 => Ipv4Addr::from(body.array::<4>()).to_string(),
        IPV6 => Ipv6Addr::from(body.array::<16>()).to_string(),
        _ => body.text().into_owned(),
    }
}

fn state(opened: &mut OpenPod<'_>) -> PodState {
    let text = opened.text();
    let mut parts = TextReader(&text);
    PodState {
        lifecycle: Lifecycle::VARIANTS.get(parts.number()).copied().unwrap_or(Lifecycle::Pending),
        ready: TRUTHS.get(parts.number()).copied().flatten(),
        phase: parts.optional().map(str::to_owned),
        reason: parts.optional().map(str::to_owned),
    }
}

fn containers(opened: &mut OpenPod<'_>) -> Vec<Container> {
    let count = if opened.has(head::CONTAINERS) { opened.body.count() } else { 0 };
    (0..count).map(|_| container(opened)).collect()
}

fn container(opened: &mut OpenPod<'_>) -> Container {
    let flags = opened.body.byte();
    let restarts = match flags >> 2 {
        NO_RESTARTS => None,
        RESTARTS_MOST => Some(opened.body.number()),
        counted => Some(u64::from(counted - RESTARTS)),
    };
    let text = opened.text();
    let mut parts = TextReader(&text);
    Container {
        role: Role::VARIANTS.get(parts.number()).copied().unwrap_or(Role::App),
        name: parts.text().to_owned(),
        image: parts.optional().map(str::to_owned),
        image_id: parts.optional().map(str::to_owned),
        ready: TRUTHS.get(usize::from(flags & 3)).copied().flatten(),
        restarts,
    }
}

fn truncated(opened: &mut OpenPod<'_>) -> Vec<TruncatedPart> {
    let count = if opened.has(head::TRUNCATED) { opened.body.count() } else { 0 };
    (0..count).filter_map(|_| TruncatedPart::VARIANTS.get(usize::from(opened.body.byte())).copied()).collect()
}
