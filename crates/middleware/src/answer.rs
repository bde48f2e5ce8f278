//! An answer on its way out: the HTTP response, and what was learnt that outer layers want to know.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use mcp::{ErrorReply, Method};

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A streamed body whose type does not matter any more.
pub type StreamBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// The body of an answer.
#[derive(Default)]
pub enum AnswerBody {
    #[default]
    Empty,
    Full(Bytes),
    Stream(StreamBody),
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub response: Response<AnswerBody>,
    /// The MCP method asked for; [`Method::Other`] where the request was refused before it was read.
    pub method: Method,
    /// Where skep answered itself: a class from a closed set, for metrics and the access log.
    pub refusal: Option<&'static str>,
}

impl Answer {
    /// An answer of a backend.
    #[must_use]
    pub fn new(response: Response<AnswerBody>) -> Self {
        Self { response, method: Method::Other, refusal: None }
    }

    /// A JSON-RPC error that a layer gives instead of going on.
    #[must_use]
    pub fn refuse(status: StatusCode, class: &'static str, reply: &ErrorReply, id: Option<&[u8]>) -> Self {
        let mut response = Response::new(AnswerBody::Full(reply.to_json(id)));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { response, method: Method::Other, refusal: Some(class) }
    }
}
