//! Reads the whole body, bounded in size and time. (The head is bounded by the listener.)
//!
//! A request is read whole because what is judged must be what is forwarded; an answer never is.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt;
use mcp::{ErrorCode, ErrorReply};
use tokio::time::timeout;

use crate::answer::Answer;
use crate::service::{Arrived, Incoming, Service, Whole, WholeRequest};

/// For a client to notice that its body is refused.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// What a request's body may take.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// In bytes.
    pub size: usize,
    /// From the head to the last byte.
    pub time: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { size: 8 * 1024 * 1024, time: Duration::from_secs(30) }
    }
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("the body is larger than the limit of {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive within {0:?}")]
    TooSlow(Duration),
    #[error("the body was cut off")]
    CutOff,
}

impl Unread {
    fn answer(&self) -> Answer {
        let (status, class) = match self {
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::TooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            Self::CutOff => (StatusCode::BAD_REQUEST, "body_cut_off"),
        };
        let mut answer = Answer::refuse(
            status,
            class,
            &ErrorReply::new(ErrorCode::InvalidRequest, self.to_string()),
            None,
        );
        // What is left of the body is not waited for.
        answer.response.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("close"));
        answer
    }
}

/// The layer.
#[derive(Debug)]
pub struct ReadBody<S> {
    inner: S,
    limits: BodyLimits,
}

impl<S> ReadBody<S> {
    /// With these limits.
    pub fn new(limits: BodyLimits, inner: S) -> Self {
        Self { inner, limits }
    }
}

impl<B, S> Service<Arrived<B>> for ReadBody<S>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Send,
    S: Service<Whole>,
{
    async fn call(&self, arrived: Arrived<B>) -> Answer {
        let (head, mut incoming) = arrived.request.into_parts();
        let head = Box::new(head);
        let body = match self.limits.read(&head.headers, &mut incoming).await {
            Ok(body) => body,
            Err(unread) => {
                if matches!(unread, Unread::TooLarge(_)) {
                    discard(&mut incoming).await;
                }
                return unread.answer();
            }
        };
        let request = WholeRequest { head, body };
        self.inner.call(Incoming::new(arrived.client, request)).await
    }
}

impl BodyLimits {
    async fn read<B>(&self, headers: &HeaderMap, body: &mut B) -> Result<Bytes, Unread>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        if content_length(headers).is_some_and(|length| length > self.size as u64) {
            return Err(Unread::TooLarge(self.size));
        }
        match timeout(self.time, self.collect(body)).await {
            Ok(read) => read,
            Err(_) => Err(Unread::TooSlow(self.time)),
        }
    }

    /// A body that came in one piece is not copied.
    async fn collect<B>(&self, body: &mut B) -> Result<Bytes, Unread>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let first = self.piece(body, 0).await?;
        if first.is_empty() || body.is_end_stream() {
            return Ok(first);
        }
        let second = self.piece(body, first.len()).await?;
        if second.is_empty() {
            return Ok(first);
        }
        let mut read = BytesMut::with_capacity(first.len() + second.len());
        read.extend_from_slice(&first);
        read.extend_from_slice(&second);
        while !body.is_end_stream() {
            let piece = self.piece(body, read.len()).await?;
            if piece.is_empty() {
                break;
            }
            read.extend_from_slice(&piece);
        }
        Ok(read.freeze())
    }

    /// The next piece, empty at the end.
    async fn piece<B>(&self, body: &mut B, read: usize) -> Result<Bytes, Unread>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        while let Some(frame) = body.frame().await {
            match frame.map_err(|_| Unread::CutOff)?.into_data() {
                Ok(data) if read + data.len() > self.size => return Err(Unread::TooLarge(self.size)),
                Ok(data) if !data.is_empty() => return Ok(data),
                _ => {}
            }
        }
        Ok(Bytes::new())
    }
}

/// Reads a while longer what a client is still sending: closed on in the middle of that, it would see a broken connection
/// and not why.
async fn discard<B>(body: &mut B)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut left = LINGER_BYTES;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Then it has to do without.
    let _ = timeout(LINGER, rest).await;
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Frame;
    use http_body_util::channel::Channel;

    const LIMITS: BodyLimits = BodyLimits { size: 5, time: Duration::from_secs(3) };

    async fn read(pieces: &[&'static str], cut: bool) -> Result<Bytes, String> {
        let (mut send, mut body) = Channel::<Bytes, std::io::Error>::new(16);
        for piece in pieces {
            send.send(Frame::data(Bytes::from_static(piece.as_bytes()))).await.unwrap();
        }
        if cut {
            send.abort(std::io::Error::other("gone"));
        } else {
            drop(send);
        }
        LIMITS.read(&HeaderMap::new(), &mut body).await.map_err(|unread| unread.to_string())
    }

    #[tokio::test]
    async fn reads_up_to_the_limit_and_not_a_byte_more() {
        assert_eq!(read(&["abcde"], false).await.unwrap(), "abcde");
        assert_eq!(read(&["ab", "c", "de"], false).await.unwrap(), "abcde");
        assert_eq!(read(&[], false).await.unwrap(), "");
        for pieces in [&["abcdef"][..], &["abc", "def"], &["a", "b", "c", "d", "e", "f"]] {
            assert!(read(pieces, false).await.unwrap_err().contains("larger than the limit of 5"));
        }
        assert!(read(&["ab"], true).await.unwrap_err().contains("cut off"));
    }

    #[tokio::test]
    async fn a_length_over_the_limit_is_refused_before_a_byte_is_read() {
        let (_send, mut body) = Channel::<Bytes, std::io::Error>::new(1);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, http::HeaderValue::from_static("6"));
        let unread = LIMITS.read(&headers, &mut body).await.unwrap_err();
        assert_eq!(unread.answer().response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let (mut send, mut body) = Channel::<Bytes, std::io::Error>::new(1);
        send.send(Frame::data(Bytes::from_static(b"a"))).await.unwrap();
        let unread = LIMITS.read(&HeaderMap::new(), &mut body).await.unwrap_err();
        assert_eq!(unread.answer().response.status(), StatusCode::REQUEST_TIMEOUT);
    }
}
