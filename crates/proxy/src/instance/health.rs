//! Whether an instance is to be given more to do: learnt from what comes of requests, and from asking it where there are
//! others to turn to.
//!
//! It decides who is tried first and nothing else: where all are ejected, all are tried as before.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures in a row that eject an instance. One that cannot be reached at all has failed this often at once.
const EJECTED_AFTER: u32 = 3;
/// For how long: the first time, and at most.
const FIRST_EJECTION: Duration = Duration::from_secs(1);
const LONGEST_EJECTION: Duration = Duration::from_secs(30);

/// For how long the address of an instance is taken for another server's, where one was met there.
const ANOTHER_FOR: Duration = Duration::from_secs(30);

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
    /// Another server is at its address, of this name. Milliseconds since `start`.
    another_until: AtomicU64,
    met: Mutex<String>,
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
            another_until: AtomicU64::new(0),
            met: Mutex::default(),
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

    /// A server of another name has answered at its address. What that answers otherwise does not change it.
    pub(crate) fn met_another(&self, name: &str) {
        name.clone_into(&mut self.met.lock());
        let until = self.now() + u64::try_from(ANOTHER_FOR.as_millis()).unwrap_or(u64::MAX);
        self.another_until.store(until, Ordering::Relaxed);
    }

    /// It has said that it is the server it was.
    pub(crate) fn met_itself(&self) {
        self.another_until.store(0, Ordering::Relaxed);
    }

    /// Whether it is not the server of this name any more: no session of that lives there, and nothing of one is sent there.
    pub(crate) fn is_another_than(&self, name: &str) -> bool {
        self.is_another() && *self.met.lock() != name
    }

    /// Whether another server was at its address of late.
    pub(crate) fn is_another(&self) -> bool {
        match self.another_until.load(Ordering::Relaxed) {
            // Of every request: the clock is not read where nothing was ever seen.
            0 => false,
            until => self.now() < until,
        }
    }

    /// Whether others are to be tried first.
    pub(crate) fn is_ejected(&self) -> bool {
        self.is_down() || self.is_another() || self.now() < self.ejected_until.load(Ordering::Relaxed)
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

    #[tokio::test(start_paused = true)]
    async fn an_address_that_another_server_has_is_left_alone_whatever_that_answers() {
        let health = Health::new();
        health.met_another("b");
        health.answers(true);
        health.succeeded();
        assert!(health.is_another_than("a") && health.is_ejected());
        assert!(!health.is_another_than("b"), "its own sessions are its own");
        tokio::time::advance(ANOTHER_FOR).await;
        assert!(!health.is_another() && !health.is_ejected(), "but not for ever: it may have left");
        health.met_another("b");
        health.met_itself();
        assert!(!health.is_another());
    }
}
