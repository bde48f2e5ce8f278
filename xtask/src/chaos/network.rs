//! Network namespaces for the processes of a run, each joined by a cable to a bridge in a hub where the clients are, so that
//! packets can be lost without a word: between two of them, or from one to all.
//!
//! Names carry our process id: what a run that was killed has left is removed by the next one.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const PREFIX: &str = "skep-chaos-";
/// An Ethernet address that nobody has.
const NOBODY: &str = "02:00:00:00:00:00";
/// The network of a run; its hub is the first address, the others follow. Namespaces keep those of several runs apart.
const NET: [u8; 3] = [10, 213, 0];

/// Where a process of a run is.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// `None`: where we are.
    namespace: Option<String>,
    pub(super) address: Ipv4Addr,
}

impl Spot {
    /// On this machine's loopback.
    pub(super) fn local() -> Self {
        Self { namespace: None, address: Ipv4Addr::LOCALHOST }
    }

    /// A program that will run there and says nothing to our terminal.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
        };
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// Packets that are lost, both ways.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// Between two spots.
    Between(usize, usize),
    /// Between one and all the others.
    Off(usize),
}

/// All spots of a run, and this thread in their hub. Gone when dropped.
#[derive(Debug)]
pub(super) struct Network {
    hub: String,
    pub(super) spots: Vec<Spot>,
    /// Where this thread was before.
    outside: File,
}

impl Network {
    /// Lays it, with so many spots, and moves this thread, and what it starts from now on, into the hub.
    pub(super) fn lay(spots: usize) -> anyhow::Result<Self> {
        remove_leftovers()?;
        let ours = format!("{PREFIX}{}-", std::process::id());
        let outside = File::open("/proc/thread-self/ns/net")?;
        // From here on it is removed, however far it got.
        let mut network = Self { hub: format!("{ours}hub"), spots: Vec::new(), outside };
        let hub = network.hub.clone();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "set", "lo", "up"])?;
        ip(&["-n", &hub, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &hub, "addr", "add", &format!("{}/24", address(1)), "dev", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "bridge", "up"])?;
        for number in 0..spots {
            let (namespace, port) = (format!("{ours}{number}"), port(number));
            let address = address(u8::try_from(number + 2)?);
            ip(&["netns", "add", &namespace])?;
            network.spots.push(Spot { namespace: Some(namespace.clone()), address });
            let cable = ["type", "veth", "peer", "name", "eth0", "netns", &namespace];
            ip(&[&["-n", &hub, "link", "add", &port], cable.as_slice()].concat())?;
            ip(&["-n", &hub, "link", "set", &port, "master", "bridge", "up"])?;
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
            ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        }
        let inside = File::open(Path::new("/run/netns").join(&hub))?;
        move_into_link_name_space(inside.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(network)
    }

    /// Begins to lose packets.
    pub(super) fn cut(&self, cut: Cut) -> anyhow::Result<()> {
        match cut {
            Cut::Off(one) => ip(&["-n", &self.hub, "link", "set", &port(one), "down"]),
            // Each takes the other for somebody who is not there.
            Cut::Between(one, other) => self.both(one, other, |namespace, neighbour| {
                let entry = ["lladdr", NOBODY, "dev", "eth0", "nud", "permanent"];
                ip(&[&["-n", namespace, "neigh", "replace", neighbour], entry.as_slice()].concat())
            }),
        }
    }

    /// All arrives again.
    pub(super) fn heal(&self, cut: Cut) -> anyhow::Result<()> {
        match cut {
            Cut::Off(one) => ip(&["-n", &self.hub, "link", "set", &port(one), "up"]),
            Cut::Between(one, other) => self.both(one, other, |namespace, neighbour| {
                ip(&["-n", namespace, "neigh", "del", neighbour, "dev", "eth0"])
            }),
        }
    }

    fn both(
        &self,
        one: usize,
        other: usize,
        tell: impl Fn(&str, &str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for (here, there) in [(one, other), (other, one)] {
            let namespace = self.spots[here].namespace.as_deref().context("a spot of a network")?;
            tell(namespace, &self.spots[there].address.to_string())?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // There is nobody left to tell, and what stays is removed by the next run.
        let _ = move_into_link_name_space(self.outside.as_fd(), Some(LinkNameSpaceType::Network));
        let namespaces = self.spots.iter().filter_map(|spot| spot.namespace.as_ref());
        for namespace in namespaces.chain([&self.hub]) {
            let _ = ip(&["netns", "del", namespace]);
        }
    }
}

fn address(host: u8) -> Ipv4Addr {
    let [a, b, c] = NET;
    Ipv4Addr::new(a, b, c, host)
}

/// The hub's end of a spot's cable.
fn port(spot: usize) -> String {
    format!("port{spot}")
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    read_ip(args).map(drop)
}

fn read_ip(args: &[&str]) -> anyhow::Result<String> {
    let out = Command::new("ip").args(args).stdin(Stdio::null()).output().context("ip (iproute2)")?;
    let error = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "ip {}: {}", args.join(" "), error.trim());
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Removes the namespaces of runs that are dead, and ends what still runs in them.
fn remove_leftovers() -> anyhow::Result<()> {
    for line in read_ip(&["netns", "list"])?.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let Some(owner) = owner(name) else { continue };
        if Path::new("/proc").join(owner.to_string()).exists() {
            continue;
        }
        for pid in read_ip(&["netns", "pids", name])?.lines() {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                // It may end by itself meanwhile.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        ip(&["netns", "del", name])?;
    }
    Ok(())
}

/// The process that has made a namespace of this name, if that was a run of ours.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_runs_are_ours() {
        for (name, expect) in [
            ("skep-chaos-17-hub", Some(17)),
            ("skep-chaos-17-3", Some(17)),
            ("skep-chaos-x", None),
            ("skep-chaos-", None),
            ("other-17-hub", None),
        ] {
            assert_eq!(owner(name), expect, "{name}");
        }
    }
}
