//! The load: connections that each hold a session and call a tool as fast as answers come. Every answer is checked for
//! the word that its request carried.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use testkit::mcp::Session;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What the example server calls the tool that says back what it is told.
pub(super) const ECHO: &str = "echo";

/// What a measurement found.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) requests: u64,
    pub(super) seconds: f64,
    /// Nanoseconds, sorted.
    latencies: Vec<u32>,
}

impl Measured {
    pub(super) fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Microseconds that so many in a thousand stay below.
    pub(super) fn quantile(&self, per_mille: usize) -> f64 {
        let at = self.latencies.len().saturating_sub(1) * per_mille / 1000;
        self.latencies.get(at).map_or(0.0, |nanoseconds| f64::from(*nanoseconds) / 1000.0)
    }
}

/// Sessions that are open and ready.
pub(super) struct Load {
    callers: Vec<Caller>,
}

/// One connection with its session, read and written without a copy more than needed: what this costs is not there for
/// what is measured.
struct Caller {
    stream: TcpStream,
    head: Vec<u8>,
    tool: String,
    request: Vec<u8>,
    buffer: Vec<u8>,
    number: u64,
}

impl Load {
    /// Opens so many sessions, each on its connection, that call this tool, which says back what it is told.
    pub(super) async fn open(url: &str, tool: &str, connections: usize) -> anyhow::Result<Self> {
        let mut callers = Vec::with_capacity(connections);
        for _ in 0..connections {
            callers.push(Caller::of(&Session::open(url).await?, tool, 0).await?);
        }
        Ok(Self { callers })
    }

    /// Opens one session and so many connections that share it.
    pub(super) async fn open_shared(url: &str, connections: usize) -> anyhow::Result<Self> {
        let session = Session::open(url).await?;
        let mut callers = Vec::with_capacity(connections);
        for number in 0..connections {
            // Ids are unique in a session.
            callers.push(Caller::of(&session, ECHO, number as u64 * 1_000_000_000).await?);
        }
        Ok(Self { callers })
    }

    /// Calls for so long.
    pub(super) async fn run(&mut self, time: Duration) -> anyhow::Result<Measured> {
        let mut running = JoinSet::new();
        let begun = Instant::now();
        for caller in self.callers.drain(..) {
            running.spawn(caller.call_until(begun + time));
        }
        let mut measured = Measured::default();
        while let Some(ended) = running.join_next().await {
            let (caller, latencies) = ended??;
            self.callers.push(caller);
            measured.latencies.extend(latencies);
        }
        measured.seconds = begun.elapsed().as_secs_f64();
        measured.requests = measured.latencies.len() as u64;
        measured.latencies.sort_unstable();
        Ok(measured)
    }
}

impl Caller {
    /// A connection more of a session.
    async fn of(session: &Session, tool: &str, number: u64) -> anyhow::Result<Self> {
        let Session { address, path, .. } = session;
        let id =
            if session.id.is_empty() { String::new() } else { format!("Mcp-Session-Id: {}\r\n", session.id) };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMCP-Protocol-Version: {}\r\n{id}Content-Length: ",
            testkit::mcp::VERSION
        )
        .into_bytes();
        let stream = TcpStream::connect(address.as_str()).await?;
        stream.set_nodelay(true)?;
        let tool = tool.to_owned();
        Ok(Self { stream, head, tool, request: Vec::new(), buffer: Vec::with_capacity(64 * 1024), number })
    }

    async fn call_until(mut self, end: Instant) -> anyhow::Result<(Self, Vec<u32>)> {
        let mut latencies = Vec::with_capacity(64 * 1024);
        let mut now = Instant::now();
        while now < end {
            self.call().await?;
            let after = Instant::now();
            latencies.push(u32::try_from((after - now).as_nanos()).unwrap_or(u32::MAX));
            now = after;
        }
        Ok((self, latencies))
    }

    async fn call(&mut self) -> anyhow::Result<()> {
        self.number += 1;
        let word = format!("word-{:012}", self.number);
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{{"name":"{}","arguments":{{"message":"{word}"}}}}}}"#,
            self.number, self.tool
        );
        self.request.clear();
        self.request.extend_from_slice(&self.head);
        self.request.extend_from_slice(format!("{}\r\n\r\n{body}", body.len()).as_bytes());
        self.stream.write_all(&self.request).await?;
        self.buffer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection was closed");
            if let Some(answer) = whole(&self.buffer)? {
                let found = answer.windows(word.len()).any(|window| window == word.as_bytes());
                ensure!(found, "another answer: {}", String::from_utf8_lossy(&self.buffer));
                return Ok(());
            }
        }
    }
}

/// The body of a response, once it is all there.
fn whole(bytes: &[u8]) -> anyhow::Result<Option<&[u8]>> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(size) = response.parse(bytes)? else { return Ok(None) };
    if response.code != Some(200) {
        bail!("{}", String::from_utf8_lossy(bytes));
    }
    let body = &bytes[size..];
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    Ok(match length {
        Some(length) => (body.len() >= std::str::from_utf8(length.value)?.parse()?).then_some(body),
        None => body.ends_with(b"\r\n0\r\n\r\n").then_some(body),
    })
}
