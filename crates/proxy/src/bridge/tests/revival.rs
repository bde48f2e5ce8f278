//! Servers that end under their sessions, and the ones that take their place.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::*;
use crate::bridge::{BridgeConfig, Mode};
use crate::forward::OnLoss;
use crate::history::{Cause, Outcome};
use crate::session::MemoryStore;

fn lasting(mode: Mode) -> Rig {
    rig_with(mode, |config| config.on_loss = OnLoss::Rebuild)
}

/// Hears the handshake that the next server gets, up to what the client would not have said next.
async fn hears_all_again(server: &mut Server, initialize: &Value) {
    let hello = server.hear().await;
    assert_eq!((&hello["method"], &hello["params"]), (&json!("initialize"), initialize));
    server.answer(&hello["id"], init_result("2025-11-25")).await;
    assert_eq!(server.hear().await["method"], "notifications/initialized");
}

fn params() -> Value {
    json!({"protocolVersion": "2025-11-25"})
}

/// The client subscribes to something.
async fn subscribes(client: &Client, server: &mut Server) {
    let serve = async {
        let id = server.asked("resources/subscribe").await;
        server.answer(&id, json!({})).await;
    };
    let subscribe = request("s", "resources/subscribe", json!({"uri": "a://b"}));
    let (answer, ()) = tokio::join!(client.post(subscribe), serve);
    assert_eq!(status(&answer), 200);
}

#[tokio::test(start_paused = true)]
async fn what_reads_is_answered_by_the_next_server_and_what_may_have_acted_is_told() {
    let mut rig = lasting(OWN);
    let (client, mut server) = rig.session().await;
    subscribes(&client, &mut server).await;
    let mut get = Events::of(client.get().await);
    let mut streaming = Events::of(client.post(call(1)).await);
    let serve = async {
        server.asked("tools/call").await;
        server.asked("tools/list").await;
        drop(server);
        let mut next = rig.server().await;
        hears_all_again(&mut next, &params()).await;
        let id = next.asked("resources/subscribe").await;
        next.answer(&id, json!({})).await;
        let id = next.asked("tools/list").await;
        next.answer(&id, json!({"tools": []})).await;
        next
    };
    let (list, next) = tokio::join!(client.post(request(2, "tools/list", json!({}))), serve);
    let told = json!({"tools": [], "_meta": {"skep/recovered": {"epoch": 1}}});
    assert_eq!(json_of(list).await["result"], told);
    let lost = streaming.next().await;
    assert_eq!((&lost["id"], &lost["error"]["code"]), (&json!(1), &json!(-31001)));
    assert_eq!(lost["error"]["data"]["executed"], "unknown");
    streaming.has_ended().await;
    assert_eq!(
        get.next().await["method"],
        "notifications/resources/updated",
        "it may have changed meanwhile"
    );
    next.notify("notifications/message", json!({"level": "info", "data": "new"})).await;
    assert_eq!(get.next().await["params"]["data"], "new", "the same stream goes on");
    let counts = rig.bridge.recoveries();
    assert_eq!((counts.get(Cause::Ended, Outcome::Rebuilt), counts.requests()), (1, (1, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_question_of_a_dead_server_is_withdrawn_and_its_answer_goes_nowhere() {
    let mut rig = lasting(OWN);
    let (client, server) = rig.session().await;
    let mut get = Events::of(client.get().await);
    server.say(request(0, "roots/list", json!({}))).await;
    assert_eq!(get.next().await["id"], 0);
    drop(server);
    let withdrawn = get.next().await;
    assert_eq!(
        (&withdrawn["method"], &withdrawn["params"]["requestId"]),
        (&json!("notifications/cancelled"), &json!(0))
    );
    let ask_again = async {
        let mut next = rig.server().await;
        hears_all_again(&mut next, &params()).await;
        let id = next.asked("tools/list").await;
        next.answer(&id, json!({})).await;
        next.say(request(0, "roots/list", json!({}))).await;
        next
    };
    let (_, mut next) = tokio::join!(client.post(request(5, "tools/list", json!({}))), ask_again);
    let asked = get.next().await;
    assert_ne!(asked["id"], 0, "the client may still answer the one before");
    let late = json!({"jsonrpc": "2.0", "id": 0, "result": {"roots": ["old"]}});
    assert_eq!(status(&client.post(late).await), 202);
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}});
    assert_eq!(status(&client.post(answer).await), 202);
    assert_eq!(next.hear().await, json!({"jsonrpc": "2.0", "id": 0, "result": {"roots": []}}));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ended_while_nobody_waited_is_replaced_with_the_next_message() {
    let mut rig = lasting(OWN);
    let (client, server) = rig.session().await;
    drop(server);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(rig.opened_nothing());
    let serve = async {
        let mut next = rig.server().await;
        hears_all_again(&mut next, &params()).await;
        for _ in 0..3 {
            let message = next.hear().await;
            next.answer(&message["id"], json!({"was": message["params"]["name"]})).await;
        }
    };
    let ask = |name: &'static str| client.post(request(name, "tools/call", json!({"name": name})));
    let (a, b, c, ()) = tokio::join!(ask("a"), ask("b"), ask("c"), serve);
    for (answer, name) in [(a, "a"), (b, "b"), (c, "c")] {
        assert_eq!(json_of(answer).await["result"]["was"], name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_replaced_is_told_of_and_tried_again() {
    let mut rig = lasting(OWN);
    let (client, server) = rig.session().await;
    drop(server);
    let refuse = async {
        let mut tries = 0;
        loop {
            let Ok(server) = tokio::time::timeout(Duration::from_secs(30), rig.server()).await else { break };
            drop(server);
            tries += 1;
        }
        tries
    };
    let refused = async {
        let answer = client.post(request(1, "tools/call", json!({"name": "x"}))).await;
        assert_eq!(status(&answer), 502);
        json_of(answer).await
    };
    let (tries, refused) = tokio::join!(
        async { tokio::time::timeout(Duration::from_secs(60), refuse).await.unwrap_or(99) },
        refused
    );
    assert!(tries > 5, "{tries}");
    assert_eq!(refused["error"]["data"]["executed"], "no");
    assert!(refused["error"]["message"].as_str().unwrap().contains("exit status 3"), "{refused}");
    let serve = async {
        let mut next = rig.server().await;
        hears_all_again(&mut next, &params()).await;
        let id = next.asked("tools/call").await;
        next.answer(&id, json!({})).await;
    };
    let (answer, ()) = tokio::join!(client.post(request(2, "tools/call", json!({"name": "x"}))), serve);
    assert_eq!(status(&answer), 200);
}

#[tokio::test(start_paused = true)]
async fn another_server_ends_the_session() {
    let mut rig = lasting(OWN);
    let (client, server) = rig.session().await;
    drop(server);
    let serve = async {
        let mut next = rig.server().await;
        let id = next.asked("initialize").await;
        next.answer(&id, init_result("2025-06-18")).await;
        next.is_let_go().await;
    };
    let (answer, ()) = tokio::join!(client.post(call(1)), serve);
    assert_eq!(status(&answer), 404);
    assert_eq!(status(&client.post(call(2)).await), 404);
    assert_eq!(rig.bridge.counts().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_replaced_and_one_that_is_busy_is_not() {
    let mut rig = lasting(OWN);
    let (client, mut server) = rig.session().await;
    let list = || request("l", "tools/list", json!({}));
    let mut busy = Events::of(client.with("accept", "text/event-stream").post(call(1)).await);
    let answer = client.post(list());
    let answer = tokio::time::timeout(Duration::from_secs(3600), answer).await.unwrap();
    assert_eq!(status(&answer), 504);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(rig.opened_nothing(), "it works for somebody");
    let work = server.asked("tools/call").await;
    server.answer(&work, json!({"done": true})).await;
    assert_eq!(busy.next().await["result"]["done"], true);
    let answer = client.post(list()).await;
    assert_eq!(status(&answer), 504);
    let serve = async {
        server.is_let_go().await;
        let mut next = rig.server().await;
        hears_all_again(&mut next, &params()).await;
        let id = next.asked("tools/list").await;
        next.answer(&id, json!({})).await;
    };
    let ask = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        client.post(list()).await
    };
    let (answer, ()) = tokio::join!(ask, serve);
    assert_eq!(status(&answer), 200);
    assert_eq!(rig.bridge.recoveries().get(Cause::Hung, Outcome::Rebuilt), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unused_server_is_let_go_and_comes_back_with_the_next_message() {
    let mut rig = rig_with(OWN, |config| {
        config.on_loss = OnLoss::Rebuild;
        config.sleep_after = Some(Duration::from_secs(600));
    });
    let (client, mut server) = rig.session().await;
    let bridge = rig.bridge.clone();
    let maintenance = tokio::spawn(async move { bridge.maintenance().await });
    server.is_let_go().await;
    assert_eq!(rig.bridge.counts().sessions, 1);
    let serve = async {
        let mut next = rig.server().await;
        hears_all_again(&mut next, &params()).await;
        let id = next.asked("tools/list").await;
        next.answer(&id, json!({})).await;
        next
    };
    let (answer, _next) = tokio::join!(client.post(request(1, "tools/list", json!({}))), serve);
    assert_eq!(status(&answer), 200);
    assert_eq!(rig.bridge.recoveries().get(Cause::Slept, Outcome::Rebuilt), 1);
    rig.bridge.shut_down(tokio::time::Instant::now()).await;
    maintenance.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_no_more_servers_may_run_an_unused_one_is_let_go_for_another() {
    let mut rig = lasting(Mode::PerSession { warm: 0, max_children: 2 });
    let (first, mut server) = rig.session().await;
    let (second, _second_server) = rig.session().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    let _busy = second.get().await;
    let (_third, _third_server) = rig.session().await;
    server.is_let_go().await;
    assert_eq!(rig.bridge.counts().sessions, 3);
    let refused =
        tokio::time::timeout(Duration::from_secs(60), first.post(request(1, "tools/list", json!({}))));
    assert_ne!(status(&refused.await.unwrap()), 404, "the session stays");
}

#[tokio::test(start_paused = true)]
async fn sessions_of_a_shared_server_outlive_it_and_each_keeps_what_is_its_own() {
    let mut rig = lasting(Mode::Shared);
    let client = Client::new(&rig.bridge);
    let serve = async {
        let mut server = rig.server().await;
        server.shake_hands().await;
        assert_eq!(server.hear().await["method"], "notifications/initialized");
        server
    };
    let (first, mut server) = tokio::join!(client.initialize("2025-11-25"), serve);
    let second = client.initialize("2025-11-25").await;
    subscribes(&first, &mut server).await;
    let (mut gets, mut other) = (Events::of(first.get().await), Events::of(second.get().await));
    drop(server);
    let serve = async {
        let mut next = rig.server().await;
        let hello = next.hear().await;
        assert_eq!(hello["params"]["clientInfo"]["name"], "skep");
        next.answer(&hello["id"], init_result("2025-11-25")).await;
        assert_eq!(next.hear().await["method"], "notifications/initialized");
        let subscribe = next.hear().await;
        assert_eq!(subscribe["params"]["uri"], "a://b");
        next.answer(&subscribe["id"], json!({})).await;
        let id = next.asked("tools/list").await;
        next.answer(&id, json!({})).await;
        next
    };
    let (answer, _next) = tokio::join!(second.post(request(1, "tools/list", json!({}))), serve);
    assert_eq!(status(&answer), 200);
    assert_eq!(gets.next().await["params"]["uri"], "a://b");
    other.is_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn another_process_goes_on_with_a_session_that_is_kept() {
    let (store, keys) = (Arc::new(MemoryStore::default()), {
        use crate::session::KeyRing;
        Arc::new(KeyRing::parse(&KeyRing::generate_line()).unwrap())
    });
    let change = |config: &mut BridgeConfig| {
        config.on_loss = OnLoss::Rebuild;
        config.store = Arc::clone(&store) as Arc<_>;
        config.keys = Arc::clone(&keys);
    };
    let mut before = rig_with(OWN, change);
    let (client, mut server) = before.session().await;
    subscribes(&client, &mut server).await;
    before.bridge.shut_down(tokio::time::Instant::now()).await;
    let mut after = rig_with(OWN, change);
    let client = Client { bridge: Arc::clone(&after.bridge), ..client };
    // Listening is enough.
    let mut get = Events::of(client.get().await);
    let mut next = after.server().await;
    hears_all_again(&mut next, &params()).await;
    let id = next.asked("resources/subscribe").await;
    next.answer(&id, json!({})).await;
    assert_eq!(get.next().await["method"], "notifications/resources/updated");
    let serve = async {
        for _ in 0..2 {
            let id = next.asked("tools/list").await;
            next.answer(&id, json!({})).await;
        }
        next
    };
    let ask = |id: u8| client.post(request(id, "tools/list", json!({})));
    let (a, b, _next) = tokio::join!(ask(1), ask(2), serve);
    assert_eq!((status(&a), status(&b)), (200, 200));
    assert_eq!(after.bridge.counts().sessions, 1);
    assert_eq!(status(&client.send("DELETE", "/mcp", None).await), 204);
    let third = rig_with(OWN, change);
    let client = Client { bridge: Arc::clone(&third.bridge), ..client };
    assert_eq!(status(&client.post(call(1)).await), 404, "what has ended is not taken up");
}
