//! What processes take, read from `/proc`: a process and all that it started.

use std::collections::HashMap;
use std::fs;

use serde::Serialize;

/// Clock ticks per second of `/proc/PID/stat`: 100 on every Linux that skep is built for.
const TICKS: f64 = 100.0;

/// Seconds of CPU that a process and its descendants have used.
pub(super) fn cpu_seconds(pid: u32) -> f64 {
    let ticks: u64 = tree(pid).iter().filter_map(|process| process.ticks).sum();
    ticks as f64 / TICKS
}

/// Kilobytes resident of one process.
pub(super) fn resident_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

/// Kilobytes of one process.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Memory {
    pub(super) resident_kb: u64,
    /// The same, with what several processes have mapped divided by their number.
    pub(super) proportional_kb: u64,
    /// Of these, what is in no file.
    pub(super) own_kb: u64,
}

pub(super) fn memory(pid: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
    };
    Memory { resident_kb: field("Rss:"), proportional_kb: field("Pss:"), own_kb: field("Anonymous:") }
}

/// The processes that a process has started.
pub(super) fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<_>>()).collect()
}

/// The machine in a line.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}

struct Stat {
    parent: u32,
    ticks: Option<u64>,
}

fn tree(root: u32) -> Vec<Stat> {
    let mut all: HashMap<u32, Stat> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some(stat) = stat(pid)
        {
            all.insert(pid, stat);
        }
    }
    let mut wanted = vec![root];
    let mut found = Vec::new();
    while let Some(pid) = wanted.pop() {
        wanted.extend(all.iter().filter(|(_, stat)| stat.parent == pid).map(|(pid, _)| *pid));
        found.extend(all.remove(&pid));
    }
    found
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let ticks = number(11).zip(number(12)).map(|(user, system)| user + system);
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, ticks })
}
