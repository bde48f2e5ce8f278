//! Streams that are taken up again in front of HTTP servers: the client's connection is cut, and nothing is missed.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::Connection;
use testkit::mcp::Session;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::harness::{Listener, at, proxy};
use crate::recovery::Backend;

/// A call whose answer is a stream, as far as its head.
async fn call(session: &Session, id: &str, tool: &str, arguments: Value) -> Listener {
    let mut other = session.beside(Connection::open(&session.address).await.unwrap());
    let params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": id}});
    let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
    let request = other.request(&call.to_string());
    other.connection.send(&request).await.unwrap();
    let head = other.connection.head().await.unwrap();
    assert_eq!(head.status, 200);
    Listener { connection: other.connection, head, text: String::new(), read: 0 }
}

async fn take_up(session: &Session, id: &str) -> Listener {
    Listener::open(session, &format!("Last-Event-ID: {id}\r\n")).await
}

/// All that comes on a stream of a call, up to its answer: the steps, and the answer.
async fn rest(listener: &mut Listener) -> (Vec<u64>, Value) {
    let mut steps = Vec::new();
    loop {
        let (message, id) = listener.next().await;
        assert!(!id.is_empty(), "every event has an id: {message}");
        match message["params"]["progress"].as_u64() {
            Some(step) => steps.push(step),
            None => return (steps, message),
        }
    }
}

/// A server that says one thing more whenever it is told to go on. It gives its events no ids and keeps nothing of them.
struct Forgetful {
    url: String,
    go: Arc<Notify>,
}

impl Forgetful {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let go = Arc::new(Notify::new());
        let told = Arc::clone(&go);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let told = Arc::clone(&told);
                tokio::spawn(async move { serve(stream, &told).await });
            }
        });
        Self { url, go }
    }
}

async fn serve(mut stream: TcpStream, go: &Notify) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let body = request(&mut stream, &mut read).await?;
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let id = &message["id"];
        let answer = match message["method"].as_str() {
            Some("initialize") => {
                let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "f", "version": "0"}});
                let text = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: f\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                )
            }
            Some("tools/call") => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).await.ok()?;
                for step in 1..=3 {
                    go.notified().await;
                    let params = json!({"progressToken": id, "progress": step});
                    let text =
                        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
                    stream.write_all(chunk(&text).as_bytes()).await.ok()?;
                }
                go.notified().await;
                let result = json!({"content": [{"type": "text", "text": "x".repeat(100_000)}]});
                let text = json!({"jsonrpc": "2.0", "id": id, "result": result});
                chunk(&text) + "0\r\n\r\n"
            }
            _ => "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn chunk(message: &Value) -> String {
    let event = format!("event: message\ndata: {message}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

/// The body of the next request.
async fn request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = end + 4 + length.map_or(0, |length| length.trim().parse().unwrap());
            if read.len() >= whole {
                return Some(read.drain(..whole).skip(end + 4).collect());
            }
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

#[tokio::test]
async fn a_call_whose_connection_is_cut_is_taken_up_where_it_was() {
    let backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &[]);
    let session = Session::open(&url).await.unwrap();
    let mut first = call(&session, "s", "slow", json!({"steps": 6, "delay_ms": 150})).await;
    let (progress, id) = first.next().await;
    assert_eq!(progress["params"]["progress"], 1);
    drop(first);
    let mut second = take_up(&session, &id).await;
    let (progress, id) = second.next().await;
    assert_eq!(progress["params"]["progress"], 2);
    drop(second);
    let (steps, answer) = rest(&mut take_up(&session, &id).await).await;
    assert_eq!((steps, &answer["id"]), (vec![3, 4, 5, 6], &json!("s")), "{answer}");
    // It is over, and still there.
    let (steps, again) = rest(&mut take_up(&session, &id).await).await;
    assert_eq!((steps, again), (vec![3, 4, 5, 6], answer));
}

#[tokio::test]
async fn a_call_of_a_server_that_gives_no_ids_is_taken_up_too() {
    let server = Forgetful::start().await;
    let (_skep, url) = proxy(&[&server.url], &[]);
    let session = Session::open(&url).await.unwrap();
    let mut first = call(&session, "s", "any", json!({})).await;
    // Before anything is said there is a cursor.
    let cursor = first.cursor().await;
    drop(first);
    server.go.notify_one();
    let mut second = take_up(&session, &cursor).await;
    let (progress, id) = second.next().await;
    assert_eq!(progress["params"]["progress"], 1);
    // The connection is dead, and nobody has noticed.
    let mut third = take_up(&session, &id).await;
    server.go.notify_one();
    let (progress, id) = third.next().await;
    assert_eq!(progress["params"]["progress"], 2);
    drop(third);
    server.go.notify_one();
    let mut fourth = take_up(&session, &id).await;
    let (progress, id) = fourth.next().await;
    assert_eq!(progress["params"]["progress"], 3);
    drop(fourth);
    // Its answer is larger than what is held back of an event.
    server.go.notify_one();
    let (steps, answer) = rest(&mut take_up(&session, &id).await).await;
    assert_eq!((steps, &answer["id"]), (vec![], &json!("s")));
    let (steps, again) = rest(&mut take_up(&session, &cursor).await).await;
    assert_eq!((steps, again), (vec![1, 2, 3], answer));
}

#[tokio::test]
async fn what_a_server_said_before_it_was_killed_reaches_a_client_that_was_away() {
    let mut backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &[]);
    let session = Session::open(&url).await.unwrap();
    let mut first = call(&session, "s", "slow", json!({"steps": 1000, "delay_ms": 20})).await;
    let (_, id) = first.next().await;
    drop(first);
    tokio::time::sleep(Duration::from_millis(500)).await;
    backend.kill();
    backend.start_again();
    let (steps, last) = rest(&mut take_up(&session, &id).await).await;
    assert!(steps.len() > 3, "{steps:?}");
    assert_eq!(steps, (2..2 + steps.len() as u64).collect::<Vec<_>>());
    assert_eq!((&last["id"], &last["error"]["code"]), (&json!("s"), &json!(-31001)), "{last}");
}

#[tokio::test]
async fn a_listener_that_comes_back_has_missed_nothing() {
    let mut backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &[]);
    let mut session = Session::open(&url).await.unwrap();
    session.ask("resources/subscribe", json!({"uri": "test://watched-resource"})).await.unwrap();
    // Without a cursor, since it has not heard anything.
    drop(Listener::open(&session, "").await);
    session.call("touch", json!({})).await.unwrap();
    let mut listener = Listener::open(&session, "").await;
    let (message, id) = listener.next().await;
    assert_eq!(message["method"], "notifications/resources/updated");
    // With one, on a connection that nobody knows to be dead.
    let mut second = take_up(&session, &id).await;
    session.call("touch", json!({})).await.unwrap();
    let (message, id) = second.next().await;
    assert_eq!(message["method"], "notifications/resources/updated");
    drop(second);
    // What is said while it is away, and what is said because the server is killed.
    session.call("touch", json!({})).await.unwrap();
    session.call("touch", json!({})).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    backend.kill();
    backend.start_again();
    session.call("echo", json!({"message": "on"})).await.unwrap();
    let mut third = take_up(&session, &id).await;
    let mut heard = Vec::new();
    while heard.len() < 3 {
        heard.push(third.next().await.0["method"].as_str().unwrap().to_owned());
    }
    assert_eq!(heard[..2], ["notifications/resources/updated", "notifications/resources/updated"]);
    assert!(heard[2].ends_with("list_changed"), "{heard:?}");
}

#[tokio::test]
async fn a_listener_on_a_new_connection_gets_what_comes_though_its_old_one_seems_to_live() {
    let backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &[]);
    let mut session = Session::open(&url).await.unwrap();
    session.ask("resources/subscribe", json!({"uri": "test://watched-resource"})).await.unwrap();
    let mut old = Listener::open(&session, "").await;
    session.call("touch", json!({})).await.unwrap();
    assert_eq!(old.next().await.0["method"], "notifications/resources/updated");
    // It kept no cursor, and the server serves one stream for each session.
    let mut new = Listener::open(&session, "").await;
    session.call("touch", json!({})).await.unwrap();
    assert_eq!(new.next().await.0["method"], "notifications/resources/updated");
    old.ends().await;
}

#[tokio::test]
async fn a_proxy_that_was_started_again_asks_the_server_by_its_own_id() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file:{}", folder.path().join("sessions").display());
    let backend = Backend::start("a");
    let (mut skep, url) = proxy(&[&backend.url()], &["--store", &store]);
    let session = Session::open(&url).await.unwrap();
    let mut first = call(&session, "s", "slow", json!({"steps": 8, "delay_ms": 100})).await;
    let (_, id) = first.next().await;
    skep.signal(Signal::KILL).unwrap();
    skep.wait(Duration::from_secs(10)).unwrap();
    let (_again, url) = proxy(&[&backend.url()], &["--store", &store]);
    let session = at(&session, &url).await;
    let (steps, answer) = rest(&mut take_up(&session, &id).await).await;
    assert_eq!((steps, &answer["id"]), (vec![2, 3, 4, 5, 6, 7, 8], &json!("s")), "{answer}");
}

#[tokio::test]
async fn strict_sessions_have_cursors_too() {
    let backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &["--on-session-loss", "strict"]);
    let session = Session::open(&url).await.unwrap();
    let mut first = call(&session, "s", "slow", json!({"steps": 4, "delay_ms": 100})).await;
    let (_, id) = first.next().await;
    drop(first);
    let (steps, answer) = rest(&mut take_up(&session, &id).await).await;
    assert_eq!((steps, &answer["id"]), (vec![2, 3, 4], &json!("s")), "{answer}");
}

#[tokio::test]
async fn garbage_for_a_cursor_is_a_cursor_that_is_not_known() {
    let backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &[]);
    let mut session = Session::open(&url).await.unwrap();
    session.ask("resources/subscribe", json!({"uri": "test://watched-resource"})).await.unwrap();
    let long = "9".repeat(8000);
    for garbage in ["7", "skep1-7", "0-l1-1", "0-l1-1-", "1-l1-1-3", "0-a1-1-", "-", "%00", "é", &long] {
        let cursor = format!("Last-Event-ID: {garbage}\r\n");
        // The server allows one stream, and that the one before was cut may not be known yet.
        let mut listener = Listener::open(&session, &cursor).await;
        session.call("touch", json!({})).await.unwrap();
        let (message, _) = listener.next().await;
        assert_eq!(message["method"], "notifications/resources/updated", "{garbage}");
    }
}
