//! What HTTP answers consist of: nothing, one text, a text made while it is written, or events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use mcp::ErrorReply;

use super::events::EventStream;
use crate::large::Large;

#[derive(Debug)]
pub(crate) enum Body {
    Empty,
    Text(Option<Bytes>),
    Large(Large),
    Events(EventStream),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match self.get_mut() {
            Self::Empty => None,
            Self::Text(text) => text.take(),
            Self::Large(large) => large.next(),
            Self::Events(events) => std::task::ready!(events.poll_bytes(cx)),
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Text(None) => true,
            Self::Large(large) => large.remaining() == 0,
            Self::Text(Some(_)) | Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Large(large) => SizeHint::with_exact(large.remaining()),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

pub(super) fn json(status: StatusCode, text: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::Text(Some(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

pub(super) fn large(large: Large) -> Response<Body> {
    let mut response = Response::new(Body::Large(large));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// A refusal. `id` is the request's, as JSON text.
pub(super) fn refuse(status: StatusCode, why: &ErrorReply, id: Option<&[u8]>) -> Response<Body> {
    json(status, why.to_json(id))
}

pub(super) fn events(events: EventStream) -> Response<Body> {
    event_response(Body::Events(events))
}

/// Events that are all there already.
pub(super) fn whole_events(text: Bytes) -> Response<Body> {
    event_response(Body::Text(Some(text)))
}

fn event_response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
