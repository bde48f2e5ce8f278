//! What a client says in its session: answered here, or passed to the backend that it concerns.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Response, StatusCode, header};
use mcp::message::Kind;
use mcp::request::Body as RequestBody;
use mcp::{Era, ErrorCode, ErrorReply, Message, Method, headers};
use proxy::failure::{FailureClass, json_answer, refused};
use proxy::session::{Remembered, Session};
use proxy::streamable::{Accepts, at_once, empty};
use proxy::{Body, Call, Failure};
use serde_json::json;
use tokio::time::timeout_at;

use super::ask::{NoAnswer, is_event_stream, read, result};
use super::era::refuses_legacy;
use super::foreign::unwrap;
use super::head::head_for;
use super::health::Seen;
use super::modern::asked::Asked;
use super::modern::of_session::Bridged;
use super::overdue::Timed;
use super::own::OwnRequest;
use super::passing::{Answers, Passing};
use super::relay::Relay;
use super::session::{Held, InFlight};
use super::streamable::Answered;
use super::{Hub, Member, PartialFailure};
use crate::aggregate::Kind as Listed;

/// For backends to take note of something, before the client is told that they have.
const NOTED_WITHIN: Duration = Duration::from_secs(1);
/// A hub that was just started has not seen everything yet. So long after its start it shows what it has.
pub(super) const LISTS_WITHIN: Duration = Duration::from_secs(2);
/// And so long after it, what nobody has is unknown.
pub(super) const KNOWS_WITHIN: Duration = Duration::from_secs(10);
/// Of an error that is no message.
pub(super) const MAX_REFUSAL: usize = 64 * 1024;

pub(super) const LEVELS: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

impl Hub {
    pub(super) async fn post(
        self: &Arc<Self>,
        session: &Arc<Session<Held>>,
        call: Call,
        accepts: Accepts,
    ) -> Answered {
        let Some(message) = call.request.message().cloned() else {
            return Err(Failure::BadRequest { what: "a POST has a message".to_owned() });
        };
        let _in_use = self.table.enter(session);
        match message.kind() {
            Kind::Request => self.request(session, call, &message, accepts).await,
            Kind::Notification => {
                self.notice(session, &message).await;
                Ok(empty(StatusCode::ACCEPTED))
            }
            Kind::Result | Kind::Error => self.answer_of_client(session, &message).await,
        }
    }

    async fn request(
        self: &Arc<Self>,
        session: &Arc<Session<Held>>,
        call: Call,
        message: &Message,
        accepts: Accepts,
    ) -> Answered {
        let called = match self.through_call_tool(message).await {
            Ok(called) => called,
            Err(text) => return Ok(at_once(accepts, result(message.id().unwrap_or_default(), &text))),
        };
        let message = called.as_ref().unwrap_or(message);
        let method = message.method();
        let own = |text: &[u8]| Ok(at_once(accepts, result(message.id().unwrap_or_default(), text)));
        let passing = match method {
            Method::Ping => return own(b"{}"),
            Method::ToolsList => return Ok(self.listed(Listed::Tools, message, accepts).await),
            Method::PromptsList => return Ok(self.listed(Listed::Prompts, message, accepts).await),
            Method::ResourcesList => return Ok(self.listed(Listed::Resources, message, accepts).await),
            Method::ResourceTemplatesList => {
                return Ok(self.listed(Listed::Templates, message, accepts).await);
            }
            Method::LoggingSetLevel => {
                if !message.level().is_some_and(|level| LEVELS.contains(&&*level)) {
                    return Ok(refuse(message, ErrorCode::InvalidParams, "params.level is not a log level"));
                }
                self.note(session, message).await;
                self.tell_level(session, message).await;
                return own(b"{}");
            }
            _ => self.answers(message),
        };
        let passing = match passing {
            Err(_) => {
                self.settled(KNOWS_WITHIN).await;
                self.answers(message)
            }
            known => known,
        };
        let passing = match passing {
            Ok(Answers::Backend(passing)) => passing,
            Ok(Answers::Hub(tool)) => {
                let headers = &call.request.head.headers;
                let request = OwnRequest { session, message, accepts, headers };
                return Ok(self.answer_own(tool, request).await);
            }
            Err(reply) => return Ok(refused(StatusCode::OK, "not_found", &reply, message.id())),
        };
        let answer = self.pass(session, call, message, accepts, passing).await;
        if Remembered::concerns(method) && answer.status().is_success() {
            self.note(session, message).await;
        }
        Ok(answer)
    }

    /// A page of a list, from the snapshot.
    async fn listed(&self, kind: Listed, message: &Message, accepts: Accepts) -> Response<Body> {
        match self.page(kind, message).await {
            Ok(page) => at_once(accepts, result(message.id().unwrap_or_default(), &page)),
            Err((class, reply)) => refused(StatusCode::OK, class, &reply, message.id()),
        }
    }

    /// The result of a request for a page; an error comes with what it is counted under.
    pub(super) async fn page(
        &self,
        kind: Listed,
        message: &Message,
    ) -> Result<Vec<u8>, (&'static str, ErrorReply)> {
        #[derive(serde::Deserialize)]
        struct Params {
            cursor: Option<String>,
        }
        self.settled(LISTS_WITHIN).await;
        let (view, shape) = (self.view.load(), self.shape.load());
        if shape.partial == PartialFailure::Fail && !view.missing().is_empty() {
            let text = format!("not all backends are there: {} is missing", view.missing().join(", "));
            let reply = ErrorReply::new(ErrorCode::Internal, text)
                .with_data(json!({"origin": "skep", "class": "backend_missing", "executed": "no"}));
            return Err(("backend_missing", reply));
        }
        let cursor = match message.params().map(serde_json::from_slice::<Params>) {
            None => None,
            Some(Ok(params)) => params.cursor,
            Some(Err(_)) => {
                return Err(("bad_request", ErrorReply::new(ErrorCode::InvalidParams, "invalid cursor")));
            }
        };
        Ok(match shape.meta.list().filter(|_| kind == Listed::Tools) {
            Some(list) => list,
            None => view.page(kind, cursor.as_deref()),
        })
    }

    /// Has a backend answer. A session that it has lost is begun anew once: the request was not carried out.
    async fn pass(
        self: &Arc<Self>,
        session: &Arc<Session<Held>>,
        call: Call,
        message: &Message,
        accepts: Accepts,
        passing: Passing,
    ) -> Response<Body> {
        let Passing { member, edit } = passing;
        if !member.may_ask() {
            return unavailable(&member, message, "it has failed too often, and is left alone for a while");
        }
        let theirs = match &edit {
            None => message.clone(),
            Some((span, own)) => match Message::parse(message.splice(&[(*span, own)])) {
                Ok(theirs) => theirs,
                Err(_) => return unavailable(&member, message, "it has a name that cannot be said to it"),
            },
        };
        let mut in_flight = self.under_way(session, message, &member);
        let timed = Timed::begin(self, session, &member, message);
        let (client, tls) = (call.client, call.tls);
        let mut is_again = false;
        loop {
            let opened = match self.opened(session, &member).await {
                Ok(opened) => opened,
                Err(problem) => {
                    self.saw(&member, Seen::Failure);
                    return unavailable(&member, message, &problem.to_string());
                }
            };
            if opened.is_modern() {
                if Remembered::concerns(message.method()) {
                    // Listening is the hub's own affair.
                    return at_once(accepts, result(message.id().unwrap_or_default(), b"{}"));
                }
                let asked = Asked::new(self, &call, message.clone(), accepts);
                match self.bridge(session, &member, asked, theirs.clone(), in_flight).await {
                    Bridged::OtherEra if !is_again => {
                        is_again = true;
                        session.backend.lost(&member.name, &opened);
                        in_flight = self.under_way(session, message, &member);
                        continue;
                    }
                    Bridged::OtherEra => return unavailable(&member, message, "it serves neither era"),
                    Bridged::Answered(response) => return response,
                }
            }
            let body = RequestBody::Message { message: Box::new(theirs.clone()), era: Era::Legacy };
            let head = Box::new(head_for(&call.request.head, &opened, &self.shape.load().passed_headers));
            let request = mcp::Request { head, body };
            let answering = member.handle(Call { request, principal: session.principal, client, tls });
            let response = match &timed {
                None => answering.await,
                Some(timed) => match timeout_at(timed.deadline, answering).await {
                    Ok(response) => response,
                    Err(_) => return timed.answer(),
                },
            };
            if !is_again && opened.token.is_some() && is_unknown_session(&response) {
                is_again = true;
                session.backend.lost(&member.name, &opened);
                continue;
            }
            let response = match in_other_era(response).await {
                Ok(response) => response,
                Err(_) if !is_again => {
                    is_again = true;
                    member.eras.doubt();
                    session.backend.lost(&member.name, &opened);
                    continue;
                }
                Err(response) => response,
            };
            return self.deliver(&member, response, message, in_flight, timed).await;
        }
    }

    /// A backend's answer, as its client gets it.
    async fn deliver(
        &self,
        member: &Arc<Member>,
        mut response: Response<Body>,
        asked: &Message,
        in_flight: InFlight,
        timed: Option<Timed>,
    ) -> Response<Body> {
        response.headers_mut().remove(&headers::SESSION_ID);
        let class = response.extensions().get::<FailureClass>().map(|class| class.0);
        self.saw(member, if is_down(class, response.status()) { Seen::Failure } else { Seen::Call });
        if response.status().is_success() {
            if !is_event_stream(&response) {
                return response;
            }
            // Its length is another one now.
            response.headers_mut().remove(header::CONTENT_LENGTH);
            let deadline = timed.as_ref().map(|timed| timed.deadline);
            let relay = Relay::new(member, Some(in_flight), timed);
            return response.map(|body| body.changed_until(Box::new(relay), deadline));
        }
        // An error of one backend is one of this request, not of the session: some clients give that up.
        let status = response.status();
        let text = read(response.body_mut(), MAX_REFUSAL).await.unwrap_or_default();
        let is_answer = Message::parse(text.clone())
            .is_ok_and(|answer| answer.kind() == Kind::Error && answer.id() == asked.id());
        if !is_answer {
            let why = NoAnswer::Status(status).to_string();
            return not_answered(member, asked, &why, "unknown");
        }
        let mut answer = json_answer(StatusCode::OK, text);
        answer.extensions_mut().insert(FailureClass(class.unwrap_or("refused")));
        answer
    }

    /// What one of the hub's own sessions has to say, as a client would.
    pub(super) async fn hear_client(self: &Arc<Self>, session: &Arc<Session<Held>>, message: &Message) {
        match message.kind() {
            Kind::Notification => self.notice(session, message).await,
            // An answer to what nobody asks any more comes too late.
            Kind::Result | Kind::Error => drop(self.answer_of_client(session, message).await),
            Kind::Request => {}
        }
    }

    /// What a client says to whom it concerns.
    async fn notice(self: &Arc<Self>, session: &Arc<Session<Held>>, message: &Message) {
        match message.method() {
            // Each backend is told when its session begins.
            Method::Initialized => {}
            Method::Cancelled => {
                let id = message.cancelled_id().unwrap_or_default();
                session.backend.cancel(id);
                if session.backend.give_up(id) {
                } else if let Some(backend) = session.backend.who_has(id) {
                    self.tell_one(session, &backend, message.text().clone()).await;
                } else {
                    self.cancelled_elsewhere(session, id).await;
                }
            }
            Method::Progress => {
                if let Some((backend, own)) = message.reported_token().and_then(unwrap) {
                    let text = message.splice(&[(message.reported_token_span(), &own)]);
                    self.tell_one(session, &backend, text).await;
                }
            }
            _ => {
                let opened = session.backend.all_opened();
                let told =
                    opened.iter().map(|(name, _)| self.tell_one(session, name, message.text().clone()));
                join_all(told).await;
            }
        }
    }

    pub(super) async fn tell_one(&self, session: &Session<Held>, name: &str, text: Bytes) {
        let (Some(member), Some(opened)) = (self.member(name), session.backend.opened(name)) else { return };
        if opened.is_modern() {
            return;
        }
        if let Err(problem) = self.speaker(session, &member, &opened).tell(text, NOTED_WITHIN).await {
            tracing::debug!(backend.id = name, error = %problem, "was not told");
        }
    }

    /// What a client answers to what a backend has asked.
    async fn answer_of_client(self: &Arc<Self>, session: &Session<Held>, message: &Message) -> Answered {
        let unasked = || Failure::BadRequest { what: "a response answers no request here".to_owned() };
        let (name, id) = message.id().and_then(unwrap).ok_or_else(unasked)?;
        if name.is_empty() {
            self.answer_to_run(session, &id, message).await.ok_or_else(unasked)?;
            return Ok(empty(StatusCode::ACCEPTED));
        }
        let member = self.member(&name).ok_or_else(unasked)?;
        let opened = session.backend.opened(&name).ok_or_else(unasked)?;
        if opened.is_modern() {
            let waits = session.backend.questions.answer(&id, message);
            return if waits { Ok(empty(StatusCode::ACCEPTED)) } else { Err(unasked()) };
        }
        let text = message.splice(&[(message.id_span(), &id)]);
        match self.speaker(session, &member, &opened).tell(text, self.watching().probe_within).await {
            Ok(()) => Ok(empty(StatusCode::ACCEPTED)),
            Err(NoAnswer::Status(status)) if status.is_client_error() => Err(unasked()),
            Err(problem) => {
                tracing::debug!(backend.id = name, error = %problem, "did not get what it has asked for");
                Ok(empty(StatusCode::ACCEPTED))
            }
        }
    }

    /// Takes note of what the client has asked for.
    async fn note(&self, session: &Session<Held>, message: &Message) {
        let changed = session.backend.remembered.lock().note(message);
        if changed {
            session.backend.subscribed.send_modify(|changes| *changes += 1);
            self.keep(session).await;
        }
    }

    async fn tell_level(&self, session: &Session<Held>, message: &Message) {
        let opened = session.backend.all_opened();
        let told = opened.iter().filter(|(_, opened)| opened.logs).filter_map(|(name, opened)| {
            let member = self.member(name)?;
            Some(async move {
                // A backend that does not take it keeps the level it has.
                let speaker = self.speaker(session, &member, opened);
                let _ = speaker.ask(message.text().clone(), NOTED_WITHIN).await;
            })
        });
        join_all(told).await;
    }
}

/// Whether an answer says that the backend does not know its session.
pub(super) fn is_unknown_session(response: &Response<Body>) -> bool {
    response.extensions().get::<FailureClass>() == Some(&FailureClass("unknown_session"))
        || response.status() == StatusCode::NOT_FOUND
}

/// An answer as it came; an error where it says that the backend knows no sessions (any more).
async fn in_other_era(mut response: Response<Body>) -> Result<Response<Body>, Response<Body>> {
    if response.status() != StatusCode::BAD_REQUEST {
        return Ok(response);
    }
    let text = read(response.body_mut(), MAX_REFUSAL).await.unwrap_or_default();
    let refuses = Message::parse(text.clone()).is_ok_and(|message| refuses_legacy(&message));
    let response = response.map(|_| Body::Full(text));
    if refuses { Err(response) } else { Ok(response) }
}

/// Whether an answer says that the backend is not there.
pub(super) fn is_down(class: Option<&str>, status: StatusCode) -> bool {
    match class {
        Some(class) => matches!(
            class,
            "no_instance" | "unreachable" | "lost" | "timed_out" | "not_started" | "ended" | "interrupted"
        ),
        None => status.is_server_error(),
    }
}

pub(super) fn refuse(message: &Message, code: ErrorCode, text: &str) -> Response<Body> {
    refused(StatusCode::OK, "bad_request", &ErrorReply::new(code, text), message.id())
}

/// The answer to a request that its backend was not asked.
pub(super) fn unavailable(member: &Member, message: &Message, why: &str) -> Response<Body> {
    not_answered(member, message, why, "no")
}

/// The answer to a request whose backend is not there. The session is.
pub(super) fn not_answered(member: &Member, message: &Message, why: &str, executed: &str) -> Response<Body> {
    let text = format!("backend {} is not available: {why}", member.name);
    let data = json!({"origin": "skep", "class": "backend_unavailable", "backend": &*member.name, "executed": executed});
    let reply = ErrorReply::new(ErrorCode::Internal, text).with_data(data);
    refused(StatusCode::OK, "backend_unavailable", &reply, message.id())
}
