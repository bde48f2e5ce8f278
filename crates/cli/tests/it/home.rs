//! A user of skep's own: folders that nobody else has, and the daemon in them, which ends with the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{is_alive, until};

/// The user.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    /// What its commands, and so the daemon, have in their environment besides.
    env: Option<(&'static str, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

impl Said {
    /// What it said, of a command that did what it was asked.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Why not, of one that did not.
    #[track_caller]
    pub(crate) fn error(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        self.err
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { folder: folder(), env: None }
    }

    /// One with a variable of its own.
    pub(crate) fn with(variable: &'static str, value: &str) -> Self {
        Self { folder: folder(), env: Some((variable, value.to_owned())) }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// A `skep` with these arguments.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = crate::harness::command(args);
        self.adorn(&mut command);
        command
    }

    /// The same program, started through a link of that name.
    pub(crate) fn thv_command(&self, args: &[&str]) -> Command {
        let skep = crate::harness::command(&[]);
        let link = self.path("thv");
        if !link.exists() {
            std::os::unix::fs::symlink(std::path::absolute(skep.get_program()).unwrap(), &link).unwrap();
        }
        let mut command = Command::new(link);
        command.args(args).stdin(Stdio::null());
        self.adorn(&mut command);
        command
    }

    fn adorn(&self, command: &mut Command) {
        command
            .env("HOME", self.folder.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .envs(self.env.iter().map(|(name, value)| (name, value)));
    }

    /// Runs a `skep` to its end.
    pub(crate) fn skep(&self, args: &[&str]) -> Said {
        said(self.command(args))
    }

    /// Runs a `thv` to its end.
    pub(crate) fn thv(&self, args: &[&str]) -> Said {
        said(self.thv_command(args))
    }

    /// The workloads that run, or all.
    pub(crate) fn list(&self, args: &[&str]) -> Vec<Value> {
        let text = self.skep(&[&["list", "--format", "json"], args].concat()).ok();
        serde_json::from_str(&text).unwrap()
    }

    /// What is known of one.
    pub(crate) fn find(&self, name: &str) -> Option<Value> {
        self.list(&["--all"]).into_iter().find(|view| view["name"] == name)
    }

    /// Runs a server and gives its endpoint.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let text = self.skep(&[&["run", "--format", "json"], args].concat()).ok();
        let told: Value = serde_json::from_str(&text).unwrap();
        told["url"].as_str().unwrap().to_owned()
    }

    /// The daemon's process, if it runs.
    pub(crate) fn daemon(&self) -> Option<u32> {
        let said = self.skep(&["daemon", "status", "--format", "json"]);
        let view: Value = serde_json::from_str(&said.out).ok()?;
        view["pid"].as_u64().map(|pid| u32::try_from(pid).unwrap())
    }

    /// Kills the daemon, and waits until it is dead.
    pub(crate) async fn kill_daemon(&self) {
        let Some(pid) = self.daemon() else { return };
        let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
        until("the daemon is dead", || !is_alive(pid)).await;
    }

    /// The processes of this user, and their command lines: those whose environment names its folder, and those in a sandbox
    /// or a container that shows something of it.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let mark = format!("HOME={}\0", self.folder.path().display());
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_ours = |pid: &u32| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            is_alive(*pid) && (contains(&environ, mark.as_bytes()) || mounts(*pid, self.folder.path()))
        };
        let line = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        pids.filter(is_ours).map(|pid| (pid, line(pid))).collect()
    }
}

/// Runs a command to its end.
pub(crate) fn said(command: Command) -> Said {
    let (out, err, status) = testkit::program::run(command, Duration::from_secs(120)).unwrap();
    Said { out, err, code: status.code() }
}

fn folder() -> tempfile::TempDir {
    // Short: the path of a socket has 108 bytes.
    tempfile::Builder::new().prefix("skep-").tempdir().unwrap()
}

fn mounts(pid: u32, folder: &Path) -> bool {
    let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    table.contains(&format!("{}/", folder.display()))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.skep(&["daemon", "stop"]);
        if self.path("thv").exists() {
            let _ = self.thv(&["daemon", "stop"]);
        }
    }
}
