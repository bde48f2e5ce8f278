//! Commands in sandboxes, and a directory of the host to try things with.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use workload::sandbox::{self, Bounds, Network, Sandbox, SandboxConfig};
use workload::{CommandSpec, LogTail, Pipes, Process};

use crate::parent_death::holder;

/// A directory of its own, removed with this.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("skep-sandbox-{}-{count}", std::process::id());
        // Better not below /tmp, which is each sandbox's own: what is hidden there would be hidden anyway.
        let parents = [env!("CARGO_TARGET_TMPDIR"), "/var/tmp", "/tmp"].map(Path::new);
        let mut dirs = parents.iter().map(|parent| parent.join(&name));
        Self(dirs.find(|dir| std::fs::create_dir(dir).is_ok()).unwrap())
    }

    /// Its name, which is nobody else's.
    pub(crate) fn name(&self) -> &str {
        self.0.file_name().unwrap().to_str().unwrap()
    }

    /// A path below it.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A directory below it.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        std::fs::create_dir_all(self.at(name)).unwrap();
        self.at(name)
    }

    /// A file below it, in a directory that is made.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Nothing but the system.
pub(crate) fn bare() -> SandboxConfig {
    SandboxConfig::default()
}

pub(crate) fn within(spec: CommandSpec, config: SandboxConfig) -> CommandSpec {
    sandbox::set_helper(holder());
    spec.with_sandbox(Sandbox::try_from(config).unwrap())
}

pub(crate) fn spec(script: &str, config: SandboxConfig) -> CommandSpec {
    within(crate::sh::spec(script), config)
}

pub(crate) async fn spawn(script: &str, config: SandboxConfig) -> (Process, Pipes) {
    Process::spawn_piped(&spec(script, config), &LogTail::new("test")).await.unwrap()
}

pub(crate) fn with_network(network: Network) -> SandboxConfig {
    SandboxConfig { network, ..bare() }
}

pub(crate) fn with_bounds(bounds: Bounds) -> SandboxConfig {
    SandboxConfig { bounds, ..bare() }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
