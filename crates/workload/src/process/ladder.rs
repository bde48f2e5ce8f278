//! How a process is asked to leave, ever more firmly: end of stdin, SIGTERM, SIGKILL. Pure: input → signal to send.
//!
//! A second request never makes it slower: deadlines only come nearer. Nothing follows SIGKILL.

use std::time::Duration;

use tokio::time::Instant;

use super::exit::Asked;

/// How long a process whose stdin we held may take to notice that it ended, before SIGTERM.
pub(super) const LEAVE_ON_EOF: Duration = Duration::from_millis(500);

/// What happens to the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Somebody wants it stopped, with this long between SIGTERM and SIGKILL.
    Stop { grace: Duration },
    /// Nobody holds it any more.
    Abandoned,
    /// The time of [`Ladder::deadline`] has come.
    DeadlinePassed,
}

/// What to send to the process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Terminate,
    Kill,
}

#[derive(Clone, Copy, Debug)]
enum Rung {
    Running,
    LeavingOnEof { until: Instant, grace: Duration },
    Terminating { until: Instant },
    Killing,
}

/// Where on the ladder a process stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ladder {
    /// Zero when it has no stdin that could end.
    eof_wait: Duration,
    rung: Rung,
}

impl Ladder {
    pub(super) fn new(eof_wait: Duration) -> Self {
        Self { eof_wait, rung: Rung::Running }
    }

    /// When to report [`Input::DeadlinePassed`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.rung {
            Rung::Running | Rung::Killing => None,
            Rung::LeavingOnEof { until, .. } | Rung::Terminating { until } => Some(until),
        }
    }

    /// Whether nothing more can be done than to wait.
    pub(super) fn is_at_its_end(&self) -> bool {
        matches!(self.rung, Rung::Killing)
    }

    /// What has been asked of the process so far.
    pub(super) fn asked(&self) -> Asked {
        match self.rung {
            Rung::Running => Asked::Nothing,
            Rung::LeavingOnEof { .. } => Asked::ToLeave,
            Rung::Terminating { .. } => Asked::ToTerminate,
            Rung::Killing => Asked::NothingMore,
        }
    }

    /// Takes one input and says what to send, if anything.
    pub(super) fn step(&mut self, input: Input, now: Instant) -> Option<Step> {
        let (rung, step) = match (self.rung, input) {
            (Rung::Killing, _) | (Rung::Running, Input::DeadlinePassed) => (self.rung, None),
            (_, Input::Abandoned) | (Rung::Terminating { .. }, Input::DeadlinePassed) => {
                (Rung::Killing, Some(Step::Kill))
            }
            (Rung::Running, Input::Stop { grace }) if self.eof_wait.is_zero() => terminate(now, grace),
            (Rung::Running, Input::Stop { grace }) => {
                (Rung::LeavingOnEof { until: now + self.eof_wait.min(grace), grace }, None)
            }
            (Rung::LeavingOnEof { until, grace }, Input::Stop { grace: sooner }) => {
                let grace = grace.min(sooner);
                (Rung::LeavingOnEof { until: until.min(now + grace), grace }, None)
            }
            (Rung::LeavingOnEof { grace, .. }, Input::DeadlinePassed) => terminate(now, grace),
            (Rung::Terminating { until }, Input::Stop { grace }) => {
                (Rung::Terminating { until: until.min(now + grace) }, None)
            }
        };
        self.rung = rung;
        step
    }
}

fn terminate(now: Instant, grace: Duration) -> (Rung, Option<Step>) {
    (Rung::Terminating { until: now + grace }, Some(Step::Terminate))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const STOP: Input = Input::Stop { grace: Duration::from_secs(10) };
    const STOP_SOON: Input = Input::Stop { grace: SECOND };

    /// Feeds inputs at given milliseconds; gives what was sent and when the next deadline is.
    fn climb(eof_wait: Duration, inputs: &[(u64, Input)]) -> (Vec<Step>, Option<u64>, Asked) {
        let start = Instant::now();
        let mut ladder = Ladder::new(eof_wait);
        let sent = inputs
            .iter()
            .filter_map(|&(at, input)| ladder.step(input, start + Duration::from_millis(at)))
            .collect();
        let deadline = ladder.deadline().map(|at| (at - start).as_millis() as u64);
        (sent, deadline, ladder.asked())
    }

    #[test]
    fn each_rung_follows_the_one_before() {
        use Input::{Abandoned, DeadlinePassed};
        use Step::{Kill, Terminate};
        for (inputs, sent, deadline, asked) in [
            (&[][..], &[][..], None, Asked::Nothing),
            (&[(0, DeadlinePassed)], &[], None, Asked::Nothing),
            (&[(0, STOP)], &[], Some(500), Asked::ToLeave),
            (&[(0, STOP), (500, DeadlinePassed)], &[Terminate], Some(10_500), Asked::ToTerminate),
            (
                &[(0, STOP), (500, DeadlinePassed), (10_500, DeadlinePassed)],
                &[Terminate, Kill],
                None,
                Asked::NothingMore,
            ),
            (&[(0, Abandoned)], &[Kill], None, Asked::NothingMore),
            (&[(0, STOP), (1, Abandoned), (2, STOP), (3, Abandoned)], &[Kill], None, Asked::NothingMore),
        ] {
            assert_eq!(climb(LEAVE_ON_EOF, inputs), (sent.to_vec(), deadline, asked), "{inputs:?}");
        }
    }

    #[test]
    fn without_stdin_sigterm_comes_at_once() {
        let at_once = (vec![Step::Terminate], Some(10_000), Asked::ToTerminate);
        assert_eq!(climb(Duration::ZERO, &[(0, STOP)]), at_once);
    }

    #[test]
    fn asking_again_only_brings_deadlines_nearer() {
        let term = [(0, STOP), (500, Input::DeadlinePassed)];
        for (again, deadline) in [((600, STOP), 10_500), ((600, STOP_SOON), 1_600)] {
            let inputs = [term[0], term[1], again];
            assert_eq!(climb(LEAVE_ON_EOF, &inputs).1, Some(deadline), "{again:?}");
        }
        let no_grace = Input::Stop { grace: Duration::ZERO };
        assert_eq!(climb(LEAVE_ON_EOF, &[(0, STOP), (100, no_grace)]).1, Some(100));
    }
}
