//! What a virtual MCP's file, or a group, comes to: settings for one endpoint, with its backends among them.
//!
//! What the file asks for and cannot be had yet is refused by name.

mod draft;
mod embedding;
mod file;
mod group;
mod meta;
#[cfg(feature = "starlark")]
mod scripting;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use model::{NotAName, RunConfig, WorkloadName};
use vmcp::config::{
    Backend, Config, IncomingKind, Invalid, Operational, Outgoing, PartialFailure, SessionStorage, Source,
    Strategy, StrategyKind, Timeouts, Transport,
};
use vmcp::hub::health::{CircuitPolicy, HealthPolicy};
use vmcp::hub::{self, Shape, Watching};
use vmcp::workflow::Workflows;
use vmcp::workflow::catalog::PlanProblems;

use crate::ServeSettings;
use crate::daemon::client::DaemonClient;
use crate::plan::{self, PlanError, Surroundings};
use crate::sessions::StoreSource;
use crate::target::{HttpTarget, HttpTransport, Member, Target, Virtual};

pub use draft::draft;
pub use embedding::EmbeddingError;
pub use file::{Followed, VmcpFile};
pub use group::{Group, check_group};
#[cfg(feature = "starlark")]
pub use scripting::dispatch;

/// The password of the Redis that sessions are kept in.
const REDIS_PASSWORD: &str = "THV_SESSION_REDIS_PASSWORD";

/// What is said beside the file.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    pub host: String,
    pub port: u16,
    /// A session unused for this long ends.
    pub session_ttl: Option<Duration>,
    /// Two tools that find and call tools in place of all, whatever the file says.
    pub optimizes: bool,
    /// Keys that seal session ids, the same on every replica; none: those of skep's own.
    pub session_key_file: Option<PathBuf>,
    /// What backends say of their tools decides whether one may be called twice.
    pub trusts_annotations: bool,
    /// Tools that may be called twice.
    pub resend_tools: Vec<String>,
    /// Where `/metrics` is, if anywhere.
    pub metrics: Option<SocketAddr>,
}

/// Why a file cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum VmcpError {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Workflows(#[from] PlanProblems),
    #[error("{}: not in this version; it would be served without", .0.join(", "))]
    NotYet(Vec<String>),
    #[error(transparent)]
    Name(#[from] NotAName),
    #[error("outgoingAuth of backend {backend}: {name:?} is not a header with this value")]
    Header { backend: String, name: String },
    #[error("passthroughHeaders: {0:?} is not the name of a header")]
    PassedHeader(String),
    #[error(
        "a group without a file is served on loopback only, and {0:?} is something else: --config serves anywhere"
    )]
    Exposed(String),
    #[error("there is no home directory, and so no groups")]
    NoFolders,
    #[error(transparent)]
    Store(#[from] store::records::OpenError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Embedding(#[from] EmbeddingError),
    #[error("codeMode: {0}")]
    Scripts(String),
}

/// Checks a file, and says what is wrong with it.
///
/// # Errors
/// [`VmcpError::Invalid`], everything at once; [`VmcpError::NotYet`].
pub fn check(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<(), VmcpError> {
    read(text, environment).map(drop)
}

/// Whether a file asks for debug lines in the log.
#[must_use]
pub fn is_debug(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> bool {
    Config::parse(text, environment).is_ok_and(|config| config.operational.is_debug)
}

fn read(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, VmcpError> {
    let config = Config::parse(text, environment)?;
    let not_yet = not_yet(&config);
    if not_yet.is_empty() { Ok(config) } else { Err(VmcpError::NotYet(not_yet)) }
}

/// Makes settings of a file.
///
/// # Errors
/// [`VmcpError`].
pub fn settings(file: VmcpFile, beside: &Beside) -> Result<ServeSettings, VmcpError> {
    let (environment, around) = (file.environment, file.around.clone());
    let (config, target) = file.read(beside)?;
    let name = WorkloadName::new(&config.name)?;
    let mut settings = serving(name, target, beside, &around)?;
    match &config.session_storage {
        None => {}
        Some(SessionStorage::Memory) => settings.store = StoreSource::Memory,
        Some(SessionStorage::Redis { address, database, key_prefix }) => {
            let password = environment(REDIS_PASSWORD).map(|password| format!(":{}@", encoded(&password)));
            let url = format!("redis://{}{address}/{database}", password.unwrap_or_default());
            settings.store = StoreSource::parse(&url)?;
            if let (StoreSource::Redis { prefix, .. }, Some(own)) = (&mut settings.store, key_prefix) {
                own.trim_end_matches(':').clone_into(prefix);
            }
        }
    }
    Ok(settings)
}

/// What a file says is behind the endpoint, as long as that file is there.
fn target(config: &Config, file: &VmcpFile, beside: &Beside) -> Result<Virtual, VmcpError> {
    let operational = &config.operational;
    let calling = Calling { outgoing: config.outgoing.clone(), timeouts: operational.timeouts.clone() };
    let members =
        config.backends.iter().map(|backend| member(backend, &calling)).collect::<Result<_, _>>()?;
    let group = config.backends.is_empty().then(|| group(&config.group, calling, &file.around));
    let shape = Shape {
        aggregation: config.aggregation.clone(),
        passed_headers: passed_headers(config)?,
        workflows: Workflows::new(config.composites.clone())?,
        partial: partial(operational.failures.partial),
        watching: watching(operational),
        meta: meta::tools(config, beside, file)?,
    };
    Ok(Virtual {
        members,
        group: group.transpose()?,
        shape,
        report_every: operational.failures.report_interval,
        file: None,
    })
}

/// Makes settings for the workloads of a group: everybody may come in, and names are prefixed.
///
/// # Errors
/// [`VmcpError`].
pub fn settings_of_group(
    name: &str,
    beside: &Beside,
    around: &Surroundings,
) -> Result<ServeSettings, VmcpError> {
    if !is_loopback(&beside.host) {
        return Err(VmcpError::Exposed(beside.host.clone()));
    }
    let usual = Operational::default();
    let outgoing = Outgoing { source: Source::Inline, default: None, backends: BTreeMap::new() };
    let calling = Calling { outgoing, timeouts: Timeouts::default() };
    let target = Virtual {
        members: Vec::new(),
        group: Some(group(name, calling, around)?),
        shape: Shape { meta: meta::tools_of_group(beside), watching: watching(&usual), ..Shape::default() },
        report_every: usual.failures.report_interval,
        file: None,
    };
    serving(WorkloadName::new(&name.replace(' ', "-"))?, target, beside, around)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn group(name: &str, calling: Calling, around: &Surroundings) -> Result<Group, VmcpError> {
    let folders = around.folders.clone().ok_or(VmcpError::NoFolders)?;
    Ok(Group { name: name.to_owned(), daemon: DaemonClient::running(folders), calling })
}

fn serving(
    name: WorkloadName,
    target: Virtual,
    beside: &Beside,
    around: &Surroundings,
) -> Result<ServeSettings, VmcpError> {
    let mut run = RunConfig::new(&name);
    run.host.clone_from(&beside.host);
    run.port = beside.port;
    let skep = run.skep.get_or_insert_default();
    if let Some(file) = &beside.session_key_file {
        skep.session_key_file = file.to_string_lossy().into_owned();
    }
    skep.trust_annotations = beside.trusts_annotations;
    skep.resend_tools.clone_from(&beside.resend_tools);
    skep.metrics = beside.metrics.map(|address| address.to_string()).unwrap_or_default();
    if let Some(ttl) = beside.session_ttl {
        run.session_ttl = humantime::format_duration(ttl).to_string();
    }
    Ok(plan::settings_of(&run, name, Target::Virtual(Box::new(target)), around)?)
}

fn member(backend: &Backend, calling: &Calling) -> Result<Member, VmcpError> {
    let http = HttpTarget {
        urls: vec![backend.url.clone()],
        transport: match backend.transport {
            Transport::Sse => HttpTransport::Sse,
            Transport::StreamableHttp => HttpTransport::StreamableHttp,
        },
        headers: calling.headers(&backend.name)?,
        ca_file: backend.ca_bundle.as_ref().map(Into::into),
        stateless: false,
    };
    Ok(Member { name: WorkloadName::new(&backend.name)?, http, call_within: calling.within(&backend.name) })
}

/// How backends are called.
#[derive(Clone, Debug)]
pub(crate) struct Calling {
    /// As whom.
    outgoing: Outgoing,
    timeouts: Timeouts,
}

impl Calling {
    /// What requests to a backend have besides those of clients.
    fn headers(&self, backend: &str) -> Result<HeaderMap, VmcpError> {
        let strategy = self.outgoing.backends.get(backend).or(self.outgoing.default.as_ref());
        let mut headers = HeaderMap::new();
        if let Some(Strategy::HeaderInjection { name, value }) = strategy {
            let wrong = || VmcpError::Header { backend: backend.to_owned(), name: name.clone() };
            let mut header = HeaderValue::from_str(value.reveal()).map_err(|_| wrong())?;
            header.set_sensitive(true);
            headers.insert(name.parse::<HeaderName>().map_err(|_| wrong())?, header);
        }
        Ok(headers)
    }

    /// For a call of a backend to be answered.
    fn within(&self, backend: &str) -> Option<Duration> {
        self.timeouts.per_workload.get(backend).copied().or(self.timeouts.default)
    }
}

fn passed_headers(config: &Config) -> Result<Vec<HeaderName>, VmcpError> {
    let name = |name: &String| name.parse().map_err(|_| VmcpError::PassedHeader(name.clone()));
    config.passthrough_headers.iter().map(name).collect()
}

fn watching(operational: &Operational) -> Watching {
    let failures = &operational.failures;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let circuit = CircuitPolicy {
        opens_after: count(failures.breaker.failure_threshold),
        stays_open: failures.breaker.timeout,
    };
    let health = HealthPolicy {
        unhealthy_after: count(failures.unhealthy_threshold),
        circuit: failures.breaker.is_enabled.then_some(circuit),
        ..HealthPolicy::default()
    };
    Watching { health, probe_every: failures.check_interval, probe_within: failures.check_timeout }
}

/// What ToolHive takes for said where nothing is was never in force: files that say nothing have had the best effort.
fn partial(mode: Option<PartialFailure>) -> hub::PartialFailure {
    match mode {
        Some(PartialFailure::Fail) => hub::PartialFailure::Fail,
        Some(PartialFailure::BestEffort) | None => hub::PartialFailure::BestEffort,
    }
}

/// What the file asks for and cannot be had.
fn not_yet(config: &Config) -> Vec<String> {
    let is_other = |strategy: &Strategy| matches!(strategy, Strategy::Other(kind) if *kind != StrategyKind::Unauthenticated);
    let strategies = config.outgoing.backends.values().chain(&config.outgoing.default);
    let asked = [
        ("incomingAuth.type", !matches!(config.incoming.kind, IncomingKind::Anonymous)),
        ("incomingAuth.authz", config.incoming.authorization.is_some()),
        ("outgoingAuth with this strategy", strategies.into_iter().any(is_other)),
        (
            "aggregation.tools.toolConfigRef",
            config.aggregation.tools.iter().any(|tools| tools.config_reference.is_some()),
        ),
        ("compositeToolRefs", !config.composite_references.is_empty()),
        ("telemetry", config.telemetry.is_some()),
        ("audit", config.audit.as_ref().is_some_and(|audit| audit.is_enabled)),
        ("codeMode", config.code_mode.is_enabled && !cfg!(feature = "starlark")),
        ("rateLimiting", config.rate_limits.is_some()),
    ];
    asked.into_iter().filter(|(_, is_asked)| *is_asked).map(|(name, _)| name.to_owned()).collect()
}

/// A password as it stands in a URL.
fn encoded(password: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    password
        .bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::PackageTools;
    use vmcp::config::Conflicts;
    use workload::container::Runtimes;

    const FILE: &str = "
name: many
groupRef: g
backends:
  - {name: a, url: 'http://127.0.0.1:1/mcp', transport: streamable-http}
  - {name: b, url: 'http://127.0.0.1:2/sse', transport: sse}
incomingAuth: {type: anonymous}
outgoingAuth:
  source: inline
  backends:
    a: {type: header_injection, headerInjection: {headerName: X-Key, headerValueEnv: KEY}}
aggregation:
  conflictResolution: prefix
  conflictResolutionConfig: {prefixFormat: '{workload}.'}
";

    fn around() -> Surroundings {
        let folder = std::path::Path::new("/nowhere");
        let folders = crate::daemon::Folders {
            run: folder.join("run"),
            state: folder.join("state"),
            data: folder.join("data"),
            config: folder.join("config"),
        };
        Surroundings {
            folders: Some(folders),
            skep: "skep".into(),
            env: Vec::new(),
            whole_env: None,
            secrets: None,
            packages: PackageTools::default(),
            runtimes: Runtimes::default(),
        }
    }

    fn environment(name: &str) -> Option<String> {
        (name == "KEY").then(|| "secret".to_owned())
    }

    fn planned(text: &str) -> Virtual {
        let beside = Beside { host: "127.0.0.1".into(), port: 4483, ..Beside::default() };
        let file =
            VmcpFile { path: "many.yaml".into(), text: text.to_owned(), environment, around: around() };
        let settings = settings(file, &beside).unwrap();
        assert_eq!((settings.name.as_str(), settings.listen.port), ("many", 4483));
        match settings.target {
            Target::Virtual(target) => *target,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_names_its_backends_and_how_they_are_called() {
        let target = planned(FILE);
        assert_eq!(target.shape.aggregation.prefix, "{workload}.");
        let [a, b] = &target.members[..] else { panic!("two") };
        assert_eq!((a.name.as_str(), &a.http.headers["x-key"]), ("a", &HeaderValue::from_static("secret")));
        assert!(b.http.transport == HttpTransport::Sse && b.http.headers.is_empty());
    }

    #[test]
    fn how_backends_become_one_is_as_the_file_says() {
        let (before, _) = FILE.split_once("aggregation:").unwrap();
        let target = planned(&format!(
            "{before}aggregation:
  conflictResolution: priority
  conflictResolutionConfig: {{priorityOrder: [b, a]}}
  tools: [{{workload: a, filter: [x]}}, {{workload: b, excludeAll: true}}]
"
        ));
        let aggregation = target.shape.aggregation;
        assert_eq!(aggregation.conflicts, Conflicts::Priority { order: vec!["b".into(), "a".into()] });
        assert!(aggregation.tools.len() == 2 && aggregation.prefix == "{workload}_");
    }

    #[test]
    fn without_backends_a_group_is_followed() {
        let (before, after) = FILE.split_once("backends:\n").unwrap();
        let (_, after) = after.split_once("incomingAuth").unwrap();
        let group = planned(&format!("{before}incomingAuth{after}")).group.unwrap();
        assert_eq!(group.name, "g");
        assert!(planned(FILE).group.is_none());
        let beside = |host: &str| Beside { host: host.into(), port: 4483, ..Beside::default() };
        let settings = settings_of_group("my group", &beside("127.0.0.1"), &around()).unwrap();
        assert_eq!(settings.name.as_str(), "my-group");
        let exposed = settings_of_group("g", &beside("0.0.0.0"), &around());
        assert!(matches!(exposed, Err(VmcpError::Exposed(_))));
    }

    #[test]
    fn a_mode_counts_where_it_is_written() {
        let mode = |mode: &str| {
            let said = format!("operational: {{failureHandling: {{partialFailureMode: {mode}}}}}");
            planned(&format!("{FILE}{said}\n")).shape.partial
        };
        assert_eq!(planned(FILE).shape.partial, hub::PartialFailure::BestEffort);
        assert_eq!(mode("fail"), hub::PartialFailure::Fail);
        assert_eq!(mode("best_effort"), hub::PartialFailure::BestEffort);
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name() {
        for (said, name) in
            [("telemetry: {metricsEnabled: true}", "telemetry"), ("audit: {enabled: true}", "audit")]
        {
            let error = check(&format!("{FILE}{said}\n"), &environment).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("not in this version"), "{said}: {error}");
        }
        assert!(check(FILE, &environment).is_ok());
        assert!(matches!(check("name: x", &environment), Err(VmcpError::Invalid(_))));
    }
}
