//! One server in place of another, as far as the state goes: what is remembered for the next one, what the loss of one
//! does to what is under way, and when one may or must go.

use std::sync::Arc;

use bytes::Bytes;
use mcp::message::Kind;
use mcp::{Message, Method};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::State;
use crate::bridge::child::PING_ID;
use crate::bridge::mux::Effect;
use crate::failure::Failure;
use crate::recovery::remembered::{Agreed, Remembered};

impl State {
    /// Why no other server could be got, if that was tried after `since`.
    pub(in crate::bridge::child) fn failed_since(&self, since: Instant) -> Option<Arc<str>> {
        self.failed.as_ref().filter(|(at, _)| *at >= since).map(|(_, why)| Arc::clone(why))
    }

    /// Whether the server may go without anybody noticing: another can take its place, and nothing is under way.
    pub(in crate::bridge::child) fn may_sleep(&self) -> bool {
        self.server.is_some() && self.remembered.is_some() && self.mux.in_flight() == 0
    }

    /// As [`State::may_sleep`], when it was told to.
    pub(in crate::bridge::child) fn falls_asleep(&mut self) -> bool {
        std::mem::take(&mut self.sleepy) && self.may_sleep()
    }

    /// Whether the server has said nothing for too long. One that still works for somebody may be too busy to.
    pub(in crate::bridge::child) fn hangs(&mut self, now: Instant) -> bool {
        let is_due = self.suspected.is_some_and(|due| due <= now);
        if is_due {
            self.suspected = None;
        }
        is_due && self.mux.in_flight() == 0
    }

    /// Anything the server says is one. True for what says nothing else.
    pub(in crate::bridge::child) fn is_sign_of_life(&mut self, message: &Message) -> bool {
        self.suspected = None;
        message.id().is_some_and(|id| {
            id.strip_prefix(b"\"").and_then(|id| id.strip_suffix(b"\"")) == Some(PING_ID.as_bytes())
        })
    }

    /// Takes note of what is said to the server, as another one would have to be told it.
    pub(super) fn note(&mut self, method: Method, text: &Bytes) {
        if let Some(remembered) = &mut self.remembered
            && Remembered::concerns(method)
            && let Ok(message) = Message::parse(text.clone())
        {
            remembered.note(&message);
        }
    }

    /// What client and server agreed on is known: from now on another server can take this one's place.
    pub(super) fn shook_hands(&mut self, answer: &Message) {
        let Some((ours, initialize)) = self.handshake.take() else { return };
        if answer.id() != Some(ours.to_string().as_bytes()) {
            self.handshake = Some((ours, initialize));
            return;
        }
        if let Some(agreed) = Agreed::read(answer) {
            self.remembered = Some(Remembered::new(initialize, Some(Arc::new(agreed))));
        }
    }

    /// Nothing more is said to this server.
    pub(in crate::bridge::child) fn let_go(&mut self) {
        self.server = None;
    }

    /// The server is gone, and `undelivered` never reached it. What cannot be sent to another one fails; the number of
    /// those.
    pub(in crate::bridge::child) fn lose(&mut self, failure: &Failure, undelivered: Vec<Bytes>) -> usize {
        self.server = None;
        self.sleepy = false;
        self.suspected = None;
        let reply = failure.reply();
        let mut effects = Vec::new();
        let requests = undelivered.into_iter().filter_map(|text| Message::parse(text).ok());
        let unsent = requests.filter(|message| message.kind() == Kind::Request);
        let lost = self.mux.lose(unsent, &mut effects);
        let count = lost.len();
        for (ours, id) in lost {
            let text = reply.to_json(Some(&id));
            effects.push(Effect::Answer { ours, text, code: Some(reply.code.number()) });
        }
        self.apply(&mut effects);
        self.orders.clear();
        count
    }

    /// Another server has taken the place of the one before, and has been told what that knew. The number of requests
    /// that it is sent again.
    pub(in crate::bridge::child) fn go_on_with(&mut self, server: mpsc::Sender<Bytes>) -> usize {
        self.server = Some(server);
        self.wanted = false;
        self.failed = None;
        let again = self.mux.resend();
        let count = again.len();
        self.orders.extend(again);
        for notice in self.remembered.as_ref().map(Remembered::notices).unwrap_or_default() {
            if let Ok(notice) = Message::parse(notice.into()) {
                self.on_server(&notice);
            }
        }
        count
    }

    /// No other server could be got: what is under way fails, and the next message tries again.
    pub(in crate::bridge::child) fn fail_under_way(&mut self, failure: &Failure, why: Arc<str>) {
        self.wanted = false;
        self.failed = Some((Instant::now(), why));
        let reply = failure.reply();
        let mut effects: Vec<_> = self
            .mux
            .fail_all()
            .into_iter()
            .map(|(ours, id)| Effect::Answer {
                ours,
                text: reply.to_json(Some(&id)),
                code: Some(reply.code.number()),
            })
            .collect();
        self.apply(&mut effects);
    }

    /// Whether the next server is wanted already, and not only with the next message.
    pub(in crate::bridge::child) fn is_waited_for(&self) -> bool {
        self.wanted || self.mux.in_flight() > 0
    }
}
