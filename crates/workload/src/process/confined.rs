//! skep's side of a process in a sandbox, the helper that is started instead of the command and the line to it; and of one
//! in a container.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::SpawnError;
use super::command::CommandSpec;
use super::driver::{self, Streams};
use super::leader::{EndOfLeader, Leader};
use super::spawner::Making;
use super::{StdPipes, Wiring, spawner};
use crate::container::{Container, InContainer, Place};
use crate::log::LogTail;
use crate::sandbox::{self, NetworkSockets, Outside, Sandbox};

/// A helper that was or will be started and has not said yet how it went.
pub(super) struct Confining(OwnedFd);

/// What is kept of the place where a command runs.
#[derive(Debug)]
pub(super) enum Confined {
    Sandbox {
        /// One request at a time.
        line: Mutex<Outside>,
        network: Option<NetworkSockets>,
    },
    Container(Arc<Place>),
}

/// What to start instead of the command, what it inherits, and our end of the line to it.
pub(super) fn prepare(
    spec: &CommandSpec,
    sandbox: &Sandbox,
) -> Result<(Command, Making, Confining), SpawnError> {
    let prepared =
        sandbox::prepare(sandbox, spec.to_invocation()).map_err(|error| SpawnError::explain(spec, error))?;
    let making = Making { passed_on: prepared.passed_on, ending: prepared.ending };
    Ok((prepared.command, making, Confining(prepared.ours)))
}

impl Confining {
    /// Waits until the command runs. Gives the process id of the sandbox's pid 1 as well.
    pub(super) async fn until_started(self, spec: &CommandSpec) -> Result<(i32, Confined), SpawnError> {
        let line = Outside::new(self.0).map_err(|error| SpawnError::explain(spec, error))?;
        let (init, network) = line.started().await.map_err(|error| SpawnError::explain_setup(spec, error))?;
        Ok((init, Confined::Sandbox { line: Mutex::new(line), network }))
    }
}

impl Confined {
    pub(super) async fn socket(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Sandbox { line, .. } => line.lock().await.socket().await,
            Self::Container(place) => place.socket().await,
        }
    }

    /// The sockets of a network that is this command's alone.
    pub(super) fn take_network(&mut self) -> Option<NetworkSockets> {
        match self {
            Self::Sandbox { network, .. } => network.take(),
            Self::Container(_) => None,
        }
    }
}

/// Starts a command in a container, which is made if it is not there.
pub(super) async fn start_inside(
    spec: &CommandSpec,
    container: &Container,
    wiring: Wiring,
    log: &LogTail,
) -> Result<spawner::Started, SpawnError> {
    let is_asked = matches!(wiring, Wiring::Piped);
    let InContainer { run, place, stdin, stdout, stderr, ended } =
        container.start(&spec.to_inside(), is_asked, log).await?;
    let stdout = std::process::ChildStdout::from(stdout);
    let (pipes, stdout) = match stdin {
        Some(stdin) => (Some(StdPipes { stdin: stdin.into(), stdout: Some(stdout) }), None),
        None => (None, Some(stdout)),
    };
    let streams = Streams { stdout, stderr: Some(stderr.into()) };
    let (mut process, driver) =
        driver::new(Leader::Inside(run), EndOfLeader::Inside(ended), streams, wiring, log.clone());
    process.confined = Some(Confined::Container(place));
    tokio::spawn(driver);
    Ok(spawner::Started { process, pipes })
}
