//! `cargo xtask chaos`: real processes, killed at random while clients work; afterwards it is checked that nobody was told
//! anything untrue.
//!
//! Instances of the example server, several `skep proxy` that share a Redis, and clients whose every call is a line in a
//! journal that outlives the servers. A nemesis kills and stops instances, lets them come back at each other's addresses,
//! kills and stops proxies, rotates their keys, stops Redis and takes it away with all that is in it, gives an instance's
//! address to another server, and lets packets be lost between them. The checker compares what clients were told with what
//! the journal says was done, and sees to it that a session lives in one place.

mod cast;
mod check;
mod clients;
mod nemesis;
mod network;
mod role;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::build;
use cast::Cast;
use check::Report;
use nemesis::Nemesis;
use network::Network;

/// Arguments of `cargo xtask chaos`.
#[derive(Debug, clap::Args)]
pub(crate) struct ChaosArgs {
    /// The binary to try; default: built with --profile
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Cargo profile to build with
    #[arg(long, default_value = "release-dev")]
    profile: String,
    /// How long
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Instances of the backend
    #[arg(long, default_value_t = 3)]
    instances: usize,
    /// Proxies in front of them
    #[arg(long, default_value_t = 2)]
    proxies: usize,
    /// Sessions, each with two clients
    #[arg(long, default_value_t = 20)]
    sessions: usize,
    /// The nemesis acts this often, in milliseconds, on average
    #[arg(long, default_value_t = 500)]
    every: u64,
    /// Whether packets are lost too, between network namespaces that only root can make; where they cannot be made, the run
    /// says so and goes on without
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    partitions: bool,
    /// Where chance begins; printed, so that a run can be had again as far as the machine allows
    #[arg(long)]
    seed: Option<u64>,
}

impl ChaosArgs {
    /// A short run, for the tests.
    pub(crate) fn short(profile: &str) -> Self {
        Self {
            binary: None,
            profile: profile.to_owned(),
            seconds: 20.0,
            instances: 3,
            proxies: 2,
            sessions: 10,
            every: 400,
            partitions: true,
            seed: None,
        }
    }
}

pub(crate) fn run(args: &ChaosArgs) -> anyhow::Result<()> {
    let enough = args.instances > 0 && args.proxies > 0 && args.every > 0;
    ensure!(enough, "--instances, --proxies and --every are 1 at least");
    let binary = match &args.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => build::skep(&args.profile)?,
    };
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let seed = args.seed.unwrap_or(since.as_secs());
    println!("seed {seed}");
    // Outlives the runtime, and with it all that runs in it.
    let network = lay_network(args);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            report = play(args, &binary, seed, network.clone()) => report,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("told to stop"),
        }
    })?;
    println!("{report}");
    ensure!(report.is_clean(), "promises were broken (seed {seed})");
    Ok(())
}

/// A spot for each process, where that can be had.
fn lay_network(args: &ChaosArgs) -> Option<Arc<Network>> {
    if !args.partitions {
        return None;
    }
    match Network::lay(args.instances + args.proxies + 1) {
        Ok(network) => Some(Arc::new(network)),
        Err(why) => {
            println!("without partitions: {why:#}");
            None
        }
    }
}

async fn play(
    args: &ChaosArgs,
    binary: &Path,
    seed: u64,
    network: Option<Arc<Network>>,
) -> anyhow::Result<Report> {
    let mut cast = Cast::start(binary, args.instances, args.proxies, network)?;
    let end = Instant::now() + Duration::from_secs_f64(args.seconds);
    let clients = clients::start(&cast.urls(), args.sessions, seed, end).await?;
    let mut nemesis = Nemesis::new(seed, args.every, args.instances, args.proxies);
    let begun = Instant::now();
    let mut redis_restarts = 0;
    while Instant::now() < end {
        sleep(nemesis.rest()).await;
        let passed = begun.elapsed().as_secs_f64() / args.seconds;
        if passed > f64::from(redis_restarts + 1) / 3.0 && redis_restarts < 2 {
            redis_restarts += 1;
            nemesis.take_redis_away(&mut cast).await?;
        } else {
            nemesis.act(&mut cast).await?;
        }
        cast.healed()?;
    }
    let history = clients.finish().await?;
    let report = check::check(history, &cast.journal()?, &cast.strange_journal()?, cast.deeds());
    if !report.is_clean() {
        println!("logs: {}", cast.keep_logs().display());
    }
    Ok(report)
}
