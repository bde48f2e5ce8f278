//! What is longer than a line: tests with all they need, the official conformance suite, benchmarks, and the tidy test.
//!
//! `cargo xtask help` lists them. `SKEP_TEST_BINARY` names the `skep` that they and the tests from outside try, relative to
//! the workspace; without it, they build one. `cargo xtask test` sets the variables that name what it has installed.

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "it measures real programs")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool that is read by people")]

mod bench;
mod build;
mod chaos;
mod conformance;
mod peers;
mod runtimes;
mod test;
mod tidy;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The project's chores.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run all tests, with what they need
    Test(test::TestArgs),
    /// Run the official conformance suite against the example server, alone and through skep
    Conformance(conformance::ConformanceArgs),
    /// Check what the compiler does not see
    Tidy,
    /// Kill servers, proxies and Redis at random and cut them off from each other, under clients that work, and check what
    /// those were told
    Chaos(chaos::ChaosArgs),
    /// Measure the proxy and the bridge against direct calls, nginx and other peers
    Bench(bench::BenchArgs),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Test(args) => test::run_all(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::Tidy => tidy::run(),
        Command::Chaos(args) => chaos::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}
