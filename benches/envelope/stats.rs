//! Small statistics: percentiles, a median, and a straight line through points.

/// The value below which a share of the samples lies (nearest rank); nothing for no samples. They have to be sorted.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    // The rank is the least one that covers the share: of ten samples the 99th percentile is the tenth.
    let rank = (0..=last).find(|index| to_f64(index + 1) >= share * to_f64(sorted.len()) - 1e-9);
    sorted.get(rank.unwrap_or(last)).copied()
}

/// The middle one of some samples, in any order.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    percentile(&sorted(samples), 0.5)
}

/// The samples from the least to the greatest.
pub(crate) fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// A straight line, and how well it fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    /// What one more of x adds.
    pub(crate) slope: f64,
    /// What is there at zero.
    pub(crate) intercept: f64,
    /// The share of the variance that it explains: 1 is a perfect fit.
    pub(crate) r_squared: f64,
}

impl Line {
    /// The line with the least squares of distances; nothing for fewer than two different x.
    pub(crate) fn through(points: &[(f64, f64)]) -> Option<Self> {
        let count = to_f64(points.len());
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let spread_x: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let spread_y: f64 = points.iter().map(|(_, y)| (y - mean_y).powi(2)).sum();
        if points.len() < 2 || spread_x == 0.0 {
            return None;
        }
        let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / spread_x;
        let intercept = mean_y - slope * mean_x;
        let missed: f64 = points.iter().map(|(x, y)| (y - slope * x - intercept).powi(2)).sum();
        let r_squared = if spread_y == 0.0 { 1.0 } else { 1.0 - missed / spread_y };
        Some(Self { slope, intercept, r_squared })
    }
}

/// A count as a number to calculate with.
pub(crate) fn to_f64(count: usize) -> f64 {
    wide(count as u64)
}

/// The same for what is 64 bits wide on every machine.
#[expect(clippy::cast_precision_loss, reason = "figures below 2^53")]
pub(crate) fn wide(count: u64) -> f64 {
    count as f64
}
