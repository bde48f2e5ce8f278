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
        let base = self.row("direct", &target, None)?;
        let failed: usize = base.iter().map(Checks::failed).sum();
        let mut lost = failed;
        let mut proxy = self.skep(&["proxy", "conformance", "--target-uri", &target, "--format", "json"])?;
        lost += self.compared("proxy", &proxy.url()?, &base)?;
        let mut bridge = self.skep(&["run", "example", "--format", "json"])?;
        lost += self.compared("bridge", &bridge.url()?, &base)?;
        println!();
        Ok(lost)
    }

    fn compared(&self, name: &str, url: &str, base: &[Checks]) -> anyhow::Result<usize> {
        let rows = self.row(name, url, Some(base))?;
        let lost: Vec<String> = base.iter().zip(&rows).flat_map(|(base, row)| base.lost_in(row)).collect();
        lost.iter().for_each(|line| println!("  lost through {name}: {line}"));
        Ok(lost.len())
    }

    /// Both sets against one URL, a row of the table.
    fn row(&self, name: &str, url: &str, base: Option<&[Checks]>) -> anyhow::Result<Vec<Checks>> {
        let mut cells = Vec::new();
        for (at, revision) in REVISIONS.into_iter().enumerate() {
            let out = self.out.join(format!("server-{name}-{revision}"));
            self.suite(&["server", "--url", url, "--requirements", revision], &out, &[])?;
            let checks = Checks::read(&out, |_| true)?;
            print!("{}", if at == 0 { format!("| {name} ") } else { String::new() });
            let lost = base.map_or(0, |base| base[at].lost_in(&checks).len());
            print!("| {} passed, {} failed, {lost} lost ", checks.passed(), checks.failed());
            cells.push(checks);
        }
        println!("|");
        Ok(cells)
    }

    /// The suite as odd servers, with a known-good client in front of them, alone and through `skep proxy`. Scenarios of
    /// authorization name the server's own URL and so say nothing about a proxy.
    fn client(&self) -> anyhow::Result<usize> {
        println!("| client scenarios outside auth | {} |", REVISIONS.join(" | "));
        println!("|---|---|---|");
        let client =
            format!("{} {}", self.peers.node.display(), self.peers.folder.join("client.mjs").display());
        let through = format!(
            "{} {}",
            self.peers.node.display(),
            self.peers.folder.join("through_proxy.mjs").display()
        );
        let mut lost = 0;
        let mut base: Vec<Checks> = Vec::new();
        for (name, command) in [("direct", client), ("proxy", through)] {
            print!("| {name} ");
            for (at, revision) in REVISIONS.into_iter().enumerate() {
                let out = self.out.join(format!("client-{name}-{revision}"));
                let skep = [("SKEP", self.binary.as_path())];
                self.suite(&["client", "--command", &command, "--requirements", revision], &out, &skep)?;
                let checks = Checks::read(&out, |scenario| !scenario.starts_with("auth"))?;
                let missing = base.get(at).map_or_else(Vec::new, |base| base.lost_in(&checks));
                print!("| {} passed, {} failed, {} lost ", checks.passed(), checks.failed(), missing.len());
                lost += missing.len();
                missing.iter().for_each(|line| eprintln!("  lost through {name}: {line}"));
                if name == "direct" {
                    base.push(checks);
                }
            }
            println!("|");
        }
        println!();
        Ok(lost)
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
