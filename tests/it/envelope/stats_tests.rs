//! Percentiles, and lines through points.

use super::stats::{Line, median, percentile};

#[test]
fn percentiles_are_samples_by_nearest_rank() {
    let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
    let at = |share| percentile(&hundred, share);
    assert_eq!((at(0.5), at(0.99), at(0.999), at(1.0)), (Some(50.0), Some(99.0), Some(100.0), Some(100.0)));
    assert_eq!((percentile(&[], 0.5), percentile(&[7.0], 0.001)), (None, Some(7.0)));
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
}

#[test]
fn a_line_is_found_again_and_noise_lowers_its_fit() {
    let exact: Vec<_> = (1..5).map(|x| (f64::from(x), 3.0 * f64::from(x) + 2.0)).collect();
    let line = Line::through(&exact).unwrap();
    assert!((line.slope - 3.0).abs() < 1e-9 && (line.intercept - 2.0).abs() < 1e-9);
    assert!((line.r_squared - 1.0).abs() < 1e-9);
    let noisy = Line::through(&[(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)]).unwrap();
    assert!((noisy.slope - 0.5).abs() < 1e-9 && (noisy.r_squared - 0.25).abs() < 1e-9);
    assert!(Line::through(&[(1.0, 1.0), (1.0, 2.0)]).is_none());
}
