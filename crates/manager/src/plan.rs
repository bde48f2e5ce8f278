//! What a RunConfig comes to: the one way from what people say, in flags or in a file, to what is served.
//!
//! Making a plan reads what it names (ignore files, keys, secrets) and makes the server's home directory; it waits for the disk.

mod image;
mod isolation;
mod not_yet;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use middleware::limits::BodyLimits;
use middleware::tools::{ToolOverride, ToolPolicy, ToolPolicyError};
use model::run_config::{Isolation, Problems, Run, SkepConfig, Source, Transport};
use model::{RunConfig, SecretRef, WorkloadName};
use proxy::ResendPolicy;
use proxy::bridge::Mode;
use proxy::forward::OnLoss;
use proxy::session::Limits;
use store::secrets::{ResolveError, SharedProvider};
use workload::CommandSpec;
use workload::container::Runtimes;
use workload::egress::EgressPolicy;
use workload::process::BadCommand;

use isolation::Isolated;
pub use isolation::{DEFAULT_PROFILE, IsolationError};

use crate::daemon::Folders;
use crate::headers::{self, NotHeaders};
use crate::keys::KeySource;
use crate::packages::{self, Launch, PackageError, PackageTools};
use crate::serve::{Listen, ServeSettings};
use crate::sessions::StoreSource;
use crate::target::{HttpTarget, HttpTransport, Target};

/// The program that is this one.
pub const OWN_PROGRAM: &str = "skep";

/// What counts where nothing is said.
pub mod defaults {
    use std::time::Duration;

    /// The address that is listened on.
    pub const HOST: &str = "127.0.0.1";
    /// A session unused for so long ends.
    pub const SESSION_TTL: Duration = Duration::from_secs(2 * 60 * 60);
    /// A session so old ends however busy it is.
    pub const SESSION_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    /// Sessions at once.
    pub const MAX_SESSIONS: usize = 100_000;
    /// A process is let go when its session was not used for so long.
    pub const SLEEP_AFTER: Duration = Duration::from_secs(30 * 60);
    /// How long a process may take to leave.
    pub const GRACE: Duration = Duration::from_secs(10);
    /// Processes kept ready.
    pub const WARM: usize = 1;
    /// Processes at once.
    pub const MAX_PROCESSES: usize = 100;
    /// Bytes of a request's body.
    pub const MAX_BODY: usize = 8 * 1024 * 1024;
    /// How long a client may take to send the head of a request, and then its body.
    pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
    /// Where a server in a container is to listen.
    pub const IMAGE_PORT: u16 = 8080;
    /// How long requests under way may go on when a server is stopped.
    pub const DRAIN: Duration = Duration::from_secs(30);
}

/// What a configuration does not say: where this process keeps things, and what it hands on.
#[derive(Clone)]
pub struct Surroundings {
    /// `None`: there is no home directory. Nothing outlives this process then.
    pub folders: Option<Folders>,
    /// The program file of this process.
    pub skep: PathBuf,
    /// Variables that a command gets without being asked to; they hold no secrets.
    pub env: Vec<(String, String)>,
    /// All there are, for those that are told to get them. `None`: they are not those of whoever asks, and nobody gets them.
    pub whole_env: Option<Vec<(String, String)>>,
    /// Where secrets are.
    pub secrets: Option<SharedProvider>,
    /// Where packages are, and how they are installed.
    pub packages: PackageTools,
    /// What runs containers, and as whom images are fetched.
    pub runtimes: Runtimes,
}

/// Variables may be secrets.
impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folders, skep, .. } = self;
        f.debug_struct("Surroundings").field("folders", folders).field("skep", skep).finish_non_exhaustive()
    }
}

/// Why a configuration cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Problems(#[from] Problems),
    #[error("{}: not in this version; it would be served without", .0.join(", "))]
    NotYet(Vec<String>),
    #[error(
        "skep.inherit_env is for the foreground: the daemon's environment is not that of whoever asks it; name variables in env_vars"
    )]
    InheritEnv,
    #[error("header_forward.add_headers_from_secret: {0:?} is not the name of a secret")]
    SecretName(String),
    #[error(
        "isolation {0:?} is not for a command, which would run without what it needs: give the image that has it, or write process or none"
    )]
    Isolation(&'static str),
    #[error(
        "isolation {0:?} is not for an image: what is in it runs in a container; leave it out, or give a command behind --"
    )]
    ImageIsolation(&'static str),
    #[error(
        "publish: nothing of a container is published: skep reaches it from inside, and others ask skep; --target-port says where it listens"
    )]
    Publish,
    #[error("there is no home directory, and a container needs a place for its socket: set HOME")]
    NoScratch,
    #[error(transparent)]
    Isolated(#[from] IsolationError),
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Secrets(#[from] ResolveError),
    #[error("there is no place for secrets: {0} cannot be resolved")]
    NoSecrets(String),
    #[error("{field}: {value:?} is not a duration: write for instance 90s or 1h30m")]
    Duration { field: &'static str, value: String },
    #[error("{field}: {value:?} is not an address: write HOST:PORT")]
    Address { field: &'static str, value: String },
    #[error("skep.on_session_loss: {0:?} is neither rebuild nor strict")]
    OnLoss(String),
    #[error(transparent)]
    Command(#[from] BadCommand),
    #[error(transparent)]
    Headers(#[from] NotHeaders),
    #[error("tools_override: {0}")]
    Overrides(#[source] serde_json::Error),
    #[error(transparent)]
    Tools(#[from] ToolPolicyError),
    #[error(transparent)]
    Store(#[from] store::records::OpenError),
    #[error("target_port says where a command that serves HTTP listens; it is required with this transport")]
    TargetPort,
    #[error("target_host: {0:?} is not an address")]
    TargetHost(String),
    #[error("endpoint_prefix is a path: it begins with /")]
    EndpointPrefix,
}

/// Makes settings of a configuration.
///
/// # Errors
/// [`PlanError`], which names the member that is wrong.
pub fn settings(config: &RunConfig, around: &Surroundings) -> Result<ServeSettings, PlanError> {
    let run = look(config)?;
    let skep = config.skep.clone().unwrap_or_default();
    let target = target(config, &run, &skep, around)?;
    settings_of(config, run.name, target, around)
}

/// The settings of what is behind this target, whatever the configuration says is to be run.
pub(crate) fn settings_of(
    config: &RunConfig,
    name: WorkloadName,
    target: Target,
    around: &Surroundings,
) -> Result<ServeSettings, PlanError> {
    let skep = config.skep.clone().unwrap_or_default();
    let limits = Limits {
        idle: said("session_ttl", &config.session_ttl)?
            .filter(|idle| !idle.is_zero())
            .unwrap_or(defaults::SESSION_TTL),
        age: said("skep.session_max_age", &skep.session_max_age)?.unwrap_or(defaults::SESSION_MAX_AGE),
        sessions: skep.max_sessions.map_or(defaults::MAX_SESSIONS, |most| most as usize),
        ..Limits::default()
    };
    let folders = around.folders.as_ref();
    let read_timeout = said("skep.read_timeout", &skep.read_timeout)?.unwrap_or(defaults::READ_TIMEOUT);
    let sleep_after = said("skep.sleep_after", &skep.sleep_after)?.unwrap_or(defaults::SLEEP_AFTER);
    Ok(ServeSettings {
        target,
        listen: listen(config, &skep, read_timeout)?,
        allowed_hosts: skep.allowed_hosts.clone(),
        allowed_origins: config.allowed_origins.clone(),
        tools: tools(config)?,
        keys: keys(&skep, folders),
        store: match (&*skep.session_store, folders) {
            ("", Some(folders)) => StoreSource::Own(folders.sessions()),
            ("", None) => StoreSource::Memory,
            (text, _) => StoreSource::parse(text)?,
        },
        body: BodyLimits {
            size: skep
                .max_body
                .map_or(defaults::MAX_BODY, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            time: read_timeout,
        },
        sessions: limits,
        on_loss: match &*skep.on_session_loss {
            "" | "rebuild" => OnLoss::Rebuild,
            "strict" => OnLoss::Strict,
            other => return Err(PlanError::OnLoss(other.to_owned())),
        },
        resend: Arc::new(ResendPolicy::new(skep.resend_tools.iter().cloned(), skep.trust_annotations)),
        control: folders.map(Folders::control),
        log_file: None,
        sleep_after: Some(sleep_after).filter(|after| !after.is_zero()),
        memory: skep.max_memory.map(|mebibytes| mebibytes.saturating_mul(1024 * 1024)),
        endpoint_prefix: endpoint_prefix(&config.endpoint_prefix)?,
        drain: said("skep.drain", &skep.drain)?.unwrap_or(defaults::DRAIN),
        name,
    })
}

/// Whether a configuration asks for nothing that cannot be had, as far as the text alone says.
///
/// # Errors
/// [`PlanError`], which names what cannot be had.
pub fn look(config: &RunConfig) -> Result<Run, PlanError> {
    let run = config.checked()?;
    let not_yet = not_yet::asked(config, &run);
    if not_yet.is_empty() { Ok(run) } else { Err(PlanError::NotYet(not_yet)) }
}

/// `90s`, `1h30m`, `250ms`; `0` is nothing.
///
/// # Errors
/// What is wrong with it, as a fragment.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|error| format!("{error} (write for instance 90s or 1h30m)"))
}

/// The duration that a member says, if it says any.
fn said(field: &'static str, text: &str) -> Result<Option<Duration>, PlanError> {
    let read = Some(text).filter(|text| !text.is_empty()).map(duration).transpose();
    read.map_err(|_| PlanError::Duration { field, value: text.to_owned() })
}

fn listen(config: &RunConfig, skep: &SkepConfig, header_timeout: Duration) -> Result<Listen, PlanError> {
    let path = |text: &str| Some(text).filter(|text| !text.is_empty()).map(PathBuf::from);
    let metrics = match &*skep.metrics {
        "" => None,
        text => Some(
            text.parse().map_err(|_| PlanError::Address { field: "skep.metrics", value: text.to_owned() })?,
        ),
    };
    Ok(Listen {
        host: if config.host.is_empty() { defaults::HOST.to_owned() } else { config.host.clone() },
        port: config.port,
        tls: path(&skep.tls_cert).zip(path(&skep.tls_key)),
        metrics,
        header_timeout,
    })
}

/// The file that was named, or one of our own. Without a place for it, keys live as long as the process.
fn keys(skep: &SkepConfig, folders: Option<&Folders>) -> KeySource {
    if !skep.session_key_file.is_empty() {
        return KeySource::Given(PathBuf::from(&skep.session_key_file));
    }
    let Some(folders) = folders else { return KeySource::Fresh };
    let own = KeySource::Own(folders.session_keys());
    match own.load() {
        Ok(_) => own,
        Err(error) => {
            tracing::warn!(%error, "session keys are not kept: sessions end with this process");
            KeySource::Fresh
        }
    }
}

fn tools(config: &RunConfig) -> Result<Option<Arc<ToolPolicy>>, PlanError> {
    let overrides: BTreeMap<String, ToolOverride> = match &config.tools_override {
        Some(json) => json.to().map_err(PlanError::Overrides)?,
        None => BTreeMap::new(),
    };
    if config.tools_filter.is_empty() && overrides.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(ToolPolicy::new(&config.tools_filter, overrides)?)))
}

fn endpoint_prefix(text: &str) -> Result<String, PlanError> {
    if text.is_empty() || text.starts_with('/') {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(PlanError::EndpointPrefix)
}

fn target(
    config: &RunConfig,
    run: &Run,
    skep: &SkepConfig,
    around: &Surroundings,
) -> Result<Target, PlanError> {
    let http = |urls: Vec<String>, transport: HttpTransport| {
        Ok::<_, PlanError>(HttpTarget {
            urls,
            transport,
            headers: forwarded(config, around)?,
            ca_file: Some(&skep.remote_ca_file).filter(|file| !file.is_empty()).map(PathBuf::from),
            stateless: config.stateless,
        })
    };
    let http_transport = match run.transport {
        Transport::Sse => HttpTransport::Sse,
        Transport::Stdio | Transport::StreamableHttp => HttpTransport::StreamableHttp,
    };
    let placed = match &run.source {
        Source::Image(image) => image::placed(image, config, run, skep, around)?,
        Source::Remote(url) => {
            let urls = std::iter::once(url.clone()).chain(skep.more_urls.iter().cloned()).collect();
            return Ok(Target::Remote(http(urls, http_transport)?));
        }
        Source::Command { program, args } => {
            let line = Line { program, args: args.clone(), launch: None };
            of_command(line, config, run, skep, around)?
        }
        Source::Package { package, program, args } => {
            let launch = packages::launched(config, package, program.as_deref(), around)?;
            let (program, args) = launch.line(args);
            of_command(Line { program, args, launch: Some(&launch) }, config, run, skep, around)?
        }
    };
    let grace = said("skep.grace", &skep.grace)?.unwrap_or(defaults::GRACE);
    if run.transport == Transport::Stdio {
        let mode = match skep.shared {
            true => Mode::Shared,
            false => Mode::PerSession {
                warm: skep.warm.map_or(defaults::WARM, |count| count as usize),
                max_children: skep.max_processes.map_or(defaults::MAX_PROCESSES, |count| count as usize),
            },
        };
        return Ok(Target::Stdio { command: placed.command, egress: placed.egress, mode, grace });
    }
    let address = server_address(config, &run.source)?;
    let path = match http_transport {
        HttpTransport::StreamableHttp => "/mcp",
        HttpTransport::Sse => "/sse",
    };
    let path = if skep.target_path.is_empty() { path } else { &skep.target_path };
    Ok(Target::Server {
        command: placed.command,
        egress: placed.egress,
        http: http(vec![format!("http://{address}{path}")], http_transport)?,
        grace,
    })
}

/// A command at the place where it runs.
struct Placed {
    command: CommandSpec,
    /// What it may reach, where whoever starts it has to see to that.
    egress: Option<EgressPolicy>,
}

/// What is executed.
struct Line<'a> {
    program: &'a str,
    args: Vec<String>,
    /// Of a package.
    launch: Option<&'a Launch>,
}

fn of_command(
    Line { program, mut args, launch }: Line<'_>,
    config: &RunConfig,
    run: &Run,
    skep: &SkepConfig,
    around: &Surroundings,
) -> Result<Placed, PlanError> {
    let isolated = match run.isolation {
        Isolation::None => None,
        Isolation::Process => Some(isolation::isolated(config, run, skep, around, launch)?),
        Isolation::Container | Isolation::Pod => return Err(PlanError::Isolation(run.isolation.as_str())),
    };
    if program == OWN_PROGRAM && run.transport != Transport::Stdio {
        args.push(format!("--http={}", server_address(config, &run.source)?));
    }
    let command = command(program, args, config, run, around)?;
    let command = command.with_env(told(config, run)?)?;
    placed(command, isolated, skep)
}

/// What a server that serves HTTP is told of where to.
fn told(config: &RunConfig, run: &Run) -> Result<Vec<(String, String)>, PlanError> {
    let word = match run.transport {
        Transport::Stdio => return Ok(Vec::new()),
        Transport::Sse => "sse",
        Transport::StreamableHttp => "streamable-http",
    };
    let address = server_address(config, &run.source)?;
    let told = [
        ("MCP_TRANSPORT", word.to_owned()),
        ("MCP_HOST", address.ip().to_string()),
        ("MCP_PORT", address.port().to_string()),
        ("FASTMCP_PORT", address.port().to_string()),
    ];
    Ok(told.map(|(name, value)| (name.to_owned(), value)).into())
}

/// Where a command that serves HTTP listens.
fn server_address(config: &RunConfig, source: &Source) -> Result<std::net::SocketAddr, PlanError> {
    let host = if config.target_host.is_empty() { defaults::HOST } else { &config.target_host };
    let host = host.parse().map_err(|_| PlanError::TargetHost(host.to_owned()))?;
    match config.target_port {
        // It is told so, and nobody else is in its network.
        0 if matches!(source, Source::Image(_)) => Ok(std::net::SocketAddr::new(host, defaults::IMAGE_PORT)),
        0 => Err(PlanError::TargetPort),
        port => Ok(std::net::SocketAddr::new(host, port)),
    }
}

/// The command with its environment: what is handed on, then what the configuration says, then secrets.
fn command(
    program: &str,
    args: Vec<String>,
    config: &RunConfig,
    run: &Run,
    around: &Surroundings,
) -> Result<CommandSpec, PlanError> {
    let skep = config.skep.as_ref();
    let command = match program {
        OWN_PROGRAM => CommandSpec::new(&around.skep, args)?,
        program => CommandSpec::new(program, args)?,
    };
    let handed_on = match skep.is_some_and(|skep| skep.inherit_env) {
        true => around.whole_env.as_ref().ok_or(PlanError::InheritEnv)?,
        false => &around.env,
    };
    let search_path = skep.map(|skep| skep.search_path.clone()).filter(|path| !path.is_empty());
    let found_by = search_path.map(|path| ("PATH".to_owned(), path));
    let of_package = match &run.source {
        Source::Package { .. } => packages::runtime_env(config)?,
        _ => Vec::new(),
    };
    let command =
        command.with_clear_env().with_env(handed_on.iter().cloned().chain(found_by).chain(of_package))?;
    Ok(command.with_env(said_env(config, run, around)?)?)
}

/// What the configuration says, then secrets.
fn said_env(
    config: &RunConfig,
    run: &Run,
    around: &Surroundings,
) -> Result<Vec<(String, String)>, PlanError> {
    let said = config.env_vars.iter().map(|(name, value)| (name.clone(), value.clone()));
    Ok(said.chain(secrets(&run.secrets, around)?).collect())
}

/// The headers that are sent with every request: those in clear, then those that are secrets.
fn forwarded(config: &RunConfig, around: &Surroundings) -> Result<HeaderMap, PlanError> {
    let Some(forward) = &config.header_forward else { return Ok(HeaderMap::new()) };
    let named = |(header, secret): (&String, &String)| {
        SecretRef::parse(&format!("{secret},target={header}"))
            .map_err(|_| PlanError::SecretName(secret.clone()))
    };
    let refs = forward.add_headers_from_secret.iter().map(named).collect::<Result<Vec<_>, _>>()?;
    let plain = forward.add_plaintext_headers.iter().map(|(name, value)| (name.clone(), value.clone()));
    Ok(headers::of(plain.chain(secrets(&refs, around)?))?)
}

/// The secrets by what they become: variables, headers. They are in no configuration and no log.
fn secrets(refs: &[SecretRef], around: &Surroundings) -> Result<Vec<(String, String)>, PlanError> {
    if refs.is_empty() {
        return Ok(Vec::new());
    }
    let names = || refs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let provider = around.secrets.as_ref().ok_or_else(|| PlanError::NoSecrets(names()))?;
    let resolved = store::secrets::resolve(&**provider, refs)?;
    Ok(resolved.into_iter().map(|(target, value)| (target, value.reveal().to_owned())).collect())
}

/// The command where it runs: in its sandbox, or in a directory of this machine.
fn placed(command: CommandSpec, isolated: Option<Isolated>, skep: &SkepConfig) -> Result<Placed, PlanError> {
    let (sandbox, egress, cwd) = match isolated {
        Some(Isolated { sandbox, egress, cwd, .. }) => (Some(sandbox), egress, cwd),
        None => (None, None, Some(PathBuf::from(&skep.cwd)).filter(|cwd| !cwd.as_os_str().is_empty())),
    };
    let command = match cwd {
        Some(cwd) => command.with_cwd(cwd)?,
        None => command,
    };
    let command = match sandbox {
        Some(sandbox) => command.with_sandbox(sandbox),
        None => command,
    };
    Ok(Placed { command, egress })
}

#[cfg(test)]
mod tests {
    use model::Document;

    use super::*;
    use crate::secrets::{SecretsKeeper, SecretsSettings};

    fn around() -> Surroundings {
        let folder = std::path::Path::new("/nowhere");
        let folders = Folders {
            run: folder.join("run"),
            state: folder.join("state"),
            data: folder.join("data"),
            config: folder.join("config"),
        };
        let variables = [("SKEP_SECRET_token".to_owned(), "hunter2".to_owned())];
        let settings = SecretsSettings {
            keeper: Some(SecretsKeeper::Environment),
            prefix: "SKEP",
            keyring: "skep",
            fallback: true,
        };
        let secrets = crate::secrets::provider(settings, &folders, &variables);
        Surroundings {
            folders: None,
            skep: "/skep".into(),
            env: Vec::new(),
            whole_env: None,
            secrets: Some(secrets),
            packages: PackageTools::default(),
            runtimes: Default::default(),
        }
    }

    fn plan(text: &str, around: &Surroundings) -> Result<ServeSettings, PlanError> {
        settings(&RunConfig::parse(text).unwrap(), around)
    }

    #[test]
    fn all_that_is_not_in_this_version_is_said_at_once() {
        let text = r#"{"name":"a","transport":"streamable-http","remote_url":"https://a.example/mcp",
            "oidc_config":{"Issuer":"https://b.example"},"authz_config":{"type":"cedar"}}"#;
        let error = plan(text, &around()).unwrap_err().to_string();
        assert_eq!(error, "oidc_config, authz_config: not in this version; it would be served without");
    }

    #[test]
    fn headers_are_looked_up_where_secrets_are() {
        let config = |secret: &str| {
            format!(
                r#"{{"name":"a","transport":"streamable-http","remote_url":"https://a.example/mcp","header_forward":
                {{"add_plaintext_headers":{{"X-A":"1"}},"add_headers_from_secret":{{"Authorization":"{secret}"}}}}}}"#
            )
        };
        let Target::Remote(http) = plan(&config("token"), &around()).unwrap().target else {
            panic!("not remote")
        };
        assert_eq!(
            (&http.headers["x-a"], &http.headers["authorization"]),
            (&"1".parse().unwrap(), &"hunter2".parse().unwrap())
        );
        assert!(!format!("{http:?}").contains("hunter2"));
        for (secret, expect) in
            [("nobody", "there is no secret nobody"), ("a,b", "is not the name of a secret")]
        {
            let error = plan(&config(secret), &around()).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
    }

    #[test]
    fn the_whole_environment_is_for_the_foreground() {
        let text = r#"{"name":"a","transport":"stdio","skep":{"command":"/bin/cat","isolation":"none","inherit_env":true}}"#;
        assert!(matches!(plan(text, &around()), Err(PlanError::InheritEnv)));
        let whole_env = Some(vec![("TOKEN".to_owned(), "hunter2".to_owned())]);
        let foreground = Surroundings { whole_env, ..around() };
        let settings = plan(text, &foreground).unwrap();
        let shown = format!("{settings:?} {foreground:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }
}
