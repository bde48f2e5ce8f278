//! Streamable HTTP, both eras on one endpoint.
//!
//! Legacy requests that say something before their answer run on their own and write to a log, so that a lost
//! connection loses nothing. Modern ones run inside the body that carries their events, so that a lost connection is
//! what cancels them. Either way a request that turns out to be done at once is answered as plain JSON.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use mcp::{Era, ErrorCode, ErrorReply, Kind, Message, Method, Revision, headers, revision, sse};
use tokio::sync::mpsc;

use super::body::{Body, empty, events, json, large, refuse, whole_events};
use super::events::{EventStream, FromJob, FromLog, read_event_id};
use crate::call::{Call, Peer};
use crate::dispatch::dispatch;
use crate::event_log::Outbox;
use crate::handshake;
use crate::in_flight::Refused;
use crate::reply::{Answer, Form, Freshness, Outcome, Pending, Reply, Work};
use crate::server::Server;
use crate::session::{Session, SessionId};

/// Messages that wait for a reader of a modern request's stream.
const QUEUE: usize = 64;

/// How a client wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Json,
    /// It names `text/event-stream` first.
    Events,
}

/// Reads `Accept`, which must allow both forms: the server chooses. `None` where it does not.
fn wanted(given: &HeaderMap) -> Option<Wanted> {
    let Some(accept) = given.get(header::ACCEPT) else { return Some(Wanted::Json) };
    let accept = accept.to_str().ok()?;
    let events = accept.find("text/event-stream");
    let json = accept.find("application/json");
    if accept.contains("*/*") {
        return Some(Wanted::Json);
    }
    Some(if events? < json? { Wanted::Events } else { Wanted::Json })
}

fn accepts_events(given: &HeaderMap) -> bool {
    let accept = given.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
    accept.contains("text/event-stream") || accept.contains("*/*")
}

pub(super) async fn post(server: &Arc<Server>, given: &HeaderMap, text: Bytes) -> Response<Body> {
    let Some(wanted) = wanted(given) else {
        let why = invalid("Accept must list application/json and text/event-stream");
        return refuse(StatusCode::NOT_ACCEPTABLE, &why, None);
    };
    let message = match Message::parse(text) {
        Ok(message) => message,
        Err(malformed) => return refuse(StatusCode::BAD_REQUEST, &malformed.reply(), None),
    };
    let (of_legacy, of_modern) = (server.config.serves(Era::Legacy), server.config.serves(Era::Modern));
    if message.method() == Method::Initialize && is_legacy_initialize(&message) && of_legacy {
        return initialize(server, &message, wanted);
    }
    match revision::classify(given, &message) {
        Ok(Era::Legacy) if !of_legacy => {
            let asked = message.protocol_version().unwrap_or_default();
            let unsupported = revision::unsupported(&asked, &[Revision::V2026_07_28]);
            refuse(StatusCode::BAD_REQUEST, &unsupported, message.id())
        }
        // As servers answer who have never heard of it.
        Ok(Era::Modern) if !of_modern => {
            refuse(StatusCode::BAD_REQUEST, &invalid("no session: begin with initialize"), message.id())
        }
        Err(contradiction) => refuse(StatusCode::BAD_REQUEST, &contradiction.0, message.id()),
        // An `initialize` that is not legacy is a modern request for a method that is gone.
        Ok(Era::Legacy) if message.method() != Method::Initialize => {
            legacy(server, given, message, wanted).await
        }
        Ok(_) => modern(server, given, message, wanted).await,
    }
}

/// Whether it asks for a handshake, and does not claim to be of a revision that has none.
fn is_legacy_initialize(message: &Message) -> bool {
    message.protocol_version().is_some() || message.meta_version().is_none()
}

fn initialize(server: &Arc<Server>, message: &Message, wanted: Wanted) -> Response<Body> {
    let Some(id) = message.id() else {
        return refuse(StatusCode::BAD_REQUEST, &invalid("initialize is a request"), None);
    };
    let form = Form { id: Bytes::copy_from_slice(id), modern: false, freshness: Freshness::Unsaid };
    let negotiated = match handshake::negotiate(message) {
        Ok(negotiated) => negotiated,
        Err(outcome) => return finished(form.answer(Work::Done(outcome)), wanted),
    };
    let members = handshake::initialized(&server.config.server_name, negotiated.revision);
    let session = Session::new(negotiated, server.stopping.child_token());
    session.use_at(server.now());
    let name = HeaderValue::from_str(&session.id.to_string()).expect("hexadecimal digits are a header value");
    if server.sessions.insert(session).is_err() {
        let why = ErrorReply::new(ErrorCode::Internal, "too many sessions: try again later");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &why, Some(id));
    }
    let mut response = finished(form.answer(Work::Done(Outcome::Complete(members))), wanted);
    response.headers_mut().insert(headers::SESSION_ID, name);
    response
}

/// The session that a request names.
fn session_of(
    server: &Server,
    given: &HeaderMap,
    id: Option<&[u8]>,
) -> Result<Arc<Session>, Box<Response<Body>>> {
    let bad = |why: &ErrorReply| Box::new(refuse(StatusCode::BAD_REQUEST, why, id));
    let name = headers::single(given, &headers::SESSION_ID)
        .map_err(|problem| bad(&invalid(&problem.to_string())))?;
    let name = name.ok_or_else(|| bad(&invalid("Mcp-Session-Id is required")))?;
    let version = headers::single(given, &headers::PROTOCOL_VERSION);
    let version = version.map_err(|problem| bad(&invalid(&problem.to_string())))?;
    if version.is_some_and(|version| Revision::from_wire(version).is_none()) {
        return Err(bad(&invalid("MCP-Protocol-Version is not a version that is served")));
    }
    let session = SessionId::from_wire(name).and_then(|id| server.sessions.get(id));
    let session = session.ok_or_else(|| {
        let why = ErrorReply::new(ErrorCode::SessionNotFound, "Session not found");
        Box::new(refuse(StatusCode::NOT_FOUND, &why, id))
    })?;
    session.use_at(server.now());
    Ok(session)
}

async fn legacy(server: &Arc<Server>, given: &HeaderMap, message: Message, wanted: Wanted) -> Response<Body> {
    let session = match session_of(server, given, message.id()) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    match message.kind() {
        Kind::Request => {}
        Kind::Result | Kind::Error => {
            session.resolve(message);
            return empty(StatusCode::ACCEPTED);
        }
        Kind::Notification => {
            if let (Method::Cancelled, Some(id)) = (message.method(), message.cancelled_id()) {
                session.in_flight.cancel(id);
            }
            return empty(StatusCode::ACCEPTED);
        }
    }
    let id = message.text().slice(message.id_span().range());
    let peer = Peer::Session(Arc::clone(&session));
    match dispatch(&Call { server: Arc::clone(server), message, peer }) {
        Answer::Later(pending) => legacy_later(&session, id, pending, wanted).await,
        answer => finished(answer, wanted),
    }
}

/// Runs a request for as long as its session lives.
async fn legacy_later(session: &Arc<Session>, id: Bytes, pending: Pending, wanted: Wanted) -> Response<Body> {
    let under_way = match session.in_flight.begin(id.clone(), session.over.child_token()) {
        Ok(under_way) => under_way,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, &not_begun(why), Some(&id)),
    };
    let log = session.open_stream();
    let work = pending.run(Outbox::Log(Arc::clone(&log)));
    let mut job = Box::pin(async move {
        tokio::select! {
            reply = work => Some(reply),
            // A cancelled request has no answer.
            () = under_way.cancelled.cancelled() => None,
        }
    });
    match poll_fn(|cx| Poll::Ready(job.as_mut().poll(cx))).await {
        Poll::Ready(Some(reply)) if log.is_silent() => {
            session.forget_stream(log.number);
            return finished(Answer::Now(reply), wanted);
        }
        Poll::Ready(reply) => log.finish(reply.map(|reply| reply.text)),
        Poll::Pending => {
            let log = Arc::clone(&log);
            tokio::spawn(async move { log.finish(job.await.map(|reply| reply.text)) });
        }
    }
    let primed = session.negotiated.revision >= Revision::V2025_11_25;
    events(EventStream::new(FromLog::new(log.attach(Some(0)), primed)))
}

async fn modern(server: &Arc<Server>, given: &HeaderMap, message: Message, wanted: Wanted) -> Response<Body> {
    match message.kind() {
        Kind::Request => {}
        // There is nothing to tell a server that keeps nothing; cancelling is closing the stream.
        Kind::Notification => return empty(StatusCode::ACCEPTED),
        Kind::Result | Kind::Error => {
            return refuse(StatusCode::BAD_REQUEST, &invalid("responses have no place here"), None);
        }
    }
    if message.method() == Method::ToolsCall {
        let name = message.target().unwrap_or_default();
        if let Err(problem) = server.catalog.check_headers(&name, given, message.arguments()) {
            let why = ErrorReply::new(ErrorCode::HeaderMismatch, problem.to_string());
            return refuse(StatusCode::BAD_REQUEST, &why, message.id());
        }
    }
    match dispatch(&Call { server: Arc::clone(server), message, peer: Peer::Stateless }) {
        Answer::Later(pending) => modern_later(pending, wanted).await,
        Answer::Now(reply) => modern_finished(reply, wanted),
        Answer::Large(text) => large(text),
    }
}

async fn modern_later(pending: Pending, wanted: Wanted) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut job = pending.run(Outbox::Queue(sender));
    let source = match poll_fn(|cx| Poll::Ready(job.as_mut().poll(cx))).await {
        Poll::Ready(reply) if receiver.is_empty() => return modern_finished(reply, wanted),
        Poll::Ready(reply) => FromJob::new(None, receiver, Some(reply.text)),
        Poll::Pending => FromJob::new(Some(job), receiver, None),
    };
    events(EventStream::new(source))
}

/// The status says what kind of error it is (2026-07-28, status table).
fn modern_finished(reply: Reply, wanted: Wanted) -> Response<Body> {
    match reply.error {
        Some(
            ErrorCode::HeaderMismatch | ErrorCode::MissingClientCapability | ErrorCode::UnsupportedVersion,
        ) => json(StatusCode::BAD_REQUEST, reply.text),
        Some(ErrorCode::MethodNotFound) => json(StatusCode::NOT_FOUND, reply.text),
        _ => finished(Answer::Now(reply), wanted),
    }
}

fn finished(answer: Answer, wanted: Wanted) -> Response<Body> {
    match (answer, wanted) {
        (Answer::Now(reply), Wanted::Events) => whole_events(sse::message_event(None, &reply.text)),
        (Answer::Now(reply), Wanted::Json) => json(StatusCode::OK, reply.text),
        (Answer::Large(text), _) => large(text),
        (Answer::Later(_), _) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

pub(super) fn get(server: &Arc<Server>, given: &HeaderMap) -> Response<Body> {
    if is_modern(given) || !server.config.serves(Era::Legacy) {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    if !accepts_events(given) {
        return refuse(StatusCode::NOT_ACCEPTABLE, &invalid("Accept must list text/event-stream"), None);
    }
    let session = match session_of(server, given, None) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    let primed = session.negotiated.revision >= Revision::V2025_11_25;
    let seen = given.get(headers::LAST_EVENT_ID).and_then(|id| id.to_str().ok()).and_then(read_event_id);
    if let Some((stream, number)) = seen
        && let Some(log) = session.stream(stream)
    {
        return events(EventStream::new(FromLog::new(log.attach(Some(number)), primed)));
    }
    if session.standalone.is_attached() {
        return refuse(StatusCode::CONFLICT, &invalid("this session has a stream already"), None);
    }
    events(EventStream::new(FromLog::new(session.standalone.attach(None), primed)))
}

pub(super) fn delete(server: &Server, given: &HeaderMap) -> Response<Body> {
    if is_modern(given) || !server.config.serves(Era::Legacy) {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    match session_of(server, given, None) {
        Ok(session) => {
            server.sessions.end(session.id);
            empty(StatusCode::OK)
        }
        Err(refusal) => *refusal,
    }
}

fn is_modern(given: &HeaderMap) -> bool {
    let version = given.get(headers::PROTOCOL_VERSION).and_then(|version| version.to_str().ok());
    version.and_then(Revision::from_wire).is_some_and(|version| version.era() == Era::Modern)
}

fn invalid(why: &str) -> ErrorReply {
    ErrorReply::new(ErrorCode::InvalidRequest, why)
}

pub(super) fn not_begun(why: Refused) -> ErrorReply {
    match why {
        Refused::SameId => invalid("a request of this id is under way"),
        Refused::TooMany => ErrorReply::new(ErrorCode::Internal, "too many requests are under way"),
    }
}
