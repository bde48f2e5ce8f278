//! How a backend is: a pure machine, told what was seen of it and when.
//!
//! Two questions, two answers. The *status* says whether its tools are shown; it changes after several failures in a row.
//! The *circuit* says whether it is asked at all; it opens where that is configured, lets one question through after a
//! while, and closes when that was answered. Both hear of probes and of the clients' calls alike.

use std::time::Duration;

use tokio::time::Instant;

/// When a backend counts as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthPolicy {
    /// Failures in a row after which it is unhealthy.
    pub unhealthy_after: u32,
    /// A probe that takes longer shows it degraded.
    pub slow: Duration,
    /// `None`: it is always asked.
    pub circuit: Option<CircuitPolicy>,
}

/// When a circuit opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitPolicy {
    pub opens_after: u32,
    pub stays_open: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self { unhealthy_after: 3, slow: Duration::from_secs(5), circuit: None }
    }
}

/// How a backend is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Not heard of yet.
    #[default]
    Unknown,
    Healthy,
    /// It answers, but slowly, or it has only just begun to again.
    Degraded,
    Unhealthy,
    /// It answers that it wants to know who asks.
    Unauthenticated,
}

impl Status {
    /// Whether what it offers is shown to clients.
    #[must_use]
    pub fn is_shown(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }

    /// As `/status` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Unauthenticated => "unauthenticated",
        }
    }
}

/// What was seen of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A probe was answered.
    Probe { took: Duration },
    /// A client's call was answered, however long it took.
    Call,
    /// There was no answer.
    Failure,
    /// 401 or 403.
    Denied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Circuit {
    Closed {
        failures: u32,
    },
    Open {
        since: Instant,
    },
    /// One question is on its way.
    HalfOpen {
        since: Instant,
    },
}

/// The machine.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    policy: HealthPolicy,
    status: Status,
    failures: u32,
    circuit: Circuit,
}

impl Health {
    /// Nothing has been seen yet.
    #[must_use]
    pub fn new(policy: HealthPolicy) -> Self {
        Self { policy, status: Status::Unknown, failures: 0, circuit: Circuit::Closed { failures: 0 } }
    }

    /// From now on it is judged by this. What was seen of it counts on; a circuit that there is none of any more is
    /// closed.
    pub fn judge_by(&mut self, policy: HealthPolicy) {
        self.policy = policy;
        if policy.circuit.is_none() {
            self.circuit = Circuit::Closed { failures: 0 };
        }
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it may be asked now. Where the circuit has been open for long enough, the one who asks this is the one
    /// who tries; if nothing is heard of that, somebody else may, after the same time.
    pub fn may_ask(&mut self, now: Instant) -> bool {
        let (Circuit::Open { since } | Circuit::HalfOpen { since }) = self.circuit else { return true };
        let stays = self.policy.circuit.map_or(Duration::ZERO, |circuit| circuit.stays_open);
        let may = now - since >= stays;
        if may {
            self.circuit = Circuit::HalfOpen { since: now };
        }
        may
    }

    /// Takes note; true where the status has changed.
    pub fn saw(&mut self, seen: Seen, now: Instant) -> bool {
        let before = self.status;
        match seen {
            Seen::Failure => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.policy.unhealthy_after.max(1) {
                    self.status = Status::Unhealthy;
                }
            }
            Seen::Denied => {
                self.failures = 0;
                self.status = Status::Unauthenticated;
            }
            Seen::Probe { took } if took > self.policy.slow => self.answered(Status::Degraded),
            Seen::Probe { .. } => self.answered(Status::Healthy),
            // A call tells that it answers, and nothing of how fast.
            Seen::Call if self.status == Status::Degraded => self.failures = 0,
            Seen::Call => self.answered(Status::Healthy),
        }
        self.circuit = self.next_circuit(seen == Seen::Failure, now);
        self.status != before
    }

    fn answered(&mut self, status: Status) {
        let was_down = self.failures > 0 && self.status != Status::Unknown;
        self.status = if was_down { Status::Degraded } else { status };
        self.failures = 0;
    }

    fn next_circuit(&self, failed: bool, now: Instant) -> Circuit {
        let Some(policy) = self.policy.circuit else { return Circuit::Closed { failures: 0 } };
        match (self.circuit, failed) {
            (_, false) => Circuit::Closed { failures: 0 },
            (Circuit::Closed { failures }, true) if failures + 1 < policy.opens_after => {
                Circuit::Closed { failures: failures + 1 }
            }
            (Circuit::Closed { .. } | Circuit::HalfOpen { .. }, true) => Circuit::Open { since: now },
            // An answer to what was asked before it opened.
            (open @ Circuit::Open { .. }, true) => open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Seen = Seen::Probe { took: Duration::from_millis(1) };
    const SLOW: Seen = Seen::Probe { took: Duration::from_secs(6) };

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_counts_on_where_the_policy_becomes_another() {
        let now = Instant::now();
        let circuit = CircuitPolicy { opens_after: 2, stays_open: Duration::from_secs(60) };
        let mut health = Health::new(HealthPolicy { circuit: Some(circuit), ..HealthPolicy::default() });
        health.saw(Seen::Failure, now);
        health.saw(Seen::Failure, now);
        assert_eq!((health.status(), health.may_ask(now)), (Status::Unknown, false));
        health.judge_by(HealthPolicy::default());
        assert!(health.may_ask(now), "there is no circuit any more");
        health.saw(Seen::Failure, now);
        assert_eq!(health.status(), Status::Unhealthy, "the third");
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_follows_what_is_seen() {
        use Seen::{Call, Denied, Failure};
        use Status::{Degraded, Healthy, Unauthenticated, Unhealthy, Unknown};
        for (seen, expect) in [
            (&[FAST][..], Healthy),
            (&[SLOW], Degraded),
            (&[Failure], Unknown),
            (&[Failure, FAST], Healthy),
            (&[FAST, Failure, Failure], Healthy),
            (&[FAST, Failure, Failure, Failure], Unhealthy),
            (&[FAST, Failure, Failure, Failure, FAST], Degraded),
            (&[FAST, Failure, Failure, Failure, FAST, FAST], Healthy),
            (&[FAST, Failure, Failure, Call], Degraded),
            (&[SLOW, Call], Degraded),
            (&[FAST, Denied], Unauthenticated),
            (&[FAST, Denied, FAST], Healthy),
        ] {
            let mut health = Health::new(HealthPolicy::default());
            for seen in seen {
                health.saw(*seen, Instant::now());
            }
            assert_eq!(health.status(), expect, "{seen:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_circuit_opens_lets_one_through_and_closes() {
        let circuit = CircuitPolicy { opens_after: 2, stays_open: Duration::from_secs(60) };
        let mut health = Health::new(HealthPolicy { circuit: Some(circuit), ..HealthPolicy::default() });
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        health.saw(Seen::Failure, at(0));
        assert!(health.may_ask(at(0)));
        health.saw(Seen::Failure, at(0));
        assert!(!health.may_ask(at(0)) && !health.may_ask(at(59)));
        assert!(health.may_ask(at(60)), "one tries");
        assert!(!health.may_ask(at(60)), "and nobody else");
        health.saw(Seen::Failure, at(61));
        assert!(!health.may_ask(at(120)) && health.may_ask(at(121)));
        assert!(health.may_ask(at(181)), "nothing was heard of the one who tried");
        health.saw(Seen::Call, at(182));
        assert!(health.may_ask(at(182)) && health.may_ask(at(182)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_policy_no_circuit_opens() {
        let mut health = Health::new(HealthPolicy::default());
        for _ in 0..100 {
            health.saw(Seen::Failure, Instant::now());
        }
        assert!(health.may_ask(Instant::now()));
    }
}
