//! `skep run`: a server by name, by URL or by command.

mod environment;
mod fitting;
mod kept;
mod package;

use std::path::Path;

use anyhow::{Context, bail};
use manager::daemon::client::DaemonClient;
use manager::plan::{self, OWN_PROGRAM};
use model::label::Label;
use model::package::Scheme;
use model::run_config::{Isolation, SkepConfig, Transport};
use model::workload::Status;
use model::{Document, GroupName, PackageSpec, RunConfig, WorkloadName};
use url::Url;

use super::serve::{self, Endpoint, Telling};
use super::{configure, daemon, foreground};
use crate::args::{IsolationLevel, ProxyMode, RunArgs, RunTransport};
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::{names, surroundings};

/// The one server that is built in.
const EXAMPLE: &str = "example";

const NOT_ISOLATED: &str = "the server runs with your own rights";

/// What is to be run, as the arguments say it.
enum Source {
    Example,
    Url(Url),
    Package(PackageSpec),
    Image(String),
    Command,
}

pub(crate) fn run(args: &RunArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    if !args.not_yet.is_empty() {
        bail!("{}: not in this version; the server would run without", args.not_yet.join(", "));
    }
    let mut config = match &args.from_config {
        Some(path) => {
            fitting::beside_a_file(&args.given)?;
            read_config(path)?
        }
        None => config_of(args)?,
    };
    // What is installed stays at least until whoever serves it has it.
    let _in_use = package::pin(&mut config, printer)?;
    let checked = config.checked()?;
    let mode = ProxyMode::of(checked.proxy_mode);
    let is_ours = config.skep.as_ref().is_some_and(|skep| skep.command == OWN_PROGRAM);
    let mut notes = match checked.isolation {
        Isolation::None if config.remote_url.is_empty() && !is_ours => vec![NOT_ISOLATED.to_owned()],
        _ => Vec::new(),
    };
    if !args.foreground {
        kept::refuse(args, &config)?;
        notes.extend(kept::note(args, &config)?);
    }
    let telling = Telling { format: args.listen.format, mode, notes, printer };
    if args.foreground {
        let around = surroundings::in_the_foreground()?;
        let settings = plan::settings(&foreground::ready(&config, &around, printer)?, &around)?;
        return serve::serve(settings, args.listen.workers, &telling);
    }
    detached(&config, &telling)
}

/// Hands the configuration to the daemon.
fn detached(config: &RunConfig, telling: &Telling<'_>) -> anyhow::Result<Outcome> {
    let (view, pid) = daemon::ask(async |daemon: DaemonClient| {
        let view =
            told_meanwhile(&daemon, &config.name, telling.printer, daemon.run(config.to_text())).await?;
        // It runs, whatever becomes of this question.
        Ok((view, daemon.view().await.ok().map(|daemon| daemon.pid)))
    })?;
    let how_to_stop =
        format!("`skep stop {name}` stops it, `skep logs {name}` shows what it says.", name = view.name);
    let metrics_url = Some(view.metrics_url.clone()).filter(|url| !url.is_empty());
    let endpoint =
        Endpoint { name: &view.name, url: &view.url, transport: telling.transport(), pid, metrics_url };
    telling.endpoint(&endpoint, &how_to_stop)?;
    Ok(Outcome::Done)
}

/// Tells what a server waits for, until it is there.
async fn told_meanwhile<T>(
    daemon: &DaemonClient,
    name: &str,
    printer: &Printer,
    asked: impl Future<Output = T>,
) -> T {
    let mut told = String::new();
    let news = daemon.events(|view| {
        if view.name == name && view.status == Status::Starting && view.status_context != told {
            told.clone_from(&view.status_context);
            if !told.is_empty() {
                printer.say(&told);
            }
        }
        true
    });
    tokio::select! {
        answer = asked => answer,
        // Without news the answer comes all the same.
        answer = async { drop(news.await); std::future::pending::<T>().await } => answer,
    }
}

fn read_config(path: &Path) -> anyhow::Result<RunConfig> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))?;
    RunConfig::parse(&text).with_context(|| format!("{} is not a RunConfig", path.display()))
}

/// The arguments as a RunConfig.
fn config_of(args: &RunArgs) -> anyhow::Result<RunConfig> {
    let source = Source::of(args)?;
    let name = match (&args.name, &source) {
        (Some(name), _) => WorkloadName::new(name)?,
        (None, Source::Example) => WorkloadName::new(EXAMPLE)?,
        (None, Source::Url(url)) => names::of_url(url),
        (None, Source::Package(package)) => package::name(package),
        (None, Source::Image(image)) => names::of_image(image),
        (None, Source::Command) => names::of_command(&args.command),
    };
    let mut config = RunConfig::new(&name);
    config.group = GroupName::new(args.group.as_deref().unwrap_or(GroupName::DEFAULT))?.as_str().to_owned();
    for text in &args.label {
        let label = Label::parse(text)?;
        config.container_labels.insert(label.key().to_owned(), label.value().to_owned());
    }
    configure::listen(&mut config, &args.listen, args.proxy_port)?;
    configure::sessions(&mut config, &args.sessions)?;
    configure::tools(&mut config, &args.tools)?;
    configure::remote(&mut config, &args.remote)?;
    config.endpoint_prefix.clone_from(&args.endpoint_prefix);
    what(&mut config, args, &source)?;
    Ok(config)
}

/// What is run and how it is spoken to.
fn what(config: &mut RunConfig, args: &RunArgs, source: &Source) -> anyhow::Result<()> {
    let transport = match (source, args.transport) {
        (Source::Url(_), Some(RunTransport::Stdio)) => bail!("a URL is not spoken to over stdio"),
        (Source::Url(_), None) | (_, Some(RunTransport::StreamableHttp)) => Transport::StreamableHttp,
        (_, Some(RunTransport::Sse)) => Transport::Sse,
        (_, None | Some(RunTransport::Stdio)) => Transport::Stdio,
    };
    let is_contained = match source {
        Source::Image(_) => true,
        Source::Package(package) => package::is_contained(package, args.isolation.isolation)?,
        _ => false,
    };
    let kind = match (source, transport) {
        (Source::Url(_), _) => fitting::Kind::Url,
        (_, Transport::Stdio) if is_contained => fitting::Kind::ImageOverStdio,
        _ if is_contained => fitting::Kind::ImageOverHttp,
        (_, Transport::Stdio) => fitting::Kind::Stdio,
        (_, Transport::Sse | Transport::StreamableHttp) => fitting::Kind::Http,
    };
    fitting::to_what_is_run(kind, &args.given)?;
    if !matches!(source, Source::Package(_)) {
        fitting::to_no_package(&args.given)?;
    }
    if args.isolation.isolation == Some(IsolationLevel::None) {
        fitting::to_no_isolation(&args.given)?;
    }
    transport.as_str().clone_into(&mut config.transport);
    if transport == Transport::Stdio {
        let mode = match args.proxy_mode {
            ProxyMode::StreamableHttp => Transport::StreamableHttp,
            ProxyMode::Sse => Transport::Sse,
        };
        mode.as_str().clone_into(&mut config.proxy_mode);
    }
    if let Source::Url(url) = source {
        config.remote_url = url.to_string();
        return Ok(());
    }
    if is_contained {
        return in_a_container(config, args, source);
    }
    if transport != Transport::Stdio {
        config.target_port = args.target_port.filter(|port| *port > 0).context(
            "--target-port says where a command that serves HTTP listens; it is required with this --transport",
        )?;
        config.target_host = args.target_host.to_string();
    }
    configure::isolation(config, &args.isolation)?;
    config.env_vars = environment::of(args)?;
    if let Source::Package(package) = source {
        package::configure(config, package, args);
    }
    let skep = config.skep_mut();
    let (program, words) = match source {
        Source::Package(_) => (args.program.as_deref().unwrap_or_default(), args.command.clone()),
        Source::Example => (OWN_PROGRAM, [&[EXAMPLE.to_owned()], &*args.command].concat()),
        _ => {
            let (program, words) = args.command.split_first().context("a command is required behind --")?;
            (program.as_str(), words.to_vec())
        }
    };
    (skep.command, skep.args) = (program.to_owned(), words);
    skep.search_path = std::env::var("PATH").unwrap_or_default();
    skep.inherit_env = args.inherit_env;
    skep.cwd = directory(args)?;
    processes(skep, args);
    Ok(())
}

/// What is run of an image, or of a package that one is made of.
fn in_a_container(config: &mut RunConfig, args: &RunArgs, source: &Source) -> anyhow::Result<()> {
    config.target_port = args.target_port.unwrap_or_default();
    config.target_host = args.target_host.to_string();
    configure::isolation(config, &args.isolation)?;
    config.env_vars = environment::of(args)?;
    config.cmd_args.clone_from(&args.command);
    match source {
        Source::Package(package) => {
            package::configure(config, package, args);
            let skep = config.skep_mut();
            Isolation::Container.as_str().clone_into(&mut skep.isolation);
            skep.command = args.program.clone().unwrap_or_default();
        }
        Source::Image(image) => image.clone_into(&mut config.image),
        _ => {}
    }
    let skep = config.skep_mut();
    skep.cwd = args.cwd.as_ref().map(|cwd| cwd.display().to_string()).unwrap_or_default();
    processes(skep, args);
    Ok(())
}

/// How its processes live.
fn processes(skep: &mut SkepConfig, args: &RunArgs) {
    skep.target_path = args.target_path.clone().unwrap_or_default();
    skep.shared = args.shared;
    (skep.warm, skep.max_processes, skep.max_memory) = (args.warm, args.max_processes, args.max_memory);
    (skep.sleep_after, skep.grace) = (configure::written(args.sleep_after), configure::written(args.grace));
}

/// Where it runs. A command with all rights runs here, as from a shell; one that is isolated does not see this directory
/// unless it is told to.
fn directory(args: &RunArgs) -> anyhow::Result<String> {
    let is_isolated = args.isolation.isolation != Some(IsolationLevel::None);
    match &args.cwd {
        Some(cwd) => configure::whole_path(cwd),
        None if is_isolated => {
            let here = |word: &&String| {
                !word.starts_with('/') && word.contains(['.', '/']) && Path::new(word).exists()
            };
            match args.command.iter().find(here) {
                Some(word) => bail!(
                    "{word} is in this directory, which an isolated server does not see: add --cwd . (it may read it then), \
                     or --volume for more"
                ),
                None => Ok(String::new()),
            }
        }
        None => configure::whole_path(&std::env::current_dir().context("the working directory is gone")?),
    }
}

impl Source {
    fn of(args: &RunArgs) -> anyhow::Result<Self> {
        let Some(server) = &args.server else { return Ok(Self::Command) };
        if server == EXAMPLE {
            return Ok(Self::Example);
        }
        if let Some((scheme, _)) = server.split_once("://") {
            if scheme.parse::<Scheme>().is_ok() {
                return Ok(Self::Package(package::read(server)?));
            }
            let url = Url::parse(server).with_context(|| format!("{server:?} is not a URL"))?;
            if !matches!(url.scheme(), "http" | "https") {
                bail!("{server:?}: a server is reached by http or https");
            }
            if !args.command.is_empty() {
                bail!("a URL and a command are two servers: give one of them");
            }
            return Ok(Self::Url(url));
        }
        match is_image(server) {
            true => Ok(Self::Image(server.clone())),
            false => bail!(
                "there is no server named {server:?}: the built-in one is `{EXAMPLE}`; a package is written npx://{server} or \
                 uvx://{server}; an image is written with its registry, or with its tag ({server}:latest); a command goes \
                 behind --"
            ),
        }
    }
}

/// Whether a word is meant as an image: a bare one may be the name of a server.
fn is_image(word: &str) -> bool {
    let is_path = word.starts_with(['.', '/', '-']);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    !is_path && word.contains(['/', ':', '@']) && word.chars().all(is_plain)
}
