//! `skep proxy NAME` in front of servers that run elsewhere, and `skep proxy stdio` for clients that only speak stdio.

use anyhow::{Context, bail};
use manager::headers;
use manager::plan;
use manager::relay::{self, RelaySettings};
use manager::target::HttpTransport;
use model::{RunConfig, WorkloadName};
use proxy::relay::RelayEnd;

use super::configure;
use super::serve::{self, Telling};
use crate::args::{Proxied, ProxyArgs, ProxyCommand, ProxyMode, RelayArgs};
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::signals::StopSignals;
use crate::surroundings;

pub(crate) fn run(args: Box<ProxyArgs>, printer: &Printer) -> anyhow::Result<Outcome> {
    match args.command {
        Some(ProxyCommand::Stdio(args)) => run_relay(&args),
        None => run_proxy(args.proxied, printer),
    }
}

fn run_proxy(args: Proxied, printer: &Printer) -> anyhow::Result<Outcome> {
    let telling =
        Telling { format: args.listen.format, mode: ProxyMode::StreamableHttp, notes: Vec::new(), printer };
    let name = WorkloadName::new(&args.name.context("a name is required")?)?;
    let mut config = RunConfig::new(&name);
    let (url, more) = args.target_uri.split_first().context("--target-uri is required")?;
    config.remote_url.clone_from(url);
    config.skep_mut().more_urls = more.to_vec();
    HttpTransport::from(args.transport).name().clone_into(&mut config.transport);
    configure::listen(&mut config, &args.listen, args.port)?;
    configure::sessions(&mut config, &args.sessions)?;
    configure::tools(&mut config, &args.tools)?;
    configure::remote(&mut config, &args.remote)?;
    let settings = plan::settings(&config, &surroundings::in_the_foreground()?)?;
    serve::serve(settings, args.listen.workers, &telling)
}

fn run_relay(args: &RelayArgs) -> anyhow::Result<Outcome> {
    let settings = RelaySettings {
        url: args.url.clone(),
        transport: args.transport.into(),
        headers: headers::parse(&args.remote_forward_headers)?,
        ca_file: args.remote_ca_file.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut signals = StopSignals::listen()?;
        tokio::select! {
            ended = relay::run(&settings, tokio::io::stdin(), tokio::io::stdout()) => ended.map(Some).map_err(Into::into),
            () = signals.next() => anyhow::Ok(None),
        }
    });
    // A read of stdin cannot be cancelled: it is not waited for.
    runtime.shutdown_background();
    match ended? {
        None | Some(RelayEnd::Client) => Ok(Outcome::Done),
        Some(RelayEnd::Server(why)) => bail!("the server is gone: {why}"),
        Some(RelayEnd::Broken(error)) => Err(error).context("the client could not be spoken to"),
    }
}
