//! How long something took, counted without a lock: a cell per bucket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in milliseconds of what waits for others: from an answer at once to a workflow that asks people.
const BOUNDS: [u64; 14] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    /// The last one is for what took longer than any bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Durations {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| bound.saturating_mul(1_000) < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The sum in seconds, the number, and the number in each bucket by its upper bound in seconds.
    pub(super) fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = BOUNDS.iter().map(|millis| *millis as f64 / 1e3).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        (self.micros.load(Ordering::Relaxed) as f64 / 1e6, count, buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_the_first_bucket_that_has_room_for_it() {
        for (millis, bound) in [(0, 0.005), (5, 0.005), (6, 0.01), (300_000, 300.0), (300_001, f64::INFINITY)]
        {
            let durations = Durations::default();
            durations.observe(Duration::from_millis(millis));
            let (sum, count, buckets) = durations.read();
            assert_eq!((sum, count), (millis as f64 / 1e3, 1));
            let full: Vec<_> = buckets.iter().filter(|(_, count)| *count > 0).collect();
            assert_eq!(full, [&(bound, 1)], "{millis} ms");
        }
    }
}
