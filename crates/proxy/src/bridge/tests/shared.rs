//! Several sessions on one server: what is theirs stays theirs.

use std::time::Duration;

use serde_json::json;

use super::harness::*;
use crate::bridge::Mode;

/// Two sessions, and the server they share.
async fn two() -> (Rig, Client, Client, Server) {
    let mut rig = rig(Mode::Shared);
    let client = Client::new(&rig.bridge);
    let serve = async {
        let mut server = rig.server().await;
        let hello = server.hear().await;
        assert_eq!((&hello["method"], &hello["params"]["capabilities"]), (&json!("initialize"), &json!({})));
        server.answer(&hello["id"], init_result("2025-11-25")).await;
        assert_eq!(server.hear().await["method"], "notifications/initialized");
        server
    };
    let (first, server) = tokio::join!(client.initialize("2025-11-25"), serve);
    let second = client.initialize("2025-11-25").await;
    assert!(rig.opened_nothing());
    (rig, first, second, server)
}

/// Waits until the server's messages so far have been moved.
async fn settle(server: &mut Server) {
    server.say(request("settle", "ping", json!({}))).await;
    while server.hear().await["id"] != "settle" {}
}

#[tokio::test(start_paused = true)]
async fn each_client_gets_its_own_handshake_and_revision() {
    let (rig, _, _, mut server) = two().await;
    let client = Client::new(&rig.bridge);
    for (asked, given) in
        [("2025-06-18", "2025-06-18"), ("2025-11-25", "2025-11-25"), ("2099-01-01", "2025-11-25")]
    {
        let answer = client.post(request("i", "initialize", json!({"protocolVersion": asked}))).await;
        let mut expect = init_result("2025-11-25");
        expect["protocolVersion"] = json!(given);
        assert_eq!(json_of(answer).await, json!({"jsonrpc": "2.0", "id": "i", "result": expect}));
    }
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let session = client.initialize("2025-11-25").await;
    assert_eq!(status(&session.post(initialized).await), 202);
    settle(&mut server).await;
    assert_eq!(rig.bridge.counts().children, 1);
}

#[tokio::test(start_paused = true)]
async fn equal_ids_and_tokens_of_two_clients_do_not_meet() {
    let (_rig, first, second, mut server) = two().await;
    let mut a = Events::of(first.post(call(1)).await);
    let mut b = Events::of(second.post(call(1)).await);
    let (id_a, id_b) = (server.asked("tools/call").await, server.asked("tools/call").await);
    assert_ne!(id_a, id_b);
    server.notify("notifications/progress", json!({"progressToken": id_b, "progress": 2})).await;
    server.answer(&id_b, json!({"for": "b"})).await;
    server.notify("notifications/progress", json!({"progressToken": id_a, "progress": 1})).await;
    assert_eq!(b.next().await["params"], json!({"progressToken": "mine", "progress": 2}));
    assert_eq!(b.next().await["result"]["for"], "b");
    assert_eq!(a.next().await["params"]["progress"], 1);
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(status(&first.post(cancel).await), 202);
    assert_eq!(server.hear().await["params"]["requestId"], id_a);
    assert_eq!(a.next().await["error"]["message"], "cancelled by the client");
    server.answer(&id_a, json!({"for": "a"})).await;
    a.has_ended().await;
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_counted_and_updates_reach_subscribers_only() {
    let (_rig, first, second, mut server) = two().await;
    let (mut a, mut b) = (Events::of(first.get().await), Events::of(second.get().await));
    let ask = |id: u64, method: &str| request(id, &format!("resources/{method}"), json!({"uri": "a:b"}));
    for (id, client) in [(1, &first), (2, &second)] {
        let serve = async {
            let id = server.asked("resources/subscribe").await;
            server.answer(&id, json!({})).await;
        };
        let (answer, ()) = tokio::join!(client.post(ask(id, "subscribe")), serve);
        assert_eq!(status(&answer), 200);
    }
    server.notify("notifications/resources/updated", json!({"uri": "a:b"})).await;
    server.notify("notifications/resources/updated", json!({"uri": "other"})).await;
    for stream in [&mut a, &mut b] {
        assert_eq!(stream.next().await["params"]["uri"], "a:b");
    }
    let kept = first.post(ask(3, "unsubscribe")).await;
    assert_eq!(
        json_of(kept).await,
        json!({"jsonrpc": "2.0", "id": 3, "result": {}}),
        "the server was not asked"
    );
    server.notify("notifications/resources/updated", json!({"uri": "a:b"})).await;
    assert_eq!(b.next().await["params"]["uri"], "a:b");
    a.is_quiet().await;
    assert_eq!(status(&second.send("DELETE", "/mcp", None).await), 204);
    let heard = server.hear().await;
    assert_eq!((&heard["method"], &heard["params"]["uri"]), (&json!("resources/unsubscribe"), &json!("a:b")));
}

#[tokio::test(start_paused = true)]
async fn the_most_verbose_level_goes_to_the_server_and_each_gets_its_own() {
    let (rig, first, second, mut server) = two().await;
    let level = |level: &str| request(level, "logging/setLevel", json!({"level": level}));
    for (client, asked, told) in [
        (&first, "error", Some("error")),
        (&second, "debug", Some("debug")),
        (&first, "warning", None),
        (&second, "info", Some("info")),
        (&second, "emergency", Some("warning")),
    ] {
        let serve = async {
            let Some(told) = told else { return };
            let heard = server.hear().await;
            assert_eq!(heard["params"]["level"], told);
            server.answer(&heard["id"], json!({})).await;
        };
        let (answer, ()) = tokio::join!(client.post(level(asked)), serve);
        assert_eq!(json_of(answer).await, json!({"jsonrpc": "2.0", "id": asked, "result": {}}));
    }
    let mut a = Events::of(first.post(call(1)).await);
    server.asked("tools/call").await;
    for level in ["info", "warning"] {
        server.notify("notifications/message", json!({"level": level, "data": level})).await;
    }
    assert_eq!(a.next().await["params"]["data"], "warning");
    let mut b = Events::of(second.post(call(1)).await);
    server.asked("tools/call").await;
    server.notify("notifications/message", json!({"level": "emergency"})).await;
    settle(&mut server).await;
    assert_eq!(rig.bridge.counts().dropped, 1, "it could be for either");
    a.is_quiet().await;
    b.is_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn change_notices_reach_everyone_and_questions_nobody() {
    let (rig, first, second, mut server) = two().await;
    let mut a = Events::of(first.get().await);
    let mut post = Events::of(first.post(call(1)).await);
    server.asked("tools/call").await;
    server.notify("notifications/tools/list_changed", json!({})).await;
    server.notify("notifications/tools/list_changed", json!({})).await;
    server.say(request("q", "elicitation/create", json!({}))).await;
    let heard = server.hear().await;
    assert_eq!((&heard["id"], &heard["error"]["code"]), (&json!("q"), &json!(-32601)));
    server.notify("notifications/elicitation/complete", json!({})).await;
    settle(&mut server).await;
    assert_eq!(rig.bridge.counts().dropped, 1);
    for _ in 0..2 {
        assert_eq!(a.next().await["method"], "notifications/tools/list_changed");
    }
    let mut b = Events::of(second.get().await);
    assert_eq!(b.next().await["method"], "notifications/tools/list_changed", "once is enough");
    a.is_quiet().await;
    b.is_quiet().await;
    post.is_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_takes_its_requests_with_it_and_no_other() {
    let (_rig, first, second, mut server) = two().await;
    let mut a = Events::of(first.post(call(1)).await);
    let mut b = Events::of(second.post(call(1)).await);
    let (id_a, id_b) = (server.asked("tools/call").await, server.asked("tools/call").await);
    assert_eq!(status(&first.send("DELETE", "/mcp", None).await), 204);
    let heard = server.hear().await;
    assert_eq!((&heard["method"], &heard["params"]["requestId"]), (&json!("notifications/cancelled"), &id_a));
    a.has_ended().await;
    server.answer(&id_b, json!({})).await;
    assert_eq!(b.next().await["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn one_client_that_does_not_read_is_cut_and_the_others_go_on() {
    let (_rig, first, second, mut server) = two().await;
    let mut a = Events::of(first.post(call(1)).await);
    let id_a = server.asked("tools/call").await;
    let mut b = Events::of(second.post(call(1)).await);
    let id_b = server.asked("tools/call").await;
    let begun = tokio::time::Instant::now();
    let flood = async {
        for step in 0..200 {
            server.notify("notifications/progress", json!({"progressToken": id_a, "progress": step})).await;
        }
        server.answer(&id_b, json!({})).await;
    };
    flood.await;
    assert_eq!(b.next().await["id"], 1);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let mut last = None;
    while let Some(event) = a.event().await {
        last = event.id.or(last);
    }
    let last = last.unwrap();
    let read: u64 = last.strip_prefix("1-").unwrap().parse().unwrap();
    assert!(read < 100, "{read}");
    server.answer(&id_a, json!({})).await;
    let mut rest = first.resume(&last).await;
    for step in read..200 {
        assert_eq!(rest.next().await["params"]["progress"], step, "nothing is missing");
    }
    assert_eq!(rest.next().await["id"], 1);
    rest.has_ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_shared_server_ends_its_sessions_and_the_next_one_starts_another() {
    let (mut rig, first, _second, server) = two().await;
    let mut get = Events::of(first.get().await);
    drop(server);
    get.has_ended().await;
    assert_eq!(rig.bridge.counts().sessions, 0);
    assert_eq!(status(&first.post(call(1)).await), 404);
    let client = Client::new(&rig.bridge);
    let serve = async {
        let mut server = rig.server().await;
        server.shake_hands().await;
        server
    };
    let (_third, _server) = tokio::join!(client.initialize("2025-11-25"), serve);
    assert_eq!(rig.bridge.counts().sessions, 1);
}
