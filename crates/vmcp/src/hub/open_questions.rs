//! What the client of a session was asked on behalf of backends that wait for the answer here.

use std::collections::HashMap;
use std::sync::Arc;

use mcp::Message;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Questions by their number.
#[derive(Debug, Default)]
pub(super) struct OpenQuestions {
    open: Arc<Mutex<HashMap<u64, oneshot::Sender<Message>>>>,
}

/// A question that is open until this is dropped.
#[derive(Debug)]
pub(super) struct Open {
    number: u64,
    open: Arc<Mutex<HashMap<u64, oneshot::Sender<Message>>>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.lock().remove(&self.number);
    }
}

impl OpenQuestions {
    /// Takes note of a question.
    pub(super) fn ask(&self, number: u64, tell: oneshot::Sender<Message>) -> Open {
        self.open.lock().insert(number, tell);
        Open { number, open: Arc::clone(&self.open) }
    }

    /// Passes an answer on; false where nobody waits for it.
    pub(super) fn answer(&self, number: &[u8], answer: &Message) -> bool {
        let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        let waits = number.and_then(|number: u64| self.open.lock().remove(&number));
        waits.is_some_and(|waits| waits.send(answer.clone()).is_ok())
    }
}
