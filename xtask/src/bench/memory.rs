//! Memory: idle, and with sessions that are open and unused.

use std::path::Path;

use anyhow::bail;
use serde::Serialize;
use testkit::mcp::Session;

use super::servers;
use super::usage;

#[derive(Debug, Serialize)]
pub(super) struct MemoryReport {
    /// Kilobytes resident of `skep proxy`, by sessions.
    pub(super) rows: Vec<(usize, u64)>,
    /// Bytes per idle session.
    pub(super) bytes_per_session: f64,
    /// Kilobytes resident of `skep run example` before the first session, its child not counted.
    pub(super) idle_run_kb: u64,
}

pub(super) async fn measure(binary: &Path, sessions: &[usize]) -> anyhow::Result<MemoryReport> {
    let backend = servers::backend(binary)?;
    let args = ["proxy", "bench", "--target-uri", &backend.url, "--format", "json"];
    let proxy = servers::skep(binary, "skep", &args)?;
    let pid = proxy.pid().expect("we started it");
    let mut rows = vec![(0, usage::resident_kb(pid))];
    let mut session = Session::open(&proxy.url).await?;
    let mut open = 1;
    for &wanted in sessions {
        while open < wanted {
            let Session { connection, address, path, .. } = session;
            session = Session::on(connection, address, path).await?;
            open += 1;
        }
        rows.push((wanted, usage::resident_kb(pid)));
    }
    let (Some(&(few, before)), Some(&(many, after))) = (rows.get(1), rows.last()) else {
        bail!("memory is measured at one number of sessions at least");
    };
    let bytes_per_session = (after.saturating_sub(before) * 1024) as f64 / (many - few).max(1) as f64;
    let run = servers::skep(binary, "run", &["run", "--foreground", "example", "--format", "json"])?;
    let idle_run_kb = usage::resident_kb(run.pid().expect("we started it"));
    Ok(MemoryReport { rows, bytes_per_session, idle_run_kb })
}
