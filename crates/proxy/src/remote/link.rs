//! What all requests of one Streamable HTTP channel share: where they go, the session they belong to, and the headers
//! that say so in either era.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Response, header};
use mcp::message::Kind;
use mcp::method::Resend;
use mcp::{Era, Message, Method, headers};
use parking_lot::Mutex;

use super::RemoteConfig;
use super::inbox::{Gone, Inbox};
use super::origin::{Origin, Outgoing};
use super::pending::{Waiting, era_of};
use super::tools::LearntTools;
use crate::body::Body;
use crate::failure::Failure;

/// Saying goodbye may take this long.
const FAREWELL: Duration = Duration::from_secs(2);

/// One channel's shared part.
pub(super) struct Link {
    pub(super) config: Arc<RemoteConfig>,
    pub(super) origin: Origin,
    pub(super) inbox: Inbox,
    pub(super) tools: LearntTools,
    session: Mutex<Session>,
}

/// What the server and the client have agreed on.
#[derive(Clone, Debug, Default)]
struct Session {
    /// `Mcp-Session-Id`, if the server issues one.
    id: Option<HeaderValue>,
    /// The version negotiated by `initialize`.
    version: Option<HeaderValue>,
    /// The version of the last modern request: a notification without `_meta` belongs to it if there was no handshake.
    modern: Option<HeaderValue>,
}

impl Session {
    fn add_to(&self, request: &mut HeaderMap) {
        if let Some(id) = &self.id {
            request.insert(headers::SESSION_ID, id.clone());
        }
        if let Some(version) = &self.version {
            request.insert(headers::PROTOCOL_VERSION, version.clone());
        }
    }
}

impl Link {
    pub(super) fn new(config: Arc<RemoteConfig>, origin: Origin, inbox: Inbox) -> Self {
        Self { config, origin, inbox, tools: LearntTools::default(), session: Mutex::default() }
    }

    /// Passes on what the server said, learning what later requests depend on.
    pub(super) async fn deliver(&self, text: Bytes) -> Result<(), Gone> {
        self.inbox.deliver(text, |waiting, response| self.learn(waiting, response)).await
    }

    fn learn(&self, waiting: &Waiting, response: &Message) -> Option<Bytes> {
        if response.kind() != Kind::Result {
            return None;
        }
        match (waiting.method, waiting.era) {
            (Method::Initialize, _) => {
                let version = response.protocol_version();
                self.session.lock().version = version.and_then(|text| HeaderValue::from_str(&text).ok());
                None
            }
            (Method::ToolsList, Era::Modern) => self.tools.learn(response),
            _ => None,
        }
    }

    /// A handshake begins: what was agreed on before is over.
    pub(super) fn forget_session(&self) {
        *self.session.lock() = Session::default();
    }

    /// The head of the answer to `initialize` names the session.
    pub(super) fn begin_session(&self, answer: &HeaderMap) {
        let id = answer.get(&headers::SESSION_ID).filter(|id| headers::is_session_id(id.as_bytes()));
        self.session.lock().id = id.cloned();
    }

    pub(super) fn has_session(&self) -> bool {
        self.session.lock().id.is_some()
    }

    /// Whether there was a handshake.
    pub(super) fn is_handshaken(&self) -> bool {
        self.session.lock().version.is_some()
    }

    /// Sends a message.
    pub(super) async fn post(&self, message: &Message) -> Result<Response<Body>, Failure> {
        let mut request = self.config.headers.clone();
        request.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        request.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.modern_version(message) {
            Some(version) => self.add_modern(message, version, &mut request),
            None => self.session.lock().add_to(&mut request),
        }
        let outgoing = Outgoing {
            method: HttpMethod::POST,
            headers: request,
            path: None,
            body: message.text().clone(),
            patience: self.config.patience.for_pace(message.method().pace()),
            repeatable: message.method().resend() == Resend::Safe,
        };
        self.origin.send(&outgoing).await
    }

    /// Opens a stream of what the server has to say, or takes one up behind an event. (legacy)
    pub(super) async fn get(&self, last_event_id: Option<&str>) -> Result<Response<Body>, Failure> {
        let mut request = self.config.headers.clone();
        request.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        self.session.lock().add_to(&mut request);
        if let Some(id) = last_event_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            request.insert(headers::LAST_EVENT_ID, id);
        }
        // Some servers send the head with the first event, which may take as long as it takes.
        self.origin.send(&bodiless(HttpMethod::GET, request, None)).await
    }

    /// Ends the channel for its reader, then tells the server that the session is over, if there is one; best effort.
    pub(super) async fn close(self) {
        let Self { config, origin, inbox, session, .. } = self;
        drop(inbox);
        let session = session.into_inner();
        if session.id.is_none() {
            return;
        }
        let mut request = config.headers.clone();
        session.add_to(&mut request);
        if let Err(error) = origin.send(&bodiless(HttpMethod::DELETE, request, Some(FAREWELL))).await {
            tracing::debug!(%error, "server not told that the session is over");
        }
    }

    fn modern_version(&self, message: &Message) -> Option<HeaderValue> {
        let mut session = self.session.lock();
        if era_of(message) == Era::Modern {
            session.modern = message.meta_version().and_then(|version| HeaderValue::from_str(&version).ok());
            return session.modern.clone();
        }
        let handshake = session.version.is_some() || message.kind() != Kind::Notification;
        session.modern.clone().filter(|_| !handshake)
    }

    fn add_modern(&self, message: &Message, version: HeaderValue, request: &mut HeaderMap) {
        request.insert(headers::PROTOCOL_VERSION, version);
        if let Some(method) = message.method_name() {
            request.insert(headers::METHOD, headers::encode_value(&method));
        }
        if let Some(target) = message.target() {
            request.insert(headers::NAME, headers::encode_value(&target));
        }
        self.tools.add_headers(message, request);
    }
}

fn bodiless(method: HttpMethod, headers: HeaderMap, patience: Option<Duration>) -> Outgoing {
    Outgoing { method, headers, path: None, body: Bytes::new(), patience, repeatable: true }
}
