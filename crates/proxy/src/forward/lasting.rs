//! A session's event streams, which outlive the connection they come by: cut off, a stream is taken up again where the
//! instance still has it, or the session is rebuilt and the stream goes on from there. The client's connection stays open
//! and hears keep-alives meanwhile.
//!
//! Only whole events are passed on, so that a cut falls between two of them; one that is larger than [`MOST_HELD`] is
//! passed on in pieces, and a cut in the middle of it is the client's to see.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method as HttpMethod, StatusCode, header};
use mcp::message::Kind;
use mcp::sse::{self, Decoder, Event};
use mcp::{Message, headers};
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep};

use super::own::Voice;
use super::{Forward, Outgoing, PinnedSession, health, hop};
use crate::body::{Body, CutOff, KEEP_ALIVE_EVERY};
use crate::failure::Failure;
use crate::recovery::loss::Loss;
use crate::recovery::notice::{self, cancelled};
use crate::session;
use crate::upstream::body::{Under, UpstreamBody};
use crate::upstream::{Manner, Pool};

/// Of an event that is not whole yet, so much is held back.
const MOST_HELD: usize = 64 * 1024;
/// Pauses before a session's own stream is asked for again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a stream needs to go on without the request that began it.
pub(super) struct Link {
    pub(super) forward: Arc<Forward>,
    pub(super) pool: Arc<Pool>,
    pub(super) session: PinnedSession,
    /// The request, its fields without a session id.
    pub(super) outgoing: Outgoing,
    /// Of a POST: the id that its answer will have.
    pub(super) id: Option<Bytes>,
    /// Whether the request was sent a second time already.
    pub(super) resent: bool,
}

/// The stream.
pub struct Lasting {
    state: State,
    /// Taken while mending.
    link: Option<Box<Link>>,
    epoch: u32,
    seen: Seen,
    moved: Pin<Box<OwnedNotified>>,
    quiet: Pin<Box<Sleep>>,
    _under: Under,
}

enum State {
    Flowing(Box<UpstreamBody>),
    Mending(Pin<Box<dyn Future<Output = (Box<Link>, Mended)> + Send>>),
    Over,
}

/// What has passed, and what is held back.
struct Seen {
    decoder: Decoder,
    held: BytesMut,
    /// A part of an event has been passed on whose end has not.
    in_the_middle: bool,
    last_id: Option<String>,
    answered: bool,
}

/// How a stream goes on.
enum Mended {
    /// With these events, and then from here.
    Goes(Bytes, Box<UpstreamBody>),
    /// With these, and that is all.
    Ends(Bytes),
}

impl std::fmt::Debug for Lasting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lasting").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Lasting {
    pub(super) fn new(link: Link, epoch: u32, body: Box<UpstreamBody>, under: Under) -> Self {
        let moved = Box::pin(link.session.backend.moved());
        Self {
            state: State::Flowing(body),
            link: Some(Box::new(link)),
            epoch,
            seen: Seen::new(),
            moved,
            quiet: Box::pin(sleep(KEEP_ALIVE_EVERY)),
            _under: under,
        }
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        loop {
            match &mut self.state {
                State::Over => return Poll::Ready(None),
                State::Flowing(body) => {
                    // The session lives elsewhere, or is about to: what comes here is of the past.
                    let is_past = self.moved.as_mut().poll(cx).is_ready()
                        || self.link.as_ref().is_some_and(|link| link.is_past(self.epoch));
                    if is_past && !self.seen.in_the_middle {
                        self.mend(Loss::Unclear);
                        continue;
                    }
                    match std::task::ready!(body.poll_data(cx)) {
                        Some(Ok(data)) => {
                            let Some(link) = &self.link else { return Poll::Ready(None) };
                            let whole = self.seen.pass(&data, self.epoch, link);
                            if !whole.is_empty() {
                                return Poll::Ready(Some(Ok(whole)));
                            }
                        }
                        // An end without the answer: nobody will send that any more.
                        None if self.ends_too_early() => self.mend(Loss::Unclear),
                        // Its end is the server's own doing: a client that wants more asks with the last id.
                        None => {
                            let rest = self.seen.rest();
                            self.state = State::Over;
                            return Poll::Ready((!rest.is_empty()).then_some(Ok(rest)));
                        }
                        Some(Err(cut)) if self.seen.in_the_middle => {
                            self.state = State::Over;
                            return Poll::Ready(Some(Err(cut)));
                        }
                        Some(Err(_)) => self.mend(Loss::Unclear),
                    }
                }
                State::Mending(mending) => match mending.as_mut().poll(cx) {
                    Poll::Pending => {
                        std::task::ready!(self.quiet.as_mut().poll(cx));
                        self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE_EVERY);
                        return Poll::Ready(Some(Ok(Bytes::from_static(sse::KEEP_ALIVE))));
                    }
                    Poll::Ready((link, mended)) => {
                        let events = self.go_on(link, mended);
                        if !events.is_empty() {
                            return Poll::Ready(Some(Ok(events)));
                        }
                    }
                },
            }
        }
    }

    /// Whether a stream that the server has ended still owes the answer to its request, and leaves its client nothing to
    /// ask for it with.
    fn ends_too_early(&self) -> bool {
        let Some(link) = &self.link else { return false };
        let owes = link.id.is_some() && !self.seen.answered && !self.seen.in_the_middle;
        owes && (self.seen.last_id.is_none() || link.is_past(self.epoch))
    }

    fn go_on(&mut self, link: Box<Link>, mended: Mended) -> Bytes {
        match mended {
            Mended::Ends(events) => {
                self.state = State::Over;
                events
            }
            Mended::Goes(events, body) => {
                self.epoch = link.session.backend.place().epoch;
                self.moved = Box::pin(link.session.backend.moved());
                self.seen = Seen { last_id: self.seen.last_id.take(), ..Seen::new() };
                self.state = State::Flowing(body);
                self.link = Some(link);
                events
            }
        }
    }

    fn mend(&mut self, loss: Loss) {
        let Some(link) = self.link.take() else {
            self.state = State::Over;
            return;
        };
        if self.seen.answered {
            // Nothing more was to come.
            self.state = State::Over;
            return;
        }
        self.seen.held.clear();
        let (epoch, last_id) = (self.epoch, self.seen.last_id.take());
        self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE_EVERY);
        self.state = State::Mending(Box::pin(async move {
            let mut link = link;
            let mended = match link.outgoing.request.method {
                HttpMethod::GET => link.listen_again(epoch, last_id.as_deref()).await,
                _ => link.answer_still(epoch, last_id.as_deref(), loss).await,
            };
            (link, mended)
        }));
    }
}

impl Seen {
    fn new() -> Self {
        Self {
            decoder: Decoder::new(MOST_HELD),
            held: BytesMut::new(),
            in_the_middle: false,
            last_id: None,
            answered: false,
        }
    }

    /// Takes what came and gives what may be passed on.
    fn pass(&mut self, data: &[u8], epoch: u32, link: &Link) -> Bytes {
        self.held.extend_from_slice(data);
        let Some(end) = last_boundary(&self.held) else {
            if self.held.len() <= MOST_HELD {
                return Bytes::new();
            }
            self.in_the_middle = true;
            return self.held.split().freeze();
        };
        let whole = self.held.split_to(end).freeze();
        if std::mem::take(&mut self.in_the_middle) {
            // The rest of a large one, and what follows: large ones are answers.
            self.decoder = Decoder::new(MOST_HELD);
            self.answered = link.id.is_some();
            return whole;
        }
        let mut events = Vec::new();
        if self.decoder.feed(&whole, &mut events).is_err() {
            self.decoder = Decoder::new(MOST_HELD);
            self.answered = link.id.is_some();
            return whole;
        }
        for event in &mut events {
            self.note(event, link, epoch);
        }
        if epoch == 0 { whole } else { retold(&events, epoch) }
    }

    /// Takes note of what passes. The answer in a session that has moved says so, once.
    fn note(&mut self, event: &mut Event, link: &Link, epoch: u32) {
        if let Some(id) = &event.id {
            self.last_id = Some(id.clone());
        }
        let Ok(message) = Message::parse(event.data.clone()) else { return };
        match message.kind() {
            Kind::Request => {
                if let Some(id) = message.id() {
                    link.session.backend.asked(id);
                }
            }
            Kind::Result | Kind::Error => {
                let is_it = link.id.as_deref() == message.id();
                self.answered |= is_it;
                if is_it {
                    link.forward.learn(link.outgoing.mcp_method, &message);
                    let backend = &link.session.backend;
                    if backend.is_untold(&backend.place())
                        && let Some(told) = notice::in_result(&message, session::epoch::moves(epoch))
                    {
                        backend.tell();
                        event.data = told;
                    }
                }
            }
            Kind::Notification => {}
        }
    }

    /// What was held back when the stream ended: without the blank line behind it, it is no event, but not ours to hide.
    fn rest(&mut self) -> Bytes {
        self.held.split().freeze()
    }
}

/// The end of the last event that is whole.
fn last_boundary(text: &[u8]) -> Option<usize> {
    let ends = |end: usize| {
        let before = &text[..end];
        before.ends_with(b"\n\n") || before.ends_with(b"\r\n\r\n") || before.ends_with(b"\r\r")
    };
    (1..=text.len()).rev().find(|&end| ends(end))
}

/// Events of a session that has moved, with ids that say so: the backend's own may repeat those of the old one.
fn retold(events: &[Event], epoch: u32) -> Bytes {
    let mut out = BytesMut::new();
    for event in events {
        let id = event.id.as_ref().map(|id| format!("{}{id}", id_prefix(epoch)));
        sse::encode(
            &mut out,
            (!event.name.is_empty()).then_some(&*event.name),
            id.as_deref(),
            event.retry,
            &event.data,
        );
    }
    out.freeze()
}

fn id_prefix(epoch: u32) -> String {
    format!("skep{epoch}-")
}

/// The backend's own id behind one that a client names; `None` where it is of an instance that is gone.
pub(super) fn backend_event_id(id: &HeaderValue, epoch: u32) -> Option<HeaderValue> {
    if epoch == 0 {
        return Some(id.clone());
    }
    let own = id.to_str().ok()?.strip_prefix(&id_prefix(epoch))?;
    HeaderValue::from_str(own).ok()
}

impl Link {
    /// Whether nothing of use comes any more from where the session lived in this epoch: it lives elsewhere, or its
    /// instance answers no more.
    fn is_past(&self, epoch: u32) -> bool {
        let place = self.session.backend.place();
        let is_down = || place.instance.as_ref().is_some_and(|instance| instance.health.is_down());
        place.epoch > epoch || is_down()
    }

    /// The session's own stream, from wherever the session lives now.
    async fn listen_again(&mut self, epoch: u32, last_id: Option<&str>) -> Mended {
        let mut pause = FIRST_PAUSE;
        while self.forward.table.is_open(self.session.id) && !self.forward.config.stop.is_cancelled() {
            let place = self.session.backend.place();
            let moved = place.epoch > epoch;
            match self.get(last_id.filter(|_| !moved)).await {
                Ok((StatusCode::OK, Some(body))) => {
                    let notices = if moved { self.notices() } else { Bytes::new() };
                    return Mended::Goes(notices, body);
                }
                // The server does not offer such a stream any more.
                Ok((StatusCode::METHOD_NOT_ALLOWED, _)) => return Mended::Ends(Bytes::new()),
                Ok((status, _)) if status == StatusCode::NOT_FOUND || status == StatusCode::BAD_REQUEST => {
                    if self.recover(place.epoch, Loss::MemoryLost).await.is_err() {
                        return Mended::Ends(Bytes::new());
                    }
                    continue;
                }
                Ok(_) => {}
                Err(failure) => {
                    let Some(loss) = Loss::of_failure(&failure) else { return Mended::Ends(Bytes::new()) };
                    if self.recover(place.epoch, loss).await.is_err() {
                        return Mended::Ends(Bytes::new());
                    }
                }
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Mended::Ends(Bytes::new())
    }

    /// The answer to a request whose stream was cut: the rest of the stream, or the answer to the same request sent
    /// again where that does no harm, or the news that nobody knows.
    async fn answer_still(&mut self, epoch: u32, last_id: Option<&str>, loss: Loss) -> Mended {
        let place = self.session.backend.place();
        if place.epoch == epoch
            && last_id.is_some()
            && let Ok((StatusCode::OK, Some(body))) = self.get(last_id).await
        {
            return Mended::Goes(Bytes::new(), body);
        }
        let lost = |reason: &str| Failure::Interrupted {
            backend: self.forward.config.name.clone(),
            instance: place.instance.as_ref().map(|i| i.address.to_string()).unwrap_or_default(),
            reason: reason.to_owned(),
        };
        let recovered = match place.epoch > epoch {
            true => Ok(()),
            false => self.recover(epoch, loss).await,
        };
        if let Err(failure) = recovered {
            return self.last_words(&failure);
        }
        if self.resent || !self.outgoing.again {
            self.forward.recoveries.count_interrupted(1);
            return self.last_words(&lost("its answer was cut off"));
        }
        self.forward.recoveries.count_resent(1);
        self.resent = true;
        match self.send_again().await {
            Ok(mended) => mended,
            Err(failure) => self.last_words(&failure),
        }
    }

    fn last_words(&self, failure: &Failure) -> Mended {
        let text = failure.reply().to_json(self.id.as_deref());
        Mended::Ends(sse::message_event(None, &text))
    }

    async fn recover(&self, epoch: u32, loss: Loss) -> Result<(), Failure> {
        let voice = Voice::of(&self.outgoing.request);
        self.forward.recover(&self.pool, &self.session, voice, epoch, loss).await
    }

    /// What a listener is told when its session has moved.
    fn notices(&self) -> Bytes {
        let remembered = self.session.backend.remembered();
        let notices = remembered.iter().flat_map(|remembered| remembered.notices());
        let mut out = BytesMut::new();
        for id in self.session.backend.take_withdrawn() {
            sse::encode(&mut out, None, None, None, &cancelled(&id, "the server that asked is gone"));
        }
        notices.for_each(|text| sse::encode(&mut out, None, None, None, text.as_bytes()));
        out.freeze()
    }

    /// Asks for the session's own stream, or for the rest of any.
    async fn get(&self, last_id: Option<&str>) -> Result<(StatusCode, Option<Box<UpstreamBody>>), Failure> {
        let mut request = self.outgoing.request.clone();
        request.fields = request.fields.without(super::own::is_of_the_body);
        request.fields.push(&header::ACCEPT, &HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            request.fields.push(&headers::LAST_EVENT_ID, &id);
        }
        request.method = HttpMethod::GET;
        request.body = Bytes::new();
        self.exchange(request).await
    }

    async fn exchange(
        &self,
        mut request: crate::upstream::OutgoingRequest,
    ) -> Result<(StatusCode, Option<Box<UpstreamBody>>), Failure> {
        let place = self.session.backend.place();
        let name = &self.forward.config.name;
        let Some(instance) = self.session.backend.reachable(&place) else {
            return Err(Failure::NoInstance { backend: name.clone() });
        };
        request.fields.push(&headers::SESSION_ID, &place.backend_session);
        let manner = Manner { patience: Some(Duration::from_secs(10)), repeatable: true };
        let answer = self.pool.exchange(instance, &request, manner).await;
        health::learn(instance, &answer);
        let (head, mut body) = answer.map_err(|error| error.into_failure(name, instance))?.into_parts();
        if !hop::is_event_stream(&head.headers) {
            return Ok((head.status, None));
        }
        body.keep_alive();
        if request.method == HttpMethod::GET {
            body.end_on(self.forward.config.stop.clone());
        }
        Ok((head.status, Some(Box::new(body))))
    }

    async fn send_again(&self) -> Result<Mended, Failure> {
        let place = self.session.backend.place();
        let name = &self.forward.config.name;
        let Some(instance) = self.session.backend.reachable(&place) else {
            return Err(Failure::NoInstance { backend: name.clone() });
        };
        let mut outgoing = self.outgoing.clone();
        outgoing.request.fields.push(&headers::SESSION_ID, &place.backend_session);
        let response = self.forward.send(&self.pool, instance, &outgoing).await?;
        let is_stream = hop::is_event_stream(response.headers());
        match response.into_body() {
            Body::Upstream(body) if is_stream => Ok(Mended::Goes(Bytes::new(), body)),
            body => {
                let text = http_body_util::BodyExt::collect(body).await.map_err(|cut| Failure::Lost {
                    backend: name.clone(),
                    instance: instance.address.to_string(),
                    reason: cut.to_string(),
                })?;
                Ok(Mended::Ends(sse::message_event(None, &text.to_bytes())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_whole_with_its_blank_line() {
        for (text, end) in [
            ("", None),
            ("data: a", None),
            ("data: a\n", None),
            ("data: a\n\n", Some(9)),
            ("data: a\r\n\r\n", Some(11)),
            ("data: a\r\n\r", None),
            ("data: a\r\r", Some(9)),
            ("data: a\n\ndata: b\n", Some(9)),
            ("data: a\n\ndata: b\n\n", Some(18)),
        ] {
            assert_eq!(last_boundary(text.as_bytes()), end, "{text:?}");
        }
    }

    #[test]
    fn an_event_id_says_which_instance_it_is_of() {
        let id = |text: &'static str| HeaderValue::from_static(text);
        assert_eq!(backend_event_id(&id("7"), 0), Some(id("7")), "as long as it has not moved");
        assert_eq!(backend_event_id(&id("7"), 1), None, "of an instance that is gone");
        assert_eq!(backend_event_id(&id("skep1-7"), 1), Some(id("7")));
        assert_eq!(backend_event_id(&id("skep1-7"), 2), None);
        assert_eq!(backend_event_id(&id("skep1-7"), 11), None);
        let mut events = Vec::new();
        Decoder::new(100).feed(b"id: 7\ndata: x\n\n", &mut events).unwrap();
        assert_eq!(retold(&events, 3), "id: skep3-7\ndata: x\n\n");
    }
}
