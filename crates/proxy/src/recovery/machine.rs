//! The rebuilding of one session as a pure state machine: an event in, one effect out, no clock and no IO of its own.
//!
//! ```text
//!            refused, not reached, died meanwhile: pause, next instance
//!         ┌──────────────────────────────────────────────────────┐
//!         ▼                                                      │
//!   Opening ── opened ──▶ Telling ── told ──▶ Asking ── all ──▶ Publishing ── published ──▶ Rebuilt
//!      │         │                                                   │
//!      │         └─ another server, version or less: passed by;     └─ somebody was faster ──▶ Overtaken
//!      │            nobody else is there ──▶ Incompatible
//!      └─ out of time ──▶ Unreachable, or Incompatible where such a server was met
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::remembered::{Agreed, Remembered};

/// Pauses between attempts: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Send the client's `initialize` to an instance, without a session.
    Open,
    /// Send `notifications/initialized` in the new session.
    Tell,
    /// Send this request in the new session. What it is answered does not matter, that it is answered does.
    Ask(Bytes),
    /// Give up what was opened, if anything, and report after this long.
    Pause(Duration),
    /// Give up what was opened and leave that instance alone: the client cannot go on there. Report whether there is
    /// another.
    Pass,
    /// Make the new place the session's, under the next epoch.
    Publish,
    /// It is over.
    End(Verdict),
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// The beginning.
    Lost,
    /// An instance has begun a session.
    Opened(Option<Agreed>),
    /// The notification or request was taken.
    Taken,
    /// It did not work with this instance; why.
    Failed(String),
    /// The pause is over; or one was passed by, and there is another.
    Rested,
    /// All instances that are there were passed by.
    Exhausted,
    Published,
    /// Another replica has rebuilt the session meanwhile.
    Overtaken,
    /// Its client has ended it at another replica meanwhile.
    Ended,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Rebuilt,
    /// Another replica did.
    Overtaken,
    /// There is a server, but the client cannot go on with it as if nothing had happened; why.
    Incompatible(String),
    /// No instance could be brought to the same point in time; the last reason.
    Unreachable(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Opening,
    Telling,
    Asking,
    Publishing,
    Over,
}

/// One rebuilding.
#[derive(Debug)]
pub(crate) struct Rebuild {
    state: State,
    agreed: Option<Arc<Agreed>>,
    requests: Vec<Bytes>,
    left: VecDeque<Bytes>,
    deadline: Instant,
    attempts: u32,
    /// Why the client cannot go on at an instance that was passed by.
    passed: Option<String>,
}

impl Rebuild {
    /// Of a session of which this is remembered. No attempt begins after `deadline`.
    pub(crate) fn new(remembered: &Remembered, deadline: Instant) -> Self {
        Self {
            state: State::Opening,
            agreed: remembered.agreed.clone(),
            requests: remembered.requests().collect(),
            left: VecDeque::new(),
            deadline,
            attempts: 0,
            passed: None,
        }
    }

    /// The next effect. Events that do not belong to the last one change nothing and end nothing: they cannot happen,
    /// and if they do the session is better lost than half rebuilt.
    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Effect {
        match (self.state, event) {
            (State::Opening, Event::Lost | Event::Rested) => Effect::Open,
            (State::Opening, Event::Opened(now_agreed)) => match (&self.agreed, &now_agreed) {
                (Some(was), Some(is)) => match was.goes_on_as(is) {
                    Ok(()) => self.opened(),
                    Err(why) => {
                        self.passed = Some(why);
                        Effect::Pass
                    }
                },
                // What was agreed is not known, or what is offered now cannot be read.
                (Some(_), None) => self.failed("its answer to initialize cannot be read".to_owned(), now),
                (None, _) => self.opened(),
            },
            (State::Opening, Event::Exhausted) => {
                let why = self.passed.take().unwrap_or_else(|| "the backend has no instance".to_owned());
                self.end(Verdict::Incompatible(why))
            }
            (State::Telling, Event::Taken) => {
                self.state = State::Asking;
                self.left = self.requests.iter().cloned().collect();
                self.ask()
            }
            (State::Asking, Event::Taken) => self.ask(),
            (State::Opening | State::Telling | State::Asking | State::Publishing, Event::Failed(why)) => {
                self.failed(why, now)
            }
            (State::Publishing, Event::Published) => self.end(Verdict::Rebuilt),
            (State::Publishing, Event::Overtaken) => self.end(Verdict::Overtaken),
            (State::Publishing, Event::Ended) => {
                self.end(Verdict::Incompatible("it was ended elsewhere".to_owned()))
            }
            (state, event) => self.end(Verdict::Unreachable(format!("{event:?} while {state:?}"))),
        }
    }

    fn opened(&mut self) -> Effect {
        self.state = State::Telling;
        Effect::Tell
    }

    fn ask(&mut self) -> Effect {
        if let Some(request) = self.left.pop_front() {
            return Effect::Ask(request);
        }
        self.state = State::Publishing;
        Effect::Publish
    }

    fn failed(&mut self, why: String, now: Instant) -> Effect {
        self.state = State::Opening;
        let pause = FIRST_PAUSE.saturating_mul(1 << self.attempts.min(16)).min(LONGEST_PAUSE);
        self.attempts += 1;
        if now + pause > self.deadline {
            // Its client can begin again with the server that is there.
            let incompatible = self.passed.take().map(Verdict::Incompatible);
            return self.end(incompatible.unwrap_or(Verdict::Unreachable(why)));
        }
        Effect::Pause(pause)
    }

    fn end(&mut self, verdict: Verdict) -> Effect {
        self.state = State::Over;
        Effect::End(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp::Message;
    use proptest::prelude::*;
    use serde_json::json;

    fn agreed(name: &str) -> Option<Agreed> {
        let result = json!({"protocolVersion": "2025-11-25", "serverInfo": {"name": name, "version": "1"}, "capabilities": {}});
        let answer = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
        Agreed::read(&Message::parse(answer.into()).unwrap())
    }

    fn remembered() -> Remembered {
        let mut remembered = Remembered::new(Bytes::from_static(b"{}"), agreed("a").map(Arc::new));
        for (method, params) in
            [("logging/setLevel", json!({"level": "info"})), ("resources/subscribe", json!({"uri": "u"}))]
        {
            let text = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
            remembered.note(&Message::parse(text.into()).unwrap());
        }
        remembered
    }

    fn rebuild(seconds: u64) -> (Rebuild, Instant) {
        let now = Instant::now();
        (Rebuild::new(&remembered(), now + Duration::from_secs(seconds)), now)
    }

    #[test]
    fn the_whole_handshake_is_repeated_in_order_before_anything_else() {
        let (mut machine, now) = rebuild(10);
        assert_eq!(machine.on(Event::Lost, now), Effect::Open);
        assert_eq!(machine.on(Event::Opened(agreed("a")), now), Effect::Tell);
        for method in ["logging/setLevel", "resources/subscribe"] {
            let Effect::Ask(text) = machine.on(Event::Taken, now) else { panic!("{method} is asked") };
            assert!(String::from_utf8_lossy(&text).contains(method));
        }
        assert_eq!(machine.on(Event::Taken, now), Effect::Publish);
        assert_eq!(machine.on(Event::Published, now), Effect::End(Verdict::Rebuilt));
    }

    #[test]
    fn whoever_dies_meanwhile_is_left_and_all_of_it_begins_again() {
        let (mut machine, now) = rebuild(10);
        machine.on(Event::Lost, now);
        machine.on(Event::Opened(agreed("a")), now);
        machine.on(Event::Taken, now);
        assert_eq!(machine.on(Event::Failed("reset".into()), now), Effect::Pause(FIRST_PAUSE));
        assert_eq!(machine.on(Event::Rested, now), Effect::Open);
        assert_eq!(machine.on(Event::Opened(agreed("a")), now), Effect::Tell);
        assert!(
            matches!(machine.on(Event::Taken, now), Effect::Ask(text) if text.windows(8).any(|w| w == b"setLevel"))
        );
    }

    #[test]
    fn another_server_is_passed_by_and_ends_the_session_where_it_is_all_there_is() {
        let (mut machine, now) = rebuild(10);
        machine.on(Event::Lost, now);
        assert_eq!(machine.on(Event::Opened(agreed("b")), now), Effect::Pass);
        assert_eq!(machine.on(Event::Rested, now), Effect::Open);
        assert_eq!(machine.on(Event::Opened(agreed("a")), now), Effect::Tell, "a true one is there too");
        for last in [Event::Exhausted, Event::Failed("refused".into())] {
            let (mut machine, now) = rebuild(0);
            machine.on(Event::Lost, now);
            assert_eq!(machine.on(Event::Opened(agreed("b")), now), Effect::Pass);
            let Effect::End(Verdict::Incompatible(why)) = machine.on(last, now) else {
                panic!("its client is to begin again")
            };
            assert!(why.contains("\"a\" became \"b\""), "{why}");
        }
    }

    #[test]
    fn somebody_elses_session_is_taken() {
        let (mut machine, now) = rebuild(10);
        machine.on(Event::Lost, now);
        machine.on(Event::Opened(agreed("a")), now);
        (0..3).for_each(|_| drop(machine.on(Event::Taken, now)));
        assert_eq!(machine.on(Event::Overtaken, now), Effect::End(Verdict::Overtaken));
    }

    #[test]
    fn what_cannot_be_published_is_tried_again_or_has_ended() {
        let (mut machine, now) = rebuild(10);
        for _ in 0..2 {
            machine.on(Event::Lost, now);
            machine.on(Event::Opened(agreed("a")), now);
            (0..3).for_each(|_| drop(machine.on(Event::Taken, now)));
            assert!(matches!(machine.on(Event::Failed("the store is away".into()), now), Effect::Pause(_)));
        }
        machine.on(Event::Rested, now);
        machine.on(Event::Opened(agreed("a")), now);
        (0..3).for_each(|_| drop(machine.on(Event::Taken, now)));
        assert!(matches!(machine.on(Event::Ended, now), Effect::End(Verdict::Incompatible(_))));
    }

    #[test]
    fn pauses_grow_to_a_second_and_end_with_the_time() {
        let (mut machine, mut now) = rebuild(10);
        let (begun, mut pauses) = (now, Vec::new());
        machine.on(Event::Lost, now);
        let last = loop {
            match machine.on(Event::Failed("refused".into()), now) {
                Effect::Pause(pause) => {
                    pauses.push(pause);
                    now += pause;
                    assert_eq!(machine.on(Event::Rested, now), Effect::Open);
                }
                other => break other,
            }
        };
        assert_eq!(last, Effect::End(Verdict::Unreachable("refused".into())));
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]) && pauses.last() == Some(&LONGEST_PAUSE));
        assert!(now - begun <= Duration::from_secs(10));
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Lost),
            Just(Event::Opened(agreed("a"))),
            Just(Event::Opened(agreed("b"))),
            Just(Event::Opened(None)),
            Just(Event::Taken),
            Just(Event::Failed("x".into())),
            Just(Event::Rested),
            Just(Event::Exhausted),
            Just(Event::Published),
            Just(Event::Overtaken),
            Just(Event::Ended),
        ]
    }

    proptest! {
        /// Whatever happens: nothing is published that was not told and asked all it had to be, and an end is an end.
        #[test]
        fn nothing_half_rebuilt_is_published(events in proptest::collection::vec(event(), 0..40)) {
            let (mut machine, now) = rebuild(10);
            let mut said = Vec::new();
            for event in events {
                match machine.on(event, now) {
                    Effect::Open => said.clear(),
                    Effect::Tell => said.push(Bytes::from_static(b"initialized")),
                    Effect::Ask(text) => said.push(text),
                    Effect::Pause(_) | Effect::Pass => said.clear(),
                    Effect::Publish => prop_assert_eq!(said.len(), 3),
                    Effect::End(verdict) => {
                        prop_assert!(verdict != Verdict::Rebuilt || said.len() == 3);
                        break;
                    }
                }
            }
        }
    }
}
