//! What the proxy answers with: nothing, a whole message, bytes as they come from a backend, or events as they arise.
//!
//! One concrete type, so that the common answers cost no allocation and no indirect call. None of them buffers: a
//! client that does not read stops whoever writes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use crate::forward::Lasting;
use crate::upstream::body::UpstreamBody;

/// A quiet event stream gets a comment this often, so that nobody between takes it for dead.
pub const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

/// An answer was cut off by its source. The client sees an incomplete body, never a clean end.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut off: {0}")]
pub struct CutOff(pub String);

/// The body of an answer.
#[derive(Debug, Default)]
pub enum Body {
    #[default]
    Empty,
    /// All of it.
    Full(Bytes),
    /// Straight from a backend's connection.
    Upstream(Box<UpstreamBody>),
    /// A session's stream, that outlives its backend.
    Lasting(Box<Lasting>),
    /// Encoded events from a task of ours.
    Events(Box<EventBody>),
    /// Another one, changed on its way.
    Changed(Box<Changed>),
}

impl Body {
    /// Passes on whole events from `events` until it ends; `on_close` is dropped when the client goes or the stream
    /// has ended.
    #[must_use]
    pub fn events(events: mpsc::Receiver<Bytes>, on_close: Option<Box<dyn OnClose>>) -> Self {
        let quiet = Box::pin(tokio::time::sleep(KEEP_ALIVE_EVERY));
        Self::Events(Box::new(EventBody { events, quiet, _on_close: on_close }))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(_) => {
                let Self::Full(bytes) = std::mem::take(this) else { unreachable!("matched above") };
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Upstream(body) => body.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data))),
            Self::Lasting(body) => body.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data))),
            Self::Events(body) => body.poll_events(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Changed(body) => body.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) | Self::Lasting(_) | Self::Events(_) | Self::Changed(_) => false,
            Self::Upstream(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Upstream(body) => body.size_hint(),
            Self::Lasting(_) | Self::Events(_) | Self::Changed(_) => SizeHint::default(),
        }
    }
}

/// An answer of events.
#[must_use]
pub fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// What changes a body on its way.
pub trait Change: Send + Sync + std::fmt::Debug {
    /// What becomes of the next bytes; nothing, where more are needed to know.
    fn pass(&mut self, bytes: Bytes) -> Bytes;
    /// What is left at the end.
    fn finish(&mut self) -> Bytes;
    /// What stands in place of all that has not come by its deadline.
    fn cut_short(&mut self) -> Bytes {
        self.finish()
    }
}

/// A body that is changed on its way.
#[derive(Debug)]
pub struct Changed {
    inner: Body,
    change: Box<dyn Change>,
    /// When the rest is not waited for any more.
    deadline: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

impl Body {
    /// This body as `change` makes it.
    #[must_use]
    pub fn changed(self, change: Box<dyn Change>) -> Self {
        self.changed_until(change, None)
    }

    /// The same, which ends at this time whether the other one does or not.
    #[must_use]
    pub fn changed_until(self, change: Box<dyn Change>, deadline: Option<Instant>) -> Self {
        let deadline = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        Self::Changed(Box::new(Changed { inner: self, change, deadline, is_over: false }))
    }
}

impl Changed {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        while !self.is_over {
            let polled = Pin::new(&mut self.inner).poll_frame(cx);
            let is_late = |deadline: &mut Pin<Box<Sleep>>| deadline.as_mut().poll(cx).is_ready();
            if polled.is_pending() && self.deadline.as_mut().is_some_and(is_late) {
                self.is_over = true;
                self.inner = Body::Empty;
                return Poll::Ready(Some(Ok(self.change.cut_short())));
            }
            let bytes = match ready!(polled) {
                Some(Ok(frame)) => frame.into_data().map_or(Bytes::new(), |bytes| self.change.pass(bytes)),
                Some(Err(cut)) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(cut)));
                }
                None => {
                    self.is_over = true;
                    self.change.finish()
                }
            };
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
        Poll::Ready(None)
    }
}

/// Something to be dropped with a stream: it tells its owner that the client is gone.
pub trait OnClose: Send + Sync + std::fmt::Debug {}

/// A stream of encoded events, with keep-alive comments while it is quiet.
#[derive(Debug)]
pub struct EventBody {
    events: mpsc::Receiver<Bytes>,
    quiet: Pin<Box<Sleep>>,
    /// Dropped with the body.
    _on_close: Option<Box<dyn OnClose>>,
}

impl EventBody {
    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let event = match self.events.poll_recv(cx) {
            Poll::Ready(event) => event,
            Poll::Pending => {
                if self.quiet.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                Some(Bytes::from_static(mcp::sse::KEEP_ALIVE))
            }
        };
        self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE_EVERY);
        Poll::Ready(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[derive(Debug)]
    struct Shouting;

    impl Change for Shouting {
        fn pass(&mut self, bytes: Bytes) -> Bytes {
            bytes.to_ascii_uppercase().into()
        }

        fn finish(&mut self) -> Bytes {
            Bytes::new()
        }

        fn cut_short(&mut self) -> Bytes {
            Bytes::from_static(b"late")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_not_come_by_its_deadline_is_not_waited_for() {
        let (send, events) = mpsc::channel(1);
        let deadline = Instant::now() + Duration::from_secs(3);
        let mut body = Body::events(events, None).changed_until(Box::new(Shouting), Some(deadline));
        send.send(Bytes::from_static(b"in time")).await.unwrap();
        let mut next = async || body.frame().await.map(|frame| frame.unwrap().into_data().unwrap());
        assert_eq!(next().await.unwrap(), "IN TIME");
        assert_eq!(next().await.unwrap(), "late");
        assert_eq!(Instant::now(), deadline);
        assert!(next().await.is_none() && send.is_closed(), "and nobody listens to the rest");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_is_kept_alive_and_a_busy_one_is_left_alone() {
        let (send, events) = mpsc::channel(1);
        let mut body = Body::events(events, None);
        let begun = Instant::now();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((&frame[..], begun.elapsed()), (mcp::sse::KEEP_ALIVE, KEEP_ALIVE_EVERY));
        send.send(Bytes::from_static(b"data: x\n\n")).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: x\n\n");
        drop(send);
        assert!(body.frame().await.is_none());
    }
}
