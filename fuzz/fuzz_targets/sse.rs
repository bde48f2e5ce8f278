//! An event stream: however it is cut into pieces, the events are the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp::sse::{BoundaryWatch, Decoder};

const LIMIT: usize = 64 * 1024;

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (stream, cuts) = input;
    let mut whole = Vec::new();
    let read_whole = Decoder::new(LIMIT).feed(&stream, &mut whole);
    let (mut pieces, mut decoder, mut watch) = (Vec::new(), Decoder::new(LIMIT), BoundaryWatch::default());
    let mut read_pieces = Ok(());
    let mut rest = stream.as_slice();
    for cut in cuts.iter().map(|cut| usize::from(*cut)).chain([usize::MAX]) {
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        read_pieces = read_pieces.and_then(|()| decoder.feed(piece, &mut pieces));
        watch.pass(piece);
        rest = after;
    }
    if read_whole.is_ok() && read_pieces.is_ok() {
        assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    }
    let mut at_once = BoundaryWatch::default();
    at_once.pass(&stream);
    assert_eq!(at_once.between_events(), watch.between_events());
});
