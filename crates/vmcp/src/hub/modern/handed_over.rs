//! A call that waits here, and whose client has come back to another replica: what that one has left is read, the call goes
//! on, and what it says is left for that one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp::{ErrorCode, ErrorReply, Message};
use serde_json::json;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::{Instant, interval, sleep};
use uuid::Uuid;

use super::super::Hub;
use super::super::mail::{HOLD, LOOK_EVERY, Other, READ_EVERY};
use super::handing_over::{Handed, Word};
use super::said::{QUEUE, Said};
use super::status;
use super::waiting::Round;

/// No answer that is longer is left for another replica.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// A place that is away is waited for with an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// The mailbox of this process.
#[derive(Debug, Default)]
pub(in crate::hub) struct Mailbox {
    /// Until when others find that this process is there; locked by whoever changes that.
    held_until: Mutex<Option<Instant>>,
    /// A call waits.
    wanted: Notify,
}

impl Hub {
    /// Reads what other replicas have left, for as long as calls wait here, until the hub is shut down.
    pub(in crate::hub) async fn look_after_mail(self: &Arc<Self>) {
        if !self.config.store.is_shared() {
            return;
        }
        loop {
            tokio::select! {
                () = self.draining.cancelled() => break,
                () = self.until_next_look() => self.read_mail().await,
            }
        }
        // Who waited here waits no longer, and nobody need wait for this process.
        let _ = self.config.mail.release(self.waiting.process).await;
    }

    async fn until_next_look(&self) {
        while self.waiting.is_empty() {
            self.be_gone().await;
            self.mailbox.wanted.notified().await;
        }
        sleep(READ_EVERY).await;
    }

    /// A call is about to wait: from now on other replicas can leave something for it.
    pub(super) async fn be_found(self: &Arc<Self>) {
        if !self.config.store.is_shared() {
            return;
        }
        let is_held =
            self.mailbox.held_until.lock().await.is_some_and(|until| Instant::now() + HOLD / 2 < until);
        if !is_held {
            self.read_mail().await;
        }
        self.mailbox.wanted.notify_one();
    }

    /// If no call waits, whoever comes back is told so without waiting for this process.
    async fn be_gone(&self) {
        let mut held_until = self.mailbox.held_until.lock().await;
        if self.waiting.is_empty() && held_until.take().is_some() {
            let _ = self.config.mail.release(self.waiting.process).await;
        }
    }

    async fn read_mail(self: &Arc<Self>) {
        let mut held_until = self.mailbox.held_until.lock().await;
        let until = Instant::now() + HOLD;
        // While the place is away, nobody can leave anything.
        let Ok(Some(letters)) = self.config.mail.hold(self.waiting.process, HOLD).await else { return };
        *held_until = Some(until);
        drop(held_until);
        for handed in letters.iter().filter_map(|letter| serde_json::from_slice(letter).ok()) {
            self.tasks.spawn("a round from another replica", Arc::clone(self).wake_for(handed));
        }
    }

    /// The client of a call has come back elsewhere.
    async fn wake_for(self: Arc<Self>, handed: Handed) {
        let Handed { call, reply, message } = handed;
        let Ok(message) = Message::parse(message.into()) else { return };
        let id = message.id().map(Bytes::copy_from_slice);
        let (line, said) = mpsc::channel(QUEUE);
        // Whoever waits there looks whether somebody works on it.
        let _ = self.config.mail.hold(call, HOLD).await;
        match self.waiting.wake(call, Round { message, line }) {
            Ok(()) => {
                self.leave_letter(reply, &Word::Taken).await;
                self.pass_on(call, reply, said, id.as_deref()).await;
            }
            Err(error) => {
                let (status, text) = (status(error.code.number()), error.to_json(id.as_deref()));
                self.leave_last(reply, &last(&Said::Last { status, text }, id.as_deref())).await;
            }
        }
        let _ = self.config.mail.release(call).await;
    }

    /// Until the answer, or until nobody waits for it. Who waits there and is gone has closed the line.
    async fn pass_on(&self, call: Uuid, reply: Uuid, mut said: mpsc::Receiver<Said>, id: Option<&[u8]>) {
        let (mut other, mut rounds) = (Other::new(reply), interval(LOOK_EVERY));
        loop {
            tokio::select! {
                next = said.recv() => match next {
                    Some(Said::Notice(text)) if text.len() <= MAX_ANSWER => {
                        // It may as well be missed.
                        self.leave_letter(reply, &Word::Notice(String::from_utf8_lossy(&text).into_owned())).await;
                    }
                    Some(Said::Notice(_)) => {}
                    Some(end @ (Said::Last { .. } | Said::OtherEra)) => {
                        return self.leave_last(reply, &last(&end, id)).await;
                    }
                    None => return,
                },
                _ = rounds.tick() => {
                    let _ = self.config.mail.hold(call, HOLD).await;
                    if self.is_gone(&mut other).await {
                        return;
                    }
                }
            }
        }
    }

    async fn leave_last(&self, reply: Uuid, last: &Word) {
        let until = Instant::now() + PATIENCE;
        while !self.leave_letter(reply, last).await && Instant::now() < until {
            sleep(PAUSE).await;
        }
    }
}

/// An answer as it is left; an error in place of one that is too long.
fn last(end: &Said, id: Option<&[u8]>) -> Word {
    match end {
        Said::Last { status, text } if text.len() <= MAX_ANSWER => {
            Word::Last { status: status.as_u16(), text: String::from_utf8_lossy(text).into_owned() }
        }
        _ => {
            let text =
                format!("the answer is longer than {MAX_ANSWER} bytes, and was made by another replica");
            let reply = ErrorReply::new(ErrorCode::OutcomeUnknown, text).with_data(
                json!({"origin": "skep", "class": "interrupted", "executed": "unknown", "retriable": false}),
            );
            let text = String::from_utf8_lossy(&reply.to_json(id)).into_owned();
            Word::Last { status: status(reply.code.number()).as_u16(), text }
        }
    }
}
