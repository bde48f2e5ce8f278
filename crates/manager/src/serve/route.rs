//! What is behind an endpoint, and its life: a route that forwards, a bridge, or several of them; the processes and look-ups it needs.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use mcp::ErrorReply;
use parking_lot::Mutex;
use proxy::bridge::{Bridge, BridgeConfig, MemoryBudget, Mode, Paths};
use proxy::endpoint::{Endpoint, Scheme, Target as EndpointTarget};
use proxy::failure::refused;
use proxy::forward::{Forward, ForwardConfig, Patience};
use proxy::history::{Cause, Outcome, RecoveryCounts};
use proxy::instance::Instances;
use proxy::remote::{DEFAULT_MAX_MESSAGE, RemoteConfig, RemoteSse};
use proxy::resolve::Resolver;
use proxy::session::view::{SessionDetail, SessionView};
use proxy::session::{KeyRing, SessionStore};
use proxy::upstream::{ClientTls, Dial, Pool, PoolConfig};
use proxy::{Body, Call};
use telemetry::{Metrics, Tasks};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use uuid::Uuid;
use vmcp::hub::{Hub, HubConfig, RunView};
use workload::container::{Container, Progress};
use workload::egress::EgressPolicy;
use workload::log::LogFile;
use workload::{CommandSpec, LogTail, OnStart, RestartPolicy, State, Supervisor};

use super::members::{Kit, Members};
use super::{ServeSettings, StartError, client_tls, endpoints};
use crate::control::Sessions;
use crate::inside::Inside;
use crate::process::{Beginning, ProcessConnect, serve_network};
use crate::sessions::Places;
use crate::target::{HttpTarget, HttpTransport, Target, Virtual};

/// Records are kept a little longer than sessions: their store hears of use in rounds.
const SPARE: Duration = Duration::from_secs(60);

/// For a backend of several to begin a session, and to list what it has.
const BEGIN_WITHIN: Duration = Duration::from_secs(30);

/// How often it is tried whether a command listens yet.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// What routes are made of.
pub(super) struct Making<'a> {
    pub(super) settings: &'a ServeSettings,
    pub(super) paths: Paths,
    pub(super) keys: Arc<KeyRing>,
    /// Where this endpoint listens itself.
    pub(super) own: SocketAddr,
    pub(super) tasks: &'a Tasks,
    pub(super) processes: &'a Tasks,
    /// Where sessions are kept, if that is decided.
    pub(super) store: Option<Arc<dyn SessionStore>>,
    /// Whether a name without address is an error at once.
    pub(super) awaits_names: bool,
}

/// A route; clones are the same one.
#[derive(Clone)]
pub(super) struct Route {
    kind: Kind,
    /// How the server is spoken to.
    transport: &'static str,
    grace: Duration,
    end: End,
    /// Where its commands run, if that is a container.
    container: Option<Container>,
}

#[derive(Clone)]
enum Kind {
    Forward { forward: Arc<Forward>, way: Way },
    Bridge(Arc<Bridge>),
    Hub { hub: Arc<Hub>, members: Arc<Members> },
}

/// How instances are connected to.
#[derive(Clone)]
struct Way {
    tls: Option<ClientTls>,
    /// The network of a sandbox.
    inside: Option<Inside>,
}

impl Way {
    fn pool(&self) -> Arc<Pool> {
        let dial = self.inside.clone().map(|inside| Arc::new(inside) as Arc<dyn Dial>);
        Pool::dialled(PoolConfig::default(), self.tls.clone(), dial)
    }
}

/// How it is noticed that there is no server.
#[derive(Clone)]
enum End {
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
    Hub(Arc<Hub>),
}

impl Backend {
    pub(super) async fn handle(&self, call: Call) -> Response<Body> {
        match self {
            Self::Forward { forward, pool } => forward.handle(pool, call).await,
            Self::Bridge(bridge) => bridge.handle(call).await,
            Self::Hub(hub) => hub.handle(call).await,
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
            Self::Forward { .. } | Self::Hub(_) => refused(StatusCode::OK, class, reply, call.request.id()),
            Self::Bridge(bridge) => bridge.answer_instead(call, class, reply),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("transport", &self.transport()).finish_non_exhaustive()
    }
}

impl Making<'_> {
    pub(super) async fn route(&self) -> Result<Route, StartError> {
        match &self.settings.target {
            Target::Stdio { command, egress, mode, grace } => {
                self.stdio(command, egress.clone(), *mode, *grace)
            }
            Target::Remote(http) => self.remote(http).await,
            Target::Server { command, egress, http, grace } => {
                self.server(command, egress.clone(), http, *grace).await
            }
            Target::Virtual(target) => self.hub(target).await,
        }
    }

    pub(super) async fn remote(&self, http: &HttpTarget) -> Result<Route, StartError> {
        let kind = self.http(http, None).await?;
        let (transport, grace) = (http.transport.name(), Duration::ZERO);
        Ok(Route { kind, transport, grace, end: End::Unknown, container: None })
    }

    fn stdio(
        &self,
        command: &CommandSpec,
        egress: Option<EgressPolicy>,
        mode: Mode,
        grace: Duration,
    ) -> Result<Route, StartError> {
        let log = self.log()?;
        let target = command.program().to_string_lossy().into_owned();
        let connect = ProcessConnect::new(
            command.clone(),
            egress,
            log,
            grace,
            self.processes.clone(),
            DEFAULT_MAX_MESSAGE,
        );
        let end = match mode {
            Mode::PerSession { warm: 1.., .. } => End::Stillborn(connect.beginning()),
            // Nothing is started before the first request.
            Mode::PerSession { .. } | Mode::Shared => End::Unknown,
        };
        let bridge = Bridge::new(self.bridge_config(target, mode)?, Arc::new(connect));
        self.maintain(&bridge);
        Ok(Route {
            kind: Kind::Bridge(bridge),
            transport: "stdio",
            grace,
            end,
            container: command.container().cloned(),
        })
    }

    async fn server(
        &self,
        command: &CommandSpec,
        egress: Option<EgressPolicy>,
        http: &HttpTarget,
        grace: Duration,
    ) -> Result<Route, StartError> {
        let inside = command.has_network().then(Inside::default);
        let kind = self.http(http, inside.clone()).await?;
        let listens =
            match endpoints(&http.urls)?.first().map(|endpoint| (endpoint.target.clone(), endpoint.port)) {
                Some((EndpointTarget::Address(ip), port)) => SocketAddr::new(ip, port),
                _ => return Err(StartError::NoUrl),
            };
        let log = self.log()?;
        let policy = RestartPolicy { grace, ..RestartPolicy::default() };
        let on_start = self.on_start(inside.clone(), egress);
        let supervisor = Supervisor::start_told(command.clone(), log, policy, on_start, self.processes);
        let state = supervisor.state();
        let supervisor = Arc::new(Mutex::new(Some(supervisor)));
        let end = End::Supervised { state, listens, inside, supervisor };
        let container = command.container().cloned();
        Ok(Route { kind, transport: http.transport.name(), grace, end, container })
    }

    fn log(&self) -> Result<LogTail, StartError> {
        let log = LogTail::new(self.settings.name.as_str());
        if let Some(path) = &self.settings.log_file {
            let file = LogFile::open(path);
            log.keep_in(file.map_err(|source| StartError::File { path: path.clone(), source })?);
        }
        Ok(log)
    }

    /// What is done with each run of a command that serves HTTP.
    fn on_start(&self, inside: Option<Inside>, egress: Option<EgressPolicy>) -> OnStart {
        let (name, tasks) = (self.settings.name.as_str().to_owned(), self.processes.clone());
        Box::new(move |process, network| {
            if let Some(inside) = &inside {
                inside.enter(process);
            }
            if let Some((sockets, policy)) = network.zip(egress.clone())
                && let Err(error) = serve_network(&name, process, sockets, policy, &tasks)
            {
                tracing::error!(workload.name = name, %error, "the server reaches nothing");
            }
        })
    }

    async fn http(&self, http: &HttpTarget, inside: Option<Inside>) -> Result<Kind, StartError> {
        let endpoints = endpoints(&http.urls)?;
        for endpoint in &endpoints {
            self.refuse_loop(endpoint)?;
        }
        let encrypted = endpoints.iter().any(|endpoint| endpoint.scheme == Scheme::Https);
        // The system's roots are some hundred kilobytes: only where they are needed.
        let tls = encrypted.then(|| client_tls(http.ca_file.as_deref())).transpose()?;
        let instances = self.instances(&endpoints).await?;
        Ok(match http.transport {
            HttpTransport::StreamableHttp => self.forward(http, instances, Way { tls, inside })?,
            HttpTransport::Sse => self.sse(http, &endpoints, instances, &Way { tls, inside })?,
        })
    }

    fn forward(&self, http: &HttpTarget, instances: Arc<Instances>, way: Way) -> Result<Kind, StartError> {
        let (forward, farewells) = Forward::new(ForwardConfig {
            name: self.settings.name.as_str().to_owned(),
            keys: Arc::clone(&self.keys),
            limits: self.settings.sessions,
            store: self.store()?,
            instances,
            patience: Patience::default(),
            endpoint_path: self.paths.mcp.clone(),
            headers: http.headers.clone(),
            stateless: http.stateless,
            on_loss: self.settings.on_loss,
            resend: Arc::clone(&self.settings.resend),
            tasks: self.tasks.clone(),
            stop: self.tasks.stop_token(),
        });
        let pool = way.pool();
        self.tasks.spawn("sessions", Arc::clone(&forward).maintain(pool, farewells));
        Ok(Kind::Forward { forward, way })
    }

    fn sse(
        &self,
        http: &HttpTarget,
        endpoints: &[Arc<Endpoint>],
        instances: Arc<Instances>,
        way: &Way,
    ) -> Result<Kind, StartError> {
        let target = endpoints.first().map_or_else(String::new, |endpoint| endpoint.display());
        let mut config = RemoteConfig::new(target.clone());
        config.headers.extend(http.headers.clone());
        config.answers_lost = false;
        let pool = way.pool();
        let remote = RemoteSse::new(config, instances, pool, self.processes.clone());
        let mode = Mode::PerSession { warm: 0, max_children: self.settings.sessions.sessions };
        let bridge = Bridge::new(self.bridge_config(target, mode)?, Arc::new(remote));
        self.maintain(&bridge);
        Ok(Kind::Bridge(bridge))
    }

    /// Several servers as one. Their sessions are kept in one place: their ids are unique.
    async fn hub(&self, target: &Virtual) -> Result<Route, StartError> {
        let Places { sessions: store, runs } = self.places()?;
        let members = Arc::new(Members::new(Kit {
            settings: self.settings.clone(),
            paths: self.paths.clone(),
            keys: Arc::clone(&self.keys),
            own: self.own,
            tasks: self.tasks.clone(),
            processes: self.processes.clone(),
            store: Arc::clone(&store),
        }));
        for member in &target.members {
            members.add(member.clone()).await?;
        }
        let config = HubConfig {
            name: self.settings.name.to_string(),
            path: self.paths.mcp.clone(),
            aggregation: target.aggregation.clone(),
            workflows: target.workflows.clone(),
            meta: target.meta.clone(),
            resend: Arc::clone(&self.settings.resend),
            keys: Arc::clone(&self.keys),
            limits: self.settings.sessions,
            store,
            runs,
            health: target.health,
            partial: target.partial,
            begin_within: BEGIN_WITHIN,
            list_within: BEGIN_WITHIN,
            probe_every: target.probe_every,
            probe_within: target.probe_within,
        };
        if let Some(optimizer) = target.meta.optimizer.clone() {
            self.tasks.spawn("meanings", optimizer.follow(self.tasks.stop_token()));
        }
        let hub = Hub::new(config, self.tasks.clone());
        hub.set_backends(members.backends());
        if let Some(group) = target.group.clone() {
            let (stop, following) =
                (self.tasks.stop_token(), Arc::clone(&members).follow(group, Arc::clone(&hub)));
            self.tasks.spawn("group", async move {
                stop.run_until_cancelled(following).await;
            });
        }
        self.tasks.spawn("sessions", Arc::clone(&hub).maintenance());
        let (draining, stop) = (Arc::clone(&hub), self.tasks.stop_token());
        self.tasks.spawn("drain", async move {
            stop.cancelled().await;
            draining.drain();
        });
        let (kind, grace) = (Kind::Hub { hub, members }, Duration::ZERO);
        Ok(Route { kind, transport: "streamable-http", grace, end: End::Unknown, container: None })
    }

    fn store(&self) -> Result<Arc<dyn SessionStore>, StartError> {
        if let Some(store) = &self.store {
            return Ok(Arc::clone(store));
        }
        Ok(self.places()?.sessions)
    }

    /// Opens what the settings name.
    fn places(&self) -> Result<Places, StartError> {
        let ServeSettings { name, sessions, store, .. } = self.settings;
        Ok(store.open(name, &self.keys, sessions.idle + SPARE)?)
    }

    fn bridge_config(&self, target: String, mode: Mode) -> Result<BridgeConfig, StartError> {
        Ok(BridgeConfig {
            name: self.settings.name.as_str().to_owned(),
            target,
            mode,
            limits: self.settings.sessions,
            keys: Arc::clone(&self.keys),
            patience: Patience::default(),
            paths: self.paths.clone(),
            allow_sse: true,
            on_loss: self.settings.on_loss,
            resend: Arc::clone(&self.settings.resend),
            store: self.store()?,
            sleep_after: self.settings.sleep_after,
            memory: self
                .settings
                .memory
                .map(|bytes| MemoryBudget { bytes, measure: workload::memory::by_group }),
        })
    }

    fn maintain(&self, bridge: &Arc<Bridge>) {
        let bridge = Arc::clone(bridge);
        self.tasks.spawn("servers", async move { bridge.maintenance().await });
    }

    /// Looks all names up, and keeps looking.
    async fn instances(&self, endpoints: &[Arc<Endpoint>]) -> Result<Arc<Instances>, StartError> {
        let instances = Arc::new(Instances::new());
        let resolver = Resolver::system().map_err(StartError::Resolver)?;
        for endpoint in endpoints {
            let (resolver, stop) = (resolver.clone(), self.tasks.stop_token());
            let (endpoint, filled) = (Arc::clone(endpoint), Arc::clone(&instances));
            if self.awaits_names || matches!(endpoint.target, EndpointTarget::Address(_)) {
                let following = resolver.follow(endpoint, filled).await?;
                self.tasks.spawn("resolve", async move {
                    stop.run_until_cancelled(following).await;
                });
            } else {
                self.tasks.spawn("resolve", async move {
                    stop.run_until_cancelled(resolver.follow_patiently(endpoint, filled)).await;
                });
            }
        }
        Ok(instances)
    }

    /// An endpoint that is its own backend would call itself until something breaks.
    fn refuse_loop(&self, endpoint: &Endpoint) -> Result<(), StartError> {
        let local = match &endpoint.target {
            EndpointTarget::Address(ip) => {
                *ip == self.own.ip() || (ip.is_loopback() && self.own.ip().is_unspecified())
            }
            EndpointTarget::Name(name) => {
                name == "localhost" && (self.own.ip().is_loopback() || self.own.ip().is_unspecified())
            }
        };
        if local && endpoint.port == self.own.port() {
            return Err(StartError::Loop { target: endpoint.display() });
        }
        Ok(())
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
            Kind::Hub { hub, .. } => Backend::Hub(Arc::clone(hub)),
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
                let counted = Arc::clone(hub);
                metrics.counters("workflows", "Runs of workflows, by what became of them", move || {
                    let counts = counted.run_counts().all();
                    counts.into_iter().map(|(event, count)| (vec![("event", event)], count)).collect()
                });
                let counted = Arc::clone(hub);
                metrics.gauge("backends", "Backends whose tools are shown", move || {
                    counted.backends().iter().filter(|backend| backend.status.is_shown()).count() as u64
                });
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
                (vec![("cause", cause.name()), ("outcome", outcome.name())], read.get(cause, outcome))
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
            vec![(vec![("class", "resent")], resent), (vec![("class", "unknown")], interrupted)]
        },
    );
}
