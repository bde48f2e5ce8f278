//! The answers that the bridge's clients get.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use mcp::{Era, ErrorCode};
use tokio::time::{Instant, sleep_until};

use super::child::{Attendance, Child, First, Place, UnderWay};
use crate::body::{Body, event_stream};
use crate::failure::{Failure, FailureClass, json_answer};
pub(super) use crate::streamable::{Accepts, at_once, empty, not_acceptable};

/// A request that is not answered within this gets the head of an event stream, so that nobody between takes it for
/// dead, and a cursor to ask for the answer with.
pub(super) const QUIET: Duration = Duration::from_secs(2);

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
