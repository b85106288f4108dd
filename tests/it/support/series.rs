//! Reads metrics.

use std::{fmt::Debug, str::FromStr};

/// The value of a metric by its name and labels, without the program's prefix. A metric of a target needs no label of
/// the target if that is the one of the flags.
pub(crate) fn series<T: FromStr<Err: Debug>>(text: &str, name: &str) -> T {
    let of_target = match name.split_once('{') {
        Some((name, labels)) => format!("{name}{{target=\"default\",{labels}"),
        None => format!("{name}{{target=\"default\"}}"),
    };
    let value = |name: &str| {
        let start = format!("pod_registrar_{name} ");
        text.lines().find_map(|line| line.strip_prefix(&start).map(str::to_owned))
    };
    let found = value(name).or_else(|| value(&of_target)).unwrap_or_else(|| panic!("no {name} in {text}"));
    found.parse().expect("a number")
}
