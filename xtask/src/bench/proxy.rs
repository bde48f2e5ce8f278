//! The proxy against direct calls, nginx and others: throughput, CPU per request, added latency.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::BenchArgs;
use super::load::{ECHO, Load, Measured};
use super::servers::{self, Server};
use super::usage;

/// Before the first round, so that connections are open and caches warm.
const WARM_UP: Duration = Duration::from_millis(500);

/// One contender at one number of connections: the middle round.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) connections: usize,
    pub(super) name: String,
    pub(super) requests_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Of the proxy alone; `None` where it is not our process.
    pub(super) cpu_us_per_request: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct ProxyReport {
    pub(super) rows: Vec<Row>,
}

pub(super) async fn measure(args: &BenchArgs, binary: &Path) -> anyhow::Result<ProxyReport> {
    let backend = servers::backend(binary)?;
    let target = backend.url.clone();
    let mut contenders = vec![backend];
    let skep = ["proxy", "bench", "--target-uri", &target, "--format", "json"];
    contenders.push(servers::skep(binary, "skep", &skep)?);
    let redis = servers::redis()?;
    match &redis {
        Some((_, store)) => {
            let shared = [skep.as_slice(), &["--store", store]].concat();
            contenders.push(servers::skep(binary, "skep, Redis", &shared)?);
        }
        None => println!("redis-server is not installed: not measured with a store that is shared"),
    }
    match servers::nginx(&target).await? {
        Some(nginx) => contenders.push(nginx),
        None => println!("nginx is not installed: nothing to compare with"),
    }
    for peer in &args.peer {
        contenders.push(servers::peer(peer, &[("{target}", &target)]).await?);
    }
    let contenders: Vec<Contender<'_>> = contenders.iter().map(|server| (server, ECHO)).collect();
    let mut rows = Vec::new();
    for &connections in &args.connections {
        rows.extend(compare(&contenders, connections, args).await?);
    }
    Ok(ProxyReport { rows })
}

/// Who is measured, and by which name it knows the tool that is called.
pub(super) type Contender<'a> = (&'a Server, &'a str);

/// All contenders at one number of connections, taking turns.
pub(super) async fn compare(
    contenders: &[Contender<'_>],
    connections: usize,
    args: &BenchArgs,
) -> anyhow::Result<Vec<Row>> {
    let time = Duration::from_secs_f64(args.seconds);
    let mut loads = Vec::new();
    for (contender, tool) in contenders {
        let mut load = Load::open(&contender.url, tool, connections).await?;
        load.run(WARM_UP).await?;
        loads.push(load);
    }
    let mut rounds: Vec<Vec<Row>> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..args.rounds.max(1) {
        for (((contender, _), load), rounds) in contenders.iter().zip(&mut loads).zip(&mut rounds) {
            let before = contender.pid().map(usage::cpu_seconds);
            let measured = load.run(time).await?;
            let cpu = before.zip(contender.pid()).map(|(before, pid)| usage::cpu_seconds(pid) - before);
            rounds.push(row(&contender.name, connections, &measured, cpu));
        }
    }
    Ok(rounds.iter().map(|rounds| middle(rounds)).collect())
}

fn row(name: &str, connections: usize, measured: &Measured, cpu: Option<f64>) -> Row {
    Row {
        connections,
        name: name.to_owned(),
        requests_per_second: measured.per_second(),
        p50_us: measured.quantile(500),
        p99_us: measured.quantile(990),
        cpu_us_per_request: cpu.map(|seconds| seconds * 1e6 / measured.requests.max(1) as f64),
    }
}

/// Each number's own middle.
fn middle(rounds: &[Row]) -> Row {
    let median = |number: &dyn Fn(&Row) -> f64| {
        let mut numbers: Vec<f64> = rounds.iter().map(number).collect();
        numbers.sort_by(f64::total_cmp);
        numbers[numbers.len() / 2]
    };
    Row {
        requests_per_second: median(&|row| row.requests_per_second),
        p50_us: median(&|row| row.p50_us),
        p99_us: median(&|row| row.p99_us),
        cpu_us_per_request: rounds[0]
            .cpu_us_per_request
            .map(|_| median(&|row| row.cpu_us_per_request.unwrap_or(f64::NAN))),
        ..rounds[0].clone()
    }
}
