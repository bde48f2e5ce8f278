//! `cargo xtask conformance`: the official suite against the example server alone, and through skep. Not one check may
//! be lost on the way.

mod checks;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use testkit::Program;

use crate::build;
use crate::peers::{self, Peers};
use checks::Checks;

/// The frozen sets that the suite has.
const REVISIONS: [&str; 2] = ["2025-11-25", "2026-07-28"];
/// The client scenarios of each. Those of authorization name the server's own URL and so say nothing about a proxy.
const CLIENT_SCENARIOS: [&[&str]; 2] = [
    &[
        "initialize",
        "tools_call",
        "elicitation-sep1034-client-defaults",
        "sse-retry",
        "json-schema-2020-12-preservation",
    ],
    &[
        "tools_call",
        "request-metadata",
        "sep-2322-client-request-state",
        "http-standard-headers",
        "http-custom-headers",
        "http-invalid-tool-headers",
        "json-schema-ref-no-deref",
        "json-schema-2020-12-preservation",
    ],
];
/// A run that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Arguments of `cargo xtask conformance`.
#[derive(Debug, clap::Args)]
pub(crate) struct ConformanceArgs {
    /// The binary to try; default: built with --profile
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Cargo profile to build with
    #[arg(long, default_value = "release-dev")]
    profile: String,
}

impl ConformanceArgs {
    /// With the binary built by this profile.
    pub(crate) fn with_profile(profile: &str) -> Self {
        Self { binary: None, profile: profile.to_owned() }
    }
}

pub(crate) fn run(args: &ConformanceArgs) -> anyhow::Result<()> {
    let binary = match &args.binary {
        Some(path) => path.canonicalize().with_context(|| path.display().to_string())?,
        None => build::skep(&args.profile)?,
    };
    let suite = Suite { peers: peers::install()?, binary, out: build::target().join("conformance") };
    if suite.out.exists() {
        std::fs::remove_dir_all(&suite.out)?;
    }
    let lost = suite.server()? + suite.client()?;
    if lost > 0 {
        bail!("{lost} checks were lost");
    }
    println!("conformance: no check lost");
    Ok(())
}

struct Suite {
    peers: Peers,
    binary: PathBuf,
    out: PathBuf,
}

impl Suite {
    /// The suite as a client of our server.
    fn server(&self) -> anyhow::Result<usize> {
        println!("| server scenarios | {} |", REVISIONS.join(" | "));
        println!("|---|---|---|");
        let mut direct = self.skep(&["example", "--http", "127.0.0.1:0"])?;
        let target = direct.url()?;
        let base = self.server_row("direct", &target)?;
        print_row("direct", &base, None);
        let mut lost: usize = base.iter().map(Checks::failed).sum();
        let mut proxy = self.skep(&["proxy", "conformance", "--target-uri", &target, "--format", "json"])?;
        let row = self.server_row("proxy", &proxy.url()?)?;
        lost += print_row("proxy", &row, Some(&base));
        let mut bridge = self.skep(&["run", "--foreground", "example", "--format", "json"])?;
        let row = self.server_row("bridge", &bridge.url()?)?;
        lost += print_row("bridge", &row, Some(&base));
        let row = self.hub_row("vmcp", &[("example", &target)])?;
        lost += print_row("vmcp", &row, Some(&base));
        let one_era = |era| self.skep(&["example", "--http", "127.0.0.1:0", "--only", era]);
        let (mut old, mut new) = (one_era("legacy")?, one_era("modern")?);
        let (old, new) = (old.url()?, new.url()?);
        let row = self.hub_row("vmcp-of-three", &[("example", &target), ("old", &old), ("new", &new)])?;
        lost += print_row("vmcp of three", &row, Some(&base));
        println!();
        Ok(lost)
    }

    /// Both sets against these servers as one, which keep their names: the first has what several have.
    fn hub_row(&self, name: &str, backends: &[(&str, &str)]) -> anyhow::Result<Vec<Checks>> {
        let file = self.out.join(format!("{name}.yaml"));
        std::fs::write(&file, virtual_mcp(backends))?;
        let file = file.to_str().context("the target folder's name is no text")?;
        let mut hub = self.skep(&["vmcp", "serve", "--config", file, "--port", "0", "--format", "json"])?;
        self.server_row(name, &hub.url()?)
    }

    /// Both sets against one URL.
    fn server_row(&self, name: &str, url: &str) -> anyhow::Result<Vec<Checks>> {
        let row = REVISIONS.iter().map(|revision| {
            let out = self.out.join(format!("server-{name}-{revision}"));
            self.suite(&["server", "--url", url, "--requirements", revision], &out, &[])?;
            Checks::read(&out)
        });
        row.collect()
    }

    /// The suite as odd servers, with a known-good client in front of them, alone and through `skep proxy`.
    fn client(&self) -> anyhow::Result<usize> {
        println!("| client scenarios outside auth | {} |", REVISIONS.join(" | "));
        println!("|---|---|---|");
        let command = |script: &str| {
            format!("{} {}", self.peers.node.display(), self.peers.folder.join(script).display())
        };
        let base = self.client_row("direct", &command("client.mjs"))?;
        print_row("direct", &base, None);
        let through = self.client_row("proxy", &command("through_proxy.mjs"))?;
        let lost = print_row("proxy", &through, Some(&base));
        println!();
        Ok(lost)
    }

    fn client_row(&self, name: &str, command: &str) -> anyhow::Result<Vec<Checks>> {
        let row = REVISIONS.into_iter().zip(CLIENT_SCENARIOS);
        row.map(|(revision, scenarios)| {
            let out = self.out.join(format!("client-{name}-{revision}"));
            for scenario in scenarios {
                let args =
                    ["client", "--command", command, "--scenario", scenario, "--spec-version", revision];
                self.suite(&args, &out.join(scenario), &[("SKEP", self.binary.as_path())])?;
            }
            Checks::read(&out)
        })
        .collect()
    }

    fn suite(&self, args: &[&str], out: &Path, env: &[(&str, &Path)]) -> anyhow::Result<()> {
        std::fs::create_dir_all(out)?;
        let mut command = Command::new(&self.peers.node);
        command.arg(self.peers.suite()).args(args).arg("-o").arg(out).current_dir(out);
        command.envs(env.iter().copied());
        let (stdout, stderr, _) = testkit::program::run(command, PATIENCE)?;
        // Whether it passed is told by the checks, not by the exit code: that one leaves out what is not scored.
        std::fs::write(out.join("suite.log"), stdout + &stderr)?;
        Ok(())
    }

    fn skep(&self, args: &[&str]) -> anyhow::Result<Program> {
        let mut command = Command::new(&self.binary);
        command.args(args).stdin(Stdio::null()).stderr(Stdio::null());
        Program::start(command)
    }
}

/// A virtual MCP of these servers.
fn virtual_mcp(backends: &[(&str, &str)]) -> String {
    let all: String = backends
        .iter()
        .map(|(name, url)| format!("  - {{name: {name}, url: '{url}', transport: streamable-http}}\n"))
        .collect();
    let order = backends.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    format!(
        "name: conformance
groupRef: default
backends:
{all}incomingAuth: {{type: anonymous}}
outgoingAuth: {{source: inline}}
aggregation: {{conflictResolution: priority, conflictResolutionConfig: {{priorityOrder: [{order}]}}}}
"
    )
}

/// Prints a row of a table, and what it lost against the first one. Gives how many checks that are.
fn print_row(name: &str, row: &[Checks], base: Option<&[Checks]>) -> usize {
    let lost: Vec<Vec<String>> = match base {
        Some(base) => base.iter().zip(row).map(|(base, checks)| base.lost_in(checks)).collect(),
        None => row.iter().map(|_| Vec::new()).collect(),
    };
    let cell = |(checks, lost): (&Checks, &Vec<String>)| {
        format!("{} passed, {} failed, {} lost", checks.passed(), checks.failed(), lost.len())
    };
    let cells: Vec<String> = row.iter().zip(&lost).map(cell).collect();
    println!("| {name} | {} |", cells.join(" | "));
    let lost: Vec<String> = lost.into_iter().flatten().collect();
    lost.iter().for_each(|check| eprintln!("  lost through {name}: {check}"));
    lost.len()
}
