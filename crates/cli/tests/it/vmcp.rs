//! Several servers as one: their tools together, and sessions that go on when one of them, or skep itself, is killed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use testkit::Program;
use testkit::mcp::Session;
use testkit::tap::Tap;
use testkit::wire::{Connection, Response};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::harness::{Listener, at, command, example, free_port, listens, output};
use crate::home::Home;

/// A virtual MCP's file.
pub(crate) fn file(folder: &Path, backends: &[(&str, &str)]) -> String {
    file_with(folder, backends, "")
}

/// The same, and what it says besides.
pub(crate) fn file_with(folder: &Path, backends: &[(&str, &str)], more: &str) -> String {
    let backends: String = backends
        .iter()
        .map(|(name, url)| format!("  - {{name: {name}, url: '{url}', transport: streamable-http}}\n"))
        .collect();
    let text = format!(
        "name: many\ngroupRef: g\nbackends:\n{backends}incomingAuth: {{type: anonymous}}\noutgoingAuth: {{source: inline}}\n\
         aggregation: {{conflictResolution: prefix, conflictResolutionConfig: {{prefixFormat: '{{workload}}_'}}}}\n{more}\n"
    );
    let path = folder.join("vmcp.yaml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// `skep vmcp serve` with its state in this folder.
pub(crate) fn serve(folder: &Path, file: &str, port: u16) -> (Program, String) {
    let port = port.to_string();
    let mut serve: Command =
        command(&["vmcp", "serve", "--config", file, "--port", &port, "--format", "json"]);
    serve.env("XDG_STATE_HOME", folder);
    let mut program = Program::start(serve).unwrap();
    let url = program.url().unwrap_or_else(|error| panic!("{error:#}"));
    (program, url)
}

async fn tools(session: &mut Session) -> Vec<String> {
    let answer = session.ask("tools/list", json!({})).await.unwrap();
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// Waits for the tools of all of these.
pub(crate) async fn all_there(session: &mut Session, backends: &[&str]) -> Vec<String> {
    for _ in 0..3000 {
        let tools = tools(session).await;
        if backends.iter().all(|backend| tools.iter().any(|tool| tool.starts_with(&format!("{backend}_")))) {
            return tools;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within half a minute: the tools of {backends:?}");
}

pub(crate) async fn kill(mut program: Program) {
    program.signal(Signal::KILL).unwrap();
    program.wait(Duration::from_secs(10)).unwrap();
}

#[tokio::test]
async fn the_tools_of_many_are_one_list_and_each_call_finds_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let ((_a, a), (_b, b)) = (example("a"), example("b"));
    let dead = format!("http://127.0.0.1:{}/mcp", free_port());
    let unknown = "http://nothing.invalid:1/mcp";
    let file = file(folder.path(), &[("a", &a), ("b", &b), ("dead", &dead), ("unknown", unknown)]);
    let (_skep, url) = serve(folder.path(), &file, 0);
    let mut session = Session::open(&url).await.unwrap();
    let tools = all_there(&mut session, &["a", "b"]).await;
    assert!(!tools.iter().any(|tool| tool.starts_with("dead_")), "{tools:?}");
    let of = |name: &str| tools.iter().filter(|tool| tool.starts_with(name)).count();
    assert_eq!(of("a_"), of("b_"));
    for (name, expect) in [("a_counter", "1"), ("a_counter", "2"), ("b_counter", "1"), ("a_counter", "3")] {
        assert_eq!(session.call(name, json!({})).await.unwrap(), expect, "{name}");
    }
    let mut other = Session::open(&url).await.unwrap();
    assert_eq!(other.call("a_counter", json!({})).await.unwrap(), "1", "of another session");
}

#[tokio::test]
async fn a_session_goes_on_when_a_server_and_when_skep_itself_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let start = || crate::harness::skep(&["example", "--http", &address, "--instance", "b"]);
    let ((_a, a), (killed, b)) = (example("a"), start());
    let file = file(folder.path(), &[("a", &a), ("b", &b)]);
    let (skep, url) = serve(folder.path(), &file, 0);
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["a", "b"]).await;
    for expect in ["1", "2"] {
        assert_eq!(session.call("a_counter", json!({})).await.unwrap(), expect);
        assert_eq!(session.call("b_counter", json!({})).await.unwrap(), expect);
    }
    kill(killed).await;
    let (_again, _) = start();
    listens(port).await;
    assert_eq!(session.call("b_counter", json!({})).await.unwrap(), "1", "rebuilt on the new one");
    assert_eq!(session.call("a_counter", json!({})).await.unwrap(), "3", "and the other knows nothing of it");
    kill(skep).await;
    let (_next, url) = serve(folder.path(), &file, 0);
    let mut session = at(&session, &url).await;
    assert_eq!(session.call("a_counter", json!({})).await.unwrap(), "4", "the same session with the server");
    assert_eq!(session.call("b_counter", json!({})).await.unwrap(), "2");
}

#[tokio::test]
async fn a_server_that_comes_late_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let (port, (_a, a)) = (free_port(), example("a"));
    let late = format!("http://127.0.0.1:{port}/mcp");
    let file = file(folder.path(), &[("a", &a), ("late", &late)]);
    let (_skep, url) = serve(folder.path(), &file, 0);
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["a"]).await;
    let mut listener = Listener::open(&session, "").await;
    let (_late, _) = crate::harness::skep(&["example", "--http", &format!("127.0.0.1:{port}")]);
    while !tools(&mut session).await.iter().any(|tool| tool == "late_counter") {
        let (said, _) = listener.next().await;
        assert!(said["method"].as_str().unwrap().ends_with("/list_changed"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_and_one_that_talks_nonsense_delay_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let ((_a, a), (hangs, b)) = (example("a"), example("b"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nonsense = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            // Whoever is not there any more does not hear it.
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>").await;
        }
    });
    let file = file(folder.path(), &[("a", &a), ("b", &b), ("nonsense", &nonsense)]);
    let (_skep, url) = serve(folder.path(), &file, 0);
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["a", "b"]).await;
    hangs.signal(Signal::STOP).unwrap();
    let (mut waiting, begun) = (at(&session, &url).await, Instant::now());
    let call = tokio::spawn(async move { waiting.call("b_counter", json!({})).await });
    for expect in 1..=20 {
        let tools = tools(&mut session).await;
        assert!(tools.iter().any(|tool| tool == "a_counter"), "{tools:?}");
        assert_eq!(session.call("a_counter", json!({})).await.unwrap(), expect.to_string());
    }
    assert!(begun.elapsed() < Duration::from_secs(5) && !call.is_finished(), "{:?}", begun.elapsed());
    hangs.signal(Signal::CONT).unwrap();
    assert_eq!(call.await.unwrap().unwrap(), "1");
}

const OWN_TOOLS: &str = "passthroughHeaders: [X-Tenant]
codeMode: {enabled: true}
compositeTools:
- {name: twice, description: Counts, steps: [{id: one, tool: a.counter}]}
";

#[tokio::test]
async fn servers_get_the_headers_that_are_named_and_no_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let (_a, a) = example("a");
    let target = a.trim_start_matches("http://").trim_end_matches("/mcp").parse().unwrap();
    let way = format!("127.0.0.1:{}", free_port());
    let tap = Tap::start(&way, target).await.unwrap();
    let a = format!("http://{way}/mcp");
    let file = file_with(folder.path(), &[("a", &a)], OWN_TOOLS);
    let (_skep, url) = serve(folder.path(), &file, 0);
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["a"]).await;
    let sent =
        "authorization: Bearer our-secret\r\ncookie: our-cookie=1\r\nx-tenant: red\r\nx-other: blue\r\n";
    // By itself, as a step of a workflow, and twice from a script.
    let script = json!({"script": "return [a_counter(), a_counter()]"});
    for (name, arguments, count) in
        [("a_counter", json!({}), "1"), ("twice", json!({}), "2"), ("execute_tool_script", script, "4")]
    {
        let params = json!({"name": name, "arguments": arguments});
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
        let request = String::from_utf8(session.request(&call.to_string())).unwrap();
        let (first, rest) = request.split_once("\r\n").unwrap();
        let mut connection = Connection::open(&session.address).await.unwrap();
        let answer = connection.ask(format!("{first}\r\n{sent}{rest}").as_bytes()).await.unwrap();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            text.contains("result") && text.contains(count) && !text.contains("isError"),
            "{name}: {text}"
        );
    }
    let heard = tap.heard().await;
    assert_eq!(heard.matches("x-tenant: red").count(), 4, "{heard}");
    assert!(
        !heard.contains("our-secret") && !heard.contains("our-cookie") && !heard.contains("x-other"),
        "{heard}"
    );
}

/// Asks an endpoint for something that is no message.
async fn get(url: &str, path: &str, host: &str) -> Response {
    let address = url.trim_start_matches("http://").split('/').next().unwrap();
    let mut connection = Connection::open(address).await.unwrap();
    let host = if host.is_empty() { address } else { host };
    connection.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap()
}

#[tokio::test]
async fn how_its_servers_are_is_told_to_whoever_may_call_them() {
    let folder = tempfile::tempdir().unwrap();
    let ((_a, a), dead) = (example("a"), format!("http://127.0.0.1:{}/mcp", free_port()));
    let file = file(folder.path(), &[("a", &a), ("dead", &dead)]);
    let (_skep, url) = serve(folder.path(), &file, 0);
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["a"]).await;
    let ready = get(&url, "/readyz", "any.name").await;
    assert_eq!((ready.status, ready.json().unwrap()), (200, json!({"status": "ready", "mode": "static"})));
    let status = get(&url, "/status", "").await.json().unwrap();
    assert_eq!(
        status["backends"][0],
        json!({"name": "a", "health": "healthy", "transport": "streamable-http"})
    );
    assert_eq!((&status["healthy"], &status["group_ref"]), (&json!(true), &json!("")), "{status}");
    let health = get(&url, "/api/backends/health", "").await.json().unwrap();
    assert_eq!(
        (&health["summary"]["Total"], &health["summary"]["Healthy"]),
        (&json!(2), &json!(1)),
        "{health}"
    );
    let from_a_page = get(&url, "/status", "evil.example").await;
    assert_eq!(from_a_page.status, 403, "{}", from_a_page.text());
}

#[tokio::test]
async fn a_call_has_the_time_that_the_file_gives_it() {
    let folder = tempfile::tempdir().unwrap();
    let ((_a, a), (_b, b)) = (example("a"), example("b"));
    let more = "operational: {timeouts: {perWorkload: {a: 200ms}}}";
    let file = file_with(folder.path(), &[("a", &a), ("b", &b)], more);
    let (_skep, url) = serve(folder.path(), &file, 0);
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["a", "b"]).await;
    let slow = |name: &str| json!({"name": name, "arguments": {"steps": 1, "delay_ms": 1000}});
    let answer = session.ask("tools/call", slow("a_slow")).await.unwrap();
    assert_eq!(answer["error"]["data"]["class"], "timed_out", "{answer}");
    let answer = session.ask("tools/call", slow("b_slow")).await.unwrap();
    assert!(answer["result"]["content"].is_array(), "{answer}");
}

#[tokio::test]
async fn the_servers_of_a_group_come_move_and_go() {
    let home = Home::new();
    let command = ["vmcp", "serve", "--group", "desk", "--port", "0", "--format", "json"];
    assert!(home.skep(&command).error().contains("'desk' does not exist"));
    home.skep(&["group", "create", "desk"]).ok();
    home.run(&["--group", "desk", "--name", "a", "example"]);
    home.run(&["--name", "stranger", "example"]);
    let mut skep = Program::start(home.command(&command)).unwrap();
    let mut session = Session::open(&skep.url().unwrap()).await.unwrap();
    all_there(&mut session, &["a"]).await;
    assert_eq!(session.call("a_counter", json!({})).await.unwrap(), "1");
    home.run(&["--group", "desk", "--name", "b", "example"]);
    let tools = all_there(&mut session, &["a", "b"]).await;
    assert!(!tools.iter().any(|tool| tool.starts_with("stranger_")), "{tools:?}");
    assert_eq!(session.call("b_counter", json!({})).await.unwrap(), "1");
    home.skep(&["stop", "b"]).ok();
    gone(&mut session, "b").await;
    assert_eq!(session.call("a_counter", json!({})).await.unwrap(), "2");
    // On another port.
    home.skep(&["rm", "a"]).ok();
    home.run(&["--group", "desk", "--name", "a", "--proxy-port", &free_port().to_string(), "example"]);
    home.skep(&["start", "b"]).ok();
    all_there(&mut session, &["a", "b"]).await;
    for name in ["a_counter", "b_counter"] {
        session.call(name, json!({})).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_changes_holds_from_then_on_and_sessions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let ((_a, a), (_b, b)) = (example("a"), example("b"));
    let path = file(folder.path(), &[("a", &a)]);
    let (_skep, url) = serve(folder.path(), &path, 0);
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["a"]).await;
    assert_eq!(session.call("a_counter", json!({})).await.unwrap(), "1");
    file(folder.path(), &[("a", &a), ("b", &b)]);
    all_there(&mut session, &["a", "b"]).await;
    assert_eq!(session.call("b_counter", json!({})).await.unwrap(), "1");
    assert_eq!(session.call("a_counter", json!({})).await.unwrap(), "2", "the same session with the server");
    std::fs::write(&path, "name: many\nbackends: {").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(session.call("a_counter", json!({})).await.unwrap(), "3", "what is wrong changes nothing");
    let hidden = "excludeAll: true";
    let text = std::fs::read_to_string(file(folder.path(), &[("a", &a), ("b", &b)])).unwrap();
    let strategy = "aggregation: {";
    std::fs::write(&path, text.replace(strategy, &format!("{strategy}tools: [{{workload: b, {hidden}}}], ")))
        .unwrap();
    gone(&mut session, "b").await;
    assert_eq!(session.call("a_counter", json!({})).await.unwrap(), "4");
}

#[tokio::test]
async fn a_file_may_take_its_servers_from_elsewhere_while_it_is_served() {
    let home = Home::new();
    let (_b, b) = example("b");
    home.skep(&["group", "create", "desk"]).ok();
    home.run(&["--group", "desk", "--name", "a", "example"]);
    let path = file(&home.path(""), &[("b", &b)]);
    let named = std::fs::read_to_string(&path).unwrap();
    let (before, after) = named.split_once("backends:").unwrap();
    let (_, after) = after.split_once("incomingAuth").unwrap();
    let of_group = format!("{}incomingAuth{after}", before.replace("groupRef: g", "groupRef: desk"));
    let serve = ["vmcp", "serve", "--config", &path, "--port", "0", "--format", "json"];
    let mut skep = Program::start(home.command(&serve)).unwrap();
    let mut session = Session::open(&skep.url().unwrap()).await.unwrap();
    all_there(&mut session, &["b"]).await;
    for (text, there, not) in [(&of_group, "a", "b"), (&named, "b", "a")] {
        std::fs::write(&path, text).unwrap();
        all_there(&mut session, &[there]).await;
        gone(&mut session, not).await;
        session.call(&format!("{there}_counter"), json!({})).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_may_ask_for_debug_lines() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, log) = (folder.path(), folder.path().join("log"));
    // Nothing is there: that is said at debug level.
    let gone = format!("http://127.0.0.1:{}/mcp", free_port());
    for (more, is_debug) in [("", false), ("operational: {logLevel: debug}", true)] {
        let file = file_with(folder, &[("a", &gone)], more);
        let mut serve = command(&["vmcp", "serve", "--config", &file, "--port", "0", "--format", "json"]);
        serve.env("XDG_STATE_HOME", folder).stderr(std::fs::File::create(&log).unwrap());
        let mut program = Program::start(serve).unwrap();
        let mut session = Session::open(&program.url().unwrap()).await.unwrap();
        assert_eq!(tools(&mut session).await, Vec::<String>::new());
        program.stop().unwrap();
        let text = std::fs::read_to_string(&log).unwrap();
        assert_eq!(text.contains("DEBUG"), is_debug, "{more}: {text}");
    }
}

#[tokio::test]
async fn a_file_to_begin_with_is_drafted_and_served() {
    let home = Home::new();
    home.skep(&["group", "create", "desk"]).ok();
    home.run(&["--group", "desk", "--name", "a", "example"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("desk.yaml");
    let path = path.to_str().unwrap();
    assert!(home.skep(&["vmcp", "init", "--group", "none"]).error().contains("'none' does not exist"));
    home.skep(&["vmcp", "init", "--group", "desk", "--output", path]).ok();
    home.skep(&["vmcp", "validate", "--config", path]).ok();
    let serve = ["vmcp", "serve", "--config", path, "--port", "0", "--format", "json"];
    let mut skep = Program::start(home.command(&serve)).unwrap();
    let mut session = Session::open(&skep.url().unwrap()).await.unwrap();
    all_there(&mut session, &["a"]).await;
    assert_eq!(session.call("a_counter", json!({})).await.unwrap(), "1");
}

/// Waits until a backend's tools are not there any more.
async fn gone(session: &mut Session, backend: &str) {
    for _ in 0..3000 {
        if !tools(session).await.iter().any(|tool| tool.starts_with(&format!("{backend}_"))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not gone within half a minute: the tools of {backend}");
}

#[test]
fn a_file_is_checked_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.yaml");
    std::fs::write(&path, "name: x\ncompositTools: []\n").unwrap();
    for command in [["vmcp", "validate", "--config"], ["vmcp", "serve", "--config"]] {
        let (_, said, code) = output(&[&command[..], &[path.to_str().unwrap()]].concat());
        assert!(code == Some(1) && said.contains("groupRef is required"), "{code:?} {said}");
    }
}
