//! Everything that keeps the proxy from answering as asked: whose fault it is, what the client is told, what is counted.

use http::{HeaderValue, Response, StatusCode, header};
use mcp::{ErrorCode, ErrorReply};
use serde_json::json;

use crate::body::Body;
use crate::session::TableFull;

/// Who could have prevented it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Client,
    Proxy,
    Backend,
}

/// Why a call was not answered by a backend.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("session not found")]
    UnknownSession,
    #[error("header Mcp-Session-Id is required here: begin with initialize")]
    SessionRequired,
    #[error(transparent)]
    TableFull(#[from] TableFull),
    #[error("method {method} is not offered at this path")]
    MethodNotAllowed { method: http::Method, allow: &'static str },
    #[error("there is nothing at this path; the MCP endpoint is {endpoint}")]
    NotFound { endpoint: String },
    #[error("{what}")]
    BadRequest { what: String },
    #[error("nothing answered: there is no instance of backend {backend}")]
    NoInstance { backend: String },
    #[error("backend {backend} could not be reached at {instance}: {reason}")]
    Unreachable { backend: String, instance: String, reason: String },
    #[error("backend {backend} at {instance} closed the connection before it answered: {reason}")]
    Lost { backend: String, instance: String, reason: String },
    /// As [`Failure::Lost`], in a session that is alive again.
    #[error(
        "backend {backend} at {instance} was lost while this was running ({reason}): it may or may not have been carried out; the session goes on"
    )]
    Interrupted { backend: String, instance: String, reason: String },
    #[error("the session waits for backend {backend} to come back, and too many requests wait for it")]
    Crowded { backend: String },
    #[error("backend {backend} at {instance} did not answer within {seconds} s")]
    TimedOut { backend: String, instance: String, seconds: u64 },
    #[error("backend {backend} could not be started: {reason}")]
    NotStarted { backend: String, reason: String },
    #[error("backend {backend} ended: {reason}")]
    Ended { backend: String, reason: String },
    #[error("backend {backend} at {instance} has no connection to spare")]
    Busy { backend: String, instance: String },
    #[error("skep is shutting down")]
    Draining,
}

impl Failure {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnknownSession
            | Self::SessionRequired
            | Self::MethodNotAllowed { .. }
            | Self::NotFound { .. }
            | Self::BadRequest { .. } => Fault::Client,
            Self::TableFull(_) | Self::Draining | Self::Crowded { .. } => Fault::Proxy,
            _ => Fault::Backend,
        }
    }

    /// A closed set of names for metrics and the access log.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::UnknownSession => "unknown_session",
            Self::SessionRequired => "session_required",
            Self::TableFull(_) => "table_full",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::NotFound { .. } => "not_found",
            Self::BadRequest { .. } => "bad_request",
            Self::NoInstance { .. } => "no_instance",
            Self::Unreachable { .. } => "unreachable",
            Self::Lost { .. } => "lost",
            Self::Interrupted { .. } => "interrupted",
            Self::Crowded { .. } => "crowded",
            Self::TimedOut { .. } => "timed_out",
            Self::NotStarted { .. } => "not_started",
            Self::Ended { .. } => "ended",
            Self::Busy { .. } => "busy",
            Self::Draining => "draining",
        }
    }

    /// The HTTP status (`mcp-protocol.md` §5).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownSession | Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::SessionRequired | Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TableFull(_) | Self::Busy { .. } | Self::Draining | Self::Crowded { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            // An error of this request and of nothing else: some clients give up the session on any 5xx.
            Self::Interrupted { .. } => StatusCode::OK,
            Self::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::NoInstance { .. }
            | Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::NotStarted { .. }
            | Self::Ended { .. } => StatusCode::BAD_GATEWAY,
        }
    }

    /// The JSON-RPC error. `data.origin` tells it from an error of the backend; `data.executed` says what is known of
    /// the request, so that a client can decide whether to repeat it.
    #[must_use]
    pub fn reply(&self) -> ErrorReply {
        let code = match self {
            Self::UnknownSession => ErrorCode::SessionNotFound,
            Self::Interrupted { .. } => ErrorCode::OutcomeUnknown,
            _ if self.fault() == Fault::Client => ErrorCode::InvalidRequest,
            _ => ErrorCode::Internal,
        };
        let message = match self {
            // What clients in the field look for.
            Self::UnknownSession => "Session not found".to_owned(),
            other => other.to_string(),
        };
        let reply = ErrorReply::new(code, message);
        match self {
            Self::Interrupted { .. } => reply.with_data(json!({
                "origin": "skep", "class": self.class(), "executed": "unknown", "retriable": false
            })),
            Self::Lost { .. } | Self::TimedOut { .. } | Self::Ended { .. } => {
                reply.with_data(json!({"origin": "skep", "class": self.class(), "executed": "unknown"}))
            }
            _ if self.fault() == Fault::Client => reply,
            _ => reply.with_data(json!({"origin": "skep", "class": self.class(), "executed": "no"})),
        }
    }

    /// The whole answer, with the request's raw id echoed.
    #[must_use]
    pub fn answer(&self, id: Option<&[u8]>) -> Response<Body> {
        let mut response = json_answer(self.status(), self.reply().to_json(id));
        if let Self::MethodNotAllowed { allow, .. } = self {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response.extensions_mut().insert(FailureClass(self.class()));
        response
    }
}

/// Left on an answer that the proxy made up itself: [`Failure::class`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureClass(pub &'static str);

/// A JSON-RPC error that is no [`Failure`]: what its method or revision asks for, counted under `class`.
#[must_use]
pub fn refused(
    status: StatusCode,
    class: &'static str,
    reply: &ErrorReply,
    id: Option<&[u8]>,
) -> Response<Body> {
    let mut response = json_answer(status, reply.to_json(id));
    response.extensions_mut().insert(FailureClass(class));
    response
}

/// An answer with a JSON text as its body.
#[must_use]
pub fn json_answer(status: StatusCode, text: bytes::Bytes) -> Response<Body> {
    let mut response = Response::new(Body::Full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_session_is_answered_as_clients_expect_it() {
        let answer = Failure::UnknownSession.answer(Some(b"\"a\""));
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let Body::Full(text) = answer.into_body() else { panic!("a whole message") };
        assert_eq!(
            text,
            r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32001,"message":"Session not found"}}"#
        );
    }

    #[test]
    fn a_dead_backend_is_named_and_the_outcome_told() {
        let lost =
            Failure::Lost { backend: "time".into(), instance: "10.0.0.1:80".into(), reason: "reset".into() };
        let reply = lost.reply();
        assert_eq!((lost.status().as_u16(), reply.code.number()), (502, -32603));
        assert!(reply.message.contains("time") && reply.message.contains("10.0.0.1:80"));
        assert_eq!(reply.data.unwrap()["executed"], "unknown");
    }
}
