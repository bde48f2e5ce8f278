//! JSON-RPC error codes and the error messages an intermediary writes itself.
//!
//! Codes: JSON-RPC 2.0 §5.1; MCP 2026-07-28 "Error codes" for -32020…-32022; -32000…-32019 are implementation-defined
//! up to 2025-11-25, where -32001 "Session not found" is what clients and servers in the field use.

use bytes::Bytes;

/// A code this project writes or looks for. Others pass through as the numbers they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    Parse,
    InvalidRequest,
    MethodNotFound,
    InvalidParams,
    Internal,
    /// Legacy era: the session id is unknown, ended, or not yours.
    SessionNotFound,
    /// Up to 2025-11-25: there is no such resource. 2026-07-28 says [`ErrorCode::InvalidParams`] instead.
    ResourceNotFound,
    /// 2026-07-28: a header is missing, malformed, or differs from the body.
    HeaderMismatch,
    /// 2026-07-28: the request needs a client capability that it did not declare.
    MissingClientCapability,
    /// 2026-07-28: `data.supported` lists what would be accepted.
    UnsupportedVersion,
    /// skep's own, outside of what JSON-RPC reserves: the request may or may not have been carried out, and the session
    /// goes on.
    OutcomeUnknown,
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Parse => -32700,
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::InvalidParams => -32602,
            Self::Internal => -32603,
            Self::SessionNotFound => -32001,
            Self::ResourceNotFound => -32002,
            Self::HeaderMismatch => -32020,
            Self::MissingClientCapability => -32021,
            Self::UnsupportedVersion => -32022,
            Self::OutcomeUnknown => -31001,
        }
    }
}

/// An error response written by this side.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorReply {
    pub code: ErrorCode,
    pub message: String,
    pub data: Option<serde_json::Value>,
}

impl ErrorReply {
    /// An error with its text for the client.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// Adds the `data` member.
    #[must_use]
    pub fn with_data(mut self, data: serde_json::Value) -> Self {
        self.data = Some(data);
        self
    }

    /// The JSON-RPC message. `id` is the raw JSON text of the request's id; without one the member is left out, as
    /// 2025-11-25 and later want it (and earlier clients tolerate it).
    #[must_use]
    pub fn to_json(&self, id: Option<&[u8]>) -> Bytes {
        let mut text = Vec::with_capacity(96 + self.message.len());
        text.extend_from_slice(br#"{"jsonrpc":"2.0","#);
        if let Some(id) = id {
            text.extend_from_slice(br#""id":"#);
            text.extend_from_slice(id);
            text.push(b',');
        }
        text.extend_from_slice(format!(r#""error":{{"code":{},"message":"#, self.code.number()).as_bytes());
        text.extend_from_slice(serde_json::Value::from(self.message.as_str()).to_string().as_bytes());
        if let Some(data) = &self.data {
            text.extend_from_slice(br#","data":"#);
            text.extend_from_slice(data.to_string().as_bytes());
        }
        text.extend_from_slice(b"}}");
        Bytes::from(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_comes_back_as_it_was_spelt_or_not_at_all() {
        let reply = ErrorReply::new(ErrorCode::SessionNotFound, "Session \"x\" not found");
        assert_eq!(
            reply.to_json(Some(b"\"a\\u0062\"")),
            r#"{"jsonrpc":"2.0","id":"a\u0062","error":{"code":-32001,"message":"Session \"x\" not found"}}"#
        );
        assert_eq!(
            ErrorReply::new(ErrorCode::Parse, "no").with_data(serde_json::json!({"at": 1})).to_json(None),
            r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"no","data":{"at":1}}}"#
        );
    }
}
