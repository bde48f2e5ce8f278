//! The body of a backend's answer: drives its own connection, and gives it back to the pool at the end.
//!
//! Event streams are watched, not changed: only where the bytes stand between two events may a keep-alive comment be
//! put in.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, SizeHint};
use hyper::body::Incoming;
use mcp::sse::{BoundaryWatch, KEEP_ALIVE};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::connection::Connection;
use super::pool::Pool;
use crate::body::{CutOff, KEEP_ALIVE_EVERY};

/// Whatever counts as under way until the answer has been passed on (session in use, instance load).
pub(crate) type Under = Box<dyn std::any::Any + Send>;

/// The rest of an answer.
pub struct UpstreamBody {
    incoming: Incoming,
    connection: Option<Connection>,
    pool: Arc<Pool>,
    /// Read ahead by [`UpstreamBody::read_ahead`].
    first: Option<Bytes>,
    events: Option<EventWatch>,
    until: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _under: Option<Under>,
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamBody").field("connection", &self.connection).finish_non_exhaustive()
    }
}

struct EventWatch {
    boundary: BoundaryWatch,
    quiet: Pin<Box<Sleep>>,
}

impl UpstreamBody {
    pub(crate) fn new(incoming: Incoming, connection: Connection, pool: Arc<Pool>) -> Self {
        let mut body = Self {
            incoming,
            connection: Some(connection),
            pool,
            first: None,
            events: None,
            until: None,
            _under: None,
        };
        if body.incoming.is_end_stream() {
            body.release(None);
        }
        body
    }

    /// Keeps this stream of events alive while the backend is quiet.
    pub(crate) fn keep_alive(&mut self) {
        let quiet = Box::pin(tokio::time::sleep(KEEP_ALIVE_EVERY));
        self.events = Some(EventWatch { boundary: BoundaryWatch::default(), quiet });
    }

    /// Drops `under` when the answer has been passed on, or given up.
    pub(crate) fn hold(&mut self, under: Under) {
        self._under = Some(under);
    }

    /// Ends the stream, cleanly, when `stop` is cancelled: nobody waits for a stream that has no end of its own.
    pub(crate) fn end_on(&mut self, stop: CancellationToken) {
        self.until = Some(Box::pin(stop.cancelled_owned()));
    }

    pub(crate) fn is_end(&self) -> bool {
        self.first.is_none() && self.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.events.is_some() {
            return SizeHint::default();
        }
        let ahead = self.first.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.incoming
            .size_hint()
            .exact()
            .map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + ahead))
    }

    /// Takes what is there already, without waiting, and gives the whole answer if that was all: an answer that came in
    /// one piece needs no streaming.
    pub(crate) async fn read_ahead(&mut self) -> Option<Bytes> {
        let data = std::future::poll_fn(|cx| Poll::Ready(self.poll_data(cx))).await;
        if let Poll::Ready(Some(Ok(data))) = data {
            if self.connection.is_none() {
                return Some(data);
            }
            self.first = Some(data);
        }
        None
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if self.until.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready()) {
            self.connection = None;
            return Poll::Ready(None);
        }
        loop {
            if let Some(connection) = &mut self.connection {
                connection.drive(cx);
            }
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers say nothing in MCP and are not forwarded.
                    let Ok(data) = frame.into_data() else { continue };
                    if self.incoming.is_end_stream() {
                        self.release(Some(cx));
                    }
                    if let Some(events) = &mut self.events {
                        events.boundary.pass(&data);
                        events.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE_EVERY);
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(CutOff(error.to_string()))));
                }
                Poll::Ready(None) => {
                    self.release(Some(cx));
                    return Poll::Ready(None);
                }
                Poll::Pending => return self.poll_keep_alive(cx),
            }
        }
    }

    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        let Some(events) = &mut self.events else { return Poll::Pending };
        if events.quiet.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        events.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE_EVERY);
        if events.boundary.between_events() {
            return Poll::Ready(Some(Ok(Bytes::from_static(KEEP_ALIVE))));
        }
        // Polled again so that the timer is armed: the backend stopped in the middle of an event.
        let _ = events.quiet.as_mut().poll(cx);
        Poll::Pending
    }

    /// Gives the connection back. Driven once more, so that it notices the end of the message.
    fn release(&mut self, cx: Option<&mut Context<'_>>) {
        let Some(mut connection) = self.connection.take() else { return };
        let closed = cx.is_some_and(|cx| connection.drive(cx));
        if !closed {
            self.pool.put_back(connection);
        }
    }
}
