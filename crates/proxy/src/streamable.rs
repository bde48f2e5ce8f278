//! What Streamable HTTP of the legacy era asks of every endpoint, whatever is behind it: what a client accepts, in which
//! form a whole answer goes to it, which versions it may name.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use mcp::{Era, ErrorCode, ErrorReply, Revision, headers};
use tokio::sync::mpsc;

use crate::body::{Body, event_stream};
use crate::failure::{Failure, json_answer, refused};

/// What `Accept` allows, and what it names first. Absent, it allows everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepts {
    /// A whole message.
    pub json: bool,
    /// A stream of events.
    pub events: bool,
    events_first: bool,
}

impl Accepts {
    /// Reads the header.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(header::ACCEPT).iter().peekable();
        if values.peek().is_none() {
            return Self { json: true, events: true, events_first: false };
        }
        let mut accepts = Self { json: false, events: false, events_first: false };
        for range in values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            if parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000")) {
                continue;
            }
            accepts.json |= matches!(&*kind, "*/*" | "application/*" | "application/json");
            accepts.events |= matches!(&*kind, "*/*" | "text/*" | "text/event-stream");
            accepts.events_first |= accepts.events && !accepts.json;
        }
        accepts
    }

    /// Whether an answer that could be either is to be an event stream.
    #[must_use]
    pub fn prefers_events(self) -> bool {
        self.events && (self.events_first || !self.json)
    }
}

/// 406.
#[must_use]
pub fn not_acceptable(wanted: &str, id: Option<&[u8]>) -> Response<Body> {
    let reply = ErrorReply::new(ErrorCode::InvalidRequest, format!("header Accept must allow {wanted}"));
    refused(StatusCode::NOT_ACCEPTABLE, "not_acceptable", &reply, id)
}

/// An answer without a body.
#[must_use]
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// An answer that is there at once, in whichever form the client accepts.
#[must_use]
pub fn at_once(accepts: Accepts, text: Bytes) -> Response<Body> {
    if !accepts.prefers_events() {
        return json_answer(StatusCode::OK, text);
    }
    let (queue, events) = mpsc::channel(1);
    // A new queue has room.
    let _ = queue.try_send(mcp::sse::message_event(None, &text));
    event_stream(Body::events(events, None))
}

/// `MCP-Protocol-Version` of a legacy request: absent, or one that has sessions.
///
/// # Errors
/// [`Failure::BadRequest`].
pub fn check_version(headers: &HeaderMap) -> Result<(), Failure> {
    let bad = |what: String| Failure::BadRequest { what };
    match headers::single(headers, &headers::PROTOCOL_VERSION).map_err(|problem| bad(problem.to_string()))? {
        Some(date) if Revision::from_wire(date).map(Revision::era) != Some(Era::Legacy) => {
            Err(bad(format!("MCP-Protocol-Version {date:?} is not supported")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn accept_is_read_as_http_says() {
        for (accept, json, events, prefers_events) in [
            (None, true, true, false),
            (Some("application/json, text/event-stream"), true, true, false),
            (Some("text/event-stream, application/json"), true, true, true),
            (Some("text/event-stream;q=0.9"), false, true, true),
            (Some("Application/JSON"), true, false, false),
            (Some("*/*"), true, true, false),
            (Some("application/*;q=0, text/*"), false, true, true),
            (Some("text/html"), false, false, false),
            (Some(""), false, false, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            let read = Accepts::read(&headers);
            let expect = (json, events, prefers_events);
            assert_eq!((read.json, read.events, read.prefers_events()), expect, "{accept:?}");
        }
    }
}
