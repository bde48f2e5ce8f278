//! What a route is made of: what is said of a target comes to a route, with the look-ups, processes and tasks that it needs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proxy::bridge::{Bridge, BridgeConfig, MemoryBudget, Mode, Paths};
use proxy::endpoint::{Endpoint, Scheme, Target as EndpointTarget};
use proxy::forward::{Forward, ForwardConfig, Patience};
use proxy::instance::Instances;
use proxy::remote::{DEFAULT_MAX_MESSAGE, RemoteConfig, RemoteSse};
use proxy::resolve::Resolver;
use proxy::session::{KeyRing, SessionStore};
use telemetry::Tasks;
use tokio::sync::watch;
use vmcp::hub::{Hub, HubConfig};
use workload::egress::EgressPolicy;
use workload::log::LogFile;
use workload::{CommandSpec, LogTail, OnStart, RestartPolicy, Supervisor};

use super::members::{Kit, Members};
use super::reload::Reload;
use super::report::report;
use super::route::{End, Kind, Route, Way};
use super::{ServeSettings, StartError, client_tls, endpoints};
use crate::inside::Inside;
use crate::process::{ProcessConnect, serve_network};
use crate::sessions::Places;
use crate::target::{HttpTarget, HttpTransport, Target, Virtual};

/// Records are kept a little longer than sessions: their store hears of use in rounds.
const SPARE: Duration = Duration::from_secs(60);

/// For a backend of several to begin a session, and to list what it has.
const BEGIN_WITHIN: Duration = Duration::from_secs(30);

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
        let Places { sessions: store, runs, mail } = self.places()?;
        let kit = Kit {
            settings: self.settings.clone(),
            paths: self.paths.clone(),
            keys: Arc::clone(&self.keys),
            own: self.own,
            tasks: self.tasks.clone(),
            processes: self.processes.clone(),
            store: Arc::clone(&store),
        };
        let members = Members::of(target, kit).await?;
        let config = HubConfig {
            name: self.settings.name.to_string(),
            path: self.paths.mcp.clone(),
            shape: target.shape.clone(),
            resend: Arc::clone(&self.settings.resend),
            keys: Arc::clone(&self.keys),
            limits: self.settings.sessions,
            store,
            runs,
            mail,
            begin_within: BEGIN_WITHIN,
            list_within: BEGIN_WITHIN,
        };
        let hub = Hub::new(config, self.tasks.clone());
        hub.set_backends(members.backends());
        self.spawn("members", Arc::clone(&members).follow(Arc::clone(&hub)));
        let (report_every, told) = watch::channel(target.report_every);
        if let Some(file) = target.file.clone() {
            let (members, hub, tasks) = (Arc::clone(&members), Arc::clone(&hub), self.tasks.clone());
            let reload = Reload { members, hub, tasks, report_every };
            self.spawn("file", reload.follow(file, target.shape.meta.clone()));
        }
        self.tasks.spawn("sessions", Arc::clone(&hub).maintenance());
        self.spawn("report", report(Arc::clone(&hub), told));
        let (draining, stop) = (Arc::clone(&hub), self.tasks.stop_token());
        self.tasks.spawn("drain", async move {
            stop.cancelled().await;
            draining.drain();
        });
        let (kind, grace) = (Kind::Hub { hub, members }, Duration::ZERO);
        Ok(Route { kind, transport: "streamable-http", grace, end: End::Unknown, container: None })
    }

    /// Runs something that does not end by itself as a task.
    fn spawn(&self, name: &'static str, endless: impl Future<Output = ()> + Send + 'static) {
        let (stop, endless) = (self.tasks.stop_token(), Box::pin(endless));
        self.tasks.spawn(name, async move {
            stop.run_until_cancelled(endless).await;
        });
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
