//! The events of one session, kept for a while so that a client whose connection broke can take its streams up again
//! (Streamable HTTP "Resumability", 2025-03-26 to 2025-11-25).
//!
//! One log for all streams of the session, bounded in number and bytes; the oldest events go first, whichever stream
//! they were on.

use std::collections::VecDeque;

use bytes::Bytes;

const MAX_EVENTS: usize = 512;
const MAX_BYTES: usize = 256 * 1024;

/// The number of a stream, unique in its session.
pub(super) type StreamNumber = u64;

/// Where a client stands in a stream: what `Last-Event-ID` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub stream: StreamNumber,
    pub event: u64,
}

impl Cursor {
    /// Reads an event id of ours: `<stream>-<event>`.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let (stream, event) = id.split_once('-')?;
        Some(Self { stream: stream.parse().ok()?, event: event.parse().ok()? })
    }

    pub(super) fn to_id(self) -> String {
        format!("{}-{}", self.stream, self.event)
    }
}

#[derive(Debug)]
struct Entry {
    at: Cursor,
    /// As it was sent.
    event: Bytes,
}

/// The log.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl EventLog {
    /// Keeps an event. `unseen`: nobody is being sent it now, so it is kept whatever its size.
    pub(super) fn push(&mut self, at: Cursor, event: Bytes, unseen: bool) {
        if !unseen && event.len() > MAX_BYTES {
            return;
        }
        self.bytes += event.len();
        self.entries.push_back(Entry { at, event });
        while self.entries.len() > MAX_EVENTS || (self.bytes > MAX_BYTES && self.entries.len() > 1) {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= oldest.event.len();
            }
        }
    }

    /// What came after the cursor on its stream.
    pub(super) fn after(&self, cursor: Cursor) -> Vec<Bytes> {
        let later = self
            .entries
            .iter()
            .filter(|entry| entry.at.stream == cursor.stream && entry.at.event > cursor.event);
        later.map(|entry| entry.event.clone()).collect()
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

    #[test]
    fn gives_what_came_after_on_the_same_stream_only() {
        let mut log = EventLog::default();
        for (stream, event) in [(1, 1), (2, 1), (1, 2), (2, 2), (1, 3)] {
            log.push(at(stream, event), Bytes::from(format!("{stream}-{event}")), false);
        }
        assert_eq!(log.after(at(1, 1)), ["1-2", "1-3"]);
        assert_eq!(log.after(at(2, 2)), Vec::<Bytes>::new());
        assert_eq!(log.after(at(9, 0)), Vec::<Bytes>::new());
    }

    #[test]
    fn an_answer_nobody_was_sent_is_kept_whatever_its_size() {
        let large = Bytes::from(vec![b'x'; 2 * MAX_BYTES]);
        let mut log = EventLog::default();
        log.push(at(1, 1), large.clone(), false);
        assert_eq!(log.kept(), (0, 0));
        log.push(at(1, 2), large.clone(), true);
        assert_eq!(log.after(at(1, 1)), [large]);
        log.push(at(1, 3), Bytes::from_static(b"y"), true);
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
                log.push(at(1, event as u64), Bytes::from(vec![b'x'; *size]), event % 2 == 0);
                let (events, bytes) = log.kept();
                prop_assert!(events <= MAX_EVENTS && bytes <= MAX_BYTES);
            }
        }
    }
}
