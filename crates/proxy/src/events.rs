//! The events of one session, kept for a while so that a client whose connection broke can take its streams up again
//! (Streamable HTTP "Resumability", 2025-03-26 to 2025-11-25).
//!
//! One log for all streams of the session, bounded in number and bytes; the oldest events go first, whichever stream
//! they were on. Sessions with child processes ([`crate::bridge`]) and with HTTP servers ([`crate::forward`]) have one each.

use std::collections::VecDeque;

use bytes::Bytes;

const MAX_EVENTS: usize = 512;
pub const MAX_BYTES: usize = 256 * 1024;

/// The number of a stream, unique in its session.
pub type StreamNumber = u64;

/// Where a client stands in a stream: what `Last-Event-ID` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub stream: StreamNumber,
    pub event: u64,
}

impl Cursor {
    /// Reads an event id of ours: `<stream>-<event>`.
    pub fn parse(id: &str) -> Option<Self> {
        let (stream, event) = id.split_once('-')?;
        Some(Self { stream: stream.parse().ok()?, event: event.parse().ok()? })
    }

    pub fn to_id(self) -> String {
        format!("{}-{}", self.stream, self.event)
    }
}

/// An event of the log.
#[derive(Debug)]
pub struct Entry {
    pub at: Cursor,
    /// As it was sent.
    pub event: Bytes,
    /// Nothing comes behind it on its stream.
    pub last: bool,
}

/// What a client has missed of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Missed {
    pub events: Vec<Bytes>,
    /// The log does not have all of them.
    pub gap: bool,
    /// Nothing comes behind them.
    pub over: bool,
}

/// The log.
#[derive(Debug, Default)]
pub struct EventLog {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl EventLog {
    /// Keeps an event. `unseen`: nobody is being sent it now, so it is kept whatever its size.
    pub fn push(&mut self, entry: Entry, unseen: bool) {
        if !unseen && entry.event.len() > MAX_BYTES {
            return;
        }
        self.bytes += entry.event.len();
        self.entries.push_back(entry);
        while self.entries.len() > MAX_EVENTS || (self.bytes > MAX_BYTES && self.entries.len() > 1) {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= oldest.event.len();
            }
        }
    }

    /// What came after the cursor on its stream.
    pub fn after(&self, cursor: Cursor) -> Missed {
        let (mut missed, mut seen) = (Missed::default(), cursor.event);
        for Entry { at, event, last } in &self.entries {
            if at.stream == cursor.stream && at.event > cursor.event {
                missed.gap |= at.event - seen > 1;
                seen = at.event;
                missed.over = *last;
                missed.events.push(event.clone());
            }
        }
        missed
    }

    /// Nobody asks for this stream any more.
    pub fn forget(&mut self, stream: StreamNumber) {
        self.entries.retain(|entry| entry.at.stream != stream);
        self.bytes = self.entries.iter().map(|entry| entry.event.len()).sum();
    }

    /// The bytes of all events.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    fn kept(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(stream: u64, event: u64) -> Cursor {
        Cursor { stream, event }
    }

    fn entry(stream: u64, event: u64, text: impl Into<Bytes>) -> Entry {
        Entry { at: at(stream, event), event: text.into(), last: false }
    }

    #[test]
    fn gives_what_came_after_on_the_same_stream_only() {
        let mut log = EventLog::default();
        for (stream, event) in [(1, 1), (2, 1), (1, 2), (2, 2), (1, 3)] {
            log.push(entry(stream, event, format!("{stream}-{event}")), false);
        }
        assert_eq!(log.after(at(1, 1)).events, ["1-2", "1-3"]);
        assert_eq!(log.after(at(2, 2)), Missed::default());
        assert_eq!(log.after(at(9, 0)), Missed::default());
        log.forget(1);
        assert_eq!(log.after(at(1, 0)), Missed::default());
        assert_eq!((log.after(at(2, 0)).events.len(), log.kept()), (2, (2, 6)));
    }

    #[test]
    fn an_answer_nobody_was_sent_is_kept_whatever_its_size() {
        let large = Bytes::from(vec![b'x'; 2 * MAX_BYTES]);
        let mut log = EventLog::default();
        log.push(entry(1, 1, large.clone()), false);
        assert_eq!(log.kept(), (0, 0));
        log.push(entry(1, 2, large.clone()), true);
        assert_eq!(log.after(at(1, 1)).events, [large]);
        log.push(entry(1, 3, "y"), true);
        assert_eq!(log.kept(), (1, 1), "and no longer than the next");
    }

    #[test]
    fn ids_are_read_back_and_foreign_ones_refused() {
        assert_eq!(Cursor::parse(&at(3, 14).to_id()), Some(at(3, 14)));
        for foreign in ["", "3", "3-", "-1", "a-b", "3-1-1", "99999999999999999999-1"] {
            assert_eq!(Cursor::parse(foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds(sizes in proptest::collection::vec(0usize..MAX_BYTES / 4, 0..700)) {
            let mut log = EventLog::default();
            for (event, size) in sizes.iter().enumerate() {
                log.push(entry(1, event as u64, vec![b'x'; *size]), event % 2 == 0);
                let (events, bytes) = log.kept();
                prop_assert!(events <= MAX_EVENTS && bytes <= MAX_BYTES);
            }
        }

        #[test]
        fn what_is_given_is_exactly_what_came_after_in_order_of_that_stream(
            streams in proptest::collection::vec((0u64..4, 0usize..4000), 0..900), stream in 0u64..4, behind in 0u64..300,
        ) {
            let (mut log, mut counts, mut said) = (EventLog::default(), [0u64; 4], Vec::new());
            for (stream, size) in streams {
                let count = &mut counts[usize::try_from(stream).unwrap()];
                *count += 1;
                let text = format!("{stream}-{count} {}", "x".repeat(size));
                said.push((at(stream, *count), text.clone()));
                log.push(entry(stream, *count, text), false);
            }
            let missed = log.after(at(stream, behind));
            let came = said.iter().filter(|(at, _)| at.stream == stream && at.event > behind);
            let came: Vec<_> = came.map(|(_, text)| text.as_bytes()).collect();
            let forgotten = came.len() - missed.events.len();
            prop_assert_eq!(&missed.events, &came[forgotten..]);
            prop_assert_eq!(missed.gap, forgotten > 0 && !missed.events.is_empty());
        }
    }
}
