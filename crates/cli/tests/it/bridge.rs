//! `skep run` in front of stdio servers: a process for each session, what the server says reaches the right client, and
//! a session that ends takes its process along.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::Connection;
use testkit::mcp::Session;

use crate::harness::{Listener, children, run, until};

pub(crate) async fn pid_of(session: &mut Session) -> u32 {
    let who: Value = serde_json::from_str(&session.call("whoami", json!({})).await.unwrap()).unwrap();
    u32::try_from(who["pid"].as_u64().unwrap()).unwrap()
}

#[tokio::test]
async fn each_session_has_a_process_of_its_own() {
    let (_skep, url) = run(&["example"]);
    let (mut one, mut two) = (Session::open(&url).await.unwrap(), Session::open(&url).await.unwrap());
    assert_ne!(pid_of(&mut one).await, pid_of(&mut two).await);
    for turn in 1..4 {
        assert_eq!(one.call("counter", json!({})).await.unwrap(), turn.to_string());
    }
    assert_eq!(two.call("counter", json!({})).await.unwrap(), "1");
}

#[tokio::test]
async fn a_shared_process_serves_all_sessions_and_mixes_nothing_up() {
    let (_skep, url) = run(&["example", "--shared"]);
    let (mut one, mut two) = (Session::open(&url).await.unwrap(), Session::open(&url).await.unwrap());
    assert_eq!(pid_of(&mut one).await, pid_of(&mut two).await);
    // The same id at the same time: each gets its own answer.
    for turn in 0..20 {
        let words = [format!("one-{turn}"), format!("two-{turn}")];
        let (a, b) = tokio::join!(
            one.call("echo", json!({"message": words[0]})),
            two.call("echo", json!({"message": words[1]}))
        );
        assert_eq!([a.unwrap(), b.unwrap()], words);
    }
    // Only who subscribed is told.
    one.ask("resources/subscribe", json!({"uri": "test://watched-resource"})).await.unwrap();
    let mut first = Listener::open(&one, "").await;
    let mut second = Listener::open(&two, "").await;
    two.call("touch", json!({})).await.unwrap();
    let (told, _) = first.next().await;
    assert_eq!(told["method"], "notifications/resources/updated");
    let silence = tokio::time::timeout(Duration::from_millis(500), second.next()).await;
    assert!(silence.is_err(), "the other session was told: {silence:?}");
}

#[tokio::test]
async fn a_subscription_is_told_and_can_be_taken_up_again() {
    let (_skep, url) = run(&["example"]);
    let mut session = Session::open(&url).await.unwrap();
    session.ask("resources/subscribe", json!({"uri": "test://watched-resource"})).await.unwrap();
    let mut listener = Listener::open(&session, "").await;
    session.call("touch", json!({})).await.unwrap();
    let (told, id) = listener.next().await;
    assert_eq!(told["params"]["uri"], "test://watched-resource");
    drop(listener);
    // While nobody listens; a change that was told twice has still only changed.
    session.call("touch", json!({})).await.unwrap();
    session.call("touch", json!({})).await.unwrap();
    let mut again = Listener::open(&session, &format!("Last-Event-ID: {id}\r\n")).await;
    let (told, later) = again.next().await;
    assert_eq!(told["params"]["uri"], "test://watched-resource");
    assert_ne!(later, id);
}

#[tokio::test]
async fn a_session_that_ends_takes_its_process_along() {
    let (skep, url) = run(&["example", "--warm", "0"]);
    let mut session = Session::open(&url).await.unwrap();
    assert_eq!(children(skep.pid()).len(), 1);
    let delete = session.bare("DELETE", "");
    assert_eq!(session.connection.ask(&delete).await.unwrap().status, 204);
    until("the process is gone", || children(skep.pid()).is_empty()).await;
}

#[tokio::test]
async fn processes_are_bounded_and_an_idle_session_makes_room() {
    let (skep, url) = run(&["example", "--warm", "0", "--max-processes", "2"]);
    let mut open = vec![Session::open(&url).await.unwrap(), Session::open(&url).await.unwrap()];
    // None was idle for long enough to go: the third is told so, and the two go on.
    let refused = Session::open(&url).await.unwrap_err().to_string();
    assert!(refused.contains("503") && refused.contains("limit of 2"), "{refused}");
    assert_eq!(children(skep.pid()).len(), 2);
    for session in &mut open {
        assert_eq!(session.call("counter", json!({})).await.unwrap(), "1");
    }
}

#[tokio::test]
async fn a_process_that_takes_its_time_to_end_still_counts() {
    let script = r#"trap '' TERM; read -r line; echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"slow","version":"0"}}}'; while read -r line; do :; done; sleep 2"#;
    let (skep, url) = run(&["--warm", "0", "--max-processes", "1", "--", "sh", "-c", script]);
    let mut session = Session::open(&url).await.unwrap();
    let delete = session.bare("DELETE", "");
    assert_eq!(session.connection.ask(&delete).await.unwrap().status, 204);
    let next = tokio::spawn(async move { Session::open(&url).await.map(|session| session.id) });
    let mut most = 0;
    while !next.is_finished() {
        most = most.max(children(skep.pid()).len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    next.await.unwrap().unwrap();
    assert_eq!(most, 1, "processes at once");
}

#[tokio::test]
async fn old_clients_are_served_over_sse() {
    let (_skep, url) = run(&["example", "--proxy-mode", "sse"]);
    assert!(url.ends_with("/sse"), "{url}");
    let (address, path) = testkit::mcp::split_url(&url).unwrap();
    let mut stream = Connection::open(&address).await.unwrap();
    let get = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
    stream.send(get.as_bytes()).await.unwrap();
    let head = stream.head().await.unwrap();
    assert_eq!(head.status, 200);
    let first = String::from_utf8(stream.piece(&head, 0).await.unwrap().unwrap()).unwrap();
    let endpoint = first.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned();
    assert!(first.starts_with("event: endpoint") && endpoint.starts_with("/messages?session_id="), "{first}");
    let mut posts = Connection::open(&address).await.unwrap();
    let told = posts
        .ask(&testkit::mcp::post(&address, &endpoint, "", &crate::harness::initialize(1)))
        .await
        .unwrap();
    assert_eq!(told.status, 202);
    let mut listener = Listener { connection: stream, head, text: String::new(), read: first.len() };
    let (answer, id) = listener.next().await;
    assert_eq!((&answer["id"], id.as_str()), (&json!(1), ""));
    assert!(answer["result"]["serverInfo"].is_object());
}
