//! One request to a Streamable HTTP server, from its POST to its answer: JSON, a stream of events, a stream taken up
//! again, an HTTP error, or a modern call repeated with the headers it turned out to need.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use mcp::method::Pace;
use mcp::{Era, ErrorCode, ErrorReply, Message, Method};
use serde_json::json;
use tokio::time::timeout;

use super::answer::{self, Cursor, Events, Lines, Unread, error_in, refusal};
use super::inbox::Gone;
use super::link::Link;
use super::listen::{self, Stream};
use super::origin::is_event_stream;
use super::pending::{IdKey, Waiting, era_of};
use super::relearn::relearn;
use crate::body::Body;
use crate::failure::Failure;

/// A server should end a stream behind the response; this long it is waited for, so that its connection can be reused.
const LINGER: Duration = Duration::from_secs(1);
/// A stream is tried to be taken up again this often in a row.
const MAX_RESUMES: u32 = 5;

/// Why there is no answer to pass on.
enum Unanswered {
    /// The channel is over: whoever ended it answers what is left.
    Over,
    /// The error to answer with.
    Error(Bytes),
}

impl From<Gone> for Unanswered {
    fn from(_: Gone) -> Self {
        Self::Over
    }
}

/// A request under way.
struct Call<'a> {
    link: &'a Link,
    request: &'a Message,
    key: &'a IdKey,
    id: &'a [u8],
}

/// Sends a request and passes its answer on, or an error in its place. Ends at once when it is cancelled.
pub(super) async fn call(link: Arc<Link>, request: Message, key: IdKey, waiting: Waiting) {
    let call = Call { link: &link, request: &request, key: &key, id: &waiting.id };
    let answered = tokio::select! {
        () = waiting.stop.cancelled() => return,
        answered = call.run() => answered,
    };
    if let Err(Unanswered::Error(text)) = answered {
        link.inbox.fail(&key, text).await;
    }
}

impl Call<'_> {
    async fn run(&self) -> Result<(), Unanswered> {
        let mut response = self.post().await?;
        if response.status() == StatusCode::BAD_REQUEST && self.may_need_headers() {
            let body = self.body(response).await;
            if error_in(&body).and_then(|error| error.error_code())
                != Some(ErrorCode::HeaderMismatch.number())
            {
                return Err(Unanswered::Error(refusal(StatusCode::BAD_REQUEST, &body, self.id)));
            }
            relearn(self.link, self.request).await;
            response = self.post().await?;
        }
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        if self.request.method() == Method::Initialize {
            self.link.begin_session(response.headers());
        }
        if is_event_stream(response.headers()) {
            self.follow(response.into_body()).await
        } else if self.request.method().pace() == Pace::Endless {
            self.read_lines(response.into_body()).await
        } else {
            self.read_whole(response).await
        }
    }

    async fn post(&self) -> Result<Response<Body>, Unanswered> {
        self.link.post(self.request).await.map_err(|failure| self.failed(&failure))
    }

    fn failed(&self, failure: &Failure) -> Unanswered {
        tracing::debug!(error.class = failure.class(), error = %failure, "request not answered");
        Unanswered::Error(failure.reply().to_json(Some(self.id)))
    }

    /// Refused for its headers, a call can be repeated once the tool's annotations are known: it was not executed.
    fn may_need_headers(&self) -> bool {
        self.request.method() == Method::ToolsCall && era_of(self.request) == Era::Modern
    }

    async fn refused(&self, response: Response<Body>) -> Unanswered {
        let status = response.status();
        let legacy = era_of(self.request) == Era::Legacy && self.request.method() != Method::Initialize;
        if status == StatusCode::NOT_FOUND && legacy && self.link.has_session() {
            self.link.inbox.over.lose(listen::SESSION_LOST);
            return Unanswered::Over;
        }
        Unanswered::Error(refusal(status, &self.body(response).await, self.id))
    }

    /// The body of an error, as far as it can be read.
    async fn body(&self, response: Response<Body>) -> Bytes {
        answer::whole(response.into_body(), self.link.config.max_message).await.unwrap_or_default()
    }

    async fn read_whole(&self, response: Response<Body>) -> Result<(), Unanswered> {
        let status = response.status();
        let read = answer::whole(response.into_body(), self.link.config.max_message).await;
        let body = read.map_err(|error| self.cut_off(&error))?;
        self.link.deliver(body.clone()).await?;
        if !self.link.inbox.pending.is_open(self.key) {
            return Ok(());
        }
        // An error without an id, in answer to this request, is about this request.
        Err(Unanswered::Error(match error_in(&body) {
            Some(_) => refusal(status, &body, self.id),
            None => {
                self.no_answer(&format!("the server answered {status} without a response to this request"))
            }
        }))
    }

    async fn read_lines(&self, body: Body) -> Result<(), Unanswered> {
        let mut lines = Lines::new(body, self.link.config.max_message);
        while let Some(line) = lines.next().await {
            self.link.deliver(line.map_err(|error| self.cut_off(&error))?).await?;
        }
        self.ended()
    }

    /// Reads events up to the response, taking the stream up again as often as the server ends it before.
    async fn follow(&self, body: Body) -> Result<(), Unanswered> {
        let limit = self.link.config.max_message;
        let mut cursor = Cursor::default();
        let mut events = Events::new(body, limit);
        loop {
            while let Some(message) = events.next_message(&mut cursor).await {
                let message = match message {
                    Ok(message) => message,
                    Err(error @ Unread::TooLong { .. }) => return Err(self.cut_off(&error)),
                    Err(error) => {
                        tracing::debug!(%error, "stream cut");
                        break;
                    }
                };
                self.link.deliver(message).await?;
                if !self.link.inbox.pending.is_open(self.key) {
                    // All else waits for the handshake, so it does not wait for its stream.
                    let handshake = self.request.method() == Method::Initialize;
                    return if handshake { Ok(()) } else { self.linger(events, cursor).await };
                }
            }
            let resumable = cursor.last_id.is_some() && era_of(self.request) == Era::Legacy;
            if !resumable || !self.link.inbox.pending.is_wanted(self.key) {
                return self.ended();
            }
            events = Events::new(self.resume(&cursor).await?, limit);
        }
    }

    /// Passes on what comes behind the response, while the server ends the stream.
    async fn linger(&self, mut events: Events, mut cursor: Cursor) -> Result<(), Unanswered> {
        let rest = async {
            while let Some(Ok(message)) = events.next_message(&mut cursor).await {
                self.link.deliver(message).await?;
            }
            Ok(())
        };
        timeout(LINGER, rest).await.unwrap_or(Ok(()))
    }

    async fn resume(&self, cursor: &Cursor) -> Result<Body, Unanswered> {
        let mut failures = 0;
        loop {
            tokio::time::sleep(listen::pause(cursor.retry, failures)).await;
            match listen::open(self.link, cursor).await {
                Stream::Open(body) => return Ok(body),
                Stream::SessionLost => return Err(Unanswered::Over),
                Stream::NotOffered(status) => {
                    let reason =
                        format!("the server ended the stream and answered {status} to taking it up again");
                    return Err(Unanswered::Error(self.no_answer(&reason)));
                }
                Stream::NotNow(reason) if failures == MAX_RESUMES => {
                    return Err(Unanswered::Error(self.no_answer(&reason)));
                }
                Stream::NotNow(_) => failures += 1,
            }
        }
    }

    /// The stream is at its end for good.
    fn ended(&self) -> Result<(), Unanswered> {
        if self.link.inbox.pending.is_wanted(self.key) {
            let text = self.no_answer("the server ended the stream without a response");
            return Err(Unanswered::Error(text));
        }
        self.link.inbox.pending.take(self.key);
        Ok(())
    }

    fn cut_off(&self, error: &Unread) -> Unanswered {
        Unanswered::Error(self.no_answer(&format!("the server's answer was not read to its end: {error}")))
    }

    /// An error that says that the outcome is unknown.
    fn no_answer(&self, reason: &str) -> Bytes {
        let data = json!({"origin": "skep", "class": "lost", "executed": "unknown"});
        ErrorReply::new(ErrorCode::Internal, reason).with_data(data).to_json(Some(self.id))
    }
}

/// Sends a notification or a response; nobody waits for what becomes of it. Gives whether it was accepted.
pub(super) async fn tell(link: &Link, message: &Message) -> bool {
    let response = match link.post(message).await {
        Ok(response) => response,
        Err(failure) => {
            tracing::debug!(error = %failure, rpc.method = message.method().label(), "message not delivered");
            return false;
        }
    };
    let status = response.status();
    answer::drain(response.into_body()).await;
    if status == StatusCode::NOT_FOUND && era_of(message) == Era::Legacy && link.has_session() {
        link.inbox.over.lose(listen::SESSION_LOST);
    }
    if !status.is_success() {
        tracing::debug!(
            http.status = status.as_u16(),
            rpc.method = message.method().label(),
            "message refused"
        );
    }
    status.is_success()
}

/// A request of our own: its response, read from either kind of answer and passed on to nobody.
pub(super) async fn ask(link: &Link, request: &Message) -> Option<Message> {
    let response = link.post(request).await.ok()?;
    let limit = link.config.max_message;
    let answers = |text: Bytes| Message::parse(text).ok().filter(|message| message.id() == request.id());
    if !is_event_stream(response.headers()) {
        return answers(answer::whole(response.into_body(), limit).await.ok()?);
    }
    let mut events = Events::new(response.into_body(), limit);
    let mut cursor = Cursor::default();
    while let Some(Ok(text)) = events.next_message(&mut cursor).await {
        if let Some(response) = answers(text) {
            return Some(response);
        }
    }
    None
}
