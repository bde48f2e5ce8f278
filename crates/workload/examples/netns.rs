//! Prepares the network namespace it is in and runs a command there: `unshare -Urn netns CMD [ARG…]`.
//!
//! The sockets go to whoever has the other end of its standard input, a Unix socket; the command starts when a byte
//! comes back, and has no input itself. The tests serve them (`tests/it/egress.rs`). Without a command it only finds
//! out whether the namespace can be prepared. Linux only.

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    use workload::process::netns;

    let mut args = std::env::args_os().skip(1);
    let Some(program) = args.next() else { return Ok(netns::check()?) };
    let sockets = netns::prepare()?;
    sockets.send(std::io::stdin())?;
    drop(sockets);
    rustix::io::read(std::io::stdin(), &mut [0])?;
    Err(Command::new(program).args(args).stdin(Stdio::null()).exec().into())
}

#[cfg(not(target_os = "linux"))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("there are no network namespaces here")
}
