//! What a [`super::Child`] guards with its lock: the machine, and where the answers of its requests go.
//!
//! Nothing here waits. What finds no room is left in `held` and `orders` for the child's task.

mod turnover;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use mcp::message::Kind;
use mcp::{Message, Method, sse};
use serde_json::json;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Place, UnderWay};
use crate::bridge::mux::{ClientKey, Effect, Mux, Ours, Sender, Sharing, Taken};
use crate::bridge::streams::{Format, Opened, Streams, Subject};
use crate::events::Cursor;
use crate::failure::Failure;
use crate::recovery::remembered::Remembered;
use crate::recovery::resend::ResendPolicy;

/// Answers of ours to the server that may wait for it to read; beyond, they are dropped.
const MAX_ORDERS: usize = 256;
/// Events that may wait for a client that stands alone.
const ALONE_DEPTH: usize = 16;

/// What a client gets first.
#[derive(Debug)]
pub(in crate::bridge) enum First {
    /// The answer, and nothing before it.
    Answer { text: Bytes, code: Option<i64> },
    /// Events, the answer last.
    Events { events: mpsc::Receiver<Bytes>, place: Place },
}

/// How a client takes the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bridge) enum Takes {
    /// As the answer to its POST; `events`: as a stream too.
    Post { events: bool },
    /// On the session's one stream (HTTP+SSE).
    Push,
}

/// What became of a client's message.
#[derive(Debug)]
pub(in crate::bridge) enum Submitted {
    UnderWay(UnderWay),
    /// Answered without the server.
    Answered(Bytes),
    /// Nothing comes back here.
    Accepted,
    Refused(&'static str),
}

/// Where an answer goes.
#[derive(Debug)]
enum Exchange {
    /// Nothing was shown yet.
    Waiting { client: Option<ClientKey>, reply: oneshot::Sender<First> },
    /// On a stream of a session.
    Logged { client: ClientKey, number: u64 },
    /// On a stream that ends with its connection.
    Alone { queue: mpsc::Sender<Bytes> },
    /// On the session's one stream.
    Push { client: ClientKey },
}

/// An event that waits for its client.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) queue: mpsc::Sender<Bytes>,
    pub(super) event: Bytes,
    pub(super) place: Place,
}

/// A permit to send one message to the server.
#[derive(Debug)]
pub(super) struct Room {
    server: mpsc::Sender<Bytes>,
    permit: mpsc::OwnedPermit<Bytes>,
}

impl Room {
    /// Waits for it. `None`: that server is gone.
    pub(super) async fn at(server: mpsc::Sender<Bytes>) -> Option<Self> {
        let permit = server.clone().reserve_owned().await.ok()?;
        Some(Self { server, permit })
    }

    /// Whether it is not one that has gone meanwhile.
    fn is_for(&self, server: &mpsc::Sender<Bytes>) -> bool {
        self.server.same_channel(server)
    }
}

/// Whether a message is about something that is gone with the server: no other one is to hear of it.
fn concerns_the_lost(message: &Message) -> bool {
    match message.kind() {
        Kind::Result | Kind::Error => true,
        // The next server is told by us that the handshake is over.
        Kind::Notification => matches!(message.method(), Method::Cancelled | Method::Initialized),
        Kind::Request => false,
    }
}

/// Why a message was not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// There is no room towards the server; this is the way to get some.
    Full(mpsc::Sender<Bytes>),
    /// The server reads no more, which its task is about to notice.
    Gone,
    /// There is no server now. One is being fetched.
    Away,
    /// There will be none.
    Ending,
}

#[derive(Debug)]
pub(super) struct State {
    sharing: Sharing,
    pub(super) mux: Mux,
    pub(super) exchanges: HashMap<Ours, ExchangeSlot>,
    pub(super) sessions: HashMap<ClientKey, Streams>,
    /// `None`: there is none now.
    server: Option<mpsc::Sender<Bytes>>,
    /// What another server is to be told before it takes this one's place; `None`: none can.
    pub(super) remembered: Option<Remembered>,
    /// A handshake under way: its request's id, and its text.
    handshake: Option<(Ours, Bytes)>,
    /// A message came while there was no server.
    pub(super) wanted: bool,
    /// When and why the last attempt to get another server came to nothing.
    pub(super) failed: Option<(Instant, Arc<str>)>,
    /// The server is to be let go until it is wanted again.
    pub(super) sleepy: bool,
    /// A request was not answered in time: by when the server is to say anything at all.
    pub(super) suspected: Option<Instant>,
    /// Messages to the server that no client waits with.
    pub(super) orders: VecDeque<Bytes>,
    pub(super) held: VecDeque<Held>,
    pub(super) closing: Option<Arc<str>>,
    pub(super) over: Option<Arc<str>>,
    /// There is a server, but not one that clients could go on with: they are to begin again.
    pub(super) begin_again: bool,
    /// Messages dropped since last counted.
    pub(super) dropped: u64,
    /// What the task waits for now.
    attended_due: Option<Instant>,
    scratch: Vec<Effect>,
}

/// Keeps [`Exchange`] to this file.
#[derive(Debug)]
pub(super) struct ExchangeSlot(Exchange);

impl State {
    /// Without a server, one is waited for.
    pub(super) fn new(
        sharing: Sharing,
        resend: Arc<ResendPolicy>,
        server: Option<mpsc::Sender<Bytes>>,
    ) -> Self {
        Self {
            sharing,
            mux: Mux::new(sharing, resend),
            exchanges: HashMap::new(),
            sessions: HashMap::new(),
            server,
            remembered: None,
            handshake: None,
            wanted: false,
            failed: None,
            sleepy: false,
            suspected: None,
            orders: VecDeque::new(),
            held: VecDeque::new(),
            closing: None,
            over: None,
            begin_again: false,
            dropped: 0,
            attended_due: None,
            scratch: Vec::new(),
        }
    }

    pub(super) fn add_client(&mut self, client: ClientKey, format: Format) {
        self.mux.add_client(client);
        self.sessions.insert(client, Streams::new(format));
    }

    /// Whether the task has to look.
    pub(super) fn wants_attention(&self) -> bool {
        !self.orders.is_empty() || !self.held.is_empty() || self.wanted || self.due() != self.attended_due
    }

    fn due(&self) -> Option<Instant> {
        let (question, suspected) = (self.mux.next_due(), self.suspected);
        question.into_iter().chain(suspected).min()
    }

    /// When the task wants to be woken at the latest.
    pub(super) fn attended(&mut self) -> Option<Instant> {
        self.attended_due = self.due();
        self.attended_due
    }

    /// Whether there is a server.
    pub(super) fn has_server(&self) -> bool {
        self.server.is_some()
    }

    /// Takes a client's message, where there is room for it.
    pub(super) fn submit(
        &mut self,
        client: Option<ClientKey>,
        takes: Takes,
        message: &Message,
        room: Option<Room>,
    ) -> Result<Submitted, NotTaken> {
        if self.closing.is_some() || self.over.is_some() {
            return Err(NotTaken::Ending);
        }
        let Some(server) = &self.server else {
            if !concerns_the_lost(message) {
                self.wanted = true;
                return Err(NotTaken::Away);
            }
            // It is for a server that is gone; the machine may still want to know.
            let mut effects = Vec::new();
            self.mux.on_client(Sender { client, streams: false }, message, &mut effects);
            self.apply(&mut effects);
            return Ok(Submitted::Accepted);
        };
        let room = match room.filter(|room| room.is_for(server)) {
            Some(room) => room.permit,
            None => match server.clone().try_reserve_owned() {
                Ok(permit) => permit,
                Err(TrySendError::Full(server)) => return Err(NotTaken::Full(server)),
                // The task is about to notice.
                Err(TrySendError::Closed(_)) => return Err(NotTaken::Gone),
            },
        };
        let sender = Sender { client, streams: takes == Takes::Post { events: true } };
        let mut effects = std::mem::take(&mut self.scratch);
        let submitted = match self.mux.on_client(sender, message, &mut effects) {
            Taken::Request { ours, text } => {
                if message.method() == Method::Initialize && self.sharing != Sharing::Modern {
                    self.handshake = Some((ours, text.clone()));
                }
                self.note(message.method(), &text);
                room.send(text);
                self.expect_answer(ours, client, takes)
            }
            Taken::Pass(text) => {
                room.send(text);
                Submitted::Accepted
            }
            Taken::Answered(text) => match (takes, client) {
                (Takes::Push, Some(client)) => {
                    effects.push(Effect::Push { client, text });
                    Submitted::Accepted
                }
                _ => Submitted::Answered(text),
            },
            Taken::Done => Submitted::Accepted,
            Taken::Refused(why) => Submitted::Refused(why),
        };
        self.apply(&mut effects);
        self.scratch = effects;
        Ok(submitted)
    }

    fn expect_answer(&mut self, ours: Ours, client: Option<ClientKey>, takes: Takes) -> Submitted {
        match (takes, client) {
            (Takes::Push, Some(client)) => {
                self.exchanges.insert(ours, ExchangeSlot(Exchange::Push { client }));
                Submitted::Accepted
            }
            _ => {
                let (reply, first) = oneshot::channel();
                self.exchanges.insert(ours, ExchangeSlot(Exchange::Waiting { client, reply }));
                Submitted::UnderWay(UnderWay { ours, first })
            }
        }
    }

    pub(super) fn on_server(&mut self, message: &Message) {
        if self.handshake.is_some() && matches!(message.kind(), Kind::Result | Kind::Error) {
            self.shook_hands(message);
        }
        let mut effects = std::mem::take(&mut self.scratch);
        self.mux.on_server(Instant::now(), message, &mut effects);
        self.apply(&mut effects);
        self.scratch = effects;
    }

    pub(super) fn apply(&mut self, effects: &mut Vec<Effect>) {
        let mut more = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::ToServer(text) => self.order(text),
                Effect::Answer { ours, text, code } => self.answer(ours, text, code),
                Effect::Event { ours, text } => self.event(ours, &text),
                Effect::Push { client, text } => self.push(client, &text),
                Effect::Release { ours } => self.release(ours, &mut more),
                Effect::End { ours } => self.end_exchange(ours),
                Effect::Dropped(what) => {
                    tracing::debug!(what, "dropped");
                    self.dropped += 1;
                }
            }
        }
        if !more.is_empty() {
            self.apply(&mut more);
        }
    }

    fn order(&mut self, text: Bytes) {
        if self.server.is_none() {
            return;
        }
        // What a shared server is told when one of its clients has gone.
        if self.sharing == Sharing::Shared
            && let Ok(message) = Message::parse(text.clone())
        {
            self.note(message.method(), &text);
        }
        if self.orders.len() < MAX_ORDERS {
            self.orders.push_back(text);
        } else {
            self.dropped += 1;
        }
    }

    /// Sends what there is room for.
    pub(super) fn send_orders(&mut self, server: &mpsc::Sender<Bytes>) {
        while let Some(order) = self.orders.pop_front() {
            if let Err(TrySendError::Full(order)) = server.try_send(order) {
                self.orders.push_front(order);
                return;
            }
        }
    }

    fn answer(&mut self, ours: Ours, text: Bytes, code: Option<i64>) {
        let Some(ExchangeSlot(exchange)) = self.exchanges.remove(&ours) else { return };
        match exchange {
            // Its client may have gone this very moment.
            Exchange::Waiting { reply, .. } => drop(reply.send(First::Answer { text, code })),
            Exchange::Logged { client, number } => self.deliver(client, number, &text, true),
            Exchange::Alone { queue } => self.deliver_alone(ours, &queue, &text),
            Exchange::Push { client } => self.push(client, &text),
        }
    }

    fn event(&mut self, ours: Ours, text: &[u8]) {
        if !self.exchanges.contains_key(&ours) {
            self.dropped += 1;
            return;
        }
        self.begin_stream(ours);
        match self.exchanges.get(&ours).map(|slot| &slot.0) {
            Some(Exchange::Logged { client, number }) => {
                let (client, number) = (*client, *number);
                self.deliver(client, number, text, false);
            }
            Some(Exchange::Alone { queue }) => {
                let queue = queue.clone();
                self.deliver_alone(ours, &queue, text);
            }
            Some(Exchange::Push { client }) => {
                let client = *client;
                self.push(client, text);
            }
            // Its client takes no events.
            Some(Exchange::Waiting { .. }) | None => self.dropped += 1,
        }
    }

    /// Turns a waiting exchange into a stream, if its client takes one.
    pub(super) fn begin_stream(&mut self, ours: Ours) {
        if !matches!(self.exchanges.get(&ours), Some(ExchangeSlot(Exchange::Waiting { .. })))
            || !self.mux.streams(ours)
        {
            return;
        }
        let Some(ExchangeSlot(Exchange::Waiting { client, reply })) = self.exchanges.remove(&ours) else {
            return;
        };
        let (exchange, first) =
            match client.and_then(|client| Some((client, self.sessions.get_mut(&client)?))) {
                Some((client, streams)) => {
                    let Opened { events, line } = streams.open(Subject::Request(ours), 0);
                    let first = First::Events { events, place: Place::Line { client, line } };
                    (Exchange::Logged { client, number: line.number }, first)
                }
                None => {
                    let (queue, events) = mpsc::channel(ALONE_DEPTH);
                    (Exchange::Alone { queue }, First::Events { events, place: Place::Alone { ours } })
                }
            };
        // Its client may have gone this very moment.
        let _ = reply.send(first);
        self.exchanges.insert(ours, ExchangeSlot(exchange));
    }

    fn push(&mut self, client: ClientKey, text: &[u8]) {
        match self.sessions.get(&client).and_then(Streams::push_stream) {
            Some(number) => self.deliver(client, number, text, false),
            None => self.dropped += 1,
        }
    }

    fn deliver(&mut self, client: ClientKey, number: u64, text: &[u8], last: bool) {
        let Some(streams) = self.sessions.get_mut(&client) else { return };
        if let Some(blocked) = streams.deliver(number, text, last) {
            let place = Place::Line { client, line: blocked.line };
            self.held.push_back(Held { queue: blocked.queue, event: blocked.event, place });
        }
    }

    fn deliver_alone(&mut self, ours: Ours, queue: &mpsc::Sender<Bytes>, text: &[u8]) {
        if let Err(TrySendError::Full(event)) = queue.try_send(sse::message_event(None, text)) {
            self.held.push_back(Held { queue: queue.clone(), event, place: Place::Alone { ours } });
        }
    }

    fn release(&mut self, ours: Ours, effects: &mut Vec<Effect>) {
        self.begin_stream(ours);
        if let Some(ExchangeSlot(Exchange::Logged { client, number })) = self.exchanges.get(&ours) {
            let released = self.sessions.get_mut(client).and_then(|streams| streams.release(*number));
            if released.is_some() {
                self.mux.set_streams(ours, false, effects);
            }
        }
    }

    fn end_exchange(&mut self, ours: Ours) {
        if let Some(ExchangeSlot(Exchange::Logged { client, number })) = self.exchanges.remove(&ours)
            && let Some(streams) = self.sessions.get_mut(&client)
        {
            streams.close(number);
        }
    }

    pub(super) fn open_stream(&mut self, client: ClientKey, cursor: Option<Cursor>) -> Option<Opened> {
        let room = self.mux.waiting(client);
        let streams = self.sessions.get_mut(&client).filter(|_| self.over.is_none())?;
        let resumed = cursor.and_then(|cursor| streams.resume(cursor, room));
        let (opened, subject) = match resumed {
            Some(resumed) => resumed,
            None => (streams.open(Subject::Push, room), Some(Subject::Push)),
        };
        let mut effects = Vec::new();
        match subject {
            Some(Subject::Push) => self.mux.set_push(client, true, &mut effects),
            Some(Subject::Request(ours)) => self.mux.set_streams(ours, true, &mut effects),
            None => {}
        }
        self.apply(&mut effects);
        Some(opened)
    }

    /// A client's connection is gone. In the legacy era that is no cancellation; in the modern one it is.
    pub(super) fn client_left(&mut self, place: Place, modern: bool, effects: &mut Vec<Effect>) {
        match place {
            Place::Waiting { ours } | Place::Alone { ours } if modern => {
                if self.exchanges.remove(&ours).is_some() {
                    self.mux.give_up(ours, "the client has gone", effects);
                }
            }
            Place::Waiting { ours } | Place::Alone { ours } => {
                // It has no cursor to ask for the answer with, so there is nothing to keep.
                self.end_exchange(ours);
                self.mux.set_streams(ours, false, effects);
            }
            Place::Line { client, line } => {
                let subject = self.sessions.get_mut(&client).and_then(|streams| streams.detach(line));
                match subject {
                    Some(Subject::Request(ours)) => self.mux.set_streams(ours, false, effects),
                    Some(Subject::Push) => self.mux.set_push(client, false, effects),
                    None => {}
                }
            }
        }
    }

    /// As [`State::client_left`], because of what it has not read: that goes too.
    pub(super) fn cut(&mut self, held: &Held, modern: bool, effects: &mut Vec<Effect>) {
        self.held.retain(|other| !other.queue.same_channel(&held.queue));
        self.client_left(held.place, modern, effects);
    }

    pub(super) fn end_subscriptions(&mut self, effects: &mut Vec<Effect>) {
        for (ours, id) in self.mux.endless() {
            self.mux.give_up(ours, "skep is shutting down", effects);
            let id = String::from_utf8_lossy(&id);
            let key = json!(mcp::message::meta_key::SUBSCRIPTION_ID);
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{{key}:{id}}}}}}}"#
            );
            effects.push(Effect::Answer { ours, text: text.into(), code: None });
        }
    }

    /// The server is gone: everything under way fails, every stream ends. What is left to be delivered comes back.
    pub(super) fn end(&mut self, failure: &Failure, reason: Arc<str>) -> Vec<Held> {
        self.server = None;
        self.over = Some(reason);
        self.orders.clear();
        let reply = failure.reply();
        for (ours, id) in self.mux.fail_all() {
            match self.exchanges.remove(&ours) {
                // Its client sees the dropped sender, and knows why from `over`.
                Some(ExchangeSlot(Exchange::Waiting { .. })) | None => {}
                Some(streaming) => {
                    self.exchanges.insert(ours, streaming);
                    self.answer(ours, reply.to_json(Some(&id)), Some(reply.code.number()));
                }
            }
        }
        self.exchanges.clear();
        self.sessions.clear();
        self.held.drain(..).collect()
    }
}
