//! What a virtual MCP's file comes to: settings for one endpoint, with each backend's own among them.
//!
//! What the file asks for and cannot be had yet is refused by name.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use model::{NotAName, RunConfig, WorkloadName};
use vmcp::config::{
    Backend, Config, Conflicts, IncomingKind, Invalid, Operational, PartialFailure, SessionStorage, Strategy,
    StrategyKind, Transport, Visibility,
};
use vmcp::hub::health::{CircuitPolicy, HealthPolicy};
use vmcp::hub::{self};

use crate::ServeSettings;
use crate::plan::{self, PlanError, Surroundings};
use crate::sessions::StoreSource;
use crate::target::{HttpTarget, HttpTransport, Target, Virtual};

/// The password of the Redis that sessions are kept in.
const REDIS_PASSWORD: &str = "THV_SESSION_REDIS_PASSWORD";
/// What records of sessions are called where nothing is said.
const USUAL_PREFIX: &str = "thv:vmcp:session:";

/// What is said beside the file.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    pub host: String,
    pub port: u16,
    /// A session unused for this long ends.
    pub session_ttl: Option<Duration>,
}

/// Why a file cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum VmcpError {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("{}: not in this version; it would be served without", .0.join(", "))]
    NotYet(Vec<String>),
    #[error(transparent)]
    Name(#[from] NotAName),
    #[error("outgoingAuth of backend {backend}: {name:?} is not a header with this value")]
    Header { backend: String, name: String },
    #[error(transparent)]
    Store(#[from] store::records::OpenError),
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Checks a file, and says what is wrong with it.
///
/// # Errors
/// [`VmcpError::Invalid`], everything at once; [`VmcpError::NotYet`].
pub fn check(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<(), VmcpError> {
    read(text, environment).map(drop)
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
pub fn settings(
    text: &str,
    beside: &Beside,
    environment: &dyn Fn(&str) -> Option<String>,
    around: &Surroundings,
) -> Result<ServeSettings, VmcpError> {
    let config = read(text, environment)?;
    let name = WorkloadName::new(&config.name)?;
    let mut run = RunConfig::new(&name);
    run.host.clone_from(&beside.host);
    run.port = beside.port;
    if let Some(ttl) = beside.session_ttl {
        run.session_ttl = humantime::format_duration(ttl).to_string();
    }
    let members = config.backends.iter().map(|backend| member(backend, &config, &run, around));
    let target = Virtual {
        members: members.collect::<Result<_, _>>()?,
        prefix: match &config.aggregation.conflicts {
            Conflicts::Prefix { format } => format.clone(),
            Conflicts::Priority { .. } | Conflicts::Manual => String::new(),
        },
        health: health(&config.operational),
        partial: partial(text, config.operational.failures.partial),
        probe_every: config.operational.failures.check_interval,
        probe_within: config.operational.failures.check_timeout,
    };
    let mut settings = plan::settings_of(&run, name, Target::Virtual(target), around)?;
    match &config.session_storage {
        None => {}
        Some(SessionStorage::Memory) => settings.store = StoreSource::Memory,
        Some(SessionStorage::Redis { address, database, .. }) => {
            let password = environment(REDIS_PASSWORD).map(|password| format!(":{}@", encoded(&password)));
            let url = format!("redis://{}{address}/{database}", password.unwrap_or_default());
            settings.store = StoreSource::parse(&url)?;
        }
    }
    Ok(settings)
}

fn member(
    backend: &Backend,
    config: &Config,
    run: &RunConfig,
    around: &Surroundings,
) -> Result<ServeSettings, VmcpError> {
    let name = WorkloadName::new(&backend.name)?;
    let http = HttpTarget {
        urls: vec![backend.url.clone()],
        transport: match backend.transport {
            Transport::Sse => HttpTransport::Sse,
            Transport::StreamableHttp => HttpTransport::StreamableHttp,
        },
        headers: headers(backend, config)?,
        ca_file: backend.ca_bundle.as_ref().map(Into::into),
        stateless: false,
    };
    let mut settings = plan::settings_of(run, name, Target::Remote(http), around)?;
    settings.control = None;
    Ok(settings)
}

fn headers(backend: &Backend, config: &Config) -> Result<HeaderMap, VmcpError> {
    let strategy = config.outgoing.backends.get(&backend.name).or(config.outgoing.default.as_ref());
    let mut headers = HeaderMap::new();
    if let Some(Strategy::HeaderInjection { name, value }) = strategy {
        let wrong = || VmcpError::Header { backend: backend.name.clone(), name: name.clone() };
        let mut header = HeaderValue::from_str(value.reveal()).map_err(|_| wrong())?;
        header.set_sensitive(true);
        headers.insert(name.parse::<HeaderName>().map_err(|_| wrong())?, header);
    }
    Ok(headers)
}

fn health(operational: &Operational) -> HealthPolicy {
    let failures = &operational.failures;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let circuit = CircuitPolicy {
        opens_after: count(failures.breaker.failure_threshold),
        stays_open: failures.breaker.timeout,
    };
    HealthPolicy {
        unhealthy_after: count(failures.unhealthy_threshold),
        circuit: failures.breaker.is_enabled.then_some(circuit),
        ..HealthPolicy::default()
    }
}

/// The mode that the file says. What it defaults to was never in force: files that say nothing have had the best effort.
fn partial(text: &str, mode: PartialFailure) -> hub::PartialFailure {
    match mode {
        PartialFailure::Fail if text.contains("partialFailureMode") => hub::PartialFailure::Fail,
        PartialFailure::Fail | PartialFailure::BestEffort => hub::PartialFailure::BestEffort,
    }
}

/// What the file asks for and cannot be had.
fn not_yet(config: &Config) -> Vec<String> {
    let (aggregation, operational) = (&config.aggregation, &config.operational);
    let usual = Operational::default();
    let is_other = |strategy: &Strategy| matches!(strategy, Strategy::Other(kind) if *kind != StrategyKind::Unauthenticated);
    let strategies = config.outgoing.backends.values().chain(&config.outgoing.default);
    let asked = [
        ("groups of workloads (backends is empty)", config.backends.is_empty()),
        ("incomingAuth.type", !matches!(config.incoming.kind, IncomingKind::Anonymous)),
        ("incomingAuth.authz", config.incoming.authorization.is_some()),
        ("outgoingAuth with this strategy", strategies.into_iter().any(is_other)),
        (
            "aggregation.conflictResolution but prefix",
            !matches!(aggregation.conflicts, Conflicts::Prefix { .. }),
        ),
        ("aggregation.tools", !aggregation.tools.is_empty()),
        ("aggregation.excludeAllTools", aggregation.excludes_all),
        ("aggregation.defaultToolVisibility", aggregation.visibility != Visibility::Allow),
        ("compositeTools", !config.composites.is_empty()),
        ("compositeToolRefs", !config.composite_references.is_empty()),
        ("operational.logLevel", operational.is_debug),
        ("operational.timeouts", operational.timeouts != usual.timeouts),
        (
            "operational.failureHandling.statusReportingInterval",
            operational.failures.report_interval != usual.failures.report_interval,
        ),
        ("telemetry", config.telemetry.is_some()),
        ("audit", config.audit.as_ref().is_some_and(|audit| audit.is_enabled)),
        ("optimizer", config.optimizer.is_some()),
        ("codeMode", config.code_mode.is_enabled),
        ("rateLimiting", config.rate_limits.is_some()),
        ("passthroughHeaders", !config.passthrough_headers.is_empty()),
        ("sessionStorage.keyPrefix", has_own_prefix(config.session_storage.as_ref())),
    ];
    asked.into_iter().filter(|(_, is_asked)| *is_asked).map(|(name, _)| name.to_owned()).collect()
}

fn has_own_prefix(storage: Option<&SessionStorage>) -> bool {
    matches!(storage, Some(SessionStorage::Redis { key_prefix, .. }) if key_prefix != USUAL_PREFIX)
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
        Surroundings { folders: None, skep: "skep".into(), env: Vec::new(), whole_env: None, secrets: None }
    }

    fn environment(name: &str) -> Option<String> {
        (name == "KEY").then(|| "secret".to_owned())
    }

    fn planned(text: &str) -> Virtual {
        let beside = Beside { host: "127.0.0.1".into(), port: 4483, session_ttl: None };
        let settings = settings(text, &beside, &environment, &around()).unwrap();
        assert_eq!((settings.name.as_str(), settings.listen.port), ("many", 4483));
        match settings.target {
            Target::Virtual(target) => target,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_names_its_backends_and_how_they_are_called() {
        let target = planned(FILE);
        assert_eq!(target.prefix, "{workload}.");
        let [a, b] = &target.members[..] else { panic!("two") };
        let (Target::Remote(http_a), Target::Remote(http_b)) = (&a.target, &b.target) else {
            panic!("remote")
        };
        assert_eq!((a.name.as_str(), &http_a.headers["x-key"]), ("a", &HeaderValue::from_static("secret")));
        assert!(http_b.transport == HttpTransport::Sse && http_b.headers.is_empty());
    }

    #[test]
    fn a_mode_counts_where_it_is_written() {
        let mode = |mode: &str| {
            let said = format!("operational: {{failureHandling: {{partialFailureMode: {mode}}}}}");
            planned(&format!("{FILE}{said}\n")).partial
        };
        assert_eq!(planned(FILE).partial, hub::PartialFailure::BestEffort);
        assert_eq!(mode("fail"), hub::PartialFailure::Fail);
        assert_eq!(mode("best_effort"), hub::PartialFailure::BestEffort);
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name() {
        for (said, name) in [
            ("codeMode: {enabled: true}", "codeMode"),
            ("passthroughHeaders: [X-Request-Tag]", "passthroughHeaders"),
            ("operational: {timeouts: {default: 5s}}", "operational.timeouts"),
        ] {
            let error = check(&format!("{FILE}{said}\n"), &environment).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("not in this version"), "{said}: {error}");
        }
        assert!(check(FILE, &environment).is_ok());
        assert!(matches!(check("name: x", &environment), Err(VmcpError::Invalid(_))));
    }
}
