//! `skep vmcp`: several servers as one.

mod workflow;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use manager::daemon::client::DaemonClient;
use manager::target::Target;
use manager::vmcp::{self, Beside, VmcpFile};

use super::daemon;
use super::serve::{self, Telling};
use crate::args::{Command, ProxyMode, VmcpArgs, VmcpCommand, VmcpInitArgs, VmcpServeArgs};
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::surroundings;

/// A session unused for this long ends, where nothing is said.
const SESSION_TTL: Duration = Duration::from_secs(30 * 60);

/// What stands in the file that a command is to serve, if it is to serve one.
pub(crate) fn file_to_serve(command: &Command) -> anyhow::Result<Option<String>> {
    match command {
        Command::Vmcp(VmcpArgs { command: VmcpCommand::Serve(args) }) => {
            args.config.as_deref().map(read).transpose()
        }
        _ => Ok(None),
    }
}

/// Whether such a file asks for debug lines. What is wrong with it is said when it is served.
pub(crate) fn is_debug(text: &str) -> bool {
    vmcp::is_debug(text, &environment)
}

/// `file`: what stands in the one that is to be served.
pub(crate) fn run(args: &VmcpArgs, file: Option<String>, printer: &Printer) -> anyhow::Result<Outcome> {
    match &args.command {
        VmcpCommand::Serve(args) => serve(args, file, printer),
        VmcpCommand::Validate(args) => {
            let text = read(&args.config)?;
            vmcp::check(&text, &environment).context("validation failed")?;
            printer.say(&format!("{} is valid", args.config.display()));
            Ok(Outcome::Done)
        }
        VmcpCommand::Workflow(args) => workflow::run(args, printer),
        VmcpCommand::Init(args) => init(args, printer),
    }
}

fn serve(args: &VmcpServeArgs, file: Option<String>, printer: &Printer) -> anyhow::Result<Outcome> {
    let session_ttl = Some(args.session_ttl.filter(|ttl| !ttl.is_zero()).unwrap_or(SESSION_TTL));
    if args.optimizer_embedding {
        bail!(
            "--optimizer-embedding: no container is started for it; run a text-embeddings-inference server yourself and name it in the file: `optimizer: {{embeddingService: http://127.0.0.1:8081}}`. --optimizer finds tools by words"
        );
    }
    let beside = Beside {
        host: args.host.clone(),
        port: args.port,
        session_ttl,
        session_key_file: args.session_key_file.clone(),
        trusts_annotations: args.trust_annotations,
        resend_tools: args.resend_tool.clone(),
        optimizes: args.optimizer,
        metrics: args.metrics,
    };
    let around = surroundings::in_the_foreground()?;
    let settings = match (args.config.clone().zip(file), &args.group) {
        (Some((path, text)), _) => {
            let file = VmcpFile { path, text, environment, around };
            vmcp::settings(file, &beside).context("configuration loading failed")?
        }
        (None, Some(group)) => vmcp::settings_of_group(group, &beside, &around)?,
        (None, None) => bail!("either --config or --group must be specified"),
    };
    if let Target::Virtual(target) = &settings.target
        && let Some(group) = &target.group
    {
        daemon::ask(async |client| Ok(vmcp::check_group(&client, group.name()).await?))?;
    }
    let telling =
        Telling { format: args.format, mode: ProxyMode::StreamableHttp, notes: Vec::new(), printer };
    serve::serve(settings, None, &telling)
}

fn init(args: &VmcpInitArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let workloads = daemon::ask(async |client: DaemonClient| {
        vmcp::check_group(&client, &args.group).await?;
        Ok(client.list().await?)
    })?;
    let text = vmcp::draft(&args.group, &workloads);
    match &args.output {
        None => printer.data(&text)?,
        Some(path) => {
            manager::export::write(path, &text).context("the file is not written")?;
            printer.say(&format!("{} is there; skep vmcp serve --config {0}", path.display()));
        }
    }
    Ok(Outcome::Done)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
