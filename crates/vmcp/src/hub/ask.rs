//! What the hub itself says to a backend: a message in, the whole answer out, bounded in size and time.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use mcp::message::Kind;
use mcp::sse::Decoder;
use mcp::{Era, ErrorCode, ErrorReply, Malformed, Message, Method, Revision, headers};
use model::PrincipalDigest;
use proxy::{Body, Call};
use tokio::time::timeout;

use super::Member;

/// No answer that the hub reads for itself is longer.
pub(super) const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// Why a backend gave no answer that is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("HTTP status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("error {code}: {message}")]
    Error { code: i64, message: String },
    #[error("an answer longer than {MAX_ANSWER} bytes")]
    TooLong,
    #[error("the answer was cut off")]
    CutOff,
    #[error("the answer is no acceptable message: {0}")]
    Unreadable(String),
}

/// One who speaks with a backend: within a session or to begin one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaker<'a> {
    pub(super) member: &'a Member,
    pub(super) path: &'a str,
    pub(super) principal: PrincipalDigest,
    pub(super) session: Option<&'a HeaderValue>,
    pub(super) version: Option<&'a HeaderValue>,
}

/// What came back, whatever it means.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) status: StatusCode,
    pub(super) session: Option<HeaderValue>,
    pub(super) message: Result<Message, Malformed>,
}

/// A backend's answer to a request.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) session: Option<HeaderValue>,
    pub(super) message: Message,
}

impl Speaker<'_> {
    /// The version of one who speaks without a session.
    pub(super) fn modern_version() -> HeaderValue {
        HeaderValue::from_static(Revision::V2026_07_28.as_str())
    }

    /// Whether there is no session, and what is said is of 2026-07-28.
    pub(super) fn is_modern(&self) -> bool {
        self.version.is_some_and(|version| *version == Revision::V2026_07_28.as_str())
    }

    /// Asks, and gives what came back.
    pub(super) async fn exchange_text(&self, text: Bytes, within: Duration) -> Result<Exchange, NoAnswer> {
        let asked = Message::parse(text).map_err(|problem| NoAnswer::Unreadable(problem.to_string()))?;
        timeout(within, self.exchange(&asked)).await.unwrap_or(Err(NoAnswer::TimedOut(within)))
    }

    /// Asks; a JSON-RPC error is none of the answers that come back.
    pub(super) async fn ask(&self, text: Bytes, within: Duration) -> Result<Reply, NoAnswer> {
        let asked = Message::parse(text).map_err(|problem| NoAnswer::Unreadable(problem.to_string()))?;
        timeout(within, self.answer(&asked)).await.unwrap_or(Err(NoAnswer::TimedOut(within)))
    }

    /// Says something that is not answered.
    pub(super) async fn tell(&self, text: Bytes, within: Duration) -> Result<(), NoAnswer> {
        let told = Message::parse(text).map_err(|problem| NoAnswer::Unreadable(problem.to_string()))?;
        let call = self.call(HttpMethod::POST, Some(told), None);
        let response =
            timeout(within, self.member.handle(call)).await.map_err(|_| NoAnswer::TimedOut(within))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(NoAnswer::Status(status)),
        }
    }

    /// Ends the session.
    pub(super) async fn end(&self, within: Duration) {
        // Whether it is told or not, it ends by itself.
        let _ = timeout(within, self.member.handle(self.call(HttpMethod::DELETE, None, None))).await;
    }

    /// Opens what the backend says unasked; `None` where it has no such stream.
    pub(super) async fn listen(&self, last_event: Option<&HeaderValue>) -> Option<Body> {
        let response = self.member.handle(self.call(HttpMethod::GET, None, last_event)).await;
        (response.status() == StatusCode::OK && is_event_stream(&response)).then(|| response.into_body())
    }

    /// Opens what the backend says to those who asked for it with this request; `None` where it does not.
    pub(super) async fn subscribe(&self, text: Bytes) -> Option<Body> {
        let asked = Message::parse(text).ok()?;
        let response = self.member.handle(self.call(HttpMethod::POST, Some(asked), None)).await;
        (response.status() == StatusCode::OK && is_event_stream(&response)).then(|| response.into_body())
    }

    async fn exchange(&self, asked: &Message) -> Result<Exchange, NoAnswer> {
        let response = self.member.handle(self.call(HttpMethod::POST, Some(asked.clone()), None)).await;
        let session = response.headers().get(&headers::SESSION_ID).cloned();
        let status = response.status();
        let events = is_event_stream(&response);
        let mut body = response.into_body();
        let message = match events {
            true => Ok(self.among_events(&mut body, asked.id()).await?),
            false => Message::parse(read(&mut body, MAX_ANSWER).await?),
        };
        Ok(Exchange { status, session, message })
    }

    async fn answer(&self, asked: &Message) -> Result<Reply, NoAnswer> {
        let Exchange { status, session, message } = self.exchange(asked).await?;
        let message = match message {
            Ok(message) => message,
            Err(_) if !status.is_success() => return Err(NoAnswer::Status(status)),
            Err(problem) => return Err(NoAnswer::Unreadable(problem.to_string())),
        };
        match message.kind() {
            Kind::Result if status.is_success() => Ok(Reply { session, message }),
            Kind::Error if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(NoAnswer::Status(status))
            }
            Kind::Error => Err(error_of(&message)),
            _ if !status.is_success() => Err(NoAnswer::Status(status)),
            _ => Err(NoAnswer::Unreadable("neither a result nor an error".to_owned())),
        }
    }

    async fn among_events(&self, body: &mut Body, id: Option<&[u8]>) -> Result<Message, NoAnswer> {
        let (mut decoder, mut events) = (Decoder::new(MAX_ANSWER), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| NoAnswer::CutOff)?;
            let Ok(bytes) = frame.into_data() else { continue };
            decoder.feed(&bytes, &mut events).map_err(|_| NoAnswer::TooLong)?;
            for event in events.drain(..) {
                let Ok(message) = Message::parse(event.data) else { continue };
                match message.kind() {
                    Kind::Result | Kind::Error if message.id() == id => return Ok(message),
                    Kind::Request => self.respond(&message).await,
                    _ => {}
                }
            }
        }
        Err(NoAnswer::CutOff)
    }

    /// Answers a backend that asks the hub: it is there, and otherwise has nobody to ask.
    pub(super) async fn respond(&self, asked: &Message) {
        let answer = match asked.method() {
            Method::Ping => result(asked.id().unwrap_or(b"null"), b"{}"),
            _ => ErrorReply::new(ErrorCode::MethodNotFound, "there is no client behind this session")
                .to_json(asked.id()),
        };
        // What it does without an answer is its own affair.
        let _ = self.tell(answer, Duration::from_secs(5)).await;
    }

    /// A call of its session.
    pub(super) fn call(
        &self,
        method: HttpMethod,
        message: Option<Message>,
        last_event: Option<&HeaderValue>,
    ) -> Call {
        let mut head = Request::new(()).into_parts().0;
        head.uri = self.path.parse().unwrap_or_default();
        let accept = match method {
            HttpMethod::GET => "text/event-stream",
            _ => "application/json, text/event-stream",
        };
        head.method = method;
        head.headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        if message.is_some() {
            head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in [
            (headers::SESSION_ID, self.session),
            (headers::PROTOCOL_VERSION, self.version),
            (headers::LAST_EVENT_ID, last_event),
        ] {
            if let Some(value) = value {
                head.headers.insert(name, value.clone());
            }
        }
        let era = if self.is_modern() { Era::Modern } else { Era::Legacy };
        if let Some(message) = message.as_ref().filter(|_| era == Era::Modern) {
            mirror(&mut head.headers, message);
        }
        let body = match message {
            None => mcp::request::Body::None,
            Some(message) => mcp::request::Body::Message { message: Box::new(message), era },
        };
        let client = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let request = mcp::Request { head: Box::new(head), body };
        Call { request, principal: self.principal, client, tls: false }
    }
}

/// Says in headers what a message of 2026-07-28 is about.
pub(super) fn mirror(head: &mut HeaderMap, message: &Message) {
    head.insert(headers::PROTOCOL_VERSION, Speaker::modern_version());
    if let Some(method) = message.method_name().and_then(|method| HeaderValue::from_str(&method).ok()) {
        head.insert(headers::METHOD, method);
    }
    match message.target() {
        Some(target) => head.insert(headers::NAME, headers::encode_value(&target)),
        None => head.remove(headers::NAME),
    };
}

/// The result to a request.
pub(super) fn result(id: &[u8], result: &[u8]) -> Bytes {
    [br#"{"jsonrpc":"2.0","id":"#, id, br#","result":"#, result, b"}"].concat().into()
}

/// Whether an answer is a stream of events.
pub(super) fn is_event_stream(response: &Response<Body>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
    })
}

/// All of a body.
pub(super) async fn read(body: &mut Body, at_most: usize) -> Result<Bytes, NoAnswer> {
    let mut text = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(|_| NoAnswer::CutOff)?.into_data() else { continue };
        if text.len() + bytes.len() > at_most {
            return Err(NoAnswer::TooLong);
        }
        text.extend_from_slice(&bytes);
    }
    Ok(text.freeze())
}

/// What an error says.
pub(super) fn error_of(message: &Message) -> NoAnswer {
    #[derive(serde::Deserialize)]
    struct Error {
        message: Option<String>,
    }
    let error = message.error().and_then(|error| serde_json::from_slice::<Error>(error).ok());
    let mut text = error.and_then(|error| error.message).unwrap_or_default();
    if let Some((cut, _)) = text.char_indices().nth(300) {
        text.truncate(cut);
    }
    NoAnswer::Error { code: message.error_code().unwrap_or_default(), message: text }
}
