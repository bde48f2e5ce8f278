//! The event logs of a route's sessions, and the streams behind them that are open: in memory, bounded for each session
//! and for all, gone some minutes after their last use.
//!
//! A session has one from when it has a stream that a client could ask for again; before that it costs nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use papaya::HashMap;
use parking_lot::Mutex;
use telemetry::Tasks;
use tokio::time::Instant;
use uuid::Uuid;

use super::event_id::Kind;
use super::live::Live;
use crate::events::{Cursor, Entry, EventLog, Missed, StreamNumber};

/// Bytes of events that are kept for all sessions together.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// How long events are kept that nobody asks for.
const KEPT_FOR: Duration = Duration::from_secs(5 * 60);
/// How long a session's own stream is read on without a client.
const LISTENS_FOR: Duration = Duration::from_secs(60);
/// Streams of a session that are kept although their client has read them to the end, as far as can be told.
const MOST_READ: usize = 16;
/// Streams that are read on without a client, per session and for all.
const MOST_ALONE: usize = 16;
const MOST_ALONE_OF_ALL: usize = 1024;

/// Those of all sessions.
#[derive(Debug)]
pub(super) struct EventLogs {
    sessions: HashMap<Uuid, Arc<SessionEvents>>,
    bytes: AtomicUsize,
    alone: AtomicUsize,
    /// Held by whoever makes room.
    making_room: Mutex<()>,
    most_bytes: usize,
    pub(super) tasks: Tasks,
}

/// Those of one session.
#[derive(Debug)]
pub(super) struct SessionEvents {
    state: Mutex<State>,
    all: Weak<EventLogs>,
}

#[derive(Debug)]
struct State {
    log: EventLog,
    live: Vec<Open>,
    /// Those whose end was handed to their client's connection, the latest last.
    read: VecDeque<StreamNumber>,
    used: Instant,
    /// It is gone from among all; whoever is about to write wants another one.
    retired: bool,
}

/// A stream that is read.
#[derive(Debug)]
struct Open {
    live: Arc<Live>,
    number: StreamNumber,
    kind: Kind,
    /// Since when no client reads it.
    alone: Option<Instant>,
    /// How long it may be read so.
    limit: Option<Duration>,
}

impl Open {
    fn is_due(&self, now: Instant) -> bool {
        self.alone.zip(self.limit).is_some_and(|(since, limit)| now - since >= limit)
    }
}

impl EventLogs {
    pub(super) fn new(tasks: Tasks) -> Arc<Self> {
        Self::with_room(tasks, MOST_BYTES)
    }

    fn with_room(tasks: Tasks, most_bytes: usize) -> Arc<Self> {
        let (sessions, bytes, alone) = (HashMap::new(), AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { sessions, bytes, alone, making_room: Mutex::default(), most_bytes, tasks })
    }

    /// A session's, if it has any.
    pub(super) fn get(&self, session: Uuid) -> Option<Arc<SessionEvents>> {
        self.sessions.pin().get(&session).cloned()
    }

    /// A session's, to write to.
    pub(super) fn of(self: &Arc<Self>, session: Uuid) -> Arc<SessionEvents> {
        let sessions = self.sessions.pin();
        loop {
            let found = sessions.get_or_insert_with(session, || {
                let state = State {
                    log: EventLog::default(),
                    live: Vec::new(),
                    read: VecDeque::new(),
                    used: Instant::now(),
                    retired: false,
                };
                Arc::new(SessionEvents { state: Mutex::new(state), all: Arc::downgrade(self) })
            });
            let mut state = found.state.lock();
            if !state.retired {
                state.used = Instant::now();
                drop(state);
                return Arc::clone(found);
            }
            drop(state);
            // Whoever retired it takes it away; this is only faster.
            sessions.remove_if(&session, |_, there| Arc::ptr_eq(there, found)).ok();
        }
    }

    /// Forgets what has not been used for long, and ends what was read alone for long enough or is of a session that is
    /// no more. To be called by one timer.
    pub(super) fn sweep(&self, is_open: impl Fn(Uuid) -> bool) {
        let now = Instant::now();
        for (id, events) in &self.sessions.pin() {
            self.settle(*id, events, now, is_open(*id));
        }
    }

    /// A session is no more.
    pub(super) fn end(&self, session: Uuid) {
        if let Some(events) = self.get(session) {
            self.settle(session, &events, Instant::now(), false);
        }
    }

    fn settle(&self, session: Uuid, events: &Arc<SessionEvents>, now: Instant, is_open: bool) {
        let (over, retired) = events.age(now, is_open);
        over.iter().for_each(|live| live.end());
        if retired {
            self.sessions.pin().remove_if(&session, |_, there| Arc::ptr_eq(there, events)).ok();
        }
    }

    /// Forgets the events that were used least of late, until there is room for some time.
    fn make_room(&self) {
        let Some(_making) = self.making_room.try_lock() else { return };
        let sessions = self.sessions.pin();
        let mut by_use: Vec<_> =
            sessions.values().map(|events| (events.state.lock().used, Arc::clone(events))).collect();
        by_use.sort_unstable_by_key(|(used, _)| *used);
        for (_, events) in by_use {
            if self.bytes.load(Ordering::Relaxed) <= self.most_bytes / 8 * 7 {
                return;
            }
            self.forget(&mut events.state.lock());
        }
    }

    fn forget(&self, state: &mut State) {
        self.bytes.fetch_sub(std::mem::take(&mut state.log).bytes(), Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn alone(&self) -> usize {
        self.alone.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.sessions.pin().len(), self.bytes.load(Ordering::Relaxed))
    }
}

impl SessionEvents {
    /// Keeps an event.
    pub(super) fn push(&self, at: Cursor, event: Bytes, last: bool) {
        let Some(all) = self.all.upgrade() else { return };
        let mut state = self.state.lock();
        if state.retired {
            return;
        }
        let before = state.log.bytes();
        state.log.push(Entry { at, event, last }, false);
        let after = state.log.bytes();
        state.used = Instant::now();
        drop(state);
        let total = all.bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        if total.wrapping_add(after).wrapping_sub(before) > all.most_bytes {
            all.make_room();
        }
    }

    /// What came after the cursor on its stream.
    pub(super) fn after(&self, cursor: Cursor) -> Missed {
        let mut state = self.state.lock();
        state.used = Instant::now();
        state.log.after(cursor)
    }

    /// A stream that is read from now on.
    pub(super) fn open(&self, live: Arc<Live>, number: StreamNumber, kind: Kind, patience: Option<Duration>) {
        let limit = match kind {
            Kind::Own => Some(LISTENS_FOR),
            Kind::Answer => patience,
        };
        self.state.lock().live.push(Open { live, number, kind, alone: None, limit });
    }

    /// The stream with this number, if it is read.
    pub(super) fn live(&self, number: StreamNumber) -> Option<Arc<Live>> {
        self.find(|open| open.number == number)
    }

    /// The session's own stream, if it is read and no client has it.
    pub(super) fn own_alone(&self) -> Option<Arc<Live>> {
        self.find(|open| open.kind == Kind::Own && open.alone.is_some())
    }

    /// The session's own stream, if it is read, be it by a client: the latest.
    pub(super) fn own(&self) -> Option<Arc<Live>> {
        self.find(|open| open.kind == Kind::Own)
    }

    fn find(&self, is_it: impl Fn(&Open) -> bool) -> Option<Arc<Live>> {
        let state = self.state.lock();
        state.live.iter().rev().find(|open| is_it(open)).map(|open| Arc::clone(&open.live))
    }

    /// A client has the stream again.
    pub(super) fn joined(&self, number: StreamNumber) {
        let mut state = self.state.lock();
        state.used = Instant::now();
        if let Some(open) = state.live.iter_mut().find(|open| open.number == number)
            && open.alone.take().is_some()
            && let Some(all) = self.all.upgrade()
        {
            all.alone.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The stream's client has gone. The tasks where it may be read on; `None` where it may not. With it, a stream that
    /// has to make room.
    pub(super) fn left(&self, number: StreamNumber) -> Option<(Tasks, Option<Arc<Live>>)> {
        let all = self.all.upgrade()?;
        let mut state = self.state.lock();
        let open = state.live.iter_mut().find(|open| open.number == number)?;
        if all.alone.fetch_add(1, Ordering::Relaxed) >= MOST_ALONE_OF_ALL {
            all.alone.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        open.alone = Some(Instant::now());
        let alone = state.live.iter().filter(|open| open.alone.is_some());
        let surplus = alone.clone().count() > MOST_ALONE;
        let oldest = alone.filter(|open| open.number != number).min_by_key(|open| open.alone);
        let room = oldest.filter(|_| surplus).map(|open| Arc::clone(&open.live));
        Some((all.tasks.clone(), room))
    }

    /// The stream is over.
    pub(super) fn closed(&self, number: StreamNumber) {
        let Some(all) = self.all.upgrade() else { return };
        let mut state = self.state.lock();
        let Some(at) = state.live.iter().position(|open| open.number == number) else { return };
        state.used = Instant::now();
        if state.live.swap_remove(at).alone.is_some() {
            all.alone.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        state.read.push_back(number);
        if state.read.len() > MOST_READ
            && let Some(oldest) = state.read.pop_front()
        {
            let before = state.log.bytes();
            state.log.forget(oldest);
            all.bytes.fetch_sub(before - state.log.bytes(), Ordering::Relaxed);
        }
    }

    /// What is to be ended now, and whether nothing is left.
    fn age(&self, now: Instant, is_open: bool) -> (Vec<Arc<Live>>, bool) {
        let Some(all) = self.all.upgrade() else { return (Vec::new(), true) };
        let mut state = self.state.lock();
        let over = state.live.iter().filter(|open| open.is_due(now) || open.alone.is_some() && !is_open);
        let over: Vec<_> = over.map(|open| Arc::clone(&open.live)).collect();
        // What is read for somebody who is away is kept until it is over, and some time more.
        let waited_for = state.live.iter().any(|open| open.alone.is_some());
        if !is_open || now - state.used >= KEPT_FOR && !waited_for {
            all.forget(&mut state);
            state.retired = state.live.is_empty();
        }
        (over, state.retired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(most_bytes: usize) -> Arc<EventLogs> {
        EventLogs::with_room(Tasks::new(), most_bytes)
    }

    fn at(event: u64) -> Cursor {
        Cursor { stream: 1, event }
    }

    #[tokio::test(start_paused = true)]
    async fn events_go_some_time_after_their_last_use_and_with_their_session() {
        let (logs, id) = (logs(MOST_BYTES), Uuid::from_u128(1));
        logs.of(id).push(at(1), Bytes::from_static(b"x"), false);
        tokio::time::advance(KEPT_FOR / 2).await;
        assert_eq!(logs.get(id).unwrap().after(at(0)).events, ["x"]);
        tokio::time::advance(KEPT_FOR / 2).await;
        logs.sweep(|_| true);
        assert_eq!(logs.kept(), (1, 1), "asked for meanwhile");
        tokio::time::advance(KEPT_FOR / 2).await;
        logs.sweep(|_| true);
        assert_eq!(logs.kept(), (0, 0));
        let old = logs.of(id);
        old.push(at(1), Bytes::from_static(b"y"), false);
        logs.sweep(|_| false);
        assert_eq!(logs.kept(), (0, 0));
        old.push(at(2), Bytes::from_static(b"z"), false);
        assert_eq!(logs.kept(), (0, 0), "nothing is kept where nobody looks");
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_keep_within_their_bound_and_the_latest_stay() {
        let logs = logs(1000);
        for number in 0..100 {
            tokio::time::advance(Duration::from_millis(1)).await;
            logs.of(Uuid::from_u128(number)).push(at(1), Bytes::from(vec![b'x'; 30]), false);
            assert!(logs.kept().1 <= 1000);
        }
        let has = |number| !logs.get(Uuid::from_u128(number)).unwrap().after(at(0)).events.is_empty();
        assert!(!has(0) && has(99) && has(85));
    }
}
