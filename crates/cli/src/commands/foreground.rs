//! `skep start NAME --foreground`: what the daemon keeps, served from here.

use anyhow::{Context, bail};
use manager::daemon::client::DaemonClient;
use manager::plan::{self, Surroundings};
use manager::{images, packages};
use model::run_config::Transport;
use model::{Document, RunConfig};

use super::daemon;
use super::serve::{self, Telling};
use crate::args::{OutputFormat, ProxyMode};
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::surroundings;

/// Serves one, which the daemon stops first: for the daemon it is a stopped one, and stays it.
pub(super) fn start(names: &[String], printer: &Printer) -> anyhow::Result<Outcome> {
    let [name] = names else { bail!("--foreground is for one server") };
    let text = daemon::ask(async |daemon: DaemonClient| {
        let text = daemon.config(name).await?;
        daemon.stop_workload(name, None).await?;
        Ok(text)
    })?;
    let config =
        RunConfig::parse(&text).with_context(|| format!("what is kept of {name} is not understood"))?;
    let mode = ProxyMode::of(config.checked()?.proxy_mode);
    let around = surroundings::in_the_foreground()?;
    let settings = plan::settings(&ready(&config, &around, printer)?, &around)?;
    serve::serve(settings, None, &Telling { format: OutputFormat::Text, mode, notes: Vec::new(), printer })
}

/// The configuration with what has to be found out before it is served.
pub(super) fn ready(
    config: &RunConfig,
    around: &Surroundings,
    printer: &Printer,
) -> anyhow::Result<RunConfig> {
    let tell = |text: &str| printer.say(text);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        packages::ready(config, around, &tell).await?;
        Ok(images::ready(config, around, &tell).await?)
    })
}

impl ProxyMode {
    /// The endpoint that clients are told.
    pub(super) fn of(transport: Transport) -> Self {
        match transport {
            Transport::Sse => Self::Sse,
            Transport::Stdio | Transport::StreamableHttp => Self::StreamableHttp,
        }
    }
}
