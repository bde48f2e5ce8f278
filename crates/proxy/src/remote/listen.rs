//! Streams that are opened by GET (legacy): the one for what the server says unasked, and streams of requests that are
//! taken up again.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::answer::{Cursor, Events};
use super::link::Link;
use super::origin::is_event_stream;
use crate::body::Body;

/// Why a channel is over whose session the server does not know.
pub(super) const SESSION_LOST: &str = "the server does not know the session any more";

/// How long to wait before a stream is opened again, where the server does not say.
const RETRY: Duration = Duration::from_secs(1);
/// Not even a server that says so is asked more often than this.
const SHORTEST: Duration = Duration::from_millis(10);
/// Repeated failures lengthen the wait up to this.
const LONGEST: Duration = Duration::from_secs(30);

/// What a GET gave.
pub(super) enum Stream {
    Open(Body),
    /// The server does not know the session; the channel has been told.
    SessionLost,
    /// This server has no such stream.
    NotOffered(StatusCode),
    /// It may work later.
    NotNow(String),
}

/// Opens a stream behind the cursor.
pub(super) async fn open(link: &Link, cursor: &Cursor) -> Stream {
    let response = match link.get(cursor.last_id.as_deref()).await {
        Ok(response) => response,
        Err(failure) => return Stream::NotNow(failure.to_string()),
    };
    match response.status() {
        status if status.is_success() => match is_event_stream(response.headers()) {
            true => Stream::Open(response.into_body()),
            false => Stream::NotOffered(status),
        },
        StatusCode::NOT_FOUND if link.has_session() => {
            link.inbox.over.lose(SESSION_LOST);
            Stream::SessionLost
        }
        // 409: the server has not noticed yet that the stream before is closed.
        status @ (StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) => {
            Stream::NotNow(format!("the server answered {status}"))
        }
        status if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {
            Stream::NotNow(format!("the server answered {status}"))
        }
        status => Stream::NotOffered(status),
    }
}

/// How long to wait before opening a stream after so many failures in a row. What the server asks for is kept.
pub(super) fn pause(retry: Option<Duration>, failures: u32) -> Duration {
    let base = retry.unwrap_or(RETRY).max(SHORTEST);
    base.saturating_mul(1 << failures.min(5)).min(LONGEST.max(base))
}

/// Keeps the stream for unasked messages open as long as the server offers it.
pub(super) async fn listen(link: Arc<Link>) {
    let mut cursor = Cursor::default();
    let mut failures = 0;
    loop {
        match open(&link, &cursor).await {
            Stream::Open(body) => {
                failures = 0;
                let mut events = Events::new(body, link.config.max_message);
                while let Some(Ok(message)) = events.next_message(&mut cursor).await {
                    if link.deliver(message).await.is_err() {
                        return;
                    }
                }
            }
            Stream::SessionLost => return,
            Stream::NotOffered(status) => {
                tracing::debug!(http.status = status.as_u16(), "server has no stream for unasked messages");
                return;
            }
            Stream::NotNow(reason) => {
                tracing::debug!(reason, "stream for unasked messages not opened");
                failures += 1;
            }
        }
        tokio::time::sleep(pause(cursor.retry, failures)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_the_server_and_grows_with_failures() {
        let seconds =
            |retry: Option<u64>, failures| pause(retry.map(Duration::from_secs), failures).as_secs();
        assert_eq!([0, 1, 2, 3, 9].map(|failures| seconds(None, failures)), [1, 2, 4, 8, 30]);
        assert_eq!(seconds(Some(60), 9), 60, "never sooner than the server asks");
        assert_eq!(pause(Some(Duration::ZERO), 0), SHORTEST);
    }
}
