//! Runs the example server alone: `example-server [--http HOST:PORT] [--workers N] [--instance NAME]`, or `--stdio`.

use anyhow::{Context, bail};
use example::ExampleConfig;
use tokio_util::sync::CancellationToken;

fn main() -> anyhow::Result<()> {
    let mut config = ExampleConfig::default();
    let mut address = "127.0.0.1:0".to_owned();
    let mut stdio = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--stdio" => stdio = true,
            "--http" => address = value()?,
            "--workers" => config.workers = value()?.parse()?,
            "--instance" => config.instance = Some(value()?),
            _ => bail!("unknown argument {argument}"),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if stdio {
        runtime.block_on(example::serve_stdio(tokio::io::stdin(), tokio::io::stdout(), config))?;
        // A read of stdin cannot be cancelled: do not wait for it.
        runtime.shutdown_background();
        return Ok(());
    }
    let listener =
        std::net::TcpListener::bind(&address).with_context(|| format!("cannot listen on {address}"))?;
    #[expect(clippy::print_stdout, reason = "whoever starts it waits for this line")]
    {
        println!("http://{}/mcp", listener.local_addr()?);
    }
    let stop = CancellationToken::new();
    runtime.block_on(async {
        let serving = example::serve_http(listener, config, stop.clone());
        tokio::pin!(serving);
        tokio::select! {
            served = &mut serving => return served,
            _ = tokio::signal::ctrl_c() => stop.cancel(),
        }
        serving.await
    })?;
    Ok(())
}
