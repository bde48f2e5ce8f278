//! The optimizer and code mode from outside: over two servers, one of them somebody else's where node is there.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::Program;
use testkit::mcp::Session;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::harness::{Listener, example, output, peer, raw, run};
use crate::vmcp::{all_there, file_with as file, kill};
use crate::workflows::{serve, vmcp};

/// The example, and server-everything from npm if it can be had, else another example.
fn two() -> [(Program, String); 2] {
    let Some(node) = peer("SKEP_TEST_NODE") else { return [example("a"), example("b")] };
    let modules = Path::new(&node).ancestors().nth(2).unwrap().to_owned();
    let server = modules.join("@modelcontextprotocol/server-everything/dist/index.js");
    [example("a"), run(&["--", &node, server.to_str().unwrap(), "stdio"])]
}

async fn result(session: &mut Session, tool: &str, arguments: Value) -> Value {
    let answer = session.ask("tools/call", json!({"name": tool, "arguments": arguments})).await.unwrap();
    answer["result"].clone()
}

async fn found(session: &mut Session, description: &str) -> Vec<String> {
    let result = result(session, "find_tool", json!({"tool_description": description})).await;
    let tools = result["structuredContent"]["tools"].as_array().unwrap_or_else(|| panic!("{result}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the tools of both are found.
async fn both_are_found(session: &mut Session) {
    for _ in 0..3000 {
        let found = found(session, "echo a message back").await;
        if ["a_", "b_"].iter().all(|backend| found.iter().any(|name| name.starts_with(backend))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within half a minute: the tools of both");
}

async fn listed(session: &mut Session) -> Vec<String> {
    let answer = session.ask("tools/list", json!({})).await.unwrap();
    let tools = answer["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn tools_are_found_called_and_scripted() {
    let folder = tempfile::tempdir().unwrap();
    let [(_a, a), (_b, b)] = two();
    let more = "optimizer: {maxToolsToReturn: 5}\ncodeMode: {enabled: true, stepLimit: 1000}\n";
    let file = file(folder.path(), &[("a", &a), ("b", &b)], more);
    let (skep, url) = serve(folder.path(), &file, &[]);
    let mut session = Session::open(&url).await.unwrap();
    assert_eq!(listed(&mut session).await, ["find_tool", "call_tool"]);
    both_are_found(&mut session).await;
    assert_eq!(found(&mut session, "a_counter").await[0], "a_counter", "by its name");
    let call = |tool: &str, parameters: Value| json!({"tool_name": tool, "parameters": parameters});
    for expect in ["1", "2"] {
        assert_eq!(session.call("call_tool", call("a_counter", json!({}))).await.unwrap(), expect);
    }
    let script = "
counts = parallel([a_counter, lambda: a_counter(), a_counter])
print('so many', len(counts))
return {'sum': len(counts), 'said': b_echo(message = text)}
";
    let arguments = json!({"script": script, "data": {"text": "hello"}});
    let answer = result(&mut session, "call_tool", call("execute_tool_script", arguments)).await;
    assert_eq!(answer["structuredContent"]["sum"], 3, "{answer}");
    assert!(answer["structuredContent"]["said"].to_string().contains("hello"), "{answer}");
    assert_eq!(answer["content"][1]["text"], "Script logs:\nso many 3", "{answer}");
    assert_eq!(session.call("call_tool", call("a_counter", json!({}))).await.unwrap(), "6", "one session");
    kill(skep).await;
}

#[tokio::test]
async fn the_optimizer_and_code_mode_come_and_go_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (_a, a) = example("a");
    let write = |more: &str| file(folder.path(), &[("a", &a)], more);
    let (_skep, url) = serve(folder.path(), &write(""), &[]);
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["a"]).await;
    assert_eq!(session.call("a_counter", json!({})).await.unwrap(), "1");
    let mut stream = Listener::open(&session, "").await;
    write("optimizer: {maxToolsToReturn: 1}\n");
    told_of(&mut session, &mut stream, |tools| tools == ["find_tool", "call_tool"]).await;
    assert_eq!(found(&mut session, "count").await.len(), 1);
    write("optimizer: {maxToolsToReturn: 3}\n");
    for round in 0.. {
        if found(&mut session, "count, echo a message, add numbers").await.len() == 3 {
            break;
        }
        assert!(round < 3000, "not within half a minute: another number of tools");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    write("codeMode: {enabled: true}\n");
    let has_scripts = |tools: &[String]| tools.contains(&"execute_tool_script".to_owned());
    told_of(&mut session, &mut stream, |tools| tools.len() > 3 && has_scripts(tools)).await;
    let answer = result(&mut session, "execute_tool_script", json!({"script": "return a_counter()"})).await;
    assert!(answer["isError"].is_null(), "{answer}");
    assert_eq!(session.call("a_counter", json!({})).await.unwrap(), "3", "one session");
    write("");
    told_of(&mut session, &mut stream, |tools| tools.len() > 3 && !has_scripts(tools)).await;
}

#[tokio::test]
async fn what_is_found_called_and_run_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (_a, a) = example("a");
    let more = "optimizer: {}
compositeTools:
  - name: twice
    description: counts twice
    steps:
      - {id: one, tool: a.counter}
      - {id: two, tool: a.counter, dependsOn: [one]}
  - name: fails
    description: calls what does not work
    steps: [{id: one, tool: a.test_error_handling}]
";
    let file = file(folder.path(), &[("a", &a)], more);
    let args = ["serve", "--config", &file, "--port", "0", "--metrics", "127.0.0.1:0", "--format", "json"];
    let mut skep = Program::start(vmcp(folder.path(), &args)).unwrap();
    let told: Value = serde_json::from_str(&skep.line().unwrap()).unwrap();
    let mut session = Session::open(told["url"].as_str().unwrap()).await.unwrap();
    found(&mut session, "twice").await;
    for (tool, arguments) in [
        ("call_tool", json!({"tool_name": "twice", "parameters": {}})),
        ("call_tool", json!({"tool_name": "fails", "parameters": {}})),
        ("call_tool", json!({"tool_name": "not there", "parameters": {}})),
        ("twice", json!({})),
    ] {
        answered(&mut session, tool, arguments).await;
    }
    let metrics = told["metrics_url"].as_str().unwrap();
    let (address, _) = testkit::mcp::split_url(metrics).unwrap();
    let get = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let text = raw(metrics, get.as_bytes()).await.text();
    for line in [
        "skep_backends 1",
        "skep_backends_discovered 1",
        r#"skep_backend_requests_total{backend="a",method="tools/call",outcome="answered"} 5"#,
        r#"skep_workflows_total{workflow="twice",event="began"} 2"#,
        r#"skep_workflows_total{workflow="twice",event="completed"} 2"#,
        r#"skep_workflows_total{workflow="twice",event="failed"} 0"#,
        r#"skep_workflows_total{workflow="fails",event="failed"} 1"#,
        r#"skep_workflow_duration_seconds_count{workflow="twice"} 2"#,
        r#"skep_find_tool_total{outcome="found"} 1"#,
        "skep_find_tool_duration_seconds_count 1",
        r#"skep_workflow_duration_seconds_count{workflow="fails"} 1"#,
        r#"skep_call_tool_total{outcome="called"} 2"#,
        r#"skep_call_tool_total{outcome="not_found"} 1"#,
        "skep_optimizer_indexes_total 1",
    ] {
        assert!(text.lines().any(|said| said == line), "{line}\n{text}");
    }
    assert!(text.contains(r#"skep_backend_request_duration_seconds_count{backend="a"}"#), "{text}");
    assert!(!text.contains("not there"), "what clients say is no label");
}

/// Calls a tool, however it is answered, and waits for that.
async fn answered(session: &mut Session, tool: &str, arguments: Value) {
    // That of a workflow that fails is an error to some.
    let _ = session.ask("tools/call", json!({"name": tool, "arguments": arguments})).await;
}

/// Waits until a client that listens is told of tools that are these.
async fn told_of(session: &mut Session, stream: &mut Listener, are_these: impl Fn(&[String]) -> bool) {
    loop {
        while stream.next().await.0["method"] != "notifications/tools/list_changed" {}
        if are_these(&listed(session).await) {
            return;
        }
    }
}

#[tokio::test]
async fn hostile_scripts_end_and_skep_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (_a, a) = example("a");
    let file = file(folder.path(), &[("a", &a)], "codeMode: {enabled: true, stepLimit: 1000}\n");
    let (_skep, url) = serve(folder.path(), &file, &[]);
    let mut session = Session::open(&url).await.unwrap();
    let deep = format!("return {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (script, part) in [
        ("return len('a' * 2000000000)", "evaluator has ended"),
        ("return len([0] * 1000000000)", "evaluator has ended"),
        ("return len(list(range(1000000000)))", "evaluator has ended"),
        ("f = lambda s: s + s\nreturn len(f(f(f(f(f(f(f(f(f(f('a' * 1000000)))))))))))", "memory"),
        (&deep, "script failed"),
        ("x = []\nfor i in range(1000):\n  x = [x, x]\nreturn 1", "script failed"),
        ("for i in range(1000000):\n  x = i", "more than 1000 steps"),
    ] {
        let begun = Instant::now();
        let answer = result(&mut session, "execute_tool_script", json!({ "script": script })).await;
        let text = answer["content"][0]["text"].as_str().unwrap();
        assert!(answer["isError"] == true && text.contains(part), "{:.100}: {answer}", script);
        assert!(begun.elapsed() < Duration::from_secs(55), "{:.100}", script);
    }
    let answer = result(&mut session, "execute_tool_script", json!({"script": "return 1 + 1"})).await;
    assert_eq!(answer["structuredContent"], json!({"result": 2}));
}

/// An embedding service that takes requests and answers none; with a number, only those after so many are not answered.
async fn embeds(listener: TcpListener, answers: usize) {
    let mut held = Vec::new();
    let mut answered = 0;
    while let Ok((mut stream, _)) = listener.accept().await {
        if answered >= answers {
            held.push(stream);
            continue;
        }
        answered += Box::pin(answer(&mut stream)).await;
    }
}

/// Answers one request: a text has as many dimensions as there are, and points to its length.
async fn answer(stream: &mut TcpStream) -> usize {
    let mut text = Vec::new();
    let body = loop {
        let mut more = [0; 64 * 1024];
        match stream.read(&mut more).await {
            Ok(0) | Err(_) => return 0,
            Ok(count) => text.extend_from_slice(&more[..count]),
        }
        let head = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = head.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break body.to_owned();
        }
    };
    let asked: Value = serde_json::from_str(&body).unwrap_or_default();
    let reply = match asked["inputs"].as_array() {
        Some(texts) => {
            json!(texts.iter().map(|text| [1.0, text.as_str().unwrap().len() as f64]).collect::<Vec<_>>())
        }
        None => json!({"max_client_batch_size": 8}),
    };
    let reply = reply.to_string();
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", reply.len());
    stream.write_all(format!("{head}{reply}").as_bytes()).await.unwrap();
    1
}

#[tokio::test]
async fn an_embedding_service_that_hangs_delays_nothing() {
    for answers in [0, 12] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = tokio::spawn(embeds(listener, answers));
        let folder = tempfile::tempdir().unwrap();
        let [(_a, a), (_b, b)] = [example("a"), example("b")];
        let more = format!("optimizer: {{embeddingService: 'http://127.0.0.1:{port}'}}\n");
        let file = file(folder.path(), &[("a", &a), ("b", &b)], &more);
        let (_skep, url) = serve(folder.path(), &file, &[]);
        let mut session = Session::open(&url).await.unwrap();
        both_are_found(&mut session).await;
        let begun = Instant::now();
        for n in 0..5 {
            assert!(!found(&mut session, &format!("count something {n}")).await.is_empty());
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{answers}: {:?}", begun.elapsed());
        service.abort();
    }
}

#[test]
fn what_cannot_be_had_says_what_to_do_instead() {
    let (_, error, code) = output(&["vmcp", "serve", "--group", "g", "--optimizer-embedding"]);
    assert!(error.contains("embeddingService") && code == Some(1), "{code:?}: {error}");
}
