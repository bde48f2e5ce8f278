//! Requests of 2026-07-28.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::*;

const META: &str = "io.modelcontextprotocol/";

fn modern(id: impl Into<Value>, method: &str, mut params: Value) -> Value {
    params["_meta"][format!("{META}protocolVersion")] = json!("2026-07-28");
    params["_meta"][format!("{META}clientCapabilities")] = json!({});
    request(id, method, params)
}

fn client_for(rig: &Rig, method: &str) -> Client {
    Client::new(&rig.bridge).with("mcp-protocol-version", "2026-07-28").with("mcp-method", method)
}

/// A modern server behind the bridge, found out by a first request.
async fn modern_rig() -> (Rig, Server) {
    let mut rig = rig(OWN);
    let client = client_for(&rig, "tools/list");
    let serve = async {
        let mut server = rig.server().await;
        let probe = server.hear().await;
        assert_eq!(probe["method"], "server/discover");
        assert_eq!(probe["params"]["_meta"][format!("{META}protocolVersion")], "2026-07-28");
        server.answer(&probe["id"], json!({"supportedVersions": ["2026-07-28"], "capabilities": {}})).await;
        let id = server.asked("tools/list").await;
        server.answer(&id, json!({"tools": []})).await;
        server
    };
    let (answer, server) = tokio::join!(client.post(modern("x", "tools/list", json!({}))), serve);
    assert_eq!(json_of(answer).await, json!({"jsonrpc": "2.0", "id": "x", "result": {"tools": []}}));
    (rig, server)
}

#[tokio::test(start_paused = true)]
async fn requests_stand_alone_and_may_share_their_ids() {
    let (mut rig, mut server) = modern_rig().await;
    let client = client_for(&rig, "prompts/list");
    let list = || modern(1, "prompts/list", json!({}));
    let serve = async {
        let (first, second) = (server.asked("prompts/list").await, server.asked("prompts/list").await);
        server.answer(&second, json!({"n": 2})).await;
        server.answer(&first, json!({"n": 1})).await;
    };
    let (first, second, ()) = tokio::join!(client.post(list()), client.post(list()), serve);
    assert!(!first.headers().contains_key("mcp-session-id"));
    assert_eq!(
        (json_of(first).await["result"]["n"].clone(), json_of(second).await["result"]["n"].clone()),
        (json!(1), json!(2))
    );
    assert!(rig.opened_nothing(), "one server for all");
    assert_eq!(rig.bridge.counts().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_legacy_server_is_told_from_a_modern_one() {
    let mut rig = rig(OWN);
    let client = client_for(&rig, "tools/list");
    let serve = async {
        let mut server = rig.server().await;
        let id = server.asked("server/discover").await;
        server.say(json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": "?"}})).await;
        let id = server.asked("initialize").await;
        server.answer(&id, init_result("2025-06-18")).await;
        server.is_let_go().await;
    };
    let (answer, ()) = tokio::join!(client.post(modern(1, "tools/list", json!({}))), serve);
    assert_eq!(status(&answer), 400);
    let error = json_of(answer).await["error"].clone();
    assert_eq!((&error["code"], &error["data"]["supported"]), (&json!(-32022), &json!(["2025-06-18"])));
    assert_eq!(status(&client.post(modern(2, "tools/list", json!({}))).await), 400);
    assert!(rig.opened_nothing(), "asked once");
}

#[tokio::test(start_paused = true)]
async fn statuses_follow_the_servers_codes() {
    let (rig, mut server) = modern_rig().await;
    let client = client_for(&rig, "prompts/list");
    for (code, expect) in [(-32601, 404), (-32021, 400), (-32602, 200), (-32603, 200)] {
        let serve = async {
            let id = server.asked("prompts/list").await;
            server.say(json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "m"}})).await;
        };
        let (answer, ()) = tokio::join!(client.post(modern(7, "prompts/list", json!({}))), serve);
        assert_eq!(status(&answer), expect, "{code}");
        assert_eq!(json_of(answer).await["id"], 7);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_revision_removed_is_not_found_whatever_the_server_would_say() {
    let rig = rig(OWN);
    for method in ["ping", "logging/setLevel", "resources/subscribe", "initialize"] {
        let answer = client_for(&rig, method).post(modern(5, method, json!({}))).await;
        assert_eq!(status(&answer), 404, "{method}");
        let body = json_of(answer).await;
        assert_eq!((&body["id"], &body["error"]["code"]), (&json!(5), &json!(-32601)));
    }
    let client = client_for(&rig, "tools/list");
    for method in ["GET", "DELETE"] {
        let answer = client.send(method, "/mcp", None).await;
        assert_eq!((status(&answer), answer.headers()["allow"].to_str().unwrap()), (405, "POST"));
    }
}

#[tokio::test(start_paused = true)]
async fn progress_and_logs_reach_the_request_they_are_of() {
    let (rig, mut server) = modern_rig().await;
    let client = client_for(&rig, "tools/call").with("mcp-name", "t");
    let call = |level: Option<&str>| {
        let mut call = modern(1, "tools/call", json!({"name": "t", "_meta": {"progressToken": "mine"}}));
        if let Some(level) = level {
            call["params"]["_meta"][format!("{META}logLevel")] = json!(level);
        }
        call
    };
    let serve = async {
        let id = server.asked("tools/list").await;
        server.answer(&id, json!({"tools": [{"name": "t", "inputSchema": {}}]})).await;
        let silent = server.asked("tools/call").await;
        (silent, server)
    };
    let (silent, (silent_id, mut server)) = tokio::join!(client.post(call(None)), serve);
    let mut silent = Events::of(silent);
    let logged = client.post(call(Some("info")));
    let serve = async {
        let id = server.hear().await["id"].clone();
        server.notify("notifications/message", json!({"level": "info", "data": 1})).await;
        server.notify("notifications/progress", json!({"progressToken": id, "progress": 1})).await;
        server.notify("notifications/progress", json!({"progressToken": silent_id, "progress": 9})).await;
        server.answer(&id, json!({})).await;
        server.answer(&silent_id, json!({})).await;
    };
    let (logged, ()) = tokio::join!(logged, serve);
    let mut logged = Events::of(logged);
    let (first, id) = logged.message().await;
    assert_eq!((&first["params"]["data"], id), (&json!(1), None));
    assert_eq!(logged.next().await["params"]["progressToken"], "mine");
    assert_eq!(logged.next().await["id"], 1);
    logged.has_ended().await;
    assert_eq!(silent.next().await["params"]["progress"], 9);
    assert_eq!(silent.next().await["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_has_cancelled() {
    let (rig, mut server) = modern_rig().await;
    let client = client_for(&rig, "resources/read").with("mcp-name", "a:b");
    let read = || modern(1, "resources/read", json!({"uri": "a:b"}));
    // Before anything was shown: the handler is dropped.
    let given_up = tokio::time::timeout(Duration::from_millis(100), client.post(read())).await;
    assert!(given_up.is_err());
    let id = server.asked("resources/read").await;
    let heard = server.hear().await;
    assert_eq!((&heard["method"], &heard["params"]["requestId"]), (&json!("notifications/cancelled"), &id));
    // While it streams: the body is dropped.
    let events = Events::of(client.post(read()).await);
    let id = server.asked("resources/read").await;
    drop(events);
    assert_eq!(server.hear().await["params"]["requestId"], id);
    server.answer(&id, json!({})).await;
    server.say(request(1, "ping", json!({}))).await;
    server.hear().await;
    assert_eq!(rig.bridge.counts().dropped, 1, "the late answer");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_streams_under_its_clients_id_until_either_side_ends() {
    let (rig, mut server) = modern_rig().await;
    let client = client_for(&rig, "subscriptions/listen");
    let tag = format!("{META}subscriptionId");
    let serve = async {
        let id = server.asked("subscriptions/listen").await;
        server.notify("notifications/subscriptions/acknowledged", json!({"_meta": {tag.clone(): id}})).await;
        // Some servers turn it into a string.
        server
            .notify("notifications/tools/list_changed", json!({"_meta": {tag.clone(): id.to_string()}}))
            .await;
        server.notify("notifications/tools/list_changed", json!({})).await;
        id
    };
    let listen = modern("L", "subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    let (answer, id) = tokio::join!(client.post(listen.clone()), serve);
    let mut events = Events::of(answer);
    for method in ["notifications/subscriptions/acknowledged", "notifications/tools/list_changed"] {
        let message = events.next().await;
        assert_eq!((&message["method"], &message["params"]["_meta"][&tag]), (&json!(method), &json!("L")));
    }
    events.is_quiet().await;
    server.answer(&id, json!({"resultType": "complete", "_meta": {tag.clone(): id}})).await;
    let end = events.next().await;
    assert_eq!((&end["id"], &end["result"]["_meta"][&tag]), (&json!("L"), &json!("L")));
    events.has_ended().await;

    let serve = async {
        let id = server.asked("subscriptions/listen").await;
        server.notify("notifications/subscriptions/acknowledged", json!({"_meta": {tag.clone(): id}})).await;
        server.notify("notifications/cancelled", json!({"requestId": id})).await;
    };
    let (answer, ()) = tokio::join!(client.post(listen), serve);
    let mut events = Events::of(answer);
    events.next().await;
    events.has_ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_ended_in_form_at_shutdown() {
    let (rig, mut server) = modern_rig().await;
    let client = client_for(&rig, "subscriptions/listen");
    let mut events = Events::of(client.post(modern(3, "subscriptions/listen", json!({}))).await);
    server.asked("subscriptions/listen").await;
    rig.bridge.shut_down(tokio::time::Instant::now() + Duration::from_secs(30)).await;
    let end = events.next().await;
    assert_eq!((&end["id"], &end["result"]["resultType"]), (&json!(3), &json!("complete")));
    events.has_ended().await;
    server.is_let_go().await;
}

/// The next server hears the probe and then this request.
async fn serves_next(rig: &mut Rig, method: &str) -> Server {
    let mut server = rig.server().await;
    let id = server.asked("server/discover").await;
    server.answer(&id, json!({})).await;
    let id = server.asked(method).await;
    server.answer(&id, json!({})).await;
    server
}

#[tokio::test(start_paused = true)]
async fn what_reads_is_answered_by_the_next_server() {
    let (mut rig, mut server) = modern_rig().await;
    let client = client_for(&rig, "prompts/list");
    let serve = async {
        server.asked("prompts/list").await;
        drop(server);
        serves_next(&mut rig, "prompts/list").await
    };
    let (answer, _server) = tokio::join!(client.post(modern(1, "prompts/list", json!({}))), serve);
    assert_eq!(status(&answer), 200);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_acted_is_told_and_the_next_request_starts_another() {
    let (mut rig, mut server) = modern_rig().await;
    let act = || modern(1, "x/act", json!({}));
    let client = client_for(&rig, "x/act");
    let die = async {
        server.asked("x/act").await;
        drop(server);
    };
    let (answer, ()) = tokio::join!(client.post(act()), die);
    assert_eq!(status(&answer), 502);
    assert_eq!(json_of(answer).await["error"]["data"]["executed"], "unknown");
    let (answer, _server) = tokio::join!(client.post(act()), serves_next(&mut rig, "x/act"));
    assert_eq!(status(&answer), 200);
}

#[tokio::test(start_paused = true)]
async fn headers_must_repeat_the_arguments_their_tool_says() {
    let (rig, mut server) = modern_rig().await;
    let client = client_for(&rig, "tools/call").with("mcp-name", "t");
    let call = || modern(1, "tools/call", json!({"name": "t", "arguments": {"a": "v"}}));
    let tools = |header: &str| json!({"tools": [{"name": "t", "inputSchema": {"properties": {"a": {"type": "string", "x-mcp-header": header}}}}]});
    let list = async |server: &mut Server, header: &str| {
        let id = server.asked("tools/list").await;
        server.answer(&id, json!({"tools": [], "nextCursor": "c"})).await;
        let next = server.hear().await;
        assert_eq!(next["params"]["cursor"], "c");
        server.answer(&next["id"], tools(header)).await;
    };
    let (refused, ()) = tokio::join!(client.post(call()), list(&mut server, "A"));
    assert_eq!(status(&refused), 400);
    assert_eq!(json_of(refused).await["error"]["code"], -32020);
    let fits = client.with("mcp-param-a", "=?base64?dg==?=");
    let serve = async {
        let id = server.asked("tools/call").await;
        server.answer(&id, json!({})).await;
    };
    let (answer, ()) = tokio::join!(fits.post(call()), serve);
    assert_eq!(status(&answer), 200);
    tokio::time::advance(Duration::from_secs(2)).await;
    let serve = async {
        // The list may have changed since: it is asked for again before a call is refused.
        list(&mut server, "B").await;
        let id = server.asked("tools/call").await;
        server.answer(&id, json!({})).await;
    };
    let fits = client.with("mcp-param-b", "v");
    let (answer, ()) = tokio::join!(fits.post(call()), serve);
    assert_eq!(status(&answer), 200);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_against_the_rules_is_refused() {
    let (_rig, mut server) = modern_rig().await;
    server.say(request(1, "sampling/createMessage", json!({}))).await;
    assert_eq!(server.hear().await["error"]["code"], -32601);
}

#[tokio::test(start_paused = true)]
async fn responses_are_refused_and_cancellations_of_nothing_swallowed() {
    let rig = rig(OWN);
    let client = client_for(&rig, "notifications/cancelled");
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(status(&client.post(cancel).await), 202);
    assert_eq!(status(&client.post(json!({"jsonrpc": "2.0", "id": 1, "result": {}})).await), 400);
}
