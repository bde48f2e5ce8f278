//! A client that comes back for a stream: from what is read of it here, from the log, or else from the instance.

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method as HttpMethod, Response};

use super::event_id::{EventId, Kind};
use super::lasting::Lasting;
use super::live::Joined;
use super::pinned::Pinned;
use super::reading::Reading;
use super::{Forward, Outgoing, PinnedSession};
use crate::body::{Body, event_stream};
use crate::session::table::InUse;

/// What becomes of a GET.
pub(super) enum TakenUp {
    /// Answered here.
    Here(Response<Body>),
    /// The instance is asked.
    There(Behind, InUse<Pinned>),
}

/// Where a stream begins that the instance is asked for.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// What the client has missed and the log has.
    pub(super) missed: Bytes,
    /// The id behind which it goes on, as it came from the backend or from here.
    id: Option<HeaderValue>,
}

impl Behind {
    /// What to ask the instance for, if the session still lives where that id was given.
    pub(super) fn own_in(&self, epoch: u32) -> Option<HeaderValue> {
        EventId::read(self.id.as_ref()?)?.own_in(epoch)
    }

    /// What is asked for in this epoch: the rest of an answer, or else the session's own stream.
    pub(super) fn kind_in(&self, epoch: u32) -> Kind {
        let id = self.id.as_ref().and_then(EventId::read);
        id.filter(|id| id.own_in(epoch).is_some()).map_or(Kind::Own, |id| id.kind)
    }

    /// What the client gets before what the instance says: what the log has, and where it has listened in a place that the
    /// session has left since, what it is told then.
    pub(super) fn missed_by(self, reading: &mut Reading, epoch: u32) -> Bytes {
        let id = self.id.as_ref().and_then(EventId::read);
        match id.is_some_and(|id| id.kind == Kind::Own && id.epoch < epoch) {
            true => glued(&[self.missed.clone(), reading.news()]),
            false => self.missed,
        }
    }
}

impl Forward {
    /// Finds what a client asks for with a GET, where that is known here.
    pub(super) fn take_up(
        &self,
        session: &PinnedSession,
        outgoing: &Outgoing,
        in_use: InUse<Pinned>,
    ) -> TakenUp {
        if outgoing.request.method != HttpMethod::GET {
            return TakenUp::There(Behind::default(), in_use);
        }
        let asked = outgoing.last_event_id.as_ref().filter(|id| EventId::read(id).is_some());
        let nothing = Behind { missed: Bytes::new(), id: asked.cloned() };
        let Some(events) = self.events.get(session.id) else { return TakenUp::There(nothing, in_use) };
        let id = asked.and_then(EventId::read);
        let named = id.and_then(|id| events.live(id.at.stream)?.join(Some(id.at.event)));
        if let Some(joined) = named {
            return TakenUp::Here(joined.answer(&[], in_use));
        }
        let missed = id.map(|id| events.after(id.at)).unwrap_or_default();
        // What was kept for whoever listens next.
        let listens = id.is_none_or(|id| id.kind == Kind::Own);
        if let Some(joined) = events.own_alone().filter(|_| listens).and_then(|live| live.join(None)) {
            return TakenUp::Here(joined.answer(&missed.events, in_use));
        }
        let (Some(id), Some(last)) = (id, missed.events.last()) else {
            return TakenUp::There(nothing, in_use);
        };
        let epoch = session.backend.place().epoch;
        if missed.gap && id.own_in(epoch).is_some() {
            // The instance may have all of it.
            return TakenUp::There(nothing, in_use);
        }
        let next = Behind { missed: glued(&missed.events), id: id_of(last) };
        if missed.over || next.kind_in(epoch) != id.kind {
            return TakenUp::Here(event_stream(Body::Full(next.missed)));
        }
        TakenUp::There(next, in_use)
    }

    /// Where the instance serves no second stream: its client has come back, and that its first connection is dead is not
    /// known here yet, or never will be. It gets what that one has.
    pub(super) fn take_over(&self, session: &PinnedSession) -> Option<Joined> {
        self.events.get(session.id)?.own()?.join(None)
    }
}

impl Joined {
    /// The stream for a client, behind what else it has missed.
    pub(super) fn answer(self, before: &[Bytes], in_use: InUse<Pinned>) -> Response<Body> {
        let missed = glued(&[before, &self.missed.events].concat());
        event_stream(Body::Lasting(Box::new(Lasting::joined(self.reader, missed, in_use))))
    }
}

fn glued(events: &[Bytes]) -> Bytes {
    match events {
        [] => Bytes::new(),
        [one] => one.clone(),
        events => {
            let mut text = BytesMut::with_capacity(events.iter().map(Bytes::len).sum());
            events.iter().for_each(|event| text.extend_from_slice(event));
            text.freeze()
        }
    }
}

/// The id of an event as it was sent: what is written first.
fn id_of(event: &Bytes) -> Option<HeaderValue> {
    let block = mcp::sse::Block::read(event.clone());
    HeaderValue::from_bytes(&block.id?).ok()
}
