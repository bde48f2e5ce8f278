//! Ids as keys: two spellings of one id are one key.

use mcp::json;

use super::Ours;

/// A JSON-RPC id, comparable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum IdKey {
    Integer(Box<[u8]>),
    Text(Box<[u8]>),
}

impl IdKey {
    /// The key of an id's JSON text.
    pub(super) fn of(raw: &[u8]) -> Self {
        match json::decode(raw) {
            Some(text) => Self::Text(text.as_ref().into()),
            None => Self::Integer(raw.into()),
        }
    }
}

/// Reads an id or token of ours back. Some servers turn numbers into strings on the way.
pub(super) fn ours(raw: &[u8]) -> Option<Ours> {
    let digits = raw.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(raw);
    std::str::from_utf8(digits).ok()?.parse().ok()
}
