//! Clients of 2026-07-28, and what it takes to bring them and backends of the other era together.
//!
//! Nothing is kept of a client between two requests: what is listed is the same for all, and a request goes to the
//! backend that has its name. A backend of the same era gets it as it is, under its own name ([`passing`]); one that wants a
//! session is asked in one that the hub keeps ([`in_seat`], [`seats`]). What a backend asks on the way goes to the client
//! with the answer, and comes back with the next round ([`state`]). The other way round, what a client asks in its session
//! goes to a backend without sessions as it wants to be asked ([`of_session`]).
//!
//! Tasks are those of backends of the same era ([`tasks`]); the ones of 2025-11-25 are something else, and nobody has them.

pub(in crate::hub) mod asked;
pub(in crate::hub) mod envelope;
pub(in crate::hub) mod freshness;
pub(in crate::hub) mod handed_over;
mod handing_over;
mod in_seat;
mod listen;
mod lists;
pub(in crate::hub) mod of_session;
mod passing;
mod questions;
pub(in crate::hub) mod reading;
mod relay;
pub(in crate::hub) mod said;
pub(in crate::hub) mod seats;
mod state;
mod tasks;
pub(in crate::hub) mod waiting;

use std::sync::Arc;

use http::StatusCode;
use mcp::message::Kind;
use mcp::{ErrorCode, ErrorReply, Message, Method, Revision};
use proxy::failure::refused;
use proxy::streamable::{Accepts, empty, not_acceptable};
use proxy::{Body, Call, Failure};
use serde_json::json;

use super::Hub;
use super::streamable::Answered;
use crate::aggregate::Kind as Listed;
use asked::Asked;

type Response = http::Response<Body>;

impl Hub {
    /// Answers a request of 2026-07-28.
    pub(super) async fn modern(self: &Arc<Self>, call: Call) -> Answered {
        let head = &call.request.head;
        let Some(message) = call.request.message().cloned() else {
            return Err(Failure::MethodNotAllowed { method: head.method.clone(), allow: "POST" });
        };
        match message.kind() {
            Kind::Request => self.modern_request(&call, &message).await,
            // Whoever has cancelled has closed the stream, and there is nothing else to be noticed of.
            Kind::Notification => Ok(empty(StatusCode::ACCEPTED)),
            Kind::Result | Kind::Error => {
                Err(Failure::BadRequest { what: "a response answers no request here".to_owned() })
            }
        }
    }

    async fn modern_request(self: &Arc<Self>, call: &Call, message: &Message) -> Answered {
        let accepts = Accepts::read(&call.request.head.headers);
        if !accepts.json && !accepts.events {
            return Ok(not_acceptable("application/json or text/event-stream", message.id()));
        }
        let asked = Asked::new(self, call, message.clone(), accepts);
        let message = &asked.message;
        let listed = match message.method() {
            Method::ServerDiscover => return Ok(self.discovered(message, accepts)),
            Method::ToolsList => Listed::Tools,
            Method::PromptsList => Listed::Prompts,
            Method::ResourcesList => Listed::Resources,
            Method::ResourceTemplatesList => Listed::Templates,
            Method::ToolsCall
            | Method::PromptsGet
            | Method::ResourcesRead
            | Method::CompletionComplete
            | Method::TasksGet
            | Method::TasksUpdate
            | Method::TasksCancel => {
                return Ok(self.pass_modern(asked).await);
            }
            Method::SubscriptionsListen => return Ok(self.listen_modern(asked)),
            _ => return Ok(not_offered(message)),
        };
        Ok(self.list_modern(listed, message, accepts).await)
    }

    /// What the hub calls itself, as JSON text.
    pub(in crate::hub) fn server_info(&self) -> Vec<u8> {
        json!({"name": self.config.name, "version": env!("CARGO_PKG_VERSION")}).to_string().into_bytes()
    }
}

pub(in crate::hub) fn not_offered(message: &Message) -> Response {
    let method = message.method_name().unwrap_or_default();
    let text = match message.method().is_in(Revision::V2026_07_28) {
        true => format!("method {method} is not offered"),
        false => format!("method {method} is not part of this protocol version"),
    };
    refuse(message, "method_not_found", ErrorReply::new(ErrorCode::MethodNotFound, text))
}

/// An error of the hub's own, with the status and the code that 2026-07-28 has for it.
fn refuse(message: &Message, class: &'static str, mut reply: ErrorReply) -> Response {
    if reply.code == ErrorCode::ResourceNotFound {
        reply.code = ErrorCode::InvalidParams;
    }
    refused(status(reply.code.number()), class, &reply, message.id())
}

/// The answer to a request whose call has ended without a word.
fn ended(message: &Message) -> Response {
    let reply = ErrorReply::new(ErrorCode::OutcomeUnknown, "the call ended without an answer")
        .with_data(json!({"origin": "skep", "class": "interrupted", "executed": "unknown"}));
    refuse(message, "interrupted", reply)
}

/// The status that says of what kind an error is (2026-07-28, status table).
fn status(code: i64) -> StatusCode {
    const BAD: [ErrorCode; 3] =
        [ErrorCode::HeaderMismatch, ErrorCode::MissingClientCapability, ErrorCode::UnsupportedVersion];
    if BAD.iter().any(|bad| bad.number() == code) {
        return StatusCode::BAD_REQUEST;
    }
    if code == ErrorCode::MethodNotFound.number() { StatusCode::NOT_FOUND } else { StatusCode::OK }
}
