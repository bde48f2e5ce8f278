//! Sessions with stdio servers and HTTP+SSE servers outlive their processes, and skep itself.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::mcp::Session;
use testkit::{Connection, Program};

use crate::bridge::pid_of;
use crate::harness::{
    Listener, at, children, error_of, free_port, is_alive, listens, peer, proxy, run, until,
};

async fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    until("it is dead", || !is_alive(pid)).await;
}

/// Waits until a listener is told of the resource it subscribed to.
async fn is_told(listener: &mut Listener) {
    while listener.next().await.0["params"]["uri"] != "test://watched-resource" {}
}

#[tokio::test]
async fn a_session_goes_on_with_another_process_and_no_other_session_notices() {
    let (_skep, url) = run(&["example"]);
    let (mut one, mut two) = (Session::open(&url).await.unwrap(), Session::open(&url).await.unwrap());
    let (before, other) = (pid_of(&mut one).await, pid_of(&mut two).await);
    assert_eq!(two.call("counter", json!({})).await.unwrap(), "1");
    kill(before).await;
    assert_eq!(one.call("counter", json!({})).await.unwrap(), "1", "what a process kept is gone with it");
    assert_ne!(pid_of(&mut one).await, before);
    assert_eq!(two.call("counter", json!({})).await.unwrap(), "2");
    assert_eq!(pid_of(&mut two).await, other);
}

#[tokio::test]
async fn a_strict_session_ends_with_its_process() {
    let (_skep, url) = run(&["example", "--on-session-loss", "strict"]);
    let mut session = Session::open(&url).await.unwrap();
    let pid = pid_of(&mut session).await;
    kill(pid).await;
    let ping = r#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#;
    let mut answer = session.send(ping).await.unwrap();
    if answer.status == 502 {
        // It was under way when the process went.
        answer = session.send(ping).await.unwrap();
    }
    assert_eq!(error_of(&answer), (404, json!(-32001), json!(5)), "{}", answer.text());
    let mut next = Session::open(&url).await.unwrap();
    assert_eq!(next.call("counter", json!({})).await.unwrap(), "1");
}

#[tokio::test]
async fn a_call_under_way_when_its_process_dies_is_told_and_the_session_goes_on() {
    let (_skep, url) = run(&["example"]);
    let mut session = Session::open(&url).await.unwrap();
    let pid = pid_of(&mut session).await;
    let call = json!({"jsonrpc": "2.0", "id": "c", "method": "tools/call",
        "params": {"name": "slow", "arguments": {"steps": 100, "delay_ms": 1000}}});
    let request = session.request(&call.to_string());
    session.connection.send(&request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    kill(pid).await;
    let answer = session.connection.response().await.unwrap();
    let body = answer.json().unwrap();
    assert_eq!((answer.status, &body["id"], &body["error"]["code"]), (200, &json!("c"), &json!(-31001)));
    assert_eq!(body["error"]["data"]["executed"], "unknown");
    assert!(body["error"]["message"].as_str().unwrap().contains("SIGKILL"), "{body}");
    assert_eq!(session.call("echo", json!({"message": "on"})).await.unwrap(), "on");
}

#[tokio::test]
async fn a_listener_hears_on_and_its_subscription_is_known_to_the_next_process() {
    let (_skep, url) = run(&["example"]);
    let mut session = Session::open(&url).await.unwrap();
    session.ask("resources/subscribe", json!({"uri": "test://watched-resource"})).await.unwrap();
    let mut listener = Listener::open(&session, "").await;
    kill(pid_of(&mut session).await).await;
    // With the next message: this process had not lived for long, so listening alone brings none.
    session.call("touch", json!({})).await.unwrap();
    is_told(&mut listener).await;
}

#[tokio::test]
async fn sessions_of_a_shared_process_go_on_with_the_next() {
    let (_skep, url) = run(&["example", "--shared"]);
    let (mut one, mut two) = (Session::open(&url).await.unwrap(), Session::open(&url).await.unwrap());
    let before = pid_of(&mut one).await;
    kill(before).await;
    let (a, b) = tokio::join!(pid_of(&mut one), pid_of(&mut two));
    assert!(a == b && a != before, "{before} {a} {b}");
}

#[tokio::test]
async fn an_unused_process_is_let_go_and_its_session_is_not() {
    let (skep, url) = run(&["example", "--warm", "0", "--sleep-after", "1s"]);
    let mut session = Session::open(&url).await.unwrap();
    assert_eq!(children(skep.pid()).len(), 1);
    until("it is let go", || children(skep.pid()).is_empty()).await;
    assert_eq!(session.call("echo", json!({"message": "back"})).await.unwrap(), "back");
}

#[tokio::test]
async fn a_session_outlives_skep_and_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file:{}", folder.path().join("sessions").display());
    let args = ["example", "--store", &store];
    let (mut skep, url) = run(&args);
    let mut session = Session::open(&url).await.unwrap();
    session.ask("resources/subscribe", json!({"uri": "test://watched-resource"})).await.unwrap();
    skep.signal(Signal::KILL).unwrap();
    skep.wait(Duration::from_secs(10)).unwrap();
    let (again, url) = run(&args);
    let mut session = at(&session, &url).await;
    let mut listener = Listener::open(&session, "").await;
    session.call("touch", json!({})).await.unwrap();
    is_told(&mut listener).await;
    // Told to end, it leaves its sessions to the next too.
    again.stop().unwrap();
    let (_third, url) = run(&args);
    let mut session = at(&session, &url).await;
    assert_eq!(session.call("counter", json!({})).await.unwrap(), "1");
}

/// A real stdio server, killed: `tool` answers the same afterwards.
async fn is_replaced(command: &[&str], tool: &str, arguments: Value) {
    let (skep, url) = run(&[&["--warm", "0", "--"], command].concat());
    let mut session = Session::open(&url).await.unwrap();
    session.call(tool, arguments.clone()).await.unwrap();
    let pid = children(skep.pid())[0];
    kill(pid).await;
    session.call(tool, arguments).await.unwrap();
    assert_ne!(children(skep.pid())[0], pid);
}

#[tokio::test]
async fn a_typescript_process_that_was_killed_is_replaced() {
    let Some(node) = peer("SKEP_TEST_NODE") else { return };
    let modules = Path::new(&node).ancestors().nth(2).unwrap().to_owned();
    let server = modules.join("@modelcontextprotocol/server-everything/dist/index.js");
    is_replaced(&[&node, server.to_str().unwrap(), "stdio"], "echo", json!({"message": "hi"})).await;
}

#[tokio::test]
async fn a_python_process_that_was_killed_is_replaced() {
    let Some(python) = peer("SKEP_TEST_PYTHON") else { return };
    let command = [&*python, "-m", "mcp_server_time"];
    is_replaced(&command, "get_current_time", json!({"timezone": "UTC"})).await;
}

/// The message with this id on a stream of HTTP+SSE.
async fn answer_on(stream: &mut Listener, id: i64) -> Value {
    loop {
        let (message, _) = stream.next().await;
        if message["id"] == id {
            return message;
        }
    }
}

/// A client of HTTP+SSE: its stream, and where it posts to.
struct OldClient {
    stream: Listener,
    address: String,
    path: String,
}

impl OldClient {
    async fn open(url: &str) -> Self {
        let (address, _) = testkit::mcp::split_url(url).unwrap();
        let mut connection = Connection::open(&address).await.unwrap();
        let get = format!("GET /sse HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n");
        connection.send(get.as_bytes()).await.unwrap();
        let head = connection.head().await.unwrap();
        let mut stream = Listener { connection, head, text: String::new(), read: 0 };
        let path = stream.endpoint().await;
        let mut client = Self { stream, address, path };
        client.ask(0, "initialize", json!({
            "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}
        })).await;
        client.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        client
    }

    async fn post(&self, message: &Value) {
        let request = testkit::mcp::post(&self.address, &self.path, "", &message.to_string());
        let answer = Connection::open(&self.address).await.unwrap().ask(&request).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }

    async fn ask(&mut self, id: i64, method: &str, params: Value) -> Value {
        self.post(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        answer_on(&mut self.stream, id).await
    }
}

#[tokio::test]
async fn a_client_of_http_sse_keeps_its_stream_when_its_process_is_killed() {
    let (skep, url) = run(&["example", "--warm", "0"]);
    let mut client = OldClient::open(&url).await;
    kill(children(skep.pid())[0]).await;
    let echo = json!({"name": "echo", "arguments": {"message": "on"}});
    let answer = client.ask(1, "tools/call", echo).await;
    assert_eq!(answer["result"]["content"][0]["text"], "on", "{answer}");
}

/// server-everything behind HTTP+SSE, at a port of its own.
fn everything_sse(node: &str, port: u16) -> Program {
    let modules = Path::new(node).ancestors().nth(2).unwrap().to_owned();
    let mut command = Command::new(node);
    command.arg("--require").arg(modules.join("../loopback.cjs"));
    command.arg(modules.join("@modelcontextprotocol/server-everything/dist/index.js"));
    command.arg("sse").env("PORT", port.to_string());
    Program::start(command).unwrap()
}

#[tokio::test]
async fn a_session_goes_on_when_its_http_sse_server_was_killed_and_is_back() {
    let Some(node) = peer("SKEP_TEST_NODE") else { return };
    let port = free_port();
    let mut server = everything_sse(&node, port);
    listens(port).await;
    let target = format!("http://127.0.0.1:{port}/sse");
    let (_skep, url) = proxy(&[&target], &["--transport", "sse"]);
    let mut session = Session::open(&url).await.unwrap();
    assert!(session.call("echo", json!({"message": "a"})).await.unwrap().contains('a'));
    server.signal(Signal::KILL).unwrap();
    server.wait(Duration::from_secs(10)).unwrap();
    let _back = everything_sse(&node, port);
    assert!(session.call("echo", json!({"message": "b"})).await.unwrap().contains('b'));
}
