//! A bridge, the servers it opened, and clients to speak to it with.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use mcp::revision::classify;
use mcp::{Message, sse};
use model::PrincipalDigest;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::body::Body;
use crate::bridge::{Bridge, BridgeConfig, Mode, Paths};
use crate::call::Call;
use crate::channel::{CHANNEL_DEPTH, Channel, Connect, ConnectError, Guard, Held, Undelivered};
use crate::forward::{OnLoss, Patience};
use crate::session::{KeyRing, Limits, MemoryStore};

pub(super) struct Servers {
    opened: mpsc::Sender<Server>,
}

/// The server's end of a channel.
pub(super) struct Server {
    pub(super) hears: mpsc::Receiver<Bytes>,
    pub(super) says: mpsc::Sender<Bytes>,
}

struct Died(Option<Held>);

impl Guard for Died {
    fn why_closed(&mut self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async { "exit status 3; its last words: oh no".to_owned() })
    }

    fn hold(&mut self, until_gone: Held) {
        self.0 = Some(until_gone);
    }
}

impl Connect for Servers {
    fn open(&self) -> Pin<Box<dyn Future<Output = Result<Channel, ConnectError>> + Send + '_>> {
        Box::pin(async {
            let (outgoing, hears) = mpsc::channel(CHANNEL_DEPTH);
            let (says, incoming) = mpsc::channel(CHANNEL_DEPTH);
            let full = |_| ConnectError { reason: "no more of these".into() };
            self.opened.try_send(Server { hears, says }).map_err(full)?;
            Ok(Channel {
                outgoing,
                incoming,
                guard: Box::new(Died(None)),
                process: None,
                undelivered: Undelivered::default(),
            })
        })
    }
}

impl Server {
    pub(super) async fn hear(&mut self) -> Value {
        let text = soon(self.hears.recv()).await.expect("the bridge still speaks");
        serde_json::from_slice(&text).unwrap()
    }

    /// Hears a request of this method, and gives its id.
    pub(super) async fn asked(&mut self, method: &str) -> Value {
        let message = self.hear().await;
        assert_eq!(message["method"], method, "{message}");
        message["id"].clone()
    }

    pub(super) async fn say(&self, message: Value) {
        soon(self.says.send(message.to_string().into())).await.unwrap();
    }

    pub(super) async fn answer(&self, id: &Value, result: Value) {
        self.say(json!({"jsonrpc": "2.0", "id": id, "result": result})).await;
    }

    pub(super) async fn notify(&self, method: &str, params: Value) {
        self.say(json!({"jsonrpc": "2.0", "method": method, "params": params})).await;
    }

    /// Hears nothing more, because the bridge has let go.
    pub(super) async fn is_let_go(&mut self) {
        while soon(self.hears.recv()).await.is_some() {}
    }

    /// The handshake, up to the client's `initialized`.
    pub(super) async fn shake_hands(&mut self) {
        let id = self.asked("initialize").await;
        self.answer(&id, init_result("2025-11-25")).await;
    }
}

pub(super) fn init_result(version: &str) -> Value {
    json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "fake", "version": "1"}})
}

/// Long enough for anything in these tests; time is paused, so it passes only where nothing happens.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(1000), future).await.expect("in time")
}

pub(super) struct Rig {
    pub(super) bridge: Arc<Bridge>,
    opened: mpsc::Receiver<Server>,
}

pub(super) fn rig(mode: Mode) -> Rig {
    rig_with(mode, |_| {})
}

pub(super) fn rig_with(mode: Mode, change: impl FnOnce(&mut BridgeConfig)) -> Rig {
    let (opened_by, opened) = mpsc::channel(16);
    let mut config = BridgeConfig {
        name: "fake".into(),
        target: "fake-server".into(),
        mode,
        limits: Limits::default(),
        keys: Arc::new(KeyRing::parse(&KeyRing::generate_line()).unwrap()),
        patience: Patience::default(),
        paths: Paths::default(),
        allow_sse: true,
        on_loss: OnLoss::Strict,
        resend: Arc::default(),
        store: Arc::new(MemoryStore::default()),
        sleep_after: None,
        memory: None,
    };
    change(&mut config);
    Rig { bridge: Bridge::new(config, Arc::new(Servers { opened: opened_by })), opened }
}

pub(super) const OWN: Mode = Mode::PerSession { warm: 0, max_children: 8 };

impl Rig {
    pub(super) async fn server(&mut self) -> Server {
        soon(self.opened.recv()).await.expect("a server was opened")
    }

    pub(super) fn opened_nothing(&mut self) -> bool {
        self.opened.try_recv().is_err()
    }

    /// A session with a server of its own.
    pub(super) async fn session(&mut self) -> (Client, Server) {
        let client = Client::new(&self.bridge);
        let serve = async {
            let mut server = self.server().await;
            server.shake_hands().await;
            server
        };
        tokio::join!(client.initialize("2025-11-25"), serve)
    }
}

/// One client. Without a session until it has initialised.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) bridge: Arc<Bridge>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) principal: PrincipalDigest,
}

impl Client {
    pub(super) fn new(bridge: &Arc<Bridge>) -> Self {
        let headers = vec![("accept", "application/json, text/event-stream".to_owned())];
        Self { bridge: Arc::clone(bridge), headers, principal: PrincipalDigest::ANONYMOUS }
    }

    pub(super) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.retain(|(header, _)| *header != name);
        other.headers.push((name, value.to_owned()));
        other
    }

    pub(super) async fn initialize(&self, version: &str) -> Self {
        let answer = self.post(request(0, "initialize", json!({"protocolVersion": version}))).await;
        assert_eq!(answer.status(), 200);
        let token = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        self.with("mcp-session-id", &token)
    }

    pub(super) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &self.headers {
            request = request.header(*name, HeaderValue::from_str(value).unwrap());
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let body = match body {
            None => mcp::request::Body::None,
            Some(body) => {
                let message = Message::parse(Bytes::from(body.to_string())).unwrap();
                let era = classify(&head.headers, &message).unwrap();
                mcp::request::Body::Message { message: Box::new(message), era }
            }
        };
        let call = Call {
            request: mcp::Request { head: Box::new(head), body },
            principal: self.principal,
            client: ([127, 0, 0, 1], 1).into(),
            tls: false,
        };
        soon(self.bridge.handle(call)).await
    }

    pub(super) async fn post(&self, body: Value) -> Response<Body> {
        self.send("POST", "/mcp", Some(body)).await
    }

    pub(super) async fn get(&self) -> Response<Body> {
        self.send("GET", "/mcp", None).await
    }

    /// A GET that goes on behind an event.
    pub(super) async fn resume(&self, after: &str) -> Events {
        Events::of(self.with("last-event-id", after).get().await)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "so it is written where it is used")]
pub(super) fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

pub(super) fn call(id: impl Into<Value>) -> Value {
    request(id, "tools/call", json!({"name": "t", "_meta": {"progressToken": "mine"}}))
}

pub(super) fn status(answer: &Response<Body>) -> u16 {
    answer.status().as_u16()
}

/// The body of an answer that is no stream.
pub(super) async fn json_of(answer: Response<Body>) -> Value {
    assert_eq!(answer.headers()["content-type"], "application/json");
    let text = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    serde_json::from_slice(&text).unwrap()
}

/// An event stream, read.
pub(super) struct Events {
    pub(super) body: Body,
    decoder: sse::Decoder,
    read: Vec<sse::Event>,
}

impl Events {
    pub(super) fn of(answer: Response<Body>) -> Self {
        assert_eq!(status(&answer), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body(), decoder: sse::Decoder::new(1 << 20), read: Vec::new() }
    }

    /// The next event, priming ones included; `None` at the end.
    pub(super) async fn event(&mut self) -> Option<sse::Event> {
        while self.read.is_empty() {
            let frame = soon(self.body.frame()).await?.unwrap();
            self.decoder.feed(&frame.into_data().unwrap(), &mut self.read).unwrap();
        }
        Some(self.read.remove(0))
    }

    /// The next message, and its id.
    pub(super) async fn message(&mut self) -> (Value, Option<String>) {
        loop {
            let event = self.event().await.expect("a message");
            if !event.data.is_empty() {
                return (serde_json::from_slice(&event.data).unwrap(), event.id);
            }
        }
    }

    pub(super) async fn next(&mut self) -> Value {
        self.message().await.0
    }

    /// Nothing but comments comes for a minute.
    pub(super) async fn is_quiet(&mut self) {
        let heard = timeout(Duration::from_secs(60), async {
            loop {
                match self.event().await {
                    Some(event) if event.data.is_empty() => {}
                    other => return other,
                }
            }
        });
        let heard = heard.await;
        assert!(heard.is_err(), "{heard:?}");
    }

    pub(super) async fn has_ended(&mut self) {
        while let Some(event) = self.event().await {
            assert!(event.data.is_empty(), "{event:?}");
        }
    }
}
