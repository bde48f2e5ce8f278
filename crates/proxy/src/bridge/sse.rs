//! HTTP+SSE (2024-11-05): one stream that everything comes by, and a place to post to. The stream is the session.

use std::sync::Arc;

use bytes::BytesMut;
use http::{Method as HttpMethod, Response, StatusCode};
use mcp::message::Kind;
use mcp::{Message, Method};

use super::answer::{self, Accepts, not_acceptable};
use super::child::{Attendance, Submitted, Takes};
use super::streams::Format;
use super::{Bridge, Front, Mode, Served, Starting, end};
use crate::body::{Body, event_stream};
use crate::call::Call;
use crate::failure::Failure;
use crate::session::table::InUse;
use crate::session::{Opened, Session, Table};

/// The query parameter that names the session.
const PARAMETER: &str = "session_id";

/// Ends the session with its stream.
struct EndsSession {
    table: Arc<Table<Served>>,
    session: Arc<Session<Served>>,
    _in_use: InUse<Served>,
}

impl Drop for EndsSession {
    fn drop(&mut self) {
        self.table.end(self.session.id);
        end(&self.session, "the client closed its stream");
    }
}

impl Bridge {
    /// `GET /sse`.
    pub(super) async fn sse_stream(&self, call: &Call) -> Result<Response<Body>, Failure> {
        let head = &call.request.head;
        if head.method != HttpMethod::GET {
            return Err(Failure::MethodNotAllowed { method: head.method.clone(), allow: "GET" });
        }
        if !Accepts::read(&head.headers).events {
            return Ok(not_acceptable("text/event-stream", None));
        }
        let (child, mut starting) = match self.config.mode {
            Mode::PerSession { .. } => {
                let child = self.own_child(call.principal).await?;
                (Arc::clone(&child), Some(Starting { child, begun: false }))
            }
            Mode::Shared => (Arc::clone(&self.shared_ready().await?.child), None),
        };
        let client = child.add_client(Format::Bare);
        let served = Served::sse(Arc::clone(&child), client);
        let begun = self
            .begin(served, call.principal)
            .await
            .inspect_err(|_| child.remove_client(client, "the session did not begin"))?;
        if let Some(starting) = &mut starting {
            starting.begun = true;
        }
        let hold = EndsSession {
            table: Arc::clone(&self.table),
            _in_use: self.table.enter(&begun.session),
            session: begun.session,
        };
        let paths = &self.config.paths;
        let token = begun.token.to_str().unwrap_or_default();
        let endpoint = format!("{}{}?{PARAMETER}={token}", paths.prefix, paths.messages);
        let mut greeting = BytesMut::new();
        mcp::sse::encode(&mut greeting, Some("endpoint"), None, None, endpoint.as_bytes());
        child.set_greeting(client, greeting.freeze());
        let (events, place) = child.open_stream(client, None)?;
        let attendance = Attendance::new(&child, place, Some(Box::new(hold)));
        Ok(event_stream(Body::events(events, Some(Box::new(attendance)))))
    }

    /// `POST /messages`.
    pub(super) async fn sse_message(&self, call: Call) -> Result<Response<Body>, Failure> {
        let head = &call.request.head;
        let Some(message) = call.request.message() else {
            return Err(Failure::MethodNotAllowed { method: head.method.clone(), allow: "POST" });
        };
        let session = self.sse_session(&call)?;
        let Served { child, client, .. } = &session.backend;
        if self.config.mode == Mode::Shared && is_handshake(message) {
            let ready = self.shared_ready().await?;
            child.push(*client, ready.answer(message));
            return Ok(answer::empty(StatusCode::ACCEPTED));
        }
        match self.submit_in_time(child, Some(*client), Takes::Push, message).await? {
            Submitted::Refused(why) => Err(Failure::BadRequest { what: why.into() }),
            Submitted::Accepted | Submitted::Answered(_) | Submitted::UnderWay(_) => {
                Ok(answer::empty(StatusCode::ACCEPTED))
            }
        }
    }

    /// The session that a POST of HTTP+SSE names.
    pub(super) fn sse_session(&self, call: &Call) -> Result<Arc<Session<Served>>, Failure> {
        let token =
            call.request.head.uri.query().and_then(session_parameter).ok_or_else(|| Failure::BadRequest {
                what: format!(
                    "query parameter {PARAMETER} is required: begin with GET {}",
                    self.config.paths.sse
                ),
            })?;
        match self.table.open(token.as_bytes(), call.principal) {
            Some(Opened::Here(session)) => self.served(session, Front::Sse),
            // Its stream is gone.
            _ => Err(Failure::UnknownSession),
        }
    }
}

fn is_handshake(message: &Message) -> bool {
    message.method() == Method::Initialize && message.kind() == Kind::Request
}

fn session_parameter(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix(PARAMETER)?.strip_prefix('='))
}
