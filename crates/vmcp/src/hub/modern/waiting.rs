//! Calls that wait in this process for their client to come back with an answer.

use std::collections::HashMap;

use mcp::{ErrorCode, ErrorReply, Message};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::said::Said;

/// Calls that wait at once, for all clients together.
const MAX_WAITING: usize = 1024;

/// The client has come back.
#[derive(Debug)]
pub(super) struct Round {
    /// Its request.
    pub(super) message: Message,
    pub(super) line: mpsc::Sender<Said>,
}

/// All of them.
#[derive(Debug)]
pub(in crate::hub) struct Waiting {
    /// Of this process: others do not know its calls.
    pub(super) process: Uuid,
    calls: Mutex<HashMap<Uuid, oneshot::Sender<Round>>>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { process: drawn(), calls: Mutex::default() }
    }
}

/// Not to be guessed by nobody: it is sealed where it is seen.
pub(super) fn drawn() -> Uuid {
    Uuid::from_u128(fastrand::u128(..))
}

impl Waiting {
    /// A call waits from now on; `None` where there are too many.
    pub(super) fn park(&self) -> Option<(Uuid, oneshot::Receiver<Round>)> {
        let mut calls = self.calls.lock();
        calls.retain(|_, call| !call.is_closed());
        if calls.len() >= MAX_WAITING {
            return None;
        }
        let (id, (wake, woken)) = (drawn(), oneshot::channel());
        calls.insert(id, wake);
        Some((id, woken))
    }

    /// Whether no call waits.
    pub(super) fn is_empty(&self) -> bool {
        let mut calls = self.calls.lock();
        calls.retain(|_, call| !call.is_closed());
        calls.is_empty()
    }

    /// Its client is back; once.
    ///
    /// # Errors
    /// The answer where it does not wait.
    pub(super) fn wake(&self, call: Uuid, round: Round) -> Result<(), ErrorReply> {
        let waits = self.calls.lock().remove(&call);
        let woken = waits.is_some_and(|waits| waits.send(round).is_ok());
        let why = "it was not answered in time, or has been answered before";
        if woken { Ok(()) } else { Err(not_here(why)) }
    }
}

/// The answer to who comes back to a call whose process is gone.
pub(super) fn gone() -> ErrorReply {
    not_here("it waited in a process of skep that is gone, or cannot be reached")
}

fn not_here(why: &str) -> ErrorReply {
    let text = format!(
        "the call that has asked does not wait here any more ({why}): it may or may not have been carried out"
    );
    ErrorReply::new(ErrorCode::OutcomeUnknown, text).with_data(
        json!({"origin": "skep", "class": "call_not_here", "executed": "unknown", "retriable": false}),
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::asked;
    use super::*;

    #[tokio::test]
    async fn a_call_is_woken_once() {
        let waiting = Waiting::default();
        let round = || Round { message: asked().message, line: mpsc::channel(1).0 };
        let (call, mut woken) = waiting.park().unwrap();
        assert!(waiting.wake(drawn(), round()).is_err() && !waiting.is_empty());
        assert!(waiting.wake(call, round()).is_ok() && woken.try_recv().is_ok());
        assert_eq!(waiting.wake(call, round()).unwrap_err().code, ErrorCode::OutcomeUnknown);
        assert!(waiting.is_empty());
        drop(waiting.park());
        assert!(waiting.is_empty(), "it has given up");
        let parked: Vec<_> = std::iter::from_fn(|| waiting.park()).collect();
        assert_eq!(parked.len(), MAX_WAITING);
        drop(parked);
        assert!(waiting.park().is_some(), "whoever has given up takes no room");
    }
}
