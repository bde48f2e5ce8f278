//! Seals the `requestState` of 2026-07-28: the client keeps it and may be anybody, so what comes back must be ours,
//! unchanged, for the same tool, and not old.
//!
//! A sealed state is `base64url(payload) "." base64url(HMAC-SHA-256(payload))`. It is not secret.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Seconds that a state is good for.
const LIFETIME: u64 = 15 * 60;

/// A state that is not ours, not whole, of another tool, or too old.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotOurs;

#[derive(Serialize, Deserialize)]
struct Payload {
    /// Which handler wrote it.
    owner: String,
    /// Unix time of its end.
    until: u64,
    data: Value,
}

pub(crate) struct Seal {
    key: hmac::Key,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    pub(crate) fn new(key: Option<&[u8; 32]>) -> Self {
        let mut fresh = [0; 32];
        let key = key.unwrap_or_else(|| {
            rand::fill(&mut fresh).expect("the operating system gives random bytes");
            &fresh
        });
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    pub(crate) fn close(&self, owner: &str, data: Value) -> String {
        let payload = Payload { owner: owner.to_owned(), until: unix_now() + LIFETIME, data };
        let payload = serde_json::to_vec(&payload).expect("a value with string keys is JSON");
        let tag = hmac::sign(&self.key, &payload);
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(tag))
    }

    /// # Errors
    /// [`NotOurs`].
    pub(crate) fn open(&self, owner: &str, state: &str) -> Result<Value, NotOurs> {
        let (payload, tag) = state.split_once('.').ok_or(NotOurs)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| NotOurs)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| NotOurs)?;
        hmac::verify(&self.key, &payload, &tag).map_err(|_| NotOurs)?;
        let payload: Payload = serde_json::from_slice(&payload).map_err(|_| NotOurs)?;
        if payload.owner == owner && payload.until >= unix_now() { Ok(payload.data) } else { Err(NotOurs) }
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_an_unchanged_state_of_the_same_owner_and_key_opens() {
        let seal = Seal::new(Some(&[1; 32]));
        let state = seal.close("tool", json!({"round": 1}));
        assert_eq!(seal.open("tool", &state), Ok(json!({"round": 1})));
        assert_eq!(Seal::new(Some(&[1; 32])).open("tool", &state), Ok(json!({"round": 1})));
        assert_eq!(Seal::new(None).open("tool", &state), Err(NotOurs));
        assert_eq!(seal.open("other", &state), Err(NotOurs));
        let flipped = state.replacen('.', "A.", 1);
        for bad in [&flipped, &format!("{state}-TAMPERED"), "", ".", "a.b"] {
            assert_eq!(seal.open("tool", bad), Err(NotOurs), "{bad}");
        }
    }
}
