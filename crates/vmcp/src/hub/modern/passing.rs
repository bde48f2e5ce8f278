//! A client's request on its way to the backend that has what it names.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};
use mcp::message::Kind;
use mcp::method::Target;
use mcp::param_headers::ParamHeaders;
use mcp::{Era, ErrorCode, ErrorReply, Message, Method, headers};
use proxy::Body;
use proxy::failure::{FailureClass, json_answer};
use proxy::streamable::at_once;
use tokio::time::{Instant, timeout_at};

use super::super::ask::{NoAnswer, is_event_stream, read, result};
use super::super::era::doubts_modern;
use super::super::health::Seen;
use super::super::object::Object;
use super::super::overdue::late;
use super::super::passing::{Answers as Answerer, Passing};
use super::super::requests::{KNOWS_WITHIN, MAX_REFUSAL, is_down, not_answered, unavailable};
use super::super::{Hub, Member};
use super::asked::Asked;
use super::envelope::with_server;
use super::handing_over::Gone;
use super::relay::{Dressing, Events, Whole};
use super::state::State;
use super::waiting::gone;
use super::{Response, refuse, status};

/// What came of asking a backend in its own era.
pub(super) enum Outcome {
    Answered(Response),
    /// It does not know that era.
    OtherEra(Response),
}

impl Hub {
    pub(super) async fn pass_modern(self: &Arc<Self>, asked: Asked) -> Response {
        let asked = match self.through_call_tool(&asked.message).await {
            Ok(None) => asked,
            Ok(Some(message)) => {
                // Its client does not know what of the arguments is to be repeated.
                let mut repeated = HeaderMap::new();
                self.repeat_arguments(&message, &mut repeated);
                Asked { message, repeated, ..asked }
            }
            Err(misused) => return self.complete(&asked, &misused),
        };
        let (asked, state) = match State::of(&self.config.keys, &asked.message, asked.principal) {
            Ok(Some(State::Waiting { process, call })) => match self.come_back(&asked, process, call).await {
                Ok(response) => return response,
                Err(Gone) => match self.afresh(&asked) {
                    Some(asked) => (asked, None),
                    None => return refuse(&asked.message, "call_not_here", gone()),
                },
            },
            Ok(state) => (asked, state),
            Err(foreign) => return refuse(&asked.message, "invalid_state", foreign.reply()),
        };
        let passing = match self.whose_modern(&asked).await {
            Ok(Answerer::Backend(passing)) => passing,
            Ok(Answerer::Hub(tool)) => return self.ask_own(tool, &asked).await,
            Err(reply) => return refuse(&asked.message, "not_found", reply),
        };
        let own_state = match state {
            None => None,
            Some(State::Backend { name, own }) if *name == *passing.member.name => own,
            Some(_) => {
                let text = "the backend that has asked is not the one that has this now";
                return refuse(
                    &asked.message,
                    "invalid_state",
                    ErrorReply::new(ErrorCode::InvalidParams, text),
                );
            }
        };
        let member = Arc::clone(&passing.member);
        if !member.may_ask() {
            let why = "it has failed too often, and is left alone for a while";
            return unavailable(&member, &asked.message, why);
        }
        match theirs(&asked.message, passing, own_state) {
            Some(theirs) => self.ask_backend(&member, &asked, theirs).await,
            None => unavailable(&member, &asked.message, "it has a name that cannot be said to it"),
        }
    }

    /// A result of the hub's own, which is JSON.
    fn complete(&self, asked: &Asked, own: &[u8]) -> Response {
        let mut own = Object::read(own).unwrap_or_default();
        own.set("resultType", &br#""complete""#[..]);
        let text = result(asked.message.id().unwrap_or_default(), &with_server(own, &self.server_info()));
        at_once(asked.accepts, text)
    }

    /// Which arguments of a call are repeated in headers, as its tool is listed.
    fn repeated(&self, call: &Message) -> Option<ParamHeaders> {
        let name = call.target().filter(|_| call.method() == Method::ToolsCall)?;
        Some(self.view.load().tool(&name)?.param_headers())
    }

    /// Whether a call repeats in headers what a backend that sees none could not check.
    pub(super) fn check_repeated(&self, call: &Message, given: &HeaderMap) -> Result<(), ErrorReply> {
        let Some(repeated) = self.repeated(call) else { return Ok(()) };
        let checked = repeated.check(given, call.arguments());
        checked.map_err(|problem| ErrorReply::new(ErrorCode::HeaderMismatch, problem.to_string()))
    }

    /// Repeats in headers what a client of the other era does not.
    pub(super) fn repeat_arguments(&self, call: &Message, head: &mut HeaderMap) {
        let Some(repeated) = self.repeated(call) else { return };
        // Arguments that are none are refused by the backend.
        for (name, value) in repeated.expected(call.arguments()).unwrap_or_default() {
            head.insert(name, value);
        }
    }

    async fn whose_modern(&self, asked: &Asked) -> Result<Answerer, ErrorReply> {
        let message = &asked.message;
        if message.method().target() == Target::TaskId {
            return self.whose_task(message, asked.principal).map(Answerer::Backend);
        }
        match self.answers(message) {
            Err(_) => {
                self.settled(KNOWS_WITHIN).await;
                self.answers(message)
            }
            known => known,
        }
    }

    /// Asks it in the era it serves. One that turns out to serve the other is looked at, and asked, once more.
    async fn ask_backend(self: &Arc<Self>, member: &Arc<Member>, asked: &Asked, theirs: Message) -> Response {
        let mut refusal = None;
        loop {
            let is_modern = match self.serves_modern(member).await {
                Ok(is_modern) => is_modern,
                Err(problem) => {
                    self.saw(member, Seen::Failure);
                    let unavailable = || unavailable(member, &asked.message, &problem.to_string());
                    return refusal.unwrap_or_else(unavailable);
                }
            };
            let outcome = match is_modern {
                true => self.ask_modern(member, asked, theirs.clone()).await,
                false => self.ask_legacy(member, asked, &theirs).await,
            };
            match outcome {
                Outcome::Answered(response) => return response,
                Outcome::OtherEra(response) if refusal.is_some() => return response,
                Outcome::OtherEra(response) => {
                    self.look(member, self.watching().probe_within).await;
                    if member.eras.serves(Era::Modern) == Some(is_modern) {
                        return response;
                    }
                    refusal = Some(response);
                }
            }
        }
    }

    async fn ask_modern(&self, member: &Arc<Member>, asked: &Asked, theirs: Message) -> Outcome {
        let deadline = member.backend.call_within().map(|within| Instant::now() + within);
        let answering = member.handle(asked.call(theirs, Era::Modern));
        let Some(mut response) = in_time(deadline, answering).await else {
            self.saw(member, Seen::Failure);
            return Outcome::Answered(too_late(member, &asked.message));
        };
        response.headers_mut().remove(&headers::SESSION_ID);
        let class = response.extensions().get::<FailureClass>().map(|class| class.0);
        let down = is_down(class, response.status());
        self.saw(member, if down { Seen::Failure } else { Seen::Call });
        if response.status().is_success() {
            return Outcome::Answered(self.dressed(member, asked, response, deadline));
        }
        let status_was = response.status();
        let text = read(response.body_mut(), MAX_REFUSAL).await.unwrap_or_default();
        let error = Message::parse(text.clone()).ok().filter(|message| message.kind() == Kind::Error);
        let doubtful = !down && doubts_modern(status_was, error.as_ref());
        let answer = match error.filter(|error| error.id() == asked.message.id()) {
            Some(error) => refused_by(&error, text, class),
            None => {
                not_answered(member, &asked.message, &NoAnswer::Status(status_was).to_string(), "unknown")
            }
        };
        if doubtful { Outcome::OtherEra(answer) } else { Outcome::Answered(answer) }
    }

    /// A backend's answer as its client gets it.
    fn dressed(
        &self,
        member: &Arc<Member>,
        asked: &Asked,
        mut response: Response,
        deadline: Option<Instant>,
    ) -> Response {
        let dressing = Dressing {
            member: Arc::clone(member),
            keys: Arc::clone(&self.config.keys),
            asked: asked.message.clone(),
            principal: asked.principal,
            server: self.server_info(),
        };
        response.headers_mut().remove(header::CONTENT_LENGTH);
        let is_stream = is_event_stream(&response);
        response.map(|body| match body {
            Body::Full(text) if !is_stream => Body::Full(Whole::dress(&dressing, text)),
            body if is_stream => body.changed_until(Box::new(Events::new(dressing)), deadline),
            body => body.changed_until(Box::new(Whole::new(dressing)), deadline),
        })
    }
}

/// A client's request as its backend knows it: under its own name, with the state that it has given.
fn theirs(message: &Message, passing: Passing, state: Option<String>) -> Option<Message> {
    let text = match passing.edit {
        None => message.text().clone(),
        Some((span, own)) => message.splice(&[(span, &own)]),
    };
    let renamed = Message::parse(text).ok()?;
    let mut params = Object::read(renamed.params()?)?;
    if params.get("requestState").is_none() {
        return Some(renamed);
    }
    match state {
        Some(state) => params.set("requestState", state.into_bytes()),
        None => params.remove("requestState"),
    }
    let method = renamed.method_name()?;
    let text = super::envelope::request_text(renamed.id()?, &method, Some(&params.write()));
    Message::parse(text).ok()
}

/// What comes in time; `None`: nothing did.
pub(super) async fn in_time<T>(deadline: Option<Instant>, doing: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(doing.await),
        Some(deadline) => timeout_at(deadline, doing).await.ok(),
    }
}

fn too_late(member: &Member, message: &Message) -> Response {
    refuse(message, "timed_out", late(member))
}

fn refused_by(error: &Message, text: Bytes, class: Option<&'static str>) -> Response {
    let mut answer = json_answer(status(error.error_code().unwrap_or_default()), text);
    answer.extensions_mut().insert(FailureClass(class.unwrap_or("refused")));
    answer
}
