//! Which eras a backend serves: found out by asking, remembered while it holds.
//!
//! `server/discover` is asked first; whatever a server answers that knows no such thing says that it wants a handshake.
//! No answer says nothing, and is not remembered. What a backend answers later may show that it is another one now: then it
//! is looked at once more.

use std::time::Duration;

use http::StatusCode;
use mcp::message::Kind;
use mcp::{Era, ErrorCode, Message, Method, Revision};
use model::PrincipalDigest;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use super::ask::{Exchange, NoAnswer, Speaker};
use super::listing::Capabilities;
use super::modern::envelope::own_request;
use super::{Hub, Member};

/// What is known of a backend.
#[derive(Debug, Default)]
pub(super) struct Eras {
    known: Mutex<Known>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    legacy: Option<bool>,
    modern: Option<bool>,
}

impl Eras {
    /// Whether it serves an era, if that is known.
    pub(super) fn serves(&self, era: Era) -> Option<bool> {
        let known = self.known.lock();
        match era {
            Era::Legacy => known.legacy,
            Era::Modern => known.modern,
        }
    }

    /// It does, or does not. Whoever does not serve one serves the other, as far as anybody knows.
    pub(super) fn learn(&self, era: Era, serves: bool) {
        let mut known = self.known.lock();
        let (this, other) = match era {
            Era::Legacy => {
                let Known { legacy, modern } = &mut *known;
                (legacy, modern)
            }
            Era::Modern => {
                let Known { legacy, modern } = &mut *known;
                (modern, legacy)
            }
        };
        *this = Some(serves);
        if !serves && *other == Some(false) {
            *other = None;
        }
    }

    /// What was known is in doubt.
    pub(super) fn doubt(&self) {
        *self.known.lock() = Known::default();
    }

    /// What is known of the one before.
    pub(super) fn takes_over(&self, before: &Self) {
        *self.known.lock() = *before.known.lock();
    }
}

/// What a server answers to `server/discover`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Discovered {
    #[serde(default)]
    supported_versions: Vec<String>,
    #[serde(default)]
    pub(super) capabilities: Capabilities,
    #[serde(default)]
    pub(super) instructions: Option<String>,
}

/// What a look at a backend has shown.
#[derive(Debug)]
pub(super) enum Found {
    Modern(Box<Discovered>),
    Legacy,
    /// Nothing.
    Unclear(NoAnswer),
}

/// What an answer to `server/discover` shows.
fn judge(status: StatusCode, answer: Option<&Message>) -> Found {
    if matches!(status.as_u16(), 401 | 403 | 407 | 408 | 429 | 500..) {
        return Found::Unclear(NoAnswer::Status(status));
    }
    let Some(answer) = answer else { return Found::Legacy };
    let code = answer.error_code();
    let is = |known: ErrorCode| code == Some(known.number());
    match answer.kind() {
        Kind::Result => match serde_json::from_slice::<Discovered>(answer.result().unwrap_or_default()) {
            Ok(found) if names_modern(&found.supported_versions) => Found::Modern(Box::new(found)),
            _ => Found::Legacy,
        },
        Kind::Error if is(ErrorCode::UnsupportedVersion) && !names_modern(&supported(answer)) => {
            Found::Legacy
        }
        Kind::Error
            if is(ErrorCode::HeaderMismatch)
                || is(ErrorCode::MissingClientCapability)
                || is(ErrorCode::UnsupportedVersion)
                || (is(ErrorCode::MethodNotFound) && status == StatusCode::NOT_FOUND) =>
        {
            Found::Modern(Box::new(Discovered { capabilities: Capabilities::all(), ..Discovered::default() }))
        }
        _ => Found::Legacy,
    }
}

fn names_modern(versions: &[String]) -> bool {
    versions.iter().any(|version| version == Revision::V2026_07_28.as_str())
}

/// The versions that a refusal names.
fn supported(refusal: &Message) -> Vec<String> {
    #[derive(Deserialize)]
    struct Error {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        supported: Vec<String>,
    }
    let error = refusal.error().and_then(|error| serde_json::from_slice::<Error>(error).ok());
    error.map(|error| error.data.supported).unwrap_or_default()
}

/// Whether the answer to a request of 2026-07-28 may come from a server that does not know that revision.
pub(super) fn doubts_modern(status: StatusCode, answer: Option<&Message>) -> bool {
    const MODERN: [ErrorCode; 5] = [
        ErrorCode::HeaderMismatch,
        ErrorCode::MissingClientCapability,
        ErrorCode::MethodNotFound,
        ErrorCode::InvalidParams,
        ErrorCode::Internal,
    ];
    let Some(code) = answer.filter(|answer| answer.kind() == Kind::Error).and_then(Message::error_code)
    else {
        return answer.is_none() && matches!(status.as_u16(), 400 | 404 | 405 | 406 | 422);
    };
    status.is_client_error()
        && !matches!(status.as_u16(), 401 | 403)
        && !MODERN.iter().any(|known| known.number() == code)
}

/// Whether an error is that of a server that knows no sessions, and says so.
pub(super) fn refuses_legacy(answer: &Message) -> bool {
    answer.error_code() == Some(ErrorCode::UnsupportedVersion.number()) && names_modern(&supported(answer))
}

/// Whether a refused handshake may be the answer of a server that knows none.
pub(super) fn doubts_legacy(problem: &NoAnswer) -> bool {
    match problem {
        NoAnswer::Error { .. } => true,
        NoAnswer::Status(status) => matches!(status.as_u16(), 400 | 404 | 405 | 406 | 422),
        _ => false,
    }
}

impl Hub {
    /// Looks at a backend, and remembers what was seen.
    pub(super) async fn look(&self, member: &Member, within: Duration) -> Found {
        let version = Speaker::modern_version();
        let speaker = Speaker {
            member,
            path: &self.config.path,
            principal: PrincipalDigest::ANONYMOUS,
            session: None,
            version: Some(&version),
        };
        let asked = own_request(b"0", Method::ServerDiscover, &json!({}));
        let found = match speaker.exchange_text(asked, within).await {
            Ok(Exchange { status, message, .. }) => judge(status, message.ok().as_ref()),
            Err(problem) => Found::Unclear(problem),
        };
        match &found {
            Found::Modern(_) => member.eras.learn(Era::Modern, true),
            Found::Legacy => member.eras.learn(Era::Modern, false),
            Found::Unclear(_) => {}
        }
        found
    }

    /// Whether a backend serves 2026-07-28; it is asked if that is not known.
    pub(super) async fn serves_modern(&self, member: &Member) -> Result<bool, NoAnswer> {
        if let Some(serves) = member.eras.serves(Era::Modern) {
            return Ok(serves);
        }
        match self.look(member, self.watching().probe_within).await {
            Found::Modern(_) => Ok(true),
            Found::Legacy => Ok(false),
            Found::Unclear(problem) => Err(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn shown(status: u16, answer: Option<Value>) -> &'static str {
        let message = answer.map(|answer| Message::parse(answer.to_string().into()).unwrap());
        match judge(StatusCode::from_u16(status).unwrap(), message.as_ref()) {
            Found::Modern(_) => "modern",
            Found::Legacy => "legacy",
            Found::Unclear(_) => "unclear",
        }
    }

    fn error(code: i64, data: &Value) -> Option<Value> {
        Some(json!({"jsonrpc": "2.0", "id": 0, "error": {"code": code, "message": "m", "data": data}}))
    }

    fn versions(versions: &[&str]) -> Option<Value> {
        Some(json!({"jsonrpc": "2.0", "id": 0, "result": {"supportedVersions": versions}}))
    }

    #[test]
    fn an_answer_to_discover_shows_the_era_and_silence_shows_nothing() {
        let none = json!(null);
        for (status, answer, expect) in [
            (200, versions(&["2025-11-25", "2026-07-28"]), "modern"),
            (200, versions(&["2025-11-25"]), "legacy"),
            (200, Some(json!({"jsonrpc": "2.0", "id": 0, "result": {}})), "legacy"),
            (200, error(-32601, &none), "legacy"),
            (404, error(-32601, &none), "modern"),
            (400, error(-32020, &none), "modern"),
            (400, error(-32022, &json!({"supported": ["2026-07-28"]})), "modern"),
            (400, error(-32022, &json!({"supported": ["2025-11-25"]})), "legacy"),
            (400, error(-32000, &none), "legacy"),
            (400, error(-32600, &none), "legacy"),
            (404, error(-32001, &none), "legacy"),
            (405, None, "legacy"),
            (401, None, "unclear"),
            (429, None, "unclear"),
            (502, error(-32603, &none), "unclear"),
        ] {
            assert_eq!(shown(status, answer.clone()), expect, "{status} {answer:?}");
        }
    }

    #[test]
    fn what_is_remembered_never_says_that_it_serves_nothing() {
        let eras = Eras::default();
        assert_eq!((eras.serves(Era::Legacy), eras.serves(Era::Modern)), (None, None));
        eras.learn(Era::Modern, false);
        eras.learn(Era::Legacy, false);
        assert_eq!((eras.serves(Era::Legacy), eras.serves(Era::Modern)), (Some(false), None));
        eras.learn(Era::Modern, true);
        assert_eq!(eras.serves(Era::Modern), Some(true));
        eras.doubt();
        assert_eq!(eras.serves(Era::Legacy), None);
    }
}
