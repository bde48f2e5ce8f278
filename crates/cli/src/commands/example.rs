//! `skep example`: the built-in server itself, at stdin and stdout or over HTTP.

use std::sync::Arc;

use anyhow::Context;
use example::{ExampleConfig, Journal};
use tokio_util::sync::CancellationToken;

use crate::args::{Era, ExampleArgs};
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::signals::StopSignals;

pub(crate) fn run(args: &ExampleArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let journal = args.journal.as_ref().map(|path| {
        let opened = Journal::open(path).with_context(|| format!("{} could not be opened", path.display()));
        opened.map(Arc::new)
    });
    let config = ExampleConfig {
        journal: journal.transpose()?,
        instance: args.instance.clone(),
        server_name: args.server_name.clone(),
        allowed_hosts: args.allowed_hosts.clone(),
        workers: args.workers,
        session_idle: args.session_idle,
        more_tools: args.more_tools,
        only: args.only.map(|era| match era {
            Era::Legacy => example::Era::Legacy,
            Era::Modern => example::Era::Modern,
        }),
        ..ExampleConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &args.http {
        Some(address) => runtime.block_on(serve_http(address, config, printer))?,
        None => {
            runtime.block_on(example::serve_stdio(tokio::io::stdin(), tokio::io::stdout(), config))?;
            // A read of stdin cannot be cancelled: it is not waited for.
            runtime.shutdown_background();
        }
    }
    Ok(Outcome::Done)
}

async fn serve_http(address: &str, config: ExampleConfig, printer: &Printer) -> anyhow::Result<()> {
    let mut signals = StopSignals::listen()?;
    let listener = std::net::TcpListener::bind(address)
        .with_context(|| format!("{address} could not be listened on"))?;
    printer.data(&format!("http://{}/mcp\n", listener.local_addr()?))?;
    let stop = CancellationToken::new();
    let mut serving = std::pin::pin!(example::serve_http(listener, config, stop.clone()));
    tokio::select! {
        served = &mut serving => return Ok(served?),
        () = signals.next() => stop.cancel(),
    }
    Ok(serving.await?)
}
