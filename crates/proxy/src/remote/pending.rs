//! The requests of a channel that have no answer yet.
//!
//! INVARIANT: each of them is answered once. Whoever takes an entry out owes the answer; an answer without an entry is
//! not passed on.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use mcp::method::Pace;
use mcp::{Era, Message, Method, json};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// An id, equal however its text is escaped; a string and a number of the same digits differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum IdKey {
    Text(Box<[u8]>),
    Number(Box<[u8]>),
}

impl IdKey {
    /// The key of a raw id.
    pub(super) fn of(raw: &[u8]) -> Self {
        match json::decode(raw) {
            Some(text) => Self::Text(text.into()),
            None => Self::Number(raw.into()),
        }
    }
}

/// One request that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// The id as its sender spelt it.
    pub(super) id: Box<[u8]>,
    pub(super) method: Method,
    pub(super) era: Era,
    /// The client has lost interest; an answer is still passed on, the lack of one is not reported.
    pub(super) cancelled: bool,
    /// Cancelled: its stream is to be closed.
    pub(super) stop: CancellationToken,
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: Mutex<HashMap<IdKey, Waiting>>,
}

/// The era of a message in itself: it names its revision, or belongs to a handshake.
pub(super) fn era_of(message: &Message) -> Era {
    if message.method() != Method::Initialize && message.meta_version().is_some() {
        Era::Modern
    } else {
        Era::Legacy
    }
}

impl Pending {
    /// Enters a request. `None` if it has no id, or one that is in use.
    pub(super) fn enter(&self, request: &Message) -> Option<(IdKey, Waiting)> {
        let id = request.id()?;
        let key = IdKey::of(id);
        let waiting = Waiting {
            id: id.into(),
            method: request.method(),
            era: era_of(request),
            cancelled: false,
            stop: CancellationToken::new(),
        };
        match self.waiting.lock().entry(key.clone()) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(place) => place.insert(waiting.clone()),
        };
        Some((key, waiting))
    }

    /// Takes the request out that an answer is for.
    pub(super) fn take(&self, key: &IdKey) -> Option<Waiting> {
        self.waiting.lock().remove(key)
    }

    /// Takes all out.
    pub(super) fn take_all(&self) -> Vec<Waiting> {
        self.waiting.lock().drain().map(|(_, waiting)| waiting).collect()
    }

    /// Whether an answer is still wanted by somebody.
    pub(super) fn is_wanted(&self, key: &IdKey) -> bool {
        self.waiting.lock().get(key).is_some_and(|waiting| !waiting.cancelled)
    }

    /// Whether there is no answer yet.
    pub(super) fn is_open(&self, key: &IdKey) -> bool {
        self.waiting.lock().contains_key(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }

    /// The client cancels a request. A modern one is over with that, its stream closed; a legacy one is the server's to
    /// end. Gives the era of the request, `None` if there is none.
    pub(super) fn cancel(&self, key: &IdKey) -> Option<Era> {
        let mut all = self.waiting.lock();
        let waiting = all.get_mut(key)?;
        waiting.cancelled = true;
        let era = waiting.era;
        if era == Era::Modern {
            waiting.stop.cancel();
            all.remove(key);
        }
        Some(era)
    }

    /// Closes the streams that have no end of their own.
    pub(super) fn stop_endless(&self) {
        self.waiting.lock().retain(|_, waiting| {
            let endless = waiting.method.pace() == Pace::Endless;
            if endless {
                waiting.stop.cancel();
            }
            !endless
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(id: &str, method: &str, modern: bool) -> Message {
        let meta =
            if modern { r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"# } else { "" };
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{meta}}}}}"#);
        Message::parse(Bytes::from(text)).unwrap()
    }

    #[test]
    fn an_id_is_its_meaning_not_its_spelling() {
        assert_eq!(IdKey::of(br#""\u0061""#), IdKey::of(br#""a""#));
        assert_ne!(IdKey::of(b"1"), IdKey::of(br#""1""#));
    }

    #[test]
    fn cancelling_ends_a_modern_request_and_leaves_a_legacy_one_to_the_server() {
        let pending = Pending::default();
        let (old, _) = pending.enter(&request("1", "tools/call", false)).unwrap();
        let (new, waiting) = pending.enter(&request("2", "tools/call", true)).unwrap();
        assert!(pending.enter(&request("2", "ping", false)).is_none(), "in use");
        assert_eq!(pending.cancel(&old), Some(Era::Legacy));
        assert_eq!(pending.cancel(&new), Some(Era::Modern));
        assert!(pending.is_open(&old) && !pending.is_wanted(&old));
        assert!(!pending.is_open(&new) && waiting.stop.is_cancelled());
        assert_eq!(pending.cancel(&new), None);
    }

    #[test]
    fn only_endless_requests_are_stopped() {
        let pending = Pending::default();
        let (listen, waiting) = pending.enter(&request("1", "subscriptions/listen", true)).unwrap();
        let (call, _) = pending.enter(&request("2", "tools/call", true)).unwrap();
        pending.stop_endless();
        assert!(!pending.is_open(&listen) && waiting.stop.is_cancelled() && pending.is_open(&call));
    }
}
