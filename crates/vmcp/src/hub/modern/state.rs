//! What a client of 2026-07-28 carries from one round of a request to the next: the backend's own `requestState`, sealed
//! with whose it is and what for. So it comes back to the backend that wrote it, for the same request of the same client,
//! and to nobody else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use mcp::{ErrorCode, ErrorReply, Message};
use model::PrincipalDigest;
use proxy::session::KeyRing;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::object::Object;

const PREFIX: &str = "r1.";
const CONTEXT: &[u8] = b"rounds-v1";
/// No backend's state that is longer is taken.
const MAX_STATE: usize = 256 * 1024;

/// Where the next round goes.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum State {
    /// To this backend, with what it has given: JSON text, if it has given anything.
    Backend { name: String, own: Option<String> },
    /// To a call that waits in this process.
    Waiting { process: Uuid, call: Uuid },
}

/// Who may come back with it, and with which request.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Bound {
    principal: [u8; 16],
    method: String,
    target: String,
    state: State,
}

impl Bound {
    fn new(asked: &Message, principal: PrincipalDigest, state: State) -> Self {
        Self {
            principal: *principal.as_bytes(),
            method: asked.method().label().to_owned(),
            target: asked.target().unwrap_or_default().into_owned(),
            state,
        }
    }
}

/// A request came back with something that was not given to it.
#[derive(Debug, thiserror::Error)]
#[error("requestState is not one of this server's, or belongs to another request")]
pub(super) struct NotOurs;

impl NotOurs {
    pub(super) fn reply(&self) -> ErrorReply {
        ErrorReply::new(ErrorCode::InvalidParams, self.to_string())
    }
}

impl State {
    /// The text that a client carries. `None`: it would be too long.
    pub(super) fn seal(self, keys: &KeyRing, asked: &Message, principal: PrincipalDigest) -> Option<String> {
        let plain = serde_json::to_vec(&Bound::new(asked, principal, self)).ok()?;
        let fits = plain.len() <= MAX_STATE;
        fits.then(|| format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(keys.seal(CONTEXT, &plain))))
    }

    /// What a request has come back with, if it has.
    ///
    /// # Errors
    /// [`NotOurs`].
    pub(super) fn of(
        keys: &KeyRing,
        asked: &Message,
        principal: PrincipalDigest,
    ) -> Result<Option<Self>, NotOurs> {
        let params = asked.params().and_then(Object::read).unwrap_or_default();
        if params.get("requestState").is_none() {
            return Ok(None);
        }
        let text = params.text("requestState").ok_or(NotOurs)?;
        let sealed = text.strip_prefix(PREFIX).ok_or(NotOurs)?;
        let mut sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| NotOurs)?;
        let plain = keys.open(CONTEXT, &mut sealed).ok_or(NotOurs)?;
        let bound: Bound = serde_json::from_slice(plain).map_err(|_| NotOurs)?;
        let state = bound.state.clone();
        if bound == Bound::new(asked, principal, state.clone()) { Ok(Some(state)) } else { Err(NotOurs) }
    }
}

/// What a client answers to what it was asked, as JSON text.
pub(super) fn responses(asked: &Message) -> Option<Bytes> {
    let params = asked.params().and_then(Object::read)?;
    params.get("inputResponses").map(Bytes::copy_from_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ME: PrincipalDigest = PrincipalDigest::ANONYMOUS;

    fn call(method: &str, name: &str, state: Option<&str>) -> Message {
        let mut params = json!({"name": name});
        if let Some(state) = state {
            params["requestState"] = state.into();
        }
        let text = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        Message::parse(text.to_string().into()).unwrap()
    }

    #[test]
    fn it_comes_back_with_the_same_request_of_the_same_client_only() {
        let keys = KeyRing::parse(&KeyRing::generate_line()).unwrap();
        let state = State::Backend { name: "a".into(), own: Some("\"x\"".into()) };
        let sealed = state.clone().seal(&keys, &call("tools/call", "t", None), ME).unwrap();
        let back = |method, name, principal| State::of(&keys, &call(method, name, Some(&sealed)), principal);
        assert_eq!(back("tools/call", "t", ME).unwrap(), Some(state));
        assert!(back("tools/call", "u", ME).is_err() && back("prompts/get", "t", ME).is_err());
        assert!(back("tools/call", "t", PrincipalDigest::new([1; 16])).is_err());
        for foreign in ["", "x", "r1.", "r1.AAAA", "\"x\""] {
            assert!(State::of(&keys, &call("tools/call", "t", Some(foreign)), ME).is_err(), "{foreign}");
        }
        assert_eq!(State::of(&keys, &call("tools/call", "t", None), ME).unwrap(), None);
        let long = State::Backend { name: "a".into(), own: Some("x".repeat(MAX_STATE)) };
        assert_eq!(long.seal(&keys, &call("tools/call", "t", None), ME), None);
    }
}
