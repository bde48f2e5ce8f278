//! Bodies of server-sent events, by where the events come from. A stream that is quiet is kept alive by comments.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mcp::sse;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

use crate::event_log::{Frame, LogReader};
use crate::large::Large;
use crate::reply::{BoxFuture, Reply};

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Milliseconds that a client waits before it comes back.
const RETRY: u64 = 500;
/// Events are written together up to about this many bytes.
const BATCH: usize = 64 * 1024;

/// Where events come from.
pub(super) trait Source: Send {
    /// The next piece of the body; `None` at its end.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;
}

/// See the file's header.
pub(crate) struct EventStream {
    source: Box<dyn Source>,
    quiet: Pin<Box<Sleep>>,
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventStream")
    }
}

impl EventStream {
    pub(super) fn new(source: impl Source + 'static) -> Self {
        Self { source: Box::new(source), quiet: Box::pin(sleep(KEEP_ALIVE)) }
    }

    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let ready = self.source.poll_bytes(cx);
        if ready.is_pending() && self.quiet.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
        if ready.is_pending() { Poll::Ready(Some(Bytes::from_static(sse::KEEP_ALIVE))) } else { ready }
    }
}

/// A resumable stream (legacy era): every event has an id.
pub(super) struct FromLog {
    reader: LogReader,
    prelude: Option<Bytes>,
}

impl FromLog {
    /// `primed`: begins with an event that has an id and no data, and says when to come back (2025-11-25).
    pub(super) fn new(reader: LogReader, primed: bool) -> Self {
        let prelude = primed.then(|| {
            let mut text = BytesMut::new();
            sse::encode(&mut text, None, Some(&event_id(reader.position())), Some(RETRY), b"");
            text.freeze()
        });
        Self { reader, prelude }
    }
}

impl Source for FromLog {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(prelude) = self.prelude.take() {
            return Poll::Ready(Some(prelude));
        }
        let (stream, _) = self.reader.position();
        let Some(events) = std::task::ready!(self.reader.poll_events(cx)) else { return Poll::Ready(None) };
        let mut text = BytesMut::new();
        for (number, event) in events {
            sse::encode(&mut text, Some("message"), Some(&event_id((stream, number))), None, &event);
        }
        Poll::Ready(Some(text.freeze()))
    }
}

fn event_id((stream, number): (u64, u64)) -> String {
    format!("{stream}-{number}")
}

/// The inverse of an event's id: stream and number.
pub(super) fn read_event_id(id: &str) -> Option<(u64, u64)> {
    let (stream, number) = id.split_once('-')?;
    Some((stream.parse().ok()?, number.parse().ok()?))
}

/// A request of 2026-07-28: it runs as its events are read, and dropping the body cancels it.
pub(super) struct FromJob {
    job: Option<BoxFuture<Reply>>,
    queue: mpsc::Receiver<Frame>,
    last: Option<Bytes>,
}

impl FromJob {
    /// `job` was polled before; `last` is its reply where it is done.
    pub(super) fn new(
        job: Option<BoxFuture<Reply>>,
        queue: mpsc::Receiver<Frame>,
        last: Option<Bytes>,
    ) -> Self {
        Self { job, queue, last }
    }
}

impl Source for FromJob {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(job) = &mut self.job
            && let Poll::Ready(reply) = job.as_mut().poll(cx)
        {
            self.job = None;
            self.last = Some(reply.text);
        }
        let mut text = BytesMut::new();
        while text.len() < BATCH {
            let Poll::Ready(Some(Frame::Message(message))) = self.queue.poll_recv(cx) else { break };
            sse::encode(&mut text, Some("message"), None, None, &message);
        }
        if text.is_empty() && self.job.is_some() {
            return Poll::Pending;
        }
        if text.len() < BATCH
            && self.job.is_none()
            && let Some(last) = self.last.take()
        {
            sse::encode(&mut text, Some("message"), None, None, &last);
        }
        Poll::Ready((!text.is_empty()).then(|| text.freeze()))
    }
}

/// Everything for one client on one stream (2024-11-05).
pub(super) struct FromPipe<G> {
    queue: mpsc::Receiver<Frame>,
    prelude: Option<Bytes>,
    large: Option<Large>,
    /// Ends the session with the stream.
    _guard: G,
}

impl<G: Send> FromPipe<G> {
    pub(super) fn new(prelude: Bytes, queue: mpsc::Receiver<Frame>, guard: G) -> Self {
        Self { queue, prelude: Some(prelude), large: None, _guard: guard }
    }
}

impl<G: Send> Source for FromPipe<G> {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(prelude) = self.prelude.take() {
            return Poll::Ready(Some(prelude));
        }
        if let Some(large) = &mut self.large {
            let piece = large.next().unwrap_or_else(|| {
                self.large = None;
                Bytes::from_static(b"\n\n")
            });
            return Poll::Ready(Some(piece));
        }
        match std::task::ready!(self.queue.poll_recv(cx)) {
            None => Poll::Ready(None),
            Some(Frame::Message(message)) => Poll::Ready(Some(sse::message_event(None, &message))),
            Some(Frame::Large(large)) => {
                self.large = Some(large);
                Poll::Ready(Some(Bytes::from_static(b"event: message\ndata: ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_are_read_as_they_are_written() {
        assert_eq!(read_event_id(&event_id((3, 17))), Some((3, 17)));
        for bad in ["", "3", "3-", "-3", "a-b", "1-2-3"] {
            assert_eq!(read_event_id(bad), None, "{bad}");
        }
    }
}
