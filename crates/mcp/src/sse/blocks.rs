//! Events where they stand: a text of whole events cut into blocks, without copying, so that an event can be passed on
//! under another id and otherwise as it came.

use std::fmt::{Display, Write};

use bytes::{Buf, Bytes, BytesMut};

/// One event, or what else stands before a blank line: comments, a `retry` of its own, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// As it came, the blank line included.
    pub text: Bytes,
    /// The `event` field; empty means `message`.
    pub name: Bytes,
    /// The `id` field. Empty resets the cursor.
    pub id: Option<Bytes>,
    /// The `data` lines, joined by line feeds; `None` where there is none.
    pub data: Option<Bytes>,
}

impl Block {
    /// Reads a block: lines up to a blank one, or to the end of the text. What the last line says counts even where its
    /// end is missing.
    #[must_use]
    pub fn read(text: Bytes) -> Self {
        let mut block = Self::default();
        for line in Lines(&text) {
            match field(line.content) {
                (b"event", value) => block.name = text.slice_ref(value),
                (b"id", value) if !value.contains(&0) => block.id = Some(text.slice_ref(value)),
                (b"data", value) => block.data = Some(joined(block.data.take(), text.slice_ref(value))),
                _ => {}
            }
        }
        block.text = text;
        block
    }

    /// Whether a client sees more of it than that the stream is alive.
    #[must_use]
    pub fn is_event(&self) -> bool {
        self.data.is_some() || self.id.is_some()
    }

    /// Writes it with this id in place of its own.
    pub fn write_as(&self, out: &mut BytesMut, id: impl Display) {
        // Memory does not refuse to be written to.
        let _ = writeln!(out, "id: {id}");
        if self.id.is_none() {
            out.extend_from_slice(&self.text);
            return;
        }
        for line in Lines(&self.text) {
            if field(line.content).0 != b"id" {
                out.extend_from_slice(line.whole);
            }
        }
    }
}

fn joined(before: Option<Bytes>, value: Bytes) -> Bytes {
    match before {
        None => value,
        Some(before) => [&before[..], b"\n", &value[..]].concat().into(),
    }
}

/// Cuts a text that ends with a blank line into blocks. Without one, what is behind the last is a block too.
pub fn blocks(mut text: Bytes) -> impl Iterator<Item = Block> {
    std::iter::from_fn(move || {
        let end = first_end(&text).unwrap_or(text.len());
        (end > 0).then(|| Block::read(text.split_to(end)))
    })
}

/// Where the first block of a text ends, behind its blank line.
fn first_end(text: &[u8]) -> Option<usize> {
    let mut end = 0;
    for line in Lines(text) {
        end += line.whole.len();
        if line.content.is_empty() {
            return Some(end);
        }
    }
    None
}

/// Where the last event of a text ends that is whole. A carriage return at the very end is waited behind: a line feed
/// may belong to it.
#[must_use]
pub fn last_boundary(text: &[u8]) -> Option<usize> {
    (1..=text.len()).rev().find(|&end| is_boundary(&text[..end]))
}

/// The same for the first one.
#[must_use]
pub fn first_boundary(text: &[u8]) -> Option<usize> {
    (1..=text.len()).find(|&end| is_boundary(&text[..end]))
}

fn is_boundary(before: &[u8]) -> bool {
    before.ends_with(b"\n\n") || before.ends_with(b"\n\r\n") || before.ends_with(b"\r\r")
}

fn field(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|&byte| byte == b':') {
        None => (line, b""),
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}

struct Line<'a> {
    content: &'a [u8],
    /// With its end.
    whole: &'a [u8],
}

struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let text = self.0;
        let content = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len());
        let crlf = text[content..].starts_with(b"\r\n");
        let end = text.len().min(content + 1 + usize::from(crlf));
        self.0.advance(end);
        Some(Line { content: &text[..content], whole: &text[..end] })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::*;
    use proptest::prelude::*;

    fn with_ids(text: &str) -> String {
        let mut out = BytesMut::new();
        for (number, block) in blocks(Bytes::copy_from_slice(text.as_bytes())).enumerate() {
            match block.is_event() {
                true => block.write_as(&mut out, format_args!("n{number}")),
                false => out.extend_from_slice(&block.text),
            }
        }
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn an_event_gets_another_id_and_keeps_the_rest() {
        for (text, expect) in [
            ("data: a\n\n", "id: n0\ndata: a\n\n"),
            ("event: message\nid: 7\ndata: a\n\n", "id: n0\nevent: message\ndata: a\n\n"),
            ("id: 7\r\ndata: a\r\nid: 8\r\n\r\n", "id: n0\ndata: a\r\n\r\n"),
            ("id\rdata: a\r\r", "id: n0\ndata: a\r\r"),
            (": ping\n\nretry: 5\n\ndata: x\n\n", ": ping\n\nretry: 5\n\nid: n2\ndata: x\n\n"),
            ("idle: 1\ndata: a\ndata: b\n\n", "id: n0\nidle: 1\ndata: a\ndata: b\n\n"),
            ("id: 7\ndata: \n\n", "id: n0\ndata: \n\n"),
            ("", ""),
        ] {
            assert_eq!(with_ids(text), expect, "{text:?}");
        }
    }

    #[test]
    fn an_event_is_whole_with_its_blank_line() {
        for (text, first, last) in [
            ("", None, None),
            ("data: a", None, None),
            ("data: a\n", None, None),
            ("data: a\n\n", Some(9), Some(9)),
            ("data: a\r\n\r\n", Some(11), Some(11)),
            ("data: a\r\n\r", None, None),
            ("data: a\r\r", Some(9), Some(9)),
            ("data: a\n\r\n", Some(10), Some(10)),
            ("data: a\n\ndata: b\n", Some(9), Some(9)),
            ("data: a\n\ndata: b\n\n", Some(9), Some(18)),
        ] {
            assert_eq!(first_boundary(text.as_bytes()), first, "{text:?}");
            assert_eq!(last_boundary(text.as_bytes()), last, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_the_decoder_reads(text in "(data: x|data:y|id: 1|id|event: e|: c|z|\r\n|\r|\n|é|:){0,24}\n\n") {
            let bytes = Bytes::from(text);
            let (mut decoder, mut decoded) = (Decoder::new(1 << 20), Vec::new());
            decoder.feed(&bytes, &mut decoded).unwrap();
            let read: Vec<_> = blocks(bytes.clone()).collect();
            let glued: Vec<u8> = read.iter().flat_map(|block| block.text.to_vec()).collect();
            prop_assert_eq!(&glued[..], &bytes[..]);
            let events: Vec<_> = read.into_iter().filter(Block::is_event).map(|block| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (text(&block.name), block.id.map(|id| text(&id)), block.data.unwrap_or_default())
            }).collect();
            let expect: Vec<_> = decoded.into_iter().map(|event| (event.name, event.id, event.data)).collect();
            prop_assert_eq!(events, expect);
        }
    }
}
