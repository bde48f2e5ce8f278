//! A stream that is read by one at a time: its client's connection, and where that has gone a task, until the stream is
//! over or a client comes back for it. Whoever takes it up ends the turn of the one before, be that a connection that
//! nobody knows to be dead.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use super::event_id::EventId;
use super::logs::SessionEvents;
use super::reading::Reading;
use crate::body::CutOff;
use crate::events::{Cursor, Missed, StreamNumber};

/// See the file's header.
#[derive(Debug)]
pub(super) struct Live {
    number: StreamNumber,
    events: Arc<SessionEvents>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None`: it is over.
    reading: Option<Box<Reading>>,
    /// Who may read.
    turn: u64,
    /// Wakes whoever reads.
    waker: Option<Waker>,
    /// The event that the last client to go had got, while nobody has come for the rest.
    seen: Option<u64>,
}

/// The right to read a stream, until somebody else takes it.
#[derive(Debug)]
pub(super) struct Reader {
    live: Arc<Live>,
    turn: u64,
}

/// A stream that a client takes up.
pub(super) struct Joined {
    pub(super) reader: Reader,
    /// What came behind its cursor.
    pub(super) missed: Missed,
}

impl Live {
    /// A stream that its client reads.
    pub(super) fn begin(reading: Box<Reading>, events: Arc<SessionEvents>) -> Reader {
        let (number, kind, patience) = (reading.number(), reading.kind(), reading.patience());
        let state = Mutex::new(State { reading: Some(reading), turn: 0, waker: None, seen: None });
        let live = Arc::new(Self { number, events, state });
        live.events.open(Arc::clone(&live), number, kind, patience);
        Reader { live, turn: 0 }
    }

    /// Goes on behind an event, or behind what its client has got. `None`: it is over.
    pub(super) fn join(self: &Arc<Self>, behind: Option<u64>) -> Option<Joined> {
        let mut state = self.state.lock();
        let passed = state.reading.as_ref()?.seen();
        let seen = state.seen.take().unwrap_or(passed);
        let event = behind.unwrap_or(seen);
        // Nothing is added meanwhile: who adds has the lock.
        let mut missed = self.events.after(Cursor { stream: self.number, event });
        missed.events.extend(state.reading.as_mut()?.rejoin());
        state.turn += 1;
        self.events.joined(self.number);
        let (turn, waker) = (state.turn, state.waker.take());
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Some(Joined { reader: Reader { live: Arc::clone(self), turn }, missed })
    }

    /// Reads no further.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        let (reading, waker) = (state.reading.take(), state.waker.take());
        drop(state);
        self.events.closed(self.number);
        drop(reading);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Reader {
    /// The next events; `None` at the end, and where somebody else reads now.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        let mut state = self.live.state.lock();
        if state.turn != self.turn {
            return Poll::Ready(None);
        }
        let Some(reading) = &mut state.reading else { return Poll::Ready(None) };
        let polled = reading.poll_events(cx);
        match &polled {
            Poll::Pending => {
                if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                    state.waker = Some(cx.waker().clone());
                }
            }
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(None | Some(Err(_))) => {
                drop(state);
                self.live.end();
            }
        }
        polled
    }

    /// The client has gone: the stream is read on by a task, into the log.
    pub(super) fn leave(self) {
        let mut state = self.live.state.lock();
        if state.turn != self.turn {
            return;
        }
        let Some(seen) = state.reading.as_ref().map(|reading| reading.seen()) else { return };
        state.seen = Some(seen);
        // A runtime that is shutting down takes no more tasks.
        let may_spawn = tokio::runtime::Handle::try_current().is_ok();
        let left = self.live.events.left(self.live.number).filter(|_| may_spawn);
        drop(state);
        let Some((tasks, room)) = left else { return self.live.end() };
        room.iter().for_each(|live| live.end());
        let stop = tasks.stop_token();
        tasks.spawn("read a stream on", async move {
            if stop.run_until_cancelled(self.read_on()).await.is_none() {
                self.live.end();
            }
        });
    }

    async fn read_on(&self) {
        while let Some(Ok(_)) = poll_fn(|cx| self.poll(cx)).await {}
    }
}

/// The event that a stream begins with where nothing is said at once, so that its client has a cursor.
pub(super) fn priming(id: &EventId<'_>) -> Bytes {
    Bytes::from(format!("id: {id}\ndata: \n\n"))
}
