//! The events of one resumable stream, and where a running request puts what it says.
//!
//! A log is written by one request (or, the standalone one of a session, by many) and read by at most one connection at
//! a time. What was delivered is kept for a while, so that a reader who lost its connection can come back with the id
//! of the last event it saw. INVARIANT: a log holds at most [`CAPACITY`] events; a writer that finds it full of events
//! nobody has taken waits, so a client that stops reading stops the tool, not the memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use crate::large::Large;

/// Events kept in one log.
const CAPACITY: usize = 128;
/// Bytes kept of events that were delivered.
const KEPT_BYTES: usize = 256 * 1024;

/// Nobody will ever read it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// See the file's header. Events are numbered from 1; 0 stands before the first.
#[derive(Debug)]
pub(crate) struct EventLog {
    /// Names the stream within its session.
    pub(crate) number: u64,
    state: Mutex<State>,
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<(u64, Bytes)>,
    bytes: usize,
    /// Sequence number of the newest event.
    newest: u64,
    /// Sequence number up to which readers have taken events.
    taken: u64,
    /// Which reader is the current one; 0: none.
    reader: u64,
    readers: u64,
    waker: Option<Waker>,
    finished: bool,
}

impl State {
    fn waiting(&self) -> usize {
        usize::try_from(self.newest - self.taken).unwrap_or(usize::MAX)
    }

    fn add(&mut self, event: Bytes) {
        self.newest += 1;
        self.bytes += event.len();
        self.events.push_back((self.newest, event));
        while let Some((number, event)) = self.events.front() {
            let delivered = *number <= self.taken;
            if self.events.len() <= CAPACITY && !(delivered && self.bytes > KEPT_BYTES) {
                break;
            }
            self.bytes -= event.len();
            self.events.pop_front();
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl EventLog {
    pub(crate) fn new(number: u64) -> Arc<Self> {
        Arc::new(Self { number, state: Mutex::default(), room: Notify::new() })
    }

    /// Adds an event; waits while the log is full of events that nobody has taken.
    ///
    /// # Errors
    /// [`Gone`].
    pub(crate) async fn push(&self, event: Bytes) -> Result<(), Gone> {
        loop {
            let room = self.room.notified();
            {
                let mut state = self.state.lock();
                if state.finished {
                    return Err(Gone);
                }
                if state.waiting() < CAPACITY {
                    state.add(event);
                    return Ok(());
                }
            }
            room.await;
        }
    }

    /// Adds an event at once; the oldest one makes room.
    pub(crate) fn offer(&self, event: Bytes) {
        let mut state = self.state.lock();
        if !state.finished {
            state.add(event);
        }
    }

    /// Ends the log, with a last event where there is one. Readers take what is there, and are done.
    pub(crate) fn finish(&self, last: Option<Bytes>) {
        let mut state = self.state.lock();
        if let (Some(event), false) = (last, state.finished) {
            state.add(event);
        }
        state.finished = true;
        state.wake();
        drop(state);
        self.room.notify_waiters();
    }

    /// Sends the current reader away; the log goes on.
    pub(crate) fn hang_up(&self) {
        let mut state = self.state.lock();
        state.reader = 0;
        state.wake();
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.state.lock().reader != 0
    }

    /// Whether nothing was ever said.
    pub(crate) fn is_silent(&self) -> bool {
        self.state.lock().newest == 0
    }

    /// Reads from behind event `after`, or behind what was taken before; whoever read until now is sent away.
    pub(crate) fn attach(self: &Arc<Self>, after: Option<u64>) -> LogReader {
        let mut state = self.state.lock();
        state.readers += 1;
        state.reader = state.readers;
        state.wake();
        let at = after.unwrap_or(state.taken);
        LogReader { log: Arc::clone(self), reader: state.reader, at }
    }
}

/// The reading end of an [`EventLog`].
#[derive(Debug)]
pub(crate) struct LogReader {
    log: Arc<EventLog>,
    reader: u64,
    at: u64,
}

impl LogReader {
    /// The events that are there, with their numbers; `None` when there will be no more for this reader.
    pub(crate) fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<(u64, Bytes)>>> {
        let mut state = self.log.state.lock();
        if state.reader != self.reader {
            return Poll::Ready(None);
        }
        let at = self.at;
        let fresh: Vec<_> = state.events.iter().filter(|(number, _)| *number > at).cloned().collect();
        let Some((last, _)) = fresh.last() else {
            if state.finished {
                return Poll::Ready(None);
            }
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        self.at = *last;
        state.taken = state.taken.max(*last);
        drop(state);
        self.log.room.notify_waiters();
        Poll::Ready(Some(fresh))
    }

    /// The number of the stream, and of the event that this reader stands behind.
    pub(crate) fn position(&self) -> (u64, u64) {
        (self.log.number, self.at)
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        let mut state = self.log.state.lock();
        if state.reader == self.reader {
            state.reader = 0;
        }
    }
}

/// What goes out on a stream without resumption.
#[derive(Debug)]
pub(crate) enum Frame {
    Message(Bytes),
    Large(Large),
}

/// Where a running request puts notifications and requests to the client.
#[derive(Clone, Debug)]
pub(crate) enum Outbox {
    Log(Arc<EventLog>),
    Queue(mpsc::Sender<Frame>),
    /// A task: it is asked, it does not tell.
    Nowhere,
}

impl Outbox {
    /// Sends one message; waits while the client does not read.
    ///
    /// # Errors
    /// [`Gone`], where nobody will ever read it.
    pub(crate) async fn send(&self, message: Bytes) -> Result<(), Gone> {
        match self {
            Self::Log(log) => log.push(message).await,
            Self::Queue(queue) => queue.send(Frame::Message(message)).await.map_err(|_| Gone),
            Self::Nowhere => Ok(()),
        }
    }

    /// Closes the connection under a resumable stream, so that the client has to come back for the rest. A pipe cannot
    /// be closed for one request: there `release`, if any, asks a bridge that may stand in between.
    pub(crate) async fn hang_up(&self, release: Option<Bytes>) {
        match (self, release) {
            (Self::Log(log), _) => log.hang_up(),
            // A client that is gone is noticed by the transport.
            (Self::Queue(_), Some(release)) => drop(self.send(release).await),
            (Self::Queue(_) | Self::Nowhere, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(50);

    async fn take(reader: &mut LogReader) -> Option<Vec<u64>> {
        let events = poll_fn(|cx| reader.poll_events(cx)).await?;
        Some(events.into_iter().map(|(number, _)| number).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_log_holds_its_writer_until_somebody_reads() {
        let log = EventLog::new(1);
        for _ in 0..CAPACITY {
            log.push(Bytes::from_static(b"x")).await.unwrap();
        }
        assert!(timeout(SOON, log.push(Bytes::from_static(b"y"))).await.is_err());
        let mut reader = log.attach(None);
        assert_eq!(take(&mut reader).await.unwrap().len(), CAPACITY);
        timeout(SOON, log.push(Bytes::from_static(b"y"))).await.unwrap().unwrap();
        assert_eq!(log.state.lock().events.len(), CAPACITY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_comes_back_goes_on_behind_what_it_saw() {
        let log = EventLog::new(1);
        let mut first = log.attach(None);
        log.offer(Bytes::from_static(b"a"));
        log.offer(Bytes::from_static(b"b"));
        assert_eq!(take(&mut first).await, Some(vec![1, 2]));
        let mut second = log.attach(Some(1));
        assert_eq!(take(&mut first).await, None, "only one reader at a time");
        assert_eq!(take(&mut second).await, Some(vec![2]));
        log.finish(Some(Bytes::from_static(b"c")));
        assert_eq!(take(&mut second).await, Some(vec![3]));
        assert_eq!(take(&mut second).await, None);
        assert_eq!(log.push(Bytes::new()).await, Err(Gone));
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_up_ends_the_reader_but_not_the_log() {
        let log = EventLog::new(1);
        let mut reader = log.attach(None);
        Outbox::Log(Arc::clone(&log)).hang_up(None).await;
        assert_eq!(take(&mut reader).await, None);
        assert!(!log.is_attached());
        log.push(Bytes::from_static(b"late")).await.unwrap();
        assert_eq!(take(&mut log.attach(Some(0))).await, Some(vec![1]));
    }

    #[test]
    fn offers_to_nobody_keep_the_newest() {
        let log = EventLog::new(0);
        for number in 0..CAPACITY * 2 {
            log.offer(Bytes::from(number.to_string()));
        }
        let state = log.state.lock();
        assert_eq!(state.events.len(), CAPACITY);
        assert_eq!(state.events.back().unwrap().1, Bytes::from((CAPACITY * 2 - 1).to_string()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_finished_log_frees_a_writer_that_waits() {
        let log = EventLog::new(1);
        for _ in 0..CAPACITY {
            log.offer(Bytes::new());
        }
        let (pushed, ()) = tokio::join!(log.push(Bytes::new()), async { log.finish(None) });
        assert_eq!(pushed, Err(Gone));
    }
}
