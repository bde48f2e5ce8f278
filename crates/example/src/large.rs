//! An answer of any size that is never in memory: its text is cut from one static pattern while it is written.

use bytes::Bytes;

/// Bytes of one piece.
const PIECE: usize = 64 * 1024;

/// What the text repeats. Sixteen characters, so that a reader can check any position.
pub(crate) const PATTERN: &[u8; 16] = b"0123456789abcdef";

static PIECE_TEXT: [u8; PIECE] = {
    let mut text = [0; PIECE];
    let mut at = 0;
    while at < PIECE {
        text[at] = PATTERN[at % PATTERN.len()];
        at += 1;
    }
    text
};

/// A message with `size` bytes of pattern between `head` and `tail`.
#[derive(Debug)]
pub(crate) struct Large {
    head: Option<Bytes>,
    size: u64,
    tail: Option<Bytes>,
}

impl Large {
    pub(crate) fn new(head: impl Into<Bytes>, size: u64, tail: impl Into<Bytes>) -> Self {
        Self { head: Some(head.into()), size, tail: Some(tail.into()) }
    }

    /// Bytes that are still to come.
    pub(crate) fn remaining(&self) -> u64 {
        let ends = [&self.head, &self.tail].into_iter().flatten().map(|end| end.len() as u64).sum::<u64>();
        ends + self.size
    }
}

impl Iterator for Large {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(head) = self.head.take() {
            return Some(head);
        }
        if self.size == 0 {
            return self.tail.take();
        }
        // Every piece but the last is a whole number of patterns, so each begins where the pattern does.
        let length = usize::try_from(self.size).unwrap_or(PIECE).min(PIECE);
        self.size -= length as u64;
        Some(Bytes::from_static(&PIECE_TEXT[..length]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_up_the_announced_length_in_the_pattern() {
        for size in [0, 1, 15, PIECE as u64, PIECE as u64 + 7, 200_000] {
            let large = Large::new("<", size, ">");
            assert_eq!(large.remaining(), size + 2);
            let text: Vec<u8> = large.flatten().collect();
            assert_eq!(text.len() as u64, size + 2);
            let body = &text[1..text.len() - 1];
            assert!(body.iter().enumerate().all(|(at, byte)| *byte == PATTERN[at % 16]), "{size}");
        }
    }
}
