//! Protocol revisions, and which era a request belongs to.
//!
//! Up to 2025-11-25 a connection begins with `initialize` and has a session (the *legacy* era); 2026-07-28 has neither
//! (the *modern* era). The era is a property of each request, and one endpoint serves both.

use std::fmt;

use http::HeaderMap;

use crate::error::{ErrorCode, ErrorReply};
use crate::headers::{self, HeaderProblem};
use crate::json;
use crate::message::{Kind, Message, meta_key};
use crate::method::Method;

/// A published protocol revision, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

/// Which life cycle a request follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// Handshake and session.
    Legacy,
    /// Each request stands alone.
    Modern,
}

impl Revision {
    pub const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];
    /// The newest revision with a handshake.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;
    /// The newest revision.
    pub const LATEST: Self = Self::V2026_07_28;

    /// The date that names it on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revision of a date; `None` for one that was never published.
    #[must_use]
    pub fn from_wire(date: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == date)
    }

    /// See [`Era`].
    #[must_use]
    pub fn era(self) -> Era {
        if self == Self::V2026_07_28 { Era::Modern } else { Era::Legacy }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that contradicts itself about its revision, and the answer it gets: status 400 (2026-07-28,
/// "Streamable HTTP", status table).
#[derive(Clone, Debug, PartialEq)]
pub struct Contradiction(pub ErrorReply);

/// Decides the era of a client's HTTP POST (`mcp-protocol.md` §2).
///
/// # Errors
/// [`Contradiction`] where the request is modern and its headers and body disagree, or its version is not one of ours.
pub fn classify(headers: &HeaderMap, message: &Message) -> Result<Era, Contradiction> {
    if message.method() == Method::Initialize {
        return Ok(Era::Legacy);
    }
    let header = headers::single(headers, &headers::PROTOCOL_VERSION);
    let header = match header {
        Ok(value) => value,
        Err(problem) => return Err(mismatch(&problem)),
    };
    let claimed = message.meta_version();
    match (claimed, header) {
        (None, Some(header)) if Revision::from_wire(header).map(Revision::era) == Some(Era::Modern) => {
            modern_without_meta(message, headers)
        }
        (None, _) => Ok(Era::Legacy),
        (Some(claimed), header) => {
            check_modern(&claimed, header, headers, message)?;
            Ok(Era::Modern)
        }
    }
}

/// A modern header on a message that does not say its version: a notification or response has no duty to, a request
/// does.
fn modern_without_meta(message: &Message, headers: &HeaderMap) -> Result<Era, Contradiction> {
    if message.kind() == Kind::Request {
        if !Method::is_in(message.method(), Revision::V2026_07_28) {
            // A method that this revision removed is answered by "method not found", which says more.
            return Ok(Era::Modern);
        }
        return Err(Contradiction(ErrorReply::new(
            ErrorCode::InvalidParams,
            format!("params._meta[{:?}] is required", meta_key::PROTOCOL_VERSION),
        )));
    }
    headers::check_mirrors(headers, message).map_err(|problem| mismatch(&problem))?;
    Ok(Era::Modern)
}

fn check_modern(
    claimed: &str,
    header: Option<&str>,
    headers: &HeaderMap,
    message: &Message,
) -> Result<(), Contradiction> {
    if header != Some(claimed) {
        return Err(mismatch(&HeaderProblem::Differs { header: "MCP-Protocol-Version" }));
    }
    if Revision::from_wire(claimed).map(Revision::era) != Some(Era::Modern) {
        return Err(Contradiction(unsupported(claimed, &[Revision::V2026_07_28])));
    }
    if message.kind() == Kind::Request
        && message.meta_capabilities().is_none_or(|value| !value.starts_with(b"{"))
    {
        return Err(Contradiction(ErrorReply::new(
            ErrorCode::InvalidParams,
            format!("params._meta[{:?}] is required", meta_key::CLIENT_CAPABILITIES),
        )));
    }
    headers::check_mirrors(headers, message).map_err(|problem| mismatch(&problem))
}

fn mismatch(problem: &HeaderProblem) -> Contradiction {
    Contradiction(ErrorReply::new(ErrorCode::HeaderMismatch, problem.to_string()))
}

/// The answer to a version that is not served (-32022).
#[must_use]
pub fn unsupported(requested: &str, supported: &[Revision]) -> ErrorReply {
    let supported: Vec<_> = supported.iter().map(|revision| revision.as_str()).collect();
    ErrorReply::new(ErrorCode::UnsupportedVersion, format!("protocol version {requested:?} is not supported"))
        .with_data(serde_json::json!({"supported": supported, "requested": requested}))
}

/// Which request of a modern kind a raw JSON capability object declares, for instance `has_capability(caps,
/// "elicitation")`. Only the first level is looked at.
#[must_use]
pub fn has_capability(capabilities: &[u8], name: &str) -> bool {
    let Ok(mut reader) = json::Reader::new(capabilities) else {
        return false;
    };
    let mut found = false;
    let read = reader.object::<json::JsonError>(|reader, member| {
        let value = reader.value()?;
        found |= member == name.as_bytes() && capabilities[value.range()].starts_with(b"{");
        Ok(())
    });
    read.is_ok() && found
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderValue;

    const LEGACY_CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

    fn modern(method: &str, params: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        )
    }

    fn era(headers: &[(&'static str, &str)], body: &str) -> Result<Era, i64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let message = Message::parse(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        classify(&map, &message).map_err(|contradiction| contradiction.0.code.number())
    }

    #[test]
    fn the_era_follows_the_rules_in_their_order() {
        let list = modern("tools/list", "");
        let call = modern("tools/call", r#""name":"a","#);
        let version = ("mcp-protocol-version", "2026-07-28");
        let initialize =
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
        for (headers, body, expect) in [
            (vec![], initialize, Ok(Era::Legacy)),
            (vec![version], initialize, Ok(Era::Legacy)),
            (vec![], LEGACY_CALL, Ok(Era::Legacy)),
            (vec![("mcp-protocol-version", "2025-06-18")], LEGACY_CALL, Ok(Era::Legacy)),
            (vec![("mcp-protocol-version", "1999-01-01")], LEGACY_CALL, Ok(Era::Legacy)),
            (vec![version, ("mcp-method", "tools/list")], &list, Ok(Era::Modern)),
            (vec![version, ("mcp-method", "tools/call"), ("mcp-name", "a")], &call, Ok(Era::Modern)),
            (
                vec![version, ("mcp-method", "tools/call"), ("mcp-name", "=?base64?YQ==?=")],
                &call,
                Ok(Era::Modern),
            ),
            (vec![version, ("mcp-method", "tools/call"), ("mcp-name", "b")], &call, Err(-32020)),
            (vec![version, ("mcp-method", "tools/call")], &call, Err(-32020)),
            (vec![version, ("mcp-method", "tools/LIST")], &list, Err(-32020)),
            (vec![version], &list, Err(-32020)),
            (vec![("mcp-method", "tools/list")], &list, Err(-32020)),
            (vec![("mcp-protocol-version", "2025-11-25"), ("mcp-method", "tools/list")], &list, Err(-32020)),
            (vec![version, ("mcp-protocol-version", "2025-11-25")], LEGACY_CALL, Err(-32020)),
            (vec![version, ("mcp-method", "tools/list")], LEGACY_CALL, Err(-32602)),
        ] {
            assert_eq!(era(&headers, body), expect, "{headers:?} {body}");
        }
    }

    #[test]
    fn an_unknown_version_is_answered_with_those_that_are_served() {
        let body = modern("tools/list", "").replace("2026-07-28", "2099-01-01");
        assert_eq!(era(&[("mcp-protocol-version", "2099-01-01")], &body), Err(-32022));
        let reply = unsupported("x", &[Revision::V2026_07_28]);
        assert_eq!(reply.data, Some(serde_json::json!({"supported": ["2026-07-28"], "requested": "x"})));
    }

    #[test]
    fn capabilities_are_read_on_their_first_level_only() {
        assert!(has_capability(br#"{"elicitation":{}}"#, "elicitation"));
        assert!(!has_capability(br#"{"x":{"elicitation":{}}}"#, "elicitation"));
        assert!(!has_capability(br#"{"elicitation":null}"#, "elicitation"));
        assert!(!has_capability(b"nonsense", "elicitation"));
    }
}
