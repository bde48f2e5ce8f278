//! A backend's answer on its way to a client, both of 2026-07-28: it passes as it came, but for what names the server, and
//! for questions, whose state is sealed.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mcp::message::Kind;
use mcp::method::Target;
use mcp::sse::{blocks, last_boundary};
use mcp::{ErrorCode, ErrorReply, Message, Method};
use model::PrincipalDigest;
use proxy::body::Change;
use proxy::session::KeyRing;

use super::super::Member;
use super::super::object::{Object, quoted};
use super::super::overdue::late;
use super::envelope::{answer_text, with_server};
use super::questions::{Question, lacking, missing};
use super::state::State;
use super::tasks::{self, TaskId};

/// What is longer is an answer without questions: it passes unread.
const MAX_READ: usize = 4 * 1024 * 1024;

/// What answers are seen by.
#[derive(Debug)]
pub(super) struct Dressing {
    pub(super) member: Arc<Member>,
    pub(super) keys: Arc<KeyRing>,
    /// The client's request, and whose it is.
    pub(super) asked: Message,
    pub(super) principal: PrincipalDigest,
    /// What the hub calls itself, as JSON text.
    pub(super) server: Vec<u8>,
}

impl Dressing {
    /// One message of the backend, as the client gets it; `None`: not at all.
    fn dress(&self, text: Bytes) -> Option<Bytes> {
        let Ok(message) = Message::parse(text.clone()) else { return Some(text) };
        match (message.kind(), message.method()) {
            (Kind::Result, _) if message.id() == self.asked.id() => {
                Some(self.result(&message).unwrap_or(text))
            }
            (_, Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged) => {
                self.member.look_again();
                None
            }
            // Nobody is asked on a stream any more.
            (Kind::Request, _) => None,
            _ => Some(text),
        }
    }

    fn result(&self, message: &Message) -> Option<Bytes> {
        let id = self.asked.id()?;
        let mut result = Object::read(message.result()?)?;
        if message.result_type().as_deref() == Some("input_required") {
            let own = result.get("requestState").map(|own| String::from_utf8_lossy(own).into_owned());
            let state = State::Backend { name: self.member.name.to_string(), own };
            if let Err(reply) = self.may_ask(&result) {
                return Some(reply.to_json(Some(id)));
            }
            let Some(sealed) = state.seal(&self.keys, &self.asked, self.principal) else {
                let text = format!("backend {} wants too much to be remembered", self.member.name);
                return Some(ErrorReply::new(ErrorCode::Internal, text).to_json(Some(id)));
            };
            result.set("requestState", quoted(&sealed));
        }
        if message.result_type().as_deref() == Some("task") {
            let task = |own: &str| TaskId::new(&self.member.name, own, self.principal).seal(&self.keys);
            tasks::show(&mut result, task);
        } else if self.asked.method().target() == Target::TaskId {
            tasks::show(&mut result, |_| self.asked.target().unwrap_or_default().into_owned());
        }
        Some(answer_text(id, "result", &with_server(result, &self.server)))
    }

    /// The answer of a backend that has taken too long.
    fn late(&self) -> Bytes {
        late(&self.member).to_json(self.asked.id())
    }

    /// A backend asks for nothing but what the client has declared, and with nothing but what may be asked for.
    fn may_ask(&self, result: &Object<'_>) -> Result<(), ErrorReply> {
        let questions = result.get("inputRequests").map(Question::read_all).unwrap_or_default();
        match lacking(&questions, self.asked.meta_capabilities().unwrap_or_default()) {
            lacking if lacking.is_empty() => Ok(()),
            lacking => Err(missing(&lacking)),
        }
    }
}

/// An answer that comes as one message.
#[derive(Debug)]
pub(super) struct Whole {
    dressing: Dressing,
    held: BytesMut,
    gave_up: bool,
}

impl Whole {
    pub(super) fn new(dressing: Dressing) -> Self {
        Self { dressing, held: BytesMut::new(), gave_up: false }
    }

    /// One that is there already.
    pub(super) fn dress(dressing: &Dressing, text: Bytes) -> Bytes {
        if text.len() > MAX_READ { text } else { dressing.dress(text).unwrap_or_default() }
    }
}

impl Change for Whole {
    fn pass(&mut self, bytes: Bytes) -> Bytes {
        if self.gave_up {
            return bytes;
        }
        self.held.extend_from_slice(&bytes);
        self.gave_up = self.held.len() > MAX_READ;
        if self.gave_up { self.held.split().freeze() } else { Bytes::new() }
    }

    fn finish(&mut self) -> Bytes {
        let held = self.held.split().freeze();
        if self.gave_up || held.is_empty() { held } else { Self::dress(&self.dressing, held) }
    }

    fn cut_short(&mut self) -> Bytes {
        // Of what is longer a part has been passed on already.
        if self.gave_up { Bytes::new() } else { self.dressing.late() }
    }
}

/// An answer that comes as events.
#[derive(Debug)]
pub(super) struct Events {
    dressing: Dressing,
    held: BytesMut,
    /// So much of it has no end of an event in it.
    searched: usize,
    gave_up: bool,
}

impl Events {
    pub(super) fn new(dressing: Dressing) -> Self {
        Self { dressing, held: BytesMut::new(), searched: 0, gave_up: false }
    }
}

impl Change for Events {
    fn pass(&mut self, bytes: Bytes) -> Bytes {
        if self.gave_up {
            return bytes;
        }
        self.held.extend_from_slice(&bytes);
        // The longest end of an event has three bytes.
        let from = self.searched.saturating_sub(2);
        self.searched = self.held.len();
        let Some(end) = last_boundary(&self.held[from..]).map(|end| from + end) else {
            self.gave_up = self.held.len() > MAX_READ;
            return if self.gave_up { self.held.split().freeze() } else { Bytes::new() };
        };
        let mut out = BytesMut::with_capacity(end + 64);
        self.searched -= end;
        for block in blocks(self.held.split_to(end).freeze()) {
            let Some(data) = &block.data else {
                out.extend_from_slice(&block.text);
                continue;
            };
            match self.dressing.dress(data.clone()) {
                Some(same) if same == *data => out.extend_from_slice(&block.text),
                Some(other) => mcp::sse::encode(&mut out, Some("message"), None, None, &other),
                None => {}
            }
        }
        out.freeze()
    }

    fn finish(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    fn cut_short(&mut self) -> Bytes {
        if self.gave_up { Bytes::new() } else { mcp::sse::message_event(None, &self.dressing.late()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::{asked, member};

    fn passed(pieces: &[&[u8]]) -> Vec<u8> {
        let dressing = Dressing {
            member: member("a"),
            keys: Arc::new(KeyRing::parse(&KeyRing::generate_line()).unwrap()),
            asked: asked().message,
            principal: PrincipalDigest::ANONYMOUS,
            server: b"{}".to_vec(),
        };
        let mut events = Events::new(dressing);
        let mut out: Vec<u8> =
            pieces.iter().flat_map(|piece| events.pass(Bytes::copy_from_slice(piece))).collect();
        out.extend_from_slice(&events.finish());
        out
    }

    #[test]
    fn pieces_do_not_matter_and_nobody_is_asked_on_the_way() {
        let text = b"data: {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"roots/list\"}\n\n: x\r\n\r\n\
                     data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":1}}\n\n";
        let whole = passed(&[text]);
        let shown = String::from_utf8(whole.clone()).unwrap();
        assert!(
            shown.starts_with(": x") && shown.contains("serverInfo") && !shown.contains("roots"),
            "{shown}"
        );
        for cut in 1..text.len() {
            assert_eq!(passed(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
    }
}
