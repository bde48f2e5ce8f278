//! HTTP+SSE.

use serde_json::{Value, json};

use super::harness::*;
use crate::bridge::Mode;

/// A stream, the path to post to, and the session's server.
async fn connect(rig: &mut Rig) -> (Client, Events, String) {
    let client = Client::new(&rig.bridge);
    let mut events = Events::of(client.send("GET", "/sse", None).await);
    let endpoint = events.event().await.unwrap();
    assert_eq!((endpoint.name.as_str(), endpoint.id), ("endpoint", None));
    let path = String::from_utf8(endpoint.data.to_vec()).unwrap();
    (client, events, path)
}

async fn post(client: &Client, path: &str, body: Value) -> u16 {
    status(&client.send("POST", path.strip_prefix("/before").unwrap(), Some(body)).await)
}

fn prefixed(mode: Mode) -> Rig {
    rig_with(mode, |config| config.paths.prefix = "/before".into())
}

#[tokio::test(start_paused = true)]
async fn everything_comes_by_the_one_stream_in_the_servers_order() {
    let mut rig = prefixed(OWN);
    let (client, mut events, path) = connect(&mut rig).await;
    assert!(path.starts_with("/before/messages?session_id=s1."), "{path}");
    let mut server = rig.server().await;
    assert_eq!(post(&client, &path, request("a", "initialize", json!({}))).await, 202);
    server.shake_hands().await;
    let first = events.event().await.unwrap();
    assert_eq!((first.name.as_str(), first.id), ("message", None));
    assert_eq!(serde_json::from_slice::<Value>(&first.data).unwrap()["id"], "a");
    assert_eq!(post(&client, &path, call(1)).await, 202);
    let id = server.asked("tools/call").await;
    server.say(request("q", "roots/list", json!({}))).await;
    server.notify("notifications/progress", json!({"progressToken": id, "progress": 1})).await;
    server.answer(&id, json!({})).await;
    assert_eq!(events.next().await["method"], "roots/list");
    assert_eq!(events.next().await["params"]["progressToken"], "mine");
    assert_eq!(events.next().await["id"], 1);
    assert_eq!(post(&client, &path, json!({"jsonrpc": "2.0", "id": "q", "result": {}})).await, 202);
    assert_eq!(server.hear().await["id"], "q");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_broadcast() {
    for mode in [OWN, Mode::Shared] {
        let mut rig = prefixed(mode);
        let connecting = Client::new(&rig.bridge);
        let serve = async {
            let mut server = rig.server().await;
            if mode == Mode::Shared {
                server.shake_hands().await;
                server.hear().await;
            }
            server
        };
        let (mut server, answer) = tokio::join!(serve, connecting.send("GET", "/sse", None));
        let mut first = Events::of(answer);
        let path = String::from_utf8(first.event().await.unwrap().data.to_vec()).unwrap();
        let (_other_client, mut other, _other_path) = connect(&mut rig).await;
        assert_eq!(post(&connecting, &path, request(1, "tools/list", json!({}))).await, 202);
        let id = server.asked("tools/list").await;
        server.answer(&id, json!({})).await;
        assert_eq!(first.next().await["id"], 1);
        other.is_quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_servers_handshake_comes_by_the_stream() {
    let mut rig = prefixed(Mode::Shared);
    let bridge = rig.bridge.clone();
    let client = Client::new(&bridge);
    let serve = async {
        let mut server = rig.server().await;
        server.shake_hands().await;
        server
    };
    let (answer, _server) = tokio::join!(client.send("GET", "/sse", None), serve);
    let mut events = Events::of(answer);
    let path = String::from_utf8(events.event().await.unwrap().data.to_vec()).unwrap();
    let initialize = request("i", "initialize", json!({"protocolVersion": "2024-11-05"}));
    assert_eq!(post(&client, &path, initialize).await, 202);
    let answer = events.next().await;
    assert_eq!((&answer["id"], &answer["result"]["protocolVersion"]), (&json!("i"), &json!("2024-11-05")));
}

#[tokio::test(start_paused = true)]
async fn the_session_ends_with_its_stream() {
    let mut rig = prefixed(OWN);
    let (client, events, path) = connect(&mut rig).await;
    let mut server = rig.server().await;
    drop(events);
    server.is_let_go().await;
    assert_eq!(post(&client, &path, call(1)).await, 404);
    assert_eq!(rig.bridge.counts().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_with_the_server_and_says_what_was_lost() {
    let mut rig = prefixed(OWN);
    let (client, mut events, path) = connect(&mut rig).await;
    let mut server = rig.server().await;
    assert_eq!(post(&client, &path, call(1)).await, 202);
    server.asked("tools/call").await;
    drop(server);
    let lost = events.next().await;
    assert_eq!((&lost["id"], &lost["error"]["code"]), (&json!(1), &json!(-32603)));
    events.has_ended().await;
}

#[tokio::test(start_paused = true)]
async fn requests_are_refused_by_the_table() {
    let mut rig = prefixed(OWN);
    let (client, _events, path) = connect(&mut rig).await;
    let token = path.rsplit_once('=').unwrap().1;
    assert_eq!(
        status(&client.with("mcp-session-id", token).post(call(1)).await),
        404,
        "a session of another front"
    );
    assert_eq!(status(&client.send("POST", "/messages", Some(call(1))).await), 400);
    assert_eq!(status(&client.send("POST", "/messages?session_id=x", Some(call(1))).await), 404);
    assert_eq!(status(&client.send("GET", "/messages", None).await), 405);
    assert_eq!(status(&client.send("POST", "/sse", Some(call(1))).await), 405);
    assert_eq!(status(&client.with("accept", "application/json").send("GET", "/sse", None).await), 406);
    assert_eq!(post(&client, &path, call(1)).await, 202);
    assert_eq!(post(&client, &path, call(1)).await, 400, "an id that is in flight");
    let mut closed = rig_with(OWN, |config| config.allow_sse = false);
    assert_eq!(status(&Client::new(&closed.bridge).send("GET", "/sse", None).await), 404);
    assert!(closed.opened_nothing());
}
