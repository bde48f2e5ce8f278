//! The last steps in the process that becomes a command.
//!
//! INVARIANT: the order. Rights over rights go before the user changes, all others after; the system call filter comes
//! last, since it would refuse half of this.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{CapabilitySet, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::super::message::Order;
use super::user::User;
use crate::process::os::namespace;
use crate::sandbox::helper::{bounds, walls};
use crate::sandbox::{SetupError, Step};

/// Becomes the command, or tells why not and ends. `failure` closes with a successful exec.
pub(super) fn run(order: &Order, user: &User, streams: &[OwnedFd], failure: &OwnedFd) -> ! {
    let Err(error) = become_command(order, user, streams);
    if let Ok(text) = serde_json::to_vec(&error) {
        let _ = rustix::io::write(failure, &text);
    }
    namespace::leave(127)
}

fn become_command(order: &Order, user: &User, streams: &[OwnedFd]) -> Result<Infallible, SetupError> {
    let other = |text: &'static str| move |error: io::Error| Step::Other(text.to_owned()).failed(error);
    setsid().map_err(io::Error::from).map_err(other("no session could be made"))?;
    connect(streams).map_err(other("the pipes cannot be connected"))?;
    umask(Mode::from_bits_truncate(0o022));
    bounds::limit(&order.bounds, true)?;
    walls::gain_none().map_err(other("capabilities cannot be given up"))?;
    change_to(user).map_err(other("the image's user cannot be taken on"))?;
    walls::keep(CapabilitySet::empty()).map_err(other("capabilities cannot be given up"))?;
    let cwd = Path::new(&order.cwd);
    std::env::set_current_dir(cwd).map_err(|error| Step::Enter(cwd.to_owned()).failed(error))?;
    namespace::close_all_on_exec().map_err(other("descriptors cannot be closed"))?;
    let no_program = || other("there is nothing to run")(io::ErrorKind::InvalidInput.into());
    let (program, args) = order.argv.split_first().ok_or_else(no_program)?;
    let mut command = Command::new(program);
    command.args(args).env_clear();
    // What the order says of it counts.
    command.env("HOME", &user.home);
    command.envs(order.env.iter().map(|(name, value)| (name, value)));
    walls::restrict_calls()?;
    Err(Step::Exec.failed(command.exec()))
}

fn connect(streams: &[OwnedFd]) -> io::Result<()> {
    let [stdin, stdout, stderr] = streams else { return Err(io::ErrorKind::InvalidInput.into()) };
    dup2_stdin(stdin)?;
    dup2_stdout(stdout)?;
    Ok(dup2_stderr(stderr)?)
}

/// This process has one thread, so that its users are the thread's.
fn change_to(user: &User) -> io::Result<()> {
    set_thread_groups(&user.groups)?;
    set_thread_res_gid(user.gid, user.gid, user.gid)?;
    Ok(set_thread_res_uid(user.uid, user.uid, user.uid)?)
}
