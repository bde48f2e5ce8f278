//! What a client is told while a tool of the hub's own works for it: on the stream of that call, and where nobody reads
//! that, on the session's GET stream.
//!
//! A message goes to one stream. What nobody read is kept, bounded, and told to whoever takes the stream up again; that is
//! only possible for streams whose events have ids.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mcp::{Revision, sse};
use parking_lot::Mutex;
use proxy::events::{Cursor, Entry, EventLog};
use proxy::session::Session;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::timeout;

use super::foreign::Foreign;
use super::session::Held;

/// Messages that may wait for a client to read them.
const QUEUE: usize = 32;
/// A client that reads nothing for so long is taken for gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon a client takes a stream up again, in milliseconds.
const RETRY_MS: u64 = 1000;
/// Messages that wait for a GET stream.
const ASIDES: usize = 64;

/// What is said on a session's GET stream beside what its backends say.
#[derive(Debug, Default)]
pub(super) struct Asides {
    waiting: Mutex<VecDeque<Bytes>>,
    pub(super) come: Notify,
}

impl Asides {
    pub(super) fn push(&self, text: Bytes) {
        let mut waiting = self.waiting.lock();
        if waiting.len() == ASIDES {
            waiting.pop_front();
        }
        waiting.push_back(text);
        drop(waiting);
        self.come.notify_one();
    }

    /// What has come, in order.
    pub(super) fn take(&self) -> VecDeque<Bytes> {
        std::mem::take(&mut *self.waiting.lock())
    }
}

/// How the events of a call are numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    /// Not at all.
    None,
    /// `<this>-<number>`, as something of the hub's own.
    Under(String),
}

/// Whether something was told.
enum Told {
    Yes,
    /// Nobody reads a stream now.
    No,
    /// The stream is read, but not as fast.
    Full(mpsc::Sender<Bytes>, Bytes),
}

/// A voice towards one client.
#[derive(Debug)]
pub(super) struct Voice {
    session: Arc<Session<Held>>,
    numbering: Numbering,
    state: Mutex<State>,
    /// Held by whoever speaks.
    speaking: AsyncMutex<()>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    said: EventLog,
    listener: Option<mpsc::Sender<Bytes>>,
    is_over: bool,
    has_answered: bool,
}

impl Voice {
    pub(super) fn new(session: &Arc<Session<Held>>, numbering: Numbering) -> Arc<Self> {
        Arc::new(Self {
            session: Arc::clone(session),
            numbering,
            state: Mutex::default(),
            speaking: AsyncMutex::default(),
        })
    }

    /// The events from the one behind this number on. Whoever listened before does not any more.
    pub(super) fn listen(&self, after: u64) -> mpsc::Receiver<Bytes> {
        let mut state = self.state.lock();
        let missed = state.said.after(Cursor { stream: 0, event: after }).events;
        let (queue, events) = mpsc::channel(QUEUE + missed.len() + 1);
        for event in missed {
            // A new queue has room.
            let _ = queue.try_send(event);
        }
        state.last = state.last.max(after);
        state.listener = (!state.is_over).then_some(queue);
        events
    }

    /// An event without a message, which gives a client a cursor from the beginning. Clients of earlier revisions do not
    /// expect it.
    pub(super) fn prime(&self) {
        if self.session.backend.remembered.lock().version() < Some(Revision::V2025_11_25) {
            return;
        }
        let state = self.state.lock();
        if let (Some(listener), Some(id)) = (&state.listener, self.id(state.last)) {
            let mut event = BytesMut::new();
            sse::encode(&mut event, None, Some(&id), Some(RETRY_MS), b"");
            // There is room for it.
            let _ = listener.try_send(event.freeze());
        }
    }

    /// Whether somebody reads the stream of the call.
    pub(super) fn is_heard(&self) -> bool {
        self.state.lock().listener.as_ref().is_some_and(|listener| !listener.is_closed())
    }

    /// Whether nothing more is said.
    pub(super) fn is_over(&self) -> bool {
        self.state.lock().is_over
    }

    /// Whether the last thing that was said is the answer.
    pub(super) fn has_answered(&self) -> bool {
        self.state.lock().has_answered
    }

    /// Says something. A client that does not read is waited for, but not for long. Whether there was a stream that is read.
    pub(super) async fn say(&self, text: &[u8]) -> bool {
        let _speaking = self.speaking.lock().await;
        match self.note(text) {
            Told::Yes => true,
            Told::No => false,
            Told::Full(listener, event) => {
                let was_sent = matches!(timeout(PATIENCE, listener.send(event)).await, Ok(Ok(())));
                if !was_sent {
                    self.state.lock().listener = None;
                }
                was_sent
            }
        }
    }

    /// Says something that may as well be missed.
    pub(super) fn mention(&self, text: &[u8]) {
        let mut state = self.state.lock();
        let Some(listener) = state.listener.clone() else { return };
        let Ok(place) = listener.try_reserve() else { return };
        let event = self.numbered(&mut state, text);
        place.send(event);
    }

    /// Says the last thing, and ends the stream. With nothing to say it just ends.
    pub(super) async fn end(&self, text: Option<&[u8]>) {
        let _speaking = self.speaking.lock().await;
        let said = text.map(|text| {
            let mut state = self.state.lock();
            (state.listener.clone(), self.numbered(&mut state, text))
        });
        if let Some((Some(listener), event)) = said {
            // A client that does not read it may ask for it.
            let _ = timeout(PATIENCE, listener.send(event)).await;
        }
        let mut state = self.state.lock();
        state.is_over = true;
        state.has_answered = text.is_some();
        state.listener = None;
    }

    /// Puts something on the stream that is read.
    fn note(&self, text: &[u8]) -> Told {
        let mut state = self.state.lock();
        match state.listener.clone().filter(|listener| !listener.is_closed()) {
            Some(listener) => {
                let event = self.numbered(&mut state, text);
                match listener.try_send(event) {
                    Ok(()) => Told::Yes,
                    Err(TrySendError::Full(event)) => Told::Full(listener, event),
                    Err(TrySendError::Closed(_)) => {
                        state.listener = None;
                        Told::No
                    }
                }
            }
            None if self.session.backend.is_listened_to() || self.numbering == Numbering::None => {
                self.session.backend.asides.push(Bytes::copy_from_slice(text));
                Told::Yes
            }
            None => {
                self.numbered(&mut state, text);
                Told::No
            }
        }
    }

    /// The event, which is kept where it can be asked for.
    fn numbered(&self, state: &mut State, text: &[u8]) -> Bytes {
        state.last += 1;
        let Some(id) = self.id(state.last) else { return sse::message_event(None, text) };
        let event = sse::message_event(Some(&id), text);
        let at = Cursor { stream: 0, event: state.last };
        let is_unseen = state.listener.as_ref().is_none_or(mpsc::Sender::is_closed);
        state.said.push(Entry { at, event: event.clone(), last: false }, is_unseen);
        event
    }

    fn id(&self, number: u64) -> Option<String> {
        match &self.numbering {
            Numbering::None => None,
            Numbering::Under(name) => Some(Foreign { backend: "", own: &format!("{name}-{number}") }.text()),
        }
    }
}
