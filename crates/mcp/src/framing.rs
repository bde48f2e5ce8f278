//! stdio framing: one JSON-RPC message per line (MCP "stdio" transport, all revisions).
//!
//! Lines may be megabytes (base64 images) and arrive in any pieces; each byte is looked at once. What is not a message
//! (banners, log lines on stdout) is told apart by the caller, which parses what it gets.

use bytes::{Buf, Bytes, BytesMut};

/// A line was longer than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line longer than {limit} bytes")]
pub struct LineTooLong {
    pub limit: usize,
}

/// Cuts a byte stream into lines.
#[derive(Debug)]
pub struct LineDecoder {
    buffer: BytesMut,
    /// Bytes at the front of `buffer` known to hold no line feed.
    searched: usize,
    limit: usize,
    /// The rest of an over-long line is thrown away up to its line feed.
    discarding: bool,
}

impl LineDecoder {
    /// A decoder that refuses lines over `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, limit, discarding: false }
    }

    /// Where to read more bytes into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether what has no end yet can only become a line over the limit: a CR behind it may belong to its end.
    fn is_too_long(&self) -> bool {
        let ends_in_cr = self.buffer.last() == Some(&b'\r');
        self.buffer.len() - usize::from(ends_in_cr) > self.limit
    }

    /// The next whole line without its end (LF or CRLF), `None` when more bytes are needed. Empty lines are skipped.
    ///
    /// # Errors
    /// [`LineTooLong`] once per over-long line; the next call goes on behind it.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        loop {
            let Some(found) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') else {
                self.searched = self.buffer.len();
                if self.discarding {
                    self.buffer.clear();
                    self.searched = 0;
                } else if self.is_too_long() {
                    self.buffer.clear();
                    self.searched = 0;
                    self.discarding = true;
                    return Err(LineTooLong { limit: self.limit });
                }
                return Ok(None);
            };
            let mut line = self.buffer.split_to(self.searched + found).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            if std::mem::take(&mut self.discarding) {
                continue;
            }
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if line.len() > self.limit {
                return Err(LineTooLong { limit: self.limit });
            }
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

/// A message as a line: line feeds and carriage returns inside JSON can only be white space between tokens, so they
/// are replaced by spaces; then one line feed ends it.
#[must_use]
pub fn encode_line(message: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(message.len() + 1);
    line.extend(message.iter().map(|&byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }));
    line.push(b'\n');
    Bytes::from(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: &[&[u8]], limit: usize) -> Vec<Result<String, LineTooLong>> {
        let mut decoder = LineDecoder::new(limit);
        let mut out = Vec::new();
        for piece in pieces {
            decoder.buffer().extend_from_slice(piece);
            loop {
                match decoder.next_line() {
                    Ok(None) => break,
                    Ok(Some(line)) => out.push(Ok(String::from_utf8(line.to_vec()).unwrap())),
                    Err(error) => out.push(Err(error)),
                }
            }
        }
        out
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_taken_wherever_its_end_is_cut() {
        let mut decoder = LineDecoder::new(3);
        decoder.buffer().extend_from_slice(b"abc\r");
        assert_eq!(decoder.next_line(), Ok(None));
        decoder.buffer().extend_from_slice(b"\nabcd\r");
        assert_eq!(decoder.next_line(), Ok(Some(Bytes::from_static(b"abc"))));
        assert!(decoder.next_line().is_err());
    }

    #[test]
    fn lines_end_in_lf_or_crlf_and_empty_ones_are_nothing() {
        assert_eq!(lines(&[b"a\r\n\n\r\nb\nc"], 10), [Ok("a".into()), Ok("b".into())]);
    }

    #[test]
    fn an_over_long_line_is_refused_once_and_the_next_one_read() {
        let expect = [Err(LineTooLong { limit: 3 }), Ok("ok".into())];
        assert_eq!(lines(&[b"abcdef\nok\n"], 3), expect);
        assert_eq!(lines(&[b"abcd", b"efgh", b"ij\nok\n"], 3), expect);
    }

    #[test]
    fn a_message_becomes_one_line() {
        assert_eq!(encode_line(b"{\r\n\"a\":1}"), "{  \"a\":1}\n");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab\n\r]{0,60}", cuts in proptest::collection::vec(0usize..60, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(0);
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(lines(&pieces, 100), lines(&[bytes], 100));
        }
    }
}
