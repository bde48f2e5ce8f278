//! `cargo xtask test`: everything that must hold before a change goes in, on a clean clone, with what it needs.

use std::process::Command;
use std::time::Instant;

use crate::build::{cargo, root, run};
use crate::runtimes::Runtimes;
use crate::{chaos, conformance, peers, tidy};

/// What chaos and conformance are tried on: the binary that the tests have built already. Nothing here is about speed.
const PROFILE: &str = "dev";

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// Without the official conformance suite and chaos
    #[arg(long)]
    skip_conformance: bool,
}

pub(crate) fn run_all(args: &TestArgs) -> anyhow::Result<()> {
    step("format", || cargo(&["fmt", "--all", "--check"]))?;
    step("tidy", tidy::run)?;
    let peers = step("what the tests need", peers::install)?;
    step("lints", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])
    })?;
    let runtimes = match step("container runtimes", Runtimes::start) {
        Ok(runtimes) => Some(runtimes),
        Err(error) if !is_ci() => {
            println!("tests with containers are left out: {error:#}");
            None
        }
        Err(error) => return Err(error),
    };
    step("tests", || {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut tests = Command::new(cargo);
        tests.args(["test", "--workspace", "--no-fail-fast"]).current_dir(root());
        tests.env("SKEP_TEST_NODE", &peers.node).env("SKEP_TEST_PYTHON", &peers.python);
        if let Some(runtimes) = &runtimes {
            tests.env("SKEP_TEST_DOCKER", runtimes.docker_socket());
            tests.env("SKEP_TEST_PODMAN", runtimes.podman_socket());
        }
        run(tests.env("SKEP_TEST_PYTHON_V1", &peers.python_v1))
    })?;
    drop(runtimes);
    if !args.skip_conformance {
        step("chaos", || chaos::run(&chaos::ChaosArgs::short(PROFILE)))?;
        step("conformance", || conformance::run(&conformance::ConformanceArgs::with_profile(PROFILE)))?;
    }
    Ok(())
}

fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

fn step<T>(name: &str, run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    println!("\n=== {name}");
    let begun = Instant::now();
    let done = run()?;
    println!("=== {name}: {:.0} s", begun.elapsed().as_secs_f64());
    Ok(done)
}
