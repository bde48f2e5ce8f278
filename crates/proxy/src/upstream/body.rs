//! The body of a backend's answer: reads its own connection, and gives it back to the pool at the end.
//!
//! Event streams are watched, not changed: only where the bytes stand between two events may a keep-alive comment be
//! put in.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::SizeHint;
use mcp::sse::{BoundaryWatch, KEEP_ALIVE};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::connection::Connection;
use super::h1::{Framing, Piece};
use super::pool::Pool;
use crate::body::{CutOff, KEEP_ALIVE_EVERY};

/// Whatever counts as under way until the answer has been passed on (session in use, instance load).
pub(crate) type Under = Box<dyn std::any::Any + Send>;

/// The rest of an answer.
pub struct UpstreamBody {
    framing: Framing,
    keep_alive: bool,
    /// `None` once the body has ended, one way or the other.
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
    pub(super) fn new(framing: Framing, keep_alive: bool, connection: Connection, pool: Arc<Pool>) -> Self {
        let mut body = Self {
            framing,
            keep_alive,
            connection: Some(connection),
            pool,
            first: None,
            events: None,
            until: None,
            _under: None,
        };
        if body.framing.is_end() {
            body.release();
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
        self.first.is_none() && self.connection.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.events.is_some() {
            return SizeHint::default();
        }
        let ahead = self.first.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.framing.left().map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + ahead))
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

    /// Reads on until `enough` says so of a piece, or the end; all of it is then passed on as if nothing had been read.
    /// Stops at `limit` bytes.
    ///
    /// # Errors
    /// [`CutOff`].
    pub(crate) async fn read_until(
        &mut self,
        limit: usize,
        mut enough: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), CutOff> {
        let mut read = BytesMut::new();
        while let Some(piece) = std::future::poll_fn(|cx| self.poll_data(cx)).await {
            let piece = piece?;
            read.extend_from_slice(&piece);
            if enough(&piece) || read.len() >= limit {
                break;
            }
        }
        self.first = (!read.is_empty()).then(|| read.freeze());
        Ok(())
    }

    /// What [`Self::read_until`] has read.
    pub(crate) fn read(&self) -> &[u8] {
        self.first.as_deref().unwrap_or_default()
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
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            match self.framing.next(&mut connection.read) {
                Ok(Piece::Data(data)) => {
                    if self.framing.is_end() {
                        self.release();
                    }
                    if let Some(events) = &mut self.events {
                        events.boundary.pass(&data);
                        events.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE_EVERY);
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(Piece::End) => {
                    self.release();
                    return Poll::Ready(None);
                }
                Ok(Piece::Wanting) => match connection.poll_fill(cx) {
                    Poll::Pending => return self.poll_keep_alive(cx),
                    Poll::Ready(Ok(0)) if self.framing == Framing::UntilClosed => {
                        self.connection = None;
                        return Poll::Ready(None);
                    }
                    Poll::Ready(Ok(0)) => return self.cut_off("the connection was closed".to_owned()),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return self.cut_off(error.to_string()),
                },
                Err(bad) => return self.cut_off(bad.to_string()),
            }
        }
    }

    fn cut_off(&mut self, why: String) -> Poll<Option<Result<Bytes, CutOff>>> {
        self.connection = None;
        Poll::Ready(Some(Err(CutOff(why))))
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

    /// Gives the connection back, if it can be used again. One that said more than its answer cannot.
    fn release(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.keep_alive && connection.read.is_empty() {
            self.pool.put_back(connection);
        }
    }
}
