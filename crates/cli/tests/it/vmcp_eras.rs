//! Several servers as one, of either era, for clients of either era.

use serde_json::{Value, json};
use testkit::Program;
use testkit::mcp::Session;

use crate::harness::{Listener, free_port, post, redis, skep};
use crate::vmcp::{all_there, file, file_with, kill, serve};
use crate::workflows;

/// An example server of one era.
fn only(era: &str) -> (Program, String) {
    skep(&["example", "--http", "127.0.0.1:0", "--only", era])
}

/// Asks without a session, as 2026-07-28 does: status and answer.
async fn ask(url: &str, method: &str, mut params: Value) -> (u16, Value) {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    });
    let name = params["name"].as_str().map(|name| format!("Mcp-Name: {name}\r\n")).unwrap_or_default();
    let headers = format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{name}");
    let body = json!({"jsonrpc": "2.0", "id": "m", "method": method, "params": params});
    let response = post(url, &headers, &body.to_string()).await;
    assert!(response.header("mcp-session-id").is_none());
    (response.status, response.json().unwrap())
}

/// Calls a tool that asks for a name, and gives what it asks.
async fn asks(url: &str, tool: &str) -> Value {
    let (_, asks) = ask(url, "tools/call", json!({"name": tool, "arguments": {}})).await;
    assert_eq!(asks["result"]["resultType"], "input_required", "{asks}");
    asks["result"].clone()
}

/// Comes back with the name.
async fn comes_back(url: &str, tool: &str, asked: &Value) -> Value {
    let key = asked["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let answers = json!({key: {"action": "accept", "content": {"name": "Ada"}}});
    let params = json!({
        "name": tool, "arguments": {}, "requestState": asked["requestState"], "inputResponses": answers,
    });
    ask(url, "tools/call", params).await.1
}

#[tokio::test]
async fn each_client_is_answered_by_each_server() {
    let folder = tempfile::tempdir().unwrap();
    let ((_old, old), (_new, new)) = (only("legacy"), only("modern"));
    let file = file(folder.path(), &[("old", &old), ("new", &new)]);
    let (_skep, url) = serve(folder.path(), &file, 0);
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["old", "new"]).await;
    let sum = json!({"a": 2, "b": 3});
    for name in ["old_add", "new_add"] {
        assert_eq!(session.call(name, sum.clone()).await.unwrap(), "5", "{name}");
        let (status, answer) = ask(&url, "tools/call", json!({"name": name, "arguments": sum})).await;
        assert_eq!((status, &answer["result"]["content"][0]["text"]), (200, &json!("5")), "{answer}");
        assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    }
    let (_, found) = ask(&url, "server/discover", json!({})).await;
    assert_eq!(found["result"]["supportedVersions"][0], "2026-07-28");
    let (_, listed) = ask(&url, "tools/list", json!({})).await;
    assert!(listed["result"]["ttlMs"].is_u64() && listed["result"]["tools"].as_array().unwrap().len() > 4);
    assert_eq!(ask(&url, "ping", json!({})).await.0, 404);
}

#[tokio::test]
async fn what_either_server_asks_comes_with_the_answer_and_is_answered_with_the_next_round() {
    let folder = tempfile::tempdir().unwrap();
    let ((_old, old), (_new, new)) = (only("legacy"), only("modern"));
    let file = file(folder.path(), &[("old", &old), ("new", &new)]);
    let (skep, url) = serve(folder.path(), &file, 0);
    all_there(&mut Session::open(&url).await.unwrap(), &["old", "new"]).await;
    for tool in ["old_test_input_required_result_elicitation", "new_test_input_required_result_elicitation"] {
        let asked = asks(&url, tool).await;
        let done = comes_back(&url, tool, &asked).await;
        assert_eq!(done["result"]["content"][0]["text"], "Hello, Ada!", "{tool}: {done}");
    }
    let waits = asks(&url, "old_test_input_required_result_elicitation").await;
    let carried = asks(&url, "new_test_input_required_result_elicitation").await;
    drop(skep);
    let (_skep, url) = serve(folder.path(), &file, 0);
    all_there(&mut Session::open(&url).await.unwrap(), &["old", "new"]).await;
    let done = comes_back(&url, "new_test_input_required_result_elicitation", &carried).await;
    assert_eq!(done["result"]["content"][0]["text"], "Hello, Ada!", "{done}");
    let lost = comes_back(&url, "old_test_input_required_result_elicitation", &waits).await;
    let data = &lost["error"]["data"];
    assert_eq!((&data["class"], &data["executed"]), (&json!("call_not_here"), &json!("unknown")), "{lost}");
}

#[tokio::test]
async fn a_client_comes_back_to_another_replica_and_its_call_goes_on_where_it_waits() {
    let port = free_port();
    let Some(_redis) = redis(port) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_old, old) = only("legacy");
    let shared = format!("sessionStorage: {{provider: redis, address: '127.0.0.1:{port}'}}\n");
    let file = file_with(folder.path(), &[("old", &old)], &shared);
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "A".repeat(43) + "=\n").unwrap();
    let (once, again) =
        ("old_test_input_required_result_elicitation", "old_test_input_required_result_multi_round");
    let args = ["--session-key-file", keys.to_str().unwrap(), "--resend-tool", again];
    let start = |name: &str| workflows::serve(&folder.path().join(name), &file, &args);
    let ((one, here), (_two, there)) = (start("one"), start("two"));
    for url in [&here, &there] {
        all_there(&mut Session::open(url).await.unwrap(), &["old"]).await;
    }
    let first = asks(&here, again).await;
    let second = comes_back(&there, again, &first).await;
    assert_eq!(second["result"]["resultType"], "input_required", "the next question: {second}");
    let done = comes_back(&here, again, &second["result"]).await;
    assert_eq!(done["result"]["content"][0]["text"], "Ada likes none", "{done}");
    let twice = comes_back(&there, again, &second["result"]).await;
    assert_eq!(twice["error"]["code"], -31001, "{twice}");
    let (lost, anew) = (asks(&here, once).await, asks(&here, again).await);
    kill(one).await;
    // As long as its lease lasts, it might be alive; the answer is the same then.
    let lost = comes_back(&there, once, &lost).await;
    assert_eq!(
        (&lost["error"]["code"], &lost["error"]["data"]["executed"]),
        (&json!(-31001), &json!("unknown"))
    );
    let anew = comes_back(&there, again, &anew).await;
    assert_eq!(anew["result"]["inputRequests"], first["inputRequests"], "from the beginning: {anew}");
}

#[tokio::test]
async fn a_client_that_was_cut_off_takes_up_the_answer_of_a_server_without_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let (_new, new) = only("modern");
    let file = file(folder.path(), &[("new", &new)]);
    let (_skep, url) = serve(folder.path(), &file, 0);
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["new"]).await;
    let mut stream = workflows::begin(&session, "new_slow", json!({"steps": 20, "delay_ms": 50})).await;
    let mut steps = Vec::new();
    loop {
        let (message, cursor) = stream.next().await;
        if message["id"] == "call" {
            assert_eq!(message["result"]["content"][0]["text"], "20 steps done", "{message}");
            break;
        }
        steps.push(message["params"]["progress"].as_u64().unwrap());
        if steps.len() % 6 == 0 {
            // Its connection breaks.
            stream = Listener::open(&session, &format!("Last-Event-ID: {cursor}\r\n")).await;
        }
    }
    assert_eq!(steps, (1..=20).collect::<Vec<_>>(), "nothing twice, and nothing is missing");
}
