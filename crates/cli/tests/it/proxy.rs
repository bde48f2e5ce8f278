//! `skep proxy`: sessions stay where they began, whatever the proxy goes through.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use testkit::mcp::Session;

use crate::harness::{error_of, example, post, proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_sessions_stay_with_their_instance_and_spread_evenly() {
    let (_a, a) = example("a");
    let (_b, b) = example("b");
    let (_skep, url) = proxy(&[&a, &b], &[]);
    let mut running = tokio::task::JoinSet::new();
    for number in 0..500u32 {
        let url = url.clone();
        running.spawn(async move {
            let mut session = Session::open(&url).await?;
            let home = session.call("whoami", json!({})).await?;
            for turn in 1..=10 {
                // A counter of the session's own: it would start again on another instance.
                let count = session.call("counter", json!({})).await?;
                anyhow::ensure!(count == turn.to_string(), "session {number} counted {count}, not {turn}");
                let here = session.call("whoami", json!({})).await?;
                anyhow::ensure!(here == home, "session {number} moved from {home} to {here}");
            }
            let who: serde_json::Value = serde_json::from_str(&home).unwrap_or_default();
            let instance = who["instance"].as_str().unwrap_or(&home).to_owned();
            anyhow::Ok((instance, session))
        });
    }
    let mut per_instance: BTreeMap<String, usize> = BTreeMap::new();
    let mut open = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (instance, session) = ended.unwrap().unwrap();
        *per_instance.entry(instance).or_default() += 1;
        open.push(session);
    }
    let shares: Vec<usize> = per_instance.values().copied().collect();
    assert_eq!(shares.len(), 2, "{per_instance:?}");
    assert!(shares.iter().all(|share| share.abs_diff(250) <= 25), "{per_instance:?}");
}

#[tokio::test]
async fn a_session_outlives_a_restart_of_the_proxy() {
    let (_backend, target) = example("a");
    let (skep, url) = proxy(&[&target], &[]);
    let mut session = Session::open(&url).await.unwrap();
    assert_eq!(session.call("counter", json!({})).await.unwrap(), "1");
    skep.signal(Signal::KILL).unwrap();
    drop(skep);
    let (_again, url) = proxy(&[&target], &[]);
    let (address, path) = testkit::mcp::split_url(&url).unwrap();
    session.connection = testkit::Connection::open(&address).await.unwrap();
    (session.address, session.path) = (address, path);
    assert_eq!(session.call("counter", json!({})).await.unwrap(), "2");
}

#[tokio::test]
async fn keys_rotate_without_losing_sessions_and_a_lost_key_loses_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let path = file.to_str().unwrap();
    let (old, new) = ("A".repeat(43) + "=", "B".repeat(42) + "A=");
    std::fs::write(&file, format!("{old}\n")).unwrap();
    let (_backend, target) = example("a");
    let (_first, url) = proxy(&[&target], &["--session-key-file", path]);
    let session = Session::open(&url).await.unwrap();
    let header = format!("Mcp-Session-Id: {}\r\n", session.id);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    std::fs::write(&file, format!("# the new one first\n{new}\n{old}\n")).unwrap();
    let (_rotated, url) = proxy(&[&target], &["--session-key-file", path]);
    assert_eq!(post(&url, &header, ping).await.status, 200);
    std::fs::write(&file, format!("{new}\n")).unwrap();
    let (_lost, url) = proxy(&[&target], &["--session-key-file", path]);
    assert_eq!(error_of(&post(&url, &header, ping).await), (404, json!(-32001), json!(1)));
}

#[tokio::test]
async fn a_deleted_session_is_gone_on_both_sides() {
    let (_backend, target) = example("a");
    let (_skep, url) = proxy(&[&target], &[]);
    let mut session = Session::open(&url).await.unwrap();
    let delete = session.bare("DELETE", "");
    assert!(matches!(session.connection.ask(&delete).await.unwrap().status, 200..=299));
    let after = session.send(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await.unwrap();
    assert_eq!(error_of(&after), (404, json!(-32001), json!(1)));
}

#[tokio::test]
async fn an_idle_session_ends() {
    let (_backend, target) = example("a");
    let (_skep, url) = proxy(&[&target], &["--session-ttl", "300ms"]);
    let session = Session::open(&url).await.unwrap();
    let header = format!("Mcp-Session-Id: {}\r\n", session.id);
    tokio::time::sleep(Duration::from_millis(900)).await;
    let after = post(&url, &header, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
    assert_eq!(error_of(&after), (404, json!(-32001), json!(1)));
}

#[tokio::test]
async fn a_modern_request_needs_no_session() {
    let (_a, a) = example("a");
    let (mut gone, b) = example("b");
    let (_skep, url) = proxy(&[&a, &b], &[]);
    gone.signal(Signal::KILL).unwrap();
    gone.wait(Duration::from_secs(10)).unwrap();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "add", "arguments": {"a": 1, "b": 2},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
    let headers = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: add\r\n";
    for _ in 0..8 {
        let answer = post(&url, headers, &call.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.header("mcp-session-id").is_none());
        assert_eq!(answer.json().unwrap()["result"]["content"][0]["text"], "3");
    }
}

#[tokio::test]
async fn an_old_sse_server_is_served_as_both() {
    let (_backend, target) = example("a");
    let sse = target.replace("/mcp", "/sse");
    let (_skep, url) = proxy(&[&sse], &["--transport", "sse"]);
    let mut session = Session::open(&url).await.unwrap();
    assert_eq!(session.call("add", json!({"a": 40, "b": 2})).await.unwrap(), "42");
    let (mut other, mut one) = (Session::open(&url).await.unwrap(), session);
    assert_eq!(one.call("counter", json!({})).await.unwrap(), "1");
    assert_eq!(other.call("counter", json!({})).await.unwrap(), "1");
}

#[tokio::test]
async fn headers_for_the_server_reach_it_and_the_clients_own_do_not_replace_them() {
    let (_backend, target) = example("a");
    let (_inner, inner) = proxy(&[&target], &["--allowed-hosts", "front.example"]);
    let (_outer, url) = proxy(&[&inner], &["--remote-forward-headers", "X-Team=red"]);
    // Nothing between shows headers, so it is enough that the way works with them; hop tests show what is sent.
    let mut session = Session::open(&url).await.unwrap();
    assert_eq!(session.call("echo", json!({"message": "hi"})).await.unwrap(), "hi");
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let (_backend, target) = example("a");
    let mut program = testkit::Program::start(crate::harness::command(&[
        "proxy",
        "test",
        "--format",
        "json",
        "--target-uri",
        &target,
        "--metrics",
        "127.0.0.1:0",
    ]))
    .unwrap();
    let told: serde_json::Value = serde_json::from_str(&program.line().unwrap()).unwrap();
    let mut session = Session::open(told["url"].as_str().unwrap()).await.unwrap();
    session.call("echo", json!({"message": "hi"})).await.unwrap();
    let metrics = told["metrics_url"].as_str().unwrap();
    let (address, _) = testkit::mcp::split_url(metrics).unwrap();
    let get = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let text = crate::harness::raw(metrics, get.as_bytes()).await.text();
    for line in [
        r#"skep_http_requests_total{method="tools/call",outcome="success"} 1"#,
        "skep_sessions 1",
        "skep_instances 1",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
