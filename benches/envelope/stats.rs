//! Percentiles, and counts as floating-point numbers.

/// The value below which a share of the samples lies (nearest rank). None without samples, which have to be sorted.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    // The rank is the least one that covers the share: of ten samples the 99th percentile is the tenth.
    let rank = (0..=last).find(|index| to_f64(index + 1) >= share * to_f64(sorted.len()) - 1e-9);
    sorted.get(rank.unwrap_or(last)).copied()
}

pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    percentile(&sorted(samples), 0.5)
}

pub(crate) fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

pub(crate) fn to_f64(count: usize) -> f64 {
    wide(count as u64)
}

#[expect(clippy::cast_precision_loss, reason = "figures below 2^53")]
pub(crate) fn wide(count: u64) -> f64 {
    count as f64
}
