//! The bridge: HTTP in front of a server that speaks in messages over a channel.
//!
//! Three fronts (Streamable HTTP of the legacy and the modern era, and HTTP+SSE), one machine behind them ([`mux`]),
//! one [`child`] for each server that runs. A legacy session has a server of its own, or shares one that was told
//! nothing about it; modern requests share one. `docs/design/bridge.md` says which message goes where.
//!
//! INVARIANT: nothing of one session reaches another.
//!
//! A session outlives its server: `docs/design/recovery.md` says how ([`child`] does it, [`kept`] keeps sessions beyond this
//! process).
//!
//! Deliberately absent: starting processes (that is what [`Connect`] is for), and translating between the eras.

mod answer;
mod child;
mod keeper;
mod kept;
mod modern;
mod mux;
mod pool;
mod shared;
mod sse;
mod streamable;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Response, StatusCode};
use mcp::message::Kind;
use mcp::{Era, ErrorReply};
use model::PrincipalDigest;
use parking_lot::Mutex;
use telemetry::Tasks;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::body::Body;
use crate::call::Call;
use crate::channel::{Channel, Connect};
use crate::failure::{Failure, FailureClass, refused};
use crate::forward::{OnLoss, Patience};
use crate::recovery::history::RecoveryCounts;
use crate::recovery::remembered::Remembered;
use crate::recovery::resend::ResendPolicy;
use crate::session::{KeyRing, Limits, Pin, RouteId, Session, SessionStore, Table};
use answer::Backend;
use child::{Child, Revival};
use keeper::Keeper;
use mux::{ClientKey, Sharing};
use pool::Pool;

/// How often idle sessions are looked for, and the pool of ready servers is filled up.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// The shared server, the modern one, and either's successor while it goes.
const COMMON: usize = 4;
/// How often requests under way are counted while draining.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long ended servers may take to be gone.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// How many servers there are for how many sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One for each legacy session. `warm` are kept ready; at most `max_children` run at once, the ready and the ending ones included
    /// (the one for modern requests is not).
    PerSession { warm: usize, max_children: usize },
    /// One for all.
    Shared,
}

/// What a bridge is made of.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// The workload's name; sessions belong to it, and errors call the server so.
    pub name: String,
    /// What stands behind, in words: a command, a URL.
    pub target: String,
    pub mode: Mode,
    pub limits: Limits,
    pub keys: Arc<KeyRing>,
    /// How long the first message of an answer may take.
    pub patience: Patience,
    /// Where the endpoints are.
    pub paths: Paths,
    /// Whether HTTP+SSE (2024-11-05) is served too.
    pub allow_sse: bool,
    /// What becomes of sessions whose server has ended.
    pub on_loss: OnLoss,
    /// What may be sent again although it may have been carried out.
    pub resend: Arc<ResendPolicy>,
    /// Where sessions are kept beyond this process.
    pub store: Arc<dyn SessionStore>,
    /// A server of one session is let go when that was not used for so long; the session stays.
    pub sleep_after: Option<Duration>,
    /// What all servers together may use before those of unused sessions are let go.
    pub memory: Option<MemoryBudget>,
}

/// How much memory servers may use.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBudget {
    pub bytes: u64,
    /// What each uses now, by [`Channel::process`].
    pub measure: fn() -> HashMap<u32, u64>,
}

/// The endpoints' paths, as clients ask for them.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Streamable HTTP, `/mcp`.
    pub mcp: String,
    /// The stream of HTTP+SSE, `/sse`.
    pub sse: String,
    /// Where HTTP+SSE clients post to, `/messages`.
    pub messages: String,
    /// Before [`Paths::messages`] where clients are told it: what a reverse proxy in front takes away again.
    pub prefix: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self { mcp: "/mcp".into(), sse: "/sse".into(), messages: "/messages".into(), prefix: String::new() }
    }
}

/// Which front a session came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Front {
    Streamable,
    Sse,
}

/// What a session is backed by.
#[derive(Debug)]
struct Served {
    child: Arc<Child>,
    client: ClientKey,
    front: Front,
    /// What the client has said that another process would have to know; `None`: its session ends with this one.
    remembered: Mutex<Option<Remembered>>,
    /// How often it was taken up by another process.
    epoch: u32,
}

/// The bridge in front of one server, shared by all workers.
pub struct Bridge {
    config: BridgeConfig,
    backend: Backend,
    table: Arc<Table<Served>>,
    /// Servers for one session each.
    pool: Arc<Pool>,
    /// Servers for all.
    common: Arc<Pool>,
    shared: Keeper<shared::Ready>,
    modern: Keeper<modern::Probed>,
    tasks: Tasks,
    draining: CancellationToken,
    dropped: Arc<AtomicU64>,
    recoveries: Arc<RecoveryCounts>,
    /// Sessions that the store does not have as they are.
    unsaved: Mutex<HashSet<Uuid>>,
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How much of everything there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeCounts {
    pub sessions: usize,
    /// Servers running, the ready ones included.
    pub children: usize,
    /// Messages that had nowhere to go, since the beginning.
    pub dropped: u64,
}

impl Bridge {
    /// A bridge to the server that `connect` opens channels to. Nothing is opened yet.
    #[must_use]
    pub fn new(config: BridgeConfig, connect: Arc<dyn Connect>) -> Arc<Self> {
        let backend = Backend { name: config.name.as_str().into(), target: config.target.as_str().into() };
        let mut limits = config.limits;
        let (warm, most) = match config.mode {
            Mode::PerSession { warm, max_children } => {
                // Where servers can be let go, there may be more sessions than servers.
                if config.on_loss == OnLoss::Strict {
                    limits.sessions = limits.sessions.min(max_children.max(1));
                }
                (warm, max_children)
            }
            Mode::Shared => (0, 0),
        };
        let table = Table::new(RouteId::of(&config.name), Arc::clone(&config.keys), limits);
        Arc::new(Self {
            pool: Arc::new(Pool::new(Arc::clone(&backend.name), Arc::clone(&connect), warm, most)),
            common: Arc::new(Pool::new(Arc::clone(&backend.name), connect, 0, COMMON)),
            config,
            backend,
            table: Arc::new(table),
            shared: Keeper::new(),
            modern: Keeper::new(),
            tasks: Tasks::new(),
            draining: CancellationToken::new(),
            dropped: Arc::default(),
            recoveries: Arc::default(),
            unsaved: Mutex::default(),
        })
    }

    /// How often servers ended under their sessions, and what came of it.
    #[must_use]
    pub fn recoveries(&self) -> &Arc<RecoveryCounts> {
        &self.recoveries
    }

    /// Answers one request, on the runtime of the calling worker.
    pub async fn handle(&self, call: Call) -> Response<Body> {
        let id = call.request.id().map(<[u8]>::to_vec);
        // While draining, what belongs to requests under way still passes: answers to the server's questions.
        let begins = call.request.message().is_none_or(|message| message.kind() == Kind::Request);
        let answered = if begins && self.draining.is_cancelled() {
            Err(Failure::Draining)
        } else {
            let path = call.request.head.uri.path();
            let paths = &self.config.paths;
            if path == paths.mcp {
                match call.request.era() {
                    Era::Legacy => self.streamable(call).await,
                    Era::Modern => self.modern(call).await,
                }
            } else if self.config.allow_sse && path == paths.sse {
                self.sse_stream(&call).await
            } else if self.config.allow_sse && path == paths.messages {
                self.sse_message(call).await
            } else {
                Err(Failure::NotFound { endpoint: paths.mcp.clone() })
            }
        };
        answered.unwrap_or_else(|failure| {
            tracing::debug!(error.class = failure.class(), error = %failure, "not answered by the server");
            failure.answer(id.as_deref())
        })
    }

    /// Answers a request that a layer in front refused, where the server's own answer would go.
    #[must_use]
    pub fn answer_instead(&self, call: &Call, class: &'static str, reply: &ErrorReply) -> Response<Body> {
        let id = call.request.id();
        if !self.config.allow_sse || call.request.head.uri.path() != self.config.paths.messages {
            return refused(StatusCode::OK, class, reply, id);
        }
        match self.sse_session(call) {
            Ok(session) => {
                let Served { child, client, .. } = &session.backend;
                child.push(*client, reply.to_json(id));
                let mut response = answer::empty(StatusCode::ACCEPTED);
                response.extensions_mut().insert(FailureClass(class));
                response
            }
            Err(failure) => failure.answer(id),
        }
    }

    /// Ends idle sessions and keeps the wanted number of servers ready, until the bridge is shut down. To be run once;
    /// the servers it starts live on the runtime that runs it.
    pub async fn maintenance(&self) {
        loop {
            for session in self.table.sweep() {
                self.forget(&session, "the session was idle").await;
            }
            self.let_go_of_unused();
            self.tell_store_of_use().await;
            while !self.draining.is_cancelled() && self.pool.refill().await {}
            tokio::select! {
                () = self.draining.cancelled() => break,
                () = sleep(SWEEP_EVERY) => {}
            }
        }
        self.pool.clear();
    }

    /// Takes no more requests, lets those under way end until `deadline`, then ends all servers.
    pub async fn shut_down(&self, deadline: Instant) {
        self.draining.cancel();
        if let Some(probed) = self.modern.current() {
            probed.child().inspect(|child| child.end_subscriptions());
        }
        while Instant::now() < deadline {
            // Whoever has nothing under way goes at once; GET streams are nothing.
            self.end_sessions(|session| session.backend.child.in_flight() == 0);
            let modern = self.modern.current().and_then(|probed| probed.child());
            if self.table.is_empty() && modern.is_none_or(|child| child.in_flight() == 0) {
                break;
            }
            sleep_until(deadline.min(Instant::now() + DRAIN_LOOK)).await;
        }
        self.end_sessions(|_| true);
        if let Some(ready) = self.shared.current() {
            ready.child.close("skep is shutting down");
        }
        if let Some(child) = self.modern.current().and_then(|probed| probed.child()) {
            child.close("skep is shutting down");
        }
        self.pool.clear();
        self.tasks.stop();
        let left = self.tasks.wait(LAST_WAIT).await;
        if left > 0 {
            tracing::warn!(children = left, "servers did not end in time");
        }
    }

    fn end_sessions(&self, which: impl Fn(&Session<Served>) -> bool) {
        for session in self.table.end_where(which) {
            end(&session, "skep is shutting down");
        }
    }

    /// The counts of now, for metrics.
    #[must_use]
    pub fn counts(&self) -> BridgeCounts {
        BridgeCounts {
            sessions: self.table.len(),
            children: self.pool.running() + self.common.running(),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    /// Takes charge of a channel, or of what waits for one: a task of this runtime looks after it until it ends.
    fn start(&self, channel: Option<Channel>, sharing: Sharing) -> Arc<Child> {
        let backend = self.backend.clone();
        let resend = Arc::clone(&self.config.resend);
        let child = Child::new(backend, sharing, resend, channel.as_ref(), Arc::clone(&self.dropped));
        let revival = Revival {
            pool: Arc::clone(if sharing == Sharing::Own { &self.pool } else { &self.common }),
            on_loss: self.config.on_loss,
            patience: self.config.patience.handshake,
            counts: Arc::clone(&self.recoveries),
            make_room: {
                let (pool, table) = (Arc::clone(&self.pool), Arc::clone(&self.table));
                Arc::new(move || kept::let_go_for_another(&pool, &table))
            },
        };
        let (running, table) = (Arc::clone(&child), Arc::clone(&self.table));
        let store = Arc::clone(&self.config.store);
        let draining = self.draining.clone();
        self.tasks.spawn("bridge", async move {
            let reason = running.live(channel, revival).await;
            tracing::debug!(%reason, "server ended");
            for id in running.take_session_ids() {
                let ended_here = table.end(id).is_some();
                if ended_here && !draining.is_cancelled() {
                    kept::end(&*store, id).await;
                }
            }
        });
        child
    }

    /// A server for one session, and the session's place in it. Idle sessions end where there is no room.
    async fn own_child(&self, principal: PrincipalDigest) -> Result<Arc<Child>, Failure> {
        self.make_room(principal).await?;
        if self.config.on_loss == OnLoss::Rebuild {
            kept::let_go_for_another(&self.pool, &self.table);
        }
        let channel = self.pool.take().await?;
        if matches!(self.config.mode, Mode::PerSession { warm: 1.., .. }) {
            // From here, so that the next session of this worker finds one whose messages stay on this thread.
            let pool = Arc::clone(&self.pool);
            self.tasks.spawn("make a server ready", async move {
                pool.refill().await;
            });
        }
        Ok(self.start(Some(channel), Sharing::Own))
    }

    async fn make_room(&self, principal: PrincipalDigest) -> Result<(), Failure> {
        for session in self.table.make_room(principal)? {
            self.forget(&session, "it made room for another session").await;
        }
        Ok(())
    }

    /// Begins the session of a client and gives its token.
    async fn begin(
        &self,
        served: Served,
        principal: PrincipalDigest,
    ) -> Result<crate::session::table::Begun<Served>, Failure> {
        let (child, client) = (Arc::clone(&served.child), served.client);
        let begun = self.table.begin(principal, nowhere(), b"", served)?;
        for session in &begun.evicted {
            self.forget(session, "it made room for another session").await;
        }
        if !child.name_session(client, begun.session.id) {
            self.table.end(begun.session.id);
        }
        self.keep(&begun.session).await;
        Ok(begun)
    }

    /// A session that the table has ended.
    async fn forget(&self, session: &Session<Served>, reason: &str) {
        end(session, reason);
        if session.backend.is_kept() {
            kept::end(&*self.config.store, session.id).await;
        }
    }
}

/// Where a session is pinned to that has no instance.
fn nowhere() -> Pin {
    Pin { address: ([0, 0, 0, 0], 0).into(), identity: 0 }
}

/// Ends the server's side of a session that the table has ended.
fn end(session: &Session<Served>, reason: &str) {
    session.backend.child.remove_client(session.backend.client, reason);
}

/// Ends the server that was started for a session if the session does not come about.
struct Starting {
    child: Arc<Child>,
    begun: bool,
}

impl Drop for Starting {
    fn drop(&mut self) {
        if !self.begun {
            self.child.close("the session did not begin");
        }
    }
}
