//! Runs a command, shows what it writes, and holds it until it ends: `hold [--sandbox] CMD [ARG…]`, or
//! `hold --container IMAGE NAME SCRATCH [ARG…]`. It is also the helper of the sandboxes that the tests start, and pid 1 of
//! their containers.
//!
//! Kill it in any way and look whether something is left behind; the tests do (`tests/it/parent_death.rs`).

use std::env::args_os;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Context, ensure};
use workload::container::{self, Container, ContainerConfig, Runtimes, Sockets};
use workload::sandbox::{self, NetworkSockets, Sandbox, SandboxConfig};
use workload::{CommandSpec, LogTail, Process};

fn main() -> anyhow::Result<()> {
    container::dispatch();
    sandbox::dispatch(Some(listen));
    hold()
}

#[tokio::main]
async fn hold() -> anyhow::Result<()> {
    let mut args = args_os().skip(1).peekable();
    let is_isolated = args.next_if(|arg| arg == "--sandbox").is_some();
    let is_contained = args.next_if(|arg| arg == "--container").is_some();
    let spec = if is_contained {
        let mut word = || args.next().and_then(|word| word.into_string().ok()).context("IMAGE NAME SCRATCH");
        let container = contained(word()?, word()?, word()?)?;
        CommandSpec::of_image(container, args)?
    } else {
        CommandSpec::new(args.next().context("usage: hold [--sandbox] CMD [ARG…]")?, args)?
    };
    let spec =
        if is_isolated { spec.with_sandbox(Sandbox::try_from(SandboxConfig::default())?) } else { spec };
    let (process, mut pipes) = Process::spawn_piped(&spec, &LogTail::new("held")).await?;
    tokio::io::copy(&mut pipes.stdout, &mut tokio::io::stdout()).await?;
    let exit = process.wait().await;
    ensure!(exit.is_success(), "the command {exit}");
    Ok(())
}

fn contained(image: String, name: String, scratch: String) -> anyhow::Result<Container> {
    let env: Vec<_> = std::env::vars().collect();
    Ok(Container::new(ContainerConfig {
        labels: [("toolhive-name".to_owned(), name.clone())].into(),
        name,
        owner: scratch.clone(),
        image,
        sandbox: Sandbox::try_from(SandboxConfig::default())?,
        egress: None,
        network: None,
        scratch: scratch.into(),
        runtimes: Runtimes { sockets: Sockets::of(&env), ..Runtimes::default() },
    }))
}

/// The least network that can be served: three sockets and no route to them.
fn listen() -> io::Result<NetworkSockets> {
    Ok(NetworkSockets {
        dns_udp: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53))?.into(),
        dns_tcp: TcpListener::bind((Ipv4Addr::UNSPECIFIED, 53))?.into(),
        tcp: TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.into(),
    })
}
