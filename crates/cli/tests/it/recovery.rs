//! Sessions outlive their backends: real servers, killed without warning.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::mcp::Session;
use testkit::{Connection, Program};
use tokio::task::JoinSet;

use crate::harness::{Listener, command, error_of, example, peer, proxy, until};

/// The example server, which can be killed and started again at the same address.
struct Backend {
    program: Option<Program>,
    address: String,
    name: &'static str,
}

impl Backend {
    fn start(name: &'static str) -> Self {
        let (program, url) = example(name);
        let (address, _) = testkit::mcp::split_url(&url).unwrap();
        Self { program: Some(program), address, name }
    }

    fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    fn kill(&mut self) {
        let mut program = self.program.take().unwrap();
        program.signal(Signal::KILL).unwrap();
        program.wait(Duration::from_secs(10)).unwrap();
    }

    fn start_again(&mut self) {
        let mut program =
            Program::start(command(&["example", "--http", &self.address, "--instance", self.name])).unwrap();
        program.url().unwrap();
        self.program = Some(program);
    }
}

async fn whoami(session: &mut Session) -> Value {
    serde_json::from_str(&session.call("whoami", json!({})).await.unwrap()).unwrap()
}

/// Another connection of the same session.
async fn beside(session: &Session) -> Session {
    let connection = Connection::open(&session.address).await.unwrap();
    session.beside(connection)
}

#[tokio::test]
async fn a_session_goes_on_when_its_server_was_killed_and_is_back() {
    let mut backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &[]);
    let mut session = Session::open(&url).await.unwrap();
    let before = whoami(&mut session).await;
    backend.kill();
    backend.start_again();
    // Even what may act: it was not carried out.
    assert_eq!(session.call("counter", json!({})).await.unwrap(), "1");
    let after = whoami(&mut session).await;
    assert_ne!(before["sessionId"], after["sessionId"]);
    assert_eq!(session.call("counter", json!({})).await.unwrap(), "2");
}

#[tokio::test]
async fn a_request_waits_while_its_server_is_away() {
    let mut backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &[]);
    let mut session = Session::open(&url).await.unwrap();
    backend.kill();
    let call = tokio::spawn(async move { session.call("counter", json!({})).await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!call.is_finished());
    backend.start_again();
    assert_eq!(call.await.unwrap().unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_on_one_session_make_one_new_backend_session() {
    let (mut a, mut b) = (Backend::start("a"), Backend::start("b"));
    let (_skep, url) = proxy(&[&a.url(), &b.url()], &[]);
    let mut session = Session::open(&url).await.unwrap();
    let home = whoami(&mut session).await;
    let mut others = Vec::new();
    for _ in 0..64 {
        others.push(beside(&session).await);
    }
    if home["instance"] == "a" {
        a.kill()
    } else {
        b.kill()
    }
    let mut running = JoinSet::new();
    for mut other in others {
        running.spawn(async move { whoami(&mut other).await });
    }
    let seen: BTreeSet<String> = running
        .join_all()
        .await
        .iter()
        .map(|who| format!("{}/{}", who["instance"], who["sessionId"]))
        .collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_ne!(whoami(&mut session).await["instance"], home["instance"]);
}

#[tokio::test]
async fn what_was_running_is_answered_as_unknown_and_the_session_goes_on() {
    let mut backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &[]);
    let mut session = Session::open(&url).await.unwrap();
    let mut other = beside(&session).await;
    let arguments = json!({"steps": 100, "delay_ms": 100});
    let running = tokio::spawn(async move {
        let params = json!({"name": "slow", "arguments": arguments});
        let call = json!({"jsonrpc": "2.0", "id": "s", "method": "tools/call", "params": params});
        other.send(&call.to_string()).await.unwrap()
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    backend.kill();
    backend.start_again();
    let answer = running.await.unwrap();
    let body = answer.json().unwrap();
    assert_eq!((answer.status, &body["id"]), (200, &json!("s")), "{body}");
    assert_eq!(
        (&body["error"]["code"], &body["error"]["data"]["executed"]),
        (&json!(-31001), &json!("unknown"))
    );
    assert_eq!(session.call("echo", json!({"message": "on"})).await.unwrap(), "on");
}

#[tokio::test]
async fn a_cut_stream_of_a_call_ends_with_the_news_and_one_that_reads_goes_on() {
    let mut backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &[]);
    let session = Session::open(&url).await.unwrap();
    let mut other = beside(&session).await;
    let params = json!({
        "name": "slow", "arguments": {"steps": 100, "delay_ms": 50}, "_meta": {"progressToken": "p"}
    });
    let call = json!({"jsonrpc": "2.0", "id": "s", "method": "tools/call", "params": params});
    let request = other.request(&call.to_string());
    other.connection.send(&request).await.unwrap();
    let head = other.connection.head().await.unwrap();
    let mut listener = Listener { connection: other.connection, head, text: String::new(), read: 0 };
    let (progress, _) = listener.next().await;
    assert_eq!(progress["method"], "notifications/progress");
    backend.kill();
    backend.start_again();
    let last = loop {
        let (message, _) = listener.next().await;
        if message["method"].is_null() {
            break message;
        }
    };
    assert_eq!((&last["id"], &last["error"]["code"]), (&json!("s"), &json!(-31001)), "{last}");
}

#[tokio::test]
async fn a_listener_hears_on_and_its_subscriptions_are_restored() {
    let mut backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &[]);
    let mut session = Session::open(&url).await.unwrap();
    session.ask("resources/subscribe", json!({"uri": "test://watched-resource"})).await.unwrap();
    let mut listener = Listener::open(&session, "").await;
    session.call("touch", json!({})).await.unwrap();
    assert_eq!(listener.next().await.0["method"], "notifications/resources/updated");
    backend.kill();
    backend.start_again();
    // It is told that what it knows may have changed.
    let mut told = BTreeSet::new();
    while !told.contains("notifications/resources/updated") {
        told.insert(listener.next().await.0["method"].as_str().unwrap().to_owned());
    }
    assert!(told.contains("notifications/tools/list_changed"), "{told:?}");
    session.call("touch", json!({})).await.unwrap();
    let (message, id) = listener.next().await;
    assert_eq!(message["params"]["uri"], "test://watched-resource");
    assert!(id.is_empty() || id.starts_with("skep1-"), "{id}");
}

#[tokio::test]
async fn ending_a_session_whose_server_is_dead_needs_no_server() {
    let mut backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &[]);
    let mut session = Session::open(&url).await.unwrap();
    backend.kill();
    let delete = session.bare("DELETE", "");
    assert_eq!(session.connection.ask(&delete).await.unwrap().status, 200);
    let answer = session.send(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await.unwrap();
    assert_eq!(error_of(&answer), (404, json!(-32001), json!(1)));
}

#[tokio::test]
async fn strict_sessions_are_not_rebuilt() {
    let mut backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &["--on-session-loss", "strict"]);
    let mut session = Session::open(&url).await.unwrap();
    backend.kill();
    backend.start_again();
    let answer = session.send(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await.unwrap();
    assert_eq!(error_of(&answer), (404, json!(-32001), json!(1)));
}

/// Kills somebody else's server and starts it again at the same port.
async fn a_real_server_is_rebuilt(start: impl Fn(u16) -> Command, tool: &str, arguments: Value) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let begin = || {
        let mut command = start(port);
        command.stdin(Stdio::null());
        Program::start(command).unwrap()
    };
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    let mut server = begin();
    until("the server listens", listens).await;
    let (_skep, url) = proxy(&[&format!("http://127.0.0.1:{port}/mcp")], &[]);
    let mut session = Session::open(&url).await.unwrap();
    let before = session.call(tool, arguments.clone()).await.unwrap();
    server.signal(Signal::KILL).unwrap();
    server.wait(Duration::from_secs(10)).unwrap();
    let _again = begin();
    assert_eq!(session.call(tool, arguments.clone()).await.unwrap(), before);
    until("the server listens again", listens).await;
    assert_eq!(session.call(tool, arguments).await.unwrap(), before);
}

#[tokio::test]
async fn a_typescript_server_that_was_killed_is_taken_up_again() {
    let Some(node) = peer("SKEP_TEST_NODE") else { return };
    let modules = Path::new(&node).ancestors().nth(2).unwrap().to_owned();
    let server = modules.join("@modelcontextprotocol/server-everything/dist/index.js");
    let loopback = modules.join("../loopback.cjs");
    let start = |port: u16| {
        let mut command = Command::new(&node);
        command.arg("--require").arg(&loopback).arg(&server).arg("streamableHttp");
        command.env("PORT", port.to_string());
        command
    };
    a_real_server_is_rebuilt(start, "echo", json!({"message": "hi"})).await;
}

#[tokio::test]
async fn a_python_server_that_was_killed_is_taken_up_again() {
    let Some(python) = peer("SKEP_TEST_PYTHON") else { return };
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/server_py.py");
    let start = |port: u16| {
        let mut command = Command::new(&python);
        command.arg(server).arg(port.to_string());
        command
    };
    a_real_server_is_rebuilt(start, "add", json!({"a": 2, "b": 40})).await;
}
