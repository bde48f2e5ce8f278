//! Docker and Podman for the tests, started here with files of their own: nothing of this machine's is used or changed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::build::target;

/// How long one may take to listen.
const LIMIT: Duration = Duration::from_secs(60);

/// What Podman is to do without: a journal, a control group manager, more rights than there are.
const PODMAN_CONF: &str = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
                           [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";

/// The runtimes, which end with this.
#[derive(Debug)]
pub(crate) struct Runtimes {
    docker: Child,
    podman: Child,
    folder: PathBuf,
}

impl Runtimes {
    /// Starts both, and waits until they listen.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = target().join("runtimes");
        for name in ["docker", "podman"] {
            fs::create_dir_all(folder.join(name))?;
            // Of one that was killed.
            let _ = fs::remove_file(folder.join(name).join("api.sock"));
            let _ = fs::remove_file(folder.join(name).join("pid"));
        }
        fs::write(folder.join("containers.conf"), PODMAN_CONF)?;
        let docker = spawn(dockerd(&folder.join("docker")), &folder.join("docker"))?;
        let podman = podman(&folder.join("podman"), &folder.join("containers.conf"));
        let started = Self { docker, podman: spawn(podman, &folder.join("podman"))?, folder };
        started.wait_for(&started.docker_socket())?;
        started.wait_for(&started.podman_socket())?;
        Ok(started)
    }

    /// Where Docker listens.
    pub(crate) fn docker_socket(&self) -> PathBuf {
        self.folder.join("docker/api.sock")
    }

    /// Where Podman listens.
    pub(crate) fn podman_socket(&self) -> PathBuf {
        self.folder.join("podman/api.sock")
    }

    fn wait_for(&self, socket: &Path) -> anyhow::Result<()> {
        let until = Instant::now() + LIMIT;
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            let log = socket.with_file_name("log");
            ensure!(Instant::now() < until, "nothing listens at {}: see {}", socket.display(), log.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        for child in [&mut self.docker, &mut self.podman] {
            // dockerd ends what it started itself, if it is asked.
            let pid = rustix::process::Pid::from_child(child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }
}

fn dockerd(folder: &Path) -> Command {
    let mut command = Command::new("dockerd");
    let option = |name: &str, path: &str| format!("--{name}={}", folder.join(path).display());
    command.args([option("data-root", "data"), option("exec-root", "exec"), option("pidfile", "pid")]);
    command.arg(format!("--host=unix://{}", folder.join("api.sock").display()));
    command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]);
    command
}

fn podman(folder: &Path, conf: &Path) -> Command {
    let mut command = Command::new("podman");
    let option = |name: &str, path: &str| format!("--{name}={}", folder.join(path).display());
    command.args([option("root", "data"), option("runroot", "run"), "--storage-driver=vfs".to_owned()]);
    command
        .args(["system", "service", "--time=0"])
        .arg(format!("unix://{}", folder.join("api.sock").display()));
    command.env("CONTAINERS_CONF", conf);
    command
}

fn spawn(mut command: Command, folder: &Path) -> anyhow::Result<Child> {
    let log = File::create(folder.join("log"))?;
    let name = command.get_program().to_owned();
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("{} could not be started", name.display()))
}
