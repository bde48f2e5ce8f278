//! The hub's front: POST, GET and DELETE of a client's session, and the handshake, which asks no backend.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method as HttpMethod, Response, StatusCode};
use mcp::message::Kind;
use mcp::{Era, ErrorCode, ErrorReply, Message, Method, Revision, headers};
use model::PrincipalDigest;
use proxy::failure::refused;
use proxy::session::{Agreed, Opened as OpenedToken, PartTokens, Remembered, Session};
use proxy::streamable::{Accepts, at_once, check_version, empty, not_acceptable};
use proxy::{Body, Call, Failure};
use serde_json::json;

use super::Hub;
use super::ask::result;
use super::kept::nowhere;
use super::modern::not_offered;
use super::session::Held;

pub(super) type Answered = Result<Response<Body>, Failure>;

impl Hub {
    pub(super) async fn streamable(self: &Arc<Self>, call: Call) -> Answered {
        let head = &call.request.head;
        match (&head.method, call.request.message()) {
            (&HttpMethod::POST, Some(message)) => {
                let accepts = Accepts::read(&head.headers);
                if message.kind() == Kind::Request && !accepts.json && !accepts.events {
                    return Ok(not_acceptable("application/json or text/event-stream", message.id()));
                }
                if message.method() == Method::Initialize && message.kind() == Kind::Request {
                    return self.initialize(message, accepts, call.principal).await;
                }
                check_version(&head.headers)?;
                let session = self.session(&head.headers, call.principal).await?;
                self.post(&session, call, accepts).await
            }
            (&HttpMethod::GET, _) => {
                check_version(&head.headers)?;
                if !Accepts::read(&head.headers).events {
                    return Ok(not_acceptable("text/event-stream", None));
                }
                let session = self.session(&head.headers, call.principal).await?;
                self.listen(&session, &head.headers).await
            }
            (&HttpMethod::DELETE, _) => {
                check_version(&head.headers)?;
                let session = self.session(&head.headers, call.principal).await?;
                self.table.end(session.id);
                self.forget(&session).await;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            (method, _) => {
                Err(Failure::MethodNotAllowed { method: method.clone(), allow: "GET, POST, DELETE" })
            }
        }
    }

    async fn initialize(&self, message: &Message, accepts: Accepts, principal: PrincipalDigest) -> Answered {
        let id = message.id().unwrap_or_default();
        if message.protocol_version().is_none() && message.meta_version().is_some() {
            // It says that it is of a revision without handshakes.
            return Ok(not_offered(message));
        }
        let Some(asked) = message.protocol_version() else {
            let reply = ErrorReply::new(ErrorCode::InvalidParams, "params.protocolVersion is required");
            return Ok(refused(StatusCode::OK, "invalid_params", &reply, Some(id)));
        };
        let asked = Revision::from_wire(&asked).filter(|revision| revision.era() == Era::Legacy);
        let answer = result(id, &self.greeting(asked.unwrap_or(Revision::LATEST_LEGACY)));
        let agreed = Message::parse(answer.clone()).ok().as_ref().and_then(Agreed::read).map(Arc::new);
        // On its own, not with the connection's whole read buffer.
        let remembered = Remembered::new(Bytes::copy_from_slice(message.text()), agreed);
        let held = Held::new(remembered.clone(), &PartTokens::new(), 0);
        held.stream.lock().knows(*self.changes.borrow());
        let begun = self.table.begin(principal, nowhere(), b"", held)?;
        for evicted in &begun.evicted {
            self.forget(evicted).await;
        }
        self.keep_first(begun.claims, remembered).await;
        let mut response = at_once(accepts, answer);
        response.headers_mut().insert(headers::SESSION_ID, begun.token);
        Ok(response)
    }

    /// What clients are told about the hub. It has everything at any time: backends come and go.
    fn greeting(&self, revision: Revision) -> Vec<u8> {
        let mut greeting = json!({
            "protocolVersion": revision.as_str(),
            "capabilities": Self::capabilities(),
            "serverInfo": {"name": self.config.name, "version": env!("CARGO_PKG_VERSION")},
        });
        if let Some(instructions) = self.view.load().instructions() {
            greeting["instructions"] = instructions.into();
        }
        greeting.to_string().into_bytes()
    }

    pub(super) fn capabilities() -> serde_json::Value {
        json!({
            "tools": {"listChanged": true},
            "prompts": {"listChanged": true},
            "resources": {"subscribe": true, "listChanged": true},
            "logging": {},
            "completions": {},
        })
    }

    /// The session a request names.
    async fn session(
        &self,
        headers: &HeaderMap,
        principal: PrincipalDigest,
    ) -> Result<Arc<Session<Held>>, Failure> {
        let token = headers::single(headers, &headers::SESSION_ID)
            .map_err(|problem| Failure::BadRequest { what: problem.to_string() })?
            .ok_or(Failure::SessionRequired)?;
        match self.table.open(token.as_bytes(), principal) {
            Some(OpenedToken::Here(session)) => Ok(session),
            Some(OpenedToken::Elsewhere(claims)) => Box::pin(self.take_up(&claims)).await,
            None => Err(Failure::UnknownSession),
        }
    }
}
