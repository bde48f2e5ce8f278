//! The head of an answer.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, response};
use httparse::{ParserConfig, Status};

use super::{BadAnswer, Framing, MAX_HEAD};

/// More headers than this is no answer of a server in its right mind.
const MAX_HEADERS: usize = 100;

/// A head that was read, and how its body ends.
#[derive(Debug)]
pub(crate) struct AnswerHead {
    pub(crate) parts: response::Parts,
    pub(crate) framing: Framing,
    /// Whether the connection can be used again once the body was read.
    pub(crate) keep_alive: bool,
}

/// What the headers say of body and connection.
#[derive(Debug, Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

/// Takes the head of the answer to a request of this method from the front of a buffer. Interim answers (1xx) before it
/// are passed over. `None`: it is not all there yet.
pub(crate) fn parse_head(buffer: &mut BytesMut, method: &Method) -> Result<Option<AnswerHead>, BadAnswer> {
    loop {
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parsed =
            ParserConfig::default().parse_response_with_uninit_headers(&mut response, buffer, &mut slots);
        let size = match parsed.map_err(BadAnswer::NotHttp)? {
            Status::Complete(size) if size <= MAX_HEAD => size,
            Status::Partial if buffer.len() < MAX_HEAD => return Ok(None),
            _ => return Err(BadAnswer::HeadTooLarge),
        };
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(BadAnswer::NotHttp(httparse::Error::Status))?;
        match status.as_u16() {
            101 => return Err(BadAnswer::Upgrade),
            100..=199 => {
                buffer.advance(size);
                continue;
            }
            _ => {}
        }
        let is_1_1 = response.version == Some(1);
        let (headers, said) = read_headers(response.headers, &buffer[..size])?;
        buffer.advance(size);
        let framing = said.framing(status, method)?;
        let persists = if is_1_1 { !said.close } else { said.keep_alive && !said.close };
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = status;
        parts.version = Version::HTTP_11;
        parts.headers = headers;
        let keep_alive = persists && framing != Framing::UntilClosed;
        return Ok(Some(AnswerHead { parts, framing, keep_alive }));
    }
}

fn read_headers(lines: &[httparse::Header<'_>], head: &[u8]) -> Result<(HeaderMap, Said), BadAnswer> {
    // A copy of its own: the read buffer is free for what comes next.
    let copy = Bytes::copy_from_slice(head);
    let start = head.as_ptr() as usize;
    let mut headers = HeaderMap::with_capacity(lines.len() + 2);
    let mut said = Said::default();
    for line in lines {
        let not_http = |_| BadAnswer::NotHttp(httparse::Error::HeaderValue);
        let name = HeaderName::from_bytes(line.name.as_bytes())
            .map_err(|_| BadAnswer::NotHttp(httparse::Error::HeaderName))?;
        let value = if line.value.is_empty() {
            HeaderValue::from_static("")
        } else {
            let at = line.value.as_ptr() as usize - start;
            HeaderValue::from_maybe_shared(copy.slice(at..at + line.value.len())).map_err(not_http)?
        };
        said.hear(&name, line.value)?;
        headers.append(name, value);
    }
    Ok((headers, said))
}

impl Said {
    fn hear(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), BadAnswer> {
        if *name == header::CONTENT_LENGTH {
            let digits = !value.is_empty() && value.len() < 19 && value.iter().all(u8::is_ascii_digit);
            let length =
                std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
            let length = length.ok_or(BadAnswer::Length)?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(BadAnswer::Length);
            }
        } else if *name == header::TRANSFER_ENCODING {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(BadAnswer::Length);
            }
            self.chunked = true;
        } else if *name == header::CONNECTION {
            for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    /// RFC 9112 §6.3.
    fn framing(&self, status: StatusCode, method: &Method) -> Result<Framing, BadAnswer> {
        if self.chunked && self.length.is_some() {
            return Err(BadAnswer::Length);
        }
        if *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Framing::Length(0));
        }
        Ok(match (self.chunked, self.length) {
            (true, _) => Framing::chunked(),
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClosed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<AnswerHead>, BadAnswer> {
        parse_head(&mut BytesMut::from(text), &Method::POST)
    }

    #[test]
    fn a_head_says_how_its_body_ends_and_whether_the_connection_lasts() {
        for (text, framing, keep_alive) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(5), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n", Framing::Length(5), true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::chunked(), true),
            (
                "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n",
                Framing::Length(0),
                false,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", Framing::Length(0), true),
            ("HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\n", Framing::Length(0), true),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClosed, false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", Framing::Length(1), false),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
                Framing::Length(1),
                true,
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nLink: x\r\n\r\nHTTP/1.1 202 A\r\nContent-Length: 0\r\n\r\n",
                Framing::Length(0),
                true,
            ),
        ] {
            let head = parse(text).unwrap().unwrap();
            assert_eq!((head.framing, head.keep_alive), (framing, keep_alive), "{text}");
        }
        let head =
            parse_head(&mut BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), &Method::HEAD);
        assert_eq!(head.unwrap().unwrap().framing, Framing::Length(0));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (text, expect) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", BadAnswer::Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", BadAnswer::Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", BadAnswer::Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", BadAnswer::Length),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", BadAnswer::Length),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                BadAnswer::Length,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", BadAnswer::Length),
            ("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", BadAnswer::Upgrade),
        ] {
            assert_eq!(parse(text).unwrap_err(), expect, "{text}");
        }
        for text in [
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        ] {
            assert!(matches!(parse(text).unwrap_err(), BadAnswer::NotHttp(_)), "{text}");
        }
    }

    #[test]
    fn a_head_is_waited_for_and_bounded() {
        assert!(parse("HTTP/1.1 200 OK\r\nContent-Le").unwrap().is_none());
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(MAX_HEAD));
        assert_eq!(parse(&endless).unwrap_err(), BadAnswer::HeadTooLarge);
    }

    #[test]
    fn what_follows_the_head_is_left() {
        let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A:  b \r\n\r\nhi");
        let head = parse_head(&mut buffer, &Method::POST).unwrap().unwrap();
        assert_eq!(head.parts.headers["x-a"], "b");
        assert_eq!(buffer, "hi");
    }
}
