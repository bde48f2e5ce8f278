//! The task of a [`Child`]: it alone takes what the server says, so the order on each stream is the server's.
//!
//! It never waits for the server to read: a server that writes before it reads would wait for this task in turn.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mcp::{Message, Method};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::Child;
use super::state::Held;
use crate::bridge::mux::Sharing;
use crate::channel::Channel;
use crate::failure::Failure;

/// How long one client of a shared server may keep the others waiting.
const SHARED_PATIENCE: Duration = Duration::from_secs(5);
/// How long the reason of a server's end is waited for. Its clients wait too.
const REASON_PATIENCE: Duration = Duration::from_secs(1);
/// How long a server that says no more may take to be dead.
const DEATH_PATIENCE: Duration = Duration::from_millis(200);
/// How long clients have to read that the server is gone.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How it came that messages are moved no more.
pub(super) enum Ended {
    /// It was to end; why.
    Closed(Arc<str>),
    /// The server ended; what is known of it, and what never reached it.
    Gone { reason: Arc<str>, undelivered: Vec<Bytes> },
    /// It does not even answer a ping.
    Hung,
    /// It is let go until it is wanted.
    Asleep,
}

/// What the task is to do next.
enum Step {
    Message(Bytes),
    Gone,
    Room,
    Woken,
    Due,
}

impl Child {
    /// Moves messages until the server ends or is ended.
    pub(super) async fn pump(&self, channel: Channel) -> Ended {
        let Channel { outgoing, mut incoming, mut guard, process, undelivered } = channel;
        self.process.store(process.unwrap_or(0), Ordering::Relaxed);
        loop {
            if let Some(reason) = self.deliver_held(&outgoing).await {
                return Ended::Closed(reason);
            }
            let (due, orders) = {
                let mut state = self.state.lock();
                if let Some(reason) = &state.closing {
                    return Ended::Closed(Arc::clone(reason));
                }
                if state.falls_asleep() {
                    return Ended::Asleep;
                }
                if state.hangs(Instant::now()) {
                    return Ended::Hung;
                }
                state.send_orders(&outgoing);
                (state.attended(), !state.orders.is_empty())
            };
            let step = tokio::select! {
                biased;
                () = self.wake.notified() => Step::Woken,
                room = outgoing.reserve(), if orders => if room.is_ok() { Step::Room } else { Step::Gone },
                message = incoming.recv() => message.map_or(Step::Gone, Step::Message),
                () = until(due) => Step::Due,
            };
            match step {
                Step::Message(text) => self.hear(text),
                Step::Due => self.change(|state, effects| state.mux.on_time(Instant::now(), effects)),
                Step::Woken | Step::Room => {}
                Step::Gone => break,
            }
        }
        // From now on messages wait for the next one; what was taken for this one and not delivered comes back. Its input
        // stays open until it is dead: then it is known what it has not read.
        self.state.lock().let_go();
        let reason = timeout(DEATH_PATIENCE, guard.why_closed()).await;
        drop(outgoing);
        let reason = match reason {
            Ok(reason) => Ok(reason),
            Err(_) => timeout(REASON_PATIENCE, guard.why_closed()).await,
        };
        let reason = reason.map_or_else(|_| "it closed its output".into(), Into::into);
        let undelivered = timeout(REASON_PATIENCE, undelivered.get()).await.unwrap_or_default();
        Ended::Gone { reason, undelivered }
    }

    fn hear(&self, text: Bytes) {
        let message = match Message::parse(text) {
            Ok(message) => message,
            Err(malformed) => {
                tracing::warn!(backend = %self.backend.name, error = %malformed, "the server sent what is no message");
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        if message.method() == Method::ToolsListChanged {
            self.tool_changes.fetch_add(1, Ordering::Relaxed);
        }
        let mut state = self.state.lock();
        if state.is_sign_of_life(&message) {
            return;
        }
        state.on_server(&message);
        self.settle(&mut state);
    }

    /// Waits for the clients whose queues are full. Gives a reason if the server is to end meanwhile.
    async fn deliver_held(&self, server: &mpsc::Sender<Bytes>) -> Option<Arc<str>> {
        loop {
            let held = self.state.lock().held.pop_front()?;
            let patience = (self.sharing != Sharing::Own).then(|| Instant::now() + SHARED_PATIENCE);
            let mut room = std::pin::pin!(held.queue.reserve());
            loop {
                let orders = {
                    let mut state = self.state.lock();
                    if let Some(reason) = &state.closing {
                        return Some(Arc::clone(reason));
                    }
                    state.send_orders(server);
                    !state.orders.is_empty()
                };
                tokio::select! {
                    biased;
                    room = &mut room => {
                        // A closed queue is a client that went away; a log has the event.
                        if let Ok(room) = room {
                            room.send(held.event.clone());
                        }
                        break;
                    }
                    () = self.wake.notified() => {}
                    _ = server.reserve(), if orders => {}
                    () = until(patience) => {
                        tracing::warn!(backend = %self.backend.name, "cut a stream that its client does not read");
                        let modern = self.sharing == Sharing::Modern;
                        self.change(|state, effects| state.cut(&held, modern, effects));
                        break;
                    }
                }
            }
        }
    }

    /// No other server takes the place of the one that is gone: all that is under way fails.
    pub(super) async fn end(&self, reason: &Arc<str>) {
        let failure =
            if self.state.lock().begin_again { Failure::UnknownSession } else { self.ended(reason) };
        let held: Vec<Held> = self.state.lock().end(&failure, Arc::clone(reason));
        self.over.cancel();
        let last_words = async {
            for held in held {
                let _ = held.queue.send(held.event).await;
            }
        };
        let _ = timeout(LAST_WORDS, last_words).await;
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}
