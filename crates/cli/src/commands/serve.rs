//! What `run` and `proxy` have in common: the settings that both have flags for, and the life of what they serve.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use manager::keys::KeySource;
use manager::serve::Listen;
use manager::sessions::StoreSource;
use manager::target::HttpTransport;
use manager::{ServeSettings, Serving};
use middleware::limits::BodyLimits;
use middleware::tools::{ToolOverride, ToolPolicy};
use proxy::ResendPolicy;
use proxy::listener::Workers;
use proxy::session::Limits;
use serde::{Deserialize, Serialize};

use crate::args::{ListenArgs, OutputFormat, ProxyMode, SessionArgs, ToolArgs};
use crate::dirs;
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::signals::StopSignals;

/// Sessions unused for this long end where nothing else is said.
const DEFAULT_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

impl From<ProxyMode> for HttpTransport {
    fn from(mode: ProxyMode) -> Self {
        match mode {
            ProxyMode::StreamableHttp => Self::StreamableHttp,
            ProxyMode::Sse => Self::Sse,
        }
    }
}

pub(super) fn listen(args: &ListenArgs, port: u16) -> Listen {
    Listen {
        host: args.host.clone(),
        port,
        tls: args.tls_cert.clone().zip(args.tls_key.clone()),
        metrics: args.metrics,
        header_timeout: args.read_timeout,
    }
}

pub(super) fn body_limits(args: &ListenArgs) -> BodyLimits {
    BodyLimits { size: args.max_body, time: args.read_timeout }
}

pub(super) fn session_limits(args: &SessionArgs) -> Limits {
    let idle = if args.session_ttl.is_zero() { DEFAULT_IDLE } else { args.session_ttl };
    Limits { idle, age: args.session_max_age, sessions: args.max_sessions, ..Limits::default() }
}

/// The file that was named, or one in the state directory. Without a place for it, keys live as long as the process.
pub(super) fn keys(args: &SessionArgs) -> KeySource {
    if let Some(path) = &args.session_key_file {
        return KeySource::Given(path.clone());
    }
    let own = dirs::state().map(|state| KeySource::Own(state.join("session.keys")));
    let usable = own.and_then(|own| own.load().map(|_| own.clone()).map_err(Into::into));
    usable.unwrap_or_else(|error: anyhow::Error| {
        tracing::warn!(
            error = format!("{error:#}"),
            "session keys are not kept: sessions end with this process"
        );
        KeySource::Fresh
    })
}

pub(super) fn resend(args: &SessionArgs) -> Arc<ResendPolicy> {
    Arc::new(ResendPolicy::new(args.resend_tool.iter().cloned(), args.trust_annotations))
}

/// The place that was named, or a file in the state directory.
pub(super) fn store(args: &SessionArgs) -> anyhow::Result<StoreSource> {
    Ok(match &args.store {
        Some(text) => StoreSource::parse(text)?,
        None => dirs::state().map_or(StoreSource::Memory, |state| StoreSource::Own(state.join("sessions"))),
    })
}

/// The file of `--tools-override`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideFile {
    #[serde(rename = "toolsOverride")]
    tools_override: BTreeMap<String, ToolOverride>,
}

pub(super) fn tools(args: &ToolArgs) -> anyhow::Result<Option<Arc<ToolPolicy>>> {
    if args.tools.is_empty() && args.tools_override.is_none() {
        return Ok(None);
    }
    let overrides = match &args.tools_override {
        Some(path) => read_overrides(path)?,
        None => BTreeMap::new(),
    };
    Ok(Some(Arc::new(ToolPolicy::new(&args.tools, overrides)?)))
}

fn read_overrides(path: &Path) -> anyhow::Result<BTreeMap<String, ToolOverride>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))?;
    let file: OverrideFile = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a tool override file", path.display()))?;
    Ok(file.tools_override)
}

/// What a client needs to know to connect.
#[derive(Serialize)]
struct Endpoint<'a> {
    name: &'a str,
    url: &'a str,
    transport: &'static str,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics_url: Option<String>,
}

/// How the endpoint is told.
pub(super) struct Telling<'a> {
    pub(super) format: OutputFormat,
    pub(super) mode: ProxyMode,
    /// What should be known about it, a line each.
    pub(super) notes: Vec<&'static str>,
    pub(super) printer: &'a Printer,
}

impl Telling<'_> {
    fn tell(&self, name: &str, serving: &Serving) -> anyhow::Result<()> {
        let (url, transport) = match self.mode {
            ProxyMode::StreamableHttp => (serving.url().to_owned(), "streamable-http"),
            ProxyMode::Sse => (serving.sse_url().to_owned(), "sse"),
        };
        let metrics_url = serving.metrics_address().map(|address| format!("http://{address}/metrics"));
        let endpoint = Endpoint { name, url: &url, transport, pid: std::process::id(), metrics_url };
        if self.format == OutputFormat::Json {
            // One line: whoever reads it waits for its end.
            return self.printer.data(&(serde_json::to_string(&endpoint)? + "\n"));
        }
        self.printer.data(&format!("{name} is served at {url}\n"))?;
        let kind = if self.mode == ProxyMode::Sse { "sse" } else { "http" };
        let entry = serde_json::json!({"mcpServers": {name: {"type": kind, "url": url}}});
        self.printer.say(&format!("\n  in a client's configuration:  {entry}"));
        self.printer
            .say(&format!("  in Claude Code:               claude mcp add --transport {kind} {name} {url}"));
        self.printer.say(&format!("  in another terminal:          skep mcp list --server {url}"));
        if let Some(url) = &endpoint.metrics_url {
            self.printer.say(&format!("  metrics:                      {url}"));
        }
        self.printer.say("  Ctrl-C stops it.");
        for note in &self.notes {
            self.printer.say(&format!("  Note: {note}"));
        }
        self.printer.say("");
        Ok(())
    }
}

/// Serves until a signal comes or it is certain that there is no server.
pub(super) fn serve(
    settings: ServeSettings,
    workers: Option<usize>,
    telling: &Telling<'_>,
) -> anyhow::Result<Outcome> {
    // The threads that serve have runtimes of their own; this one keeps time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let workers = match workers {
        Some(count) => Workers::start(count),
        None => Workers::one_per_core(),
    };
    let workers = workers.context("a thread to serve with could not be started")?;
    let served = runtime.block_on(serve_until_stopped(settings, workers, telling));
    runtime.shutdown_timeout(Duration::from_millis(100));
    served
}

async fn serve_until_stopped(
    settings: ServeSettings,
    workers: Workers,
    telling: &Telling<'_>,
) -> anyhow::Result<Outcome> {
    let mut signals = StopSignals::listen()?;
    let name = settings.name.clone();
    let serving = Serving::start(settings, &workers).await?;
    let lasted = last(&serving, &mut signals, telling, name.as_str()).await;
    let stopping = serving.stop();
    let stopped = tokio::select! {
        stopped = stopping => stopped,
        // Asked twice: what is under way does not matter any more. Processes die with their pipes and their parent.
        () = signals.next() => bail!("stopped at once, requests under way were cut"),
    };
    if stopped.cut_connections > 0 {
        tracing::warn!(connections = stopped.cut_connections, "connections did not end in time and were cut");
    }
    if stopped.left_processes > 0 {
        tracing::warn!(processes = stopped.left_processes, "processes did not end in time");
    }
    lasted
}

/// From the start to the reason to stop.
async fn last(
    serving: &Serving,
    signals: &mut StopSignals,
    telling: &Telling<'_>,
    name: &str,
) -> anyhow::Result<Outcome> {
    tokio::select! {
        biased;
        why = serving.failed() => bail!("{name}: {why}"),
        () = signals.next() => return Ok(Outcome::Done),
        () = serving.ready() => {}
    }
    telling.tell(name, serving)?;
    tokio::select! {
        why = serving.failed() => bail!("{name}: {why}"),
        () = signals.next() => Ok(Outcome::Done),
    }
}
