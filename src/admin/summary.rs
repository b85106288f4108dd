//! The words of the status for people, for the page and for the terminal: what is wrong first, then what goes on.

use std::time::Duration;

use super::status::{
    ShownBacklog, ShownChange, ShownRefusedRecord, ShownTarget, ShownWatchFailure, ShownWork, StatusDocument,
};

/// A watch that is silent for longer makes the view of the cluster old. The controller has the same limit.
const SILENT_AFTER: f64 = 30.0;

/// How urgent something is. The most urgent one comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A person has to look.
    Wrong,
    /// It needs time.
    Busy,
    /// Another replica leads.
    Standby,
    Good,
}

impl Urgency {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Busy => "busy",
            Self::Standby => "standby",
            Self::Good => "good",
        }
    }
}

/// Something that a person has to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusProblem {
    /// None if it concerns the process.
    pub target: Option<String>,
    pub what: String,
}

/// One sentence that says whether the registry equals the cluster.
pub fn headline(status: &StatusDocument) -> (Urgency, String) {
    let count = status.targets.len();
    if count == 0 {
        return (Urgency::Busy, "No registry is set.".to_owned());
    }
    let levels: Vec<Urgency> = status.targets.iter().map(|target| state(target).0).collect();
    let of = |level| levels.iter().filter(|other| **other == level).count();
    let equal = of(Urgency::Good);
    if levels.iter().all(|level| *level == Urgency::Standby) {
        return standby(status);
    }
    if is_view_old(status) && of(Urgency::Wrong) == 0 {
        let sentence = "A watch is silent, so the registry may no longer be equal to the cluster.";
        return (Urgency::Wrong, sentence.to_owned());
    }
    let left = status.targets.iter().map(|target| target.state.left_differing).sum();
    match (status.targets.as_slice(), of(Urgency::Wrong)) {
        ([_], 0) if equal == 1 => {
            (Urgency::Good, format!("The registry is equal to the cluster{}.", but_for(left, "it")))
        }
        ([only], 0) => (Urgency::Busy, format!("The registry is not equal to the cluster yet: {}.", state(only).1)),
        ([only], _) => (Urgency::Wrong, format!("The registry is not equal to the cluster: {}.", state(only).1)),
        (_, 0) if equal == count => {
            (Urgency::Good, format!("All {count} registries are equal to the cluster{}.", but_for(left, "they")))
        }
        (_, 0) => {
            (Urgency::Busy, format!("{equal} of {count} registries are equal to the cluster; work is under way."))
        }
        (_, wrong) => {
            let need = if wrong == 1 { "1 needs" } else { &*format!("{wrong} need") };
            (Urgency::Wrong, format!("{equal} of {count} registries are equal to the cluster; {need} attention."))
        }
    }
}

/// Names the records that the registry does not keep as they are written.
fn but_for(left: usize, who: &str) -> String {
    match left {
        0 => String::new(),
        left => {
            let change = if who == "it" { "changes" } else { "change" };
            format!(", but for {} that {who} {change}", counted(left as u64, "record", "records"))
        }
    }
}

fn standby(status: &StatusDocument) -> (Urgency, String) {
    match status.leader.as_ref().map(|leader| &*leader.holder) {
        None => (Urgency::Standby, "This replica stands by.".to_owned()),
        Some("") => (Urgency::Wrong, "No replica leads, so nothing is written to the registry.".to_owned()),
        Some(holder) if holder == status.instance => (Urgency::Busy, "This replica takes over.".to_owned()),
        Some(holder) => (
            Urgency::Standby,
            format!("This replica stands by. The leader knows more: pod {}.", pod_of_instance(holder)),
        ),
    }
}

/// The pod in the name of an instance.
pub fn pod_of_instance(instance: &str) -> &str {
    instance.split(':').next().unwrap_or(instance)
}

fn is_view_old(status: &StatusDocument) -> bool {
    longest_silence(status) >= SILENT_AFTER
}

/// The time since the most silent watch reported anything, in seconds.
pub fn longest_silence(status: &StatusDocument) -> f64 {
    status.watch_silence_seconds.iter().copied().fold(0.0, f64::max)
}

/// Where a target stands, in few words.
pub fn state(target: &ShownTarget) -> (Urgency, String) {
    let state = &target.state;
    let rejected = state.count("parked");
    let held: usize = state.holds.iter().map(|hold| hold.deletions).sum();
    let wrong = |words: String| (Urgency::Wrong, words);
    match &*state.session.state {
        _ if target.stopped.is_some() => wrong("it stopped".to_owned()),
        "fenced" => wrong("another process writes".to_owned()),
        _ if target.outage.is_some() => wrong("requests fail".to_owned()),
        "standby" => (Urgency::Standby, "standby".to_owned()),
        _ if held > 0 => wrong(format!("{} held", counted(held as u64, "deletion is", "deletions are"))),
        _ if rejected > 0 => {
            wrong(format!("{} rejected", counted(u64::try_from(rejected).unwrap_or(0), "record is", "records are")))
        }
        _ if target.refused.is_some() => wrong("changes are refused".to_owned()),
        _ if state.failed_resync.is_some() => wrong("its records cannot be read".to_owned()),
        "open" if state.in_sync => (Urgency::Good, format!("equal{}", but_for(state.left_differing, "it"))),
        "open" if state.first_complete_sync_seconds.is_none() => (Urgency::Busy, "first sync".to_owned()),
        "open" if reasons(&target.backlog).is_empty() => (Urgency::Busy, "being compared".to_owned()),
        "open" => (Urgency::Busy, "changes are written".to_owned()),
        _ => (Urgency::Busy, "no session yet".to_owned()),
    }
}

/// What a person has to look at, besides held deletions and rejected records.
pub fn problems(status: &StatusDocument) -> Vec<StatusProblem> {
    let mut problems = Vec::new();
    if is_view_old(status) {
        let silence = duration(longest_silence(status));
        let what = format!("A watch has reported nothing for {silence}. Pods may have changed since.");
        problems.push(StatusProblem { target: None, what });
    }
    for ShownWatchFailure { namespace, cause } in &status.watch_failures {
        let of = if namespace == "*" { String::new() } else { format!(" of the namespace {namespace}") };
        problems.push(StatusProblem { target: None, what: format!("Requests for the pods{of} fail: {cause}") });
    }
    if let Some(leader) = status.leader.as_ref().filter(|leader| leader.holder.is_empty()) {
        let what = format!("No replica holds the Lease {}.", leader.lease);
        problems.push(StatusProblem { target: None, what });
    }
    for target in &status.targets {
        let mut add = |what| problems.push(StatusProblem { target: Some(target.name.clone()), what });
        if let Some(why) = &target.stopped {
            add(format!("The target stopped: {why}. Fix it, and restart."));
        }
        if target.state.session.state == "fenced" {
            add("Another process writes for the same cluster id and owner. Stop one of the two.".to_owned());
        }
        if let Some(outage) = &target.outage {
            add(format!("Requests to the registry fail: {outage}"));
        }
        if let Some(ShownRefusedRecord { record, cause, .. }) = &target.refused {
            let cause = cause.as_deref().unwrap_or("the log has its words");
            add(format!("The registry keeps refusing changes, such as that of {}: {cause}", record.name()));
        }
        if let Some(failed) = &target.state.failed_resync {
            let (time, tries) = (duration(failed.seconds as f64), counted(failed.tries.into(), "try", "tries"));
            add(format!("The registry's records cannot be read, for {time} and {tries}: {}", failed.cause));
        }
    }
    problems
}

/// What is known of the process, by name.
pub fn facts(status: &StatusDocument) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Instance", status.instance.clone())];
    if let Some(leader) = &status.leader {
        let holder = match &*leader.holder {
            "" => "nobody".to_owned(),
            holder if holder == status.instance => "this process".to_owned(),
            holder => holder.to_owned(),
        };
        facts.push(("Leader", format!("{holder}, by the Lease {}", leader.lease)));
    } else {
        facts.push(("Leader", "this process; no Lease is set".to_owned()));
    }
    if let Some(cluster) = &status.cluster {
        facts.push(("Cluster id", cluster.id.clone()));
    }
    facts.extend(status.owner.clone().map(|owner| ("Owner", owner)));
    let pods = u64::try_from(status.pods).unwrap_or_default();
    let watches = counted(status.watch_silence_seconds.len() as u64, "watch", "watches");
    let silence = duration(longest_silence(status));
    facts.push(("Pods", format!("{}, by {watches}; last sign of life {silence} ago", grouped(pods))));
    facts.push(("Version", status.version.clone()));
    facts
}

/// The reasons why changes wait, with their numbers, without those that have none.
pub fn reasons(backlog: &ShownBacklog) -> Vec<(&'static str, usize)> {
    let ShownBacklog { in_flight, retrying, deletions, changed, missing, differing } = *backlog;
    let all = [
        ("waiting for an answer", in_flight),
        ("to be retried", retrying),
        (if deletions == 1 { "deleted pod" } else { "deleted pods" }, deletions),
        (if changed == 1 { "new or changed pod" } else { "new or changed pods" }, changed),
        ("missing in the registry", missing),
        ("differing in the registry", differing),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// All that waits in a target, with the reasons.
pub fn waiting(target: &ShownTarget) -> String {
    let mut reasons = reasons(&target.backlog);
    let of_state = |state| usize::try_from(target.state.count(state)).unwrap_or_default();
    let others = [("rejected", of_state("parked")), ("held", of_state("held"))];
    reasons.extend(others.into_iter().filter(|(_, count)| *count > 0));
    if reasons.is_empty() {
        return "nothing".to_owned();
    }
    let reasons: Vec<String> =
        reasons.into_iter().map(|(reason, count)| format!("{} {reason}", grouped(count as u64))).collect();
    reasons.join(", ")
}

/// What happened to a record, in one word.
pub fn change(change: &ShownChange) -> &str {
    match &*change.change {
        "put" => "written",
        "delete" => "deleted",
        other => other,
    }
}

/// What a work is, and how far it is: as its name and the rest of the line.
pub fn work(work: &ShownWork) -> (&'static str, String) {
    let what = match &*work.what {
        "list" => "Listing the pods",
        "resync" => "Reading the registry's records",
        "fullReconcile" => "Comparing all records",
        "writes" => "Writing records",
        _ => "Working",
    };
    let done = grouped(work.done);
    let far = match work.total {
        Some(total) => format!("{done} of {}", grouped(total)),
        None => format!("{done} so far"),
    };
    (what, format!("{far}, {}", rest(work.remaining_seconds)))
}

/// The time that is left, in words.
pub fn rest(seconds: Option<f64>) -> String {
    match seconds {
        Some(seconds) => format!("about {} left", duration(seconds)),
        None => "time left unknown".to_owned(),
    }
}

/// A time in its largest unit, rounded down.
pub fn duration(seconds: f64) -> String {
    // The larger one of 0 and NaN is 0.
    match Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX).as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// A number with a comma between groups of three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::{ShownFailedResync, ShownHold, ShownLeader, ShownRecord};

    fn target(session: &str) -> ShownTarget {
        let mut target = ShownTarget { name: "a".into(), ..ShownTarget::default() };
        target.state.session.state = session.into();
        target
    }

    fn equal() -> ShownTarget {
        let mut target = target("open");
        target.state.in_sync = true;
        target
    }

    fn of(targets: Vec<ShownTarget>) -> StatusDocument {
        StatusDocument { targets, ..StatusDocument::default() }
    }

    fn sentence(targets: Vec<ShownTarget>) -> (Urgency, String) {
        headline(&of(targets))
    }

    fn broken(change: impl FnOnce(&mut ShownTarget)) -> ShownTarget {
        let mut target = equal();
        change(&mut target);
        target
    }

    #[test]
    fn headline_says_whether_all_is_equal() {
        let outage = || broken(|target| target.outage = Some("refused".into()));
        for (targets, level, expected) in [
            (vec![], Urgency::Busy, "No registry is set."),
            (vec![equal()], Urgency::Good, "The registry is equal to the cluster."),
            (
                vec![broken(|target| target.state.left_differing = 1)],
                Urgency::Good,
                "The registry is equal to the cluster, but for 1 record that it changes.",
            ),
            (
                vec![equal(), broken(|target| target.state.left_differing = 2_000)],
                Urgency::Good,
                "All 2 registries are equal to the cluster, but for 2,000 records that they change.",
            ),
            (vec![equal(); 20], Urgency::Good, "All 20 registries are equal to the cluster."),
            (vec![target("open")], Urgency::Busy, "The registry is not equal to the cluster yet: first sync."),
            (vec![target("closed")], Urgency::Busy, "The registry is not equal to the cluster yet: no session yet."),
            (vec![outage()], Urgency::Wrong, "The registry is not equal to the cluster: requests fail."),
            (
                vec![equal(), target("open")],
                Urgency::Busy,
                "1 of 2 registries are equal to the cluster; work is under way.",
            ),
            (
                vec![equal(), outage(), target("open")],
                Urgency::Wrong,
                "1 of 3 registries are equal to the cluster; 1 needs attention.",
            ),
        ] {
            assert_eq!(sentence(targets), (level, expected.to_owned()));
        }
    }

    #[test]
    fn standby_names_the_leader() {
        let with = |holder: Option<&str>| {
            let leader = holder.map(|holder| ShownLeader { lease: "a/b".into(), holder: holder.into() });
            headline(&StatusDocument { leader, instance: "me:1-2".into(), ..of(vec![target("standby"); 2]) })
        };
        assert_eq!(with(None), (Urgency::Standby, "This replica stands by.".to_owned()));
        assert!(with(Some("pod-1:abc-1")).1.ends_with("pod pod-1."));
        assert_eq!((with(Some("")).0, with(Some("me:1-2")).0), (Urgency::Wrong, Urgency::Busy));
    }

    #[test]
    fn silent_watch_is_a_problem() {
        let silent = StatusDocument { watch_silence_seconds: vec![0.1, 95.0], ..of(vec![equal()]) };
        assert_eq!(headline(&silent).0, Urgency::Wrong);
        assert!(problems(&silent)[0].what.starts_with("A watch has reported nothing for 95 s."));
        let failure = |namespace: &str| ShownWatchFailure { namespace: namespace.into(), cause: "403".into() };
        let failing = StatusDocument { watch_failures: vec![failure("shop"), failure("*")], ..of(vec![equal()]) };
        let whats: Vec<String> = problems(&failing).into_iter().map(|problem| problem.what).collect();
        assert_eq!(whats, ["Requests for the pods of the namespace shop fail: 403", "Requests for the pods fail: 403"]);
    }

    #[test]
    fn target_shows_its_worst_fault() {
        let hold = |deletions| ShownHold { deletions, ..ShownHold::default() };
        let failed = ShownFailedResync { seconds: 600, tries: 3, cause: "twice".into() };
        let record = ShownRecord { pod: Some("shop/web".into()), ..ShownRecord::default() };
        let refused = ShownRefusedRecord { record, cause: Some("disk full".into()), seconds_ago: None };
        for (target, words) in [
            (broken(|target| target.stopped = Some("other cluster".into())), "it stopped"),
            (target("fenced"), "another process writes"),
            (broken(|target| target.state.holds = vec![hold(1)]), "1 deletion is held"),
            (broken(|target| target.state.holds = vec![hold(999), hold(1)]), "1,000 deletions are held"),
            (broken(|target| _ = target.state.records.insert("parked".into(), 2)), "2 records are rejected"),
            (broken(|target| target.refused = Some(refused.clone())), "changes are refused"),
            (broken(|target| target.state.failed_resync = Some(failed.clone())), "its records cannot be read"),
        ] {
            assert_eq!(state(&target), (Urgency::Wrong, words.to_owned()));
        }
        let status = of(vec![broken(|target| target.state.failed_resync = Some(failed.clone())), target("fenced")]);
        let found = problems(&status);
        assert_eq!(found[0].what, "The registry's records cannot be read, for 10 min and 3 tries: twice");
        assert!(found[1].what.starts_with("Another process writes"));
        let found = problems(&of(vec![broken(|target| target.refused = Some(refused))]));
        assert_eq!(found[0].what, "The registry keeps refusing changes, such as that of shop/web: disk full");
    }

    #[test]
    fn work_says_what_is_left() {
        let of = |what: &str, total, remaining_seconds| {
            let shown =
                work(&ShownWork { what: what.into(), done: 1_500, total, remaining_seconds, ..ShownWork::default() });
            format!("{}: {}", shown.0, shown.1)
        };
        assert_eq!(of("writes", Some(150_000), Some(130.0)), "Writing records: 1,500 of 150,000, about 2 min left");
        assert_eq!(of("list", None, None), "Listing the pods: 1,500 so far, time left unknown");
        assert_eq!(of("new", Some(2_000), None), "Working: 1,500 of 2,000, time left unknown");
    }

    #[test]
    fn only_reasons_that_apply_are_shown() {
        let backlog = ShownBacklog { retrying: 2, missing: 1, ..ShownBacklog::default() };
        assert_eq!(reasons(&backlog), [("to be retried", 2), ("missing in the registry", 1)]);
        assert!(reasons(&ShownBacklog::default()).is_empty());
    }

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let times = [0.9, 119.0, 120.0, 7_200.0, 172_800.0, f64::NAN].map(duration);
        assert_eq!(times, ["0 s", "119 s", "2 min", "2 h", "2 days", "0 s"]);
        assert_eq!(duration(f64::INFINITY), "213503982334601 days");
    }
}
