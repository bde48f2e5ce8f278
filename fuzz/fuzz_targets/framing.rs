//! Lines on a pipe: however they arrive, the same lines come out, and none is longer than allowed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp::framing::LineDecoder;

const LIMIT: usize = 256;

fn lines<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Option<Vec<u8>>> {
    let mut decoder = LineDecoder::new(LIMIT);
    let mut lines = Vec::new();
    for piece in pieces {
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.next_line() {
                Ok(Some(line)) => lines.push(Some(line.to_vec())),
                Ok(None) => break,
                Err(_) => lines.push(None),
            }
        }
    }
    lines
}

fuzz_target!(|input: (Vec<u8>, u8)| {
    let (stream, size) = input;
    let whole = lines(std::iter::once(stream.as_slice()));
    let pieces = lines(stream.chunks(usize::from(size).max(1)));
    assert_eq!(whole, pieces);
    assert!(whole.iter().flatten().all(|line| line.len() <= LIMIT));
});
