//! Whether an instance is to be given more to do: learnt from what comes of requests, and from asking it where there are
//! others to turn to.
//!
//! It decides who is tried first and nothing else: where all are ejected, all are tried as before.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that eject an instance. One that cannot be reached at all has failed this often at once.
const EJECTED_AFTER: u32 = 3;
/// For how long: the first time, and at most.
const FIRST_EJECTION: Duration = Duration::from_secs(1);
const LONGEST_EJECTION: Duration = Duration::from_secs(30);

/// What is known of one instance.
#[derive(Debug)]
pub(crate) struct Health {
    start: Instant,
    failures: AtomicU32,
    ejections: AtomicU32,
    /// Milliseconds since `start`.
    ejected_until: AtomicU64,
    /// It is asked from time to time.
    asked: AtomicBool,
    /// It does not answer when it is asked.
    down: AtomicBool,
}

/// How a request failed, as far as that is the instance's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody took the connection.
    Unreachable,
    /// It broke off, or said that it cannot serve.
    Broken,
    /// It did not answer when it was asked whether it can.
    Silent,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            down: AtomicBool::new(false),
        }
    }

    /// A request was answered.
    pub(crate) fn succeeded(&self) {
        // Of every request: nothing is written where nothing has changed.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
            self.down.store(false, Ordering::Relaxed);
        }
    }

    /// A request was not. True where that ejects the instance.
    pub(crate) fn failed(&self, fault: Fault) -> bool {
        let weight = if fault == Fault::Unreachable { EJECTED_AFTER } else { 1 };
        let failures = self.failures.fetch_add(weight, Ordering::Relaxed) + weight;
        let ejects = failures >= EJECTED_AFTER && !self.is_ejected();
        if ejects {
            let before = self.ejections.fetch_add(1, Ordering::Relaxed);
            let time = FIRST_EJECTION.saturating_mul(1 << before.min(8)).min(LONGEST_EJECTION);
            let until = self.now() + u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            self.ejected_until.store(until, Ordering::Relaxed);
        }
        ejects
    }

    /// What came of asking it: it answers, or it does not. True where it has just gone down.
    pub(crate) fn answers(&self, answers: bool) -> bool {
        self.asked.store(true, Ordering::Relaxed);
        if answers {
            self.succeeded();
            return false;
        }
        self.failed(Fault::Silent);
        let goes_down = self.failures.load(Ordering::Relaxed) >= EJECTED_AFTER;
        goes_down && !self.down.swap(true, Ordering::Relaxed)
    }

    /// Whether others are to be tried first.
    pub(crate) fn is_ejected(&self) -> bool {
        self.is_down() || self.now() < self.ejected_until.load(Ordering::Relaxed)
    }

    /// Whether it was asked and does not answer: what waits for it waits in vain.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Whether it would be noticed if it went down.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_eject_for_longer_and_longer() {
        let health = Health::new();
        assert!(!health.failed(Fault::Broken) && !health.failed(Fault::Broken));
        health.succeeded();
        assert!(!health.failed(Fault::Broken) && !health.failed(Fault::Broken) && !health.is_ejected());
        let mut times = Vec::new();
        for _ in 0..8 {
            assert!(health.failed(Fault::Broken), "and is told once");
            assert!(!health.failed(Fault::Broken));
            let begun = Instant::now();
            while health.is_ejected() {
                tokio::time::advance(Duration::from_millis(100)).await;
            }
            times.push(begun.elapsed());
        }
        assert_eq!((times[0], times[7]), (FIRST_EJECTION, LONGEST_EJECTION));
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
        health.succeeded();
        assert!(health.failed(Fault::Unreachable), "at once");
        tokio::time::advance(FIRST_EJECTION).await;
        assert!(!health.is_ejected(), "and from the beginning");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_answer_is_down_until_it_does() {
        let health = Health::new();
        assert!(!health.is_asked());
        assert_eq!([false, false, true, false], [1, 2, 3, 4].map(|_| health.answers(false)));
        tokio::time::advance(LONGEST_EJECTION * 10).await;
        assert!(health.is_down() && health.is_ejected());
        assert!(!health.answers(true));
        assert!(!health.is_down() && !health.is_ejected() && health.is_asked());
    }
}
