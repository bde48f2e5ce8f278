//! Programs in a network namespace of their own, whose egress is served here.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use telemetry::Tasks;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use workload::egress::{Egress, EgressConfig, EgressLimits, EgressPolicy, EgressSettings};
use workload::process::netns::{NetworkSockets, RESOLV_CONF};

use super::world::World;
use crate::sh::LIMIT;

/// A program that runs inside, and what it is served by.
pub(crate) struct Inside {
    child: Child,
    pub(crate) egress: Egress,
    pub(crate) tasks: Tasks,
}

/// Who runs the program.
#[derive(Clone, Copy)]
pub(crate) enum User {
    Whoever,
    /// An ordinary user, if the tests are run by root.
    Nobody,
}

pub(crate) fn allow(hosts: &[&str], ports: &[i64]) -> EgressConfig {
    EgressConfig {
        allow_host: Some(hosts.iter().map(|&host| host.to_owned()).collect()),
        allow_port: Some(ports.to_vec()),
        insecure_allow_all: false,
    }
}

/// Runs a script of `bash` and gives what it wrote.
pub(crate) async fn bash(config: &EgressConfig, world: World, script: &str) -> String {
    let inside = start(User::Whoever, config, EgressLimits::default(), world, &["/bin/bash", "-c", script]);
    inside.output().await
}

/// Runs a program of Python and gives what it wrote.
pub(crate) async fn python(config: &EgressConfig, world: World, program: &str) -> String {
    let command = ["/usr/bin/python3", "-c", program];
    start(User::Whoever, config, EgressLimits::default(), world, &command).output().await
}

/// Starts a command inside, once its egress is served.
pub(crate) fn start(
    user: User,
    config: &EgressConfig,
    limits: EgressLimits,
    world: World,
    command: &[&str],
) -> Inside {
    let (here, there) = UnixStream::pair().unwrap();
    let child = namespaced(user, command).stdin(OwnedFd::from(there)).spawn().unwrap();
    let sockets = NetworkSockets::receive(&here)
        .expect("user namespaces with nf_tables are needed; what is missing stands on stderr");
    let tasks = Tasks::new();
    let policy = EgressPolicy::try_from(config).unwrap();
    let settings = EgressSettings { workload: "test".into(), policy, limits };
    let egress = Egress::serve(settings, sockets, world, &tasks).unwrap();
    (&here).write_all(&[0]).unwrap();
    Inside { child, egress, tasks }
}

/// The command in namespaces, with a `resolv.conf` of its own.
fn namespaced(user: User, command: &[&str]) -> Command {
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let prefix: &[&str] = match user {
        User::Nobody if rustix::process::geteuid().is_root() => &as_nobody,
        _ => &["env"],
    };
    let mount = "d=$(mktemp) && printf '%s' \"$RESOLV\" >$d && mount --bind $d /etc/resolv.conf && rm $d && exec \"$@\"";
    let mut namespaced = Command::new(prefix[0]);
    namespaced.args(&prefix[1..]).args(["unshare", "--user", "--map-root-user", "--net", "--mount"]);
    namespaced.args(["/bin/sh", "-c", mount, "sh"]).arg(helper()).args(command);
    namespaced.env("RESOLV", RESOLV_CONF).stdout(Stdio::piped()).kill_on_drop(true);
    namespaced
}

/// The example is built along with the tests.
pub(crate) fn helper() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let helper = deps.parent().unwrap().with_file_name("examples").join("netns");
    assert!(
        helper.exists(),
        "{} is missing; `cargo build -p workload --examples` makes it",
        helper.display()
    );
    helper
}

impl Inside {
    /// What it wrote, once it is over.
    pub(crate) async fn output(self) -> String {
        let Output { status, stdout, .. } =
            timeout(LIMIT * 2, self.child.wait_with_output()).await.unwrap().unwrap();
        let text = String::from_utf8(stdout).unwrap();
        assert!(status.success(), "{status}: {text}");
        text
    }

    /// A line it writes.
    pub(crate) async fn line(&mut self) -> String {
        crate::sh::line(self.child.stdout.as_mut().unwrap()).await
    }
}
