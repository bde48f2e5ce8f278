//! Shell scripts as workloads, and looking at processes from outside.

use std::fs;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::time::{sleep, timeout};
use workload::{CommandSpec, LogTail, Pipes, Process};

/// Longer than anything here takes; reaching it is a failure.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// A grace period that nothing obedient exceeds.
pub(crate) const LONG_GRACE: Duration = Duration::from_secs(15);

pub(crate) fn spec(script: &str) -> CommandSpec {
    CommandSpec::new("/bin/sh", ["-c", script]).unwrap()
}

pub(crate) async fn spawn(script: &str) -> (Process, Pipes) {
    Process::spawn_piped(&spec(script), &LogTail::new("test")).await.unwrap()
}

/// The next line a process writes.
pub(crate) async fn line(from: impl AsyncRead + Unpin) -> String {
    let mut line = String::new();
    timeout(LIMIT, BufReader::new(from).read_line(&mut line)).await.unwrap().unwrap();
    line.trim_end().to_owned()
}

/// The process ids a script says on one line.
pub(crate) async fn pids(from: impl AsyncRead + Unpin) -> Vec<u32> {
    line(from).await.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Whether a process runs; a zombie does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let poll = async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(LIMIT, poll).await.is_ok(), "never came true: {what}");
}

pub(crate) async fn until_gone(pids: &[u32]) {
    assert!(!pids.is_empty());
    until(&format!("{pids:?} are gone"), || !pids.iter().any(|&pid| is_alive(pid))).await;
}
