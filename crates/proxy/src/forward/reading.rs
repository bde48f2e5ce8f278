//! Reading a session's event stream, which outlives the connection it comes by: cut off, it is taken up again where the
//! instance still has it, or the session is rebuilt and the stream goes on from there. Whoever reads hears keep-alives
//! meanwhile.
//!
//! Who reads, and what becomes of it when nobody does, is not decided here ([`super::lasting`], [`super::live`]).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method as HttpMethod};
use mcp::sse;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep};

use super::OnLoss;
use super::event_id::{EventId, Kind, new_stream};
use super::logs::SessionEvents;
use super::mending::{Link, Mended};
use super::passing::Passing;
use crate::body::{CutOff, KEEP_ALIVE_EVERY};
use crate::events::StreamNumber;
use crate::instance::Load;
use crate::recovery::loss::Loss;
use crate::upstream::body::UpstreamBody;

/// The stream.
pub(super) struct Reading {
    state: State,
    /// Taken while mending.
    link: Option<Box<Link>>,
    passing: Passing,
    /// Made when there is something to wait for.
    moved: Option<Pin<Box<OwnedNotified>>>,
    patience: Option<Duration>,
    _load: Load,
}

/// Where a stream begins.
pub(super) struct From {
    pub(super) epoch: u32,
    /// The id of the backend's behind which it does.
    pub(super) own: Option<HeaderValue>,
    pub(super) body: Box<UpstreamBody>,
}

enum State {
    Flowing(Box<UpstreamBody>),
    Mending(Pin<Box<dyn Future<Output = (Box<Link>, Mended)> + Send>>, Pin<Box<Sleep>>),
    Over,
}

/// How a stream has come to an end, as far as its connection goes.
enum End {
    Clean,
    Cut(CutOff),
    /// The session lives elsewhere, or is about to: what comes here is of the past.
    Past,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("passing", &self.passing).finish_non_exhaustive()
    }
}

impl Reading {
    /// Reads from here.
    pub(super) fn new(link: Link, from: From, load: Load) -> Self {
        let From { epoch, own, body } = from;
        let patience = link.outgoing.patience;
        let own = own.and_then(|own| own.to_str().ok().map(str::to_owned));
        Self {
            state: State::Flowing(body),
            passing: Passing::new(link.kind, new_stream(), epoch, own),
            link: Some(Box::new(link)),
            moved: None,
            patience,
            _load: load,
        }
    }

    pub(super) fn number(&self) -> StreamNumber {
        self.passing.number
    }

    pub(super) fn kind(&self) -> Kind {
        self.passing.kind
    }

    pub(super) fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// How many events have begun to pass.
    pub(super) fn position(&self) -> u64 {
        self.passing.position
    }

    /// How many have passed.
    pub(super) fn seen(&self) -> u64 {
        self.passing.position - u64::from(self.passing.in_the_middle())
    }

    /// See [`Passing::rejoin`].
    pub(super) fn rejoin(&mut self) -> Option<Bytes> {
        self.passing.rejoin()
    }

    /// Whether there is more to come, as far as can be told.
    pub(super) fn goes_on(&self) -> bool {
        !matches!(self.state, State::Over) && !self.passing.answered
    }

    /// Whether a client could ask for what comes next.
    pub(super) fn has_cursor(&self) -> bool {
        self.passing.has_cursor()
    }

    /// Where its events are kept.
    pub(super) fn events(&mut self) -> Option<Arc<SessionEvents>> {
        let link = self.link.as_ref()?;
        Some(Arc::clone(self.passing.log(link)))
    }

    /// What a client hears first whose session has moved since it listened.
    pub(super) fn news(&mut self) -> Bytes {
        let Some(link) = &self.link else { return Bytes::new() };
        self.passing.pass(link.notices(), link)
    }

    /// The id that stands before what comes next, for a client that knows what an event without data is.
    pub(super) fn prime(&mut self) -> Option<EventId<'_>> {
        let primes = self.link.as_ref()?.session.backend.knows_priming();
        primes.then(|| self.passing.prime())
    }

    pub(super) fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        loop {
            let end = match &mut self.state {
                State::Over => return Poll::Ready(None),
                State::Flowing(_) => match std::task::ready!(self.poll_flowing(cx)) {
                    Ok(events) if events.is_empty() => continue,
                    Ok(events) => return Poll::Ready(Some(Ok(events))),
                    Err(end) => end,
                },
                State::Mending(mending, quiet) => match mending.as_mut().poll(cx) {
                    Poll::Pending => {
                        std::task::ready!(quiet.as_mut().poll(cx));
                        quiet.as_mut().reset(Instant::now() + KEEP_ALIVE_EVERY);
                        return Poll::Ready(Some(Ok(Bytes::from_static(sse::KEEP_ALIVE))));
                    }
                    Poll::Ready((link, mended)) => match self.go_on(link, mended) {
                        events if events.is_empty() => continue,
                        events => return Poll::Ready(Some(Ok(events))),
                    },
                },
            };
            if let Some(last) = self.ended(end) {
                return Poll::Ready(Some(last));
            }
        }
    }

    fn poll_flowing(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        let (State::Flowing(body), Some(link)) = (&mut self.state, &self.link) else {
            return Poll::Ready(Err(End::Clean));
        };
        let may_move = link.mends() && !self.passing.in_the_middle();
        if may_move && link.is_past(self.passing.epoch) {
            return Poll::Ready(Err(End::Past));
        }
        match body.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => Poll::Ready(Ok(self.passing.pass(data, link))),
            Poll::Ready(None) => Poll::Ready(Err(End::Clean)),
            Poll::Ready(Some(Err(cut))) => Poll::Ready(Err(End::Cut(cut))),
            Poll::Pending => {
                let is_new = self.moved.is_none();
                let moved = self.moved.get_or_insert_with(|| Box::pin(link.session.backend.moved()));
                // Looked at again: it may have moved before there was somebody to hear of it.
                let moves = moved.as_mut().poll(cx).is_ready() || is_new && link.is_past(self.passing.epoch);
                if may_move && moves { Poll::Ready(Err(End::Past)) } else { Poll::Pending }
            }
        }
    }

    /// What a reader is given at an end, if anything; or it is mended.
    fn ended(&mut self, end: End) -> Option<Result<Bytes, CutOff>> {
        let mends = self.link.as_ref().is_some_and(|link| link.mends());
        match end {
            // An end without the answer: nobody will send that any more.
            End::Clean if mends && self.ends_too_early() => self.mend(),
            // Its end is the server's own doing: a client that wants more asks with the last id.
            End::Clean => {
                self.state = State::Over;
                let rest = self.passing.rest();
                return (!rest.is_empty()).then_some(Ok(rest));
            }
            End::Cut(cut) if self.passing.in_the_middle() || !mends => {
                self.state = State::Over;
                return Some(Err(cut));
            }
            End::Cut(_) | End::Past => self.mend(),
        }
        None
    }

    /// Whether a stream that the server has ended still owes the answer to its request, and leaves nothing to ask the
    /// server for it with.
    fn ends_too_early(&self) -> bool {
        let Some(link) = &self.link else { return false };
        let owes = link.id.is_some() && !self.passing.answered && !self.passing.in_the_middle();
        owes && (self.passing.own.is_none() || link.is_past(self.passing.epoch))
    }

    fn go_on(&mut self, link: Box<Link>, mended: Mended) -> Bytes {
        let place = link.session.backend.place();
        self.passing.moved_to(place.epoch);
        self.moved = None;
        let (text, state) = match mended {
            Mended::Ends(text) => (text, State::Over),
            Mended::Goes(text, body) => (text, State::Flowing(body)),
        };
        let events = self.passing.pass(text, &link);
        self.state = state;
        self.link = Some(link);
        events
    }

    fn mend(&mut self) {
        let link = self.link.take().filter(|_| !self.passing.answered);
        let Some(link) = link else {
            // Nothing more was to come.
            self.state = State::Over;
            return;
        };
        self.passing.drop_held();
        let (epoch, own) = (self.passing.epoch, self.passing.own.clone());
        let quiet = Box::pin(sleep(KEEP_ALIVE_EVERY));
        let mending = async move {
            let mut link = link;
            let mended = match link.outgoing.request.method {
                HttpMethod::GET => link.listen_again(epoch, own.as_deref()).await,
                _ => link.answer_still(epoch, own.as_deref(), Loss::Unclear).await,
            };
            (link, mended)
        };
        self.state = State::Mending(Box::pin(mending), quiet);
    }
}

impl Link {
    fn mends(&self) -> bool {
        self.forward.config.on_loss == OnLoss::Rebuild
    }
}
