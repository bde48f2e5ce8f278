//! Sessions outlive their backends: real servers, killed without warning.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::mcp::Session;
use testkit::{Connection, Program};
use tokio::task::JoinSet;

use crate::harness::{
    Listener, at, children, command, error_of, example, free_port, listens, output, peer, proxy, run,
};

/// The example server, which can be killed and started again at the same address.
pub(crate) struct Backend {
    program: Option<Program>,
    pub(crate) address: String,
    name: &'static str,
}

impl Backend {
    pub(crate) fn start(name: &'static str) -> Self {
        let (program, url) = example(name);
        let (address, _) = testkit::mcp::split_url(&url).unwrap();
        Self { program: Some(program), address, name }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub(crate) fn kill(&mut self) {
        let mut program = self.program.take().unwrap();
        program.signal(Signal::KILL).unwrap();
        program.wait(Duration::from_secs(10)).unwrap();
    }

    fn signal(&self, signal: Signal) {
        self.program.as_ref().unwrap().signal(signal).unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        let mut program =
            Program::start(command(&["example", "--http", &self.address, "--instance", self.name])).unwrap();
        program.url().unwrap();
        self.program = Some(program);
    }
}

pub(crate) async fn whoami(session: &mut Session) -> Value {
    serde_json::from_str(&session.call("whoami", json!({})).await.unwrap()).unwrap()
}

/// How many sessions the instance has begun that holds this one.
pub(crate) async fn begun(session: &mut Session) -> u64 {
    let answer = session.ask("resources/read", json!({"uri": "example://instance"})).await.unwrap();
    let text = answer["result"]["contents"][0]["text"].as_str().unwrap();
    serde_json::from_str::<Value>(text).unwrap()["sessionsBegun"].as_u64().unwrap()
}

/// All ask at once, and one backend session answers.
pub(crate) async fn all_are_served_by_one(sessions: Vec<Session>) {
    let mut running = JoinSet::new();
    for mut session in sessions {
        running.spawn(async move { whoami(&mut session).await });
    }
    let answers = running.join_all().await;
    let seen: BTreeSet<String> =
        answers.iter().map(|who| format!("{}/{}", who["instance"], who["sessionId"])).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
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
    all_are_served_by_one(others).await;
    assert_ne!(whoami(&mut session).await["instance"], home["instance"]);
    assert_eq!(begun(&mut session).await, 1);
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

/// A call that is running when its server is killed; `kill` gives it back.
async fn is_called_again(url: &str, kill: impl FnOnce()) {
    let mut session = Session::open(url).await.unwrap();
    let params = json!({"name": "slow", "arguments": {"steps": 4, "delay_ms": 200}});
    let call = json!({"jsonrpc": "2.0", "id": "s", "method": "tools/call", "params": params}).to_string();
    // So that the server's annotations are known, where they are asked for.
    session.ask("tools/list", json!({})).await.unwrap();
    let request = session.request(&call);
    session.connection.send(&request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    kill();
    let answer = session.connection.response().await.unwrap();
    let body = answer.json().unwrap();
    assert!(body["result"]["content"].is_array(), "{body}");
    assert_eq!(body["result"]["_meta"]["skep/recovered"], json!({"epoch": 1}), "and it is told");
    let after =
        session.ask("tools/call", json!({"name": "echo", "arguments": {"message": "x"}})).await.unwrap();
    assert_eq!(after["result"]["_meta"], Value::Null, "once");
}

#[tokio::test]
async fn a_tool_that_may_be_called_twice_is() {
    for args in [["--resend-tool", "slow"].as_slice(), &["--trust-annotations"]] {
        let mut backend = Backend::start("a");
        let (_skep, url) = proxy(&[&backend.url()], args);
        is_called_again(&url, || {
            backend.kill();
            backend.start_again();
        })
        .await;
        let (skep, url) = run(&[&["example", "--warm", "0"], args].concat());
        is_called_again(&url, || {
            let pid =
                rustix::process::Pid::from_raw(i32::try_from(children(skep.pid())[0]).unwrap()).unwrap();
            rustix::process::kill_process(pid, Signal::KILL).unwrap();
        })
        .await;
    }
}

/// A call of 2026-07-28 that is running when its server is killed.
async fn is_asked_elsewhere(url: &str, kill: impl FnOnce()) {
    let (address, path) = testkit::mcp::split_url(url).unwrap();
    let params = json!({"name": "slow", "arguments": {"steps": 4, "delay_ms": 200}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }});
    let call = json!({"jsonrpc": "2.0", "id": "m", "method": "tools/call", "params": params}).to_string();
    let headers = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: slow\r\n";
    let mut connection = Connection::open(&address).await.unwrap();
    connection.send(&testkit::mcp::post(&address, &path, headers, &call)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    kill();
    let answer = connection.response().await.unwrap();
    let body = answer.json().unwrap();
    assert!(body["result"]["content"].is_array(), "{body}");
}

#[tokio::test]
async fn a_request_without_a_session_is_answered_by_another_server_if_that_does_no_harm() {
    let (mut a, mut b) = (Backend::start("a"), Backend::start("b"));
    let (_skep, url) = proxy(&[&a.url(), &b.url()], &["--resend-tool", "slow"]);
    // So that the other one has it, and has not begun to answer.
    b.kill();
    a.signal(Signal::STOP);
    is_asked_elsewhere(&url, || {
        b.start_again();
        a.kill();
    })
    .await;
    let (skep, url) = run(&["example", "--warm", "0", "--resend-tool", "slow"]);
    is_asked_elsewhere(&url, || {
        let pid = rustix::process::Pid::from_raw(i32::try_from(children(skep.pid())[0]).unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    })
    .await;
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
    assert!(!id.is_empty() && !id.starts_with("0-"), "{id} is of the epoch after");
}

#[tokio::test]
async fn what_happened_to_a_session_can_be_seen_and_it_can_be_ended() {
    let mut backend = Backend::start("a");
    let (skep, url) = proxy(&[&backend.url()], &[]);
    let mut session = Session::open(&url).await.unwrap();
    session.ask("resources/subscribe", json!({"uri": "test://watched-resource"})).await.unwrap();
    backend.kill();
    backend.start_again();
    whoami(&mut session).await;
    let (lists, _, _) = output(&["sessions", "list", "--format", "json"]);
    let lists: Vec<Value> = serde_json::from_str(&lists).unwrap();
    let own = lists.iter().find(|list| list["pid"] == skep.pid()).unwrap();
    let line = &own["sessions"][0];
    assert_eq!((&line["epoch"], &line["place"]), (&json!(1), &json!(backend.address)), "{line}");
    assert!(!session.id.contains(line["id"].as_str().unwrap()), "the id opens nothing");
    let id = line["id"].as_str().unwrap();
    let (shown, _, _) = output(&["sessions", "show", &id[..13]]);
    for part in ["2025-11-25", "test://watched-resource", "lost", "rebuilt"] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    let (table, _, _) = output(&["sessions", "list", "--name", "test"]);
    assert!(table.starts_with("SESSION") && table.contains(id), "{table}");
    let (_, said, code) = output(&["sessions", "end", id]);
    assert_eq!(code, Some(0), "{said}");
    let answer = session.send(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await.unwrap();
    assert_eq!(error_of(&answer), (404, json!(-32001), json!(1)));
    let (_, said, code) = output(&["sessions", "show", "no-such"]);
    assert!(code == Some(1) && said.contains("skep sessions list"), "{said}");
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
async fn an_instance_that_hangs_is_left_for_another() {
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    let (_skep, url) = proxy(&[&a.url(), &b.url()], &[]);
    let mut session = Session::open(&url).await.unwrap();
    let mut listener = Listener::open(&session, "").await;
    let home = whoami(&mut session).await;
    let hung = if home["instance"] == "a" { &a } else { &b };
    hung.signal(Signal::STOP);
    // Even what may act is not left hanging: nobody knows whether it was carried out.
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"counter","arguments":{}}}"#;
    let answer = session.send(call).await.unwrap().json().unwrap();
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    assert_ne!(whoami(&mut session).await["instance"], home["instance"]);
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(Session::open(&url).await.unwrap());
    }
    for other in &mut others {
        assert_ne!(whoami(other).await["instance"], home["instance"], "new sessions go elsewhere");
    }
    assert_eq!(listener.next().await.0["method"], "notifications/tools/list_changed", "and so do listeners");
    hung.signal(Signal::CONT);
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

/// Somebody else's server at a port of its own, which can be killed and started again.
struct RealServer {
    command: Box<dyn Fn() -> Command>,
    port: u16,
    program: Option<Program>,
}

impl RealServer {
    async fn start(command: impl Fn(u16) -> Command + 'static) -> Self {
        let port = free_port();
        let mut server = Self { command: Box::new(move || command(port)), port, program: None };
        server.begin();
        server.listens().await;
        server
    }

    /// server-everything (npm), on the TypeScript SDK.
    async fn typescript() -> Option<Self> {
        let node = peer("SKEP_TEST_NODE")?;
        let modules = Path::new(&node).ancestors().nth(2).unwrap().to_owned();
        let start = move |port: u16| {
            let mut command = Command::new(&node);
            command.arg("--require").arg(modules.join("../loopback.cjs"));
            command.arg(modules.join("@modelcontextprotocol/server-everything/dist/index.js"));
            command.arg("streamableHttp").env("PORT", port.to_string());
            command
        };
        Some(Self::start(start).await)
    }

    /// A server of ours on the Python SDK.
    async fn python() -> Option<Self> {
        let python = peer("SKEP_TEST_PYTHON")?;
        let start = move |port: u16| {
            let mut command = Command::new(&python);
            command.arg(conformance("server_py.py")).arg(port.to_string());
            command
        };
        Some(Self::start(start).await)
    }

    /// A server on rmcp, the Rust SDK.
    async fn rust() -> Self {
        let start = move |port: u16| {
            let mut command = Command::new(rmcp_peer());
            command.args(["server", &port.to_string()]);
            command
        };
        Self::start(start).await
    }

    fn begin(&mut self) {
        let mut command = (self.command)();
        command.stdin(Stdio::null());
        self.program = Some(Program::start(command).unwrap());
    }

    async fn listens(&self) {
        listens(self.port).await;
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// Without warning; it is on its way back then.
    fn kill_and_begin_again(&mut self) {
        let mut program = self.program.take().unwrap();
        program.signal(Signal::KILL).unwrap();
        program.wait(Duration::from_secs(10)).unwrap();
        self.begin();
    }
}

/// The Rust SDK at either end: `crates/cli/examples/rmcp_peer.rs`.
fn rmcp_peer() -> PathBuf {
    let peer = Path::new(env!("CARGO_BIN_EXE_skep")).with_file_name("examples").join("rmcp_peer");
    assert!(peer.is_file(), "build it: cargo build -p cli --example rmcp_peer (`cargo test` does)");
    peer
}

fn conformance(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance").join(file)
}

async fn is_rebuilt(mut server: RealServer, tool: &str, arguments: Value) {
    let (_skep, url) = proxy(&[&server.url()], &[]);
    let mut session = Session::open(&url).await.unwrap();
    let before = session.call(tool, arguments.clone()).await.unwrap();
    server.kill_and_begin_again();
    assert_eq!(session.call(tool, arguments.clone()).await.unwrap(), before);
    server.listens().await;
    assert_eq!(session.call(tool, arguments).await.unwrap(), before);
}

#[tokio::test]
async fn a_typescript_server_that_was_killed_is_taken_up_again() {
    let Some(server) = RealServer::typescript().await else { return };
    is_rebuilt(server, "echo", json!({"message": "hi"})).await;
}

#[tokio::test]
async fn a_python_server_that_was_killed_is_taken_up_again() {
    let Some(server) = RealServer::python().await else { return };
    is_rebuilt(server, "add", json!({"a": 2, "b": 40})).await;
}

/// Clients that nobody here wrote (`testing.md` 3.1): all but the last die with their server's session when they speak to it
/// directly. `None` where one is not installed.
fn survivors(url: &str) -> Option<Vec<(&'static str, Program)>> {
    let (node, python) = (peer("SKEP_TEST_NODE")?, peer("SKEP_TEST_PYTHON")?);
    let python_v1 = peer("SKEP_TEST_PYTHON_V1")?;
    let start = |name: &'static str, program: &str, script: Option<&str>, args: [&str; 2]| {
        let mut client = Command::new(program);
        client.args(script.map(conformance)).args(args).stdin(Stdio::piped());
        (name, Program::start(client).unwrap())
    };
    let clients = vec![
        start("TypeScript v1", &node, Some("survivor.mjs"), [url, "v1"]),
        start("TypeScript v2", &node, Some("survivor.mjs"), [url, "v2"]),
        start("Python v1", &python_v1, Some("survivor.py"), [url, "v1"]),
        start("Python v2", &python, Some("survivor.py"), [url, "v2"]),
        start("fastmcp", &python, Some("survivor.py"), [url, "fastmcp"]),
        start("rmcp", rmcp_peer().to_str().unwrap(), None, ["client", url]),
    ];
    Some(clients)
}

/// All list the server's tools, it is killed and comes back, and all list them again.
async fn all_clients_go_on(url: &str, kill: impl FnOnce()) {
    let Some(mut clients) = survivors(url) else { return };
    for (name, client) in &mut clients {
        assert_eq!(client.line().unwrap(), "ready", "{name}");
    }
    kill();
    for (name, client) in &mut clients {
        client.say("go\n").unwrap();
        assert_eq!(client.line().unwrap_or_default(), "ok", "{name}");
    }
}

#[tokio::test]
async fn all_clients_go_on_when_the_example_is_killed() {
    let mut backend = Backend::start("a");
    let (_skep, url) = proxy(&[&backend.url()], &[]);
    all_clients_go_on(&url, || {
        backend.kill();
        backend.start_again();
    })
    .await;
}

#[tokio::test]
async fn all_clients_go_on_when_a_typescript_server_is_killed() {
    let Some(mut server) = RealServer::typescript().await else { return };
    let (_skep, url) = proxy(&[&server.url()], &[]);
    all_clients_go_on(&url, || server.kill_and_begin_again()).await;
}

#[tokio::test]
async fn all_clients_go_on_when_a_python_server_is_killed() {
    let Some(mut server) = RealServer::python().await else { return };
    let (_skep, url) = proxy(&[&server.url()], &[]);
    all_clients_go_on(&url, || server.kill_and_begin_again()).await;
}

#[tokio::test]
async fn all_clients_go_on_when_a_rust_server_is_killed() {
    let mut server = RealServer::rust().await;
    let (_skep, url) = proxy(&[&server.url()], &[]);
    all_clients_go_on(&url, || server.kill_and_begin_again()).await;
}

#[tokio::test]
async fn all_clients_go_on_when_a_process_is_killed() {
    let (skep, url) = run(&["example"]);
    all_clients_go_on(&url, || {
        for pid in children(skep.pid()) {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            // A process of nobody may end by itself meanwhile.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_outlives_its_proxy_and_then_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file:{}", folder.path().join("sessions").display());
    let mut backend = Backend::start("a");
    let (mut skep, url) = proxy(&[&backend.url()], &["--store", &store]);
    let mut session = Session::open(&url).await.unwrap();
    session.ask("resources/subscribe", json!({"uri": "test://watched-resource"})).await.unwrap();
    skep.signal(Signal::KILL).unwrap();
    skep.wait(Duration::from_secs(10)).unwrap();
    backend.kill();
    backend.start_again();
    let (_again, url) = proxy(&[&backend.url()], &["--store", &store]);
    let mut session = at(&session, &url).await;
    assert_eq!(session.call("counter", json!({})).await.unwrap(), "1");
    let mut listener = Listener::open(&session, "").await;
    session.call("touch", json!({})).await.unwrap();
    assert_eq!(listener.next().await.0["params"]["uri"], "test://watched-resource");
}
