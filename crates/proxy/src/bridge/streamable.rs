//! Streamable HTTP of the legacy era: POST, GET and DELETE with a session (2025-03-26 to 2025-11-25).

use std::sync::Arc;

use http::{HeaderMap, Method as HttpMethod, Response, StatusCode};
use mcp::message::Kind;
use mcp::{Era, ErrorCode, ErrorReply, Message, Method, Revision, headers};
use model::PrincipalDigest;

use super::answer::{self, Accepts, Asked, at_once, not_acceptable};
use super::child::{Attendance, First, Submitted, Takes};
use super::streams::Format;
use super::{Bridge, Front, Mode, Served, Starting};
use crate::body::{Body, event_stream};
use crate::call::Call;
use crate::events::Cursor;
use crate::failure::{Failure, json_answer, refused};
use crate::recovery::remembered::{Agreed, Remembered};
use crate::session::{Opened, Session};
use crate::streamable::check_version;

type Answered = Result<Response<Body>, Failure>;

impl Bridge {
    pub(super) async fn streamable(&self, call: Call) -> Answered {
        let head = &call.request.head;
        match (&head.method, call.request.message()) {
            (&HttpMethod::POST, Some(message)) => {
                let accepts = Accepts::read(&head.headers);
                if message.method() == Method::Initialize && message.kind() == Kind::Request {
                    return self.initialize(message, &head.headers, accepts, call.principal).await;
                }
                check_version(&head.headers)?;
                let session = self.session(&head.headers, call.principal).await?;
                self.post(&session, message, accepts).await
            }
            (&HttpMethod::GET, _) => {
                check_version(&head.headers)?;
                self.get(&head.headers, call.principal).await
            }
            (&HttpMethod::DELETE, _) => {
                check_version(&head.headers)?;
                let session = self.session(&head.headers, call.principal).await?;
                self.table.end(session.id);
                self.forget(&session, "the client ended the session").await;
                Ok(answer::empty(StatusCode::NO_CONTENT))
            }
            (method, _) => {
                Err(Failure::MethodNotAllowed { method: method.clone(), allow: "GET, POST, DELETE" })
            }
        }
    }

    async fn initialize(
        &self,
        message: &Message,
        headers: &HeaderMap,
        accepts: Accepts,
        principal: PrincipalDigest,
    ) -> Answered {
        let id = message.id();
        if let Some(refusal) = removed_in_modern(headers, message) {
            return Ok(refusal);
        }
        if !accepts.json && !accepts.events {
            return Ok(not_acceptable("application/json or text/event-stream", id));
        }
        if self.config.mode == Mode::Shared {
            return self.join_shared(message, accepts, principal).await;
        }
        let child = self.own_child(principal).await?;
        let mut starting = Starting { child: Arc::clone(&child), begun: false };
        let client = child.add_client(Format::Numbered);
        let takes = Takes::Post { events: false };
        let Submitted::UnderWay(under_way) = child.submit(Some(client), takes, message).await? else {
            return Err(Failure::BadRequest { what: "initialize is a request".into() });
        };
        let patience = self.config.patience.handshake;
        let first = match patience {
            Some(patience) => tokio::time::timeout(patience, under_way.first)
                .await
                .map_err(|_| self.backend.timed_out(patience))?,
            None => under_way.first.await,
        };
        let Ok(First::Answer { text, code }) = first else {
            return Err(child.over().unwrap_or(Failure::UnknownSession));
        };
        if let Some(code) = code {
            // The server refused; why is its own to say.
            let unsupported = code == ErrorCode::UnsupportedVersion.number();
            let status = if unsupported { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            return Ok(json_answer(status, text));
        }
        let answer = Message::parse(text.clone()).ok();
        child.set_format(client, format_for(answer.as_ref().and_then(version_of)));
        let agreed = answer.as_ref().and_then(Agreed::read).map(Arc::new);
        let served = Served::streamable(child, client, message, agreed);
        let begun = self.begin(served, principal).await?;
        starting.begun = true;
        let mut response = at_once(accepts, text);
        response.headers_mut().insert(headers::SESSION_ID, begun.token);
        Ok(response)
    }

    /// The session a request names.
    async fn session(
        &self,
        headers: &HeaderMap,
        principal: PrincipalDigest,
    ) -> Result<Arc<Session<Served>>, Failure> {
        let token = headers::single(headers, &headers::SESSION_ID)
            .map_err(|problem| Failure::BadRequest { what: problem.to_string() })?
            .ok_or(Failure::SessionRequired)?;
        match self.table.open(token.as_bytes(), principal) {
            Some(Opened::Here(session)) => self.served(session, Front::Streamable),
            Some(Opened::Elsewhere(claims)) => Box::pin(self.take_up(&claims)).await,
            None => Err(Failure::UnknownSession),
        }
    }

    /// A session of the table, if it came by this front and its server is not gone for good.
    pub(super) fn served(
        &self,
        session: Arc<Session<Served>>,
        front: Front,
    ) -> Result<Arc<Session<Served>>, Failure> {
        if session.backend.front != front {
            return Err(Failure::UnknownSession);
        }
        if session.backend.child.over().is_some() {
            self.table.end(session.id);
            return Err(Failure::UnknownSession);
        }
        Ok(session)
    }

    async fn post(&self, session: &Arc<Session<Served>>, message: &Message, accepts: Accepts) -> Answered {
        if message.kind() == Kind::Request && !accepts.json && !accepts.events {
            return Ok(not_acceptable("application/json or text/event-stream", message.id()));
        }
        let hold = Box::new(self.table.enter(session));
        let Served { child, client, .. } = &session.backend;
        let patience = self.config.patience.for_pace(message.method().pace());
        let takes = Takes::Post { events: accepts.events };
        let submitted = self.submit_in_time(child, Some(*client), takes, message).await?;
        if Remembered::concerns(message.method()) {
            self.note(session, message).await;
        }
        match submitted {
            Submitted::Accepted => Ok(answer::empty(StatusCode::ACCEPTED)),
            Submitted::Answered(text) => Ok(at_once(accepts, text)),
            Submitted::Refused(why) => Err(Failure::BadRequest { what: why.into() }),
            Submitted::UnderWay(under_way) => {
                let asked = Asked { under_way, accepts, era: Era::Legacy, patience, hold: Some(hold) };
                answer::wait(child, &self.backend, asked).await
            }
        }
    }

    async fn get(&self, headers: &HeaderMap, principal: PrincipalDigest) -> Answered {
        if !Accepts::read(headers).events {
            return Ok(not_acceptable("text/event-stream", None));
        }
        let session = self.session(headers, principal).await?;
        let cursor = headers::single(headers, &headers::LAST_EVENT_ID).ok().flatten().and_then(Cursor::parse);
        let hold = Box::new(self.table.enter(&session));
        let Served { child, client, .. } = &session.backend;
        let (events, place) = child.open_stream(*client, cursor)?;
        let attendance = Attendance::new(child, place, Some(hold));
        Ok(event_stream(Body::events(events, Some(Box::new(attendance)))))
    }

    /// As [`super::child::Child::submit`], for as long as the method is given.
    pub(super) async fn submit_in_time(
        &self,
        child: &super::child::Child,
        client: Option<super::mux::ClientKey>,
        takes: Takes,
        message: &Message,
    ) -> Result<Submitted, Failure> {
        let submit = child.submit(client, takes, message);
        match self.config.patience.for_pace(message.method().pace()) {
            Some(patience) => tokio::time::timeout(patience, submit)
                .await
                .unwrap_or_else(|_| Err(self.backend.timed_out(patience))),
            None => submit.await,
        }
    }
}

/// The revision a server agreed to.
pub(super) fn version_of(result: &Message) -> Option<Revision> {
    result.protocol_version().as_deref().and_then(Revision::from_wire)
}

/// An event without data first only for those who know it: earlier clients would read it as a message.
pub(super) fn format_for(agreed: Option<Revision>) -> Format {
    if agreed >= Some(Revision::V2025_11_25) { Format::Primed } else { Format::Numbered }
}

/// A handshake that claims to be of the revision without one.
fn removed_in_modern(headers: &HeaderMap, message: &Message) -> Option<Response<Body>> {
    let header = headers::single(headers, &headers::PROTOCOL_VERSION).ok().flatten();
    let is_modern = |date: &str| Revision::from_wire(date).map(Revision::era) == Some(Era::Modern);
    let claims = header.is_some_and(is_modern) && message.meta_version().is_some_and(|date| is_modern(&date));
    let reply = ErrorReply::new(ErrorCode::MethodNotFound, "initialize is not part of this protocol version");
    claims.then(|| refused(StatusCode::NOT_FOUND, "method_not_found", &reply, message.id()))
}
