//! How the hub itself calls a backend's tool for a client: in the client's session with that backend, and to the end.
//!
//! INVARIANT: who drops a call has cancelled it: the backend is told.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method as HttpMethod, StatusCode};
use http_body_util::BodyExt;
use mcp::Message;
use mcp::message::Kind;
use mcp::sse::Decoder;
use proxy::Body;
use proxy::failure::FailureClass;
use proxy::session::Session;
use serde::Deserialize;
use tokio::time::timeout;

use super::ask::{MAX_ANSWER, NoAnswer, error_of, is_event_stream, read};
use super::head::carry;
use super::health::Seen;
use super::relay::{Passed, pass};
use super::requests::{is_down, is_unknown_session};
use super::session::Held;
use super::voice::Voice;
use super::{Hub, Member};
use crate::aggregate::Route;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallFailure {
    /// The tool did nothing.
    #[error("{0}")]
    NotSent(String),
    /// The backend refused it with this error, which is JSON.
    #[error("{message}")]
    Refused { message: String, error: Bytes },
    /// It may have been carried out.
    #[error("{0}")]
    Unknown(String),
}

/// For whom a tool is called.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) session: &'a Arc<Session<Held>>,
    /// Hears what the backend says and asks meanwhile.
    pub(super) voice: &'a Voice,
    /// Headers of the request that this is for.
    pub(super) carried: &'a HeaderMap,
}

/// A call under way; the backend hears when it is given up.
struct UnderWay {
    hub: Arc<Hub>,
    session: Arc<Session<Held>>,
    backend: Arc<str>,
    id: String,
    is_over: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // Without a runtime the process ends, and its connections with it.
        if self.is_over || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let cancelled = serde_json::json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": self.id}
        });
        let (hub, session) = (Arc::clone(&self.hub), Arc::clone(&self.session));
        let (backend, text) = (Arc::clone(&self.backend), Bytes::from(cancelled.to_string()));
        self.hub.tasks.spawn("cancel a call", async move { hub.tell_one(&session, &backend, text).await });
    }
}

impl Hub {
    /// Calls the tool that a route leads to, with these arguments, which are JSON. Gives the whole answer: a message with a
    /// result, which may say that the tool failed.
    pub(super) async fn call_tool(
        self: &Arc<Self>,
        caller: Caller<'_>,
        route: &Route,
        arguments: &[u8],
    ) -> Result<Message, CallFailure> {
        let member = self
            .member(&route.backend)
            .ok_or_else(|| CallFailure::NotSent(format!("backend {} is gone", route.backend)))?;
        if !member.may_ask() {
            let why = "has failed too often, and is left alone for a while";
            return Err(CallFailure::NotSent(format!("backend {} {why}", member.name)));
        }
        let id = format!("skep-{:016x}", fastrand::u64(..));
        let asked = request(&id, &route.own_json(), arguments)?;
        let mut under_way = UnderWay {
            hub: Arc::clone(self),
            session: Arc::clone(caller.session),
            backend: Arc::clone(&member.name),
            id,
            is_over: false,
        };
        let asking = self.asked(caller, &member, &asked);
        let answer = match member.backend.call_within() {
            None => asking.await,
            Some(within) => timeout(within, asking).await.map_err(|_| {
                self.saw(&member, Seen::Failure);
                CallFailure::Unknown(format!("backend {} has not answered within {within:?}", member.name))
            })?,
        };
        under_way.is_over = true;
        answer
    }

    /// A session that the backend has lost is begun anew once: the request was not carried out.
    async fn asked(
        self: &Arc<Self>,
        caller: Caller<'_>,
        member: &Arc<Member>,
        asked: &Message,
    ) -> Result<Message, CallFailure> {
        let session = caller.session;
        let mut is_again = false;
        loop {
            let opened = self.opened(session, member).await.map_err(|problem| {
                self.saw(member, Seen::Failure);
                CallFailure::NotSent(format!("backend {} is not available: {problem}", member.name))
            })?;
            if opened.is_modern() {
                match self.ask_for(caller, member, asked).await {
                    Ok(Some(answer)) => return told(member, answer, StatusCode::OK),
                    Ok(None) if !is_again => {
                        is_again = true;
                        session.backend.lost(&member.name, &opened);
                        continue;
                    }
                    Ok(None) => {
                        return Err(CallFailure::NotSent(format!(
                            "backend {} serves neither era",
                            member.name
                        )));
                    }
                    Err(problem) => return Err(unknown(member, &problem)),
                }
            }
            let speaker = self.speaker(session, member, &opened);
            let mut call = speaker.call(HttpMethod::POST, Some(asked.clone()), None);
            carry(&mut call.request.head.headers, caller.carried);
            let mut response = member.handle(call).await;
            if !is_again && opened.token.is_some() && is_unknown_session(&response) {
                is_again = true;
                session.backend.lost(&member.name, &opened);
                continue;
            }
            let (class, status) =
                (response.extensions().get::<FailureClass>().map(|class| class.0), response.status());
            let answer = match is_event_stream(&response) {
                true => among_events(response.body_mut(), member, asked, caller.voice).await,
                false => whole(response.body_mut(), status).await,
            };
            self.saw(member, if is_down(class, status) { Seen::Failure } else { Seen::Call });
            return answer
                .map_err(|problem| unknown(member, &problem))
                .and_then(|answer| told(member, answer, status));
        }
    }
}

fn request(id: &str, own: &[u8], arguments: &[u8]) -> Result<Message, CallFailure> {
    let text = [
        format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"tools/call","params":{{"name":"#).as_bytes(),
        own,
        br#","arguments":"#,
        arguments,
        b"}}",
    ]
    .concat();
    Message::parse(text.into()).map_err(|problem| CallFailure::NotSent(problem.to_string()))
}

async fn whole(body: &mut Body, status: StatusCode) -> Result<Message, NoAnswer> {
    let text = read(body, MAX_ANSWER).await?;
    Message::parse(text).map_err(|problem| match status.is_success() {
        true => NoAnswer::Unreadable(problem.to_string()),
        false => NoAnswer::Status(status),
    })
}

/// Reads until the answer; what the backend says before it is passed on.
async fn among_events(
    body: &mut Body,
    member: &Member,
    asked: &Message,
    voice: &Voice,
) -> Result<Message, NoAnswer> {
    let (mut decoder, mut events) = (Decoder::new(MAX_ANSWER), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(|_| NoAnswer::CutOff)?.into_data() else { continue };
        decoder.feed(&bytes, &mut events).map_err(|_| NoAnswer::TooLong)?;
        for event in events.drain(..) {
            let Ok(message) = Message::parse(event.data.clone()) else { continue };
            match message.kind() {
                Kind::Result | Kind::Error if message.id() == asked.id() => return Ok(message),
                Kind::Result | Kind::Error => {}
                Kind::Request | Kind::Notification => match pass(member, &event.data) {
                    Passed::AsItIs => {
                        voice.say(&event.data).await;
                    }
                    Passed::As(text) => {
                        voice.say(&text).await;
                    }
                    Passed::Kept => {}
                },
            }
        }
    }
    Err(NoAnswer::CutOff)
}

fn unknown(member: &Member, problem: &NoAnswer) -> CallFailure {
    CallFailure::Unknown(format!("backend {}: {problem}", member.name))
}

/// What an answer comes to: skep's own errors say whether the tool may have done something.
fn told(member: &Member, answer: Message, status: StatusCode) -> Result<Message, CallFailure> {
    #[derive(Default, Deserialize)]
    struct Said {
        #[serde(default)]
        data: Option<Data>,
    }
    #[derive(Deserialize)]
    struct Data {
        origin: Option<String>,
        executed: Option<String>,
    }
    match answer.kind() {
        Kind::Result if status.is_success() => return Ok(answer),
        Kind::Error => {}
        _ => return Err(unknown(member, &NoAnswer::Unreadable("neither a result nor an error".to_owned()))),
    }
    let error = answer.error().unwrap_or_default();
    let message = match error_of(&answer) {
        NoAnswer::Error { message, .. } => message,
        other => other.to_string(),
    };
    // What cannot be read was said by the backend itself.
    let data = serde_json::from_slice::<Said>(error).ok().and_then(|said| said.data);
    let of_skep = data.filter(|data| data.origin.as_deref() == Some("skep"));
    Err(match of_skep.and_then(|data| data.executed).as_deref() {
        Some("no") => CallFailure::NotSent(message),
        Some(_) => CallFailure::Unknown(message),
        None => CallFailure::Refused { message, error: Bytes::copy_from_slice(error) },
    })
}
