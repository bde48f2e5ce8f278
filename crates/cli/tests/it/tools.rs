//! The tool filter and override, in front of a proxy and of a bridge.

use serde_json::{Value, json};
use testkit::Connection;
use testkit::mcp::{Session, split_url};

use crate::harness::{error_of, example, proxy, run};

async fn names(session: &mut Session) -> Vec<String> {
    let answer = session.ask("tools/list", json!({})).await.unwrap();
    let tools = answer["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

async fn is_filtered(url: &str) {
    let mut session = Session::open(url).await.unwrap();
    assert_eq!(names(&mut session).await, ["say", "add"]);
    let listed = session.ask("tools/list", json!({})).await.unwrap();
    assert_eq!(listed["result"]["tools"][0]["description"], "Says it");
    assert!(listed["result"]["tools"][0]["inputSchema"].is_object());
    assert_eq!(session.call("say", json!({"message": "hi"})).await.unwrap(), "hi");
    assert_eq!(session.call("add", json!({"a": 1, "b": 2})).await.unwrap(), "3");
    for hidden in ["echo", "counter", "no-such-tool"] {
        let call = json!({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": hidden}});
        let answer = session.send(&call.to_string()).await.unwrap();
        assert_eq!(error_of(&answer), (200, json!(-32602), json!(4)), "{hidden}");
    }
}

#[tokio::test]
async fn tools_are_filtered_and_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("overrides.json");
    let overrides = json!({"toolsOverride": {"echo": {"name": "say", "description": "Says it"}}});
    std::fs::write(&file, overrides.to_string()).unwrap();
    let args = ["--tools", "say,add", "--tools-override", file.to_str().unwrap()];
    let (_bridge, url) = run(&[&["example"], &args[..]].concat());
    is_filtered(&url).await;
    let (_backend, target) = example("a");
    let (_proxy, url) = proxy(&[&target], &args);
    is_filtered(&url).await;
}

#[tokio::test]
async fn a_modern_call_of_a_renamed_tool_keeps_header_and_body_in_step() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("overrides.json");
    std::fs::write(&file, json!({"toolsOverride": {"echo": {"name": "say"}}}).to_string()).unwrap();
    let (_backend, target) = example("a");
    let (_proxy, url) = proxy(&[&target], &["--tools-override", file.to_str().unwrap()]);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "say", "arguments": {"message": "hi"},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
    let headers = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: say\r\n";
    let answer: Value = crate::harness::post(&url, headers, &call.to_string()).await.json().unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "hi", "{answer}");
}

#[tokio::test]
async fn over_sse_a_refused_call_is_answered_on_the_stream() {
    let (_bridge, url) = run(&["example", "--tools", "add"]);
    let (address, _) = split_url(&url).unwrap();
    let mut stream = Connection::open(&address).await.unwrap();
    let get = format!("GET /sse HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
    stream.send(get.as_bytes()).await.unwrap();
    let head = stream.head().await.unwrap();
    assert_eq!(head.status, 200);
    let mut text = String::new();
    let mut read_until = async |end: &str| {
        while !text.contains(end) {
            let piece = stream.piece(&head, text.len()).await.unwrap().expect("the stream goes on");
            text.push_str(&String::from_utf8_lossy(&piece));
        }
        text.clone()
    };
    let greeting = read_until("\n\n").await;
    let path = greeting.lines().find_map(|line| line.strip_prefix("data:")).unwrap().trim();
    let url = format!("http://{address}{path}");
    let accepted = crate::harness::post(&url, "", &crate::harness::initialize(1)).await;
    assert_eq!(accepted.status, 202);
    let hidden = json!({"jsonrpc": "2.0", "id": "h", "method": "tools/call", "params": {"name": "echo"}});
    let accepted = crate::harness::post(&url, "", &hidden.to_string()).await;
    assert_eq!((accepted.status, accepted.text().as_str()), (202, ""));
    let told = read_until(r#""id":"h""#).await;
    assert!(told.contains("-32602") && told.contains("tool not found"), "{told}");
    let elsewhere = format!("http://{address}/messages?session_id=x");
    let unknown = crate::harness::post(&elsewhere, "", &hidden.to_string()).await;
    assert_eq!(error_of(&unknown), (404, json!(-32001), json!("h")));
}
