//! What clients accept, and the answers they get.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use mcp::{Era, ErrorCode, ErrorReply};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::child::{Attendance, Child, First, Place, UnderWay};
use crate::body::{Body, event_stream};
use crate::failure::{Failure, FailureClass, json_answer, refused};

/// A request that is not answered within this gets the head of an event stream, so that nobody between takes it for
/// dead, and a cursor to ask for the answer with.
pub(super) const QUIET: Duration = Duration::from_secs(2);

/// What `Accept` allows, and what it names first. Absent, it allows everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepts {
    pub json: bool,
    pub events: bool,
    events_first: bool,
}

impl Accepts {
    pub(super) fn read(headers: &HeaderMap) -> Self {
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
    fn prefers_events(self) -> bool {
        self.events && (self.events_first || !self.json)
    }
}

/// 406.
pub(super) fn not_acceptable(wanted: &str, id: Option<&[u8]>) -> Response<Body> {
    let reply = ErrorReply::new(ErrorCode::InvalidRequest, format!("header Accept must allow {wanted}"));
    refused(StatusCode::NOT_ACCEPTABLE, "not_acceptable", &reply, id)
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// An answer that is there at once, in whichever form the client accepts.
pub(super) fn at_once(accepts: Accepts, text: Bytes) -> Response<Body> {
    if !accepts.prefers_events() {
        return json_answer(StatusCode::OK, text);
    }
    let (queue, events) = mpsc::channel(1);
    // A new queue has room.
    let _ = queue.try_send(mcp::sse::message_event(None, &text));
    event_stream(Body::events(events, None))
}

/// The status of an answer: 2026-07-28 gives JSON-RPC errors a meaning, before it only the transport had one.
fn status(era: Era, code: Option<i64>) -> StatusCode {
    let code_is = |expected: ErrorCode| code == Some(expected.number());
    match era {
        Era::Modern if code_is(ErrorCode::MethodNotFound) => StatusCode::NOT_FOUND,
        Era::Modern
            if code_is(ErrorCode::HeaderMismatch)
                || code_is(ErrorCode::MissingClientCapability)
                || code_is(ErrorCode::UnsupportedVersion) =>
        {
            StatusCode::BAD_REQUEST
        }
        // A legacy client met a server that only speaks 2026-07-28.
        Era::Legacy if code_is(ErrorCode::UnsupportedVersion) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

/// A request under way, and how its client wants it answered.
pub(super) struct Asked {
    pub under_way: UnderWay,
    pub accepts: Accepts,
    pub era: Era,
    /// How long the first message may take.
    pub patience: Option<Duration>,
    /// Must live as long as the answer.
    pub hold: Option<Box<dyn Send + Sync>>,
}

/// What to call the server in a failure.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub name: Arc<str>,
    pub target: Arc<str>,
}

impl Backend {
    pub(super) fn timed_out(&self, patience: Duration) -> Failure {
        Failure::TimedOut {
            backend: self.name.to_string(),
            instance: self.target.to_string(),
            seconds: patience.as_secs(),
        }
    }
}

/// Waits for the first message: an answer becomes the answer, anything else begins a stream.
///
/// # Errors
/// [`Failure::TimedOut`]; [`Failure::Ended`] where the server went first.
pub(super) async fn wait(
    child: &Arc<Child>,
    backend: &Backend,
    asked: Asked,
) -> Result<Response<Body>, Failure> {
    let Asked { under_way: UnderWay { ours, mut first }, accepts, era, patience, hold } = asked;
    let mut attendance = Attendance::new(child, Place::Waiting { ours }, hold);
    if accepts.prefers_events() {
        child.begin_stream(ours);
    }
    let begun = Instant::now();
    let quiet_ends = (accepts.events && patience.is_none()).then(|| begun + QUIET);
    let mut next = quiet_ends.or_else(|| patience.map(|patience| begun + patience));
    let first = loop {
        tokio::select! {
            biased;
            first = &mut first => break first,
            () = until(next) => match patience {
                Some(patience) => {
                    attendance.moves_to(None);
                    child.give_up(ours, "no answer in time");
                    return Err(backend.timed_out(patience));
                }
                None => {
                    next = None;
                    child.begin_stream(ours);
                }
            },
        }
    };
    match first {
        Ok(First::Answer { text, code }) => {
            attendance.moves_to(None);
            let mut response = json_answer(status(era, code), text);
            if code == Some(ErrorCode::OutcomeUnknown.number()) {
                response.extensions_mut().insert(FailureClass("interrupted"));
            }
            Ok(response)
        }
        Ok(First::Events { events, place }) => {
            attendance.moves_to(Some(place));
            Ok(event_stream(Body::events(events, Some(Box::new(attendance)))))
        }
        Err(_) => {
            attendance.moves_to(None);
            Err(child.over().unwrap_or(Failure::UnknownSession))
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
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

    #[test]
    fn status_follows_the_code_in_the_modern_era_only() {
        for (era, code, expect) in [
            (Era::Modern, None, 200),
            (Era::Modern, Some(-32601), 404),
            (Era::Modern, Some(-32602), 200),
            (Era::Modern, Some(-32020), 400),
            (Era::Modern, Some(-32021), 400),
            (Era::Modern, Some(-32022), 400),
            (Era::Legacy, Some(-32601), 200),
            (Era::Legacy, Some(-32022), 400),
        ] {
            assert_eq!(status(era, code).as_u16(), expect, "{era:?} {code:?}");
        }
    }
}
