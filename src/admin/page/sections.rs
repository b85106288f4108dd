//! The sections of the page. One without content is left out.

use std::fmt::{self, Write as _};

use minijinja::HtmlEscape;

use super::WallClock;
use crate::admin::{
    status::{ShownChange, ShownHold, ShownRecord, ShownTarget, StatusDocument},
    summary::{self, counted, duration, grouped},
};

/// Held deletions of a target that are shown, in the order of the status.
const HOLDS_SHOWN: usize = 10;
/// Changes of all targets together that are shown.
const CHANGES_SHOWN: usize = 20;

/// Begins a section.
fn heading(text: &str, page: &mut String) {
    page.push_str("<h2>");
    page.push_str(text);
    page.push_str("</h2>\n");
}

/// Begins a table, which scrolls on a narrow screen. The columns have their classes.
fn table(label: &str, columns: &[(&str, &str)], page: &mut String) -> fmt::Result {
    heading(label, page);
    write!(page, "<div class=\"scroll\" role=\"region\" aria-label=\"{label}\" tabindex=\"0\"><table><thead><tr>")?;
    for (name, class) in columns {
        write!(page, "<th scope=\"col\" class=\"{class}\">{name}</th>")?;
    }
    page.push_str("</tr></thead><tbody>\n");
    Ok(())
}

fn end_table(page: &mut String) {
    page.push_str("</tbody></table></div>\n");
}

/// The last row of a table that does not show everything.
fn more(columns: usize, text: &str, page: &mut String) -> fmt::Result {
    writeln!(page, "<tr><td colspan=\"{columns}\" class=\"dim\">{}</td></tr>", HtmlEscape(text))
}

/// The name of a target, where there is more than one.
fn of_target(status: &StatusDocument, name: &str) -> String {
    if status.targets.len() > 1 { format!("{name}: ") } else { String::new() }
}

pub(super) fn problems(status: &StatusDocument, page: &mut String) -> fmt::Result {
    let problems = summary::problems(status);
    if problems.is_empty() {
        return Ok(());
    }
    heading("Needs attention", page);
    page.push_str("<ul class=\"panel wrong\">\n");
    for problem in &problems {
        let target = problem.target.as_deref().map(|name| of_target(status, name)).unwrap_or_default();
        writeln!(page, "<li><strong>{}</strong>{}</li>", HtmlEscape(&target), HtmlEscape(&problem.what))?;
    }
    page.push_str("</ul>\n");
    Ok(())
}

pub(super) fn holds(status: &StatusDocument, page: &mut String) -> fmt::Result {
    if status.targets.iter().all(|target| target.state.holds.is_empty()) {
        return Ok(());
    }
    heading("Held deletions", page);
    for target in &status.targets {
        let holds = &target.state.holds;
        for shown in holds.iter().take(HOLDS_SHOWN) {
            hold(status, target, shown, page)?;
        }
        if let Some(rest) = holds.len().checked_sub(HOLDS_SHOWN).filter(|rest| *rest > 0) {
            let (rest, name) = (counted(rest as u64, "more hold", "more holds"), HtmlEscape(&target.name));
            writeln!(page, "<p class=\"panel dim\">{rest} of {name}</p>")?;
        }
    }
    Ok(())
}

fn hold(status: &StatusDocument, target: &ShownTarget, hold: &ShownHold, page: &mut String) -> fmt::Result {
    let ShownHold { id, target: _, deletions, because, records, approve } = hold;
    let (of, held) = (of_target(status, &target.name), counted(*deletions as u64, "deletion", "deletions"));
    let (of, id, because) = (HtmlEscape(&of), HtmlEscape(id), HtmlEscape(because));
    write!(page, "<div class=\"panel wrong\"><p><strong>{of}{held}</strong>, hold <code>{id}</code>: {because}</p>")?;
    let names: Vec<&str> = records.iter().map(ShownRecord::name).collect();
    let more = if names.len() < *deletions { " and others" } else { "" };
    write!(page, "<p class=\"dim\">{}{more}</p>", HtmlEscape(&names.join(", ")))?;
    match approve {
        Some(command) => {
            let command = HtmlEscape(command);
            write!(page, "<p>If these records may go, approve them:</p><pre><code>{command}</code></pre>")?;
        }
        None => page.push_str("<p>No Lease is set for approvals; see <code>--approval-lease</code>.</p>"),
    }
    page.push_str("</div>\n");
    Ok(())
}

/// The first cell of a row about a record: its pod, and its id.
fn record(record: &ShownRecord, page: &mut String) -> fmt::Result {
    let (name, id) = (HtmlEscape(record.name()), HtmlEscape(&record.id));
    match record.pod.is_some() && !record.id.is_empty() {
        true => write!(page, "<th scope=\"row\" class=\"name\">{name} <small><code>{id}</code></small></th>"),
        false => write!(page, "<th scope=\"row\" class=\"name\">{name}</th>"),
    }
}

pub(super) fn parked(status: &StatusDocument, clock: WallClock, page: &mut String) -> fmt::Result {
    let with = || status.targets.iter().filter(|target| !target.parked.is_empty());
    if with().next().is_none() {
        return Ok(());
    }
    table(
        "Rejected records",
        &[("Pod", "name"), ("The registry's words", "words"), ("When", ""), ("Registry", "")],
        page,
    )?;
    for target in with() {
        for parked in &target.parked {
            page.push_str("<tr>");
            record(&parked.record, page)?;
            let cause = parked.cause.as_deref().unwrap_or("not kept; the log has them");
            write!(page, "<td class=\"words\">{}</td><td>", HtmlEscape(cause))?;
            parked.seconds_ago.map_or(Ok(()), |seconds| clock.ago(seconds, page))?;
            writeln!(page, "</td><td>{}</td></tr>", HtmlEscape(&target.name))?;
        }
        let all = usize::try_from(target.state.count("parked")).unwrap_or_default();
        let shown = target.parked.len() + target.state.failed_renders.count;
        if all > shown {
            let rest = counted((all - shown) as u64, "more record", "more records");
            more(4, &format!("and {rest} of {}", target.name), page)?;
        }
    }
    end_table(page);
    Ok(())
}

pub(super) fn failed_renders(status: &StatusDocument, page: &mut String) -> fmt::Result {
    let with = || status.targets.iter().filter(|target| target.state.failed_renders.count > 0);
    if with().next().is_none() {
        return Ok(());
    }
    table("Records that cannot be made", &[("Pod", "name"), ("Why", "words"), ("Registry", "")], page)?;
    for target in with() {
        let failed = &target.state.failed_renders;
        for pod in &failed.pods {
            let (name, pod, cause) = (HtmlEscape(&target.name), HtmlEscape(&pod.pod), HtmlEscape(&pod.cause));
            write!(page, "<tr><th scope=\"row\" class=\"name\">{pod}</th><td class=\"words\">{cause}</td>")?;
            writeln!(page, "<td>{name}</td></tr>")?;
        }
        if let Some(rest) = failed.count.checked_sub(failed.pods.len()).filter(|rest| *rest > 0) {
            let rest = counted(rest as u64, "more pod", "more pods");
            more(3, &format!("and {rest} of {}", target.name), page)?;
        }
    }
    end_table(page);
    Ok(())
}

pub(super) fn work(status: &StatusDocument, page: &mut String) -> fmt::Result {
    let of_targets = status.targets.iter().flat_map(|target| {
        let name = of_target(status, &target.name);
        target.work.iter().map(move |work| (name.clone(), work))
    });
    let mut all = status.work.iter().map(|work| (String::new(), work)).chain(of_targets).peekable();
    if all.peek().is_none() {
        return Ok(());
    }
    heading("Under way", page);
    page.push_str("<ul class=\"panel\">\n");
    for (target, work) in all {
        let (what, far) = summary::work(work);
        let (target, far) = (HtmlEscape(&target), HtmlEscape(&far));
        write!(page, "<li class=\"work\"><span>{target}{what}</span><progress aria-label=\"{target}{what}\"")?;
        if let Some(total) = work.total {
            write!(page, " value=\"{}\" max=\"{}\"", work.done.min(total), total.max(1))?;
        }
        writeln!(page, "></progress><span class=\"dim\">{far}</span></li>")?;
    }
    page.push_str("</ul>\n");
    Ok(())
}

pub(super) fn targets(status: &StatusDocument, clock: WallClock, page: &mut String) -> fmt::Result {
    if status.targets.is_empty() {
        return Ok(());
    }
    let columns = [
        ("Registry", ""),
        ("State", ""),
        ("Records", "num"),
        ("Waiting", "words"),
        ("Oldest", "num"),
        ("Compared", ""),
    ];
    table("Registries", &columns, page)?;
    let mut targets: Vec<_> = status.targets.iter().map(|target| (summary::state(target), target)).collect();
    // Stable, so that equal ones stay in the order of the file.
    targets.sort_by_key(|((level, _), _)| *level);
    for ((level, state), target) in targets {
        let (name, kind) = (HtmlEscape(&target.name), HtmlEscape(&target.kind));
        write!(page, "<tr><th scope=\"row\">{name} <small>{kind}</small></th>")?;
        write!(page, "<td><span class=\"state {}\">{}</span></td>", level.name(), HtmlEscape(&state))?;
        let registered = u64::try_from(target.state.count("registered")).unwrap_or_default();
        write!(page, "<td class=\"num\">{}</td><td class=\"words\">", grouped(registered))?;
        page.push_str(&summary::waiting(target));
        let oldest = target.state.oldest_pending_seconds;
        let oldest = if oldest > 0.0 { duration(oldest) } else { "–".to_owned() };
        write!(page, "</td><td class=\"num\">{oldest}</td><td>")?;
        match target.compared_seconds_ago {
            Some(seconds) => clock.ago(seconds, page)?,
            None => page.push_str("not yet"),
        }
        page.push_str("</td></tr>\n");
    }
    end_table(page);
    Ok(())
}

pub(super) fn changes(status: &StatusDocument, clock: WallClock, page: &mut String) -> fmt::Result {
    let of_targets =
        status.targets.iter().flat_map(|target| target.changes.iter().map(|change| (&*target.name, change)));
    let mut changes: Vec<(&str, &ShownChange)> = of_targets.collect();
    if changes.is_empty() {
        return Ok(());
    }
    changes.sort_by(|(_, a), (_, b)| a.seconds_ago.total_cmp(&b.seconds_ago));
    table("Recent changes", &[("Pod", "name"), ("Change", ""), ("When", ""), ("Registry", "")], page)?;
    for (target, change) in changes.into_iter().take(CHANGES_SHOWN) {
        page.push_str("<tr>");
        record(&change.record, page)?;
        write!(page, "<td>{}</td><td>", HtmlEscape(summary::change(change)))?;
        clock.ago(change.seconds_ago, page)?;
        writeln!(page, "</td><td>{}</td></tr>", HtmlEscape(target))?;
    }
    end_table(page);
    Ok(())
}

pub(super) fn process(status: &StatusDocument, page: &mut String) -> fmt::Result {
    heading("This process", page);
    page.push_str("<dl class=\"panel\">\n");
    for (name, value) in summary::facts(status) {
        writeln!(page, "<dt>{name}</dt><dd>{}</dd>", HtmlEscape(&value))?;
    }
    page.push_str("</dl>\n");
    Ok(())
}
