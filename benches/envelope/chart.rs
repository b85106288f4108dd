//! Line charts as SVG, to be read on light and on dark ground.

use std::fmt::Write as _;

/// One line of a chart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Its name.
    pub(crate) name: String,
    /// Points, from left to right.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart; both axes go by powers of ten.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// What it shows.
    pub(crate) title: &'static str,
    /// What stands at the axes.
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    /// A value that should not be exceeded, with its name.
    pub(crate) limit: Option<(f64, &'static str)>,
    /// The lines.
    pub(crate) series: Vec<Series>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// Around the field: left, top, right, bottom.
const MARGINS: [f64; 4] = [76.0, 48.0, 172.0, 52.0];
/// Readable on white and on black.
const COLOURS: [&str; 6] = ["#2f81f7", "#e5534b", "#c69026", "#3fb950", "#a371f7", "#768390"];
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#57606a}.t{font-size:16px;font-weight:600}\
    .g{stroke:#8c959f;stroke-opacity:.3}.l{fill:none;stroke-width:2.5;stroke-linejoin:round}\
    .m{stroke:#8c959f;stroke-dasharray:5 4}@media(prefers-color-scheme:dark){text{fill:#adbac7}}";

/// The range of an axis, as powers of ten.
#[derive(Clone, Copy, Debug)]
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let logs = values.filter(|value| *value > 0.0).map(f64::log10);
        let (least, most) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), log| (a.min(log), b.max(log)));
        least.is_finite().then(|| Self { from: (least - 1e-9).floor(), to: (most + 1e-9).ceil() })
    }

    /// Where a value stands, from 0 to 1.
    fn at(self, value: f64) -> f64 {
        ((value.max(f64::MIN_POSITIVE).log10() - self.from) / (self.to - self.from).max(1.0)).clamp(0.0, 1.0)
    }

    /// The powers of ten in it.
    fn marks(self) -> impl Iterator<Item = f64> {
        let mut power = self.from;
        std::iter::from_fn(move || {
            let mark = (power <= self.to + 1e-9).then(|| 10_f64.powf(power));
            power += 1.0;
            mark
        })
    }
}

impl Chart {
    /// The text of the image; nothing where there is no point.
    pub(crate) fn svg(&self) -> Option<String> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Axis::of(points().map(|point| point.0))?;
        let y = Axis::of(points().map(|point| point.1).chain(self.limit.map(|limit| limit.0)))?;
        let [left, top, right, bottom] = MARGINS;
        let (across, down) = (WIDTH - left - right, HEIGHT - top - bottom);
        let place = |(px, py): (f64, f64)| (left + x.at(px) * across, top + (1.0 - y.at(py)) * down);
        let mut out = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{0}"><style>{STYLE}</style><text class="t" x="{left}" y="26">{0}</text>"#,
            escape(self.title)
        );
        // Writing into a string cannot fail, here and below.
        let (end, floor) = (left + across, top + down);
        for mark in x.marks() {
            let (px, _) = place((mark, 1.0));
            let (label, low) = (short(mark), floor + 20.0);
            let _ = write!(
                out,
                r#"<path class="g" d="M{px:.1} {top}V{floor}"/><text x="{px:.1}" y="{low}" text-anchor="middle">{label}</text>"#
            );
        }
        for mark in y.marks() {
            let (_, py) = place((1.0, mark));
            let (label, beside, base) = (short(mark), left - 8.0, py + 4.0);
            let _ = write!(
                out,
                r#"<path class="g" d="M{left} {py:.1}H{end}"/><text x="{beside}" y="{base:.1}" text-anchor="end">{label}</text>"#
            );
        }
        let (middle, foot, centre) = (left + across / 2.0, HEIGHT - 10.0, top + down / 2.0);
        let _ = write!(out, r#"<text x="{middle}" y="{foot}" text-anchor="middle">{}</text>"#, escape(self.x));
        let _ = write!(
            out,
            r#"<text transform="translate(18 {centre}) rotate(-90)" text-anchor="middle">{}</text>"#,
            escape(self.y)
        );
        if let Some((value, name)) = self.limit {
            let (_, py) = place((1.0, value));
            let (beside, base) = (end + 10.0, py + 4.0);
            let _ = write!(
                out,
                r#"<path class="m" d="M{left} {py:.1}H{end}"/><text x="{beside}" y="{base:.1}">{}</text>"#,
                escape(name)
            );
        }
        self.lines(&mut out, place);
        out.push_str("</svg>\n");
        Some(out)
    }

    fn lines(&self, out: &mut String, place: impl Fn((f64, f64)) -> (f64, f64)) {
        let beside = WIDTH - MARGINS[2] + 10.0;
        let mut labels: Vec<(f64, &str, &str)> = Vec::new();
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let mut path = String::new();
            for (index, point) in series.points.iter().enumerate() {
                let (px, py) = place(*point);
                let _ = write!(path, "{}{px:.1} {py:.1}", if index == 0 { "M" } else { "L" });
                let _ = write!(out, r#"<circle cx="{px:.1}" cy="{py:.1}" r="3.5" fill="{colour}"/>"#);
                if index + 1 == series.points.len() {
                    labels.push((py + 4.0, &series.name, colour));
                }
            }
            let _ = write!(out, r#"<path class="l" stroke="{colour}" d="{path}"/>"#);
        }
        // Names beside the ends of their lines, moved apart where they would overlap.
        let limit = self.limit.map(|limit| place((1.0, limit.0)).1 + 4.0);
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut last = f64::NEG_INFINITY;
        for (wanted, name, colour) in labels {
            let mut at = wanted.max(last + 16.0);
            if limit.is_some_and(|limit| (at - limit).abs() < 15.0) {
                at = limit.map_or(at, |limit| limit + 16.0);
            }
            last = at;
            let _ = write!(out, r#"<text x="{beside}" y="{at:.1}" style="fill:{colour}">{}</text>"#, escape(name));
        }
    }
}

/// A power of ten in few letters.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", to_text(v / 1e6)),
        v if v >= 1e3 => format!("{}k", to_text(v / 1e3)),
        v => to_text(v),
    }
}

fn to_text(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
