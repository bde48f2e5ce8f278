//! Streamable HTTP with a server for each session.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::json;

use super::harness::*;
use crate::bridge::Mode;
use crate::session::Limits;

#[tokio::test(start_paused = true)]
async fn the_handshake_reaches_the_server_byte_for_byte() {
    let mut rig = rig(OWN);
    let client = Client::new(&rig.bridge);
    let body = json!({"jsonrpc": "2.0", "method": "initialize", "params": {"z": [1.5, "\u{e9}"], "a": {}}, "id": "x"});
    let serve = async {
        let mut server = rig.server().await;
        let heard = String::from_utf8(server.hears.recv().await.unwrap().to_vec()).unwrap();
        assert_eq!(heard, body.to_string().replace("\"x\"", "1"));
        server.answer(&json!(1), init_result("2025-06-18")).await;
        server
    };
    let (answer, _server) = tokio::join!(client.post(body.clone()), serve);
    assert!(answer.headers().contains_key("mcp-session-id"));
    assert_eq!(
        json_of(answer).await,
        json!({"jsonrpc": "2.0", "id": "x", "result": init_result("2025-06-18")})
    );
    assert_eq!(rig.bridge.counts().sessions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_handshake_begins_no_session() {
    let mut rig = rig(OWN);
    let client = Client::new(&rig.bridge);
    let serve = async {
        let mut server = rig.server().await;
        let id = server.asked("initialize").await;
        server.say(json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": "no"}})).await;
        server
    };
    let (answer, mut server) = tokio::join!(client.post(request(7, "initialize", json!({}))), serve);
    assert!(!answer.headers().contains_key("mcp-session-id"));
    assert_eq!(json_of(answer).await["error"]["message"], "no");
    server.is_let_go().await;
    assert_eq!(rig.bridge.counts().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_in_the_handshake_says_why() {
    let mut rig = rig(OWN);
    let client = Client::new(&rig.bridge);
    let serve = async { drop(rig.server().await) };
    let (answer, ()) = tokio::join!(client.post(request(7, "initialize", json!({}))), serve);
    assert_eq!(status(&answer), 502);
    let body = json_of(answer).await;
    assert_eq!(body["id"], 7);
    assert!(body["error"]["message"].as_str().unwrap().contains("oh no"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_first_is_json() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let serve = async {
        let heard = server.hear().await;
        let (id, token) = (heard["id"].clone(), heard["params"]["_meta"]["progressToken"].clone());
        assert_eq!(id, token, "both are ours");
        server.answer(&id, json!({"big": 12345678901234567890u64})).await;
    };
    let (answer, ()) = tokio::join!(client.post(call("a")), serve);
    let expect = json!({"jsonrpc": "2.0", "id": "a", "result": {"big": 12345678901234567890u64}});
    assert_eq!(json_of(answer).await, expect);
}

#[tokio::test(start_paused = true)]
async fn progress_comes_before_its_answer_on_the_same_stream_and_never_after() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let serve = async {
        let id = server.asked("tools/call").await;
        for step in 1..=3 {
            server.notify("notifications/progress", json!({"progressToken": id, "progress": step})).await;
        }
        server.answer(&id, json!({})).await;
        server.notify("notifications/progress", json!({"progressToken": id, "progress": 4})).await;
    };
    let (answer, ()) = tokio::join!(client.post(call(5)), serve);
    assert_eq!(answer.headers()["cache-control"], "no-cache");
    let mut events = Events::of(answer);
    let priming = events.event().await.unwrap();
    assert_eq!(
        (priming.id.as_deref(), &priming.data[..], priming.retry),
        (Some("1-0"), &b""[..], Some(1000))
    );
    for step in 1..=3 {
        let (message, id) = events.message().await;
        assert_eq!(message["params"], json!({"progressToken": "mine", "progress": step}));
        assert_eq!(id, Some(format!("1-{step}")));
    }
    assert_eq!(events.next().await["id"], 5);
    events.has_ended().await;
    assert_eq!(rig.bridge.counts().dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_gets_the_head_of_a_stream_and_its_answer_on_it() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let mut events = Events::of(client.post(call(1)).await);
    let id = server.asked("tools/call").await;
    assert_eq!(events.event().await.unwrap().id.as_deref(), Some("1-0"));
    server.answer(&id, json!({})).await;
    assert_eq!(events.next().await["id"], 1);
    events.has_ended().await;
}

#[tokio::test(start_paused = true)]
async fn clients_of_earlier_revisions_get_no_event_without_data() {
    let mut rig = rig(OWN);
    let client = Client::new(&rig.bridge);
    let serve = async {
        let mut server = rig.server().await;
        let id = server.asked("initialize").await;
        server.answer(&id, init_result("2025-06-18")).await;
        server
    };
    let (client, server) = tokio::join!(client.initialize("2025-06-18"), serve);
    let mut events = Events::of(client.get().await);
    server.notify("notifications/tools/list_changed", json!({})).await;
    let first = events.event().await.unwrap();
    assert_eq!(first.id.as_deref(), Some("1-1"));
    assert!(!first.data.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_question_goes_to_the_newest_request_and_its_answer_to_the_server() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let mut get = Events::of(client.get().await);
    let mut older = Events::of(client.post(call(1)).await);
    let mut newer = Events::of(client.post(call(2)).await);
    let (first, second) = (server.asked("tools/call").await, server.asked("tools/call").await);
    server.say(request("q\u{1}", "elicitation/create", json!({"message": "?"}))).await;
    assert_eq!(newer.next().await["method"], "elicitation/create");
    let answer = client.post(json!({"jsonrpc": "2.0", "id": "q\u{1}", "result": {"action": "accept"}})).await;
    assert_eq!(status(&answer), 202);
    let heard = server.hear().await;
    assert_eq!((&heard["id"], &heard["result"]["action"]), (&json!("q\u{1}"), &json!("accept")));
    let again = client.post(json!({"jsonrpc": "2.0", "id": "q\u{1}", "result": {}})).await;
    assert_eq!(status(&again), 202, "taken, and dropped");
    server.answer(&second, json!({})).await;
    server.answer(&first, json!({})).await;
    assert_eq!(newer.next().await["id"], 2);
    assert_eq!(older.next().await["id"], 1);
    server.say(request(9, "roots/list", json!({}))).await;
    assert_eq!(get.next().await["method"], "roots/list", "without a request under way");
    get.is_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_waits_for_a_stream_and_not_for_ever() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    server.say(request(1, "roots/list", json!({}))).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut get = Events::of(client.get().await);
    assert_eq!(get.next().await["id"], 1);
    drop(get);
    server.say(request(2, "roots/list", json!({}))).await;
    let heard = server.hear().await;
    assert_eq!((&heard["id"], &heard["error"]["code"]), (&json!(2), &json!(-32603)));
}

#[tokio::test(start_paused = true)]
async fn a_ping_of_the_server_is_answered_here() {
    let mut rig = rig(OWN);
    let (_client, mut server) = rig.session().await;
    server.say(request("p", "ping", json!({}))).await;
    assert_eq!(server.hear().await, json!({"jsonrpc": "2.0", "id": "p", "result": {}}));
}

#[tokio::test(start_paused = true)]
async fn notices_go_to_the_get_stream_and_logs_to_the_request() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let mut get = Events::of(client.get().await);
    let mut post = Events::of(client.post(call(1)).await);
    let id = server.asked("tools/call").await;
    server.notify("notifications/message", json!({"level": "info", "data": 1})).await;
    server.notify("notifications/resources/updated", json!({"uri": "a:b"})).await;
    server.notify("notifications/tools/list_changed", json!({})).await;
    server.answer(&id, json!({})).await;
    server.notify("notifications/message", json!({"level": "info", "data": 2})).await;
    assert_eq!(post.next().await["params"]["data"], 1);
    assert_eq!(post.next().await["id"], 1);
    post.has_ended().await;
    assert_eq!(get.next().await["params"]["uri"], "a:b");
    assert_eq!(get.next().await["method"], "notifications/tools/list_changed");
    assert_eq!(get.next().await["params"]["data"], 2, "no request is under way");
    get.is_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_stream_notices_wait_and_the_oldest_go() {
    let mut rig = rig(OWN);
    let (client, server) = rig.session().await;
    for number in 0..100 {
        server.notify("notifications/resources/updated", json!({"uri": number.to_string()})).await;
    }
    while rig.bridge.counts().dropped < 36 {
        tokio::task::yield_now().await;
    }
    let mut get = Events::of(client.get().await);
    for number in 36..100 {
        assert_eq!(get.next().await["params"]["uri"], number.to_string());
    }
    get.is_quiet().await;
    assert_eq!(rig.bridge.counts().dropped, 36);
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_is_no_cancellation_and_the_stream_goes_on_by_get() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let mut post = Events::of(client.post(call(1)).await);
    let id = server.asked("tools/call").await;
    server.notify("notifications/progress", json!({"progressToken": id, "progress": 1})).await;
    let (_, cursor) = post.message().await;
    drop(post);
    server.notify("notifications/progress", json!({"progressToken": id, "progress": 2})).await;
    let mut get = Events::of(client.get().await);
    let mut resumed = client.resume(&cursor.unwrap()).await;
    assert_eq!(resumed.next().await["params"]["progress"], 2);
    server.answer(&id, json!({"late": true})).await;
    assert_eq!(resumed.next().await["result"]["late"], true);
    resumed.has_ended().await;
    get.is_quiet().await;
    assert!(server.hears.try_recv().is_err(), "the server was told nothing");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_while_nobody_listened_is_there_to_be_fetched() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let mut post = Events::of(client.post(call(1)).await);
    let cursor = post.event().await.unwrap().id.unwrap();
    drop(post);
    let id = server.asked("tools/call").await;
    server.answer(&id, json!({})).await;
    server.say(request(1, "ping", json!({}))).await;
    server.hear().await;
    let mut resumed = client.resume(&cursor).await;
    assert_eq!(resumed.next().await["id"], 1);
    resumed.has_ended().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_cursor_opens_a_fresh_stream() {
    let mut rig = rig(OWN);
    let (client, server) = rig.session().await;
    for cursor in ["99-1", "nonsense", "1-1"] {
        let mut get = client.resume(cursor).await;
        server.notify("notifications/tools/list_changed", json!({})).await;
        assert_eq!(get.next().await["method"], "notifications/tools/list_changed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_may_let_go_of_a_stream_and_its_client_comes_back() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let serve = async {
        let id = server.asked("tools/call").await;
        server.notify("notifications/skep/release_stream", json!({"requestId": id})).await;
        id
    };
    let (answer, id) = tokio::join!(client.post(call(1)), serve);
    let mut post = Events::of(answer);
    let priming = post.event().await.unwrap();
    assert_eq!(priming.retry, Some(1000));
    post.has_ended().await;
    let mut resumed = client.resume(&priming.id.unwrap()).await;
    server.answer(&id, json!({})).await;
    assert_eq!(resumed.next().await["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_get_replaces_the_first() {
    let mut rig = rig(OWN);
    let (client, server) = rig.session().await;
    let mut first = Events::of(client.get().await);
    let mut second = Events::of(client.get().await);
    first.has_ended().await;
    drop(first);
    server.notify("notifications/tools/list_changed", json!({})).await;
    assert_eq!(second.next().await["method"], "notifications/tools/list_changed");
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_is_translated_and_ends_the_request_even_if_the_server_is_silent() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "a", "reason": "r"}});
    let json_only = client.with("accept", "application/json");
    let serve = async {
        let id = server.asked("tools/call").await;
        assert_eq!(status(&client.post(cancel.clone()).await), 202);
        let heard = server.hear().await;
        assert_eq!(heard["params"], json!({"requestId": id, "reason": "r"}));
        id
    };
    let (answer, id) = tokio::join!(json_only.post(call("a")), serve);
    assert_eq!(json_of(answer).await["error"]["message"], "cancelled by the client");
    server.answer(&id, json!({})).await;
    assert_eq!(status(&client.post(cancel).await), 202, "of nothing under way");
    server.say(request(1, "ping", json!({}))).await;
    assert_eq!(server.hear().await["id"], 1, "nothing else was said");
}

#[tokio::test(start_paused = true)]
async fn an_id_cannot_be_in_flight_twice() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let mut first = Events::of(client.post(call("a")).await);
    let id = server.asked("tools/call").await;
    let second = client.post(json!({"jsonrpc": "2.0", "id": "a", "method": "tools/list"})).await;
    assert_eq!(status(&second), 400);
    assert_eq!(json_of(second).await["error"]["code"], -32600);
    server.answer(&id, json!({})).await;
    assert_eq!(first.next().await["id"], "a");
    let serve = async {
        let id = server.asked("tools/list").await;
        server.answer(&id, json!({})).await;
    };
    let list = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/list"});
    let (third, ()) = tokio::join!(client.post(list), serve);
    assert_eq!(status(&third), 200);
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_fails_everything_at_once_and_ends_the_session() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let mut get = Events::of(client.get().await);
    let mut streaming = Events::of(client.post(call(1)).await);
    let die = async {
        server.asked("tools/call").await;
        server.asked("tools/list").await;
        drop(server);
    };
    let list = client.post(request(2, "tools/list", json!({})));
    let (answer, ()) = tokio::join!(list, die);
    assert_eq!(status(&answer), 502);
    let body = json_of(answer).await;
    assert_eq!((&body["id"], &body["error"]["data"]["executed"]), (&json!(2), &json!("unknown")));
    assert!(body["error"]["message"].as_str().unwrap().contains("exit status 3"));
    assert_eq!(streaming.next().await["error"]["code"], -32603);
    streaming.has_ended().await;
    get.has_ended().await;
    assert_eq!(status(&client.post(call(3)).await), 404);
    assert_eq!(rig.bridge.counts().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn delete_ends_the_session_and_its_server() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let mut get = Events::of(client.get().await);
    assert_eq!(status(&client.send("DELETE", "/mcp", None).await), 204);
    server.is_let_go().await;
    get.has_ended().await;
    for method in ["GET", "DELETE"] {
        assert_eq!(status(&client.send(method, "/mcp", None).await), 404);
    }
    let answer = client.post(call("x")).await;
    assert_eq!(status(&answer), 404);
    assert_eq!(json_of(answer).await["id"], "x");
    while rig.bridge.counts().children > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_refused_by_the_table() {
    let mut rig = rig(OWN);
    let (client, _server) = rig.session().await;
    let stranger = Client::new(&rig.bridge);
    assert_eq!(status(&stranger.post(call(1)).await), 400, "no session");
    assert_eq!(status(&stranger.with("mcp-session-id", "s1.forged").post(call(1)).await), 404);
    let mut other = client.clone();
    other.principal = model::PrincipalDigest::new([1; 16]);
    assert_eq!(status(&other.post(call(1)).await), 404, "another principal");
    assert_eq!(status(&client.with("mcp-protocol-version", "1999-01-01").post(call(1)).await), 400);
    assert_eq!(status(&client.with("accept", "text/html").post(call(1)).await), 406);
    assert_eq!(status(&client.with("accept", "application/json").get().await), 406);
    assert_eq!(status(&client.with("mcp-protocol-version", "2026-07-28").get().await), 405);
    assert_eq!(status(&client.send("PUT", "/mcp", None).await), 405);
    assert_eq!(status(&client.send("POST", "/other", Some(call(1))).await), 404);
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_only_events_gets_only_events_and_one_that_takes_none_gets_none() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let serve = async {
        let id = server.asked("tools/list").await;
        server.answer(&id, json!({})).await;
    };
    let list = request(1, "tools/list", json!({}));
    let events_only = client.with("accept", "text/event-stream");
    let (answer, ()) = tokio::join!(events_only.post(list), serve);
    assert_eq!(Events::of(answer).next().await["id"], 1);
    let serve = async {
        let id = server.asked("tools/call").await;
        server.notify("notifications/progress", json!({"progressToken": id, "progress": 1})).await;
        server.answer(&id, json!({})).await;
    };
    let json_only = client.with("accept", "application/json");
    let (answer, ()) = tokio::join!(json_only.post(call(2)), serve);
    assert_eq!(json_of(answer).await["id"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_request_is_not_waited_for_too_long() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let answer = client.post(request(1, "tools/list", json!({}))).await;
    assert_eq!(status(&answer), 504);
    let id = server.asked("tools/list").await;
    let heard = server.hear().await;
    assert_eq!((&heard["method"], &heard["params"]["requestId"]), (&json!("notifications/cancelled"), &id));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_stops_its_server_and_loses_nothing() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let mut post = Events::of(client.post(call(1)).await);
    let id = server.asked("tools/call").await;
    let progress = |step: usize| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": id, "progress": step}});
    let mut said = 0;
    while tokio::time::timeout(Duration::from_secs(100), server.says.send(progress(said).to_string().into()))
        .await
        .is_ok()
    {
        said += 1;
    }
    assert!(said < 200, "{said} were taken");
    for step in 0..said {
        assert_eq!(post.next().await["params"]["progress"], step);
    }
    server.answer(&id, json!({})).await;
    assert_eq!(post.next().await["id"], 1);
    assert_eq!(rig.bridge.counts().dropped, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_session_can_be_deleted() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let _unread = client.get().await;
    while tokio::time::timeout(Duration::from_secs(1), server.notify("notifications/message", json!({})))
        .await
        .is_ok()
    {}
    assert_eq!(status(&client.send("DELETE", "/mcp", None).await), 204);
    server.is_let_go().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_is_waited_for_and_then_given_up() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let note = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    let mut taken = 0;
    let refused = loop {
        let answer = client.post(note.clone()).await;
        if answer.status() != 202 {
            break answer;
        }
        taken += 1;
    };
    assert_eq!((status(&refused), taken), (504, crate::channel::CHANNEL_DEPTH));
    for _ in 0..taken {
        server.asked("notifications/roots/list_changed").await;
    }
    assert_eq!(status(&client.post(note).await), 202);
}

#[tokio::test(start_paused = true)]
async fn servers_are_made_ready_taken_and_replaced() {
    let mut rig = rig(Mode::PerSession { warm: 2, max_children: 3 });
    let bridge = rig.bridge.clone();
    let maintenance = tokio::spawn(async move { bridge.maintenance().await });
    let (first, second) = (rig.server().await, rig.server().await);
    assert!(rig.opened_nothing());
    drop(first);
    let client = Client::new(&rig.bridge);
    let serve = async {
        let mut server = second;
        server.shake_hands().await;
        server
    };
    let (_session, _second) = tokio::join!(client.initialize("2025-11-25"), serve);
    let _third = rig.server().await;
    let _fourth = rig.server().await;
    assert_eq!(rig.bridge.counts().children, 3, "one in use, two ready, and no more");
    rig.bridge.shut_down(tokio::time::Instant::now()).await;
    maintenance.await.unwrap();
    assert_eq!(rig.bridge.counts().children, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_bridge_ends_idle_sessions_first_and_then_refuses() {
    let mut rig = rig(Mode::PerSession { warm: 0, max_children: 2 });
    let (first, mut server) = rig.session().await;
    let (second, _second_server) = rig.session().await;
    let initialize = || request(0, "initialize", json!({}));
    let refused = Client::new(&rig.bridge).post(initialize()).await;
    assert_eq!(status(&refused), 503);
    assert!(json_of(refused).await["error"]["message"].as_str().unwrap().contains("limit of 2"));
    tokio::time::advance(Duration::from_secs(60)).await;
    let _busy = second.get().await;
    let (third, _third_server) = rig.session().await;
    server.is_let_go().await;
    assert_eq!(status(&first.get().await), 404);
    assert_eq!(status(&third.get().await), 200);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_ends_and_one_with_a_stream_is_not_idle() {
    let limits = Limits { idle: Duration::from_secs(100), ..Limits::default() };
    let mut rig = rig_with(OWN, |config| config.limits = limits);
    let (idle, mut server) = rig.session().await;
    let (streaming, _other) = rig.session().await;
    let mut get = Events::of(streaming.get().await);
    let bridge = rig.bridge.clone();
    let maintenance = tokio::spawn(async move { bridge.maintenance().await });
    server.is_let_go().await;
    assert_eq!(status(&idle.get().await), 404);
    get.is_quiet().await;
    rig.bridge.shut_down(tokio::time::Instant::now()).await;
    maintenance.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutting_down_lets_requests_end_within_the_deadline() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let mut post = Events::of(client.post(call(1)).await);
    let id = server.asked("tools/call").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let serve = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(status(&client.post(call(2)).await), 503, "no new ones");
        server.say(request("q", "elicitation/create", json!({"message": "?"}))).await;
        let question = post.next().await;
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}});
        assert_eq!(status(&client.post(answer).await), 202, "what those under way need");
        assert_eq!(server.hear().await["result"]["action"], "accept");
        server.answer(&id, json!({})).await;
        server.is_let_go().await;
    };
    tokio::join!(rig.bridge.shut_down(deadline), serve);
    assert!(tokio::time::Instant::now() < deadline);
    assert_eq!(post.next().await["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn large_answers_pass_whole() {
    let mut rig = rig(OWN);
    let (client, mut server) = rig.session().await;
    let large = "x".repeat(3 << 20);
    let serve = async {
        let id = server.asked("tools/call").await;
        server.answer(&id, json!({"text": large})).await;
    };
    let (answer, ()) = tokio::join!(client.post(call(1)), serve);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(text.len() > 3 << 20);
}
