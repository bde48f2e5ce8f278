//! One server behind the bridge: the machine that knows where messages go, the open streams, and the task that moves
//! messages between them and the channel.
//!
//! What clients send is taken by their own tasks (one short lock, no queue between); what the server sends is moved
//! by [`Child::pump`] alone. That task waits for a client that does not read, which stops the server and nothing else;
//! where several clients share the server it waits only so long and then cuts that client's stream.
//!
//! The server may end and another take its place under the sessions ([`life`]): what is here outlives it.

mod life;
mod pump;
mod state;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mcp::Message;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::Backend;
use super::mux::{ClientKey, Effect, Ours, Sharing};
use super::streams::{Format, Line};
use crate::body::OnClose;
use crate::channel::Channel;
use crate::events::Cursor;
use crate::failure::Failure;
use crate::recovery::history::Timeline;
use crate::recovery::remembered::Remembered;
use crate::recovery::resend::ResendPolicy;
pub(super) use life::Revival;
pub(super) use state::{First, Submitted, Takes};
use state::{NotTaken, Room, State};

/// Messages that may wait for another server.
const MAX_WAITING: usize = 1024;
/// How long a server may take to say anything at all, once it has not answered a request in time.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// The id of the question whether it lives.
const PING_ID: &str = "skep-ping";

/// A server and its clients.
pub(super) struct Child {
    /// What errors call it.
    backend: Backend,
    sharing: Sharing,
    state: Mutex<State>,
    /// Something is to be done by [`Child::live`].
    wake: Notify,
    /// It is to end.
    closed: CancellationToken,
    over: CancellationToken,
    /// A server is there again, or could not be got.
    back: Notify,
    /// Those who wait for one, first come first.
    line: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
    timeline: Timeline,
    /// The process behind it now; 0: none.
    process: AtomicU32,
    dropped: Arc<AtomicU64>,
    /// The ids of its sessions, for ending them with it.
    session_ids: Mutex<HashMap<ClientKey, Uuid>>,
    tool_changes: AtomicU64,
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("name", &self.backend.name)
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
    /// A server, connected to or still to be. `dropped` counts messages that had nowhere to go.
    pub(super) fn new(
        backend: Backend,
        sharing: Sharing,
        resend: Arc<ResendPolicy>,
        channel: Option<&Channel>,
        dropped: Arc<AtomicU64>,
    ) -> Arc<Self> {
        let server = channel.map(|channel| channel.outgoing.clone());
        Arc::new(Self {
            backend,
            sharing,
            state: Mutex::new(State::new(sharing, resend, server)),
            wake: Notify::new(),
            closed: CancellationToken::new(),
            over: CancellationToken::new(),
            back: Notify::new(),
            line: tokio::sync::Mutex::default(),
            waiting: AtomicUsize::new(0),
            timeline: Timeline::default(),
            process: AtomicU32::new(0),
            dropped,
            session_ids: Mutex::default(),
            tool_changes: AtomicU64::new(0),
        })
    }

    /// Why the server is gone; `None` while it is not.
    pub(super) fn over(&self) -> Option<Failure> {
        let state = self.state.lock();
        let reason = state.over.clone()?;
        Some(if state.begin_again { Failure::UnknownSession } else { self.ended(&reason) })
    }

    fn ended(&self, reason: &str) -> Failure {
        Failure::Ended { backend: self.backend.name.to_string(), reason: reason.to_owned() }
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> usize {
        self.state.lock().mux.in_flight()
    }

    /// There is no server yet: the next is to be told this first, and is the one after `generation` others.
    pub(super) fn take_up(&self, remembered: Remembered, generation: u32) {
        let mut state = self.state.lock();
        state.remembered = Some(remembered);
        state.mux.set_generation(generation);
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

    /// The ids of its sessions, for the log.
    fn sessions(&self) -> String {
        let ids = self.session_ids.lock();
        let ids: Vec<String> = ids.values().map(Uuid::to_string).collect();
        ids.join(" ")
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
        self.closed.cancel();
        self.wake.notify_one();
    }

    /// What the next server is to be told, if there is to be one.
    pub(super) fn remembered(&self) -> Option<Remembered> {
        self.state.lock().remembered.clone()
    }

    /// What happened to it.
    pub(super) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The process that is the server now.
    pub(super) fn process(&self) -> Option<u32> {
        Some(self.process.load(Ordering::Relaxed)).filter(|process| *process != 0)
    }

    /// How many servers there were before this one.
    pub(super) fn generation(&self) -> u32 {
        self.state.lock().mux.generation()
    }

    /// Whether there is a server now.
    pub(super) fn is_awake(&self) -> bool {
        self.state.lock().has_server()
    }

    /// Lets the server go until it is wanted again. False where something is under way, or no other could take its
    /// place.
    pub(super) fn sleep(&self) -> bool {
        let mut state = self.state.lock();
        let may = state.may_sleep();
        state.sleepy |= may;
        drop(state);
        if may {
            self.wake.notify_one();
        }
        may
    }

    /// Somebody was not answered in time: if the server says nothing at all from now on, it hangs.
    fn suspect(&self) {
        self.change(|state, effects| {
            if state.suspected.is_none() && state.has_server() {
                state.suspected = Some(Instant::now() + SIGN_OF_LIFE);
                let ping = format!(r#"{{"jsonrpc":"2.0","id":"{PING_ID}","method":"ping"}}"#);
                effects.push(Effect::ToServer(ping.into()));
            }
        });
    }

    /// Takes a client's message, waiting for room towards the server, or for another server.
    ///
    /// # Errors
    /// The server is gone and none takes its place.
    pub(super) async fn submit(
        &self,
        client: Option<ClientKey>,
        takes: Takes,
        message: &Message,
    ) -> Result<Submitted, Failure> {
        let (mut room, mut in_line) = (None, None);
        let since = Instant::now();
        loop {
            let back = self.back.notified();
            let mut back = std::pin::pin!(back);
            // From here on nothing is missed.
            back.as_mut().enable();
            let submitted = {
                let mut state = self.state.lock();
                if let Some(why) = state.failed_since(since) {
                    return Err(Failure::Unreachable {
                        backend: self.backend.name.to_string(),
                        instance: self.backend.target.to_string(),
                        reason: why.to_string(),
                    });
                }
                let submitted = state.submit(client, takes, message, room.take());
                self.settle(&mut state);
                submitted
            };
            match submitted {
                Ok(submitted) => return Ok(submitted),
                Err(NotTaken::Full(server)) => {
                    room = tokio::select! {
                        biased;
                        () = self.over.cancelled() => None,
                        room = Room::at(server) => room,
                    };
                }
                Err(NotTaken::Away) if in_line.is_none() => in_line = Some(self.wait_in_line().await?),
                Err(NotTaken::Away | NotTaken::Gone) => tokio::select! {
                    () = self.over.cancelled() => {}
                    () = &mut back => {}
                },
                Err(NotTaken::Ending) => {
                    // Why is known as soon as it has ended.
                    self.over.cancelled().await;
                    return Err(self.over().unwrap_or_else(|| self.ended("")));
                }
            }
        }
    }

    /// A place among those who wait for another server; whoever came first goes on first.
    async fn wait_in_line(&self) -> Result<(Waiting<'_>, tokio::sync::MutexGuard<'_, ()>), Failure> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Failure::Crowded { backend: self.backend.name.to_string() });
        }
        let waiting = Waiting(&self.waiting);
        Ok((waiting, self.line.lock().await))
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
        if !state.has_server() {
            // Whoever listens may be reason enough to get one.
            self.wake.notify_one();
        }
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

    /// No answer came in time.
    pub(super) fn give_up(&self, ours: Ours, reason: &str) {
        self.change(|state, effects| {
            state.mux.give_up(ours, reason, effects);
            state.exchanges.remove(&ours);
        });
        self.suspect();
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

/// See [`Child::wait_in_line`].
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub ours: Ours,
    pub first: oneshot::Receiver<First>,
}
