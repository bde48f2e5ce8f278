//! A package manager at work: each of its commands in a sandbox that shows the system, the tool and the folder that is
//! made, and reaches the registry. Where a server is not isolated, neither is its installation.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::package::PackageSpec;
use telemetry::Tasks;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use workload::sandbox::{self, Mount, Network, Sandbox, SandboxConfig};
use workload::{CommandSpec, LogTail, Pipes, Process};

use super::cache::Cache;
use super::registry::Registry;
use super::{PackageError, PackageTools};
use crate::handed_on::is_handed_inside;

/// The longest that one command may take; a large package on a slow line is the worst there is.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// What is told of a command that failed.
const LAST_WORDS: usize = 25;
/// What is read of a command's output at most.
const MAX_OUTPUT: u64 = 4 << 20;

/// Variables that name files of certificates, which have to be seen.
const CERTIFICATES: [&str; 6] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "npm_config_cafile",
    "NPM_CONFIG_CAFILE",
];

/// What is to be made.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) cache: &'a Cache,
    /// The package as it was asked for.
    pub(super) spec: PackageSpec,
    /// What is installed with it.
    pub(super) with: Vec<String>,
    pub(super) is_isolated: bool,
    /// Variables that every command gets as far as they mean something where it runs, `PATH` among them.
    pub(super) env: Vec<(String, String)>,
    pub(super) tools: &'a PackageTools,
}

impl Job<'_> {
    /// A program of the user's.
    pub(super) fn tool(&self, name: &str) -> Option<PathBuf> {
        let path = self.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_str())?;
        std::env::split_paths(path).map(|folder| folder.join(name)).find(|file| file.is_file())
    }

    /// The same, or what helps.
    pub(super) fn needed(&self, tool: &'static str, help: &'static str) -> Result<PathBuf, PackageError> {
        let scheme = self.spec.scheme().as_str();
        self.tool(tool).ok_or(PackageError::NoTool { tool, scheme, help })
    }
}

/// One command of a package manager.
#[derive(Debug, Default)]
pub(super) struct Step<'a> {
    /// What it is called when it fails.
    pub(super) what: &'a str,
    pub(super) program: Cow<'a, str>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(&'a str, String)>,
    /// What has to be seen too.
    pub(super) read: Vec<PathBuf>,
    /// Where it runs, if not in the folder that is made.
    pub(super) cwd: Option<PathBuf>,
}

/// An installation that is being made.
pub(super) struct Maker<'a> {
    pub(super) job: &'a Job<'a>,
    /// What becomes the installation. Its path is the same inside.
    pub(super) entry: PathBuf,
    /// What is thrown away, as the commands see it.
    pub(super) scratch: PathBuf,
    home: PathBuf,
    registry: Registry,
    tell: &'a (dyn Fn(&str) + Sync),
}

impl<'a> Maker<'a> {
    /// In a folder that the cache has begun.
    pub(super) fn new(
        job: &'a Job<'a>,
        making: &Path,
        tell: &'a (dyn Fn(&str) + Sync),
    ) -> Result<Self, PackageError> {
        let home = making.join("home");
        Ok(Self {
            entry: making.join("entry"),
            scratch: if job.is_isolated { PathBuf::from(sandbox::HOME) } else { home.clone() },
            registry: Registry::of(job.spec.scheme(), job.tools, &job.env)?,
            home,
            job,
            tell,
        })
    }

    /// Says what is done; it may take a while.
    pub(super) fn tell(&self, text: &str) {
        (self.tell)(text);
    }

    /// Whether this version is there already.
    pub(super) fn is_there(&self, spec: &PackageSpec) -> bool {
        self.job.cache.find(spec, &self.job.with).is_some()
    }

    /// A file of what is made.
    pub(super) fn read(&self, below: &str) -> Result<String, PackageError> {
        let path = self.entry.join(below);
        std::fs::read_to_string(&path).map_err(PackageError::on(&path, "read"))
    }

    pub(super) fn write(&self, below: &str, text: &str) -> Result<(), PackageError> {
        let path = self.entry.join(below);
        std::fs::write(&path, text).map_err(PackageError::on(&path, "written"))
    }

    pub(super) fn unreadable(&self, what: impl Into<String>) -> PackageError {
        PackageError::Unreadable { package: self.job.spec.to_string(), what: what.into() }
    }

    /// Runs a command to its end, and gives what it wrote.
    pub(super) async fn run(&self, step: Step<'_>) -> Result<String, PackageError> {
        let failed = |how: String, words: Vec<String>| PackageError::Failed {
            package: self.job.spec.to_string(),
            what: step.what.to_owned(),
            how,
            words,
        };
        let command = self.command(&step)?;
        let log = LogTail::quiet(self.job.spec.name());
        let (mut process, Pipes { stdin, stdout }) = Process::spawn_piped(&command, &log).await?;
        drop(stdin);
        let network = process.take_network();
        let process = Arc::new(process);
        let tasks = Tasks::new();
        if let Some(network) = network {
            let policy = self.registry.policy()?;
            let served =
                crate::process::serve_network(self.job.spec.name(), &process, network, policy, &tasks);
            served.map_err(|error| failed(format!("has no network: {error}"), Vec::new()))?;
        }
        let ended = timeout(PATIENCE, async { (read(stdout).await, process.wait().await) }).await;
        tasks.stop();
        let Ok((output, exit)) = ended else {
            return Err(failed(format!("was not done within {PATIENCE:?}"), last_words(&log)));
        };
        if !exit.is_success() {
            return Err(failed(exit.to_string(), last_words(&log)));
        }
        output.map_err(|error| failed(format!("could not be read: {error}"), Vec::new()))
    }

    fn command(&self, step: &Step<'_>) -> Result<CommandSpec, PackageError> {
        let is_isolated = self.job.is_isolated;
        let is_inside = |(name, _): &&(String, String)| !is_isolated || is_handed_inside(name);
        let env = self.job.env.iter().filter(is_inside).chain(&self.registry.env).cloned();
        let own = step.env.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let env: Vec<_> = env.chain(own).collect();
        let command = CommandSpec::new(&*step.program, &step.args)?.with_clear_env();
        let command = command.with_cwd(step.cwd.as_ref().unwrap_or(&self.entry))?;
        if !is_isolated {
            return Ok(command.with_env(env)?);
        }
        let sandbox = self.sandbox(step, &env)?;
        let scratch = ("TMPDIR".to_owned(), self.scratch.to_string_lossy().into_owned());
        Ok(command.with_env(env.into_iter().chain([scratch]))?.with_sandbox(sandbox))
    }

    fn sandbox(&self, step: &Step<'_>, env: &[(String, String)]) -> Result<Sandbox, PackageError> {
        let certificates = env.iter().filter(|(name, _)| CERTIFICATES.contains(&name.as_str()));
        let certificates = certificates.map(|(_, path)| PathBuf::from(path));
        let certificates = certificates.filter(|path| path.is_absolute() && path.is_file());
        let user_home = self.job.env.iter().find(|(name, _)| name == "HOME").map(|(_, home)| home.into());
        Ok(Sandbox::try_from(SandboxConfig {
            read: step.read.iter().cloned().chain(certificates).map(Mount::same).collect(),
            write: vec![Mount::same(&self.entry)],
            home: Some(self.home.clone()),
            user_home,
            network: Network::Egress,
            ..SandboxConfig::default()
        })?)
    }
}

fn last_words(log: &LogTail) -> Vec<String> {
    log.tail(LAST_WORDS).into_iter().filter(|line| !line.trim().is_empty()).collect()
}

/// What is written until the end; what is too long is not kept, and goes on being read so that its writer is not held up.
async fn read(mut from: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut output = Vec::new();
    (&mut from).take(MAX_OUTPUT).read_to_end(&mut output).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}
