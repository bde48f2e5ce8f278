//! `skep proxy NAME` in front of servers that run elsewhere, and `skep proxy stdio` for clients that only speak stdio.

use anyhow::{Context, bail};
use manager::relay::{self, RelaySettings};
use manager::target::HttpTarget;
use manager::{ServeSettings, Target};
use model::WorkloadName;
use proxy::relay::RelayEnd;

use super::serve::{self, Telling};
use crate::args::{Proxied, ProxyArgs, ProxyCommand, ProxyMode, RelayArgs};
use crate::dirs;
use crate::exit::Outcome;
use crate::headers;
use crate::printer::Printer;
use crate::signals::StopSignals;

pub(crate) fn run(args: Box<ProxyArgs>, printer: &Printer) -> anyhow::Result<Outcome> {
    match args.command {
        Some(ProxyCommand::Stdio(args)) => run_relay(&args),
        None => run_proxy(args.proxied, printer),
    }
}

fn run_proxy(args: Proxied, printer: &Printer) -> anyhow::Result<Outcome> {
    let telling =
        Telling { format: args.listen.format, mode: ProxyMode::StreamableHttp, notes: Vec::new(), printer };
    let workers = args.listen.workers;
    let settings = ServeSettings {
        name: WorkloadName::new(&args.name.context("a name is required")?)?,
        listen: serve::listen(&args.listen, args.port),
        tools: serve::tools(&args.tools)?,
        keys: serve::keys(&args.sessions),
        store: serve::store(&args.sessions)?,
        body: serve::body_limits(&args.listen),
        sessions: serve::session_limits(&args.sessions),
        on_loss: args.sessions.on_session_loss.into(),
        resend: serve::resend(&args.sessions),
        control: dirs::control().ok(),
        sleep_after: None,
        memory: None,
        endpoint_prefix: String::new(),
        drain: args.listen.drain,
        allowed_hosts: args.listen.allowed_hosts,
        allowed_origins: args.listen.allowed_origins,
        target: Target::Remote(HttpTarget {
            urls: args.target_uri,
            transport: args.transport.into(),
            headers: headers::parse(&args.remote.remote_forward_headers)?,
            ca_file: args.remote.remote_ca_file,
            stateless: args.remote.stateless,
        }),
    };
    serve::serve(settings, workers, &telling)
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
