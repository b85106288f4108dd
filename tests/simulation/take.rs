//! The effect of each step on the world.

use pod_registrar::model::{digest::Digest, ids::Version, uid::Uid};

use crate::{
    cluster::{Cluster, Name},
    mapped::target,
    registry::Wrong,
    shown::Watch,
    steps::{CLONE_FROM, Step},
    world::SimulatedWorld,
};

/// Takes a step of the cluster. Returns whether it is one.
pub(crate) fn take_cluster(cluster: &mut Cluster, step: Step) -> bool {
    match step {
        Step::Create(name) => cluster.create(name),
        Step::Change(name) => cluster.change(name),
        Step::Revert(name) => cluster.revert(name),
        Step::Delete(name) => cluster.delete(name),
        Step::Replace(name) => cluster.replace(name),
        Step::Leave(name) => cluster.leave(name),
        Step::ComeBack(name) => cluster.come_back(name),
        Step::CreateMany(first, count) => (first..first + count).for_each(|name| cluster.create(name)),
        Step::DeleteMany(first, count) => (first..first + count).for_each(|name| cluster.delete(name)),
        Step::RestoreCluster(back) => cluster.restore(usize::from(back)),
        _ => return false,
    }
    true
}

/// The pod of a step of the cluster, or the first one.
fn name_of(step: Step) -> Option<Name> {
    match step {
        Step::Create(name)
        | Step::Change(name)
        | Step::Revert(name)
        | Step::Delete(name)
        | Step::Replace(name)
        | Step::Leave(name)
        | Step::ComeBack(name)
        | Step::CreateMany(name, _)
        | Step::DeleteMany(name, _) => Some(name),
        _ => None,
    }
}

/// Takes a step that is not about a process.
pub(crate) fn take(world: &mut SimulatedWorld, step: Step) {
    let SimulatedWorld { cluster, clone, .. } = world;
    let of_clone = |step| name_of(step).is_some_and(|name| name >= CLONE_FROM);
    if take_cluster(clone.as_mut().filter(|_| of_clone(step)).unwrap_or(cluster), step) {
        return;
    }
    match step {
        Step::Lag(slot, watch) => of_watch(world, slot, watch, |watch| watch.lags = true),
        Step::CatchUp(slot, watch) => of_watch(world, slot, watch, |watch| {
            watch.catches_up |= std::mem::take(&mut watch.lags);
        }),
        Step::Lose(slot, watch, count) => of_watch(world, slot, watch, |watch| watch.lose = count),
        Step::Replay(slot, watch, count) => of_watch(world, slot, watch, |watch| watch.replay = usize::from(count)),
        Step::Relist(slot, watch) => of_watch(world, slot, watch, |watch| watch.broken = true),
        Step::WrongList(slot, watch, fault) => of_watch(world, slot, watch, |watch| {
            watch.broken = true;
            watch.add(fault);
        }),
        Step::ListBeside(slot, watch, fault) => of_watch(world, slot, watch, |watch| {
            watch.asked = true;
            fault.into_iter().for_each(|fault| watch.add(fault));
        }),
        Step::CutLease(slot) => world.lease.cut[usize::from(slot)] = true,
        Step::RepairLease(slot) => world.lease.cut[usize::from(slot)] = false,
        Step::LoseLease(slot) => world.lose_lease(usize::from(slot)),
        Step::Confirm(fault) => world.confirm.push_back(fault),
        Step::Write(fault) => world.network.writes.push_back(fault),
        Step::Ask(fault) => world.network.others.push_back(fault),
        Step::Down(refusal) => world.network.down = Some(refusal),
        Step::Up => world.network.down = None,
        Step::Noise(noise) => world.network.noise = noise,
        Step::Limit(requests) => world.network.requests_per_second = usize::from(requests),
        step => take_registry(world, step),
    }
}

/// Takes a step of a mapped registry.
fn take_rest(world: &mut SimulatedWorld, step: Step) {
    let now = world.now();
    let rest = world.rest.rest;
    let key = |name: Name| {
        let pod = world.cluster.selected.get(&name)?;
        target::record(rest, pod).and_then(|(_, body)| body["key"].as_str().map(str::to_owned))
    };
    let registry = &mut world.rest;
    match step {
        Step::Poison(name) => _ = registry.poison.insert(format!("pod-{name}")),
        Step::Break(name) => _ = registry.broken.insert(format!("pod-{name}")),
        Step::Cure => {
            registry.poison.clear();
            registry.broken.clear();
        }
        Step::Backup => registry.back_up(),
        Step::Restore => registry.restore(now),
        Step::EditRecord(name) => key(name).iter().for_each(|key| registry.edit(now, key)),
        Step::RemoveRecord(name) => key(name).iter().for_each(|key| registry.remove(now, key)),
        Step::AddRecord(number) => registry.add(now, &format!("0-added-{number}"), target::MARK),
        Step::Foreign(name) if rest.shares => registry.add_foreign(now, &target::shared_key(name)),
        // It may have the UID of a pod. A create replaces nothing, so only a put is of interest.
        Step::Foreign(name) => {
            let uid = key(name).filter(|_| !rest.assigns);
            registry.add_foreign(now, &uid.unwrap_or_else(|| format!("other-{name}")));
        }
        Step::WrongInventory(wrong, readings) => {
            (registry.wrong, registry.wrong_readings) = (Some(wrong), readings);
        }
        _ => {}
    }
}

fn take_registry(world: &mut SimulatedWorld, step: Step) {
    if world.setup.rest.is_some() {
        return take_rest(world, step);
    }
    let registry = &mut world.registry;
    let uid = |name: Name| world.cluster.selected.get(&name).map(|pod| pod.uid.clone());
    match step {
        Step::Poison(name) => registry.poison.extend(uid(name)),
        Step::Break(name) => registry.broken.extend(uid(name)),
        Step::Cure => {
            registry.poison.clear();
            registry.broken.clear();
        }
        Step::Backup => registry.backup = registry.stored.clone(),
        Step::Restore => {
            registry.stored = registry.backup.clone();
            registry.stored.records.retain(|id, _| !registry.foreign.contains(&Uid::from(id.as_str())));
        }
        Step::ForgetSession => registry.stored.session = None,
        Step::EditRecord(name) => {
            let ahead = registry.stored.session.as_ref().map_or(1, |session| session.epoch);
            let held = uid(name).and_then(|uid| registry.stored.records.get_mut(&*uid.text()));
            if let Some(record) = held {
                *record = (Version { epoch: ahead, seq: record.0.seq + 50 }, Digest([name.to_le_bytes()[0]; 32]));
            }
        }
        Step::RemoveRecord(name) => _ = uid(name).and_then(|uid| registry.stored.records.remove(&*uid.text())),
        Step::AddRecord(number) => {
            let version = Version { epoch: registry.stored.epoch.max(1), seq: 1 };
            let added = format!("0-added-{number}");
            registry.stored.tombstones.remove(&added);
            registry.stored.records.insert(added, (version, Digest([1; 32])));
        }
        Step::Foreign(name) => {
            if let Some(uid) = uid(name) {
                registry.stored.records.remove(&*uid.text());
                registry.foreign.insert(uid);
            }
        }
        Step::WrongInventory(wrong, readings) => {
            (registry.wrong, registry.wrong_readings) = (Some(wrong), readings);
        }
        _ => {}
    }
    let elsewhere = matches!(step, Step::Restore | Step::EditRecord(_) | Step::RemoveRecord(_) | Step::AddRecord(_));
    registry.changes += u64::from(elsewhere);
    // A short inventory whose count agrees is ledger_records until the next one.
    world.drifted |= elsewhere || matches!(step, Step::WrongInventory(Wrong::Empty | Wrong::Short(_), _));
}

fn of_watch(world: &mut SimulatedWorld, slot: u8, watch: u8, change: impl FnOnce(&mut Watch)) {
    let Some(number) = world.slots[usize::from(slot)] else { return };
    if let Some(watch) = world.processes[number].watches.get_mut(usize::from(watch)) {
        change(watch);
    }
}
