//! From single durations to the figures of a table. Pure, so that a wrong percentile is found by a
//! test and not by a reader.

use serde::{Deserialize, Serialize};

/// What one contestant took for one kind of operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Operations measured; fewer than asked where the time was over first.
    pub operations: u64,
    /// Half were as fast as this, in nanoseconds.
    pub p50_ns: u64,
    /// 95 of 100 were.
    pub p95_ns: u64,
    /// 99 of 100 were.
    pub p99_ns: u64,
    /// Operations in a second, back to back.
    pub per_second: f64,
    /// Processor time of an operation in nanoseconds, user and system, all threads.
    pub cpu_ns: Option<u64>,
    /// Calls of `fsync` and `fdatasync` for an operation, counted in a run of its own.
    pub syncs: Option<f64>,
    /// How many times as long as the limit it took: the median over the blocks that were measured
    /// right after one another.
    pub to_limit: Option<f64>,
    /// How many times as long as our own store it took, likewise.
    pub to_ours: Option<f64>,
}

impl Figures {
    /// The figures of blocks of durations in nanoseconds.
    pub fn of(blocks: &[Vec<u64>]) -> Self {
        let mut all: Vec<u64> = blocks.iter().flatten().copied().collect();
        all.sort_unstable();
        let sum: u64 = all.iter().sum();
        Self {
            operations: all.len() as u64,
            p50_ns: percentile(&all, 50),
            p95_ns: percentile(&all, 95),
            p99_ns: percentile(&all, 99),
            per_second: if sum == 0 {
                0.0
            } else {
                real(all.len() as u64) * 1e9 / real(sum)
            },
            cpu_ns: None,
            syncs: None,
            to_limit: None,
            to_ours: None,
        }
    }
}

/// A figure as a real number; beyond 2^53 ns, which are a hundred days, it is rounded.
#[expect(clippy::cast_precision_loss, reason = "rounding is what a table does")]
pub fn real(number: u64) -> f64 {
    number as f64
}

/// The smallest value that so many in a hundred do not exceed (nearest rank); 0 without values.
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// The median over the blocks both have of how many times as long the first took.
pub fn ratio(blocks: &[Vec<u64>], to: &[Vec<u64>]) -> Option<f64> {
    let mut ratios: Vec<f64> = blocks
        .iter()
        .zip(to)
        .filter_map(|(block, to)| {
            let (block, to) = (mean(block)?, mean(to)?);
            (to > 0.0).then(|| block / to)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let middle = ratios.len() / 2;
    match ratios.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(ratios[middle]),
        _ => Some(f64::midpoint(ratios[middle - 1], ratios[middle])),
    }
}

fn mean(block: &[u64]) -> Option<f64> {
    (!block.is_empty()).then(|| real(block.iter().sum()) / real(block.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&values, 50), 50);
        assert_eq!(percentile(&values, 99), 99);
        assert_eq!(percentile(&[7], 1), 7);
        assert_eq!(percentile(&[1, 2, 3], 50), 2);
        assert_eq!(percentile(&[], 50), 0);
    }

    #[test]
    fn a_ratio_is_of_neighbors_and_not_of_sums() {
        // The machine was ten times as slow in the second half, for both alike.
        let ours = [vec![2, 2], vec![20, 20]];
        let limit = [vec![1, 1], vec![10, 10]];
        assert_eq!(ratio(&ours, &limit), Some(2.0));
        assert_eq!(ratio(&ours, &[]), None);
        assert_eq!(ratio(&ours, &[vec![0], vec![]]), None);
    }

    #[test]
    fn figures_count_and_rate() {
        let figures = Figures::of(&[vec![1_000_000, 3_000_000], vec![2_000_000]]);
        assert_eq!(figures.operations, 3);
        assert_eq!(figures.p50_ns, 2_000_000);
        assert!((figures.per_second - 500.0).abs() < 1e-9);
        assert_eq!(Figures::of(&[]).operations, 0);
    }
}
