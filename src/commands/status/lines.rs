//! The status as lines, in the order of the page: what is wrong first.

use crate::{
    admin::{
        status::{ShownChange, ShownHold, ShownRecord, ShownRefusedRecord, ShownTarget, StatusDocument},
        summary::{self, counted, duration, grouped},
    },
    commands::report::table,
};

/// Changes of all targets together that are shown. The page shows more.
const CHANGES_SHOWN: usize = 10;

/// The lines of a status. There is at least one.
pub(super) fn lines(status: &StatusDocument) -> Vec<String> {
    let mut lines = vec![summary::headline(status).1];
    if !status.targets.is_empty() {
        section(&mut lines, "", targets(status));
    }
    let problems = summary::problems(status).into_iter();
    let problems = problems.map(|problem| format!("{}{}", of(status, problem.target.as_deref()), problem.what));
    section(&mut lines, "needs attention:", indented(problems));
    for target in &status.targets {
        target.state.holds.iter().for_each(|shown| section(&mut lines, "", hold(status, target, shown)));
        section(&mut lines, &format!("{}rejected records:", of(status, Some(&target.name))), parked(target));
        let failed = target.state.failed_renders.pods.iter().map(|failed| format!("{}: {}", failed.pod, failed.cause));
        let failed = with_rest(indented(failed), target.state.failed_renders.count);
        section(&mut lines, &format!("{}records that cannot be made:", of(status, Some(&target.name))), failed);
    }
    section(&mut lines, "under way:", indented(work(status)));
    section(&mut lines, "recent changes:", changes(status));
    let facts = summary::facts(status).into_iter().map(|(name, value)| [name.to_lowercase(), value]);
    section(&mut lines, "", table(&facts.collect::<Vec<_>>()));
    lines
}

/// Adds a section with a heading, unless it is empty.
fn section(lines: &mut Vec<String>, heading: &str, more: Vec<String>) {
    if more.is_empty() {
        return;
    }
    lines.push(String::new());
    if !heading.is_empty() {
        lines.push(heading.to_owned());
    }
    lines.extend(more);
}

fn indented(lines: impl Iterator<Item = String>) -> Vec<String> {
    lines.map(|line| format!("  {line}")).collect()
}

/// The name of a target, where there is more than one.
fn of(status: &StatusDocument, target: Option<&str>) -> String {
    target.filter(|_| status.targets.len() > 1).map(|name| format!("{name}: ")).unwrap_or_default()
}

fn targets(status: &StatusDocument) -> Vec<String> {
    let headings = ["REGISTRY", "STATE", "RECORDS", "WAITING", "OLDEST", "COMPARED"].map(str::to_owned);
    let mut targets: Vec<_> = status.targets.iter().map(|target| (summary::state(target), target)).collect();
    targets.sort_by_key(|((level, _), _)| *level);
    let row = |((_, state), target): &((_, String), &ShownTarget)| {
        let registered = u64::try_from(target.state.count("registered")).unwrap_or_default();
        let oldest = target.state.oldest_pending_seconds;
        [
            target.name.clone(),
            state.clone(),
            grouped(registered),
            summary::waiting(target),
            if oldest > 0.0 { duration(oldest) } else { "-".to_owned() },
            target
                .compared_seconds_ago
                .map_or_else(|| "not yet".to_owned(), |seconds| format!("{} ago", duration(seconds))),
        ]
    };
    table(&std::iter::once(headings).chain(targets.iter().map(row)).collect::<Vec<_>>())
}

fn hold(status: &StatusDocument, target: &ShownTarget, hold: &ShownHold) -> Vec<String> {
    let ShownHold { id, target: _, deletions, because, records, approve } = hold;
    let held = counted(*deletions as u64, "deletion is", "deletions are");
    let mut lines = vec![format!("{}{held} held, hold {id}: {because}", of(status, Some(&target.name)))];
    let names: Vec<&str> = records.iter().map(ShownRecord::name).collect();
    let more = if names.len() < *deletions { " and others" } else { "" };
    lines.push(format!("  {}{more}", names.join(", ")));
    lines.push(match approve {
        Some(command) => format!("  approve them with: {command}"),
        None => "  no Lease is set for approvals; see --approval-lease".to_owned(),
    });
    lines
}

fn parked(target: &ShownTarget) -> Vec<String> {
    let line = |ShownRefusedRecord { record, cause, seconds_ago }: &ShownRefusedRecord| {
        let ago = seconds_ago.map(|seconds| format!(", {} ago", duration(seconds))).unwrap_or_default();
        format!("{}{ago}: {}", record.name(), cause.as_deref().unwrap_or("the log has the registry's words"))
    };
    let all = usize::try_from(target.state.count("parked")).unwrap_or_default();
    with_rest(indented(target.parked.iter().map(line)), all.saturating_sub(target.state.failed_renders.count))
}

/// Says how many of `all` are not shown.
fn with_rest(mut lines: Vec<String>, all: usize) -> Vec<String> {
    if !lines.is_empty() && all > lines.len() {
        lines.push(format!("  and {} more", grouped((all - lines.len()) as u64)));
    }
    lines
}

fn work(status: &StatusDocument) -> impl Iterator<Item = String> {
    let of_targets = status.targets.iter().flat_map(|target| {
        let name = of(status, Some(&target.name));
        target.work.iter().map(move |work| (name.clone(), work))
    });
    status.work.iter().map(|work| (String::new(), work)).chain(of_targets).map(|(target, work)| {
        let (what, far) = summary::work(work);
        format!("{target}{}: {far}", what.to_lowercase())
    })
}

fn changes(status: &StatusDocument) -> Vec<String> {
    let of_targets =
        status.targets.iter().flat_map(|target| target.changes.iter().map(|change| (&*target.name, change)));
    let mut changes: Vec<(&str, &ShownChange)> = of_targets.collect();
    changes.sort_by(|(_, a), (_, b)| a.seconds_ago.total_cmp(&b.seconds_ago));
    let row = |(target, change): (&str, &ShownChange)| {
        let target = if status.targets.len() > 1 { target.to_owned() } else { String::new() };
        let ago = format!("  {} ago", duration(change.seconds_ago));
        [ago, summary::change(change).to_owned(), change.record.name().to_owned(), target]
    };
    table(&changes.into_iter().take(CHANGES_SHOWN).map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::{ShownBacklog, ShownState, ShownWork};

    fn record(pod: &str) -> ShownRecord {
        ShownRecord { id: "x".to_owned(), kind: None, uid: None, pod: Some(pod.to_owned()) }
    }

    #[test]
    fn equal_registry_needs_few_lines() {
        let mut state = ShownState { in_sync: true, ..ShownState::default() };
        state.session.state = "open".to_owned();
        state.records.insert("registered".to_owned(), 1_200);
        let target =
            ShownTarget { name: "default".into(), compared_seconds_ago: Some(240.0), state, ..ShownTarget::default() };
        let status = StatusDocument {
            instance: "pod-1:a".into(),
            version: "0.1.0".into(),
            pods: 1_200,
            watch_silence_seconds: vec![0.3],
            targets: vec![target],
            ..StatusDocument::default()
        };
        let expected = [
            "The registry is equal to the cluster.",
            "",
            "REGISTRY  STATE  RECORDS  WAITING  OLDEST  COMPARED",
            "default   equal  1,200    nothing  -       4 min ago",
            "",
            "instance  pod-1:a",
            "leader    this process; no Lease is set",
            "pods      1,200, by 1 watch; last sign of life 0 s ago",
            "version   0.1.0",
        ];
        assert_eq!(lines(&status), expected);
    }

    #[test]
    fn lines_say_what_is_wrong_and_what_helps() {
        let mut target = ShownTarget { name: "a".into(), outage: Some("no route".into()), ..ShownTarget::default() };
        target.backlog = ShownBacklog { changed: 3, ..ShownBacklog::default() };
        target.state.records.insert("parked".to_owned(), 12);
        target.parked = vec![ShownRefusedRecord {
            record: record("shop/web"),
            cause: Some("no site".into()),
            seconds_ago: Some(9.0),
        }];
        target.work = vec![ShownWork { what: "writes".into(), done: 5, total: Some(20), ..ShownWork::default() }];
        target.changes = vec![ShownChange { change: "delete".into(), record: record("shop/db"), seconds_ago: 2.0 }];
        let approve = Some("pod-registrar approve 0123 --approval-lease a/b".to_owned());
        target.state.holds = vec![ShownHold {
            id: "0123".into(),
            deletions: 1,
            approve,
            records: vec![record("shop/c")],
            ..ShownHold::default()
        }];
        let other = ShownTarget { name: "b".into(), ..ShownTarget::default() };
        let shown = lines(&StatusDocument { targets: vec![other, target], ..StatusDocument::default() }).join("\n");
        for expected in [
            "0 of 2 registries are equal to the cluster; 1 needs attention.\n\nREGISTRY",
            "a         requests fail   0        3 new or changed pods, 12 rejected",
            "\n\nneeds attention:\n  a: Requests to the registry fail: no route",
            "\n\na: 1 deletion is held, hold 0123: \n  shop/c\n  approve them with: pod-registrar approve 0123 --approval-lease a/b",
            "\n\na: rejected records:\n  shop/web, 9 s ago: no site\n  and 11 more",
            "\n\nunder way:\n  a: writing records: 5 of 20, time left unknown",
            "\n\nrecent changes:\n  2 s ago  deleted  shop/db  a",
        ] {
            assert!(shown.contains(expected), "{expected}\n---\n{shown}");
        }
    }
}
