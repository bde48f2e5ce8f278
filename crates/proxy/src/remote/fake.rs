//! A remote server for tests: answers by a function, remembers what it was asked.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use telemetry::Tasks;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{RemoteConfig, RemoteHttp, RemoteSse};
use crate::body::Body;
use crate::channel::Channel;
use crate::endpoint::Endpoint;
use crate::instance::Instances;
use crate::upstream::{Pool, PoolConfig};

/// A request as the server got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The JSON-RPC method, or the HTTP method of a request without a body.
    pub(crate) fn what(&self) -> &str {
        self.body["method"].as_str().unwrap_or(self.method.as_str())
    }
}

/// The server; dropped, it and all its connections are gone.
pub(crate) struct Fake {
    pub(crate) url: String,
    seen: watch::Receiver<Vec<Seen>>,
    _serving: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let (note, seen) = watch::channel(Vec::new());
        let (note, answer) = (Arc::new(note), Arc::new(answer));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (note, answer) = (Arc::clone(&note), Arc::clone(&answer));
                connections.spawn(async move {
                    let service = service_fn(|request| respond(request, &note, &*answer));
                    // A client that goes away is what some tests are about.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, seen, _serving: serving }
    }

    /// Waits until the server has seen what is asked for.
    pub(crate) async fn until(&self, met: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let mut seen = self.seen.clone();
        soon(async move { seen.wait_for(|seen| met(seen)).await.unwrap().clone() }).await
    }

    /// Waits for a request by its JSON-RPC (or HTTP) method, the n-th of them.
    pub(crate) async fn request(&self, what: &str, n: usize) -> Seen {
        let found = |seen: &[Seen]| seen.iter().filter(|seen| seen.what() == what).nth(n).cloned();
        found(&self.until(|seen| found(seen).is_some()).await).unwrap()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    pub(crate) fn http(&self) -> (RemoteHttp, Tasks) {
        let tasks = Tasks::new();
        let config = RemoteConfig::new("fake");
        (RemoteHttp::new(config, instances(&[&self.url]), pool(), tasks.clone()), tasks)
    }

    pub(crate) fn sse(&self) -> RemoteSse {
        RemoteSse::new(RemoteConfig::new("fake"), instances(&[&self.url]), pool(), Tasks::new())
    }
}

pub(crate) fn pool() -> Arc<Pool> {
    Pool::new(PoolConfig::default(), None)
}

/// Instances at the addresses of these URLs.
pub(crate) fn instances(urls: &[&str]) -> Arc<Instances> {
    let instances = Instances::new();
    for url in urls {
        let endpoint = Endpoint::parse(url).unwrap();
        let address = endpoint.authority.to_str().unwrap().parse().unwrap();
        instances.set(&Arc::new(endpoint), &[address]);
    }
    Arc::new(instances)
}

async fn respond(
    request: Request<Incoming>,
    note: &watch::Sender<Vec<Seen>>,
    answer: &(impl Fn(&Seen) -> Response<Body> + ?Sized),
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let seen = Seen {
        method: head.method,
        path: head.uri.path_and_query().unwrap().to_string(),
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let answer = answer(&seen);
    note.send_modify(|all| all.push(seen));
    Ok(answer)
}

pub(crate) fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

pub(crate) fn json_with(code: u16, value: &Value) -> Response<Body> {
    crate::failure::json_answer(StatusCode::from_u16(code).unwrap(), Bytes::from(value.to_string()))
}

/// A stream that sends this text and ends.
pub(crate) fn events(text: &str) -> Response<Body> {
    let (send, response) = open_events();
    send.try_send(Bytes::copy_from_slice(text.as_bytes())).unwrap();
    response
}

/// A stream that stays open as long as its sender.
pub(crate) fn open_events() -> (mpsc::Sender<Bytes>, Response<Body>) {
    let (send, events) = mpsc::channel(16);
    let mut response = Response::new(Body::events(events, None));
    response.headers_mut().insert("content-type", "text/event-stream; charset=utf-8".parse().unwrap());
    (send, response)
}

/// The answer of an ordinary server: a session, an echo of each request's method, 202, no GET.
pub(crate) fn ordinary(seen: &Seen) -> Response<Body> {
    match seen.what() {
        "GET" => status(405),
        "DELETE" => status(200),
        "initialize" => {
            let result = serde_json::json!({"protocolVersion": "2025-06-18", "capabilities": {}});
            let mut response = answer(seen, &result);
            response.headers_mut().insert("mcp-session-id", "s-1".parse().unwrap());
            response
        }
        _ if seen.body["id"].is_null() || seen.body.get("result").is_some() => status(202),
        method => answer(seen, &serde_json::json!({"did": method})),
    }
}

/// A JSON result for a request.
pub(crate) fn answer(seen: &Seen, result: &Value) -> Response<Body> {
    json_with(200, &serde_json::json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": result}))
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.expect("within ten seconds")
}

pub(crate) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// A request of the legacy era.
pub(crate) fn request(id: u32, method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#)
}

pub(crate) async fn say(channel: &Channel, text: impl Into<String>) {
    channel.outgoing.send(Bytes::from(text.into())).await.unwrap();
}

/// The next message of the channel.
pub(crate) async fn hear(channel: &mut Channel) -> Value {
    let text = soon(channel.incoming.recv()).await.expect("a message");
    serde_json::from_slice(&text).unwrap()
}

pub(crate) async fn handshake(channel: &mut Channel) {
    say(channel, INITIALIZE).await;
    assert_eq!(hear(channel).await["result"]["protocolVersion"], "2025-06-18");
    say(channel, INITIALIZED).await;
}
