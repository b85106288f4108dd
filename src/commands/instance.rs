//! Names this process, and recognizes the names of its earlier lives: processes of the same pod that have ended.
//!
//! A name is `NAME:PLACE-PID-RANDOM`, for example `registrar-0:9f2c41aa-1-5d0e4b7c`. NAME is that of the host, which is
//! that of the pod. PLACE is a hash of the machine's boot and of the network namespace. A container that restarts in
//! its pod keeps PLACE; a pod of the same name in a copy of the cluster has another one.

use std::{path::Path, time::SystemTime};

use crate::model::digest::Digest;

pub(super) fn name(given: Option<&str>) -> String {
    let host = || std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let name = given.map(str::to_owned).or_else(host).unwrap_or_else(|| "pod-registrar".to_owned());
    // An unknown place equals no other place.
    let place = place().unwrap_or_else(|| format!("{:08x}", fastrand::u32(..)));
    format!("{name}:{place}-{}-{:08x}", std::process::id(), fastrand::u32(..))
}

/// Seconds since 1970. Without sessions, epochs begin there: they have to grow over restarts, and no earlier one is
/// stored.
pub(super) fn started_at() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

fn place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let network = std::fs::read_link("/proc/self/ns/net").ok()?;
    let mut digits = Digest::of_canonical(format!("{} {}", boot.trim(), network.display()).as_bytes()).hex();
    digits.truncate(8);
    Some(digits)
}

/// Whether `other` names an earlier run of the process `ours`.
pub(super) fn is_previous_process(other: &str, ours: &str) -> bool {
    let (Some((name, place, pid)), Some((our_name, our_place, our_pid))) = (parts(other), parts(ours)) else {
        return false;
    };
    name == our_name && place == our_place && other != ours && (pid == our_pid || is_over(pid))
}

fn parts(instance: &str) -> Option<(&str, &str, u32)> {
    let (name, life) = instance.rsplit_once(':')?;
    let mut parts = life.split('-');
    let (place, pid) = (parts.next()?, parts.next()?.parse().ok()?);
    Some((name, place, pid))
}

/// Whether no process has this number, or only a zombie that its parent has not waited for.
fn is_over(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of a process with this number in our place.
    fn with_pid(ours: &str, pid: u32) -> String {
        let (name, place, _) = parts(ours).unwrap();
        format!("{name}:{place}-{pid}-00000000")
    }

    #[test]
    fn earlier_process_of_this_instance_is_recognised() {
        // It ran in the same place and has ended.
        let ours = name(Some("web-0"));
        let unused = (4_000_000..).find(|pid| is_over(*pid)).unwrap();
        assert!(is_previous_process(&with_pid(&ours, unused), &ours));
        assert!(
            is_previous_process(&with_pid(&ours, std::process::id()), &ours),
            "a restarted container has the same number"
        );
        assert!(!is_previous_process(&ours, &ours));
    }

    #[test]
    fn live_or_foreign_process_is_no_earlier_one() {
        let ours = name(Some("web-0"));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let alive = is_previous_process(&with_pid(&ours, child.id()), &ours);
        child.kill().unwrap();
        // The kernel takes a moment, and then the child is a zombie.
        let begun = std::time::Instant::now();
        while !is_previous_process(&with_pid(&ours, child.id()), &ours) {
            assert!(begun.elapsed() < std::time::Duration::from_secs(30), "it is over");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!alive);
        let elsewhere = |from: &str, to: &str| with_pid(&ours, std::process::id()).replacen(from, to, 1);
        assert!(!is_previous_process(&elsewhere("web-0", "web-1"), &ours));
        assert!(
            !is_previous_process(&elsewhere(":", ":x"), &ours),
            "a copy of the cluster runs a pod of the same name"
        );
        for foreign in ["", "web-0", "web-0:1", "web-0:a-b-c", "web-0:5d0e4b7c"] {
            assert!(!is_previous_process(foreign, &ours), "{foreign}");
        }
    }
}
