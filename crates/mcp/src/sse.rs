//! Server-sent events (WHATWG HTML §9.2), incrementally: an encoder, a decoder, and a watcher that only tells where
//! events end in bytes that pass through untouched. What is there as a whole is read in place ([`blocks`]).

mod blocks;

use bytes::{Bytes, BytesMut};

pub use blocks::{Block, blocks, first_boundary, last_boundary};

/// A comment that clients ignore and that keeps a quiet stream alive.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// One event, as dispatched by the blank line behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The `event` field; empty means `message`.
    pub name: String,
    /// The `id` field of this event. `Some("")` resets the cursor.
    pub id: Option<String>,
    /// The `data` lines, joined by line feeds. An event with an id and no data is a priming event.
    pub data: Bytes,
    /// The `retry` field in milliseconds.
    pub retry: Option<u64>,
}

/// An event was longer than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event longer than {limit} bytes")]
pub struct EventTooLong {
    pub limit: usize,
}

/// Writes one event. `data` that is JSON has no line feed inside; should it have one, it is split as the format wants.
pub fn encode(out: &mut BytesMut, name: Option<&str>, id: Option<&str>, retry: Option<u64>, data: &[u8]) {
    out.reserve(data.len() + 48);
    if let Some(name) = name {
        field(out, b"event: ", name.as_bytes());
    }
    if let Some(id) = id {
        field(out, b"id: ", id.as_bytes());
    }
    if let Some(retry) = retry {
        field(out, b"retry: ", retry.to_string().as_bytes());
    }
    for line in data.split(|&byte| byte == b'\n') {
        field(out, b"data: ", line.strip_suffix(b"\r").unwrap_or(line));
    }
    out.extend_from_slice(b"\n");
}

fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\n");
}

/// A `message` event with this data and nothing else.
#[must_use]
pub fn message_event(id: Option<&str>, data: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    encode(&mut out, Some("message"), id, None, data);
    out.freeze()
}

/// Reads events from bytes in any pieces.
#[derive(Debug)]
pub struct Decoder {
    line: BytesMut,
    data: BytesMut,
    has_data: bool,
    event: Event,
    has_fields: bool,
    after_cr: bool,
    at_start: bool,
    limit: usize,
}

impl Decoder {
    /// A decoder that refuses events over `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            line: BytesMut::new(),
            data: BytesMut::new(),
            has_data: false,
            event: Event::default(),
            has_fields: false,
            after_cr: false,
            at_start: true,
            limit,
        }
    }

    /// Reads on, and appends the events that became complete. An event with neither data nor id nor retry is nothing.
    ///
    /// # Errors
    /// [`EventTooLong`]; the stream cannot be read further.
    pub fn feed(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), EventTooLong> {
        if bytes.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.after_cr) && bytes.first() == Some(&b'\n') {
            bytes = &bytes[1..];
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.line.extend_from_slice(&bytes[..end]);
            let crlf = bytes[end] == b'\r' && bytes.get(end + 1) == Some(&b'\n');
            self.after_cr = bytes[end] == b'\r' && end + 1 == bytes.len();
            bytes = &bytes[end + 1 + usize::from(crlf)..];
            self.end_line(events)?;
        }
        self.line.extend_from_slice(bytes);
        self.check_length()
    }

    fn check_length(&self) -> Result<(), EventTooLong> {
        if self.line.len() + self.data.len() > self.limit {
            return Err(EventTooLong { limit: self.limit });
        }
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<Event>) -> Result<(), EventTooLong> {
        self.check_length()?;
        let mut line = self.line.split();
        if std::mem::take(&mut self.at_start) && line.starts_with("\u{feff}".as_bytes()) {
            line = line.split_off(3);
        }
        if line.is_empty() {
            self.dispatch(events);
            return Ok(());
        }
        let (name, value) = match line.iter().position(|&byte| byte == b':') {
            None => (&line[..], &b""[..]),
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
        };
        match name {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.extend_from_slice(b"\n");
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.event.name = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => {
                self.event.id = Some(String::from_utf8_lossy(value).into_owned());
                self.has_fields = true;
            }
            b"retry" => {
                self.event.retry = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.has_fields |= self.event.retry.is_some();
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &mut Vec<Event>) {
        let mut event = std::mem::take(&mut self.event);
        let has_data = std::mem::take(&mut self.has_data);
        if has_data || std::mem::take(&mut self.has_fields) {
            event.data = self.data.split().freeze();
            events.push(event);
        }
        self.has_fields = false;
    }
}

/// Tells whether a stream of passing bytes stands between two events, where a comment may be put in.
#[derive(Clone, Copy, Debug)]
pub struct BoundaryWatch {
    /// Line ends seen at the very end of the bytes so far, counted as lines (CRLF is one).
    blank: bool,
    line_empty: bool,
    last_cr: bool,
}

impl Default for BoundaryWatch {
    fn default() -> Self {
        Self { blank: true, line_empty: true, last_cr: false }
    }
}

impl BoundaryWatch {
    /// Looks at bytes that passed.
    pub fn pass(&mut self, bytes: &[u8]) {
        // Only the end matters; what stands before the last few bytes cannot change it.
        let tail = bytes.len().saturating_sub(4);
        if tail > 0 {
            *self = Self { blank: false, line_empty: false, last_cr: false };
        }
        for &byte in &bytes[tail..] {
            match byte {
                b'\n' if self.last_cr => self.last_cr = false,
                b'\n' | b'\r' => {
                    self.blank = self.line_empty;
                    self.line_empty = true;
                    self.last_cr = byte == b'\r';
                }
                _ => *self = Self { blank: false, line_empty: false, last_cr: false },
            }
        }
    }

    /// Whether a comment put in now cannot fall into the middle of an event.
    #[must_use]
    pub fn between_events(self) -> bool {
        self.blank && self.line_empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::new(1 << 20);
        let mut events = Vec::new();
        for piece in pieces {
            decoder.feed(piece, &mut events).unwrap();
        }
        events
    }

    fn event(name: &str, id: Option<&str>, data: &str) -> Event {
        Event {
            name: name.into(),
            id: id.map(str::to_owned),
            data: Bytes::copy_from_slice(data.as_bytes()),
            retry: None,
        }
    }

    #[test]
    fn nothing_read_between_cr_and_lf_changes_nothing() {
        let (mut decoder, mut events) = (Decoder::new(100), Vec::new());
        for piece in [&b"data: a\r"[..], b"", b"\ndata: b\r\n\r\n"] {
            decoder.feed(piece, &mut events).unwrap();
        }
        assert_eq!(events.len(), 1, "{events:?}");
    }

    #[test]
    fn reads_as_the_standard_says() {
        for (text, expect) in [
            ("data: a\n\n", vec![event("", None, "a")]),
            ("data:a\r\rdata:  b\r\n\r\n", vec![event("", None, "a"), event("", None, " b")]),
            ("\u{feff}data: a\ndata: b\n\n", vec![event("", None, "a\nb")]),
            (": hi\n\nevent: x\nid: 1\ndata\n\n", vec![event("x", Some("1"), "")]),
            ("id: 7\ndata: \n\n", vec![event("", Some("7"), "")]),
            ("event: lost\n\ndata: part", vec![]),
            ("id: a\u{0}b\nnonsense: 1\ndata: x\n\n", vec![event("", None, "x")]),
        ] {
            assert_eq!(decode(&[text.as_bytes()]), expect, "{text:?}");
        }
        assert_eq!(decode(&[b"retry: 3000\n\n"])[0].retry, Some(3000));
        assert_eq!(decode(&[b"retry: soon\n\n"]), []);
    }

    #[test]
    fn a_field_of_one_event_does_not_reach_the_next() {
        assert_eq!(
            decode(&[b"event: a\nid: 1\ndata: x\n\ndata: y\n\n"]),
            [event("a", Some("1"), "x"), event("", None, "y")]
        );
    }

    #[test]
    fn refuses_what_never_ends() {
        let mut decoder = Decoder::new(10);
        assert_eq!(decoder.feed(b"data: 0123456789", &mut Vec::new()), Err(EventTooLong { limit: 10 }));
        let mut decoder = Decoder::new(10);
        let lines = b"data: 01234\ndata: 56789\n";
        assert_eq!(decoder.feed(lines, &mut Vec::new()), Err(EventTooLong { limit: 10 }));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[a:\r\n]{0,40}|(data: x\r\n|id: 1\n|\r\n|\r|\n|é){0,12}", cuts in proptest::collection::vec(0usize..60, 0..8)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(0);
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decode(&pieces), decode(&[bytes]));
            let mut watch = BoundaryWatch::default();
            pieces.iter().for_each(|piece| watch.pass(piece));
            let mut whole = BoundaryWatch::default();
            bytes.iter().for_each(|byte| whole.pass(&[*byte]));
            prop_assert_eq!(watch.between_events(), whole.between_events());
        }

        #[test]
        fn what_is_encoded_is_read_back(data in "[^\r\n]{0,40}", id in "[a-z0-9-]{1,10}") {
            let bytes = message_event(Some(&id), data.as_bytes());
            prop_assert_eq!(decode(&[&bytes]), [event("message", Some(&id), &data)]);
        }
    }

    #[test]
    fn knows_when_it_stands_between_events() {
        for (text, between) in [
            ("", true),
            ("data: a\n\n", true),
            ("data: a\r\n\r\n", true),
            ("data: a\n", false),
            ("data: a", false),
            (":\n\n", true),
        ] {
            let mut watch = BoundaryWatch::default();
            watch.pass(text.as_bytes());
            assert_eq!(watch.between_events(), between, "{text:?}");
        }
    }
}
