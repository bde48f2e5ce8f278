//! skep's side of a process in a sandbox: the helper that is started instead of the command, and the line to it.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

use tokio::sync::Mutex;

use super::SpawnError;
use super::command::CommandSpec;
use crate::sandbox::{self, NetworkSockets, Outside, Sandbox};

/// A helper that was or will be started and has not said yet how it went.
pub(super) struct Confining(OwnedFd);

/// What is kept of a sandbox while its command runs.
#[derive(Debug)]
pub(super) struct Confined {
    /// One request at a time.
    line: Mutex<Outside>,
    pub(super) network: Option<NetworkSockets>,
}

/// What to start instead of the command, what it inherits, and our end of the line to it.
pub(super) fn prepare(
    spec: &CommandSpec,
    sandbox: &Sandbox,
) -> Result<(Command, [OwnedFd; 2], Confining), SpawnError> {
    let prepared =
        sandbox::prepare(sandbox, spec.to_invocation()).map_err(|error| SpawnError::explain(spec, error))?;
    Ok((prepared.command, prepared.passed_on, Confining(prepared.ours)))
}

impl Confining {
    /// Waits until the command runs.
    pub(super) async fn until_started(self, spec: &CommandSpec) -> Result<Confined, SpawnError> {
        let line = Outside::new(self.0).map_err(|error| SpawnError::explain(spec, error))?;
        let network = line.started().await.map_err(|error| SpawnError::explain_setup(spec, error))?;
        Ok(Confined { line: Mutex::new(line), network })
    }
}

impl Confined {
    pub(super) async fn socket(&self) -> io::Result<OwnedFd> {
        self.line.lock().await.socket().await
    }
}
