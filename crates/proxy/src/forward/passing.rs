//! What passes of a session's stream: whole events, under ids of skep's, into the session's log where a client could ask
//! for them again; and what is to be noted of them on the way.
//!
//! A cut falls between two events. One that is larger than [`MOST_HELD`] is passed on in pieces, and a cut in the middle
//! of it is the client's to see.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use mcp::Message;
use mcp::message::Kind as MessageKind;
use mcp::sse::{self, Block};

use super::event_id::{EventId, Kind, can_be_carried};
use super::logs::SessionEvents;
use super::mending::Link;
use crate::events::{Cursor, MAX_BYTES, StreamNumber};
use crate::recovery::notice;
use crate::session;

/// Of an event that is not whole yet, so much is held back.
const MOST_HELD: usize = 64 * 1024;

/// See the file's header.
pub(super) struct Passing {
    pub(super) kind: Kind,
    pub(super) number: StreamNumber,
    pub(super) epoch: u32,
    /// How many events have passed.
    pub(super) position: u64,
    /// The last id that the backend has given, in this epoch.
    pub(super) own: Option<String>,
    pub(super) answered: bool,
    /// Its client had a cursor before the first event.
    primed: bool,
    held: BytesMut,
    large: Option<Large>,
    /// From when there is something to keep.
    log: Option<Arc<SessionEvents>>,
}

/// An event of which a part has been passed on.
struct Large {
    /// `None`: too large to be kept.
    text: Option<BytesMut>,
    /// Whoever reads now has not got its beginning, and gets nothing of it.
    skipped: bool,
}

impl std::fmt::Debug for Passing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, number, epoch, position, answered, .. } = self;
        f.debug_struct("Passing")
            .field("kind", kind)
            .field("number", number)
            .field("epoch", epoch)
            .field("position", position)
            .field("answered", answered)
            .finish_non_exhaustive()
    }
}

impl Passing {
    pub(super) fn new(kind: Kind, number: StreamNumber, epoch: u32, own: Option<String>) -> Self {
        // A session's own stream may be taken up without a cursor too.
        let primed = kind == Kind::Own || own.is_some();
        Self {
            kind,
            number,
            epoch,
            position: 0,
            own,
            answered: false,
            primed,
            held: BytesMut::new(),
            large: None,
            log: None,
        }
    }

    /// Whether a client could ask for what comes next. What stands first on a stream it could not: there is no id before.
    pub(super) fn has_cursor(&self) -> bool {
        self.primed || self.position > 0
    }

    pub(super) fn in_the_middle(&self) -> bool {
        self.large.is_some()
    }

    /// The cursor that the client gets before anything else.
    pub(super) fn prime(&mut self) -> EventId<'_> {
        self.primed = true;
        self.id()
    }

    fn id(&self) -> EventId<'_> {
        let at = Cursor { stream: self.number, event: self.position };
        EventId { epoch: self.epoch, kind: self.kind, at, own: self.own.as_deref() }
    }

    pub(super) fn log(&mut self, link: &Link) -> &Arc<SessionEvents> {
        self.log.get_or_insert_with(|| link.forward.events.of(link.session.id))
    }

    /// The session's place may be another now.
    pub(super) fn moved_to(&mut self, epoch: u32) {
        if std::mem::replace(&mut self.epoch, epoch) != epoch {
            self.own = None;
        }
        self.drop_held();
    }

    /// The rest of what is held back will not come.
    pub(super) fn drop_held(&mut self) {
        self.held.clear();
        self.large = None;
    }

    /// What was held back when the stream ended: without the blank line behind it, it is no event, but not ours to hide.
    pub(super) fn rest(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// Takes what came and gives what may be passed on.
    pub(super) fn pass(&mut self, data: Bytes, link: &Link) -> Bytes {
        if self.large.is_none() && self.held.is_empty() && sse::last_boundary(&data) == Some(data.len()) {
            return self.number(data, link);
        }
        self.held.extend_from_slice(&data);
        let mut out = BytesMut::new();
        if self.large.is_some() {
            out.extend_from_slice(&self.pass_large(link));
        }
        if self.large.is_none() {
            if let Some(end) = sse::last_boundary(&self.held) {
                let whole = self.held.split_to(end).freeze();
                out.extend_from_slice(&self.number(whole, link));
            }
            if self.held.len() > MOST_HELD {
                out.extend_from_slice(&self.begin_large());
            }
        }
        out.freeze()
    }

    /// Whole events, each under its id.
    fn number(&mut self, mut whole: Bytes, link: &Link) -> Bytes {
        if self.position == 0 && whole.starts_with("\u{feff}".as_bytes()) {
            // Only what stands first may begin so, and that is an id now.
            whole.advance(3);
        }
        let mut out = BytesMut::with_capacity(whole.len() + 64);
        let mut kept = Vec::new();
        for block in sse::blocks(whole) {
            if !block.is_event() {
                out.extend_from_slice(&block.text);
                continue;
            }
            let keep = self.has_cursor();
            let told = self.note(&block, link);
            let (begin, id) = (out.len(), self.next(block.id.as_deref()));
            match told {
                Some(data) => sse::encode(&mut out, Some("message"), Some(&id.to_string()), None, &data),
                None => block.write_as(&mut out, id),
            }
            if keep {
                kept.push((self.position, begin..out.len(), self.is_last()));
            }
        }
        let out = out.freeze();
        for (event, part, last) in kept {
            let at = Cursor { stream: self.number, event };
            self.log(link).push(at, out.slice(part), last);
        }
        out
    }

    /// Counts an event, and gives its id.
    fn next(&mut self, own: Option<&[u8]>) -> EventId<'_> {
        if let Some(own) = own {
            self.own = str::from_utf8(own).ok().filter(|own| can_be_carried(own)).map(str::to_owned);
        }
        self.position += 1;
        self.id()
    }

    fn is_last(&self) -> bool {
        self.answered && self.kind == Kind::Answer
    }

    /// Takes note of what passes. The answer in a session that has moved says so, once: its text is another then.
    fn note(&mut self, block: &Block, link: &Link) -> Option<Bytes> {
        let message = Message::parse(block.data.clone()?).ok()?;
        match message.kind() {
            MessageKind::Request => link.session.backend.asked(message.id()?),
            MessageKind::Notification => {}
            MessageKind::Result | MessageKind::Error => {
                let is_it = match &link.id {
                    Some(id) => message.id() == Some(id),
                    // Taken up by a process that does not know what was asked.
                    None => self.kind == Kind::Answer,
                };
                self.answered |= is_it;
                if !is_it {
                    return None;
                }
                link.forward.learn(link.outgoing.mcp_method, &message);
                let backend = &link.session.backend;
                if backend.is_untold(&backend.place()) {
                    let told = notice::in_result(&message, session::epoch::moves(self.epoch))?;
                    backend.tell();
                    return Some(told);
                }
            }
        }
        None
    }

    /// The first piece of an event that is too large to wait for. Its id stands in front of it.
    fn begin_large(&mut self) -> Bytes {
        let keep = self.has_cursor();
        let block = Block::read(self.take_held());
        let mut out = BytesMut::with_capacity(block.text.len() + 64);
        let id = self.next(block.id.as_deref());
        block.write_as(&mut out, id);
        self.large = Some(Large { text: keep.then(|| out.clone()), skipped: false });
        out.freeze()
    }

    /// The next piece of it, or the last.
    fn pass_large(&mut self, link: &Link) -> Bytes {
        let end = sse::first_boundary(&self.held);
        let piece = match end {
            Some(end) => self.held.split_to(end).freeze(),
            None => self.take_held(),
        };
        let Some(large) = &mut self.large else { return piece };
        large.text.as_mut().into_iter().for_each(|text| text.extend_from_slice(&piece));
        large.text = large.text.take().filter(|text| text.len() <= MAX_BYTES);
        let skipped = large.skipped;
        if end.is_some() {
            let text = self.large.take().and_then(|large| large.text);
            // Large ones are answers.
            self.answered = self.kind == Kind::Answer;
            if let Some(text) = text {
                let (at, last) = (Cursor { stream: self.number, event: self.position }, self.is_last());
                self.log(link).push(at, text.freeze(), last);
            }
        }
        if skipped { Bytes::new() } else { piece }
    }

    /// What a new reader gets first of an event that is in the middle of passing: its beginning, or nothing at all of it.
    pub(super) fn rejoin(&mut self) -> Option<Bytes> {
        let large = self.large.as_mut()?;
        large.skipped = large.text.is_none();
        large.text.as_ref().map(|text| Bytes::copy_from_slice(text))
    }

    /// What is held, but for line ends at the very end: with the next bytes they may be a blank line.
    fn take_held(&mut self) -> Bytes {
        let content =
            self.held.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
        self.held.split_to(content).freeze()
    }
}
