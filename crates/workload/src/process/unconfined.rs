//! Systems without sandboxes: a command that is to be in one does not start.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

use super::SpawnError;
use super::command::CommandSpec;
use super::spawner::Making;
use crate::sandbox::{NetworkSockets, Sandbox};

/// There is none.
#[derive(Debug)]
pub(super) enum Confining {}

/// There is none.
#[derive(Debug)]
pub(super) enum Confined {}

/// Says so.
pub(super) fn prepare(
    _spec: &CommandSpec,
    _sandbox: &Sandbox,
) -> Result<(Command, Making, Confining), SpawnError> {
    Err(SpawnError::Unisolated {
        what: "there is no isolation of processes on this system".to_owned(),
        hint: Some("Run the server in a container, or without isolation."),
        source: io::ErrorKind::Unsupported.into(),
    })
}

impl Confining {
    pub(super) async fn until_started(self, _spec: &CommandSpec) -> Result<(i32, Confined), SpawnError> {
        match self {}
    }
}

impl Confined {
    pub(super) async fn socket(&self) -> io::Result<OwnedFd> {
        match *self {}
    }

    pub(super) fn take_network(&mut self) -> Option<NetworkSockets> {
        match *self {}
    }
}
