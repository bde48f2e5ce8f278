//! One server behind one endpoint: everything is checked and bound before anything is started, and all that was
//! started is gone when [`Serving::stop`] returns.

mod front;
mod lane;
mod making;
mod members;
mod numbers;
mod reload;
mod report;
mod route;
mod status;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use middleware::ChainConfig;
use middleware::limits::BodyLimits;
use middleware::origin::{NotAnOrigin, OriginPolicy};
use middleware::tools::ToolPolicy;
use model::WorkloadName;
use proxy::ResendPolicy;
use proxy::bridge::Paths;
use proxy::endpoint::{Endpoint, EndpointError};
use proxy::forward::OnLoss;
use proxy::listener::{BindError, Drained, Listener, ListenerConfig, ServerTls, ServerTlsError, Workers};
use proxy::resolve::ResolveError;
use proxy::session::Limits;
use proxy::upstream::{ClientTls, TlsError};
use serde::Deserialize;
use serde_json::value::RawValue;
use telemetry::{Metrics, Tasks};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{self, ClientError, ClientSettings};
use crate::control::{Control, ControlFolder};
use crate::diagnostics::Diagnostics;
use crate::keys::{KeySource, KeySourceError};
use crate::sessions::StoreSource;
use crate::target::Target;
use route::Route;

/// Processes that are being stopped may take this long beyond their grace period.
const BEYOND_GRACE: Duration = Duration::from_secs(2);
/// For what must be over at once by then: name look-ups, timers.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Where the endpoint is.
#[derive(Clone, Debug)]
pub struct Listen {
    /// An address, or a name of this machine.
    pub host: String,
    /// 0: a free one.
    pub port: u16,
    /// PEM files of a certificate chain and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Where `/metrics` is, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// For the head of a request, and between two requests of a connection.
    pub header_timeout: Duration,
}

/// Which server is served, and how.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    pub name: WorkloadName,
    pub target: Target,
    pub listen: Listen,
    /// Accepted in `Host` besides the default ones, without port.
    pub allowed_hosts: Vec<String>,
    /// Accepted in `Origin`; none: pages of this machine, on a local listener.
    pub allowed_origins: Vec<String>,
    pub tools: Option<Arc<ToolPolicy>>,
    pub keys: KeySource,
    /// Where sessions are kept.
    pub store: StoreSource,
    pub body: BodyLimits,
    pub sessions: Limits,
    /// What becomes of a session that its server has lost.
    pub on_loss: OnLoss,
    /// What may be sent again although it may have been carried out.
    pub resend: Arc<ResendPolicy>,
    /// A process of one session is let go when that was not used for so long.
    pub sleep_after: Option<Duration>,
    /// Bytes that the processes of all sessions may use before those of unused ones are let go.
    pub memory: Option<u64>,
    /// Where this process can be asked about its sessions.
    pub control: Option<ControlFolder>,
    /// Where the lines are kept that the command writes to its log.
    pub log_file: Option<PathBuf>,
    /// Before the paths that HTTP+SSE clients are told.
    pub endpoint_prefix: String,
    /// For requests under way when it is told to stop.
    pub drain: Duration,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{host:?} is not an address of this machine: {reason}")]
    Host { host: String, reason: String },
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the metrics listener: {0}")]
    BindMetrics(#[source] BindError),
    #[error(transparent)]
    Origin(#[from] NotAnOrigin),
    #[error(transparent)]
    Keys(#[from] KeySourceError),
    #[error("the session store: {0}")]
    Store(#[from] store::records::OpenError),
    #[error("{} could not be read: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] ServerTlsError),
    #[error(transparent)]
    TargetTls(#[from] TargetTlsError),
    #[error(transparent)]
    Url(#[from] EndpointError),
    #[error("no target URL is given")]
    NoUrl,
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("{0}")]
    Resolver(String),
    #[error("{target} leads back to this endpoint: give the server another port")]
    Loop { target: String },
}

/// Why backends cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum TargetTlsError {
    #[error("{} could not be read: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// How backends are verified.
pub(crate) fn client_tls(ca_file: Option<&Path>) -> Result<ClientTls, TargetTlsError> {
    let Some(path) = ca_file else { return Ok(ClientTls::system()?) };
    let pem = std::fs::read(path).map_err(|source| TargetTlsError::File { path: path.to_owned(), source })?;
    Ok(ClientTls::from_bundle(&pem)?)
}

/// A server that is served.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    url: String,
    sse_url: String,
    drain: Duration,
    /// Ends the drain.
    cut: CancellationToken,
    route: Route,
    /// What serves, looks names up, keeps time.
    tasks: Tasks,
    /// The processes that run, and those that are being stopped.
    processes: Tasks,
    listeners: Vec<JoinHandle<Drained>>,
    /// Processes are watched by the threads that started them: those live until the last one has gone.
    _workers: Workers,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that did not end in time.
    pub cut_connections: usize,
    /// Processes that did not.
    pub left_processes: usize,
}

impl Serving {
    /// Checks the settings, binds, starts the server behind and begins to serve. To be called in a runtime that lives as
    /// long as what is served.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(settings: ServeSettings, workers: &Workers) -> Result<Self, StartError> {
        let keys = Arc::new(settings.keys.load()?);
        let tls = settings.listen.tls.as_ref().map(|(chain, key)| server_tls(chain, key)).transpose()?;
        let listener = Listener::bind(address_of(&settings.listen.host, settings.listen.port).await?).await?;
        let address = listener.address();
        let origin = match address.ip().is_loopback() {
            true => OriginPolicy::local(&settings.allowed_hosts, &settings.allowed_origins)?,
            false => OriginPolicy::open(&settings.allowed_hosts, &settings.allowed_origins)?,
        };
        let metrics = Metrics::new();
        let diagnostics = match settings.listen.metrics {
            Some(address) => Some(Listener::bind(address).await.map_err(StartError::BindMetrics)?),
            None => None,
        };
        let metrics_address = diagnostics.as_ref().map(Listener::address);
        let (tasks, processes) = (Tasks::new(), Tasks::new());
        // Whether it fails or nobody waits for it any more: nothing of it goes on.
        let undo = [&tasks, &processes].map(|tasks| tasks.stop_token().drop_guard());
        let paths = Paths { prefix: settings.endpoint_prefix.clone(), ..Paths::default() };
        let made = making::Making {
            settings: &settings,
            paths: paths.clone(),
            keys,
            own: address,
            tasks: &tasks,
            processes: &processes,
            store: None,
            awaits_names: true,
        };
        let route = made.route().await?;
        undo.into_iter().for_each(|guard| drop(guard.disarm()));
        route.register(&metrics);
        if let Some(folder) = &settings.control {
            match Control::bind(folder, settings.name.as_str()) {
                Ok(control) => {
                    let (name, stop) = (settings.name.as_str().to_owned(), tasks.stop_token());
                    tasks.spawn("control", control.serve(name, Arc::new(route.clone()), stop));
                }
                Err(error) => tracing::warn!(%error, "`skep sessions` does not reach this process"),
            }
        }
        let chain = ChainConfig {
            process: fastrand::u32(..),
            metrics: Arc::clone(&metrics),
            limits: settings.body,
            origin,
            tools: settings.tools.clone(),
        };
        let (listen, cut) = (&settings.listen, CancellationToken::new());
        let config = ListenerConfig {
            tls,
            // It ends when it is cut.
            drain: Duration::MAX,
            cut: cut.clone(),
            header_timeout: listen.header_timeout,
            ..ListenerConfig::default()
        };
        let front = front::Making { chain, route: route.clone(), tasks: tasks.clone() };
        let serving = listener.serve(config, workers, tasks.stop_token(), move || front.front());
        let mut listeners = vec![tokio::spawn(serving)];
        if let Some(diagnostics) = diagnostics {
            let config = ListenerConfig { drain: LAST_WAIT, ..ListenerConfig::default() };
            let make = move || Diagnostics { metrics: Arc::clone(&metrics) };
            listeners.push(tokio::spawn(diagnostics.serve(config, workers, tasks.stop_token(), make)));
        }
        let scheme = if settings.listen.tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{}", reachable(address));
        let (url, sse_url) = (format!("{base}{}", paths.mcp), format!("{base}{}", paths.sse));
        Ok(Self {
            address,
            metrics_address,
            url,
            sse_url,
            drain: settings.drain,
            cut,
            route,
            tasks,
            processes,
            listeners,
            _workers: workers.clone(),
        })
    }

    /// The endpoint's URL, as a client on this machine would write it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL for clients of HTTP+SSE, where that is served.
    #[must_use]
    pub fn sse_url(&self) -> &str {
        &self.sse_url
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` is.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Has the server answer a handshake, through the endpoint as a client would. That it refuses is an answer, too.
    /// Nothing is asked over TLS.
    ///
    /// # Errors
    /// Why it did not, within this time.
    pub async fn greet(&self, within: Duration) -> Result<(), ClientError> {
        if self.url.starts_with("https:") {
            return Ok(());
        }
        let settings = ClientSettings { timeout: within, ..ClientSettings::new(&self.url) };
        match client::greet(&settings).await {
            Err(ClientError::Refused { data, .. }) if !data.as_deref().is_some_and(is_ours) => Ok(()),
            greeted => greeted,
        }
    }

    /// Waits until the server behind takes requests, as far as that can be seen: a command that serves HTTP listens by
    /// then. Ends early when it turns out that it never will; [`Self::failed`] says why.
    pub async fn ready(&self) {
        self.route.ready().await;
    }

    /// Waits until it is certain that the server behind is none, and gives the reason: the command cannot be started,
    /// ends without a word, or keeps ending. Cancel-safe.
    pub async fn failed(&self) -> String {
        self.route.failed().await
    }

    /// Whether requests can be answered, as far as is known without asking.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.route.is_usable()
    }

    /// Whether it is not there yet because its image is being fetched.
    #[must_use]
    pub fn is_fetching(&self) -> bool {
        self.route.is_fetching()
    }

    /// How far its image is, in words, once that is something else than this: nothing where none is fetched.
    pub async fn fetched(&self, told: &str) -> String {
        self.route.fetched(told).await
    }

    /// Takes no more connections, lets requests under way end, stops what runs.
    pub async fn stop(self) -> Stopped {
        self.stop_within(None).await
    }

    /// The same, where requests under way may take so long.
    pub async fn stop_within(self, at_most: Option<Duration>) -> Stopped {
        let Self { tasks, processes, route, listeners, drain, cut, _workers, .. } = self;
        let drain = at_most.unwrap_or(drain);
        let cutting = tokio::spawn(async move {
            tokio::time::sleep(drain).await;
            cut.cancel();
        });
        tasks.stop();
        let on_workers = route.runs_on_workers();
        let deadline = Instant::now() + drain;
        let serving = async {
            let mut cut = 0;
            for listener in listeners {
                cut += listener.await.map_or(0, |drained| drained.cut_connections);
            }
            cut
        };
        let stopping = async {
            route.shut_down(deadline).await;
            processes.wait(route.grace() + BEYOND_GRACE).await
        };
        let (cut_connections, left_processes) = if on_workers {
            // Side by side: requests under way end while servers with nothing to do go.
            tokio::join!(serving, stopping)
        } else {
            // A server that is reached over HTTP is needed until the last request has ended.
            (serving.await, stopping.await)
        };
        cutting.abort();
        route.end_container().await;
        tasks.wait(LAST_WAIT).await;
        Stopped { cut_connections, left_processes }
    }
}

/// Whether it is skep itself that says so, since it got no answer.
fn is_ours(data: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Data<'a> {
        origin: &'a str,
    }
    serde_json::from_str::<Data<'_>>(data.get()).is_ok_and(|data| data.origin == "skep")
}

/// The address to listen on. A name gives its first IPv4 address, or its first at all.
async fn address_of(host: &str, port: u16) -> Result<SocketAddr, StartError> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let failed = |reason: String| StartError::Host { host: host.to_owned(), reason };
    let found = tokio::net::lookup_host((bare, port)).await.map_err(|error| failed(error.to_string()))?;
    let found: Vec<_> = found.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    first.copied().ok_or_else(|| failed("the name has no address".to_owned()))
}

/// The address that a client on this machine uses: all addresses of a machine are no address to connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn server_tls(chain: &Path, key: &Path) -> Result<ServerTls, StartError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| StartError::File { path: path.to_owned(), source })
    };
    Ok(ServerTls::from_pem(&read(chain)?, &read(key)?)?)
}

/// The instances' URLs, checked together.
fn endpoints(urls: &[String]) -> Result<Vec<Arc<Endpoint>>, StartError> {
    if urls.is_empty() {
        return Err(StartError::NoUrl);
    }
    urls.iter().map(|url| Ok(Arc::new(Endpoint::parse(url)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_is_an_address_or_a_name() {
        for (host, expect) in [
            ("127.0.0.1", "127.0.0.1:80"),
            ("localhost", "127.0.0.1:80"),
            ("::1", "[::1]:80"),
            ("[::1]", "[::1]:80"),
            ("0.0.0.0", "0.0.0.0:80"),
        ] {
            assert_eq!(address_of(host, 80).await.unwrap().to_string(), expect, "{host}");
        }
        let error = address_of("no.such.host.invalid", 80).await.unwrap_err().to_string();
        assert!(error.contains("no.such.host.invalid"), "{error}");
    }

    #[test]
    fn a_url_for_all_addresses_names_one_that_can_be_connected_to() {
        assert_eq!(reachable("0.0.0.0:5".parse().unwrap()).to_string(), "127.0.0.1:5");
        assert_eq!(reachable("[::]:5".parse().unwrap()).to_string(), "[::1]:5");
        assert_eq!(reachable("10.0.0.1:5".parse().unwrap()).to_string(), "10.0.0.1:5");
    }
}
