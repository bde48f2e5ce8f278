//! A backend in memory, of either era or both, that does what a test says: answers, hangs, lies, asks back, forgets its sessions.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use mcp::message::Kind;
use mcp::{Era, ErrorCode, ErrorReply, Message, headers};
use parking_lot::Mutex;
use proxy::body::event_stream;
use proxy::failure::json_answer;
use proxy::{Body, Call, Failure};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::hub::{Answering, Backend};

/// What it does when asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Mood {
    #[default]
    Well,
    /// Never answers.
    Hangs,
    /// Answers, but not with a message.
    Garbage,
    /// Says that nobody is there.
    Dead,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) mood: Mood,
    pub(super) tools: Vec<Value>,
    /// Before each answer to `initialize`.
    pub(super) begins_after: Duration,
    /// Each page of tools has another one behind it.
    pub(super) endless: bool,
    /// `again` and `once` come to no end until this does, and `asks` to none at all.
    pub(super) holds_up: bool,
    /// All messages it got, with the session they came in.
    pub(super) got: Vec<(String, Value)>,
    /// The headers of all calls of tools.
    pub(super) heads: Vec<HeaderMap>,
    pub(super) begun: usize,
    sessions: BTreeMap<String, Option<mpsc::Sender<Bytes>>>,
    /// Calls that wait for an answer, with their ids.
    waiting: HashMap<String, VecDeque<(Value, mpsc::Sender<Bytes>)>>,
    pub(super) eras: Eras,
    /// For a call to be answered.
    pub(super) call_within: Option<Duration>,
    /// Streams of those who listen for resources, with their tags.
    pub(super) listeners: Vec<(Value, mpsc::Sender<Bytes>)>,
}

/// Which eras it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Eras {
    #[default]
    Legacy,
    Modern,
    Both,
}

#[derive(Debug)]
pub(super) struct Scripted {
    pub(super) name: &'static str,
    pub(super) state: Mutex<State>,
}

impl Scripted {
    pub(super) fn new(name: &'static str, tools: &[&str]) -> Arc<Self> {
        let tools =
            tools.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
        Arc::new(Self { name, state: Mutex::new(State { tools, ..State::default() }) })
    }

    /// One that serves these eras.
    pub(super) fn of(name: &'static str, eras: Eras, tools: &[&str]) -> Arc<Self> {
        let scripted = Self::new(name, tools);
        scripted.state.lock().eras = eras;
        scripted
    }

    pub(super) fn set(&self, mood: Mood) {
        self.state.lock().mood = mood;
    }

    /// The methods it was asked for in one session.
    pub(super) fn asked(&self, method: &str) -> Vec<(String, Value)> {
        let state = self.state.lock();
        state.got.iter().filter(|(_, message)| message["method"] == method).cloned().collect()
    }

    /// What one header said, call by call.
    pub(super) fn heard(&self, header: &str) -> Vec<Option<String>> {
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        self.state.lock().heads.iter().map(|head| head.get(header).map(text)).collect()
    }

    /// Says something on all GET streams.
    pub(super) fn says(&self, message: &Value) {
        let event = mcp::sse::message_event(Some("7"), message.to_string().as_bytes());
        for stream in self.state.lock().sessions.values().flatten() {
            stream.try_send(event.clone()).unwrap();
        }
    }

    /// As after a restart.
    pub(super) fn forgets_sessions(&self) {
        self.state.lock().sessions.clear();
    }

    async fn answer(&self, call: Call) -> Response<Body> {
        let mood = self.state.lock().mood.clone();
        match mood {
            Mood::Well => {}
            Mood::Hangs => std::future::pending().await,
            Mood::Garbage => return json_answer(StatusCode::OK, Bytes::from_static(b"<html>")),
            Mood::Dead => return Failure::NoInstance { backend: self.name.into() }.answer(call.request.id()),
        }
        let session = call.request.head.headers.get(&headers::SESSION_ID);
        let session = session.map(|session| session.to_str().unwrap().to_owned()).unwrap_or_default();
        let Some(message) = call.request.message() else {
            return self.no_message(&call.request.head.method, &session);
        };
        let value: Value = serde_json::from_slice(message.text()).unwrap();
        self.state.lock().got.push((session.clone(), value.clone()));
        if value["method"] == "tools/call" {
            self.state.lock().heads.push(call.request.head.headers.clone());
        }
        let eras = self.state.lock().eras;
        if call.request.era() == Era::Modern && eras != Eras::Legacy {
            return self.modern(&call.request.head.headers, message, &value).await;
        }
        if eras == Eras::Modern {
            let reply = mcp::revision::unsupported("", &[mcp::Revision::V2026_07_28]);
            return json_answer(StatusCode::BAD_REQUEST, reply.to_json(message.id()));
        }
        if value["method"] == "initialize" {
            return self.initialize(&value).await;
        }
        if !self.state.lock().sessions.contains_key(&session) {
            return Failure::UnknownSession.answer(message.id());
        }
        match message.kind() {
            Kind::Request => self.request(&session, message, &value).await,
            Kind::Notification => accepted(),
            Kind::Result if value["id"].as_str().is_some_and(|id| id.starts_with("own-")) => accepted(),
            // It takes its time.
            Kind::Result if self.state.lock().holds_up => accepted(),
            Kind::Result | Kind::Error => {
                let waiting = self.state.lock().waiting.get_mut(&session).and_then(VecDeque::pop_front);
                let Some((id, waiting)) = waiting else {
                    return Failure::BadRequest { what: "unasked".into() }.answer(None);
                };
                let text = json!({"content": [], "structuredContent": value["result"]});
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": text});
                waiting.send(mcp::sse::message_event(None, answer.to_string().as_bytes())).await.unwrap();
                accepted()
            }
        }
    }

    fn no_message(&self, method: &Method, session: &str) -> Response<Body> {
        let mut state = self.state.lock();
        if *method == Method::DELETE {
            state.got.push((session.to_owned(), json!({"method": "DELETE"})));
            state.sessions.remove(session);
            return accepted();
        }
        let Some(stream) = state.sessions.get_mut(session) else {
            return Failure::UnknownSession.answer(None);
        };
        let (send, events) = mpsc::channel(16);
        *stream = Some(send);
        event_stream(Body::events(events, None))
    }

    async fn initialize(&self, value: &Value) -> Response<Body> {
        let after = self.state.lock().begins_after;
        tokio::time::sleep(after).await;
        let mut state = self.state.lock();
        state.begun += 1;
        let session = format!("{}-{}", self.name, state.begun);
        state.sessions.insert(session.clone(), None);
        let result = json!({
            "protocolVersion": value["params"]["protocolVersion"],
            "capabilities": {"tools": {}, "logging": {}, "resources": {"subscribe": true}, "prompts": {}},
            "serverInfo": {"name": self.name, "version": "1"},
        });
        let mut response = answer(value, &result);
        response.headers_mut().insert(headers::SESSION_ID, HeaderValue::from_str(&session).unwrap());
        response
    }

    async fn request(&self, session: &str, message: &Message, value: &Value) -> Response<Body> {
        let result = match value["method"].as_str().unwrap() {
            "tools/list" => {
                let state = self.state.lock();
                let mut page = json!({"tools": state.tools});
                if state.endless {
                    let number =
                        value["params"]["cursor"].as_str().unwrap_or("0").parse::<u64>().unwrap() + 1;
                    page = json!({"tools": [{"name": format!("t{number}"), "inputSchema": {"type": "object"}}], "nextCursor": number.to_string()});
                }
                page
            }
            "tools/call" => return self.call(session, message, value).await,
            method => self.other(method),
        };
        answer(value, &result)
    }

    /// A request of 2026-07-28.
    async fn modern(&self, head: &HeaderMap, message: &Message, value: &Value) -> Response<Body> {
        if let Err(problem) = headers::check_mirrors(head, message) {
            let reply = ErrorReply::new(ErrorCode::HeaderMismatch, problem.to_string());
            return json_answer(StatusCode::BAD_REQUEST, reply.to_json(message.id()));
        }
        let params = &value["params"];
        let mut result = match value["method"].as_str().unwrap() {
            "server/discover" => json!({
                "supportedVersions": ["2026-07-28"], "instructions": "be kind",
                "capabilities": {"tools": {}, "resources": {"subscribe": true}, "prompts": {}},
            }),
            "tools/call" if params["name"] == "asks" => match params.get("inputResponses") {
                Some(given) => {
                    json!({"content": [], "structuredContent": {"given": given, "state": params["requestState"]}})
                }
                None => json!({
                    "resultType": "input_required", "requestState": format!("of {}", self.name),
                    "inputRequests": {"r": {"method": "roots/list"}},
                }),
            },
            "tools/call" if params["name"] == "reports" => {
                let (send, events) = mpsc::channel(16);
                for message in reports(value) {
                    send.send(mcp::sse::message_event(None, message.to_string().as_bytes())).await.unwrap();
                }
                return event_stream(Body::events(events, None));
            }
            "tools/call" if params["name"] == "slow" => {
                tokio::time::sleep(Duration::from_secs(600)).await;
                json!({"content": []})
            }
            "tools/call" if params["name"] == "tasks" => {
                json!({"resultType": "task", "taskId": "t1", "status": "working"})
            }
            "tasks/get" => json!({"taskId": params["taskId"], "status": "working"}),
            "tools/call" => {
                let text = format!("{}:{}:modern", self.name, params["name"].as_str().unwrap());
                json!({"content": [{"type": "text", "text": text}]})
            }
            "subscriptions/listen" => return self.listen(value),
            "tools/list" => json!({"tools": self.state.lock().tools}),
            method => self.other(method),
        };
        if result.get("resultType").is_none() {
            result["resultType"] = "complete".into();
        }
        for (name, value) in [("ttlMs", json!(60_000)), ("cacheScope", json!("public"))] {
            result[name] = value;
        }
        answer(value, &result)
    }

    fn other(&self, method: &str) -> Value {
        match method {
            "resources/list" => json!({"resources": [{"uri": format!("{}://r", self.name), "name": "r"}]}),
            "resources/templates/list" => json!({"resourceTemplates": [
                {"uriTemplate": format!("{}://t/{{x}}", self.name), "name": "t"}
            ]}),
            "prompts/list" => json!({"prompts": [{"name": "p"}]}),
            _ => json!({}),
        }
    }

    fn listen(&self, value: &Value) -> Response<Body> {
        let (send, events) = mpsc::channel(16);
        let (tag, wanted) = (value["id"].clone(), &value["params"]["notifications"]);
        let params =
            json!({"notifications": wanted, "_meta": {"io.modelcontextprotocol/subscriptionId": tag}});
        let acknowledged =
            json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params});
        send.try_send(mcp::sse::message_event(None, acknowledged.to_string().as_bytes())).unwrap();
        self.state.lock().listeners.push((tag, send));
        event_stream(Body::events(events, None))
    }

    /// Tells whoever listens what has become of a task.
    pub(super) fn reports_task(&self, id: &str) {
        self.tells("notifications/tasks", &json!({"taskId": id, "status": "completed"}));
    }

    /// Tells whoever listens that a resource has changed.
    pub(super) fn updates(&self, uri: &str) {
        self.tells("notifications/resources/updated", &json!({"uri": uri}));
    }

    fn tells(&self, method: &str, params: &Value) {
        for (tag, listener) in &self.state.lock().listeners {
            let mut params = params.clone();
            params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": tag});
            let notice = json!({"jsonrpc": "2.0", "method": method, "params": params});
            // Some have gone.
            let _ = listener.try_send(mcp::sse::message_event(None, notice.to_string().as_bytes()));
        }
    }

    async fn call(&self, session: &str, message: &Message, value: &Value) -> Response<Body> {
        match &*message.target().unwrap() {
            "asks" => {
                let (send, events) = mpsc::channel(16);
                let asks = json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"});
                send.send(mcp::sse::message_event(Some("3"), asks.to_string().as_bytes())).await.unwrap();
                self.state
                    .lock()
                    .waiting
                    .entry(session.to_owned())
                    .or_default()
                    .push_back((value["id"].clone(), send));
                event_stream(Body::events(events, None))
            }
            "reports" => {
                let (send, events) = mpsc::channel(16);
                for message in reports(value) {
                    send.send(mcp::sse::message_event(None, message.to_string().as_bytes())).await.unwrap();
                }
                event_stream(Body::events(events, None))
            }
            "slow" => {
                tokio::time::sleep(Duration::from_secs(600)).await;
                answer(value, &json!({"content": []}))
            }
            "breaks" => {
                let mut response = Response::new(Body::Full(Bytes::from_static(b"oh no")));
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
            "again" | "once" => {
                // A level, looked at in time that does not pass.
                while self.state.lock().holds_up {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                answer(value, &json!({"content": []}))
            }
            "fails" => {
                let text = json!([{"type": "text", "text": "it does not work"}]);
                answer(value, &json!({"content": text, "isError": true}))
            }
            "shows" => {
                let shown = &value["params"]["arguments"];
                answer(value, &json!({"content": [], "structuredContent": shown}))
            }
            name => {
                let text = format!("{}:{name}:{session}", self.name);
                answer(value, &json!({"content": [{"type": "text", "text": text}]}))
            }
        }
    }
}

impl Backend for Scripted {
    fn handle(&self, call: Call) -> Answering<'_> {
        Box::pin(self.answer(call))
    }

    fn call_within(&self) -> Option<Duration> {
        self.state.lock().call_within
    }
}

/// What a tool says on the way, and its answer.
fn reports(asked: &Value) -> [Value; 3] {
    let token = &asked["params"]["_meta"]["progressToken"];
    [
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}),
        json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}),
        json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"content": []}}),
    ]
}

fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn answer(asked: &Value, result: &Value) -> Response<Body> {
    let text = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string();
    json_answer(StatusCode::OK, text.into())
}
