//! HTTP/1.1 on one connection, as bytes: what is sent is what the caller wrote.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing that is waited for takes longer.
pub const PATIENCE: Duration = Duration::from_secs(30);
const ROOM: usize = 64 * 1024;

/// The head of a response.
#[derive(Clone, Debug)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// How the body ends.
    length: Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    Chunked,
    UntilClosed,
}

/// A response that was read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Head {
    /// The value of a header, its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

impl Response {
    /// The value of a header, its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; of an event stream, its last message.
    ///
    /// # Errors
    /// It is neither.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        let text = self.text();
        let is_stream = self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        let text = if is_stream {
            let mut data = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
            data.rfind(|data| !data.is_empty()).unwrap_or_default().to_owned()
        } else {
            text
        };
        serde_json::from_str(&text).with_context(|| format!("status {}, not JSON: {text:.200}", self.status))
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

/// A connection, and what was read of it but not yet used.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Connection {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// It does not listen.
    pub async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(ROOM), start: 0 })
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// The connection broke, or what came is not HTTP.
    pub async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Response> {
        self.send(request).await?;
        self.response().await
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes))
            .await
            .context("nothing is read at the other end")??;
        Ok(())
    }

    /// Reads a whole response.
    ///
    /// # Errors
    /// The connection broke, or what came is not HTTP.
    pub async fn response(&mut self) -> anyhow::Result<Response> {
        let head = self.head().await?;
        let mut body = Vec::new();
        while let Some(piece) = self.piece(&head, body.len()).await? {
            body.extend_from_slice(&piece);
        }
        Ok(Response { status: head.status, headers: head.headers, body })
    }

    /// As [`Self::response`], without keeping the body: whether `needle` is in it, in one piece, and its status.
    ///
    /// # Errors
    /// The connection broke, or what came is not HTTP.
    pub async fn status_and_whether(&mut self, needle: &[u8]) -> anyhow::Result<(u16, bool)> {
        let head = self.head().await?;
        let (mut read, mut found) = (0, false);
        loop {
            let Some(piece) = self.piece(&head, read).await? else { break };
            read += piece.len();
            found |= contains(&piece, needle);
        }
        Ok((head.status, found))
    }

    /// Reads the head of a response; its body is to be read with [`Self::piece`].
    ///
    /// # Errors
    /// The connection broke, or what came is not HTTP.
    pub async fn head(&mut self) -> anyhow::Result<Head> {
        loop {
            if let Some((head, size)) = parse_head(&self.buffer[self.start..])? {
                self.start += size;
                return Ok(head);
            }
            ensure!(self.fill().await? > 0, "the connection was closed before a response");
        }
    }

    /// The next piece of a body of which `read` bytes were taken; `None` at its end.
    ///
    /// # Errors
    /// The connection broke before the end.
    pub async fn piece(&mut self, head: &Head, read: usize) -> anyhow::Result<Option<Vec<u8>>> {
        match head.length {
            Length::Bytes(length) if read >= length => Ok(None),
            Length::Bytes(length) => Ok(Some(self.take(length - read).await?)),
            Length::Chunked => self.chunk().await,
            Length::UntilClosed => {
                if self.start == self.buffer.len() && self.fill().await? == 0 {
                    return Ok(None);
                }
                let piece = self.buffer[self.start..].to_vec();
                self.start = self.buffer.len();
                Ok(Some(piece))
            }
        }
    }

    async fn chunk(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let line = self.line().await?;
        let size = std::str::from_utf8(&line)?.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("{size:?} is no chunk size"))?;
        let mut chunk = Vec::with_capacity(size);
        while chunk.len() < size {
            chunk.extend(self.take(size - chunk.len()).await?);
        }
        ensure!(self.line().await?.is_empty(), "a chunk has no end");
        Ok((size > 0).then_some(chunk))
    }

    /// A line without its end.
    async fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            let read = &self.buffer[self.start..];
            if let Some(end) = read.windows(2).position(|pair| pair == b"\r\n") {
                let line = read[..end].to_vec();
                self.start += end + 2;
                return Ok(line);
            }
            ensure!(self.fill().await? > 0, "the connection was cut in a body");
        }
    }

    /// At least one byte, at most `most`.
    async fn take(&mut self, most: usize) -> anyhow::Result<Vec<u8>> {
        if self.start == self.buffer.len() {
            ensure!(self.fill().await? > 0, "the connection was cut in a body");
        }
        let end = self.buffer.len().min(self.start + most);
        let piece = self.buffer[self.start..end].to_vec();
        self.start = end;
        Ok(piece)
    }

    async fn fill(&mut self) -> anyhow::Result<usize> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > ROOM {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.reserve(ROOM);
        match timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await {
            Ok(read) => Ok(read?),
            Err(_) => bail!("nothing came within {PATIENCE:?}"),
        }
    }
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

fn parse_head(bytes: &[u8]) -> anyhow::Result<Option<(Head, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(size) = parsed.parse(bytes)? else { return Ok(None) };
    let status = parsed.code.context("no status")?;
    let headers: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let chunked =
        find(&headers, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let length = match find(&headers, "content-length") {
        _ if matches!(status, 204 | 304) => Length::Bytes(0),
        _ if chunked => Length::Chunked,
        Some(length) => Length::Bytes(length.parse()?),
        None => Length::UntilClosed,
    };
    Ok(Some((Head { status, headers, length }, size)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Answers the first connection with these bytes, in pieces of `size`.
    async fn served(bytes: &'static [u8], size: usize) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for piece in bytes.chunks(size) {
                stream.write_all(piece).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        Connection::open(&address).await.unwrap()
    }

    #[tokio::test]
    async fn bodies_end_as_their_heads_say() {
        for size in [1, 7, 1000] {
            let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\nHTTP/1.1 202 A\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest";
            let mut connection = served(bytes, size).await;
            let mut bodies = Vec::new();
            for _ in 0..4 {
                let response = connection.response().await.unwrap();
                bodies.push((response.status, response.text()));
            }
            let expect = [(200, "hi"), (404, "abcd"), (202, ""), (200, "rest")];
            assert_eq!(bodies, expect.map(|(status, body)| (status, body.to_owned())));
        }
    }

    #[tokio::test]
    async fn a_cut_body_is_no_body() {
        let mut connection = served(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", 100).await;
        assert!(connection.response().await.is_err());
    }
}
