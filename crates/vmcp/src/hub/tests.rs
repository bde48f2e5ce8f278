//! The hub between a client and scripted backends, in paused time.

mod carried;
mod composites;
mod meta;
mod modern;
mod replicas;
mod rounds;
mod scripted;
mod shared;
mod spoken;
mod unasked;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use mcp::{Era, Message, headers};
use model::PrincipalDigest;
use proxy::session::{KeyRing, Limits, MemoryStore, SessionStore};
use proxy::{Body, Call};
use serde_json::{Value, json};
use telemetry::Tasks;
use tokio::time::{Instant, sleep, timeout};

use super::Shape;
use super::health::{HealthPolicy, Status};
use super::{Backend, Hub, HubConfig, Mailboxes, Mailing, Member, PartialFailure, Watching};
use crate::config::{Aggregation, Conflicts, WorkloadTools};
use crate::workflow::Workflows;
use crate::workflow::log::MemoryLog;
use scripted::{Mood, Scripted};

const ME: PrincipalDigest = PrincipalDigest::ANONYMOUS;

pub(super) fn member(name: &'static str) -> Arc<Member> {
    Member::new(name, Scripted::new(name, &[]), HealthPolicy::default())
}

/// A place for letters that no other replica has.
#[derive(Debug)]
struct Alone;

impl Mailboxes for Alone {
    fn hold(&self, _: uuid::Uuid, _: Duration) -> Mailing<'_, Option<Vec<Bytes>>> {
        Box::pin(std::future::ready(Ok(Some(Vec::new()))))
    }

    fn release(&self, _: uuid::Uuid) -> Mailing<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn post(&self, _: uuid::Uuid, _: Bytes) -> Mailing<'_, bool> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

fn config() -> HubConfig {
    HubConfig {
        name: "hub".into(),
        path: "/mcp".into(),
        shape: Shape::default(),
        resend: Arc::default(),
        runs: Arc::new(MemoryLog::new(100)),
        mail: Arc::new(Alone),
        keys: Arc::new(KeyRing::parse(&KeyRing::generate_line()).unwrap()),
        limits: Limits::default(),
        store: Arc::new(MemoryStore::default()),
        begin_within: Duration::from_secs(30),
        list_within: Duration::from_secs(30),
    }
}

fn hub_of(config: HubConfig, backends: &[&Arc<Scripted>]) -> Arc<Hub> {
    let hub = Hub::new(config, Tasks::new());
    set(&hub, backends);
    hub
}

fn set(hub: &Arc<Hub>, backends: &[&Arc<Scripted>]) {
    let backends = backends.iter().map(|one| (one.name.to_owned(), Arc::clone(*one) as Arc<dyn Backend>));
    hub.set_backends(backends.collect());
}

/// A hub that has seen what its backends have.
async fn ready(backends: &[&Arc<Scripted>]) -> Arc<Hub> {
    let hub = hub_of(config(), backends);
    sleep(Duration::from_secs(15)).await;
    hub
}

/// A client and its session.
#[derive(Clone)]
struct Client {
    hub: Arc<Hub>,
    principal: PrincipalDigest,
    session: Option<HeaderValue>,
}

impl Client {
    async fn begin(hub: &Arc<Hub>) -> Self {
        Self::begin_with(hub, json!({"roots": {}})).await
    }

    async fn begin_with(hub: &Arc<Hub>, capabilities: Value) -> Self {
        let mut client = Self { hub: Arc::clone(hub), principal: ME, session: None };
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "test", "version": "1"}});
        let response =
            client.send(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await;
        client.session = response.headers().get(&headers::SESSION_ID).cloned();
        assert!(client.session.is_some());
        client
    }

    fn call(&self, method: Method, message: Option<&Value>, last: Option<&str>) -> Call {
        let mut head = Request::new(()).into_parts().0;
        head.method = method;
        head.uri = "/mcp".parse().unwrap();
        head.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(session) = &self.session {
            head.headers.insert(headers::SESSION_ID, session.clone());
        }
        if let Some(last) = last {
            head.headers.insert(headers::LAST_EVENT_ID, HeaderValue::from_str(last).unwrap());
        }
        let body = message.map_or(mcp::request::Body::None, |message| {
            let message = Box::new(Message::parse(message.to_string().into()).unwrap());
            mcp::request::Body::Message { message, era: Era::Legacy }
        });
        let request = mcp::Request { head: Box::new(head), body };
        Call { request, principal: self.principal, client: ([127, 0, 0, 1], 1).into(), tls: false }
    }

    async fn send(&self, message: &Value) -> Response<Body> {
        self.hub.handle(self.call(Method::POST, Some(message), None)).await
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": 5, "method": method, "params": params});
        let answer = json_of(self.send(&message).await).await;
        assert_eq!(answer["id"], 5, "{answer}");
        answer
    }

    async fn tools(&self) -> Vec<String> {
        let (mut tools, mut params) = (Vec::new(), json!({}));
        loop {
            let answer = self.ask("tools/list", params).await;
            let page = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
            tools.extend(page.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
            match &answer["result"]["nextCursor"] {
                Value::Null => return tools,
                cursor => params = json!({"cursor": cursor}),
            }
        }
    }

    async fn tool(&self, name: &str) -> Value {
        self.ask("tools/call", json!({"name": name, "arguments": {}})).await
    }

    /// What a tool says.
    async fn says(&self, name: &str) -> String {
        let answer = self.tool(name).await;
        answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn listen(&self, last: Option<&str>) -> Body {
        self.hub.handle(self.call(Method::GET, None, last)).await.into_body()
    }
}

async fn json_of(response: Response<Body>) -> Value {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{bytes:?}"))
}

/// A request of a client without a session.
pub(super) fn asked() -> super::modern::asked::Asked {
    let text = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t"}});
    super::modern::asked::Asked {
        head: Box::new(Request::new(()).into_parts().0),
        repeated: http::HeaderMap::new(),
        message: Message::parse(text.to_string().into()).unwrap(),
        accepts: proxy::streamable::Accepts::read(&http::HeaderMap::new()),
        principal: ME,
        client: ([127, 0, 0, 1], 1).into(),
        tls: false,
    }
}

/// The next event that is more than a sign of life: its id and its message.
async fn event(body: &mut Body) -> (String, Value) {
    loop {
        let bytes: Bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        if let Some(data) = field("data: ").filter(|data| !data.is_empty()) {
            return (field("id: ").unwrap_or_default(), serde_json::from_str(&data).unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_backends_are_one_server() {
    let (a, b) = (Scripted::new("a", &["echo"]), Scripted::new("b", &["echo", "more"]));
    let hub = ready(&[&a, &b]).await;
    let client = Client::begin(&hub).await;
    assert_eq!(client.tools().await, ["a_echo", "b_echo", "b_more"]);
    assert_eq!((a.state.lock().begun, b.state.lock().begun), (1, 1), "no session before it is needed");
    assert_eq!(client.says("a_echo").await, "a:echo:a-2");
    assert_eq!(client.says("a_echo").await, "a:echo:a-2", "in the same session");
    assert_eq!(client.says("b_more").await, "b:more:b-2");
    let other = Client::begin(&hub).await;
    assert_eq!(other.says("a_echo").await, "a:echo:a-3", "nobody else is in it");
    let greeted = &a.asked("initialize")[1].1;
    assert_eq!(greeted["params"]["clientInfo"]["name"], "test", "with the client's own words");
    for (unknown, code) in [("echo", -32602), ("c_echo", -32602), ("", -32602)] {
        assert_eq!(client.tool(unknown).await["error"]["code"], code, "{unknown:?}");
    }
    assert_eq!(client.ask("tasks/list", json!({})).await["error"]["code"], -32601);
    assert_eq!(client.ask("ping", json!({})).await["result"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn resources_and_prompts_go_to_who_has_them() {
    let (a, b) = (Scripted::new("a", &[]), Scripted::new("b", &[]));
    let hub = ready(&[&a, &b]).await;
    let client = Client::begin(&hub).await;
    let listed = client.ask("resources/list", json!({})).await;
    assert_eq!(listed["result"]["resources"].as_array().unwrap().len(), 2);
    client.ask("resources/read", json!({"uri": "b://r"})).await;
    client.ask("resources/read", json!({"uri": "b://t/9"})).await;
    assert_eq!((a.asked("resources/read").len(), b.asked("resources/read").len()), (0, 2));
    assert_eq!(client.ask("resources/read", json!({"uri": "c://r"})).await["error"]["code"], -32002);
    client.ask("prompts/get", json!({"name": "a_p"})).await;
    assert_eq!(a.asked("prompts/get")[0].1["params"]["name"], "p");
    let reference =
        json!({"ref": {"type": "ref/prompt", "name": "b_p"}, "argument": {"name": "x", "value": ""}});
    client.ask("completion/complete", reference).await;
    assert_eq!(b.asked("completion/complete")[0].1["params"]["ref"]["name"], "p");
}

#[tokio::test(start_paused = true)]
async fn names_are_as_the_configuration_says() {
    let (a, b) = (Scripted::new("a", &["echo", "hidden"]), Scripted::new("b", &["echo"]));
    let shown = WorkloadTools {
        workload: "a".into(),
        config_reference: None,
        filter: vec!["echo".into()],
        overrides: [].into(),
        excludes_all: false,
    };
    let conflicts = Conflicts::Priority { order: vec!["a".into()] };
    let aggregation = Aggregation { conflicts, tools: vec![shown], ..Aggregation::default() };
    let hub = hub_of(HubConfig { shape: Shape { aggregation, ..Shape::default() }, ..config() }, &[&a, &b]);
    sleep(Duration::from_secs(15)).await;
    let client = Client::begin(&hub).await;
    assert_eq!(client.tools().await, ["echo"]);
    assert_eq!(client.says("echo").await, "a:echo:a-2");
    for name in ["hidden", "a_hidden", "b_echo"] {
        assert_eq!(client.tool(name).await["error"]["code"], -32602, "{name}");
    }
    client.ask("prompts/get", json!({"name": "b_p"})).await;
    assert_eq!(b.asked("prompts/get")[0].1["params"]["name"], "p");
}

#[tokio::test(start_paused = true)]
async fn sixty_four_first_calls_begin_one_session() {
    let a = Scripted::new("a", &["echo"]);
    let hub = ready(&[&a]).await;
    a.state.lock().begins_after = Duration::from_secs(1);
    let client = Client::begin(&hub).await;
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.says("a_echo").await })
        })
        .collect();
    // Whoever came first may go.
    sleep(Duration::from_millis(500)).await;
    calls[0].abort();
    for call in calls.into_iter().skip(1) {
        assert_eq!(call.await.unwrap(), "a:echo:a-2");
    }
    assert_eq!(a.state.lock().begun, 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_to_begin_is_told_to_all_who_wait_and_tried_again_later() {
    let a = Scripted::new("a", &["echo"]);
    let hub = ready(&[&a]).await;
    let client = Client::begin(&hub).await;
    a.set(Mood::Hangs);
    let begun = Instant::now();
    let (one, two) = tokio::join!(client.tool("a_echo"), client.tool("a_echo"));
    for answer in [one, two] {
        assert_eq!(answer["error"]["data"]["backend"], "a", "{answer}");
        assert_eq!(answer["error"]["data"]["executed"], "no");
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(30), "one deadline for both");
    a.set(Mood::Well);
    assert!(client.says("a_echo").await.starts_with("a:echo:"));
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_asks_is_answered_to_that_one_only() {
    let (a, b) = (Scripted::new("a", &["asks"]), Scripted::new("b", &["asks"]));
    let hub = ready(&[&a, &b]).await;
    let client = Client::begin(&hub).await;
    let ask =
        |name: &str| json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": name}});
    let mut of_a = client.send(&ask("a_asks")).await.into_body();
    let mut of_b = client.send(&ask("b_asks")).await.into_body();
    let ((cursor, asks_a), (_, asks_b)) = (event(&mut of_a).await, event(&mut of_b).await);
    assert_eq!(cursor, "1.a.3");
    assert_eq!(asks_a["method"], "roots/list");
    assert_ne!(asks_a["id"], asks_b["id"], "both say 1");
    let answer = |id: &Value, result: &str| json!({"jsonrpc": "2.0", "id": id, "result": {"of": result}});
    assert_eq!(client.send(&answer(&asks_b["id"], "b")).await.status(), 202);
    assert_eq!(client.send(&answer(&asks_a["id"], "a")).await.status(), 202);
    assert_eq!(event(&mut of_a).await.1["result"]["structuredContent"], json!({"of": "a"}));
    assert_eq!(event(&mut of_b).await.1["result"]["structuredContent"], json!({"of": "b"}));
    for unasked in [json!(1), json!("1.c.1"), json!("1")] {
        assert_eq!(client.send(&answer(&unasked, "x")).await.status(), 400, "{unasked}");
    }
    let stranger = Client::begin(&hub).await;
    assert_eq!(stranger.send(&answer(&asks_a["id"], "x")).await.status(), 400, "not of another session");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_its_owners() {
    let a = Scripted::new("a", &["echo"]);
    let hub = ready(&[&a]).await;
    let client = Client::begin(&hub).await;
    let thief = Client { principal: PrincipalDigest::new([1; 16]), ..client.clone() };
    for method in ["tools/list", "tools/call", "ping"] {
        let message = json!({"jsonrpc": "2.0", "id": 5, "method": method, "params": {"name": "a_echo"}});
        assert_eq!(thief.send(&message).await.status(), 404, "{method}");
    }
    assert_eq!(thief.hub.handle(thief.call(Method::DELETE, None, None)).await.status(), 404);
    assert_eq!(client.says("a_echo").await, "a:echo:a-2", "and it goes on");
}

#[tokio::test(start_paused = true)]
async fn cancelling_reaches_who_has_the_request() {
    let (a, b) = (Scripted::new("a", &["slow"]), Scripted::new("b", &["echo"]));
    let hub = ready(&[&a, &b]).await;
    let client = Client::begin(&hub).await;
    client.says("b_echo").await;
    let calling = client.clone();
    let call = tokio::spawn(async move { calling.tool("a_slow").await });
    sleep(Duration::from_secs(1)).await;
    let cancelled =
        |id: u64| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    client.send(&cancelled(4)).await;
    client.send(&cancelled(5)).await;
    assert_eq!((a.asked("notifications/cancelled").len(), b.asked("notifications/cancelled").len()), (1, 0));
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn a_backends_new_session_is_told_what_the_client_had_asked_for() {
    let a = Scripted::new("a", &["echo"]);
    let hub = ready(&[&a]).await;
    let client = Client::begin(&hub).await;
    client.ask("logging/setLevel", json!({"level": "debug"})).await;
    assert!(client.ask("logging/setLevel", json!({"level": "loud"})).await["error"]["code"] == -32602);
    client.ask("resources/subscribe", json!({"uri": "a://r"})).await;
    assert_eq!(a.asked("logging/setLevel").len(), 1, "when the session began");
    a.forgets_sessions();
    let says = client.says("a_echo").await;
    let session = says.rsplit(':').next().unwrap();
    let told = |method: &str| a.asked(method).iter().filter(|(to, _)| to == session).count();
    assert_eq!((told("logging/setLevel"), told("resources/subscribe")), (1, 1));
    assert_eq!(told("notifications/initialized"), 1);
}

#[tokio::test(start_paused = true)]
async fn one_stream_has_what_all_backends_say_and_goes_on_behind_its_cursor() {
    let (a, b) = (Scripted::new("a", &["echo"]), Scripted::new("b", &["echo"]));
    let hub = ready(&[&a, &b]).await;
    let client = Client::begin(&hub).await;
    let mut stream = client.listen(None).await;
    client.says("a_echo").await;
    client.says("b_echo").await;
    sleep(Duration::from_secs(1)).await;
    let log = |text: &str| json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}});
    a.says(&log("of a"));
    let (first, said) = event(&mut stream).await;
    assert_eq!(said["params"]["data"], "of a");
    b.says(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
    let (_, ping) = event(&mut stream).await;
    assert_eq!(ping["id"], "1.b.1");
    b.says(&log("of b"));
    sleep(Duration::from_secs(1)).await;
    drop(stream);
    let mut again = client.listen(Some(&first)).await;
    assert_eq!(event(&mut again).await.1["id"], "1.b.1");
    assert_eq!(event(&mut again).await.1["params"]["data"], "of b", "read before the client went");
}
