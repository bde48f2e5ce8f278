//! One server behind the bridge: the machine that knows where messages go, the open streams, and the task that moves
//! messages between them and the channel.
//!
//! What clients send is taken by their own tasks (one short lock, no queue between); what the server sends is moved
//! by [`Child::run`] alone. That task waits for a client that does not read, which stops the server and nothing else;
//! where several clients share the server it waits only so long and then cuts that client's stream.

mod pump;
mod state;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mcp::Message;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::events::Cursor;
use super::mux::{ClientKey, Effect, Ours, Sharing};
use super::streams::{Format, Line};
use crate::body::OnClose;
use crate::channel::Channel;
use crate::failure::Failure;
use state::State;
pub(super) use state::{First, Submitted, Takes};

/// A server and its clients.
pub(super) struct Child {
    /// What errors call it.
    name: Arc<str>,
    sharing: Sharing,
    state: Mutex<State>,
    /// Something is to be done by [`Child::run`].
    wake: Notify,
    over: CancellationToken,
    dropped: Arc<AtomicU64>,
    /// The ids of its sessions, for ending them with it.
    session_ids: Mutex<HashMap<ClientKey, Uuid>>,
    tool_changes: AtomicU64,
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("name", &self.name)
            .field("sharing", &self.sharing)
            .finish_non_exhaustive()
    }
}

/// What a stream's end means to the child.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// A request whose answer is waited for.
    Waiting { ours: Ours },
    /// The stream of a request that stands alone.
    Alone { ours: Ours },
    /// One of a session's streams.
    Line { client: ClientKey, line: Line },
}

/// Held by whoever attends to an answer or a stream. Dropping it says that the client has gone.
pub(super) struct Attendance {
    child: Arc<Child>,
    place: Option<Place>,
    /// Whatever must live as long.
    _hold: Option<Box<dyn Send + Sync>>,
}

impl fmt::Debug for Attendance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attendance").field("place", &self.place).finish_non_exhaustive()
    }
}

impl OnClose for Attendance {}

impl Attendance {
    pub(super) fn new(child: &Arc<Child>, place: Place, hold: Option<Box<dyn Send + Sync>>) -> Self {
        Self { child: Arc::clone(child), place: Some(place), _hold: hold }
    }

    /// The answer has come, or its stream has begun elsewhere.
    pub(super) fn moves_to(&mut self, place: Option<Place>) {
        self.place = place;
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.child.client_left(place);
        }
    }
}

impl Child {
    /// A server that has been connected to. `dropped` counts messages that had nowhere to go.
    pub(super) fn new(
        name: Arc<str>,
        sharing: Sharing,
        channel: &Channel,
        dropped: Arc<AtomicU64>,
    ) -> Arc<Self> {
        let state = Mutex::new(State::new(sharing, channel.outgoing.clone()));
        let over = CancellationToken::new();
        Arc::new(Self {
            name,
            sharing,
            state,
            wake: Notify::new(),
            over,
            dropped,
            session_ids: Mutex::default(),
            tool_changes: AtomicU64::new(0),
        })
    }

    /// Why the server is gone; `None` while it is not.
    pub(super) fn over(&self) -> Option<Failure> {
        let reason = self.state.lock().over.clone()?;
        Some(self.ended(&reason))
    }

    fn ended(&self, reason: &str) -> Failure {
        Failure::Ended { backend: self.name.to_string(), reason: reason.to_owned() }
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> usize {
        self.state.lock().mux.in_flight()
    }

    /// A session of this server.
    pub(super) fn add_client(&self, format: Format) -> ClientKey {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let client = NEXT.fetch_add(1, Ordering::Relaxed);
        self.state.lock().add_client(client, format);
        client
    }

    /// The first event of a client's streams for unasked messages.
    pub(super) fn set_greeting(&self, client: ClientKey, event: Bytes) {
        if let Some(streams) = self.state.lock().sessions.get_mut(&client) {
            streams.set_greeting(event);
        }
    }

    /// How often the server said that its tools have changed.
    pub(super) fn tool_changes(&self) -> u64 {
        self.tool_changes.load(Ordering::Relaxed)
    }

    /// Says something to the server for the bridge itself.
    pub(super) fn say(&self, text: Bytes) {
        self.change(|_, effects| effects.push(Effect::ToServer(text)));
    }

    /// The id of a client's session. False if the server is gone already.
    pub(super) fn name_session(&self, client: ClientKey, id: Uuid) -> bool {
        self.session_ids.lock().insert(client, id);
        self.over().is_none()
    }

    /// The sessions that end with the server.
    pub(super) fn take_session_ids(&self) -> Vec<Uuid> {
        self.session_ids.lock().drain().map(|(_, id)| id).collect()
    }

    /// The session's revision became known.
    pub(super) fn set_format(&self, client: ClientKey, format: Format) {
        if let Some(streams) = self.state.lock().sessions.get_mut(&client) {
            streams.set_format(format);
        }
    }

    /// Ends a session. A server of its own ends with it.
    pub(super) fn remove_client(&self, client: ClientKey, reason: &str) {
        if self.sharing == Sharing::Own {
            self.close(reason);
            return;
        }
        self.change(|state, effects| {
            state.mux.remove_client(client, effects);
        });
        self.state.lock().sessions.remove(&client);
        self.session_ids.lock().remove(&client);
    }

    /// Ends the server: what is under way fails with this reason.
    pub(super) fn close(&self, reason: &str) {
        self.state.lock().closing.get_or_insert_with(|| reason.into());
        self.wake.notify_one();
    }

    /// Takes a client's message, waiting for room towards the server.
    ///
    /// # Errors
    /// The server is gone.
    pub(super) async fn submit(
        &self,
        client: Option<ClientKey>,
        takes: Takes,
        message: &Message,
    ) -> Result<Submitted, Failure> {
        let mut permit = None;
        loop {
            let submitted = {
                let mut state = self.state.lock();
                let submitted = state.submit(client, takes, message, permit.take());
                self.settle(&mut state);
                submitted
            };
            match submitted {
                Ok(submitted) => return Ok(submitted),
                Err(Some(server)) => {
                    permit = tokio::select! {
                        biased;
                        () = self.over.cancelled() => None,
                        permit = server.reserve_owned() => permit.ok(),
                    };
                }
                Err(None) => {
                    // It is ending; why is known as soon as it has.
                    self.over.cancelled().await;
                    return Err(self.over().unwrap_or_else(|| self.ended("")));
                }
            }
        }
    }

    /// Begins the event stream of a request that was not answered quickly. It comes as the [`First`] of the request.
    pub(super) fn begin_stream(&self, ours: Ours) {
        self.change(|state, _| state.begin_stream(ours));
    }

    /// Opens a session's stream for unasked messages, or goes on with any of its streams behind a cursor.
    ///
    /// # Errors
    /// The server is gone.
    pub(super) fn open_stream(
        &self,
        client: ClientKey,
        cursor: Option<Cursor>,
    ) -> Result<(mpsc::Receiver<Bytes>, Place), Failure> {
        let mut state = self.state.lock();
        let opened = state.open_stream(client, cursor);
        self.settle(&mut state);
        let reason = state.over.clone();
        drop(state);
        let opened =
            opened.ok_or_else(|| self.ended(reason.as_deref().unwrap_or("the session has ended")))?;
        Ok((opened.events, Place::Line { client, line: opened.line }))
    }

    /// Shows a message on the session's stream of unasked messages.
    pub(super) fn push(&self, client: ClientKey, text: Bytes) {
        self.change(|_, effects| effects.push(Effect::Push { client, text }));
    }

    /// Nobody waits for this answer any more.
    pub(super) fn give_up(&self, ours: Ours, reason: &str) {
        self.change(|state, effects| {
            state.mux.give_up(ours, reason, effects);
            state.exchanges.remove(&ours);
        });
    }

    /// Ends the streams that only end when somebody ends them, as a server does that is shutting down.
    pub(super) fn end_subscriptions(&self) {
        self.change(|state, effects| state.end_subscriptions(effects));
    }

    fn client_left(&self, place: Place) {
        let modern = self.sharing == Sharing::Modern;
        self.change(|state, effects| state.client_left(place, modern, effects));
    }

    fn change(&self, change: impl FnOnce(&mut State, &mut Vec<Effect>)) {
        let mut state = self.state.lock();
        let mut effects = Vec::new();
        change(&mut state, &mut effects);
        state.apply(&mut effects);
        self.settle(&mut state);
    }

    /// Hands over to the task what only it can do.
    fn settle(&self, state: &mut State) {
        let dropped = std::mem::take(&mut state.dropped);
        if dropped > 0 {
            self.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
        if state.wants_attention() {
            self.wake.notify_one();
        }
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub ours: Ours,
    pub first: oneshot::Receiver<First>,
}
