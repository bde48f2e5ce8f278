//! The daemon: what it takes, idle and with isolated servers, besides these; and how long `skep list` takes.
//!
//! Most of what is resident is the program file, as far as it was looked at. Of a file that was just written Linux maps more
//! than that: it lies in large pieces in the page cache, and each is mapped whole. So it is let go of first, as after a
//! restart of the machine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::fs::{Advice, fadvise};
use serde::Serialize;
use tempfile::TempDir;
use testkit::Program;

use super::usage::{self, Memory};

/// Servers that run.
const SERVERS: usize = 20;
/// `skep list`s, of which the middle one counts.
const LISTS: usize = 20;
/// What beginning took is given back within this.
const SETTLING: Duration = Duration::from_secs(3);
/// What a command may take.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize)]
pub(super) struct DaemonReport {
    pub(super) idle: Memory,
    pub(super) servers: usize,
    /// The daemon, besides its servers.
    pub(super) with_servers: Memory,
    /// Kilobytes of the servers' pid 1s, what several have in common counted once.
    pub(super) inits_kb: u64,
    pub(super) list_ms: f64,
}

/// A user of the daemon.
struct User<'a> {
    binary: &'a Path,
    folder: TempDir,
}

pub(super) fn measure(binary: &Path) -> anyhow::Result<DaemonReport> {
    let user = User { binary, folder: tempfile::Builder::new().prefix("skep-").tempdir()? };
    forget(binary)?;
    let daemon = Program::start(user.command(&["daemon", "run"]))?;
    user.wait_for_the_daemon()?;
    std::thread::sleep(SETTLING);
    let idle = usage::memory(daemon.pid());
    for number in 0..SERVERS {
        user.skep(&["run", "--name", &format!("server-{number}"), "example"])?;
    }
    std::thread::sleep(SETTLING);
    let with_servers = usage::memory(daemon.pid());
    // Of each sandbox; the server is below.
    let inits = usage::children(daemon.pid());
    ensure!(inits.len() == SERVERS, "not every server is in a sandbox: {inits:?}");
    let inits_kb = inits.iter().map(|pid| usage::memory(*pid).proportional_kb).sum();
    let mut lists = (0..LISTS).map(|_| user.list()).collect::<anyhow::Result<Vec<_>>>()?;
    lists.sort_unstable();
    let list_ms = lists[LISTS / 2].as_secs_f64() * 1000.0;
    daemon.stop()?;
    Ok(DaemonReport { idle, servers: SERVERS, with_servers, inits_kb, list_ms })
}

impl User<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let below = |name: &str| -> PathBuf { self.folder.path().join(name) };
        let mut command = Command::new(self.binary);
        command.args(args).stdin(Stdio::null()).stderr(Stdio::null()).env("HOME", self.folder.path());
        command.env("XDG_STATE_HOME", below("state")).env("XDG_DATA_HOME", below("data"));
        command.env("XDG_CONFIG_HOME", below("config")).env("XDG_CACHE_HOME", below("cache"));
        command
    }

    fn skep(&self, args: &[&str]) -> anyhow::Result<()> {
        let (_, said, status) = testkit::program::run(self.command(args), LIMIT)?;
        ensure!(status.success(), "skep {}: {status} {said}", args.join(" "));
        Ok(())
    }

    fn wait_for_the_daemon(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while let Err(error) = self.skep(&["daemon", "status"]) {
            ensure!(begun.elapsed() < LIMIT, "{error}");
        }
        Ok(())
    }

    /// From the start of the program to its end.
    fn list(&self) -> anyhow::Result<Duration> {
        let mut command = self.command(&["list"]);
        let begun = Instant::now();
        let status = command.stdout(Stdio::null()).status()?;
        let took = begun.elapsed();
        ensure!(status.success(), "skep list: {status}");
        Ok(took)
    }
}

/// Lets go of what is cached of a file.
fn forget(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    file.sync_all()?;
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}
