//! `cargo xtask bench`: how fast, how lean, as ratios of one run on one machine.
//!
//! Every contender stands in front of the same backend (the built-in example server) and takes turns with the others in
//! rounds, so that what else the machine does hits all alike; the middle one of the rounds counts. The load comes from
//! one thread of this process and shares the cores with everything else: look at the ratios.

mod bridge;
mod daemon;
mod load;
mod many;
mod memory;
mod proxy;
mod report;
mod servers;
mod usage;

use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::build;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// The binary to measure; default: built with --profile
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Cargo profile to build with
    #[arg(long, default_value = "release")]
    profile: String,
    /// Connections at once, each with a session
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    connections: Vec<usize>,
    /// Seconds per measurement
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds, of which the middle one counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Another proxy in front of the same backend: a URL that leads there, or a command in which {target} stands for
    /// the backend's URL and {port} for the port to listen on (repeatable)
    #[arg(long, value_name = "NAME=URL|COMMAND")]
    peer: Vec<String>,
    /// Another bridge: a command in which {stdio} stands for the stdio server's command line and {port} for the port
    #[arg(long, value_name = "NAME=COMMAND")]
    bridge_peer: Vec<String>,
    /// Sessions at which memory is measured, growing
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    sessions: Vec<usize>,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Part::Proxy, Part::Bridge, Part::Memory, Part::Daemon])]
    only: Vec<Part>,
    /// Write the numbers here too
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    json: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Proxy,
    Bridge,
    Memory,
    /// Many servers behind one endpoint
    Many,
    /// Compiling and rendering templates
    Daemon,
    Templates,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Proxy => "proxy",
            Self::Bridge => "bridge",
            Self::Memory => "memory",
            Self::Many => "many",
            Self::Daemon => "daemon",
            Self::Templates => "templates",
        };
        f.write_str(name)
    }
}

/// All numbers.
#[derive(Debug, Default, Serialize)]
struct Report {
    machine: String,
    binary_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<proxy::ProxyReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bridge: Option<bridge::BridgeReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<memory::MemoryReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    many: Option<many::ManyReport>,
    daemon: Option<daemon::DaemonReport>,
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    if args.only.contains(&Part::Templates) {
        build::cargo(&["bench", "--package", "vmcp", "--bench", "template"])?;
    }
    if args.only == [Part::Templates] {
        return Ok(());
    }
    let binary = match &args.binary {
        Some(path) => path.canonicalize().with_context(|| format!("{}", path.display()))?,
        None => build::skep(&args.profile)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = Report {
        machine: usage::machine(),
        binary_bytes: std::fs::metadata(&binary)?.len(),
        ..Report::default()
    };
    println!("{}; load, backend and proxy share its cores\n", report.machine);
    if args.only.contains(&Part::Proxy) {
        report.proxy = Some(runtime.block_on(proxy::measure(args, &binary))?);
        report::proxy(report.proxy.as_ref().expect("just measured"));
    }
    if args.only.contains(&Part::Bridge) {
        report.bridge = Some(runtime.block_on(bridge::measure(args, &binary))?);
        report::bridge(report.bridge.as_ref().expect("just measured"));
    }
    if args.only.contains(&Part::Memory) {
        report.memory = Some(runtime.block_on(memory::measure(&binary, &args.sessions))?);
        report::memory(report.memory.as_ref().expect("just measured"), report.binary_bytes);
    }
    if args.only.contains(&Part::Many) {
        report.many = Some(runtime.block_on(many::measure(args, &binary))?);
        report::many(report.many.as_ref().expect("just measured"));
    }
    if args.only.contains(&Part::Daemon) {
        report.daemon = Some(daemon::measure(&binary)?);
        report::daemon(report.daemon.as_ref().expect("just measured"));
    }
    let path = build::root().join(&args.json);
    std::fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("{} could not be written", path.display()))?;
    println!("as JSON: {}", path.display());
    Ok(())
}
