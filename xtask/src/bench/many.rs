//! Many servers behind one endpoint against a plain proxy in front of one of them: throughput, and what one server that
//! hangs costs the calls of another; how long the whole list takes; memory.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::mcp::Session;

use super::BenchArgs;
use super::load::ECHO;
use super::proxy::{Row, compare};
use super::servers::{self, Server};
use super::usage;

pub(super) const BACKENDS: usize = 20;
/// Of each, besides those that the example has anyway.
const TOOLS: &str = "60";
/// For all to be there.
const STARTING: Duration = Duration::from_secs(60);
/// The list is asked for so often, and the middle one counts.
const LISTS: usize = 21;

pub(super) const PROXY: &str = "skep proxy, one server";
pub(super) const WITHOUT: &str = "4 servers";
pub(super) const HANGS: &str = "the same and one that hangs";

#[derive(Debug, Serialize)]
pub(super) struct ManyReport {
    pub(super) tools: usize,
    pub(super) rows: Vec<Row>,
    /// Milliseconds for the whole list, all its pages.
    pub(super) list_ms: f64,
    /// Kilobytes resident of the virtual MCP.
    pub(super) resident_kb: u64,
}

pub(super) async fn measure(args: &BenchArgs, binary: &Path) -> anyhow::Result<ManyReport> {
    let example = ["example", "--http", "127.0.0.1:0", "--more-tools", TOOLS];
    let backends = (0..BACKENDS).map(|_| servers::skep(binary, "a server", &example));
    let backends: Vec<Server> = backends.collect::<Result<_, _>>()?;
    let hangs = servers::backend(binary)?;
    let folder = TempDir::new()?;
    let one = ["proxy", "bench", "--target-uri", &backends[0].url, "--format", "json"];
    let proxy = servers::skep(binary, PROXY, &one)?;
    let urls: Vec<&str> = backends.iter().map(|server| &*server.url).collect();
    let many = serve(binary, folder.path(), &format!("{BACKENDS} servers"), &urls).await?;
    let four = serve(binary, folder.path(), WITHOUT, &urls[..4]).await?;
    let five = serve(binary, folder.path(), HANGS, &[&urls[..4], &[&*hangs.url]].concat()).await?;
    hangs.hang()?;
    let (tools, list_ms) = list_time(&many.url).await?;
    let resident_kb = many.pid().map_or(0, usage::resident_kb);
    let contenders = [(&proxy, ECHO), (&many, "b0_echo"), (&four, "b0_echo"), (&five, "b0_echo")];
    let mut rows = Vec::new();
    for &connections in &args.connections {
        rows.extend(compare(&contenders, connections, args).await?);
    }
    Ok(ManyReport { tools, rows, list_ms, resident_kb })
}

/// A virtual MCP of these servers, called `b0`, `b1` and so on, once it has the tools of all of them.
async fn serve(binary: &Path, folder: &Path, name: &str, urls: &[&str]) -> anyhow::Result<Server> {
    let mut file = String::from("name: bench\ngroupRef: bench\nbackends:\n");
    for (number, url) in urls.iter().enumerate() {
        writeln!(file, "  - {{name: b{number}, url: '{url}', transport: streamable-http}}")?;
    }
    file.push_str(
        "incomingAuth: {type: anonymous}\noutgoingAuth: {source: inline}\n\
         aggregation: {conflictResolution: prefix, conflictResolutionConfig: {prefixFormat: '{workload}_'}}\n\
         sessionStorage: {provider: memory}\n",
    );
    // Each its own: a file that changes is read again.
    let path = folder.join(format!("{name}.yaml"));
    std::fs::write(&path, file)?;
    let path = path.to_str().context("the temporary folder has a strange name")?;
    let serve = ["vmcp", "serve", "--config", path, "--port", "0", "--format", "json"];
    let server = servers::skep(binary, name, &serve)?;
    let begun = Instant::now();
    let mut session = Session::open(&server.url).await?;
    loop {
        let tools = list(&mut session).await?;
        let is_there = |number: usize| tools.iter().any(|tool| *tool == format!("b{number}_{ECHO}"));
        if (0..urls.len()).all(is_there) {
            return Ok(server);
        }
        ensure!(begun.elapsed() < STARTING, "{name}: the tools of some are missing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many tools there are, and in how many milliseconds a client has the whole list.
async fn list_time(url: &str) -> anyhow::Result<(usize, f64)> {
    let mut session = Session::open(url).await?;
    let (mut times, mut tools) = (Vec::new(), 0);
    for _ in 0..LISTS {
        let begun = Instant::now();
        tools = list(&mut session).await?.len();
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok((tools, times[LISTS / 2]))
}

/// The names of all tools, page by page.
async fn list(session: &mut Session) -> anyhow::Result<Vec<String>> {
    let (mut names, mut params) = (Vec::new(), json!({}));
    loop {
        let answer = session.ask("tools/list", params).await?;
        let tools = answer["result"]["tools"].as_array().with_context(|| format!("{answer:.200}"))?;
        names.extend(tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)));
        match &answer["result"]["nextCursor"] {
            Value::String(cursor) => params = json!({"cursor": cursor}),
            _ => return Ok(names),
        }
    }
}
