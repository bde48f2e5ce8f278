//! Which path and method goes where, and how a body is read.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use mcp::{Era, ErrorCode, ErrorReply};
use tokio::time::timeout;

use super::body::{Body, empty, refuse};
use super::sse::Pipes;
use super::{guard, sse, streamable};
use crate::server::Server;

/// A body must be there by then.
const BODY_TIME: Duration = Duration::from_secs(30);

/// What the connections of one server share.
pub(super) struct Front {
    pub(super) server: Arc<Server>,
    pub(super) pipes: Arc<Pipes>,
}

impl Front {
    pub(super) async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if !guard::is_welcome(&head.headers, &self.server.config.allowed_hosts) {
            let why = ErrorReply::new(ErrorCode::InvalidRequest, "this Host or Origin is not served here");
            return refuse(StatusCode::FORBIDDEN, &why, None);
        }
        let is_served = self.server.config.serves(Era::Legacy);
        match (head.uri.path(), &head.method) {
            // Both are of the era of handshakes.
            ("/sse" | "/messages", _) if !is_served => empty(StatusCode::NOT_FOUND),
            ("/mcp", &Method::POST) => match self.message(&head.headers, body).await {
                Ok(text) => streamable::post(&self.server, &head.headers, text).await,
                Err(refusal) => *refusal,
            },
            ("/mcp", &Method::GET) => streamable::get(&self.server, &head.headers),
            ("/mcp", &Method::DELETE) => streamable::delete(&self.server, &head.headers),
            ("/mcp", _) => not_allowed("GET, POST, DELETE"),
            ("/sse", &Method::GET) => sse::open(&self.server, &self.pipes),
            ("/sse", _) => not_allowed("GET"),
            ("/messages", &Method::POST) => match self.message(&head.headers, body).await {
                Ok(text) => sse::post(&self.pipes, &head.uri, text).await,
                Err(refusal) => *refusal,
            },
            ("/messages", _) => not_allowed("POST"),
            _ => empty(StatusCode::NOT_FOUND),
        }
    }

    /// Reads the JSON text of a POST.
    async fn message(&self, headers: &HeaderMap, body: Incoming) -> Result<Bytes, Box<Response<Body>>> {
        let media =
            headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/json") {
            return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json"));
        }
        match timeout(BODY_TIME, read(body, self.server.config.max_message)).await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(NotRead::TooLarge)) => {
                Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "the message is too large"))
            }
            Ok(Err(NotRead::Broken)) => Err(refusal(StatusCode::BAD_REQUEST, "the body ended early")),
            Err(_) => Err(refusal(StatusCode::REQUEST_TIMEOUT, "the body came too slowly")),
        }
    }
}

fn refusal(status: StatusCode, why: &str) -> Box<Response<Body>> {
    Box::new(refuse(status, &ErrorReply::new(ErrorCode::InvalidRequest, why), None))
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

enum NotRead {
    TooLarge,
    Broken,
}

/// Reads a body. Most are one piece, which is then not copied.
async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, NotRead> {
    if body.size_hint().lower() > limit as u64 {
        return Err(NotRead::TooLarge);
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| NotRead::Broken)?.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(NotRead::TooLarge);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
