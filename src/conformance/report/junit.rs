//! The report as JUnit XML, which CI systems read: one test case per check, with a failure per broken must or should.

use super::{Breach, ConformanceReport, RuleResult, RuleStatus};
use crate::conformance::{probe::ProbeAnswer, rule::Level};

/// The document.
pub fn xml(report: &ConformanceReport) -> String {
    let failures = report.broken(Level::Must).count() + report.broken(Level::Should).count();
    let errors = usize::from(report.incomplete.is_some());
    let (tests, skipped) = (report.results.len() + errors, report.skipped().count());
    let mut lines = vec![
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>".to_owned(),
        format!(
            "<testsuite name=\"pod-registrar conformance\" tests=\"{tests}\" failures=\"{failures}\" \
             skipped=\"{skipped}\" errors=\"{errors}\" time=\"{}\">",
            report.seconds()
        ),
    ];
    lines.extend(report.results.iter().map(case));
    if let Some(why) = &report.incomplete {
        let message = escaped(why);
        lines
            .push(format!("  <testcase classname=\"run\" name=\"complete\"><error message=\"{message}\"/></testcase>"));
    }
    lines.push("</testsuite>".to_owned());
    lines.join("\n")
}

fn case(result: &RuleResult) -> String {
    let RuleResult { id, rule, status } = result;
    let head = format!("  <testcase classname=\"{}\" name=\"{}\"", rule.level.name(), escaped(id));
    match status {
        RuleStatus::Passed => format!("{head}/>"),
        RuleStatus::Skipped(why) => format!("{head}><skipped message=\"{}\"/></testcase>", escaped(why)),
        RuleStatus::Broken(breach) => {
            let Breach { why, probe } = &**breach;
            let came = match &probe.answer {
                Ok(ProbeAnswer { status, body, .. }) => format!("{status} {body}"),
                Err(reason) => format!("no answer: {reason}"),
            };
            let body = probe.body.as_deref().unwrap_or_default();
            let text = format!(
                "asked: {} /{} {body}\ncame: {came}\nrule: {}: {}\nfix: {}",
                probe.method, probe.path, rule.section, rule.sentence, rule.fix
            );
            let (message, text) = (escaped(why), escaped(&text));
            format!("{head}><failure type=\"{}\" message=\"{message}\">{text}</failure></testcase>", rule.level.name())
        }
    }
}

/// A text as XML 1.0 can hold it, in an attribute or an element. Characters that XML does not have become `?`.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' | '\t' => escaped.push(c),
            '\u{fffe}' | '\u{ffff}' => escaped.push('?'),
            c if c < ' ' => escaped.push('?'),
            c => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::report::tests::sample;

    #[test]
    fn texts_are_escaped() {
        assert_eq!(
            escaped("<a b=\"c\" d='e'>&\u{0}\u{1b}\u{fffe}\nä🚀"),
            "&lt;a b=&quot;c&quot; d=&apos;e&apos;&gt;&amp;???\nä🚀"
        );
    }

    #[test]
    fn document_has_a_case_per_check() {
        let xml = xml(&sample());
        assert!(xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\" errors=\"0\""), "{xml}");
        assert!(
            xml.contains("name=\"fenced-write\"><failure type=\"must\" message=\"expected 409, got 200\">"),
            "{xml}"
        );
        assert!(xml.contains("came: 200 &lt;a &amp; &quot;b&quot;&gt;?"), "{xml}");
        assert_eq!((xml.matches("<testcase").count(), xml.matches("</testsuite>").count()), (3, 1));
    }
}
