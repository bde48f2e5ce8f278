//! `cargo xtask chaos`: real processes, killed at random while clients work; afterwards it is checked that nobody was told
//! anything untrue.
//!
//! Instances of the example server, several `skep proxy` that share a Redis, and clients whose every call is a line in a
//! journal that outlives the servers. A nemesis kills and stops instances, lets them come back at each other's addresses,
//! kills and stops proxies, rotates their keys, stops Redis and takes it away with all that is in it. The checker compares
//! what clients were told with what the journal says was done, and sees to it that a session lives in one place.

mod cast;
mod check;
mod clients;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use crate::build;
use cast::Cast;
use check::{History, Report};

/// Proxies are spared for so long after Redis has lost everything: where the only process that knows a session dies in
/// that time, nobody can know it.
const REFILL: Duration = Duration::from_secs(5);

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
    /// Where chance begins; printed, so that a run can be had again as far as the machine allows
    #[arg(long)]
    seed: Option<u64>,
}

impl ChaosArgs {
    /// A short run, for the tests.
    pub(crate) fn short() -> Self {
        Self {
            binary: None,
            profile: "release-dev".to_owned(),
            seconds: 20.0,
            instances: 3,
            proxies: 2,
            sessions: 10,
            every: 400,
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(play(args, &binary, seed))?;
    println!("{report}");
    ensure!(report.is_clean(), "promises were broken (seed {seed})");
    Ok(())
}

async fn play(args: &ChaosArgs, binary: &std::path::Path, seed: u64) -> anyhow::Result<Report> {
    let mut cast = Cast::start(binary, args.instances, args.proxies)?;
    let end = Instant::now() + Duration::from_secs_f64(args.seconds);
    let clients = clients::start(&cast.urls(), args.sessions, seed, end).await?;
    let mut dice = Rng::with_seed(!seed);
    let begun = Instant::now();
    let (mut redis_restarts, mut spared_until) = (0, begun);
    while Instant::now() < end {
        sleep(Duration::from_millis(args.every / 2 + dice.u64(..args.every))).await;
        let passed = begun.elapsed().as_secs_f64() / args.seconds;
        if passed > f64::from(redis_restarts + 1) / 3.0 && redis_restarts < 2 {
            redis_restarts += 1;
            cast.restart_redis(Duration::from_millis(500 + dice.u64(..1500))).await?;
            spared_until = Instant::now() + REFILL;
            continue;
        }
        let mut a_while = |most: u64| Duration::from_millis(dice.u64(..most));
        let (short, medium, long) = (a_while(args.every), a_while(1000), a_while(4000));
        let spared = Instant::now() < spared_until;
        match dice.u64(..200) {
            0..20 if spared => {}
            0..18 => cast.kill_proxy(dice.usize(..args.proxies)).await?,
            18 | 19 => cast.rotate_keys().await?,
            20..24 => cast.stop_proxy(dice.usize(..args.proxies), long).await?,
            24..26 => cast.stop_redis(long).await?,
            26..32 if args.instances > 1 => {
                let one = dice.usize(..args.instances);
                cast.swap_instances(one, (one + 1) % args.instances).await?;
            }
            32..44 => cast.stop_instance(dice.usize(..args.instances), medium).await?,
            _ => cast.kill_instance(dice.usize(..args.instances), short).await?,
        }
    }
    let history: History = clients.finish().await?;
    let journal = cast.journal()?;
    let report = check::check(history, &journal, cast.deeds());
    if !report.is_clean() {
        println!("logs: {}", cast.keep_logs().display());
    }
    Ok(report)
}
