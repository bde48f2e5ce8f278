//! A backend's events on their way to a client: what the backend asks gets an id that names it, event ids do too, and
//! change notices stay here, since what clients see changes when the hub's own view does.
//!
//! Everything else passes as it came.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mcp::message::Kind;
use mcp::sse::{Block, blocks, last_boundary};
use mcp::{Message, Method};
use proxy::body::Change;

use super::Member;
use super::foreign::{Foreign, wrap};
use super::overdue::Timed;
use super::session::InFlight;

/// What is longer without an end is an answer: it passes unread.
const MAX_EVENT: usize = 16 * 1024 * 1024;

/// What becomes of one message of a backend.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// It passes as it is.
    AsItIs,
    /// It passes like this.
    As(Bytes),
    /// It was for the hub.
    Kept,
}

/// Decides about a message of a backend.
pub(super) fn pass(member: &Member, data: &Bytes) -> Passed {
    // Most are answers, and large ones too: they are told from the rest without being read.
    if !contains(data, b"\"method\"") {
        return Passed::AsItIs;
    }
    let Ok(message) = Message::parse(data.clone()) else { return Passed::AsItIs };
    match (message.kind(), message.method()) {
        (Kind::Request, _) => {
            let id = wrap(&member.name, message.id().unwrap_or_default());
            let token = message.progress_token().map(|token| wrap(&member.name, token)).unwrap_or_default();
            Passed::As(message.splice(&[(message.id_span(), &id), (message.progress_token_span(), &token)]))
        }
        (_, Method::Cancelled) => {
            let id = wrap(&member.name, message.cancelled_id().unwrap_or_default());
            Passed::As(message.splice(&[(message.cancelled_id_span(), &id)]))
        }
        (_, Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged) => {
            member.look_again();
            Passed::Kept
        }
        _ => Passed::AsItIs,
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The events of one answer.
#[derive(Debug)]
pub(super) struct Relay {
    member: Arc<Member>,
    held: BytesMut,
    /// Nothing is looked at any more.
    gave_up: bool,
    /// Dropped with the answer.
    _in_flight: Option<InFlight>,
    timed: Option<Timed>,
}

impl Relay {
    pub(super) fn new(member: &Arc<Member>, in_flight: Option<InFlight>, timed: Option<Timed>) -> Self {
        let member = Arc::clone(member);
        Self { member, held: BytesMut::new(), gave_up: false, _in_flight: in_flight, timed }
    }

    fn write(&self, block: &Block, out: &mut BytesMut) {
        let passed = block.data.as_ref().map_or(Passed::AsItIs, |data| pass(&self.member, data));
        let id =
            block.id.as_ref().and_then(|own| std::str::from_utf8(own).ok()).filter(|own| !own.is_empty());
        let id = id.map(|own| Foreign { backend: &self.member.name, own }.text());
        match (passed, id) {
            (Passed::AsItIs, None) => out.extend_from_slice(&block.text),
            (Passed::AsItIs, Some(id)) => block.write_as(out, id),
            (Passed::As(data), id) => mcp::sse::encode(out, Some("message"), id.as_deref(), None, &data),
            // The cursor moves on.
            (Passed::Kept, Some(id)) => out.extend_from_slice(format!("id: {id}\n\n").as_bytes()),
            (Passed::Kept, None) => {}
        }
    }
}

impl Change for Relay {
    fn pass(&mut self, bytes: Bytes) -> Bytes {
        if self.gave_up {
            return bytes;
        }
        // What ends here and began here is not copied together.
        let text = if self.held.is_empty() {
            bytes
        } else {
            self.held.extend_from_slice(&bytes);
            self.held.split().freeze()
        };
        let Some(end) = last_boundary(&text) else {
            if text.len() > MAX_EVENT {
                self.gave_up = true;
                return text;
            }
            self.held = text.try_into_mut().unwrap_or_else(|text| BytesMut::from(&text[..]));
            return Bytes::new();
        };
        self.held.extend_from_slice(&text[end..]);
        let mut out = BytesMut::with_capacity(end + 64);
        for block in blocks(text.slice(..end)) {
            self.write(&block, &mut out);
        }
        out.freeze()
    }

    fn finish(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    fn cut_short(&mut self) -> Bytes {
        // What was held back is no whole event, and means nothing.
        self.timed.as_ref().map(Timed::event).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::member;

    fn relayed(pieces: &[&str]) -> String {
        let mut relay = Relay::new(&member("a"), None, None);
        let mut out: Vec<u8> = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&relay.pass(Bytes::copy_from_slice(piece.as_bytes())));
        }
        out.extend_from_slice(&relay.finish());
        String::from_utf8(out).unwrap()
    }

    const ASKS: &str = "id: 7\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"roots/list\"}\n\n";
    const ANSWERS: &str = "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";

    #[test]
    fn what_a_backend_asks_names_it_and_answers_pass_as_they_came() {
        let out = relayed(&[ASKS, ANSWERS]);
        assert!(out.contains("id: 1.a.7\n") && out.contains(r#""id":"1.a.1","method""#), "{out}");
        assert!(out.ends_with(ANSWERS), "{out}");
    }

    #[test]
    fn pieces_do_not_matter() {
        let text = format!("{ASKS}: a comment\n\n{ANSWERS}{ASKS}");
        let whole = relayed(&[&text]);
        for cut in 1..text.len() {
            assert_eq!(relayed(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_change_notice_stays_here_and_moves_the_cursor() {
        let text = "id: 8\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n";
        assert_eq!(relayed(&[text]), "id: 1.a.8\n\n");
    }
}
