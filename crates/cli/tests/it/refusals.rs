//! Bad input, and what it gets.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use testkit::Connection;
use testkit::mcp::{Session, split_url};

use crate::harness::{error_of, example, initialize, post, proxy, raw, run};

/// Every endpoint refuses alike, whatever is behind it.
async fn refuses(url: &str) {
    let big =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":"{}"}}}}"#, "x".repeat(9 << 20));
    let ping = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{}{}}}"#,
        "[".repeat(4096),
        "]".repeat(4096)
    );
    let modern = |version: &str| {
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {"_meta": {
            "io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}}}})
        .to_string()
    };
    for (what, headers, body, status, code, id) in [
        ("too large", "", big.as_str(), 413, json!(-32600), json!(null)),
        ("not JSON", "", "{", 400, json!(-32700), json!(null)),
        (
            "half a surrogate pair",
            "",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\\ud800\"}",
            400,
            json!(-32600),
            json!(null),
        ),
        (
            "a batch",
            "",
            "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]",
            400,
            json!(-32600),
            json!(null),
        ),
        (
            "a duplicate key",
            "",
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            400,
            json!(-32600),
            json!(null),
        ),
        (
            "an id of null",
            "",
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            400,
            json!(-32600),
            json!(null),
        ),
        ("too deep", "", deep.as_str(), 400, json!(-32600), json!(null)),
        ("an unknown session", "Mcp-Session-Id: nobody\r\n", ping, 404, json!(-32001), json!(7)),
        (
            "a made-up token",
            "Mcp-Session-Id: s1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n",
            ping,
            404,
            json!(-32001),
            json!(7),
        ),
        ("a foreign page", "Origin: http://evil.example\r\n", ping, 403, json!(-32600), json!(null)),
        (
            "a modern header without _meta",
            "MCP-Protocol-Version: 2026-07-28\r\n",
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#,
            400,
            json!(-32602),
            json!(7),
        ),
        (
            "a version that is none",
            "MCP-Protocol-Version: 2099-01-01\r\n",
            &modern("2099-01-01"),
            400,
            json!(-32022),
            json!(7),
        ),
        (
            "header and body differ",
            "MCP-Protocol-Version: 2025-11-25\r\n",
            &modern("2026-07-28"),
            400,
            json!(-32020),
            json!(7),
        ),
    ] {
        let response = post(url, headers, body).await;
        assert_eq!(error_of(&response), (status, code, id), "{what}: {}", response.text());
        assert!(response.header("x-request-id").is_some(), "{what}");
    }
    let (address, path) = split_url(url).unwrap();
    let ask = async |head: &str| raw(url, format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).await.status;
    assert_eq!(
        ask(&format!("POST {path} HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/json\r\n"))
            .await,
        403
    );
    assert_eq!(
        ask(&format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/plain\r\n")).await,
        415
    );
    assert_eq!(
        ask(&format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n")).await,
        400
    );
    assert_eq!(ask(&format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\n")).await, 405);
    let modern = "MCP-Protocol-Version: 2026-07-28\r\nAccept: text/event-stream\r\n";
    assert_eq!(ask(&format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{modern}")).await, 405);
}

#[tokio::test]
async fn a_bridge_refuses_what_it_must() {
    let (_skep, url) = run(&["example"]);
    refuses(&url).await;
}

#[tokio::test]
async fn a_proxy_refuses_what_it_must() {
    let (_backend, target) = example("a");
    let (_skep, url) = proxy(&[&target], &[]);
    refuses(&url).await;
}

#[tokio::test]
async fn a_token_opens_its_own_route_only() {
    let (_backend, target) = example("a");
    let (_one, url) = proxy(&[&target], &[]);
    let other = ["proxy", "other", "--format", "json", "--target-uri", &target];
    let (_two, other) = crate::harness::skep(&other);
    let session = Session::open(&url).await.unwrap();
    let header = format!("Mcp-Session-Id: {}\r\n", session.id);
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    assert_eq!(post(&url, &header, ping).await.status, 200);
    assert_eq!(error_of(&post(&other, &header, ping).await), (404, json!(-32001), json!("p")));
}

#[tokio::test]
async fn a_dead_backend_is_named() {
    let (mut backend, target) = example("a");
    let (_skep, url) = proxy(&[&target], &[]);
    let mut session = Session::open(&url).await.unwrap();
    backend.signal(Signal::KILL).unwrap();
    backend.wait(Duration::from_secs(10)).unwrap();
    let (address, _) = split_url(&target).unwrap();
    for answer in [
        session.send(r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#).await.unwrap(),
        post(&url, "", &initialize(3)).await,
    ] {
        assert_eq!(error_of(&answer), (502, json!(-32603), json!(3)), "{}", answer.text());
        let message = answer.json().unwrap()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("test") && message.contains(&address), "{message}");
        assert_eq!(answer.json().unwrap()["error"]["data"]["executed"], "no");
    }
}

#[tokio::test]
async fn slow_heads_and_bodies_are_bounded_in_time() {
    let (_skep, url) = run(&["example", "--read-timeout", "500ms"]);
    let (address, path) = split_url(&url).unwrap();
    let begun = Instant::now();
    let mut slow_head = Connection::open(&address).await.unwrap();
    slow_head.send(format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nX-").as_bytes()).await.unwrap();
    // hyper says 408 or just closes; what counts is that it does not wait.
    if let Ok(response) = slow_head.response().await {
        assert_eq!(response.status, 408);
    }
    let mut slow_body = Connection::open(&address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    slow_body.send(head.as_bytes()).await.unwrap();
    assert_eq!(slow_body.response().await.unwrap().status, 408);
    assert!(begun.elapsed() < Duration::from_secs(20));
}
