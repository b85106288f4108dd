//! Charts.

use super::chart::{Chart, Series};

fn chart(series: Vec<Series>) -> Chart {
    Chart { title: "memory <by> pods", x: "pods", y: "MB", limit: Some((60.0, "goal")), series }
}

#[test]
fn a_chart_has_every_line_within_its_field_and_names_it() {
    let line = |name: &str, points: &[(f64, f64)]| Series { name: name.into(), points: points.to_vec() };
    let ours = line("ours", &[(1_000.0, 12.0), (10_000.0, 15.0), (1_000_000.0, 290.0)]);
    let svg = chart(vec![ours, line("a & b", &[(1_000.0, 40.0), (10_000.0, 200.0)])]).svg().unwrap();
    assert_eq!(svg.matches("<circle").count(), 5);
    assert_eq!(svg.matches(r#"class="l""#).count(), 2);
    for text in [
        ">1M</text>",
        ">1k</text>",
        ">a &amp; b</text>",
        ">goal</text>",
        "memory &lt;by&gt; pods",
        "prefers-color-scheme:dark",
    ] {
        assert!(svg.contains(text), "{text} is missing in {svg}");
    }
    let number = |part: &str| part.split('"').next().unwrap().parse::<f64>().unwrap();
    for part in svg.split(r#"cx=""#).skip(1) {
        assert!((76.0..=588.0).contains(&number(part)), "{part}");
    }
    for part in svg.split(r#"cy=""#).skip(1) {
        assert!((48.0..=348.0).contains(&number(part)), "{part}");
    }
}

#[test]
fn without_points_there_is_no_chart() {
    assert!(chart(Vec::new()).svg().is_none());
}
