//! What a remote server answers with, turned into messages: a whole JSON text, a stream of events, or an HTTP error
//! that a JSON-RPC error is made of.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use mcp::framing::LineDecoder;
use mcp::message::Kind;
use mcp::sse::{Decoder, Event};
use mcp::{ErrorCode, ErrorReply, Message};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::body::Body;

/// An answer that nobody needs is read to its end for this long at most, so that its connection can be used again.
const DRAIN: Duration = Duration::from_secs(1);
const DRAIN_BYTES: usize = 64 * 1024;

/// An answer could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("{0}")]
    CutOff(String),
    #[error("an answer longer than {limit} bytes")]
    TooLong { limit: usize },
}

/// A body in one piece.
pub(super) async fn whole(mut body: Body, limit: usize) -> Result<Bytes, Unread> {
    let mut text = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| Unread::CutOff(error.to_string()))?.into_data() else {
            continue;
        };
        if text.len() + data.len() > limit {
            return Err(Unread::TooLong { limit });
        }
        if text.is_empty() && http_body::Body::is_end_stream(&body) {
            return Ok(data);
        }
        text.extend_from_slice(&data);
    }
    Ok(text.freeze())
}

/// Reads what nobody needs.
pub(super) async fn drain(body: Body) {
    // Too long or too slow: dropping it closes the connection, which is just as well.
    let _ = timeout(DRAIN, whole(body, DRAIN_BYTES)).await;
}

/// The messages of one text: itself, or the members of a batch (2025-03-26 servers may answer so).
pub(super) fn split_batch(text: Bytes) -> Vec<Bytes> {
    if text.trim_ascii_start().first() != Some(&b'[') {
        return vec![text];
    }
    match serde_json::from_slice::<Vec<&RawValue>>(&text) {
        Ok(members) => members.into_iter().map(|member| text.slice_ref(member.get().as_bytes())).collect(),
        Err(_) => vec![text],
    }
}

/// The events of a body, one at a time.
pub(super) struct Events {
    body: Body,
    decoder: Decoder,
    ready: VecDeque<Event>,
    decoded: Vec<Event>,
}

impl Events {
    pub(super) fn new(body: Body, limit: usize) -> Self {
        Self { body, decoder: Decoder::new(limit), ready: VecDeque::new(), decoded: Vec::new() }
    }

    /// The next event; `None` at a clean end.
    pub(super) async fn next(&mut self) -> Option<Result<Event, Unread>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            let data = match next_data(&mut self.body).await? {
                Ok(data) => data,
                Err(error) => return Some(Err(error)),
            };
            if let Err(error) = self.decoder.feed(&data, &mut self.decoded) {
                return Some(Err(Unread::TooLong { limit: error.limit }));
            }
            self.ready.extend(self.decoded.drain(..));
        }
    }

    /// The next event that carries a message, noting cursors on the way.
    pub(super) async fn next_message(&mut self, cursor: &mut Cursor) -> Option<Result<Bytes, Unread>> {
        loop {
            let event = match self.next().await? {
                Ok(event) => event,
                Err(error) => return Some(Err(error)),
            };
            cursor.note(&event);
            if !event.data.is_empty() && matches!(&*event.name, "" | "message") {
                return Some(Ok(event.data));
            }
        }
    }
}

/// Messages that come as lines of a body that says it is JSON: some servers answer `subscriptions/listen` so.
pub(super) struct Lines {
    body: Body,
    decoder: LineDecoder,
    ended: bool,
}

impl Lines {
    pub(super) fn new(body: Body, limit: usize) -> Self {
        Self { body, decoder: LineDecoder::new(limit), ended: false }
    }

    /// The next line; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Unread>> {
        loop {
            match self.decoder.next_line() {
                Ok(Some(line)) => return Some(Ok(line)),
                Ok(None) => {}
                Err(error) => return Some(Err(Unread::TooLong { limit: error.limit })),
            }
            let data = if self.ended { None } else { next_data(&mut self.body).await };
            match data {
                Some(Ok(data)) => self.decoder.buffer().extend_from_slice(&data),
                Some(Err(error)) => return Some(Err(error)),
                None if self.ended => return None,
                None => {
                    // The last line needs no line feed.
                    self.ended = true;
                    self.decoder.buffer().extend_from_slice(b"\n");
                }
            }
        }
    }
}

async fn next_data(body: &mut Body) -> Option<Result<Bytes, Unread>> {
    loop {
        match body.frame().await? {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
            Err(error) => return Some(Err(Unread::CutOff(error.to_string()))),
        }
    }
}

/// Where a stream could be taken up again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) last_id: Option<String>,
    pub(super) retry: Option<Duration>,
}

impl Cursor {
    fn note(&mut self, event: &Event) {
        if let Some(id) = &event.id {
            self.last_id = (!id.is_empty()).then(|| id.clone());
        }
        if let Some(retry) = event.retry {
            self.retry = Some(Duration::from_millis(retry));
        }
    }
}

/// The JSON-RPC error for a request that got an HTTP error: the one in its body, under the request's own id, or one
/// that says the status.
pub(super) fn refusal(status: StatusCode, body: &Bytes, id: &[u8]) -> Bytes {
    if let Some(error) = error_in(body) {
        return match error.error() {
            Some(_) if error.id() == Some(id) => body.clone(),
            error => [br#"{"jsonrpc":"2.0","id":"#, id, br#","error":"#, error.unwrap_or_default(), b"}"]
                .concat()
                .into(),
        };
    }
    // Whether it was executed is not known: a gateway's 502 or 504 says nothing about what is behind it.
    let executed = if status.is_client_error() { "no" } else { "unknown" };
    let data =
        json!({"origin": "skep", "class": "http_status", "status": status.as_u16(), "executed": executed});
    ErrorReply::new(ErrorCode::Internal, format!("the server answered {status}"))
        .with_data(data)
        .to_json(Some(id))
}

/// The JSON-RPC error that a body holds.
pub(super) fn error_in(body: &Bytes) -> Option<Message> {
    Message::parse(body.clone()).ok().filter(|message| message.kind() == Kind::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_the_body_is_kept_under_the_requests_id() {
        let refuse = |status: u16, body: &'static str| {
            let text =
                refusal(StatusCode::from_u16(status).unwrap(), &Bytes::from_static(body.as_bytes()), b"7");
            String::from_utf8(text.to_vec()).unwrap()
        };
        let own = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"x"}, "extra":1}"#;
        assert_eq!(refuse(400, own), own);
        for id in [r#""id":null,"#, r#""id":"server-error","#, ""] {
            let body =
                format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code": -32000,"message":"No valid session"}}}}"#);
            let expect = r#"{"jsonrpc":"2.0","id":7,"error":{"code": -32000,"message":"No valid session"}}"#;
            assert_eq!(refuse(400, body.leak()), expect);
        }
        let made = refuse(503, "<html>busy</html>");
        assert!(made.contains(r#""code":-32603"#) && made.contains(r#""status":503"#), "{made}");
        assert!(refuse(404, "").contains(r#""executed":"no""#));
    }

    #[test]
    fn a_batch_is_its_members() {
        let split = |text: &'static str| split_batch(Bytes::from_static(text.as_bytes()));
        assert_eq!(split(r#" [{"a":1}, {"b":[2]}]"#), [r#"{"a":1}"#, r#"{"b":[2]}"#]);
        assert_eq!(split(r#"{"a":[1]}"#), [r#"{"a":[1]}"#]);
        assert_eq!(split("[broken"), ["[broken"]);
    }

    #[tokio::test]
    async fn lines_of_a_json_answer_are_messages() {
        let mut lines = Lines::new(Body::Full(Bytes::from_static(b"{\"a\":1}\n{\"b\":2}")), 100);
        assert_eq!(lines.next().await.unwrap().unwrap(), "{\"a\":1}");
        assert_eq!(lines.next().await.unwrap().unwrap(), "{\"b\":2}");
        assert!(lines.next().await.is_none());
    }
}
