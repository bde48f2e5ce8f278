//! Gives each request an id and the client a header with it, so that a complaint and a log line can be matched.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue};

use crate::answer::Answer;
use crate::service::{Arrived, Service};

/// The header of the answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Unique among the processes that write to one log: a random part per process, then a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    process: u32,
    number: u64,
}

impl RequestId {
    fn next(process: u32) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        Self { process, number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }

    /// `pppppppp-nnnnnnnnnnnn` in hexadecimal, written without the formatter: this happens for every request.
    fn to_header(self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 21];
        for (place, shift) in (0..8).zip((0..8).rev()) {
            text[place] = DIGITS[(self.process >> (shift * 4)) as usize & 15];
        }
        for (place, shift) in (9..21).zip((0..12).rev()) {
            text[place] = DIGITS[(self.number >> (shift * 4)) as usize & 15];
        }
        HeaderValue::from_bytes(&text).expect("hexadecimal digits are a header value")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_header().to_str().unwrap_or_default())
    }
}

/// The layer.
#[derive(Debug)]
pub struct WithRequestId<S> {
    inner: S,
    process: u32,
}

impl<S> WithRequestId<S> {
    /// `process` is a random number chosen at start.
    pub fn new(process: u32, inner: S) -> Self {
        Self { inner, process }
    }
}

/// A request and its id.
#[derive(Debug)]
pub struct Identified<B> {
    pub id: RequestId,
    pub arrived: Arrived<B>,
}

impl<B: Send + 'static, S: Service<Identified<B>>> Service<Arrived<B>> for WithRequestId<S> {
    async fn call(&self, arrived: Arrived<B>) -> Answer {
        let id = RequestId::next(self.process);
        let mut answer = self.inner.call(Identified { id, arrived }).await;
        answer.response.headers_mut().insert(REQUEST_ID, id.to_header());
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_process_then_number() {
        assert_eq!(RequestId { process: 0xdead_beef, number: 0x2a }.to_string(), "deadbeef-00000000002a");
        assert_ne!(RequestId::next(1), RequestId::next(1));
    }
}
