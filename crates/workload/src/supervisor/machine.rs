//! The supervisor's decisions: event → new state and one effect. No clock, no process, no dice of its own.
//!
//! ```text
//! Starting ──started──▶ Running ──ended──▶ BackingOff ──delay over──▶ Starting
//!    │                     │        (or)        │
//!    └──not started, may pass──▶ BackingOff     │      too many failures in a row,
//!    │                     │                    │      or a start that cannot succeed ──▶ Failed
//!    └──stop asked─────────┴──▶ Stopping ─ended─┴─▶ Stopped
//! ```

use tokio::time::Instant;

use super::State;
use crate::backoff::{Backoff, BackoffPolicy, Next};
use crate::process::Exit;

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The process runs.
    Started { pid: u32 },
    /// There is no process. `is_transient`: trying again may help.
    NotStarted { reason: String, hint: Option<&'static str>, is_transient: bool },
    /// The process is gone.
    Ended(Exit),
    /// The pause of [`Effect::Wait`] is over.
    DelayOver,
    /// Somebody wants it stopped for good.
    StopAsked,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Start the process; answer with `Started` or `NotStarted`.
    Start,
    /// Report `DelayOver` after this long.
    Wait(std::time::Duration),
    /// Ask the process to stop; `Ended` follows.
    Stop,
    /// Wait for the next event.
    Nothing,
    /// The state is final.
    Finish,
}

/// One supervised command.
#[derive(Debug)]
pub(super) struct Machine {
    state: State,
    backoff: Backoff,
    /// When the present run began.
    running_since: Option<Instant>,
}

impl Machine {
    pub(super) fn new(policy: BackoffPolicy) -> Self {
        Self { state: State::Starting, backoff: Backoff::new(policy), running_since: None }
    }

    /// What a new machine wants done.
    pub(super) fn first(&self) -> Effect {
        Effect::Start
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Whether a stop was asked for and is being carried out.
    pub(super) fn is_stopping(&self) -> bool {
        self.state == State::Stopping
    }

    /// Takes one event. `jitter` is a random number from 0 to 1. Events that have no meaning in a state change nothing.
    pub(super) fn on(&mut self, event: Event, now: Instant, jitter: f64) -> Effect {
        use State::{BackingOff, Failed, Running, Starting, Stopped, Stopping};
        match (&self.state, event) {
            (Starting, Event::Started { pid }) => {
                self.running_since = Some(now);
                self.enter(Running { pid }, Effect::Nothing)
            }
            (Starting, Event::NotStarted { reason, hint, is_transient: false }) => self.fail(reason, hint),
            (Starting, Event::NotStarted { reason, hint, is_transient: true }) => {
                self.retry(reason, hint, now, jitter)
            }
            (Running { .. }, Event::Ended(exit)) => self.retry(exit.to_string(), None, now, jitter),
            (BackingOff { .. }, Event::DelayOver) => self.enter(Starting, Effect::Start),
            (Running { .. }, Event::StopAsked) => self.enter(Stopping, Effect::Stop),
            (Starting | BackingOff { .. }, Event::StopAsked) => {
                self.enter(Stopped { exit: None }, Effect::Finish)
            }
            (Stopping, Event::Ended(exit)) => self.enter(Stopped { exit: Some(exit) }, Effect::Finish),
            (Failed { .. } | Stopped { .. }, _) => Effect::Finish,
            (Starting, Event::Ended(_) | Event::DelayOver)
            | (
                Running { .. } | BackingOff { .. } | Stopping,
                Event::Started { .. } | Event::NotStarted { .. },
            )
            | (Running { .. } | Stopping, Event::DelayOver)
            | (BackingOff { .. }, Event::Ended(_))
            | (Stopping, Event::StopAsked) => Effect::Nothing,
        }
    }

    fn enter(&mut self, state: State, effect: Effect) -> Effect {
        self.state = state;
        effect
    }

    fn fail(&mut self, reason: String, hint: Option<&'static str>) -> Effect {
        self.enter(State::Failed { reason, hint, last_lines: Vec::new() }, Effect::Finish)
    }

    fn retry(&mut self, reason: String, hint: Option<&'static str>, now: Instant, jitter: f64) -> Effect {
        let ran = self.running_since.take().map(|since| now - since).unwrap_or_default();
        match self.backoff.failed(ran, jitter) {
            Next::GiveUp => {
                let failures = self.backoff.failures();
                self.fail(format!("failed {failures} times in a row, the last time: {reason}"), hint)
            }
            Next::RetryIn(delay) => {
                let failures = self.backoff.failures();
                self.enter(State::BackingOff { failures, delay, reason }, Effect::Wait(delay))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::{Asked, Cause};

    const POLICY: BackoffPolicy = BackoffPolicy {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(60),
        healthy_after: Duration::from_secs(30),
        give_up_after: 3,
    };
    const EXIT: Exit = Exit { cause: Cause::Exited(3), asked: Asked::Nothing };

    fn started() -> Event {
        Event::Started { pid: 7 }
    }

    fn ended() -> Event {
        Event::Ended(EXIT)
    }

    fn not_started(is_transient: bool) -> Event {
        Event::NotStarted {
            reason: "there is no program".to_owned(),
            hint: Some("Install it."),
            is_transient,
        }
    }

    /// Feeds events at given seconds; gives the effects and the state's name.
    fn drive(events: Vec<(u64, Event)>) -> (Vec<Effect>, State) {
        let begin = Instant::now();
        let mut machine = Machine::new(POLICY);
        assert_eq!(machine.first(), Effect::Start);
        let feed = |(at, event)| machine.on(event, begin + Duration::from_secs(at), 1.0);
        let effects = events.into_iter().map(feed).collect();
        (effects, machine.state)
    }

    fn seconds(count: u64) -> Effect {
        Effect::Wait(Duration::from_secs(count))
    }

    #[test]
    fn effects_follow_events() {
        use Effect::{Finish, Nothing, Start, Stop};
        use Event::{DelayOver, StopAsked};
        for (events, effects) in [
            (vec![(0, started())], vec![Nothing]),
            (vec![(0, started()), (1, ended()), (2, DelayOver)], vec![Nothing, seconds(1), Start]),
            (
                vec![(0, not_started(true)), (1, DelayOver), (1, not_started(true))],
                vec![seconds(1), Start, seconds(2)],
            ),
            (vec![(0, not_started(false))], vec![Finish]),
            (vec![(0, StopAsked)], vec![Finish]),
            (
                vec![(0, started()), (1, StopAsked), (1, StopAsked), (2, ended())],
                vec![Nothing, Stop, Nothing, Finish],
            ),
            (
                vec![(0, started()), (1, ended()), (1, StopAsked), (9, DelayOver)],
                vec![Nothing, seconds(1), Finish, Finish],
            ),
            (vec![(0, ended()), (0, DelayOver)], vec![Nothing, Nothing]),
            (vec![(0, started()), (0, DelayOver), (0, started())], vec![Nothing; 3]),
        ] {
            assert_eq!(drive(events.clone()).0, effects, "{events:?}");
        }
    }

    #[test]
    fn failures_in_a_row_end_in_failed_with_the_last_reason() {
        let round = |at| [(at, started()), (at + 1, ended()), (at + 2, Event::DelayOver)];
        let (effects, state) = drive([round(0), round(10), round(20)].concat());
        assert_eq!(effects[7..], [Effect::Finish, Effect::Finish]);
        let reason = "failed 3 times in a row, the last time: exited with status 3".to_owned();
        assert_eq!(state, State::Failed { reason, hint: None, last_lines: Vec::new() });
    }

    #[test]
    fn a_run_that_lasted_clears_the_failures() {
        let round = |at, ran| [(at, started()), (at + ran, ended()), (at + ran, Event::DelayOver)];
        let (effects, state) = drive([round(0, 1), round(10, 1), round(20, 30), round(60, 1)].concat());
        let waits: Vec<Effect> = effects.into_iter().skip(1).step_by(3).collect();
        assert_eq!(waits, [seconds(1), seconds(2), seconds(1), seconds(2)]);
        assert_eq!(state, State::Starting);
    }

    #[test]
    fn what_cannot_start_is_not_tried_again() {
        let (_, state) = drive(vec![(0, not_started(false))]);
        let reason = "there is no program".to_owned();
        assert_eq!(state, State::Failed { reason, hint: Some("Install it."), last_lines: Vec::new() });
    }

    #[test]
    fn a_stop_tells_how_the_process_ended() {
        let (_, state) = drive(vec![(0, started()), (1, Event::StopAsked), (2, ended())]);
        assert_eq!(state, State::Stopped { exit: Some(EXIT) });
    }
}
