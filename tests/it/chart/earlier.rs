//! Values that people wrote for earlier versions of the chart are accepted.

use super::coherent::assert_coherent;
use crate::support::chart::{ChartTools, documents};

/// The version of a chart, and values for it. Never change those of a release; add one with each release that adds
/// values.
const EARLIER: [(&str, &str); 1] = [("0.1.0", include_str!("earlier/0.1.0.yaml"))];

#[test]
fn values_of_earlier_charts_are_accepted() {
    let Some(tools) = ChartTools::find() else { return };
    for (version, installations) in EARLIER {
        for values in installations.split("\n---\n") {
            let rendered = tools.template(values, &[]);
            let rendered = rendered.unwrap_or_else(|error| panic!("values of {version}: {error}\n{values}"));
            assert_coherent(&documents(&rendered));
        }
    }
}
