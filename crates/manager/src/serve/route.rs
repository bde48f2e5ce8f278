//! What is behind an endpoint, and its life: a route that forwards, a bridge, or several of them; when it can be used, and its
//! end.
//!
//! Deliberately absent: how one is made ([`super::making`]).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use mcp::ErrorReply;
use parking_lot::Mutex;
use proxy::bridge::Bridge;
use proxy::failure::refused;
use proxy::forward::Forward;
use proxy::history::{Cause, Outcome, RecoveryCounts};
use proxy::session::view::{SessionDetail, SessionView};
use proxy::upstream::{ClientTls, Dial, Pool, PoolConfig};
use proxy::{Body, Call};
use telemetry::Metrics;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use uuid::Uuid;
use vmcp::hub::{Hub, RunView};
use workload::container::{Container, Progress};
use workload::{State, Supervisor};

use super::members::Members;
use super::{numbers, status};
use crate::control::Sessions;
use crate::inside::Inside;
use crate::process::Beginning;

/// How often it is tried whether a command listens yet.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// A route; clones are the same one.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) kind: Kind,
    /// How the server is spoken to.
    pub(super) transport: &'static str,
    pub(super) grace: Duration,
    pub(super) end: End,
    /// Where its commands run, if that is a container.
    pub(super) container: Option<Container>,
}

/// What answers.
#[derive(Clone)]
pub(super) enum Kind {
    Forward { forward: Arc<Forward>, way: Way },
    Bridge(Arc<Bridge>),
    Hub { hub: Arc<Hub>, members: Arc<Members> },
}

/// How instances are connected to.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) tls: Option<ClientTls>,
    /// The network of a sandbox.
    pub(super) inside: Option<Inside>,
}

impl Way {
    pub(super) fn pool(&self) -> Arc<Pool> {
        let dial = self.inside.clone().map(|inside| Arc::new(inside) as Arc<dyn Dial>);
        Pool::dialled(PoolConfig::default(), self.tls.clone(), dial)
    }
}

/// How it is noticed that there is no server.
#[derive(Clone)]
pub(super) enum End {
    /// It is somebody else's.
    Unknown,
    /// A command that the bridge runs.
    Stillborn(watch::Receiver<Beginning>),
    /// A command that is kept running.
    Supervised {
        state: watch::Receiver<State>,
        listens: SocketAddr,
        inside: Option<Inside>,
        supervisor: Arc<Mutex<Option<Supervisor>>>,
    },
}

/// What answers on one worker.
pub(super) enum Backend {
    Forward { forward: Arc<Forward>, pool: Arc<Pool> },
    Bridge(Arc<Bridge>),
    Hub { hub: Arc<Hub>, members: Arc<Members> },
}

impl Backend {
    pub(super) async fn handle(&self, call: Call) -> Response<Body> {
        match self {
            Self::Forward { forward, pool } => forward.handle(pool, call).await,
            Self::Bridge(bridge) => bridge.handle(call).await,
            Self::Hub { hub, members } => match status::answer(hub, members, &call) {
                Some(response) => response,
                None => hub.handle(call).await,
            },
        }
    }

    /// Answers in the server's stead, the way the server's own answer would go.
    pub(super) fn answer_instead(
        &self,
        call: &Call,
        class: &'static str,
        reply: &ErrorReply,
    ) -> Response<Body> {
        match self {
            Self::Forward { .. } | Self::Hub { .. } => {
                refused(StatusCode::OK, class, reply, call.request.id())
            }
            Self::Bridge(bridge) => bridge.answer_instead(call, class, reply),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("transport", &self.transport()).finish_non_exhaustive()
    }
}

impl Route {
    /// What answers on the calling worker, with connections of its own.
    pub(super) fn backend(&self) -> Backend {
        match &self.kind {
            Kind::Forward { forward, way } => {
                Backend::Forward { forward: Arc::clone(forward), pool: way.pool() }
            }
            Kind::Bridge(bridge) => Backend::Bridge(Arc::clone(bridge)),
            Kind::Hub { hub, members } => Backend::Hub { hub: Arc::clone(hub), members: Arc::clone(members) },
        }
    }

    pub(super) fn transport(&self) -> &'static str {
        self.transport
    }

    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    /// Whether requests can be answered, as far as is known without asking.
    pub(super) fn is_usable(&self) -> bool {
        let ends = match &self.end {
            End::Unknown => true,
            End::Stillborn(beginning) => !matches!(*beginning.borrow(), Beginning::Stillborn(_)),
            End::Supervised { state, .. } => matches!(*state.borrow(), State::Running { .. }),
        };
        let reached = match &self.kind {
            Kind::Forward { forward, .. } => !forward.instances().active().is_empty(),
            Kind::Bridge(_) => true,
            Kind::Hub { hub, .. } => {
                let backends = hub.backends();
                backends.is_empty() || backends.iter().any(|backend| backend.status.is_shown())
            }
        };
        ends && reached
    }

    /// Whether all that is behind it was looked at, as `/readyz` says it; `None` where there is one server only.
    pub(super) fn readiness(&self) -> Option<(StatusCode, Bytes)> {
        match &self.kind {
            Kind::Hub { hub, members } => Some(status::readiness(hub, members)),
            Kind::Forward { .. } | Kind::Bridge(_) => None,
        }
    }

    pub(super) async fn ready(&self) {
        let (state, listens, inside) = match &self.end {
            End::Unknown => return,
            End::Stillborn(beginning) => {
                // The sender lives as long as the route.
                let _ = beginning.clone().wait_for(|beginning| *beginning != Beginning::Untried).await;
                return;
            }
            End::Supervised { state, listens, inside, .. } => (state, *listens, inside),
        };
        let mut state = state.clone();
        let given_up = async {
            // A sender that is gone has shown its last state.
            let _ = state.wait_for(State::is_final).await;
        };
        let answers = async {
            let mut tries = interval(TRY_EVERY);
            while !opens(listens, inside.as_ref()).await {
                tries.tick().await;
            }
        };
        tokio::select! {
            () = given_up => {}
            () = answers => {}
        }
    }

    /// Whether an image is being fetched, which takes as long as it takes.
    pub(super) fn is_fetching(&self) -> bool {
        self.container
            .as_ref()
            .is_some_and(|container| matches!(*container.progress().borrow(), Progress::Pulling { .. }))
    }

    /// How far its image is, in words, once that is something else than this.
    pub(super) async fn fetched(&self, told: &str) -> String {
        let Some(container) = &self.container else { return std::future::pending().await };
        let mut progress = container.progress();
        let words = |progress: &Progress| progress.words(container.image());
        let said = progress.wait_for(|progress| words(progress) != told).await.ok();
        match said.map(|progress| words(&progress)) {
            Some(said) => said,
            // The sender is the container's, so it is there.
            None => std::future::pending().await,
        }
    }

    /// Ends the container, once nothing is wanted of it any more.
    pub(super) async fn end_container(&self) {
        if let Some(container) = &self.container {
            container.end().await;
        }
    }

    pub(super) async fn failed(&self) -> String {
        match &self.end {
            End::Unknown => std::future::pending().await,
            End::Stillborn(beginning) => {
                let mut beginning = beginning.clone();
                let is_over = |beginning: &Beginning| matches!(beginning, Beginning::Stillborn(_));
                let told = beginning.wait_for(is_over).await.ok().map(|beginning| beginning.clone());
                match told {
                    Some(Beginning::Stillborn(why)) => why,
                    _ => std::future::pending().await,
                }
            }
            End::Supervised { state, .. } => {
                let mut state = state.clone();
                let last = state.wait_for(State::is_final).await.ok().map(|state| state.clone());
                match last {
                    Some(State::Failed { reason, hint, last_lines }) => {
                        let mut text = format!("the server {reason}");
                        if let Some(hint) = hint {
                            text = format!("{text}. {hint}");
                        }
                        if !last_lines.is_empty() {
                            text = format!("{text}; its last words:\n  {}", last_lines.join("\n  "));
                        }
                        text
                    }
                    _ => std::future::pending().await,
                }
            }
        }
    }

    pub(super) async fn shut_down(&self, deadline: Instant) {
        match &self.kind {
            Kind::Forward { .. } => {}
            Kind::Bridge(bridge) => bridge.shut_down(deadline).await,
            Kind::Hub { hub, members } => {
                // Those whose clients are away are under way, too.
                hub.runs_left(deadline).await;
                Box::pin(members.shut_down(deadline)).await;
            }
        }
        if let End::Supervised { supervisor, .. } = &self.end {
            let supervisor = supervisor.lock().take();
            if let Some(supervisor) = supervisor {
                supervisor.stop().await;
            }
        }
    }

    /// Whether what is behind is looked after by the threads that serve.
    pub(super) fn runs_on_workers(&self) -> bool {
        matches!(self.kind, Kind::Bridge(_))
    }

    /// Adds what can be read off when somebody asks.
    pub(super) fn register(&self, metrics: &Metrics) {
        match &self.kind {
            Kind::Forward { forward, .. } => {
                let route = Arc::clone(forward);
                metrics.gauge("sessions", "Sessions open", move || route.sessions() as u64);
                register_recoveries(metrics, forward.recoveries());
                let route = Arc::clone(forward);
                metrics.gauge("instances", "Backend instances that take new sessions", move || {
                    route.instances().active().len() as u64
                });
                let route = Arc::clone(forward);
                metrics.gauge(
                    "instances_ejected",
                    "Those of them that failed and are tried last",
                    move || route.instances().ejected() as u64,
                );
            }
            Kind::Bridge(bridge) => {
                register_recoveries(metrics, bridge.recoveries());
                let counts = Arc::clone(bridge);
                metrics.gauge("sessions", "Sessions open", move || counts.counts().sessions as u64);
                let counts = Arc::clone(bridge);
                metrics.gauge("servers", "Servers running, the ready ones included", move || {
                    counts.counts().children as u64
                });
                let counts = Arc::clone(bridge);
                metrics.gauge("messages_dropped", "Messages that had nowhere to go", move || {
                    counts.counts().dropped
                });
            }
            Kind::Hub { hub, .. } => {
                let counted = Arc::clone(hub);
                metrics.gauge("sessions", "Sessions open", move || counted.sessions() as u64);
                numbers::register(hub, metrics);
            }
        }
    }
}

impl Sessions for Route {
    fn list(&self) -> Vec<SessionView> {
        match &self.kind {
            Kind::Forward { forward, .. } => forward.list(),
            Kind::Bridge(bridge) => bridge.list(),
            Kind::Hub { hub, .. } => hub.list(),
        }
    }

    fn show(&self, id: Uuid) -> Option<SessionDetail> {
        match &self.kind {
            Kind::Forward { forward, .. } => forward.show(id),
            Kind::Bridge(bridge) => bridge.show(id),
            Kind::Hub { hub, .. } => hub.show(id),
        }
    }

    async fn end(&self, id: Uuid) -> bool {
        match &self.kind {
            Kind::Forward { forward, .. } => forward.end(id).await,
            Kind::Bridge(bridge) => bridge.end(id).await,
            Kind::Hub { hub, .. } => hub.end(id).await,
        }
    }

    async fn runs(&self) -> Result<Vec<RunView>, String> {
        match &self.kind {
            Kind::Hub { hub, .. } => hub.runs().await,
            Kind::Forward { .. } | Kind::Bridge(_) => Ok(Vec::new()),
        }
    }

    async fn run(&self, id: Uuid, private: bool) -> Result<Option<RunView>, String> {
        match &self.kind {
            Kind::Hub { hub, .. } => hub.show_run(id, private).await,
            Kind::Forward { .. } | Kind::Bridge(_) => Ok(None),
        }
    }
}

/// Whether something listens there.
async fn opens(address: SocketAddr, inside: Option<&Inside>) -> bool {
    match inside {
        Some(inside) => inside.dial(address).await.is_ok(),
        None => TcpStream::connect(address).await.is_ok(),
    }
}

/// Adds what became of sessions that were lost, and of their requests.
fn register_recoveries(metrics: &Metrics, counts: &Arc<RecoveryCounts>) {
    let read = Arc::clone(counts);
    metrics.counters("recoveries", "Sessions that were lost, by cause and outcome", move || {
        let cells = Cause::ALL.into_iter().flat_map(|cause| Outcome::ALL.map(|outcome| (cause, outcome)));
        cells
            .map(|(cause, outcome)| {
                let labels = vec![("cause", cause.name().into()), ("outcome", outcome.name().into())];
                (labels, read.get(cause, outcome))
            })
            .filter(|(_, count)| *count > 0)
            .collect()
    });
    let read = Arc::clone(counts);
    metrics.counters(
        "replays",
        "Requests whose session was lost under them, by what became of them",
        move || {
            let (resent, interrupted) = read.requests();
            vec![(vec![("class", "resent".into())], resent), (vec![("class", "unknown".into())], interrupted)]
        },
    );
}
