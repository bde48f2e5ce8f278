//! What a backend's answer, or the lack of one, says about the session it was asked in.

use http::StatusCode;
use serde::Deserialize;

use super::history::Cause;
use crate::failure::Failure;

/// What is known of a request that was not answered as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing of the request reached an instance that holds the session: it was not carried out.
    InstanceGone,
    /// The instance answers and does not know the session: it was not carried out.
    MemoryLost,
    /// The connection broke after the request was sent: it may have been carried out, and the session may live.
    Unclear,
}

impl Loss {
    /// Reads a failure to get an answer; `None` where it says nothing about the session.
    pub(crate) fn of_failure(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::NoInstance { .. } | Failure::Unreachable { .. } => Some(Self::InstanceGone),
            Failure::Lost { .. } => Some(Self::Unclear),
            _ => None,
        }
    }

    /// As it is counted.
    pub(crate) fn cause(self) -> Cause {
        match self {
            Self::InstanceGone => Cause::InstanceGone,
            Self::MemoryLost => Cause::MemoryLost,
            Self::Unclear => Cause::ConnectionLost,
        }
    }

    /// Whether the request can be sent again without asking what it does.
    pub(crate) fn is_unexecuted(self) -> bool {
        !matches!(self, Self::Unclear)
    }
}

/// How a kind of server says that it does not know a session, where the status alone does not.
struct Dialect {
    status: StatusCode,
    /// `None`: the text is no JSON-RPC error.
    code: Option<i64>,
    /// Any of these is in the message, compared without case.
    says: &'static [&'static str],
}

/// What servers in the field answer a POST that names a session they have forgotten. 404 is the protocol's own way
/// (MCP 2025-11-25, Session Management) and needs no row. Each row was seen on the wire.
const DIALECTS: [Dialect; 4] = [
    // @modelcontextprotocol/server-everything 2026.8.31, and what was written after the TypeScript SDK's example:
    // "Bad Request: No valid session ID provided".
    Dialect { status: StatusCode::BAD_REQUEST, code: Some(-32000), says: &["session", "not initialized"] },
    // The Python SDK, where a session id is missing: a balancer in between took it away, or the server kept none.
    Dialect { status: StatusCode::BAD_REQUEST, code: Some(-32600), says: &["missing session", "initialize"] },
    // The TypeScript SDK's transport without a session: "Server not initialized".
    Dialect { status: StatusCode::BAD_REQUEST, code: Some(-32002), says: &["session", "not initialized"] },
    // rmcp (Rust), which takes the request for the first of a session: "Unexpected message, expect initialize request".
    Dialect { status: StatusCode::UNPROCESSABLE_ENTITY, code: None, says: &["initialize"] },
];

#[derive(Deserialize)]
struct ErrorText<'a> {
    #[serde(borrow)]
    error: ErrorBody<'a>,
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    code: i64,
    #[serde(borrow, default)]
    message: std::borrow::Cow<'a, str>,
}

/// Whether the status may mean a lost session, so that the answer's text is worth reading.
pub(crate) fn is_suspicious(status: StatusCode) -> bool {
    status == StatusCode::NOT_FOUND || DIALECTS.iter().any(|dialect| dialect.status == status)
}

/// Whether an answer to a request that named a known session says that it is not known any more.
pub(crate) fn says_unknown_session(status: StatusCode, text: &[u8]) -> bool {
    let error = serde_json::from_slice::<ErrorText<'_>>(text).ok().map(|text| text.error);
    if status == StatusCode::NOT_FOUND {
        // A server of 2026-07-28 answers an unknown method so.
        return error.is_none_or(|error| error.code != -32601);
    }
    let code = error.as_ref().map(|error| error.code);
    let message = match &error {
        Some(error) => error.message.to_ascii_lowercase(),
        None => String::from_utf8_lossy(text).to_ascii_lowercase(),
    };
    DIALECTS.iter().any(|dialect| {
        dialect.status == status
            && dialect.code == code
            && dialect.says.iter().any(|words| message.contains(words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_is_understood_and_nothing_else() {
        for (status, text, lost) in [
            (
                404,
                r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}"#,
                true,
            ),
            (
                404,
                r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}"#,
                true,
            ),
            (404, "Not Found: Session not found", true),
            (404, "", true),
            (404, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}"#, false),
            (
                400,
                r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}"#,
                true,
            ),
            (
                400,
                r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Server not initialized"},"id":null}"#,
                true,
            ),
            (
                400,
                r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}"#,
                true,
            ),
            (
                400,
                r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Unsupported protocol version"}}"#,
                false,
            ),
            (
                400,
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"session is a bad argument"}}"#,
                false,
            ),
            (400, "session", false),
            (422, "Unexpected message, expect initialize request", true),
            (422, "no such thing", false),
            (401, "session", false),
            (500, "session not found", false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let read = is_suspicious(status) && says_unknown_session(status, text.as_bytes());
            assert_eq!(read, lost, "{status} {text}");
        }
    }

    #[test]
    fn only_what_says_something_about_the_session_is_a_loss() {
        let (backend, instance, reason) = (String::new(), String::new(), String::new());
        let gone = Failure::Unreachable {
            backend: backend.clone(),
            instance: instance.clone(),
            reason: reason.clone(),
        };
        assert_eq!(Loss::of_failure(&gone), Some(Loss::InstanceGone));
        let lost = Failure::Lost { backend: backend.clone(), instance: instance.clone(), reason };
        assert_eq!(Loss::of_failure(&lost), Some(Loss::Unclear));
        assert_eq!(Loss::of_failure(&Failure::TimedOut { backend, instance, seconds: 1 }), None);
        assert!(Loss::MemoryLost.is_unexecuted() && !Loss::Unclear.is_unexecuted());
    }
}
