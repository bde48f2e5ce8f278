//! The open event streams of one session: one for each request that is answered with events, and at most one for what
//! the server says unasked.
//!
//! Events leave by bounded queues. Who delivers gets [`Blocked`] back where a queue is full, and decides how long to
//! wait. A stream whose client went away stays here, detached, as long as its request is under way: its events go to
//! the log, from which a GET with `Last-Event-ID` goes on.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use mcp::sse;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::mux::Ours;
use crate::events::{Cursor, Entry, EventLog, StreamNumber};

/// Events that may wait for a client to read them.
const DEPTH: usize = 16;
/// How soon a client takes a stream up again, in milliseconds.
const RETRY_MS: u64 = 1000;

/// How the session's events look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The one stream of HTTP+SSE (2024-11-05): no ids, nothing to take up again.
    Bare,
    /// With ids.
    Numbered,
    /// With ids, and an event without data first, so that a client has a cursor from the beginning (2025-11-25).
    Primed,
}

/// One connection of a stream. A later connection of the same stream has a higher generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub number: StreamNumber,
    pub generation: u64,
}

/// A stream as its client gets it.
#[derive(Debug)]
pub(super) struct Opened {
    pub events: mpsc::Receiver<Bytes>,
    pub line: Line,
}

/// An event that found its queue full.
#[derive(Debug)]
pub(super) struct Blocked {
    pub queue: mpsc::Sender<Bytes>,
    pub event: Bytes,
    pub line: Line,
}

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Request(Ours),
    Push,
}

#[derive(Debug)]
struct Outlet {
    subject: Subject,
    /// `None`: detached.
    queue: Option<mpsc::Sender<Bytes>>,
    events: u64,
    generation: u64,
}

/// The streams.
#[derive(Debug)]
pub(super) struct Streams {
    format: Format,
    log: EventLog,
    next: StreamNumber,
    outlets: HashMap<StreamNumber, Outlet>,
    push: Option<StreamNumber>,
    /// Comes first on each stream for unasked messages.
    greeting: Option<Bytes>,
}

impl Streams {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            log: EventLog::default(),
            next: 1,
            outlets: HashMap::new(),
            push: None,
            greeting: None,
        }
    }

    /// Once the revision is known.
    pub(super) fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    pub(super) fn set_greeting(&mut self, event: Bytes) {
        self.greeting = Some(event);
    }

    /// A new stream. One for unasked messages replaces the one before, whose connection ends.
    pub(super) fn open(&mut self, subject: Subject, room: usize) -> Opened {
        let number = self.next;
        self.next += 1;
        let (queue, events) = mpsc::channel(DEPTH + room + 2);
        if let Some(greeting) = self.greeting.clone().filter(|_| subject == Subject::Push) {
            // A new queue has room.
            let _ = queue.try_send(greeting);
        }
        if self.format == Format::Primed {
            // A new queue has room.
            let _ = queue.try_send(priming(number));
        }
        self.outlets.insert(number, Outlet { subject, queue: Some(queue), events: 0, generation: 0 });
        if subject == Subject::Push
            && let Some(before) = self.push.replace(number)
        {
            self.outlets.remove(&before);
        }
        Opened { events, line: Line { number, generation: 0 } }
    }

    /// Goes on with a stream behind a cursor; `None` where nothing is known of it. `room`: how many more events are
    /// about to be delivered at once. Without a subject, all there was to come is in it.
    pub(super) fn resume(&mut self, cursor: Cursor, room: usize) -> Option<(Opened, Option<Subject>)> {
        let missed = self.log.after(cursor).events;
        let outlet = self.outlets.get_mut(&cursor.stream);
        if outlet.is_none() && missed.is_empty() {
            return None;
        }
        let (queue, events) = mpsc::channel(DEPTH + room + missed.len());
        for event in missed {
            // A new queue has room.
            let _ = queue.try_send(event);
        }
        let Some(outlet) = outlet else {
            // Its request was answered meanwhile: the rest, and the end.
            let line = Line { number: cursor.stream, generation: u64::MAX };
            return Some((Opened { events, line }, None));
        };
        outlet.generation += 1;
        outlet.queue = Some(queue);
        let line = Line { number: cursor.stream, generation: outlet.generation };
        Some((Opened { events, line }, Some(outlet.subject)))
    }

    /// The open stream for unasked messages.
    pub(super) fn push_stream(&self) -> Option<StreamNumber> {
        self.push
    }

    /// Shows a message. After the `last` one the stream ends.
    pub(super) fn deliver(&mut self, number: StreamNumber, text: &[u8], last: bool) -> Option<Blocked> {
        let outlet = self.outlets.get_mut(&number)?;
        outlet.events += 1;
        let at = Cursor { stream: number, event: outlet.events };
        let event = match self.format {
            Format::Bare => sse::message_event(None, text),
            _ => sse::message_event(Some(&at.to_id()), text),
        };
        let line = Line { number, generation: outlet.generation };
        let mut blocked = None;
        if let Some(queue) = outlet.queue.take() {
            match queue.try_send(event.clone()) {
                Ok(()) => outlet.queue = Some(queue),
                Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(event)) => {
                    outlet.queue = Some(queue.clone());
                    blocked = Some(Blocked { queue, event, line });
                }
            }
        }
        if self.format != Format::Bare {
            self.log.push(Entry { at, event, last }, outlet.queue.is_none());
        }
        if last {
            self.outlets.remove(&number);
        }
        blocked
    }

    /// A connection is gone, or to be given up. What the stream was for, if it is still under way and this was its
    /// newest connection.
    pub(super) fn detach(&mut self, line: Line) -> Option<Subject> {
        let outlet =
            self.outlets.get_mut(&line.number).filter(|outlet| outlet.generation == line.generation)?;
        outlet.queue = None;
        Some(outlet.subject)
    }

    /// Ends the connection of a stream that its client is to take up again. `None` where it cannot.
    pub(super) fn release(&mut self, number: StreamNumber) -> Option<()> {
        if self.format == Format::Primed {
            self.outlets.get_mut(&number)?.queue = None;
            return Some(());
        }
        None
    }

    /// Ends a stream.
    pub(super) fn close(&mut self, number: StreamNumber) {
        self.outlets.remove(&number);
        if self.push == Some(number) {
            self.push = None;
        }
    }
}

fn priming(stream: StreamNumber) -> Bytes {
    let mut event = BytesMut::new();
    let id = Cursor { stream, event: 0 }.to_id();
    sse::encode(&mut event, None, Some(&id), Some(RETRY_MS), b"");
    event.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(opened: &mut Opened) -> String {
        let mut text = Vec::new();
        while let Ok(event) = opened.events.try_recv() {
            text.extend_from_slice(&event);
        }
        String::from_utf8(text).unwrap()
    }

    fn ids(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
    }

    #[test]
    fn a_detached_stream_goes_on_where_its_client_left_it() {
        let mut streams = Streams::new(Format::Numbered);
        let mut first = streams.open(Subject::Request(7), 0);
        let number = first.line.number;
        assert!(streams.deliver(number, b"1", false).is_none());
        assert_eq!(ids(&read(&mut first)), ["1-1"]);
        assert_eq!(streams.detach(first.line), Some(Subject::Request(7)));
        streams.deliver(number, b"2", false);
        let (mut second, subject) = streams.resume(Cursor { stream: number, event: 1 }, 0).unwrap();
        assert_eq!(subject, Some(Subject::Request(7)));
        streams.deliver(number, b"3", true);
        assert_eq!(ids(&read(&mut second)), ["1-2", "1-3"]);
        assert!(
            second.events.try_recv().is_err_and(|error| error == mpsc::error::TryRecvError::Disconnected)
        );
        assert_eq!(streams.detach(first.line), None, "an old connection closes nothing");
        let (mut third, None) = streams.resume(Cursor { stream: number, event: 2 }, 0).unwrap() else {
            panic!("it is over")
        };
        assert_eq!(ids(&read(&mut third)), ["1-3"]);
        assert!(streams.resume(Cursor { stream: number, event: 3 }, 0).is_none());
    }

    #[test]
    fn a_new_stream_for_unasked_messages_ends_the_one_before() {
        let mut streams = Streams::new(Format::Primed);
        let mut first = streams.open(Subject::Push, 0);
        let second = streams.open(Subject::Push, 0);
        assert_eq!(read(&mut first), "id: 1-0\nretry: 1000\ndata: \n\n");
        assert!(first.events.is_closed());
        assert_eq!(streams.push_stream(), Some(second.line.number));
    }

    #[test]
    fn a_full_queue_is_said_and_a_closed_one_is_noticed() {
        let mut streams = Streams::new(Format::Bare);
        let opened = streams.open(Subject::Push, 0);
        let blocked = (0..).find_map(|_| streams.deliver(opened.line.number, b"x", false)).unwrap();
        assert_eq!(blocked.event, "event: message\ndata: x\n\n");
        drop(opened);
        assert!(streams.deliver(1, b"x", false).is_none());
    }
}
