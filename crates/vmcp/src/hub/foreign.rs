//! What backends call things by, as clients of the hub see it: ids of requests, progress tokens and event ids, each with
//! the name of the backend that gave it, so that it finds back to that one and to no other.
//!
//! `<length of the name>.<name>.<as the backend wrote it>`; the length makes it unambiguous whatever the name is.

use std::borrow::Cow;

use mcp::json;

/// Something that a backend gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreign<'a> {
    pub(super) backend: &'a str,
    /// As the backend wrote it.
    pub(super) own: &'a str,
}

impl<'a> Foreign<'a> {
    /// Reads what was written by [`Self::text`].
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let (length, rest) = text.split_once('.')?;
        if length.is_empty() || (length.len() > 1 && length.starts_with('0')) {
            return None;
        }
        let length: usize =
            length.bytes().all(|digit| digit.is_ascii_digit()).then(|| length.parse().ok())??;
        let (backend, own) = rest.split_at_checked(length)?;
        Some(Self { backend, own: own.strip_prefix('.')? })
    }

    /// The text that a client sees.
    pub(super) fn text(&self) -> String {
        format!("{}.{}.{}", self.backend.len(), self.backend, self.own)
    }
}

/// A backend's request id or progress token, which is JSON, as a JSON string with its backend's name.
pub(super) fn wrap(backend: &str, own: &[u8]) -> Vec<u8> {
    let own = String::from_utf8_lossy(own);
    serde_json::Value::from(Foreign { backend, own: &own }.text()).to_string().into_bytes()
}

/// What was wrapped, and by whom it was given. `None` for anything else, which is no backend's.
pub(super) fn unwrap(json: &[u8]) -> Option<(String, Vec<u8>)> {
    let text: Cow<'_, str> = json::decode_str(json)?;
    let foreign = Foreign::read(&text)?;
    Some((foreign.backend.to_owned(), foreign.own.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_not_written_here_is_no_backends() {
        for text in ["", "1", "1.", "1.a", "01.a.b", "+1.a.b", "9.a.b", "x.a.b", ".a.b", "1.é.x", "-1.a.b"] {
            assert_eq!(Foreign::read(text), None, "{text}");
        }
        assert_eq!(unwrap(b"17"), None);
        assert_eq!(unwrap(b"\"17\""), None);
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(backend in "\\PC{0,20}", own in any::<i64>(), text in "\\PC{0,20}") {
            for own in [own.to_string(), serde_json::Value::from(text).to_string()] {
                let wrapped = wrap(&backend, own.as_bytes());
                prop_assert_eq!(unwrap(&wrapped), Some((backend.clone(), own.into_bytes())));
            }
        }
    }
}
