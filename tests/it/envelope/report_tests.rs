//! The table of results.

use super::{
    report::{Report, Unit},
    truth::Truth,
};

#[test]
fn report_compares_others_by_ratio_and_loss() {
    let mut report = Report::default();
    report.add("ours", "memory", Some("<= 60 MB"), Unit::Bytes, 50e6);
    report.add("theirs", "memory", None, Unit::Bytes, 500e6);
    report.truth("ours", "memory", Truth { right: 3, twice: 1, ..Truth::default() });
    report.truth("theirs", "memory", Truth { lost: 2, ..Truth::default() });
    let table = report.table("ours");
    assert!(table.contains("| 50.0 MB | <= 60 MB | 0/0/1"), "{table}");
    assert!(table.contains("500.0 MB (10.0x), 2 lost, 0 invented"), "{table}");
    assert!(report.require("ours").is_err() && report.require("theirs").is_err() && report.require("none").is_ok());
    assert_eq!(serde_json::to_value(&report).unwrap()["rows"][0]["figures"]["ours"]["truth"]["right"], 3);
}
