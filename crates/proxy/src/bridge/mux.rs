//! Many requests of one or several clients over one conversation with a server: who gets which message, and under
//! which id.
//!
//! A pure state machine: messages in, [`Effect`]s out, no clock of its own and no IO. Ids and progress tokens towards
//! the server are ours (integers, never used twice), so clients cannot collide; towards a client they are the client's
//! own again, byte for byte. Texts are spliced, never rebuilt.
//!
//! INVARIANT: each message of the server goes to at most one stream of one client, except notices on a shared server,
//! which go once to each client they concern.
//!
//! Deliberately absent: streams, logs and queues (`streams`), and everything HTTP.

mod answers;
mod id;
mod route;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp::message::Kind;
use mcp::{ErrorCode, ErrorReply, Message, Method};
use tokio::time::Instant;

use crate::recovery::notice::cancelled;
use crate::recovery::resend::ResendPolicy;
use id::IdKey;
use shared::{Levels, Subscriptions};

/// A client of a server: a session.
pub(super) type ClientKey = u64;
/// The id of a request as the server knows it; also its progress token there.
pub(super) type Ours = u64;

/// How long a question of the server waits for a stream to its client.
pub(super) const QUESTION_WAITS: Duration = Duration::from_secs(60);
/// Questions that may wait for a stream; beyond, the server is told at once.
const MAX_UNSENT: usize = 16;
/// Questions without an answer yet.
const MAX_ASKED: usize = 1024;
/// Notifications that wait for a stream. Oldest dropped.
const MAX_WAITING: usize = 64;
/// Servers that one request may miss before its client hears of it.
const MAX_LOSSES: u8 = 8;
/// Tasks whose progress is still followed after their creation was answered.
const MAX_TASK_TOKENS: usize = 64;

/// Whose conversation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// One legacy session's own server.
    Own,
    /// Several legacy sessions on one server that was told nothing about any of them.
    Shared,
    /// 2026-07-28: requests that stand alone, whoever they are from.
    Modern,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    ToServer(Bytes),
    /// The answer to a request, which is over with it.
    Answer {
        ours: Ours,
        text: Bytes,
        code: Option<i64>,
    },
    /// For the stream of a request under way.
    Event {
        ours: Ours,
        text: Bytes,
    },
    /// For the client's stream of unasked messages, which is open.
    Push {
        client: ClientKey,
        text: Bytes,
    },
    /// The server lets go of the stream of this request; its client will take it up again (SEP-1699).
    Release {
        ours: Ours,
    },
    /// The request is over without an answer.
    End {
        ours: Ours,
    },
    /// A message had nowhere to go.
    Dropped(&'static str),
}

/// What became of a client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// To be sent; the answer comes under `ours`.
    Request {
        ours: Ours,
        text: Bytes,
    },
    /// To be sent; nothing comes back.
    Pass(Bytes),
    /// Answered here.
    Answered(Bytes),
    /// Nothing left to do.
    Done,
    Refused(&'static str),
}

/// Who sent a message, and what they take back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    /// `None`: a request that stands alone.
    pub client: Option<ClientKey>,
    /// Whether events can be shown on the stream of this request.
    pub streams: bool,
}

#[derive(Debug)]
struct InFlight {
    client: Option<ClientKey>,
    /// The client's id and progress token, as they are spelt.
    id: Box<[u8]>,
    token: Option<Box<[u8]>>,
    method: Method,
    streams: bool,
    /// It asked for log messages (2026-07-28).
    wants_log: bool,
    /// The resource it is about.
    uri: Option<Box<str>>,
    /// What the server was sent, where another one may be sent it too.
    again: Option<Bytes>,
    /// That happened.
    resent: bool,
    /// What the server was to be sent and never got.
    unsent: Option<Bytes>,
    losses: u8,
}

impl InFlight {
    fn may_be_sent_again(&self) -> bool {
        self.unsent.is_some() || (self.again.is_some() && !self.resent)
    }
}

#[derive(Debug, Default)]
struct Client {
    in_flight: HashMap<IdKey, Ours>,
    push_open: bool,
    waiting: VecDeque<Bytes>,
    unsent: VecDeque<IdKey>,
    /// Its server was replaced, and it was not told yet.
    untold: bool,
}

/// A request of the server to a client.
#[derive(Debug)]
struct Question {
    /// As the server knows it.
    id: Box<[u8]>,
    /// As the client does.
    shown: Box<[u8]>,
    client: ClientKey,
    /// Its text, until a stream was found for it.
    unsent: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Question(IdKey),
}

#[derive(Debug)]
struct TaskToken {
    ours: Ours,
    client: ClientKey,
    token: Box<[u8]>,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Mux {
    sharing: Sharing,
    resend: Arc<ResendPolicy>,
    next: Ours,
    in_flight: HashMap<Ours, InFlight>,
    clients: HashMap<ClientKey, Client>,
    asked: HashMap<IdKey, Question>,
    subscriptions: Subscriptions,
    levels: Levels,
    task_tokens: VecDeque<TaskToken>,
    due: BTreeSet<(Instant, Due)>,
    /// How many servers there were before this one.
    generation: u32,
    questions: u64,
}

impl Mux {
    pub(super) fn new(sharing: Sharing, resend: Arc<ResendPolicy>) -> Self {
        Self {
            sharing,
            resend,
            next: 1,
            in_flight: HashMap::new(),
            clients: HashMap::new(),
            asked: HashMap::new(),
            subscriptions: Subscriptions::default(),
            levels: Levels::default(),
            task_tokens: VecDeque::new(),
            due: BTreeSet::new(),
            generation: 0,
            questions: 0,
        }
    }

    /// The conversation goes on with a server that is not the first.
    pub(super) fn set_generation(&mut self, generation: u32) {
        self.generation = generation;
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn add_client(&mut self, client: ClientKey) {
        self.clients.insert(client, Client::default());
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Takes a message of a client.
    pub(super) fn on_client(
        &mut self,
        sender: Sender,
        message: &Message,
        effects: &mut Vec<Effect>,
    ) -> Taken {
        match message.kind() {
            Kind::Request => self.client_request(sender, message, effects),
            Kind::Notification => self.client_notification(sender, message, effects),
            Kind::Result | Kind::Error => self.client_answer(message),
        }
    }

    fn client_request(&mut self, sender: Sender, message: &Message, effects: &mut Vec<Effect>) -> Taken {
        let Some(id) = message.id() else { return Taken::Refused("a request has an id") };
        if let Some(client) = sender.client {
            let key = IdKey::of(id);
            let Some(state) = self.clients.get(&client) else { return Taken::Refused("the session is over") };
            if state.in_flight.contains_key(&key) {
                return Taken::Refused("a request with this id is under way");
            }
            if self.sharing == Sharing::Shared
                && let Some(answer) = self.answered_for_all(client, message, id)
            {
                return Taken::Answered(answer);
            }
        }
        let ours = self.next;
        self.next += 1;
        let text = self.towards_server(ours, sender.client, message);
        let in_flight = InFlight {
            client: sender.client,
            id: id.into(),
            token: message.progress_token().map(Into::into),
            method: message.method(),
            // Before a session has begun there is nothing to show events in.
            streams: sender.streams && message.method() != Method::Initialize,
            wants_log: message.meta_log_level().is_some(),
            uri: message.uri().map(|uri| uri.into()),
            again: self.resend.allows(message).then(|| text.clone()),
            resent: false,
            unsent: None,
            losses: 0,
        };
        self.in_flight.insert(ours, in_flight);
        if let Some(client) = sender.client.and_then(|client| self.clients.get_mut(&client)) {
            client.in_flight.insert(IdKey::of(id), ours);
        }
        if let Some(client) = sender.client {
            self.ask_unsent(client, effects);
        }
        Taken::Request { ours, text }
    }

    fn towards_server(&self, ours: Ours, client: Option<ClientKey>, message: &Message) -> Bytes {
        if let Some(text) = client.and_then(|client| self.level_for_all(ours, client, message)) {
            return text;
        }
        let ours = ours.to_string();
        message
            .splice(&[(message.id_span(), ours.as_bytes()), (message.progress_token_span(), ours.as_bytes())])
    }

    fn client_notification(&mut self, sender: Sender, message: &Message, effects: &mut Vec<Effect>) -> Taken {
        match (message.method(), self.sharing) {
            (Method::Cancelled, _) => self.cancelled_by_client(sender, message, effects),
            // The server was initialised once, by us, and knows of no client's roots.
            (Method::Initialized | Method::RootsListChanged, Sharing::Shared) => Taken::Done,
            _ => Taken::Pass(message.text().clone()),
        }
    }

    /// The server is told, and the request is over: HTTP wants an end, and the server need not give one. What it says
    /// to it later goes nowhere.
    fn cancelled_by_client(&mut self, sender: Sender, message: &Message, effects: &mut Vec<Effect>) -> Taken {
        let ours = sender
            .client
            .zip(message.cancelled_id())
            .and_then(|(client, id)| self.clients.get(&client)?.in_flight.get(&IdKey::of(id)).copied());
        let may_be = |ours: &Ours| {
            self.in_flight.get(ours).is_some_and(|request| request.method != Method::Initialize)
        };
        let Some((ours, request)) = ours.filter(may_be).and_then(|ours| Some((ours, self.forget(ours)?)))
        else {
            return Taken::Done;
        };
        let reply = ErrorReply::new(ErrorCode::InvalidRequest, "cancelled by the client");
        let text = reply.to_json(Some(&request.id));
        effects.push(Effect::Answer { ours, text, code: Some(reply.code.number()) });
        Taken::Pass(message.splice(&[(message.cancelled_id_span(), ours.to_string().as_bytes())]))
    }

    fn client_answer(&mut self, message: &Message) -> Taken {
        let Some(question) = message.id().and_then(|id| self.asked.remove(&IdKey::of(id))) else {
            return Taken::Done;
        };
        Taken::Pass(message.splice(&[(message.id_span(), &question.id)]))
    }

    /// Takes a message of the server.
    pub(super) fn on_server(&mut self, now: Instant, message: &Message, effects: &mut Vec<Effect>) {
        match message.kind() {
            Kind::Request => self.server_request(now, message, effects),
            Kind::Notification => self.server_notification(message, effects),
            Kind::Result | Kind::Error => self.server_answer(message, effects),
        }
    }

    /// Whether events can be shown on the stream of a request.
    pub(super) fn streams(&self, ours: Ours) -> bool {
        self.in_flight.get(&ours).is_some_and(|request| request.streams)
    }

    /// How many messages a stream for unasked ones would get as soon as it was open.
    pub(super) fn waiting(&self, client: ClientKey) -> usize {
        self.clients.get(&client).map_or(0, |state| state.waiting.len() + state.unsent.len())
    }

    /// Whether events can be shown on the stream of a request (any more, or again).
    pub(super) fn set_streams(&mut self, ours: Ours, streams: bool, effects: &mut Vec<Effect>) {
        let Some(request) = self.in_flight.get_mut(&ours) else { return };
        request.streams = streams;
        if let (true, Some(client)) = (streams, request.client) {
            self.ask_unsent(client, effects);
        }
    }

    /// The client's stream of unasked messages was opened or closed.
    pub(super) fn set_push(&mut self, client: ClientKey, open: bool, effects: &mut Vec<Effect>) {
        let Some(state) = self.clients.get_mut(&client) else { return };
        state.push_open = open;
        if open {
            effects.extend(state.waiting.drain(..).map(|text| Effect::Push { client, text }));
            self.ask_unsent(client, effects);
        }
    }

    /// Nobody wants the answer of this request any more: the server is told, and what still comes is dropped.
    pub(super) fn give_up(&mut self, ours: Ours, reason: &str, effects: &mut Vec<Effect>) {
        let Some(request) = self.forget(ours) else { return };
        if request.method != Method::Initialize {
            effects.push(Effect::ToServer(cancelled(ours.to_string().as_bytes(), reason)));
        }
    }

    /// A client of a shared server is gone.
    pub(super) fn remove_client(&mut self, client: ClientKey, effects: &mut Vec<Effect>) {
        let Some(state) = self.clients.remove(&client) else { return };
        for ours in state.in_flight.into_values() {
            self.give_up(ours, "the session has ended", effects);
            effects.push(Effect::End { ours });
        }
        self.asked.retain(|_, question| question.client != client);
        self.task_tokens.retain(|task| task.client != client);
        self.withdraw(client, effects);
    }

    /// The requests under way of a method that only ends when somebody ends it: each with its client's id.
    pub(super) fn endless(&self) -> Vec<(Ours, Box<[u8]>)> {
        let listens =
            self.in_flight.iter().filter(|(_, request)| request.method == Method::SubscriptionsListen);
        listens.map(|(ours, request)| (*ours, request.id.clone())).collect()
    }

    /// All requests under way, forgotten: the server is gone.
    pub(super) fn fail_all(&mut self) -> Vec<(Ours, Box<[u8]>)> {
        self.clients.values_mut().for_each(|client| client.in_flight.clear());
        let mut all: Vec<_> = self.in_flight.drain().map(|(ours, request)| (ours, request.id)).collect();
        all.sort_unstable_by_key(|(ours, _)| *ours);
        all
    }

    /// The server is gone, and another one will take its place. What may be sent to that one is still under way: what
    /// the one before never got, and once what does no harm. The rest is forgotten and comes back, each with its client's
    /// id. Questions that a client has seen are withdrawn.
    pub(super) fn lose(
        &mut self,
        unsent: impl Iterator<Item = Message>,
        effects: &mut Vec<Effect>,
    ) -> Vec<(Ours, Box<[u8]>)> {
        for message in unsent {
            let request = message.id().and_then(id::ours).and_then(|ours| self.in_flight.get_mut(&ours));
            if let Some(request) = request.filter(|request| request.losses < MAX_LOSSES) {
                request.losses += 1;
                request.unsent = Some(message.text().clone());
            }
        }
        let mut asked: Vec<_> = std::mem::take(&mut self.asked).into_values().collect();
        asked.sort_unstable_by(|a, b| a.shown.cmp(&b.shown));
        for Question { shown, client, .. } in asked.into_iter().filter(|question| question.unsent.is_none()) {
            self.related(client, cancelled(&shown, "the server that asked is gone"), effects);
        }
        for client in self.clients.values_mut() {
            client.unsent.clear();
            client.untold = true;
        }
        self.due.clear();
        self.task_tokens.clear();
        self.generation += 1;
        let lost = self.in_flight.iter().filter(|(_, request)| !request.may_be_sent_again());
        let mut lost: Vec<Ours> = lost.map(|(ours, _)| *ours).collect();
        lost.sort_unstable();
        lost.into_iter().filter_map(|ours| Some((ours, self.forget(ours)?.id))).collect()
    }

    /// What the next server is sent of what is under way, in the clients' order.
    pub(super) fn resend(&mut self) -> Vec<Bytes> {
        let mut again: Vec<_> = self.in_flight.iter_mut().collect();
        again.sort_unstable_by_key(|(ours, _)| **ours);
        again
            .into_iter()
            .filter_map(|(_, request)| {
                request.unsent.take().or_else(|| {
                    request.resent = true;
                    request.again.clone()
                })
            })
            .collect()
    }

    /// Whether a client has its stream for unasked messages open.
    pub(super) fn is_listened_to(&self) -> bool {
        self.clients.values().any(|client| client.push_open)
    }

    /// When [`Mux::on_time`] wants to be called.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Time has passed.
    pub(super) fn on_time(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            match self.due.pop_first() {
                Some((_, Due::Question(key))) => self.nobody_to_ask(&key, effects),
                None => {}
            }
        }
    }

    fn forget(&mut self, ours: Ours) -> Option<InFlight> {
        let request = self.in_flight.remove(&ours)?;
        if let Some(client) = request.client.and_then(|client| self.clients.get_mut(&client)) {
            client.in_flight.remove(&IdKey::of(&request.id));
        }
        Some(request)
    }
}

fn empty_result(id: &[u8]) -> Bytes {
    [br#"{"jsonrpc":"2.0","id":"#, id, br#","result":{}}"#].concat().into()
}
