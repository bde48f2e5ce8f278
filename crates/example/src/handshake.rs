//! `initialize` and `server/discover`: what this server is and can do.

use bytes::Bytes;
use mcp::message::meta_key;
use mcp::{Message, Revision};
use serde_json::{Value, json};

use crate::reply::{Members, Outcome};
use crate::session::Negotiated;
use crate::tasks;

const INSTRUCTIONS: &str = "An example: call echo, add, counter or slow; subscribe to test://watched-resource and call touch to be told of it.";

/// Reads an `initialize` request. An unknown version is answered with the latest that has a handshake.
///
/// # Errors
/// The answer to a request without `protocolVersion`.
pub(crate) fn negotiate(message: &Message) -> Result<Negotiated, Outcome> {
    let asked = message
        .protocol_version()
        .ok_or_else(|| Outcome::invalid_params("params.protocolVersion is required"))?;
    let revision = Revision::from_wire(&asked)
        .filter(|revision| *revision <= Revision::LATEST_LEGACY)
        .unwrap_or(Revision::LATEST_LEGACY);
    let capabilities = Bytes::copy_from_slice(message.capabilities().unwrap_or(b"{}"));
    Ok(Negotiated { revision, capabilities })
}

/// The result of `initialize`.
pub(crate) fn initialized(name: &str, revision: Revision) -> Members {
    Members::of(&json!({
        "protocolVersion": revision.as_str(),
        "capabilities": capabilities(revision),
        "serverInfo": server_info(name),
        "instructions": INSTRUCTIONS,
    }))
}

/// The result of `server/discover`.
pub(crate) fn discovered(name: &str) -> Members {
    Members::of(&json!({
        "supportedVersions": [Revision::V2026_07_28.as_str()],
        "capabilities": capabilities(Revision::V2026_07_28),
        "instructions": INSTRUCTIONS,
        "_meta": {meta_key::SERVER_INFO: server_info(name)},
    }))
}

fn server_info(name: &str) -> Value {
    json!({"name": name, "version": env!("CARGO_PKG_VERSION")})
}

fn capabilities(revision: Revision) -> Value {
    let mut capabilities = json!({
        "tools": {"listChanged": true},
        "prompts": {"listChanged": true},
        "resources": {"subscribe": true, "listChanged": true},
        "logging": {},
    });
    if revision >= Revision::V2025_03_26 {
        capabilities["completions"] = json!({});
    }
    if revision >= Revision::V2026_07_28 {
        capabilities["extensions"] = json!({tasks::EXTENSION: {}});
    }
    capabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_asked_for_is_spoken_where_it_has_a_handshake() {
        for (asked, spoken) in [
            ("2024-11-05", "2024-11-05"),
            ("2025-06-18", "2025-06-18"),
            ("2026-07-28", "2025-11-25"),
            ("1999-01-01", "2025-11-25"),
        ] {
            let request = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": asked}});
            let negotiated = negotiate(&Message::parse(request.to_string().into()).unwrap()).unwrap();
            assert_eq!(negotiated.revision.as_str(), spoken, "{asked}");
        }
    }

    #[test]
    fn capabilities_are_those_the_revision_knows() {
        assert!(capabilities(Revision::V2024_11_05).get("completions").is_none());
        assert!(capabilities(Revision::V2025_11_25).get("extensions").is_none());
        assert!(capabilities(Revision::V2026_07_28)["extensions"][tasks::EXTENSION].is_object());
    }
}
