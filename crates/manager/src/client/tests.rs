//! The client against servers of each kind, over real HTTP on loopback.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proxy::Body;
use proxy::failure::json_answer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

/// A server by its answers, and the bodies it got.
struct Fake {
    url: String,
    seen: Arc<Mutex<Vec<(Method, Value)>>>,
    _serving: JoinSet<()>,
}

impl Fake {
    async fn start(answer: impl Fn(&Method, &Value) -> Response<Body> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (note, answer) = (Arc::clone(&seen), Arc::new(answer));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (note, answer) = (Arc::clone(&note), Arc::clone(&answer));
                connections.spawn(async move {
                    let service = service_fn(|request: Request<Incoming>| {
                        let (note, answer) = (Arc::clone(&note), Arc::clone(&answer));
                        async move {
                            let (head, body) = request.into_parts();
                            let body = body.collect().await.unwrap().to_bytes();
                            let body = serde_json::from_slice(&body).unwrap_or_default();
                            let response = answer(&head.method, &body);
                            note.lock().push((head.method, body));
                            Ok::<_, Infallible>(response)
                        }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, seen, _serving: serving }
    }

    fn settings(&self) -> ClientSettings {
        ClientSettings::new(&self.url)
    }

    fn bodies(&self, method: &str) -> Vec<Value> {
        self.seen
            .lock()
            .iter()
            .map(|(_, body)| body)
            .filter(|body| body["method"] == method)
            .cloned()
            .collect()
    }
}

fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn reply(code: u16, value: &Value) -> Response<Body> {
    json_answer(StatusCode::from_u16(code).unwrap(), Bytes::from(value.to_string()))
}

fn result(body: &Value, result: &Value) -> Response<Body> {
    reply(200, &json!({"jsonrpc": "2.0", "id": body["id"], "result": result}))
}

fn error(status: u16, body: &Value, code: i64) -> Response<Body> {
    reply(status, &json!({"jsonrpc": "2.0", "id": body["id"], "error": {"code": code, "message": "no"}}))
}

/// A legacy server with two pages of tools, a resource and no prompts.
fn legacy(method: &Method, body: &Value) -> Response<Body> {
    match body["method"].as_str() {
        Some("initialize") => {
            let capabilities = json!({"tools": {}, "resources": {}});
            let mut response =
                result(body, &json!({"protocolVersion": "2025-11-25", "capabilities": capabilities}));
            response.headers_mut().insert("mcp-session-id", "s".parse().unwrap());
            response
        }
        Some("tools/list") if body["params"]["cursor"].is_null() => result(
            body,
            &json!({"tools": [{"name": "a", "description": "A", "big": 1e300}], "nextCursor": ""}),
        ),
        Some("tools/list") => result(body, &json!({"tools": [{"name": "b"}]})),
        Some("resources/list") => {
            result(body, &json!({"resources": [{"name": "r", "uri": "x://r", "mimeType": "text/plain"}]}))
        }
        Some("tools/call") if body["params"]["name"] == "fails" => {
            result(body, &json!({"content": [{"type": "text", "text": "broke"}], "isError": true}))
        }
        Some("tools/call") if body["params"]["name"] == "unknown" => error(200, body, -32602),
        Some("tools/call") => result(body, &json!({"structuredContent": body["params"]["arguments"]})),
        _ if *method == Method::POST => status(202),
        _ => status(405),
    }
}

#[tokio::test]
async fn all_pages_of_all_categories_are_listed_and_nothing_is_lost() {
    let fake = Fake::start(legacy).await;
    let listing = list(&fake.settings(), &Category::ALL).await.unwrap();
    let tools: Vec<_> = listing.tools.as_deref().unwrap().iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(tools, ["a", "b"]);
    let resource = &listing.resources.as_deref().unwrap()[0];
    assert_eq!((resource.uri.as_str(), resource.mime_type.as_deref()), ("x://r", Some("text/plain")));
    assert_eq!(
        serde_json::to_string(&listing).unwrap(),
        r#"{"tools":[{"name":"a","description":"A","big":1e+300},{"name":"b"}],"resources":[{"name":"r","uri":"x://r","mimeType":"text/plain"}],"prompts":[]}"#
    );
    assert!(fake.bodies("prompts/list").is_empty(), "not declared, not asked for");
    assert_eq!(fake.seen.lock().last().unwrap().0, Method::DELETE);
    let one = list(&fake.settings(), &[Category::Prompts]).await.unwrap();
    assert_eq!(serde_json::to_string(&one).unwrap(), r#"{"prompts":[]}"#);
}

#[tokio::test]
async fn a_call_gives_what_the_tool_said_and_errors_are_told_apart() {
    let fake = Fake::start(legacy).await;
    let settings = fake.settings();
    let done = call(&settings, "add", Some(r#" {"a":12345678901234567890,"b":1.0} "#)).await.unwrap();
    assert!(!done.is_error);
    assert_eq!(done.structured.unwrap().get(), r#"{"a":12345678901234567890,"b":1.0}"#);
    let failed = call(&settings, "fails", None).await.unwrap();
    assert_eq!((failed.is_error, failed.content[0].text.as_deref()), (true, Some("broke")));
    let refused = call(&settings, "unknown", None).await.unwrap_err();
    assert_eq!(refused.to_string(), "tools/call: no (error -32602)");
    for text in ["[1]", "{", "", "null"] {
        let error = call(&settings, "add", Some(text)).await.unwrap_err();
        assert!(matches!(error, ClientError::Arguments(_)), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_modern_server_is_spoken_to_without_a_handshake() {
    let fake = Fake::start(|_, body| match body["method"].as_str() {
        Some("initialize") => error(404, body, -32601),
        Some("server/discover") => result(body, &json!({"capabilities": {"tools": {}}})),
        Some("tools/list") => result(body, &json!({"resultType": "complete", "tools": [{"name": "m"}]})),
        _ => error(400, body, -32600),
    })
    .await;
    let listing = list(&fake.settings(), &Category::ALL).await.unwrap();
    assert_eq!(listing.tools.unwrap()[0].name, "m");
    let meta = &fake.bodies("tools/list")[0]["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}));
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "skep");
}

/// A server of the old transport: everything it says goes into the one stream.
fn old_server() -> impl Fn(&Method, &Value) -> Response<Body> + Send + Sync {
    let stream = Mutex::new(None::<mpsc::Sender<Bytes>>);
    move |method, body| match body["method"].as_str() {
        None if *method == Method::GET => {
            let (send, events) = mpsc::channel(8);
            send.try_send("event: endpoint\ndata: ?session=1\n\n".into()).unwrap();
            *stream.lock() = Some(send);
            let mut response = Response::new(Body::events(events, None));
            response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            response
        }
        // The one stream is open when this is asked; before, there is nothing to POST to.
        Some(_) => {
            let Some(stream) = stream.lock().clone() else { return status(405) };
            let answer = legacy(method, body);
            let Body::Full(text) = answer.into_body() else { return status(202) };
            stream.try_send([b"data: ", &text[..], b"\n\n"].concat().into()).unwrap();
            status(202)
        }
        None => status(405),
    }
}

#[tokio::test]
async fn a_server_of_the_old_transport_is_found_unless_that_is_forbidden() {
    for transport in [Transport::Auto, Transport::Sse] {
        let fake = Fake::start(old_server()).await;
        let settings = ClientSettings { transport, ..fake.settings() };
        let listing = list(&settings, &[Category::Tools]).await.unwrap();
        assert_eq!(listing.tools.unwrap().len(), 2, "{transport:?}");
    }
    let fake = Fake::start(old_server()).await;
    let settings = ClientSettings { transport: Transport::StreamableHttp, ..fake.settings() };
    let error = list(&settings, &[Category::Tools]).await.unwrap_err();
    assert!(error.to_string().contains("405"), "{error}");
}

#[tokio::test]
async fn what_the_first_transport_said_is_told_if_the_old_one_fails_too() {
    let fake = Fake::start(|_, _| status(404)).await;
    let error = list(&fake.settings(), &[Category::Tools]).await.unwrap_err();
    assert_eq!(error.to_string(), "initialize: the server answered 404 Not Found (error -32603)");
}

#[tokio::test]
async fn what_the_server_asks_is_declined_and_a_ping_answered() {
    let fake = Fake::start(|method, body| {
        if body["method"] != "tools/call" {
            return legacy(method, body);
        }
        let (send, events) = mpsc::channel(8);
        for message in [
            json!({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {}}),
            json!({"jsonrpc": "2.0", "id": "p", "method": "ping"}),
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}),
            json!({"jsonrpc": "2.0", "id": body["id"], "result": {"content": []}}),
        ] {
            send.try_send(format!("data: {message}\n\n").into()).unwrap();
        }
        let mut response = Response::new(Body::events(events, None));
        response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        response
    })
    .await;
    call(&fake.settings(), "asks", None).await.unwrap();
    let seen = fake.seen.lock();
    assert!(seen.iter().any(|(_, body)| body["id"] == 1 && body["error"]["code"] == -32601));
    assert!(seen.iter().any(|(_, body)| body["id"] == "p" && body["result"] == json!({})));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_and_told_so() {
    let held = Mutex::new(Vec::new());
    let fake = Fake::start(move |method, body| {
        if body["method"] != "tools/call" {
            return legacy(method, body);
        }
        let (send, events) = mpsc::channel(1);
        held.lock().push(send);
        let mut response = Response::new(Body::events(events, None));
        response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        response
    })
    .await;
    let settings = ClientSettings { timeout: Duration::from_millis(500), ..fake.settings() };
    let gave_up = timeout(Duration::from_secs(10), call(&settings, "slow", None)).await.unwrap();
    assert!(matches!(gave_up, Err(ClientError::TimedOut(_))), "{gave_up:?}");
    assert_eq!(fake.bodies("notifications/cancelled").len(), 1);
    assert_eq!(fake.seen.lock().last().unwrap().0, Method::DELETE);
}

#[tokio::test]
async fn a_server_that_is_away_or_a_wrong_url_is_told_as_such() {
    let error = |url: &'static str| async move {
        list(&ClientSettings::new(url), &[]).await.unwrap_err().to_string()
    };
    let away = error("http://127.0.0.1:1/mcp").await;
    assert!(away.contains("could not be reached at 127.0.0.1:1"), "{away}");
    assert!(error("localhost:80").await.contains("scheme must be http or https"));
    assert!("stdio".parse::<Transport>().unwrap_err().to_string().contains("streamable-http"));
}
