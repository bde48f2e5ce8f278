//! Reads the body of a POST as one JSON-RPC message and decides its era. Everything further in works with the message;
//! nobody parses again.

use bytes::Bytes;
use http::{HeaderMap, Method as HttpMethod, StatusCode, header};
use mcp::request::Body;
use mcp::{ErrorCode, ErrorReply, Message, revision};

use crate::answer::Answer;
use crate::service::{Incoming, Parsed, Service, Whole, WholeRequest};

/// The layer.
#[derive(Debug)]
pub struct ReadEnvelope<S> {
    inner: S,
}

impl<S> ReadEnvelope<S> {
    /// Around `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S: Service<Parsed>> Service<Whole> for ReadEnvelope<S> {
    async fn call(&self, whole: Whole) -> Answer {
        let WholeRequest { head, body: bytes } = whole.request;
        let body = match head.method {
            HttpMethod::POST => match read(&head.headers, bytes) {
                Ok(body) => body,
                Err(refusal) => return *refusal,
            },
            _ => Body::None,
        };
        let request = mcp::Request { head, body };
        let method = request.message().map_or(mcp::Method::Other, Message::method);
        let mut answer = self.inner.call(Incoming::new(whole.client, request)).await;
        answer.method = method;
        answer
    }
}

fn read(headers: &HeaderMap, bytes: Bytes) -> Result<Body, Box<Answer>> {
    if !is_json(headers) {
        let reply = ErrorReply::new(ErrorCode::InvalidRequest, "Content-Type must be application/json");
        let refusal = Answer::refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", &reply, None);
        return Err(Box::new(refusal));
    }
    let message = Message::parse(bytes).map_err(|malformed| {
        Box::new(Answer::refuse(StatusCode::BAD_REQUEST, "malformed", &malformed.reply(), None))
    })?;
    match revision::classify(headers, &message) {
        Ok(era) => Ok(Body::Message { message: Box::new(message), era }),
        Err(contradiction) => {
            let mut answer =
                Answer::refuse(StatusCode::BAD_REQUEST, "contradiction", &contradiction.0, message.id());
            answer.method = message.method();
            Err(Box::new(answer))
        }
    }
}

/// `application/json`, whatever its parameters; the one type that the transport defines for a POST.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let kind = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::AnswerBody;
    use crate::service::Client;

    struct Echo;

    impl Service<Parsed> for Echo {
        async fn call(&self, parsed: Parsed) -> Answer {
            Answer::new(http::Response::new(AnswerBody::Full(parsed.request.bytes())))
        }
    }

    async fn post(content_type: &str, body: &'static str) -> (u16, String) {
        let request = http::Request::post("/mcp").header("content-type", content_type).body(()).unwrap();
        let head = Box::new(request.into_parts().0);
        let request = WholeRequest { head, body: Bytes::from_static(body.as_bytes()) };
        let client = Client { address: "127.0.0.1:1".parse().unwrap(), tls: false };
        let answer = ReadEnvelope::new(Echo).call(Incoming::new(client, request)).await;
        let status = answer.response.status().as_u16();
        let AnswerBody::Full(text) = answer.response.into_body() else { panic!("a text") };
        (status, String::from_utf8(text.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn passes_on_the_very_bytes_and_refuses_by_the_table() {
        const PING: &str = r#"{ "jsonrpc":"2.0", "id":1, "method":"ping" }"#;
        assert_eq!(post("application/json", PING).await, (200, PING.to_owned()));
        assert_eq!(post("Application/JSON; charset=utf-8", PING).await.0, 200);
        for (kind, body, status, code) in [
            ("text/plain", PING, 415, "-32600"),
            ("application/json-seq", PING, 415, "-32600"),
            ("application/json", "{", 400, "-32700"),
            ("application/json", "[]", 400, "-32600"),
            ("application/json", r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, 400, "-32600"),
        ] {
            let (got, text) = post(kind, body).await;
            assert_eq!(got, status, "{kind} {body}");
            assert!(text.contains(code), "{text}");
        }
    }
}
