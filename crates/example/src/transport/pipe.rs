//! A client at the other end of one ordered channel: stdio, or HTTP+SSE of 2024-11-05.
//!
//! Both eras may be mixed on it: each request says by itself which one it follows. The legacy session is the channel.

use std::sync::Arc;

use bytes::Bytes;
use mcp::message::meta_key;
use mcp::{Era, ErrorCode, ErrorReply, Kind, Message, Method, Revision, revision};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::streamable::not_begun;
use crate::call::{Call, Peer};
use crate::dispatch::dispatch;
use crate::event_log::{Frame, Outbox};
use crate::handshake;
use crate::in_flight::InFlight;
use crate::notices::Change;
use crate::reply::{Answer, Form, Freshness, Outcome, Pending, Work};
use crate::server::Server;
use crate::session::Session;

/// Frames that wait for the client to read; beyond, whoever has something to say waits too.
pub(super) const QUEUE: usize = 64;

pub(super) struct Pipe {
    server: Arc<Server>,
    out: mpsc::Sender<Frame>,
    session: Mutex<Option<Arc<Session>>>,
    in_flight: InFlight,
    running: TaskTracker,
    /// Fires when the client is gone; what runs for it ends.
    pub(super) over: CancellationToken,
}

impl Pipe {
    /// A pipe, and what is to be written to its client.
    pub(super) fn new(server: &Arc<Server>) -> (Arc<Self>, mpsc::Receiver<Frame>) {
        let (out, frames) = mpsc::channel(QUEUE);
        let pipe = Arc::new(Self {
            server: Arc::clone(server),
            out,
            session: Mutex::default(),
            in_flight: InFlight::default(),
            running: TaskTracker::new(),
            over: server.stopping.child_token(),
        });
        pipe.running.spawn(Arc::clone(&pipe).tell_changes());
        (pipe, frames)
    }

    /// Ends what runs for the client and waits until it has ended.
    pub(super) async fn end(&self) {
        self.over.cancel();
        self.running.close();
        self.running.wait().await;
    }

    /// Takes one message of the client.
    pub(super) async fn take(&self, text: Bytes) {
        let message = match Message::parse(text) {
            Ok(message) => message,
            Err(malformed) => return self.say(malformed.reply().to_json(None)).await,
        };
        match message.kind() {
            Kind::Request => self.request(message).await,
            Kind::Notification => {
                if let (Method::Cancelled, Some(id)) = (message.method(), message.cancelled_id()) {
                    self.in_flight.cancel(id);
                }
            }
            Kind::Result | Kind::Error => {
                if let Some(session) = self.session() {
                    session.resolve(message);
                }
            }
        }
    }

    async fn request(&self, message: Message) {
        let id = message.text().slice(message.id_span().range());
        let peer = match era(&message) {
            Err(refusal) => return self.say(refusal.to_json(Some(&id))).await,
            Ok(Era::Modern) => Peer::Stateless,
            Ok(Era::Legacy) if message.method() == Method::Initialize => {
                return self.initialize(&message, id).await;
            }
            Ok(Era::Legacy) => match self.session() {
                Some(session) => Peer::Session(session),
                None => {
                    let why = ErrorReply::new(ErrorCode::InvalidRequest, "initialize comes first");
                    return self.say(why.to_json(Some(&id))).await;
                }
            },
        };
        match dispatch(&Call { server: Arc::clone(&self.server), message, peer }) {
            Answer::Now(reply) => self.say(reply.text).await,
            Answer::Large(large) => self.send(Frame::Large(large)).await,
            Answer::Later(pending) => self.later(id, pending).await,
        }
    }

    async fn later(&self, id: Bytes, pending: Pending) {
        let under_way = match self.in_flight.begin(id.clone(), self.over.child_token()) {
            Ok(under_way) => under_way,
            Err(why) => return self.say(not_begun(why).to_json(Some(&id))).await,
        };
        let (work, out) = (pending.run(Outbox::Queue(self.out.clone())), self.out.clone());
        self.running.spawn(async move {
            let run = async {
                let reply = work.await;
                // A client that is gone needs no answer.
                let _ = out.send(Frame::Message(reply.text)).await;
            };
            tokio::select! {
                () = run => {}
                () = under_way.cancelled.cancelled() => {}
            }
        });
    }

    async fn initialize(&self, message: &Message, id: Bytes) {
        let form = Form { id, modern: false, freshness: Freshness::Unsaid };
        let outcome = match handshake::negotiate(message) {
            Err(outcome) => outcome,
            Ok(negotiated) => {
                let members = handshake::initialized(&self.server.config.server_name, negotiated.revision);
                let session = Session::new(negotiated, self.over.child_token());
                if let Some(before) = self.session.lock().replace(session) {
                    before.end();
                }
                Outcome::Complete(members)
            }
        };
        if let Answer::Now(reply) = form.answer(Work::Done(outcome)) {
            self.say(reply.text).await;
        }
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.session.lock().clone()
    }

    pub(super) async fn say(&self, text: Bytes) {
        self.send(Frame::Message(text)).await;
    }

    async fn send(&self, frame: Frame) {
        tokio::select! {
            // A client that is gone is noticed by whoever reads from it.
            _ = self.out.send(frame) => {}
            () = self.over.cancelled() => {}
        }
    }

    /// Tells the legacy session what it wants to know.
    async fn tell_changes(self: Arc<Self>) {
        let mut changes = self.server.changes();
        loop {
            let news = tokio::select! {
                () = self.over.cancelled() => return,
                change = changes.recv() => match change {
                    Ok(change) => vec![change],
                    Err(RecvError::Lagged(_)) => vec![Change::Tools, Change::Prompts, Change::Resources],
                    Err(RecvError::Closed) => return,
                },
            };
            let Some(session) = self.session() else { continue };
            for change in news.iter().filter(|change| session.wants(change)) {
                self.say(change.notice(None)).await;
            }
        }
    }
}

/// Decides by the message alone, as there are no headers: `initialize` is legacy unless it claims a revision without
/// one; any other request is modern where it says its version.
fn era(message: &Message) -> Result<Era, ErrorReply> {
    let Some(claimed) = message.meta_version() else { return Ok(Era::Legacy) };
    if message.method() == Method::Initialize && message.protocol_version().is_some() {
        return Ok(Era::Legacy);
    }
    if Revision::from_wire(&claimed).map(Revision::era) != Some(Era::Modern) {
        return Err(revision::unsupported(&claimed, &[Revision::V2026_07_28]));
    }
    if message.meta_capabilities().is_none_or(|value| !value.starts_with(b"{")) {
        let why = format!("params._meta[{:?}] is required", meta_key::CLIENT_CAPABILITIES);
        return Err(ErrorReply::new(ErrorCode::InvalidParams, why));
    }
    Ok(Era::Modern)
}
