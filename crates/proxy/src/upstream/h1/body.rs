//! The body of an answer, cut out of what was read without copying it.

use bytes::{Buf, Bytes, BytesMut};

use super::BadAnswer;

/// A chunk's size with its extensions, or a trailer, may be this long.
const MAX_LINE: usize = 4096;
/// All trailers together.
const MAX_TRAILERS: usize = 16 * 1024;

/// How a body ends, and how far it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes more.
    Length(u64),
    Chunked(Chunks),
    UntilClosed,
}

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunks {
    Size,
    Data(u64),
    DataEnd,
    /// So many bytes of trailers were read.
    Trailers(usize),
    Done,
}

/// What comes next of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Data(Bytes),
    /// More has to be read first.
    Wanting,
    End,
}

impl Framing {
    pub(crate) fn chunked() -> Self {
        Self::Chunked(Chunks::Size)
    }

    /// Whether all of the body was taken.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks::Done))
    }

    /// Bytes still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(Chunks::Done) => Some(0),
            Self::Chunked(_) | Self::UntilClosed => None,
        }
    }

    /// Takes the next piece from the front of a buffer, and whatever behind it is not body.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, BadAnswer> {
        match self {
            Self::Length(0) => Ok(Piece::End),
            Self::Length(left) => Ok(take(left, buffer)),
            Self::UntilClosed if buffer.is_empty() => Ok(Piece::Wanting),
            Self::UntilClosed => Ok(Piece::Data(buffer.split().freeze())),
            Self::Chunked(chunks) => {
                chunks.settle(buffer)?;
                let Chunks::Data(left) = chunks else {
                    return Ok(if *chunks == Chunks::Done { Piece::End } else { Piece::Wanting });
                };
                let piece = take(left, buffer);
                if *left == 0 {
                    *chunks = Chunks::DataEnd;
                }
                // The end, if it is there already, is noticed with the last piece.
                chunks.settle(buffer)?;
                Ok(piece)
            }
        }
    }
}

fn take(left: &mut u64, buffer: &mut BytesMut) -> Piece {
    let there = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    if there == 0 {
        return Piece::Wanting;
    }
    *left -= there as u64;
    Piece::Data(buffer.split_to(there).freeze())
}

impl Chunks {
    /// Goes over everything that is no data.
    fn settle(&mut self, buffer: &mut BytesMut) -> Result<(), BadAnswer> {
        loop {
            *self = match *self {
                Self::Size => match line(buffer)? {
                    Some(line) => match size(&line)? {
                        0 => Self::Trailers(0),
                        size => Self::Data(size),
                    },
                    None => return Ok(()),
                },
                Self::DataEnd => match buffer.first_chunk::<2>() {
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        Self::Size
                    }
                    Some(_) => return Err(BadAnswer::Chunk),
                    None => return Ok(()),
                },
                Self::Trailers(read) => match line(buffer)? {
                    Some(line) if line.is_empty() => Self::Done,
                    Some(line) if read + line.len() <= MAX_TRAILERS => Self::Trailers(read + line.len()),
                    Some(_) => return Err(BadAnswer::Chunk),
                    None => return Ok(()),
                },
                Self::Data(_) | Self::Done => return Ok(()),
            }
        }
    }
}

/// A line without its CRLF.
fn line(buffer: &mut BytesMut) -> Result<Option<BytesMut>, BadAnswer> {
    let searched = &buffer[..buffer.len().min(MAX_LINE)];
    let Some(end) = searched.iter().position(|&byte| byte == b'\n') else {
        return if buffer.len() < MAX_LINE { Ok(None) } else { Err(BadAnswer::Chunk) };
    };
    let mut line = buffer.split_to(end + 1);
    if !line.ends_with(b"\r\n") {
        return Err(BadAnswer::Chunk);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

fn size(line: &[u8]) -> Result<u64, BadAnswer> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    let valid = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| valid).ok_or(BadAnswer::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| BadAnswer::Chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a body that arrives in pieces; what came, and whether the end was seen.
    fn read(mut framing: Framing, bytes: &[u8], size: usize) -> Result<(Vec<u8>, bool, Vec<u8>), BadAnswer> {
        let (mut buffer, mut body) = (BytesMut::new(), Vec::new());
        let mut rest = bytes.chunks(size.max(1));
        loop {
            match framing.next(&mut buffer)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::End => break,
                Piece::Wanting => match rest.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => return Ok((body, false, Vec::new())),
                },
            }
        }
        let left = [&buffer[..], &rest.flatten().copied().collect::<Vec<_>>()].concat();
        Ok((body, framing.is_end(), left))
    }

    #[test]
    fn chunks_are_put_together() {
        let text = b"5\r\nhello\r\n6;x=\"y\"\r\n world\r\n000\r\nT: 1\r\n\r\nnext";
        for size in 1..text.len() {
            let read = read(Framing::chunked(), text, size).unwrap();
            assert_eq!(read, (b"hello world".to_vec(), true, b"next".to_vec()), "{size}");
        }
    }

    #[test]
    fn the_end_is_seen_with_the_last_piece() {
        let mut framing = Framing::chunked();
        let piece = framing.next(&mut BytesMut::from("2\r\nhi\r\n0\r\n\r\n")).unwrap();
        assert_eq!((piece, framing.is_end()), (Piece::Data(Bytes::from_static(b"hi")), true));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for text in [
            "g\r\n",
            "\r\n",
            "2\nhi\r\n",
            "2\r\nhi!\r\n",
            "fffffffffffffffff\r\n",
            "-1\r\n",
            "0x2\r\n",
            "0\r\nT: 1\n\r\n",
        ] {
            assert_eq!(read(Framing::chunked(), text.as_bytes(), 100), Err(BadAnswer::Chunk), "{text:?}");
        }
        let endless = "1;".to_owned() + &"x".repeat(MAX_LINE);
        assert_eq!(read(Framing::chunked(), endless.as_bytes(), 100), Err(BadAnswer::Chunk));
        let trailers = "0\r\n".to_owned() + &format!("T: {}\r\n", "x".repeat(4000)).repeat(5);
        assert_eq!(read(Framing::chunked(), trailers.as_bytes(), 100), Err(BadAnswer::Chunk));
    }

    #[test]
    fn a_cut_body_has_no_end() {
        for (framing, text) in [
            (Framing::Length(3), "hi"),
            (Framing::chunked(), "3\r\nhi"),
            (Framing::chunked(), "2\r\nhi\r\n"),
            (Framing::chunked(), "2\r\nhi\r\n0\r\n"),
            (Framing::UntilClosed, "hi"),
        ] {
            assert_eq!(read(framing, text.as_bytes(), 1).unwrap(), (b"hi".to_vec(), false, Vec::new()));
        }
    }

    proptest! {
        #[test]
        fn any_body_survives_any_chunks_and_any_cut(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..8),
            size in 1usize..600,
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            let (body, ended, left) = read(Framing::chunked(), &text, size).unwrap();
            prop_assert_eq!((body, ended, left), (chunks.concat(), true, Vec::new()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in 1usize..50) {
            let _ = read(Framing::chunked(), &bytes, size);
        }
    }
}
