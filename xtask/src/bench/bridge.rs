//! The bridge in front of a stdio server, against talking to the same server over its pipes: one session, one call
//! after the other and several at once; and how soon a cold start answers.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use testkit::mcp::Session;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::BenchArgs;
use super::load::{ECHO, Load};
use super::servers::{self, Server};

/// Calls under way at once in one session.
const AT_ONCE: usize = 16;

#[derive(Debug, Serialize)]
pub(super) struct BridgeRow {
    pub(super) name: String,
    /// One call after the other.
    pub(super) calls_per_second: f64,
    pub(super) p50_us: f64,
    /// [`AT_ONCE`] at a time.
    pub(super) at_once_per_second: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct BridgeReport {
    pub(super) rows: Vec<BridgeRow>,
    /// Milliseconds from the start of the stdio server to its first answered call over its pipes, and through a cold
    /// `skep run`.
    pub(super) own_start_ms: f64,
    pub(super) cold_run_ms: f64,
}

pub(super) async fn measure(args: &BenchArgs, binary: &Path) -> anyhow::Result<BridgeReport> {
    let time = Duration::from_secs_f64(args.seconds);
    let mut pipes = Pipes::open(binary).await?;
    let mut contenders =
        vec![servers::skep(binary, "skep run", &["run", "--foreground", "example", "--format", "json"])?];
    let stdio = format!("{} example", binary.display());
    for peer in &args.bridge_peer {
        contenders.push(servers::peer(peer, &[("{stdio}", &stdio)]).await?);
    }
    let mut rounds: Vec<Vec<BridgeRow>> = Vec::new();
    for _ in 0..args.rounds.max(1) {
        let mut round = vec![pipes.measure(time).await?];
        for contender in &contenders {
            round.push(through(contender, time).await?);
        }
        rounds.push(round);
    }
    let (mut own, mut cold) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        own.push(own_start(binary).await?);
        cold.push(cold_run(binary).await?);
    }
    let rows = (0..rounds[0].len()).map(|at| middle(&rounds.iter().map(|round| &round[at]))).collect();
    Ok(BridgeReport { rows, own_start_ms: median(own), cold_run_ms: median(cold) })
}

fn middle<'a>(rounds: &(impl Iterator<Item = &'a BridgeRow> + Clone)) -> BridgeRow {
    let of = |number: fn(&BridgeRow) -> f64| median(rounds.clone().map(number).collect());
    BridgeRow {
        name: rounds.clone().next().map(|row| row.name.clone()).unwrap_or_default(),
        calls_per_second: of(|row| row.calls_per_second),
        p50_us: of(|row| row.p50_us),
        at_once_per_second: of(|row| row.at_once_per_second),
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

async fn through(server: &Server, time: Duration) -> anyhow::Result<BridgeRow> {
    let mut load = Load::open(&server.url, ECHO, 1).await?;
    load.run(time / 10).await?;
    let one = load.run(time).await?;
    let mut load = Load::open_shared(&server.url, AT_ONCE).await?;
    load.run(time / 10).await?;
    let many = load.run(time).await?;
    Ok(BridgeRow {
        name: server.name.clone(),
        calls_per_second: one.per_second(),
        p50_us: one.quantile(500),
        at_once_per_second: many.per_second(),
    })
}

/// The stdio server itself, talked to over its pipes.
struct Pipes {
    _child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: String,
    number: u64,
}

impl Pipes {
    async fn open(binary: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command.arg("example").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().context("no stdin")?;
        let stdout = BufReader::with_capacity(64 * 1024, child.stdout.take().context("no stdout")?);
        let mut pipes = Self { _child: child, stdin, stdout, line: String::new(), number: 0 };
        let initialize = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{{"name":"bench","version":"0"}}}}}}"#,
            testkit::mcp::VERSION
        );
        pipes.stdin.write_all(format!("{initialize}\n").as_bytes()).await?;
        pipes.read().await?;
        pipes.stdin.write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n").await?;
        Ok(pipes)
    }

    fn request(&mut self, text: &mut String) {
        self.number += 1;
        text.push_str(&format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{0},\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"arguments\":{{\"message\":\"word-{0:012}\"}}}}}}\n",
            self.number
        ));
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        self.line.clear();
        ensure!(self.stdout.read_line(&mut self.line).await? > 0, "the server is gone");
        Ok(())
    }

    /// Calls, so many under way at once, for so long. Gives the sorted nanoseconds of each round trip.
    async fn call(&mut self, at_once: usize, time: Duration) -> anyhow::Result<(u64, Vec<u128>)> {
        let begun = Instant::now();
        let (mut calls, mut latencies) = (0, Vec::new());
        let mut text = String::new();
        while begun.elapsed() < time {
            let sent = Instant::now();
            text.clear();
            for _ in 0..at_once {
                self.request(&mut text);
            }
            self.stdin.write_all(text.as_bytes()).await?;
            for _ in 0..at_once {
                self.read().await?;
                ensure!(self.line.contains("word-"), "another answer: {}", self.line);
            }
            latencies.push(sent.elapsed().as_nanos());
            calls += at_once as u64;
        }
        latencies.sort_unstable();
        Ok((calls, latencies))
    }

    async fn measure(&mut self, time: Duration) -> anyhow::Result<BridgeRow> {
        let (one, latencies) = self.call(1, time).await?;
        let (many, _) = self.call(AT_ONCE, time).await?;
        Ok(BridgeRow {
            name: "over its pipes".to_owned(),
            calls_per_second: one as f64 / time.as_secs_f64(),
            p50_us: latencies[latencies.len() / 2] as f64 / 1000.0,
            at_once_per_second: many as f64 / time.as_secs_f64(),
        })
    }
}

async fn own_start(binary: &Path) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut pipes = Pipes::open(binary).await?;
    pipes.call(1, Duration::from_nanos(1)).await?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

async fn cold_run(binary: &Path) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let server = servers::skep(binary, "cold", &["run", "--foreground", "example", "--format", "json"])?;
    Session::open(&server.url).await?.call("echo", serde_json::json!({"message": "x"})).await?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}
