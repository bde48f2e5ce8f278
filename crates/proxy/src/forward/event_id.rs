//! The ids that events of a session's streams have for its client: `<epoch>-<kind><stream>-<event>`, and `-<own>` with
//! what the client would have from the backend itself. Numbers are hexadecimal.
//!
//! The middle finds an event in the log of the process that numbered it. The own id is for a process that has no log of
//! it, or not any more: it asks the instance, if the session still lives in that epoch.

use std::fmt;

use http::HeaderValue;

use crate::events::{Cursor, StreamNumber};

/// The longest id of a backend that is carried.
const MAX_OWN: usize = 512;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the server says unasked.
    Own,
    /// The answer to one request.
    Answer,
}

/// An id, read or to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventId<'a> {
    pub(super) epoch: u32,
    pub(super) kind: Kind,
    pub(super) at: Cursor,
    /// The last id that the backend had given, this event's or an earlier one's.
    pub(super) own: Option<&'a str>,
}

impl<'a> EventId<'a> {
    /// Reads what a client sends. `None` for what was not written here, letter by letter.
    pub(super) fn read(id: &'a HeaderValue) -> Option<Self> {
        let mut parts = id.to_str().ok()?.splitn(4, '-');
        let epoch = number(parts.next()?)?.try_into().ok()?;
        let stream = parts.next()?;
        let (kind, stream) = match (stream.strip_prefix('l'), stream.strip_prefix('a')) {
            (Some(stream), _) => (Kind::Own, stream),
            (_, Some(stream)) => (Kind::Answer, stream),
            _ => return None,
        };
        let at = Cursor { stream: number(stream)?, event: number(parts.next()?)? };
        let own = parts.next();
        own.is_none_or(can_be_carried).then_some(Self { epoch, kind, at, own })
    }

    /// The backend's own id, for the instance that the session has in this epoch and no other.
    pub(super) fn own_in(&self, epoch: u32) -> Option<HeaderValue> {
        let own = self.own.filter(|_| self.epoch == epoch)?;
        HeaderValue::from_str(own).ok()
    }
}

impl fmt::Display for EventId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Own => 'l',
            Kind::Answer => 'a',
        };
        let Cursor { stream, event } = self.at;
        write!(f, "{:x}-{kind}{stream:x}-{event:x}", self.epoch)?;
        self.own.map_or(Ok(()), |own| write!(f, "-{own}"))
    }
}

/// A number for a stream. Drawn, so that no other process that serves the session, before or beside this one, has given
/// it to another stream.
pub(super) fn new_stream() -> StreamNumber {
    fastrand::u64(..)
}

/// Whether an id of a backend comes back from its client as it was.
pub(super) fn can_be_carried(own: &str) -> bool {
    let passes = own.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    passes && !own.is_empty() && own.len() <= MAX_OWN && !own.ends_with(' ')
}

/// A number as it is written, and in no other way.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let plain = digits && (text == "0" || !text.starts_with('0'));
    plain.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(epoch: u32, kind: Kind, stream: u64, event: u64, own: Option<&str>) -> EventId<'_> {
        EventId { epoch, kind, at: Cursor { stream, event }, own }
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let long = "x".repeat(MAX_OWN);
        for (expect, read) in [
            ("0-l5-0", id(0, Kind::Own, 5, 0, None)),
            ("400-aff-1-7", id(1024, Kind::Answer, 255, 1, Some("7"))),
            ("0-a0-1-a-b c_-", id(0, Kind::Answer, 0, 1, Some("a-b c_-"))),
            (
                "ffffffff-lffffffffffffffff-ffffffffffffffff",
                id(u32::MAX, Kind::Own, u64::MAX, u64::MAX, None),
            ),
            (&format!("0-a1-1-{long}"), id(0, Kind::Answer, 1, 1, Some(&long))),
        ] {
            assert_eq!(read.to_string(), expect);
            assert_eq!(EventId::read(&HeaderValue::from_str(expect).unwrap()), Some(read), "{expect}");
        }
    }

    #[test]
    fn what_was_not_written_here_is_unknown() {
        let long = format!("0-a1-1-{}", "x".repeat(MAX_OWN + 1));
        for foreign in [
            "",
            "7",
            "-",
            "---",
            "1-2",
            "3-14",
            "skep1-7",
            "0-x1-1",
            "0-1-1",
            "0-a-1",
            "0-a1-",
            "0-a1",
            "-a1-1",
            "0-a+1-1",
            "0-aA-1",
            "0-a01-1",
            "00-a1-1",
            "0x0-a1-1",
            "0-a1-1-",
            "0-a1- 1",
            "100000000-a1-1",
            "0-a1-10000000000000000",
            &long,
        ] {
            assert_eq!(EventId::read(&HeaderValue::from_str(foreign).unwrap()), None, "{foreign:?}");
        }
        assert_eq!(EventId::read(&HeaderValue::from_bytes(b"0-a1-1-\xe9").unwrap()), None);
    }

    #[test]
    fn an_id_of_a_backend_is_for_the_epoch_it_was_given_in() {
        let id = id(1, Kind::Own, 1, 1, Some("7"));
        assert_eq!(id.own_in(1), Some(HeaderValue::from_static("7")));
        assert_eq!(id.own_in(0), None);
        assert_eq!(id.own_in(2), None);
        for (own, passes) in [("7", true), ("", false), ("a ", false), ("é", false), ("a\tb", false)] {
            assert_eq!(can_be_carried(own), passes, "{own:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) && let Some(id) = EventId::read(&value) {
                prop_assert_eq!(id.to_string(), value.to_str().unwrap());
            }
        }
    }
}
