//! Percentiles.

use super::stats::{median, percentile};

#[test]
fn percentiles_are_samples_by_nearest_rank() {
    let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
    let at = |share| percentile(&hundred, share);
    assert_eq!((at(0.5), at(0.99), at(0.999), at(1.0)), (Some(50.0), Some(99.0), Some(100.0), Some(100.0)));
    assert_eq!((percentile(&[], 0.5), percentile(&[7.0], 0.001)), (None, Some(7.0)));
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
}
