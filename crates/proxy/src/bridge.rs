//! The bridge: HTTP in front of a server that speaks in messages over a channel.
//!
//! Three fronts (Streamable HTTP of the legacy and the modern era, and HTTP+SSE), one machine behind them ([`mux`]),
//! one [`child`] for each server that runs. A legacy session has a server of its own, or shares one that was told
//! nothing about it; modern requests share one. `docs/design/bridge.md` says which message goes where.
//!
//! INVARIANT: nothing of one session reaches another.
//!
//! Deliberately absent: starting processes (that is what [`Connect`] is for), restarting a session's server under it,
//! and translating between the eras.

mod answer;
mod child;
mod events;
mod keeper;
mod modern;
mod mux;
mod pool;
mod shared;
mod sse;
mod streamable;
mod streams;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Response, StatusCode};
use mcp::message::Kind;
use mcp::{Era, ErrorReply};
use model::PrincipalDigest;
use telemetry::Tasks;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::call::Call;
use crate::channel::{Channel, Connect};
use crate::failure::{Failure, FailureClass, refused};
use crate::forward::Patience;
use crate::session::{KeyRing, Limits, Pin, RouteId, Session, Table};
use answer::Backend;
use child::Child;
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
}

/// The bridge in front of one server, shared by all workers.
pub struct Bridge {
    config: BridgeConfig,
    backend: Backend,
    table: Arc<Table<Served>>,
    /// Servers for one session each.
    pool: Arc<Pool>,
    /// Servers for all.
    common: Pool,
    shared: Keeper<shared::Ready>,
    modern: Keeper<modern::Probed>,
    tasks: Tasks,
    draining: CancellationToken,
    dropped: Arc<AtomicU64>,
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
                limits.sessions = limits.sessions.min(max_children.max(1));
                (warm, max_children)
            }
            Mode::Shared => (0, 0),
        };
        let table = Table::new(RouteId::of(&config.name), Arc::clone(&config.keys), limits);
        Arc::new(Self {
            pool: Arc::new(Pool::new(Arc::clone(&backend.name), Arc::clone(&connect), warm, most)),
            common: Pool::new(Arc::clone(&backend.name), connect, 0, COMMON),
            config,
            backend,
            table: Arc::new(table),
            shared: Keeper::new(),
            modern: Keeper::new(),
            tasks: Tasks::new(),
            draining: CancellationToken::new(),
            dropped: Arc::default(),
        })
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
                end(&session, "the session was idle");
            }
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

    /// Takes charge of a channel: a task of this runtime moves its messages until it ends.
    fn start(&self, channel: Channel, sharing: Sharing) -> Arc<Child> {
        let child = Child::new(Arc::clone(&self.backend.name), sharing, &channel, Arc::clone(&self.dropped));
        let (running, table) = (Arc::clone(&child), Arc::clone(&self.table));
        self.tasks.spawn("bridge", async move {
            let reason = Arc::clone(&running).run(channel).await;
            tracing::debug!(%reason, "server ended");
            for id in running.take_session_ids() {
                table.end(id);
            }
        });
        child
    }

    /// A server for one session, and the session's place in it. Idle sessions end where there is no room.
    async fn own_child(&self, principal: PrincipalDigest) -> Result<Arc<Child>, Failure> {
        let evicted = self.table.make_room(principal)?;
        evicted.iter().for_each(|session| end(session, "it made room for another session"));
        let channel = self.pool.take().await?;
        if matches!(self.config.mode, Mode::PerSession { warm: 1.., .. }) {
            // From here, so that the next session of this worker finds one whose messages stay on this thread.
            let pool = Arc::clone(&self.pool);
            self.tasks.spawn("make a server ready", async move {
                pool.refill().await;
            });
        }
        Ok(self.start(channel, Sharing::Own))
    }

    /// Begins the session of a client and gives its token.
    fn begin(
        &self,
        served: Served,
        principal: PrincipalDigest,
    ) -> Result<crate::session::table::Begun<Served>, Failure> {
        let pin = Pin { address: ([0, 0, 0, 0], 0).into(), identity: 0 };
        let (child, client) = (Arc::clone(&served.child), served.client);
        let begun = self.table.begin(principal, pin, b"", served)?;
        begun.evicted.iter().for_each(|session| end(session, "it made room for another session"));
        if !child.name_session(client, begun.session.id) {
            self.table.end(begun.session.id);
        }
        Ok(begun)
    }
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
