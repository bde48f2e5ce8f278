//! HTTP/1.1 towards backends, without IO: heads are written into a buffer, answers are cut out of one (RFC 9112).
//!
//! Strict where leniency would let two parties read the same bytes differently: an answer that says in two ways how
//! long it is, or in a way we do not know, is refused.

mod body;
mod head;

pub(super) use body::{Framing, Piece};
pub(super) use head::{AnswerHead, parse_head};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// An answer's head, with all interim ones before it, may be this long.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Why what a backend sent is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAnswer {
    #[error("the head of its answer is larger than {MAX_HEAD} bytes")]
    HeadTooLarge,
    #[error("its answer is not HTTP/1.1: {0}")]
    NotHttp(httparse::Error),
    #[error("its answer switches to another protocol")]
    Upgrade,
    #[error("its answer does not say clearly how long it is")]
    Length,
    #[error("its answer is not chunked as it says")]
    Chunk,
}

/// Header lines as they are sent: written once, sent to any instance any number of times. `Host` and `Content-Length`
/// are not among them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<u8>);

impl Fields {
    /// With room for what a client usually sends.
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(512))
    }

    /// How much there is, to come back to with [`Self::truncate`].
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes back what was added since there was so much.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// All but those whose lower-case name is one to be left out.
    pub(crate) fn without(&self, is_left_out: impl Fn(&[u8]) -> bool) -> Self {
        let mut left = Self::new();
        for line in self.0.split_inclusive(|byte| *byte == b'\n') {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if !is_left_out(name) {
                left.0.extend_from_slice(line);
            }
        }
        left
    }

    /// Adds a line.
    pub(crate) fn push(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.push_text(name, value.as_bytes());
    }

    /// As [`Self::push`]; `value` must be one that a header can have.
    pub(crate) fn push_text(&mut self, name: &HeaderName, value: &[u8]) {
        for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
            self.0.extend_from_slice(part);
        }
    }
}

impl From<&HeaderMap> for Fields {
    fn from(headers: &HeaderMap) -> Self {
        let mut fields = Self::new();
        headers.iter().for_each(|(name, value)| fields.push(name, value));
        fields
    }
}

/// A request that can be sent to any instance.
#[derive(Clone, Debug)]
pub(crate) struct OutgoingRequest {
    pub(crate) method: Method,
    /// `None`: that of the instance's URL.
    pub(crate) path: Option<PathAndQuery>,
    pub(crate) fields: Fields,
    pub(crate) body: Bytes,
}

/// Writes the head of a request.
pub(super) fn write_head(out: &mut Vec<u8>, request: &OutgoingRequest, path: &str, authority: &HeaderValue) {
    out.extend_from_slice(request.method.as_str().as_bytes());
    for part in
        [b" ", path.as_bytes(), b" HTTP/1.1\r\nhost: ", authority.as_bytes(), b"\r\n", &request.fields.0]
    {
        out.extend_from_slice(part);
    }
    if !request.body.is_empty() || request.method == Method::POST {
        out.extend_from_slice(b"content-length: ");
        push_number(out, request.body.len());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// The head as text, for tests.
#[cfg(test)]
pub(crate) fn head_text(request: &OutgoingRequest) -> String {
    let mut out = Vec::new();
    write_head(&mut out, request, "/", &HeaderValue::from_static("backend"));
    String::from_utf8(out).expect("a head of text")
}

fn push_number(out: &mut Vec<u8>, number: usize) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;

    #[test]
    fn a_request_is_written_as_it_was_meant() {
        let mut fields = Fields::new();
        fields.push(&header::ACCEPT, &HeaderValue::from_static("text/event-stream"));
        let request = |method: Method, body: &'static [u8]| OutgoingRequest {
            method,
            path: None,
            fields: fields.clone(),
            body: Bytes::from_static(body),
        };
        let authority = HeaderValue::from_static("a:1");
        for (request, expect) in [
            (
                request(Method::GET, b""),
                "GET /mcp HTTP/1.1\r\nhost: a:1\r\naccept: text/event-stream\r\n\r\n",
            ),
            (
                request(Method::POST, b"0123456789"),
                "POST /mcp HTTP/1.1\r\nhost: a:1\r\naccept: text/event-stream\r\ncontent-length: 10\r\n\r\n",
            ),
            (
                request(Method::POST, b""),
                "POST /mcp HTTP/1.1\r\nhost: a:1\r\naccept: text/event-stream\r\ncontent-length: 0\r\n\r\n",
            ),
        ] {
            let mut out = Vec::new();
            write_head(&mut out, &request, "/mcp", &authority);
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
    }

    #[test]
    fn lines_are_taken_out_by_their_whole_name() {
        let mut fields = Fields::new();
        for (name, value) in [("accept", "a"), ("accept-language", "b"), ("x-accept", "accept: c")] {
            fields.push(&HeaderName::from_static(name), &HeaderValue::from_static(value));
        }
        let left = fields.without(|name| name == b"accept");
        assert_eq!(left.0, b"accept-language: b\r\nx-accept: accept: c\r\n");
        let plain = fields.len();
        fields.push(&HeaderName::from_static("mcp-session-id"), &HeaderValue::from_static("s"));
        fields.truncate(plain);
        assert_eq!(fields.len(), plain);
    }
}
