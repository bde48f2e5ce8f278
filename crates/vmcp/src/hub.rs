//! The hub: one MCP endpoint over many backends.
//!
//! It answers calls as the proxy's `Forward` and `Bridge` do, and behind it are nothing but those: a backend's session is
//! the token it gave on `initialize`, its pinning and its recovery are its own. A client's session is one of the same table,
//! with the same kind of token and record, which says besides which sessions it consists of.
//!
//! Nobody waits for a backend that was not asked for: lists come from a snapshot ([`View`]) that one task per backend keeps
//! up ([`discovery`]), and a backend gets a session for a client when that first needs it ([`session`]).
//!
//! INVARIANT: what one backend asks is answered to that one only ([`foreign`]), and nothing of one client's session
//! reaches another.
//!
//! Deliberately absent: connections, processes and policies.

mod ask;
mod calling;
mod counts;
mod discovery;
mod era;
mod foreign;
mod head;
pub mod health;
mod kept;
mod listen;
mod listing;
mod mail;
mod member;
mod meta;
mod modern;
mod object;
mod open_questions;
mod overdue;
mod own;
mod passing;
mod reference;
mod relay;
mod requests;
mod runs;
mod session;
mod snapshot;
mod spoken;
mod streamable;
#[cfg(test)]
mod tests;
mod voice;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderName, Response};
use mcp::Era;
use mcp::message::Kind;
use parking_lot::Mutex;
use proxy::session::view::{SessionDetail, SessionView};
use proxy::session::{Change, KeyRing, Limits, RouteId, Session, SessionStore, Table};
use proxy::{Body, Call, Failure, ResendPolicy};
use telemetry::Tasks;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use counts::Named;
use health::{HealthPolicy, Status};
use member::Member;
use modern::handed_over::Mailbox;
use modern::seats::Seats;
use modern::waiting::Waiting;
use runs::Runs;
use session::Held;
use spoken::Room;

pub use counts::{BackendCounts, FindCounts, RunCounts};
pub use mail::{MailUnavailable, Mailboxes, Mailing};
pub use meta::{Meaning, MetaTools};
pub use runs::{RunView, TaskLine};

use crate::aggregate::View;
use crate::config::Aggregation;
use crate::optimizer::Optimizer;
use crate::workflow::Workflows;
use crate::workflow::runs::RunStore;

/// How often idle sessions are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// The future of an answer.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Response<Body>> + Send + 'a>>;

/// A server behind the hub: what a `Forward` and a `Bridge` have in common.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Answers one request, on the runtime of the caller.
    fn handle(&self, call: Call) -> Answering<'_>;

    /// How long a client's request may take; `None`: as long as it takes.
    fn call_within(&self) -> Option<Duration> {
        None
    }
}

/// What becomes of a list where a backend is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartialFailure {
    /// It has what the others offer.
    #[default]
    BestEffort,
    /// It is an error that names the backend.
    Fail,
}

/// How it is watched whether backends are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watching {
    /// What counts as what.
    pub health: HealthPolicy,
    /// How often a backend is asked for a sign of life.
    pub probe_every: Duration,
    /// For a sign of life.
    pub probe_within: Duration,
}

impl Default for Watching {
    fn default() -> Self {
        let (probe_every, probe_within) = (Duration::from_secs(30), Duration::from_secs(10));
        Self { health: HealthPolicy::default(), probe_every, probe_within }
    }
}

/// What clients are shown of what there is, and how that is watched. It may become another while the hub serves.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// How what backends offer becomes one.
    pub aggregation: Aggregation,
    /// Headers of clients that backends get.
    pub passed_headers: Vec<HeaderName>,
    /// Tools made of others.
    pub workflows: Workflows,
    /// Tools over all of these.
    pub meta: MetaTools,
    pub partial: PartialFailure,
    pub watching: Watching,
}

/// What a hub is made of.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// The endpoint's name; sessions belong to it.
    pub name: String,
    /// Where the endpoint is, `/mcp`.
    pub path: String,
    /// What clients are shown at first.
    pub shape: Shape,
    /// What may be done again although it may have been done.
    pub resend: Arc<ResendPolicy>,
    pub keys: Arc<KeyRing>,
    pub limits: Limits,
    /// Where sessions are kept beyond this process.
    pub store: Arc<dyn SessionStore>,
    /// Where runs of workflows are.
    pub runs: Arc<dyn RunStore>,
    /// Where replicas leave letters for each other.
    pub mail: Arc<dyn Mailboxes>,
    /// For a backend to begin a session.
    pub begin_within: Duration,
    /// For a backend to list all it has.
    pub list_within: Duration,
}

/// How often what clients see has changed, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Changes {
    tools: u64,
    prompts: u64,
    resources: u64,
}

/// How a backend is, for whoever runs the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendState {
    pub name: String,
    pub status: Status,
    /// Failures in a row.
    pub failures: u32,
}

/// The hub, shared by all workers.
pub struct Hub {
    config: HubConfig,
    members: ArcSwap<BTreeMap<Arc<str>, Arc<Member>>>,
    shape: ArcSwap<Shape>,
    view: ArcSwap<View>,
    /// The one whose problems were said.
    told: Mutex<Arc<View>>,
    /// Held by whoever makes the next view: who was told of the last one to find tools in it.
    changing: Mutex<Option<Arc<Optimizer>>>,
    changes: watch::Sender<Changes>,
    born: Instant,
    /// How many looks at backends there were.
    looks: watch::Sender<u64>,
    table: Table<Held>,
    tasks: Tasks,
    draining: CancellationToken,
    /// Sessions that the store does not have as they are.
    unsaved: Mutex<HashSet<Uuid>>,
    /// Numbers what the hub asks in others' stead.
    numbers: AtomicU64,
    seats: Seats,
    waiting: Waiting,
    mailbox: Mailbox,
    spoken: Room,
    runs: Runs,
    finding: FindCounts,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub without backends. Its tasks are among these.
    #[must_use]
    pub fn new(mut config: HubConfig, tasks: Tasks) -> Arc<Self> {
        let shape = std::mem::take(&mut config.shape);
        let runs = Runs::new(Arc::clone(&config.runs));
        runs.count_those_of(&shape.workflows);
        let table = Table::new(RouteId::of(&config.name), Arc::clone(&config.keys), config.limits);
        Arc::new(Self {
            config,
            members: ArcSwap::default(),
            shape: ArcSwap::from_pointee(shape),
            view: ArcSwap::default(),
            told: Mutex::default(),
            changing: Mutex::default(),
            changes: watch::channel(Changes::default()).0,
            born: Instant::now(),
            looks: watch::channel(0).0,
            table,
            tasks,
            draining: CancellationToken::new(),
            unsaved: Mutex::default(),
            numbers: AtomicU64::new(1),
            seats: Seats::default(),
            waiting: Waiting::default(),
            mailbox: Mailbox::default(),
            spoken: Room::default(),
            runs,
            finding: FindCounts::default(),
        })
    }

    /// From now on these are its backends: new ones are looked at, missing ones are gone, the same ones stay as they
    /// are. Another one of a known name has moved: what is known of it holds until it is seen again. To be called in a runtime that lives as long as the hub.
    pub fn set_backends(self: &Arc<Self>, backends: Vec<(String, Arc<dyn Backend>)>) {
        {
            let _changing = self.changing.lock();
            let before = self.members.load_full();
            let (mut members, policy) = (BTreeMap::new(), self.watching().health);
            for (name, backend) in backends {
                let known = before.get(&*name);
                let member = match known.filter(|known| Arc::ptr_eq(&known.backend, &backend)) {
                    Some(same) => Arc::clone(same),
                    None => {
                        let member = match known {
                            Some(known) => Member::moved(known, backend, policy),
                            None => Member::new(&name, backend, policy),
                        };
                        self.tasks.spawn("backend", discovery::follow(Arc::clone(self), Arc::clone(&member)));
                        member
                    }
                };
                members.insert(Arc::clone(&member.name), member);
            }
            let stays = |name, member| members.get(name).is_some_and(|stays| Arc::ptr_eq(stays, member));
            for (_, gone) in before.iter().filter(|(name, member)| !stays(*name, member)) {
                gone.gone.cancel();
            }
            self.members.store(Arc::new(members));
        }
        self.refresh();
    }

    /// From now on clients are shown this. What is under way goes on as it began.
    pub fn reshape(&self, shape: Shape) {
        self.runs.count_those_of(&shape.workflows);
        let watching = shape.watching;
        let before = self.shape.swap(Arc::new(shape)).watching;
        if watching != before {
            for member in self.members.load().values() {
                member.health.lock().judge_by(watching.health);
                // From when it is looked at next, it is asked as often as is said now.
                member.look_again();
            }
        }
        self.refresh();
    }

    /// Answers one request, on the runtime of the calling worker.
    pub async fn handle(self: &Arc<Self>, call: Call) -> Response<Body> {
        let id = call.request.id().map(<[u8]>::to_vec);
        let begins = call.request.message().is_none_or(|message| message.kind() == Kind::Request);
        let answered = if begins && self.draining.is_cancelled() {
            Err(Failure::Draining)
        } else if call.request.head.uri.path() != self.config.path {
            Err(Failure::NotFound { endpoint: self.config.path.clone() })
        } else {
            match call.request.era() {
                Era::Legacy => self.streamable(call).await,
                Era::Modern => self.modern(call).await,
            }
        };
        answered.unwrap_or_else(|failure| {
            tracing::debug!(error.class = failure.class(), error = %failure, "not answered");
            failure.answer(id.as_deref())
        })
    }

    /// Ends idle sessions, hears of what other replicas do, goes on with runs that nobody works on, and reads what other
    /// replicas leave, until the hub is shut down. To be run once.
    pub async fn maintenance(self: Arc<Self>) {
        tokio::join!(self.look_after_sessions(), self.look_after_runs(), self.look_after_mail());
    }

    async fn look_after_sessions(&self) {
        let mut changes = self.config.store.changes();
        let mut rounds = interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                biased;
                () = self.draining.cancelled() => return,
                _ = rounds.tick() => {
                    for ended in self.table.sweep() {
                        self.forget(&ended).await;
                    }
                    self.tell_store_of_use().await;
                    self.hear_what_was_missed().await;
                }
                Some(change) = next_change(&mut changes) => self.changed_elsewhere(change).await,
            }
        }
    }

    /// Takes no more requests. What is under way is ended by who cuts its connection; sessions live on in the store.
    pub fn drain(&self) {
        self.draining.cancel();
        for session in self.table.all() {
            session.backend.close_stream();
        }
    }

    /// How many sessions are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.table.len()
    }

    /// How each backend is, by name.
    #[must_use]
    pub fn backends(&self) -> Vec<BackendState> {
        let members = self.members.load();
        let state = |member: &Arc<Member>| {
            let health = member.health.lock();
            BackendState {
                name: member.name.to_string(),
                status: health.status(),
                failures: health.failures(),
            }
        };
        members.values().map(state).collect()
    }

    /// What was asked of each backend, by name.
    #[must_use]
    pub fn backend_counts(&self) -> Named<BackendCounts> {
        let members = self.members.load();
        members.iter().map(|(name, member)| (Arc::clone(name), Arc::clone(&member.counts))).collect()
    }

    /// How many runs of each workflow came to what, by name.
    #[must_use]
    pub fn run_counts(&self) -> Named<RunCounts> {
        self.runs.all_counts()
    }

    /// What the optimizer's tools were called for, and how many indexes it has made; `None` where there is no optimizer.
    #[must_use]
    pub fn find_counts(&self) -> Option<(&FindCounts, u64)> {
        let shape = self.shape.load();
        shape.meta.optimizer.as_ref().map(|optimizer| (&self.finding, optimizer.indexes()))
    }

    /// What is served now.
    #[must_use]
    pub fn list(&self) -> Vec<SessionView> {
        self.table.all().iter().map(|session| self.session_view(session)).collect()
    }

    /// All that is known of a session that is served here.
    #[must_use]
    pub fn show(&self, id: Uuid) -> Option<SessionDetail> {
        let session = self.table.get(id)?;
        let remembered = session.backend.remembered.lock().clone();
        Some(SessionDetail::new(self.session_view(&session), Some(&remembered), Vec::new()))
    }

    /// Ends a session; false where it is not served here.
    pub async fn end(&self, id: Uuid) -> bool {
        let Some(session) = self.table.end(id) else { return false };
        self.forget(&session).await;
        true
    }

    fn session_view(&self, session: &Session<Held>) -> SessionView {
        let mut names: Vec<_> =
            session.backend.all_opened().into_iter().map(|(name, _)| name.to_string()).collect();
        names.sort_unstable();
        self.table.view(session, names.join(", "), 0)
    }

    fn watching(&self) -> Watching {
        self.shape.load().watching
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn member(&self, name: &str) -> Option<Arc<Member>> {
        self.members.load().get(name).cloned()
    }
}

/// Never, where there are no other replicas or they are not heard any more.
async fn next_change(changes: &mut Option<mpsc::Receiver<Change>>) -> Option<Change> {
    match changes {
        None => std::future::pending().await,
        Some(heard) => {
            let change = heard.recv().await;
            if change.is_none() {
                *changes = None;
            }
            change
        }
    }
}
