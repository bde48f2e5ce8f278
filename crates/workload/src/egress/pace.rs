//! How often a workload may have something done for it: so often in a second, and a few times more at once. What is
//! beyond that waits, so that one workload that asks without end leaves skep's time to the others.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// A bound; whoever shares it waits in turn.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two in the long run.
    step: Duration,
    /// What may be done ahead of that.
    ahead: Duration,
    /// When the next one would be due in the long run.
    next: Mutex<Instant>,
}

impl Pace {
    /// So many a second, and so many at once. Both at least 1.
    pub(super) fn new(per_second: u32, at_once: u32) -> Self {
        let step = Duration::from_secs(1) / per_second.max(1);
        Self { step, ahead: step * at_once.saturating_sub(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits until one more may be done. Whoever gives up waiting has had its turn.
    pub(super) async fn keep(&self) {
        let now = Instant::now();
        let due = self.due(now);
        if due > now {
            sleep_until(due).await;
        }
    }

    fn due(&self, now: Instant) -> Instant {
        let mut next = self.next.lock();
        let due = *next;
        *next = due.max(now) + self.step;
        due.checked_sub(self.ahead).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_pass_at_once_and_the_rest_in_its_time() {
        let pace = Pace::new(100, 10);
        let start = Instant::now();
        for _ in 0..10 {
            pace.keep().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            pace.keep().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        // What was not used for long is not saved up.
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..110 {
            pace.keep().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}
