//! A server in the foreground: told where it is, then served until it is told to stop.

use std::time::Duration;

use anyhow::{Context, bail};
use manager::target::HttpTransport;
use manager::{ServeSettings, Serving};
use proxy::listener::Workers;
use serde::Serialize;

use crate::args::{OutputFormat, ProxyMode};
use crate::exit::Outcome;
use crate::face::Face;
use crate::printer::Printer;
use crate::signals::StopSignals;

impl From<ProxyMode> for HttpTransport {
    fn from(mode: ProxyMode) -> Self {
        match mode {
            ProxyMode::StreamableHttp => Self::StreamableHttp,
            ProxyMode::Sse => Self::Sse,
        }
    }
}

/// What a client needs to know to connect.
#[derive(Serialize)]
pub(super) struct Endpoint<'a> {
    pub(super) name: &'a str,
    pub(super) url: &'a str,
    pub(super) transport: &'static str,
    /// Of who serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metrics_url: Option<String>,
}

/// How the endpoint is told.
pub(super) struct Telling<'a> {
    pub(super) format: OutputFormat,
    pub(super) mode: ProxyMode,
    /// What should be known about it, a line each.
    pub(super) notes: Vec<String>,
    pub(super) printer: &'a Printer,
}

impl Telling<'_> {
    fn tell(&self, name: &str, serving: &Serving) -> anyhow::Result<()> {
        let url = match self.mode {
            ProxyMode::StreamableHttp => serving.url(),
            ProxyMode::Sse => serving.sse_url(),
        };
        let metrics_url = serving.metrics_address().map(|address| format!("http://{address}/metrics"));
        self.endpoint(
            &Endpoint { name, url, transport: self.transport(), pid: Some(std::process::id()), metrics_url },
            "Ctrl-C stops it.",
        )
    }

    pub(super) fn transport(&self) -> &'static str {
        match self.mode {
            ProxyMode::StreamableHttp => "streamable-http",
            ProxyMode::Sse => "sse",
        }
    }

    pub(super) fn endpoint(&self, endpoint: &Endpoint<'_>, how_to_stop: &str) -> anyhow::Result<()> {
        if self.format == OutputFormat::Json {
            // One line: whoever reads it waits for its end.
            return self.printer.data(&(serde_json::to_string(endpoint)? + "\n"));
        }
        let Endpoint { name, url, .. } = endpoint;
        self.printer.data(&format!("{name} is served at {url}\n"))?;
        let kind = if self.mode == ProxyMode::Sse { "sse" } else { "http" };
        let entry = serde_json::json!({"mcpServers": {*name: {"type": kind, "url": url}}});
        self.printer.say(&format!("\n  in a client's configuration:  {entry}"));
        self.printer
            .say(&format!("  in Claude Code:               claude mcp add --transport {kind} {name} {url}"));
        let command = Face::of_this_process().command;
        self.printer.say(&format!("  what it offers:               {command} mcp list --server {url}"));
        if let Some(url) = &endpoint.metrics_url {
            self.printer.say(&format!("  metrics:                      {url}"));
        }
        self.printer.say(&format!("  {how_to_stop}"));
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
    workload::process::raise_open_files();
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
    workload::process::let_go_of_program_file();
    tokio::select! {
        why = serving.failed() => bail!("{name}: {why}"),
        () = signals.next() => Ok(Outcome::Done),
    }
}
