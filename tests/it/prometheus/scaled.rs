//! The rules with shorter times, so that a test need not wait for an hour.

use std::time::Duration;

use serde_json::Value;

/// The end of a series in seconds, and a bound for it. Rules compare such a series only with a number at their end.
const BOUND: &str = "_seconds) > ";

/// The rules with every time divided by the same number: how long a condition has to hold, the windows in brackets, and
/// the bounds of series in seconds. Nothing else changes.
pub(super) fn scaled(mut rules: Value, by: u32) -> Value {
    for group in rules["groups"].as_array_mut().unwrap() {
        for rule in group["rules"].as_array_mut().unwrap() {
            if let Some(held) = rule["for"].as_str() {
                rule["for"] = shorter(held, by).into();
            }
            rule["expr"] = expression(rule["expr"].as_str().unwrap(), by).into();
        }
    }
    rules
}

fn expression(text: &str, by: u32) -> String {
    let (mut scaled, mut rest) = (String::new(), text);
    while let Some((before, window)) = rest.split_once('[') {
        let (window, after) = window.split_once(']').unwrap();
        scaled += &format!("{before}[{}]", shorter(window, by));
        rest = after;
    }
    scaled += rest;
    match scaled.rsplit_once(BOUND) {
        Some((series, bound)) => {
            let bound: f64 = bound.parse().unwrap_or_else(|_| panic!("a number ends {text}"));
            format!("{series}{BOUND}{}", bound / f64::from(by))
        }
        None => scaled,
    }
}

/// A duration of Prometheus, in milliseconds.
fn shorter(text: &str, by: u32) -> String {
    format!("{}ms", (duration(text) / by).as_millis())
}

pub(super) fn duration(text: &str) -> Duration {
    let number = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[number.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => panic!("{text} is no duration that the rules use"),
    };
    Duration::from_secs(unit * number.parse::<u64>().unwrap())
}

#[test]
fn only_times_of_rules_are_scaled() {
    let rules = crate::project::rules();
    let of = |rules: &Value, member: &str| -> Vec<String> {
        let groups = rules["groups"].as_array().unwrap().iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
        rules.map(|rule| rule[member].as_str().unwrap_or_default().to_owned()).collect()
    };
    let short = scaled(rules.clone(), 30);
    let pairs =
        |member: &str| of(&rules, member).into_iter().zip(of(&short, member)).filter(|(long, short)| long != short);
    for (long, short) in pairs("for") {
        assert_eq!(duration(&long).as_millis(), 30 * short.trim_end_matches("ms").parse::<u128>().unwrap());
    }
    let changed = [
        ("_age_seconds) > 300", "_age_seconds) > 10"),
        ("_silence_seconds) > 60", "_silence_seconds) > 2"),
        ("[5m]", "[10000ms]"),
        ("[15m]", "[30000ms]"),
    ];
    let found: Vec<_> = pairs("expr").collect();
    assert_eq!(found.len(), 9, "{found:#?}");
    for (long, short) in found {
        let expected = changed.iter().fold(long.clone(), |text, (from, to)| text.replace(from, to));
        assert_eq!(short, expected);
    }
    for member in ["alert", "record", "labels", "annotations"] {
        assert_eq!(pairs(member).count(), 0, "{member}");
    }
}
