//! When to start a command again after it ended, and when to give up. Pure: the caller measures and rolls the dice.
//!
//! Exponential with full jitter, so that many workloads that fell together do not rise together. A run that lasted
//! clears the count: only failures in a row lead to giving up.

use std::time::Duration;

/// How patient to be with a command that keeps ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// Upper bound of the first delay; doubles with each failure in a row.
    pub base: Duration,
    /// Upper bound of any delay.
    pub cap: Duration,
    /// A run at least this long was healthy.
    pub healthy_after: Duration,
    /// This many failures in a row are the last. At least 1.
    pub give_up_after: u32,
}

impl Default for BackoffPolicy {
    /// Ten failures, with pauses of 46 s in all at most.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(250),
            cap: Duration::from_secs(10),
            healthy_after: Duration::from_secs(30),
            give_up_after: 10,
        }
    }
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start again after this long.
    RetryIn(Duration),
    /// It failed this many times in a row: leave it.
    GiveUp,
}

/// Counts the failures in a row of one command.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    policy: BackoffPolicy,
    failures: u32,
}

impl Backoff {
    /// Nothing has failed yet.
    #[must_use]
    pub fn new(policy: BackoffPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// Failures in a row so far.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The command ended (or did not start: `ran` is zero). `jitter` is a random number from 0 to 1.
    pub fn failed(&mut self, ran: Duration, jitter: f64) -> Next {
        if ran >= self.policy.healthy_after {
            self.failures = 0;
        }
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.policy.give_up_after {
            return Next::GiveUp;
        }
        Next::RetryIn(bound.mul_f64(jitter.clamp(0.0, 1.0)))
    }

    /// The longest delay that may follow the next failure.
    fn bound(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.policy.base.saturating_mul(factor).min(self.policy.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BackoffPolicy = BackoffPolicy {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(5),
        healthy_after: Duration::from_secs(30),
        give_up_after: 6,
    };

    #[test]
    fn delays_double_to_a_cap_and_end_in_giving_up() {
        let mut backoff = Backoff::new(POLICY);
        let delays: Vec<Next> = (0..6).map(|_| backoff.failed(Duration::ZERO, 1.0)).collect();
        let expect = [1, 2, 4, 5, 5].map(|s| Next::RetryIn(Duration::from_secs(s)));
        assert_eq!(delays[..5], expect);
        assert_eq!(delays[5], Next::GiveUp);
    }

    #[test]
    fn jitter_spreads_over_the_whole_delay() {
        for (jitter, millis) in [(0.0, 0), (0.5, 500), (1.0, 1000), (7.0, 1000), (-1.0, 0)] {
            let next = Backoff::new(POLICY).failed(Duration::ZERO, jitter);
            assert_eq!(next, Next::RetryIn(Duration::from_millis(millis)), "{jitter}");
        }
    }

    #[test]
    fn a_healthy_run_clears_the_count_and_a_short_one_does_not() {
        for (ran, failures) in [(0, 4), (29, 4), (30, 1), (3600, 1)] {
            let mut backoff = Backoff::new(POLICY);
            for _ in 0..3 {
                backoff.failed(Duration::ZERO, 0.5);
            }
            backoff.failed(Duration::from_secs(ran), 0.5);
            assert_eq!(backoff.failures(), failures, "after a run of {ran} s");
        }
    }

    #[test]
    fn very_many_failures_do_not_overflow() {
        let mut backoff = Backoff::new(BackoffPolicy { give_up_after: u32::MAX, ..POLICY });
        for _ in 0..100 {
            backoff.failed(Duration::ZERO, 1.0);
        }
        assert_eq!(backoff.failed(Duration::ZERO, 1.0), Next::RetryIn(POLICY.cap));
    }
}
