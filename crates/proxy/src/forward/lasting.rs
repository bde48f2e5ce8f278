//! A session's stream on its way to a client, over one connection. When that goes, the stream is read on without it
//! ([`super::live`]), if the client has something to ask for it with.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::live::{Live, Reader, priming};
use super::pinned::Pinned;
use super::reading::Reading;
use crate::body::CutOff;
use crate::session::table::InUse;

/// The stream.
#[derive(Debug)]
pub struct Lasting {
    source: Source,
    /// What the client has missed.
    missed: Bytes,
    /// The session is in use for as long as its client listens.
    _in_use: InUse<Pinned>,
}

#[derive(Debug)]
enum Source {
    /// Read by this connection, and nobody can ask for it yet: answers that come at once are answered so.
    New(Box<Reading>),
    /// May be taken up again.
    Shared(Reader),
    Over,
}

impl Lasting {
    pub(super) fn new(reading: Box<Reading>, missed: Bytes, in_use: InUse<Pinned>) -> Self {
        Self { source: Source::New(reading), missed, _in_use: in_use }
    }

    /// Goes on with a stream that others have read.
    pub(super) fn joined(reader: Reader, missed: Bytes, in_use: InUse<Pinned>) -> Self {
        Self { source: Source::Shared(reader), missed, _in_use: in_use }
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        if !self.missed.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.missed))));
        }
        match &mut self.source {
            Source::Over => Poll::Ready(None),
            Source::Shared(reader) => reader.poll(cx),
            Source::New(reading) => {
                let polled = reading.poll_events(cx);
                let begins = polled.is_pending() && reading.position() == 0;
                let primed = begins.then(|| reading.prime().map(|id| priming(&id))).flatten();
                self.share();
                match (primed, &self.source) {
                    (Some(event), _) => Poll::Ready(Some(Ok(event))),
                    // So that whoever takes it up can wake this connection.
                    (None, Source::Shared(reader)) if polled.is_pending() => reader.poll(cx),
                    (None, _) => polled,
                }
            }
        }
    }

    /// From when its client could ask for what comes next, the stream can be found.
    fn share(&mut self) {
        let Source::New(reading) = &mut self.source else { return };
        if !reading.has_cursor() || !reading.goes_on() {
            return;
        }
        let Some(events) = reading.events() else { return };
        if let Source::New(reading) = std::mem::replace(&mut self.source, Source::Over) {
            self.source = Source::Shared(Live::begin(reading, events));
        }
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        if let Source::Shared(reader) = std::mem::replace(&mut self.source, Source::Over) {
            reader.leave();
        }
    }
}
