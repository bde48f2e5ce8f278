//! Runs a command, shows what it writes, and holds it until it ends: `hold CMD [ARG…]`.
//!
//! Kill it in any way and look whether something is left behind; the tests do (`tests/it/parent_death.rs`).

use std::env::args_os;

use anyhow::{Context, ensure};
use workload::{CommandSpec, LogTail, Process};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = args_os().skip(1);
    let spec = CommandSpec::new(args.next().context("usage: hold CMD [ARG…]")?, args)?;
    let (process, mut pipes) = Process::spawn_piped(&spec, &LogTail::new("held")).await?;
    tokio::io::copy(&mut pipes.stdout, &mut tokio::io::stdout()).await?;
    let exit = process.wait().await;
    ensure!(exit.is_success(), "the command {exit}");
    Ok(())
}
