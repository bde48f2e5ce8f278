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
mod discovery;
mod era;
mod foreign;
mod head;
pub mod health;
mod kept;
mod listen;
mod listing;
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
mod streamable;
#[cfg(test)]
mod tests;
mod voice;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::{HeaderName, Response};
use mcp::Era;
use mcp::message::Kind;
use parking_lot::Mutex;
use proxy::session::view::{SessionDetail, SessionView};
use proxy::session::{Change, KeyRing, Limits, RouteId, Session, SessionStore, Table};
use proxy::{Body, Call, Failure, ResendPolicy};
use telemetry::Tasks;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, interval, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use era::Eras;
use health::{Health, HealthPolicy, Seen, Status};
use modern::freshness::Freshness;
use modern::seats::Seats;
use modern::waiting::Waiting;
use runs::Runs;
use session::Held;

pub use meta::MetaTools;
pub use runs::{Counts as RunCounts, RunView, TaskLine};

use crate::aggregate::{Kind as Listed, Listing, Offer, Problem, View};
use crate::config::Aggregation;
use crate::workflow::Workflows;
use crate::workflow::runs::RunStore;

/// How often idle sessions are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Problems that are logged at a time.
const MAX_TOLD: usize = 100;

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

/// What clients are shown of what there is. It may become another while the hub serves.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// How what backends offer becomes one.
    pub aggregation: Aggregation,
    /// Headers of clients that backends get.
    pub passed_headers: Vec<HeaderName>,
    /// Tools made of others.
    pub workflows: Workflows,
    pub partial: PartialFailure,
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
    /// Tools over all of these.
    pub meta: MetaTools,
    /// What may be done again although it may have been done.
    pub resend: Arc<ResendPolicy>,
    pub keys: Arc<KeyRing>,
    pub limits: Limits,
    /// Where sessions are kept beyond this process.
    pub store: Arc<dyn SessionStore>,
    /// Where runs of workflows are.
    pub runs: Arc<dyn RunStore>,
    pub health: HealthPolicy,
    /// For a backend to begin a session.
    pub begin_within: Duration,
    /// For a backend to list all it has.
    pub list_within: Duration,
    pub probe_every: Duration,
    pub probe_within: Duration,
}

/// One backend.
pub(crate) struct Member {
    pub(crate) name: Arc<str>,
    pub(crate) backend: Arc<dyn Backend>,
    health: Mutex<Health>,
    listing: ArcSwapOption<Listing>,
    eras: Eras,
    /// How long what it has listed is good for, if it says so.
    freshness: Mutex<Option<Freshness>>,
    /// Whether it was asked what it has, whatever came of that.
    was_looked_at: AtomicBool,
    /// Somebody has heard that its lists have changed.
    looks_again: Notify,
    /// It is not of the hub any more.
    gone: CancellationToken,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Member").field(&self.name).finish()
    }
}

impl Member {
    fn new(name: &str, backend: Arc<dyn Backend>, policy: HealthPolicy) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            backend,
            health: Mutex::new(Health::new(policy)),
            listing: ArcSwapOption::empty(),
            eras: Eras::default(),
            freshness: Mutex::default(),
            was_looked_at: AtomicBool::new(false),
            looks_again: Notify::new(),
            gone: CancellationToken::new(),
        })
    }

    /// What is known of the one before, which is the same server somewhere else.
    fn takes_over(&self, before: &Self) {
        *self.health.lock() = *before.health.lock();
        self.listing.store(before.listing.load_full());
        self.eras.takes_over(&before.eras);
        self.was_looked_at.store(before.was_looked_at.load(Ordering::Acquire), Ordering::Release);
    }

    fn look_again(&self) {
        self.looks_again.notify_one();
    }

    fn offer(&self) -> Offer {
        Offer {
            backend: Arc::clone(&self.name),
            listing: self.listing.load_full(),
            is_shown: self.health.lock().status().is_shown(),
        }
    }

    fn may_ask(&self) -> bool {
        self.health.lock().may_ask(Instant::now())
    }
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
    /// Held by whoever makes the next view.
    changing: Mutex<()>,
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
    runs: Runs,
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
        let table = Table::new(RouteId::of(&config.name), Arc::clone(&config.keys), config.limits);
        Arc::new(Self {
            config,
            members: ArcSwap::default(),
            shape: ArcSwap::from_pointee(shape),
            view: ArcSwap::default(),
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
            runs,
        })
    }

    /// From now on these are its backends: new ones are looked at, missing ones are gone, the same ones stay as they
    /// are. Another one of a known name has moved: what is known of it holds until it is seen again. To be called in a runtime that lives as long as the hub.
    pub fn set_backends(self: &Arc<Self>, backends: Vec<(String, Arc<dyn Backend>)>) {
        {
            let _changing = self.changing.lock();
            let before = self.members.load_full();
            let mut members = BTreeMap::new();
            for (name, backend) in backends {
                let known = before.get(&*name);
                let member = match known.filter(|known| Arc::ptr_eq(&known.backend, &backend)) {
                    Some(same) => Arc::clone(same),
                    None => {
                        let member = Member::new(&name, backend, self.config.health);
                        if let Some(known) = known {
                            member.takes_over(known);
                        }
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
        self.shape.store(Arc::new(shape));
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

    /// Ends idle sessions, hears of what other replicas do, and goes on with runs that nobody works on, until the hub is shut
    /// down. To be run once.
    pub async fn maintenance(self: Arc<Self>) {
        tokio::join!(self.look_after_sessions(), self.look_after_runs());
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

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn member(&self, name: &str) -> Option<Arc<Member>> {
        self.members.load().get(name).cloned()
    }

    /// Takes note of how a backend is.
    fn saw(&self, member: &Member, seen: Seen) -> Status {
        let (changed, status) = {
            let mut health = member.health.lock();
            (health.saw(seen, Instant::now()), health.status())
        };
        if changed {
            tracing::info!(backend.id = &*member.name, health = status.name(), "backend");
            self.refresh();
        }
        status
    }

    /// A backend has listed what it offers.
    fn publish(&self, member: &Member, listing: Listing, seen: Seen) {
        member.listing.store(Some(Arc::new(listing)));
        member.health.lock().saw(seen, Instant::now());
        self.refresh();
        self.looked_at(member);
    }

    fn looked_at(&self, member: &Member) {
        member.was_looked_at.store(true, Ordering::Release);
        self.looks.send_modify(|looks| *looks += 1);
    }

    /// Waits until each backend was asked once what it has, but not beyond this time of the hub's life: whoever starts
    /// anew does not lose at once what it is about to see.
    async fn settled(&self, within: Duration) {
        let mut looks = self.looks.subscribe();
        let looking = async {
            // The hub has the sender.
            while !self.all_looked_at() && looks.changed().await.is_ok() {}
        };
        let _ = timeout_at(self.born + within, looking).await;
    }

    fn all_looked_at(&self) -> bool {
        self.members.load().values().all(|member| member.was_looked_at.load(Ordering::Acquire))
    }

    /// Whether each backend was asked once what it has, or has had the time in which it would have said so.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.all_looked_at() || self.born.elapsed() >= self.config.begin_within
    }

    /// Makes the next view, and tells clients what is different.
    fn refresh(&self) {
        let _changing = self.changing.lock();
        let offers: Vec<_> = self.members.load().values().map(|member| member.offer()).collect();
        let shape = self.shape.load();
        let mut view = View::new(&offers, &shape.aggregation, shape.workflows.composites());
        self.config.meta.add_to(&mut view);
        let before = self.view.load_full();
        let differs = |kind| u64::from(!view.shows_same(kind, &before));
        let mut tools = differs(Listed::Tools);
        if tools > 0 && !self.config.meta.show(&view) {
            tools = 0;
        }
        let prompts = differs(Listed::Prompts);
        let resources = differs(Listed::Resources).max(differs(Listed::Templates));
        tell_problems(&view, &before);
        self.view.store(Arc::new(view));
        if tools + prompts + resources > 0 {
            self.changes.send_modify(|changes| {
                changes.tools += tools;
                changes.prompts += prompts;
                changes.resources += resources;
            });
        }
    }
}

/// Says what is wrong now and was not before: a line for all of one kind of one backend.
fn tell_problems(view: &View, before: &View) {
    if view.problems() == before.problems() {
        return;
    }
    let known: HashSet<String> = before.problems().iter().map(ToString::to_string).collect();
    let new = view.problems().iter().filter(|problem| !known.contains(&problem.to_string()));
    for (problem, count) in by_topic(new).into_iter().take(MAX_TOLD) {
        let others = count - 1;
        tracing::warn!(%problem, others.alike = others, "not everything is as its backend lists it");
    }
}

/// The first problem of each topic, and how many there are.
fn by_topic<'p>(problems: impl Iterator<Item = &'p Problem>) -> Vec<(&'p Problem, usize)> {
    let (mut topics, mut places) = (Vec::<(&Problem, usize)>::new(), HashMap::new());
    for problem in problems {
        let place = *places.entry(problem.topic()).or_insert_with(|| {
            topics.push((problem, 0));
            topics.len() - 1
        });
        topics[place].1 += 1;
    }
    topics
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
