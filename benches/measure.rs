//! Rounds, medians and ratios.
//!
//! A machine that is shared slows down and speeds up for seconds at a time. So what is compared
//! is run in turn (A B A B …), and a ratio is taken between neighbours: what disturbs one of a
//! pair disturbs the other. The figure is the median over the pairs; least and greatest show how
//! far to trust it.

use std::fmt;
use std::time::{Duration, Instant};

/// Runs `round` once to warm up and then `rounds` times. A round measures each of `N` candidates
/// once; the samples are returned by candidate.
pub fn alternate<const N: usize>(
    rounds: usize,
    mut round: impl FnMut(u64) -> [f64; N],
) -> [Vec<f64>; N] {
    round(0);
    let mut samples = [const { Vec::new() }; N];
    for number in 1..=rounds as u64 {
        for (samples, sample) in samples.iter_mut().zip(round(number)) {
            samples.push(sample);
        }
    }
    samples
}

/// Nanoseconds for each of `operations` that `run` does.
pub fn ns_each(operations: usize, run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    started.elapsed().as_nanos() as f64 / operations as f64
}

/// The middle sample, or the mean of the two in the middle.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Ratios of neighbouring samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The median of the pairs.
    pub median: f64,
    /// The least of them.
    pub min: f64,
    /// The greatest of them.
    pub max: f64,
}

impl Ratio {
    /// `numerators[i] / denominators[i]`, pair by pair.
    pub fn of_pairs(numerators: &[f64], denominators: &[f64]) -> Ratio {
        let pairs: Vec<f64> = numerators.iter().zip(denominators).map(|(n, d)| n / d).collect();
        Ratio {
            median: median(&pairs),
            min: pairs.iter().copied().fold(f64::INFINITY, f64::min),
            max: pairs.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.min, self.max)
    }
}

/// Many durations, of which only some are of interest.
#[derive(Debug, Default)]
pub struct Latencies {
    nanoseconds: Vec<u64>,
    is_sorted: bool,
}

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        self.nanoseconds.push(latency.as_nanos() as u64);
        self.is_sorted = false;
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.nanoseconds.len()
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Latencies) {
        self.nanoseconds.extend_from_slice(&other.nanoseconds);
        self.is_sorted = false;
    }

    /// The value in microseconds that this share of all is at or below.
    pub fn quantile_us(&mut self, share: f64) -> f64 {
        if !self.is_sorted {
            self.nanoseconds.sort_unstable();
            self.is_sorted = true;
        }
        let last = self.nanoseconds.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.nanoseconds.get(at).map_or(f64::NAN, |&ns| ns as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_round_only_warms_up() {
        let [samples] = alternate(3, |round| [round as f64]);
        assert_eq!(samples, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let ratio = Ratio::of_pairs(&[10.0, 200.0, 30.0], &[20.0, 100.0, 30.0]);
        assert_eq!(ratio, Ratio { median: 1.0, min: 0.5, max: 2.0 });
        assert_eq!(ratio.to_string(), "1.00 (0.50 to 2.00)");
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn quantiles_are_samples() {
        let mut latencies = Latencies::default();
        (1..=101).for_each(|us| latencies.add(Duration::from_micros(us)));
        assert_eq!((latencies.quantile_us(0.5), latencies.quantile_us(0.99)), (51.0, 100.0));
    }
}
