//! Clients and backends of both eras, each with each.

use super::composites::{ASKS, hub_with};
use super::scripted::Eras;
use super::*;

/// A client of 2026-07-28.
#[derive(Clone)]
pub(super) struct Modern {
    hub: Arc<Hub>,
    principal: PrincipalDigest,
    capabilities: Value,
}

const VERSION: &str = "2026-07-28";

impl Modern {
    pub(super) fn new(hub: &Arc<Hub>, capabilities: Value) -> Self {
        Self { hub: Arc::clone(hub), principal: ME, capabilities }
    }

    pub(super) fn call(&self, method: &str, mut params: Value) -> Call {
        let meta = &mut params["_meta"];
        meta["io.modelcontextprotocol/protocolVersion"] = VERSION.into();
        meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "modern", "version": "1"});
        meta["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
        let text = json!({"jsonrpc": "2.0", "id": "m", "method": method, "params": params}).to_string();
        let message = Box::new(Message::parse(text.into()).unwrap());
        let mut head = Request::post("/mcp").body(()).unwrap().into_parts().0;
        for (name, value) in [
            (header::ACCEPT, "application/json, text/event-stream"),
            (headers::PROTOCOL_VERSION, VERSION),
            (headers::METHOD, method),
        ] {
            head.headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        if let Some(target) = message.target() {
            head.headers.insert(headers::NAME, headers::encode_value(&target));
        }
        mcp::revision::classify(&head.headers, &message).unwrap();
        let body = mcp::request::Body::Message { message, era: Era::Modern };
        let request = mcp::Request { head: Box::new(head), body };
        Call { request, principal: self.principal, client: ([127, 0, 0, 1], 1).into(), tls: false }
    }

    pub(super) async fn send(&self, method: &str, params: Value) -> Response<Body> {
        let response = self.hub.handle(self.call(method, params)).await;
        assert!(!response.headers().contains_key(&headers::SESSION_ID));
        response
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let answer = json_of(self.send(method, params).await).await;
        assert_eq!(answer["id"], "m", "{answer}");
        answer
    }

    pub(super) async fn tool(&self, name: &str, more: Value) -> Value {
        let mut params = json!({"name": name, "arguments": {}});
        for (name, value) in more.as_object().unwrap() {
            params[name] = value.clone();
        }
        self.ask("tools/call", params).await
    }

    async fn says(&self, name: &str) -> String {
        let answer = self.tool(name, json!({})).await;
        assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
        answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

pub(super) fn given(asks: &Value, answers: &[(&str, Value)]) -> Value {
    let answers: serde_json::Map<_, _> =
        answers.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    json!({"requestState": asks["result"]["requestState"], "inputResponses": answers})
}

/// All events of an answer.
pub(super) async fn events(response: Response<Body>) -> Vec<Value> {
    let text = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| !data.is_empty())
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_there_is_is_told_without_a_session() {
    let (a, b) = (Scripted::of("a", Eras::Modern, &["echo"]), Scripted::of("b", Eras::Modern, &["echo"]));
    let hub = ready(&[&a, &b]).await;
    let client = Modern::new(&hub, json!({}));
    let found = client.ask("server/discover", json!({})).await["result"].clone();
    assert_eq!(found["supportedVersions"][0], VERSION);
    assert_eq!(found["supportedVersions"].as_array().unwrap().len(), 5);
    assert!(found["capabilities"]["tools"].is_object() && found["resultType"] == "complete", "{found}");
    assert_eq!(found["instructions"], "a: be kind\n\nb: be kind");
    assert_eq!(found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "hub");
    let listed = client.ask("tools/list", json!({})).await["result"].clone();
    assert_eq!(
        (&listed["tools"][0]["name"], &listed["tools"][1]["name"]),
        (&json!("a_echo"), &json!("b_echo"))
    );
    assert_eq!((&listed["resultType"], &listed["cacheScope"]), (&json!("complete"), &json!("public")));
    assert!(listed["ttlMs"].as_u64().unwrap() > 0, "{listed}");
    for method in ["ping", "logging/setLevel", "resources/subscribe", "tasks/list", "no/such"] {
        let response = client.send(method, json!({})).await;
        assert_eq!(response.status(), 404, "{method}");
        assert_eq!(json_of(response).await["error"]["code"], -32601, "{method}");
    }
    let mut get = client.call("tools/list", json!({}));
    get.request.head.method = Method::GET;
    get.request.body = mcp::request::Body::None;
    assert_eq!(hub.handle(get).await.status(), 405);
    assert_eq!(hub.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_modern_client_is_answered_by_backends_of_either_era() {
    let (new, old, both) = (
        Scripted::of("new", Eras::Modern, &["echo"]),
        Scripted::of("old", Eras::Legacy, &["echo"]),
        Scripted::of("both", Eras::Both, &["echo"]),
    );
    let hub = ready(&[&new, &old, &both]).await;
    let client = Modern::new(&hub, json!({}));
    assert_eq!(client.says("new_echo").await, "new:echo:modern");
    assert_eq!(client.says("both_echo").await, "both:echo:modern", "in its own era");
    assert_eq!(client.says("old_echo").await, "old:echo:old-2");
    assert_eq!(client.says("old_echo").await, "old:echo:old-2", "in the same session");
    assert_eq!(old.asked("initialize")[1].1["params"]["clientInfo"]["name"], "modern");
    let stranger = Modern { principal: PrincipalDigest::new([1; 16]), ..client.clone() };
    assert_eq!(stranger.says("old_echo").await, "old:echo:old-3", "nobody else's");
    for name in ["echo", "c_echo", ""] {
        let response = client.send("tools/call", json!({"name": name})).await;
        assert_eq!(response.status(), 200);
        assert_eq!(json_of(response).await["error"]["code"], -32602, "{name}");
    }
    let missing = client.ask("resources/read", json!({"uri": "c://r"})).await;
    assert_eq!(missing["error"]["code"], -32602, "{missing}");
    let read = client.ask("resources/read", json!({"uri": "old://r"})).await;
    assert_eq!((&read["result"]["ttlMs"], &read["result"]["cacheScope"]), (&json!(0), &json!("private")));
    client.ask("prompts/get", json!({"name": "new_p"})).await;
    assert_eq!(new.asked("prompts/get")[0].1["params"]["name"], "p");
    old.forgets_sessions();
    assert_eq!(client.says("old_echo").await, "old:echo:old-4", "begun anew");
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_says_on_the_way_is_heard_under_the_clients_own_names() {
    let (new, old) =
        (Scripted::of("new", Eras::Modern, &["reports"]), Scripted::of("old", Eras::Legacy, &["reports"]));
    let hub = ready(&[&new, &old]).await;
    let client = Modern::new(&hub, json!({}));
    for name in ["new_reports", "old_reports"] {
        let level = json!({"progressToken": "mine", "io.modelcontextprotocol/logLevel": "debug"});
        let said = events(client.send("tools/call", json!({"name": name, "_meta": level})).await).await;
        let methods: Vec<_> = said.iter().map(|said| said["method"].as_str().unwrap_or("answer")).collect();
        assert_eq!(methods, ["notifications/progress", "notifications/message", "answer"], "{name}");
        assert_eq!(said[0]["params"]["progressToken"], "mine", "{name}");
        assert_eq!(
            (&said[2]["id"], &said[2]["result"]["resultType"]),
            (&json!("m"), &json!(if name == "new_reports" { Value::Null } else { "complete".into() }))
        );
    }
    assert_eq!(old.asked("logging/setLevel")[0].1["params"]["level"], "debug");
    let quiet = client.tool("old_reports", json!({})).await;
    assert_eq!(
        quiet["result"]["resultType"], "complete",
        "nothing was asked for, so it is one message: {quiet}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_state_of_a_question_comes_back_to_who_asked_and_to_nobody_else() {
    let (a, b) = (Scripted::of("a", Eras::Modern, &["asks"]), Scripted::of("b", Eras::Modern, &["asks"]));
    let hub = ready(&[&a, &b]).await;
    let client = Modern::new(&hub, json!({"roots": {}}));
    let asks = client.tool("a_asks", json!({})).await;
    assert_eq!(asks["result"]["resultType"], "input_required", "{asks}");
    assert_eq!(asks["result"]["inputRequests"]["r"]["method"], "roots/list");
    assert!(!asks.to_string().contains("of a"), "{asks}");
    let answers = given(&asks, &[("r", json!({"roots": []}))]);
    let refused = client.tool("b_asks", answers.clone()).await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let thief = Modern { principal: PrincipalDigest::new([1; 16]), ..client.clone() };
    assert_eq!(thief.tool("a_asks", answers.clone()).await["error"]["code"], -32602);
    assert!(b.asked("tools/call").is_empty());
    let replica = hub_of(hub.config.clone(), &[&a, &b]);
    sleep(Duration::from_secs(1)).await;
    for hub in [hub, replica] {
        let done = Modern::new(&hub, json!({"roots": {}})).tool("a_asks", answers.clone()).await;
        assert_eq!(
            done["result"]["structuredContent"],
            json!({"given": {"r": {"roots": []}}, "state": "of a"})
        );
    }
    let deaf = Modern { capabilities: json!({}), ..client };
    let refused = deaf.tool("a_asks", json!({})).await;
    assert_eq!(refused["error"]["data"]["requiredCapabilities"], json!({"roots": {}}), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_its_client_to_come_back_with_the_answer() {
    let old = Scripted::of("old", Eras::Legacy, &["asks", "echo"]);
    let hub = ready(&[&old]).await;
    let client = Modern::new(&hub, json!({"roots": {}}));
    let asks = client.tool("old_asks", json!({})).await;
    assert_eq!(asks["result"]["resultType"], "input_required", "{asks}");
    let (key, question) = asks["result"]["inputRequests"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(question["method"], "roots/list");
    assert_eq!(
        client.says("old_echo").await,
        "old:echo:old-3",
        "the session of a call that waits is its own"
    );
    let none = client.tool("old_asks", given(&asks, &[])).await;
    assert_eq!(none["result"]["inputRequests"][key], *question, "asked again: {none}");
    let done = client.tool("old_asks", given(&none, &[(key, json!({"roots": [1]}))])).await;
    assert_eq!(done["result"]["structuredContent"], json!({"roots": [1]}), "{done}");
    let again = client.tool("old_asks", given(&none, &[(key, json!({"roots": [1]}))])).await;
    assert_eq!(
        (&again["error"]["code"], &again["error"]["data"]["executed"]),
        (&json!(-31001), &json!("unknown"))
    );
    assert_eq!(client.says("old_echo").await, "old:echo:old-2", "and is to be had again, before the other");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_forever_and_a_strange_process_says_so() {
    let old = Scripted::of("old", Eras::Legacy, &["asks"]);
    let hub = ready(&[&old]).await;
    let client = Modern::new(&hub, json!({"roots": {}}));
    let asks = client.tool("old_asks", json!({})).await;
    let replica = hub_of(hub.config.clone(), &[&old]);
    sleep(Duration::from_secs(1)).await;
    let there = Modern::new(&replica, json!({"roots": {}}));
    let refused = there.tool("old_asks", given(&asks, &[])).await;
    assert_eq!(refused["error"]["data"]["class"], "call_not_here", "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("is gone"));
    sleep(Duration::from_secs(601)).await;
    assert_eq!(old.asked("notifications/cancelled").len(), 1);
    assert_eq!(client.tool("old_asks", given(&asks, &[])).await["error"]["code"], -31001);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_cannot_be_asked_is_told_and_the_backend_is_refused() {
    let old = Scripted::of("old", Eras::Legacy, &["asks"]);
    let hub = ready(&[&old]).await;
    let client = Modern::new(&hub, json!({"elicitation": {}}));
    let response = client.send("tools/call", json!({"name": "old_asks"})).await;
    assert_eq!(response.status(), 400);
    let refused = json_of(response).await;
    assert_eq!(refused["error"]["code"], -32021);
    assert_eq!(refused["error"]["data"]["requiredCapabilities"], json!({"roots": {}}));
    let state = old.state.lock();
    assert!(state.got.iter().any(|(_, message)| message["error"]["code"] == -32601));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_has_cancelled() {
    let old = Scripted::of("old", Eras::Legacy, &["slow"]);
    let hub = ready(&[&old]).await;
    let client = Modern::new(&hub, json!({}));
    let call = tokio::spawn(async move { client.tool("old_slow", json!({})).await });
    sleep(Duration::from_secs(1)).await;
    call.abort();
    sleep(Duration::from_secs(1)).await;
    let cancelled = old.asked("notifications/cancelled");
    assert_eq!(cancelled[0].1["params"]["requestId"], old.asked("tools/call")[0].1["id"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_session_is_answered_by_a_backend_without() {
    let (new, both) = (
        Scripted::of("new", Eras::Modern, &["echo", "reports"]),
        Scripted::of("both", Eras::Both, &["echo"]),
    );
    let hub = ready(&[&new, &both]).await;
    let client = Client::begin(&hub).await;
    assert_eq!(client.tools().await, ["both_echo", "new_echo", "new_reports"]);
    assert_eq!(client.says("new_echo").await, "new:echo:modern");
    assert_eq!(client.says("both_echo").await, "both:echo:both-1", "in its own era");
    let asked = &new.asked("tools/call")[0].1["params"]["_meta"];
    assert_eq!(asked["io.modelcontextprotocol/clientCapabilities"], json!({"roots": {}}));
    assert_eq!(asked["io.modelcontextprotocol/clientInfo"]["name"], "test");
    let answer = client.tool("new_echo").await;
    for modern in ["resultType", "ttlMs", "cacheScope", "_meta"] {
        assert!(answer["result"].get(modern).is_none(), "{answer}");
    }
    client.ask("logging/setLevel", json!({"level": "error"})).await;
    let call = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "new_reports", "_meta": {"progressToken": 7}}});
    let said = events(client.send(&call).await).await;
    assert_eq!((said.len(), &said[0]["params"]["progressToken"]), (3, &json!(7)), "{said:?}");
    assert_eq!(new.asked("tools/call")[2].1["params"]["_meta"]["io.modelcontextprotocol/logLevel"], "error");
    assert_eq!(new.asked("initialize").len(), 1, "that it wants none is remembered");
    assert_eq!(client.ask("resources/read", json!({"uri": "new://r"})).await["id"], 5);
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_without_sessions_asks_is_asked_in_the_clients_session() {
    let new = Scripted::of("new", Eras::Modern, &["asks"]);
    let hub = ready(&[&new]).await;
    let client = Client::begin(&hub).await;
    let call = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "new_asks"}});
    let mut stream = client.send(&call).await.into_body();
    let asks = event(&mut stream).await.1;
    assert_eq!(asks["method"], "roots/list");
    let stranger = Client::begin(&hub).await;
    let answer = json!({"jsonrpc": "2.0", "id": asks["id"], "result": {"roots": [2]}});
    assert_eq!(stranger.send(&answer).await.status(), 400, "not of another session");
    assert_eq!(client.send(&answer).await.status(), 202);
    let done = event(&mut stream).await.1;
    assert_eq!(done["id"], 5);
    assert_eq!(
        done["result"]["structuredContent"],
        json!({"given": {"r": {"roots": [2]}}, "state": "of new"})
    );
    assert_eq!(client.send(&answer).await.status(), 400, "once");
    let ids: Vec<_> = new.asked("tools/call").iter().map(|(_, call)| call["id"].clone()).collect();
    assert_ne!(ids[0], ids[1], "a round is a request of its own");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_is_left_at_a_backend_without_sessions() {
    let new = Scripted::of("new", Eras::Modern, &["slow"]);
    let hub = ready(&[&new]).await;
    let client = Client::begin(&hub).await;
    let (calling, begun) = (client.clone(), Instant::now());
    let call = tokio::spawn(async move {
        let call = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "new_slow"}});
        events(calling.send(&call).await).await
    });
    sleep(Duration::from_secs(5)).await;
    client
        .send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}))
        .await;
    assert_eq!(call.await.unwrap()[0]["error"]["code"], -32600);
    assert!(begun.elapsed() < Duration::from_secs(6));
    assert!(new.asked("notifications/cancelled").is_empty());
}

#[tokio::test(start_paused = true)]
async fn resources_are_listened_for_in_either_era() {
    let (new, old) =
        (Scripted::of("new", Eras::Modern, &["echo"]), Scripted::of("old", Eras::Legacy, &["echo"]));
    let hub = ready(&[&new, &old]).await;
    let with_session = Client::begin(&hub).await;
    let mut own = with_session.listen(None).await;
    with_session.ask("resources/subscribe", json!({"uri": "new://r"})).await;
    let wanted =
        json!({"toolsListChanged": true, "resourceSubscriptions": ["new://r", "old://r", "nobody://r"]});
    let client = Modern::new(&hub, json!({}));
    let mut stream = client.send("subscriptions/listen", json!({"notifications": wanted})).await.into_body();
    let acknowledged = event(&mut stream).await.1;
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    let honoured = json!({"toolsListChanged": true, "resourceSubscriptions": ["new://r", "old://r"]});
    assert_eq!(acknowledged["params"]["notifications"], honoured);
    sleep(Duration::from_secs(1)).await;
    new.updates("new://r");
    let told = event(&mut stream).await.1;
    assert_eq!(
        told["params"],
        json!({"uri": "new://r", "_meta": {"io.modelcontextprotocol/subscriptionId": "m"}})
    );
    assert_eq!(event(&mut own).await.1["params"], json!({"uri": "new://r"}), "and to the one with a session");
    old.says(
        &json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "old://r"}}),
    );
    assert_eq!(event(&mut stream).await.1["params"]["uri"], "old://r");
    set(&hub, &[&new]);
    assert_eq!(event(&mut stream).await.1["method"], "notifications/tools/list_changed");
    hub.drain();
    let last = event(&mut stream).await.1;
    assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!("m"), &json!("complete")));
    assert!(stream.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_has_changed_its_era_is_looked_at_once_more() {
    let a = Scripted::of("a", Eras::Modern, &["echo"]);
    let hub = ready(&[&a]).await;
    let (modern, legacy) = (Modern::new(&hub, json!({})), Client::begin(&hub).await);
    assert_eq!(modern.says("a_echo").await, "a:echo:modern");
    assert_eq!(legacy.says("a_echo").await, "a:echo:modern");
    a.state.lock().eras = Eras::Legacy;
    let says = modern.says("a_echo").await;
    assert!(says.starts_with("a:echo:a-"), "{says}");
    let says = legacy.says("a_echo").await;
    assert!(says.starts_with("a:echo:a-"), "{says}");
    a.state.lock().eras = Eras::Modern;
    a.forgets_sessions();
    assert_eq!(legacy.says("a_echo").await, "a:echo:modern");
    a.state.lock().eras = Eras::Legacy;
    assert!(legacy.says("a_echo").await.starts_with("a:echo:a-"));
    assert!(modern.says("a_echo").await.starts_with("a:echo:a-"));
    a.state.lock().eras = Eras::Modern;
    assert_eq!(modern.says("a_echo").await, "a:echo:modern");
}

#[tokio::test(start_paused = true)]
async fn a_composite_tool_works_for_clients_and_with_backends_of_either_era() {
    let (new, old) =
        (Scripted::of("new", Eras::Modern, &["asks", "echo"]), Scripted::of("a", Eras::Legacy, &["shows"]));
    let steps = "  - {id: one, tool: new.echo}\n  - {id: two, tool: a.shows, arguments: {v: '{{.steps.one.output.text}}'}}";
    let composites = [("chain", steps), ("asking", ASKS), ("passing", "  - {id: one, tool: new.asks}")];
    let hub = hub_with(&composites, &[&new, &old]).await;
    let with_session = Client::begin(&hub).await;
    let call = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "chain"}});
    let mut stream = with_session.send(&call).await.into_body();
    assert_eq!(event(&mut stream).await.1["result"]["structuredContent"], json!({"v": "new:echo:modern"}));
    let client = Modern::new(&hub, json!({"elicitation": {}, "roots": {}}));
    let done = client.tool("chain", json!({})).await;
    assert_eq!(done["result"]["structuredContent"], json!({"v": "new:echo:modern"}), "{done}");
    assert_eq!(done["result"]["resultType"], "complete");
    for (name, method, answer) in [
        ("asking", "elicitation/create", json!({"action": "accept", "content": {"ok": true}})),
        ("passing", "roots/list", json!({"roots": [3]})),
    ] {
        let asks = client.tool(name, json!({})).await;
        let (key, question) = asks["result"]["inputRequests"].as_object().unwrap().iter().next().unwrap();
        assert_eq!(question["method"], method, "{name}");
        let done = client.tool(name, given(&asks, &[(key, answer)])).await;
        assert_eq!(done["result"]["resultType"], "complete", "{done}");
        assert!(done["result"]["isError"].is_null(), "{done}");
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(hub.sessions(), 1, "what the hub began for it has ended");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_ends_in_either_era() {
    let (new, old) =
        (Scripted::of("new", Eras::Modern, &["slow"]), Scripted::of("old", Eras::Legacy, &["slow"]));
    for backend in [&new, &old] {
        backend.state.lock().call_within = Some(Duration::from_secs(60));
    }
    let hub = ready(&[&new, &old]).await;
    let client = Modern::new(&hub, json!({}));
    for name in ["new_slow", "old_slow"] {
        let response = client.send("tools/call", json!({"name": name})).await;
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&text).contains("timed_out"), "{name}: {text:?}");
    }
    assert_eq!(old.asked("notifications/cancelled").len(), 1);
    let call = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "new_slow"}});
    let said = events(Client::begin(&hub).await.send(&call).await).await;
    assert_eq!(said[0]["error"]["data"]["class"], "timed_out", "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_is_its_backends_and_its_clients() {
    let (a, b) = (Scripted::of("a", Eras::Modern, &["tasks"]), Scripted::of("b", Eras::Modern, &["tasks"]));
    let hub = ready(&[&a, &b]).await;
    let client = Modern::new(&hub, json!({"extensions": {"io.modelcontextprotocol/tasks": {}}}));
    let found = client.ask("server/discover", json!({})).await;
    assert!(found["result"]["capabilities"]["extensions"]["io.modelcontextprotocol/tasks"].is_object());
    let made = client.tool("a_tasks", json!({})).await;
    assert_eq!(made["result"]["resultType"], "task", "{made}");
    let id = made["result"]["taskId"].clone();
    assert_ne!(id, "t1", "both have one of this name");
    let state = client.ask("tasks/get", json!({"taskId": id})).await;
    assert_eq!((&state["result"]["taskId"], &state["result"]["status"]), (&id, &json!("working")), "{state}");
    assert_eq!(a.asked("tasks/get")[0].1["params"]["taskId"], "t1");
    assert!(b.asked("tasks/get").is_empty());
    let wanted = json!({"notifications": {"taskIds": [id, "t1"]}});
    let mut stream = client.send("subscriptions/listen", wanted).await.into_body();
    assert_eq!(event(&mut stream).await.1["params"]["notifications"], json!({"taskIds": [id]}));
    sleep(Duration::from_secs(1)).await;
    a.reports_task("t1");
    let told = event(&mut stream).await.1["params"].clone();
    assert_eq!((&told["taskId"], &told["status"]), (&id, &json!("completed")));
    assert_eq!(told["_meta"]["io.modelcontextprotocol/subscriptionId"], "m");
    let thief = Modern { principal: PrincipalDigest::new([1; 16]), ..client.clone() };
    for (who, id) in [(&thief, id.clone()), (&client, json!("t1")), (&client, json!("k1.AAAA"))] {
        assert_eq!(who.ask("tasks/get", json!({"taskId": id})).await["error"]["code"], -32602, "{id}");
    }
    let unable = Modern::new(&hub, json!({}));
    let refused = unable.ask("tasks/cancel", json!({"taskId": id})).await;
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_for_a_client_once_the_hub_stops() {
    let (new, old) =
        (Scripted::of("new", Eras::Modern, &["asks", "slow"]), Scripted::of("old", Eras::Legacy, &["asks"]));
    let hub = ready(&[&new, &old]).await;
    Modern::new(&hub, json!({"roots": {}})).tool("old_asks", json!({})).await;
    let client = Client::begin(&hub).await;
    let call =
        |name: &str| json!({"jsonrpc": "2.0", "id": name, "method": "tools/call", "params": {"name": name}});
    let mut asking = client.send(&call("new_asks")).await.into_body();
    assert_eq!(event(&mut asking).await.1["method"], "roots/list");
    drop(client.send(&call("new_slow")).await);
    hub.drain();
    hub.tasks.stop();
    let error = event(&mut asking).await.1["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("not answered"), "{error}");
    drop(asking);
    assert_eq!(hub.tasks.wait(Duration::from_secs(30)).await, 0);
    assert_eq!(old.asked("notifications/cancelled").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_found_is_called_without_a_session() {
    let (new, old) =
        (Scripted::of("new", Eras::Modern, &["echo"]), Scripted::of("old", Eras::Legacy, &["echo"]));
    let meta = super::super::MetaTools { optimizer: super::meta::optimizer(), scripts: None };
    let hub = super::meta::hub_with(meta, &[&new, &old]).await;
    let client = Modern::new(&hub, json!({}));
    let listed = client.ask("tools/list", json!({})).await["result"].clone();
    assert_eq!(listed["tools"].as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(
        (&listed["tools"][0]["name"], &listed["resultType"]),
        (&json!("find_tool"), &json!("complete"))
    );
    let call = async |name: &str| {
        let arguments = json!({"tool_name": name, "parameters": {}});
        client.tool("call_tool", json!({"arguments": arguments})).await["result"].clone()
    };
    for (name, text) in [("new_echo", "new:echo:modern"), ("old_echo", "old:echo:old-2")] {
        let result = call(name).await;
        assert_eq!(
            (&result["content"][0]["text"], &result["resultType"]),
            (&json!(text), &json!("complete")),
            "{result}"
        );
    }
    let unknown = call("new_nothing").await;
    assert_eq!(
        (&unknown["isError"], &unknown["resultType"]),
        (&json!(true), &json!("complete")),
        "{unknown}"
    );
    let found = client.tool("find_tool", json!({"arguments": {"tool_description": "echo"}})).await;
    assert_eq!(found["result"]["resultType"], "complete", "{found}");
}
