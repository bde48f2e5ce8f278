//! Streams whose client comes and goes, under a simulated network and clock: a seed decides what the server says and when,
//! and when its client is cut off and comes back. `SKEP_SEED=… cargo test -p proxy resuming` has one of them again.
//!
//! INVARIANT, of every history: what the client has read in the end, over all its connections, is what the server said,
//! in that order, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use mcp::Message;
use mcp::sse::Decoder;
use model::PrincipalDigest;
use serde_json::{Value, json};
use telemetry::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::sleep;

use super::simulation::route;
use super::*;
use crate::session::MemoryStore;
use crate::upstream::simulated;

/// What a server says as the answer to a call, and how.
#[derive(Clone)]
struct Script {
    seed: u64,
    events: usize,
    gives_ids: bool,
    /// As its own stream, which never ends, and not as an answer.
    listens: bool,
    /// Two seconds between events.
    slow: bool,
}

impl Script {
    fn of(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        Self {
            seed,
            events: chance.usize(1..30),
            gives_ids: chance.bool(),
            listens: chance.bool(),
            slow: false,
        }
    }

    fn message(&self, number: usize) -> Value {
        let mut chance = fastrand::Rng::with_seed(self.seed ^ number as u64);
        let size = if chance.u8(..) < 16 { chance.usize(60_000..80_000) } else { chance.usize(..200) };
        match number == self.events && !self.listens {
            true => json!({"jsonrpc": "2.0", "id": "c", "result": {"text": "x".repeat(size)}}),
            false => {
                json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": number, "text": "x".repeat(size)}})
            }
        }
    }

    fn event(&self, number: usize) -> String {
        let id = if self.gives_ids { format!("id: {number}\n") } else { String::new() };
        format!("event: message\n{id}data: {}\n\n", self.message(number))
    }
}

/// A server of one session. It says what it says once.
async fn serve(script: Script, mut stream: DuplexStream) -> Option<()> {
    let mut chance = fastrand::Rng::with_seed(script.seed.wrapping_mul(3));
    let mut read = Vec::new();
    loop {
        let text = request(&mut stream, &mut read).await?;
        let streams = if script.listens { text.starts_with("GET") } else { text.contains("tools/call") };
        let answer = if text.contains("initialize\"") {
            let old = text.contains("2025-06-18");
            let version = if old { "2025-06-18" } else { "2025-11-25" };
            let agreed = json!({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "s", "version": "0"}}}).to_string();
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: s\r\ncontent-length: {}\r\n\r\n{agreed}",
                agreed.len()
            )
        } else if streams {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.ok()?;
            for number in 1..=script.events {
                sleep(Duration::from_millis(if script.slow { 2000 } else { chance.u64(..300) })).await;
                let event = script.event(number);
                // In pieces, wherever they fall.
                let (first, second) = event.as_bytes().split_at(chance.usize(..=event.len()));
                for piece in [first, second].into_iter().filter(|piece| !piece.is_empty()) {
                    stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.ok()?;
                    stream.write_all(piece).await.ok()?;
                    stream.write_all(b"\r\n").await.ok()?;
                    sleep(Duration::from_millis(chance.u64(..3))).await;
                }
            }
            if script.listens {
                std::future::pending::<()>().await;
            }
            "0\r\n\r\n".to_owned()
        } else {
            "HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n".to_owned()
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// The next request of a connection, head and body.
async fn request(stream: &mut DuplexStream, read: &mut Vec<u8>) -> Option<String> {
    loop {
        let text = String::from_utf8_lossy(read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                read.clear();
                return Some(text);
            }
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

struct Client {
    forward: Arc<Forward>,
    pool: Arc<Pool>,
    token: Option<HeaderValue>,
}

impl Client {
    fn network(script: &Script) {
        let script = script.clone();
        simulated::network(move |_| {
            let script = script.clone();
            Box::pin(async move {
                let (ours, theirs) = duplex(16 * 1024);
                tokio::spawn(serve(script, theirs));
                Ok(ours)
            })
        });
    }

    fn new(script: &Script, tasks: &Tasks) -> Self {
        Self::network(script);
        let keys = Arc::new(KeyRing::parse(&KeyRing::generate_line()).unwrap());
        let address = ([10, 0, 0, 1], 80).into();
        let (forward, pool) = route(&[address], &keys, Arc::new(MemoryStore::default()), tasks);
        Self { forward, pool, token: None }
    }

    async fn send(&self, method: HttpMethod, cursor: Option<&str>, body: Option<Value>) -> Response<Body> {
        let mut head = http::Request::builder().method(method).uri("/mcp");
        if let Some(token) = &self.token {
            head = head.header(&headers::SESSION_ID, token);
        }
        if let Some(cursor) = cursor {
            head = head.header(&headers::LAST_EVENT_ID, cursor);
        }
        let (head, ()) = head.body(()).unwrap().into_parts();
        let body = body.map_or(RequestBody::None, |body| {
            let message = Message::parse(body.to_string().into()).unwrap();
            RequestBody::Message { message: Box::new(message), era: Era::Legacy }
        });
        let request = mcp::Request { head: Box::new(head), body };
        let (principal, client) = (PrincipalDigest::ANONYMOUS, ([10, 9, 9, 9], 1).into());
        self.forward.handle(&self.pool, Call { request, principal, client, tls: false }).await
    }

    async fn begin(&mut self, version: &str) {
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "c", "version": "0"}});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let answer = self.send(HttpMethod::POST, None, Some(body)).await;
        self.token = Some(answer.headers()[&headers::SESSION_ID].clone());
    }

    /// A new stream, or one that is taken up.
    async fn stream(&self, script: &Script, cursor: Option<&str>) -> Response<Body> {
        let params = json!({"name": "any", "arguments": {}, "_meta": {"progressToken": "t"}});
        let call = json!({"jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": params});
        match cursor.is_none() && !script.listens {
            true => self.send(HttpMethod::POST, None, Some(call)).await,
            false => self.send(HttpMethod::GET, cursor, None).await,
        }
    }
}

/// What the client has read in the end.
async fn read(script: &Script, client: &Client) -> Vec<Value> {
    let mut chance = fastrand::Rng::with_seed(script.seed.wrapping_mul(7));
    let (mut messages, mut cursor) = (Vec::new(), None::<String>);
    // Connections that nobody knows to be dead.
    let mut dead = Vec::new();
    while messages.len() < script.events {
        let answer = client.stream(script, cursor.as_deref()).await;
        assert_eq!(answer.status(), 200, "behind {cursor:?}");
        let mut body = answer.into_body();
        let (mut decoder, mut pieces) = (Decoder::new(1 << 20), chance.usize(1..12));
        while let Some(frame) = body.frame().await {
            let mut events = Vec::new();
            decoder.feed(&frame.unwrap().into_data().unwrap(), &mut events).unwrap();
            for event in events {
                cursor = event.id.or(cursor);
                messages.extend(serde_json::from_slice::<Value>(&event.data).ok());
            }
            pieces -= 1;
            if pieces == 0 || messages.len() == script.events {
                break;
            }
        }
        if cursor.is_some() && chance.bool() {
            // Handed to its connection, and never there.
            let lost = async { while chance.u8(..) < 200 && body.frame().await.is_some() {} };
            tokio::time::timeout(Duration::from_millis(500), lost).await.ok();
        }
        if chance.bool() {
            dead.push(body);
        }
        sleep(Duration::from_millis(chance.u64(..1000))).await;
    }
    messages
}

fn run(seed: u64) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (script, tasks) = (Script::of(seed), Tasks::new());
        let mut client = Client::new(&script, &tasks);
        client.begin("2025-11-25").await;
        let read = tokio::time::timeout(Duration::from_secs(120), read(&script, &client)).await;
        let read = read.unwrap_or_else(|_| panic!("SKEP_SEED={seed}: it hears nothing more"));
        let said: Vec<_> = (1..=script.events).map(|number| script.message(number)).collect();
        let numbers = |messages: &[Value]| -> Vec<String> {
            messages.iter().map(|message| message["params"]["progress"].to_string()).collect()
        };
        assert!(read == said, "SKEP_SEED={seed}: said {:?}, read {:?}", numbers(&said), numbers(&read));
        tasks.stop();
    });
}

#[test]
fn a_client_that_comes_and_goes_reads_what_was_said() {
    let number = |name| std::env::var(name).ok().and_then(|seed| seed.parse::<u64>().ok());
    match number("SKEP_SEED") {
        Some(seed) => run(seed),
        None => (0..number("SKEP_SEEDS").unwrap_or(50)).for_each(run),
    }
}

/// What comes first, if anything comes within a second, of a stream whose first event takes longer.
async fn first(version: &str, listens: bool) -> Option<String> {
    let (script, tasks) =
        (Script { seed: 1, events: 3, gives_ids: false, listens, slow: true }, Tasks::new());
    let mut client = Client::new(&script, &tasks);
    client.begin(version).await;
    let mut body = client.stream(&script, None).await.into_body();
    let frame = tokio::time::timeout(Duration::from_secs(1), body.frame()).await.ok()?;
    Some(String::from_utf8(frame.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn only_who_knows_what_it_is_gets_an_event_without_data() {
    for listens in [false, true] {
        let priming = first("2025-11-25", listens).await.unwrap();
        assert!(priming.starts_with("id: 0-") && priming.ends_with("-0\ndata: \n\n"), "{priming}");
        assert_eq!(first("2025-06-18", listens).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_for_nobody_is_bounded_and_ends_with_its_time_and_its_session() {
    let (script, tasks) =
        (Script { seed: 1, events: 1000, gives_ids: false, listens: false, slow: true }, Tasks::new());
    let mut client = Client::new(&script, &tasks);
    client.begin("2025-11-25").await;
    for _ in 0..20 {
        let mut body = client.stream(&script, None).await.into_body();
        body.frame().await.unwrap().unwrap();
    }
    let events = &client.forward.events;
    assert_eq!(events.alone(), 16);
    let listening = Script { listens: true, ..script };
    Client::network(&listening);
    drop(client.stream(&listening, None).await.into_body().frame().await);
    assert_eq!(events.alone(), 16, "the one that was left first made room");
    sleep(Duration::from_secs(63)).await;
    assert_eq!(events.alone(), 15, "nobody listens any more");
    assert_eq!(client.send(HttpMethod::DELETE, None, None).await.status(), 405);
    let session = client.forward.list()[0].id;
    client.forward.end(session).await;
    assert_eq!(events.alone(), 0);
    tasks.stop();
}

#[tokio::test(start_paused = true)]
async fn answers_that_were_read_are_kept_for_a_moment_only() {
    let (script, tasks) =
        (Script { seed: 1, events: 3, gives_ids: false, listens: false, slow: true }, Tasks::new());
    let mut client = Client::new(&script, &tasks);
    client.begin("2025-11-25").await;
    let mut bytes = Vec::new();
    for _ in 0..40 {
        client.stream(&script, None).await.into_body().collect().await.unwrap();
        bytes.push(client.forward.events.kept().1);
    }
    assert!(bytes[39] > bytes[0] * 15 && bytes[39] < bytes[0] * 18, "{bytes:?}");
    tasks.stop();
}
