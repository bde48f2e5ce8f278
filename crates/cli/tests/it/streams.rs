//! Large and long answers: they pass in constant memory, and a client that does not read stops the server.

use serde_json::json;
use testkit::Program;
use testkit::mcp::Session;

use crate::harness::{example, proxy, resident_kb, run, until};

const LARGE: u64 = 100 * 1024 * 1024;
/// What passing on may cost, however much is passed on.
const CONSTANT_KB: u64 = 24 * 1024;

async fn pulls_large(skep: &Program, url: &str, constant_kb: u64) {
    let mut session = Session::open(url).await.unwrap();
    session.call("echo", json!({"message": "warm"})).await.unwrap();
    let before = resident_kb(skep.pid());
    let call = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call",
        "params": {"name": "large", "arguments": {"bytes": LARGE}}});
    let request = session.request(&call.to_string());
    session.connection.send(&request).await.unwrap();
    let head = session.connection.head().await.unwrap();
    assert_eq!(head.status, 200);
    let (mut read, mut peak) = (0, before);
    while let Some(piece) = session.connection.piece(&head, read).await.unwrap() {
        read += piece.len();
        peak = peak.max(resident_kb(skep.pid()));
    }
    assert!(read as u64 > LARGE, "{read} bytes");
    let grown = peak - before;
    assert!(grown < constant_kb, "{grown} kB more for an answer of {LARGE} bytes");
}

#[tokio::test]
async fn a_hundred_megabytes_pass_the_proxy_in_constant_memory() {
    let (_backend, target) = example("a");
    let (skep, url) = proxy(&[&target], &[]);
    pulls_large(&skep, &url, CONSTANT_KB).await;
}

/// A stdio server's message is one line, and is known to be one only at its end: the bridge holds it, once.
#[tokio::test]
async fn a_hundred_megabytes_pass_the_bridge() {
    let (skep, url) = run(&["example"]);
    pulls_large(&skep, &url, 2 * LARGE / 1024 + CONSTANT_KB).await;
}

async fn counts_events(skep: &Program, url: &str) {
    let mut session = Session::open(url).await.unwrap();
    session.call("echo", json!({"message": "warm"})).await.unwrap();
    let before = resident_kb(skep.pid());
    let call = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {
        "name": "burst", "arguments": {"count": 10_000}, "_meta": {"progressToken": "t"}}});
    let request = session.request(&call.to_string());
    session.connection.send(&request).await.unwrap();
    let head = session.connection.head().await.unwrap();
    let (mut read, mut events, mut tail) = (0, 0, Vec::new());
    while let Some(piece) = session.connection.piece(&head, read).await.unwrap() {
        read += piece.len();
        tail.extend_from_slice(&piece);
        let text = String::from_utf8_lossy(&tail).into_owned();
        let whole = text.rfind("\n\n").map_or(0, |end| end + 2);
        events += text[..whole].matches("notifications/progress").count();
        if text[..whole].contains("\"result\"") {
            events += 1_000_000;
        }
        tail.drain(..whole);
    }
    assert_eq!(events, 1_010_000, "all events, then the result");
    let grown = resident_kb(skep.pid()).saturating_sub(before);
    assert!(grown < CONSTANT_KB, "{grown} kB more for 10,000 events");
}

#[tokio::test]
async fn ten_thousand_events_pass_the_proxy() {
    let (_backend, target) = example("a");
    let (skep, url) = proxy(&[&target], &[]);
    counts_events(&skep, &url).await;
}

#[tokio::test]
async fn ten_thousand_events_pass_the_bridge() {
    let (skep, url) = run(&["example"]);
    counts_events(&skep, &url).await;
}

/// CPU ticks that a process has used.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<u64> =
        stat.rsplit_once(") ").unwrap().1.split(' ').filter_map(|field| field.parse().ok()).collect();
    // Without the state letter the numbers begin with the parent's id.
    fields[10] + fields[11]
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_server_and_not_memory() {
    let (backend, target) = example("a");
    let (skep, url) = proxy(&[&target], &[]);
    let mut session = Session::open(&url).await.unwrap();
    let before = resident_kb(skep.pid());
    let call = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call",
        "params": {"name": "large", "arguments": {"bytes": 10 * LARGE}}});
    let request = session.request(&call.to_string());
    session.connection.send(&request).await.unwrap();
    assert_eq!(session.connection.head().await.unwrap().status, 200);
    // All buffers on the way fill up; then nobody has anything to do.
    let mut last = ticks(backend.pid());
    let mut still = 0;
    until("the server stands still", || {
        let now = ticks(backend.pid());
        still = if now == last { still + 1 } else { 0 };
        last = now;
        still > 50
    })
    .await;
    let grown = resident_kb(skep.pid()).saturating_sub(before);
    assert!(grown < CONSTANT_KB, "{grown} kB more for a client that does not read");
    // Others are served meanwhile.
    let mut other = Session::open(&url).await.unwrap();
    assert_eq!(other.call("echo", json!({"message": "hi"})).await.unwrap(), "hi");
}

#[tokio::test]
async fn a_quiet_call_is_not_cut() {
    let (_skep, url) = run(&["example", "--read-timeout", "500ms"]);
    let mut session = Session::open(&url).await.unwrap();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "slow", "arguments": {"steps": 3, "delay_ms": 1000}}});
    let answer = session.send(&call.to_string()).await.unwrap();
    assert!(answer.json().unwrap()["result"].is_object(), "{}", answer.text());
}
