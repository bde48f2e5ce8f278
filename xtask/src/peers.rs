//! What tests need that is not Rust: the official suite, SDKs and servers from npm and PyPI, each at the version that
//! `conformance/` pins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::build::{root, run, target};

/// Where things are once they are installed.
#[derive(Debug)]
pub(crate) struct Peers {
    /// A Node.js that the suite runs on (22 or later).
    pub(crate) node: PathBuf,
    /// A Python with the official SDK.
    pub(crate) python: PathBuf,
    /// A Python with the official SDK of the line before.
    pub(crate) python_v1: PathBuf,
    /// `conformance/`, where the scripts are.
    pub(crate) folder: PathBuf,
}

impl Peers {
    /// The official suite's entry.
    pub(crate) fn suite(&self) -> PathBuf {
        self.folder.join("node_modules/@modelcontextprotocol/conformance/dist/index.js")
    }
}

/// Installs whatever is missing.
pub(crate) fn install() -> anyhow::Result<Peers> {
    debian_packages()?;
    let folder = root().join("conformance");
    once(&folder.join("package-lock.json"), &folder.join("node_modules/.installed"), || {
        run(Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts=false"])
            .current_dir(&folder))
    })?;
    let python = python_of(&folder.join("requirements.txt"), &target().join("venv"))?;
    let python_v1 = python_of(&folder.join("requirements-v1.txt"), &target().join("venv-v1"))?;
    Ok(Peers { node: folder.join("node_modules/.bin/node"), python, python_v1, folder })
}

/// The Python of an environment with these packages in it.
fn python_of(requirements: &Path, venv: &Path) -> anyhow::Result<PathBuf> {
    let python = venv.join("bin/python");
    once(requirements, &venv.join(".installed"), || {
        run(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
        let mut pip = Command::new(&python);
        run(pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))
    })?;
    Ok(python)
}

/// Does something unless it was done for this very text of `input`.
fn once(input: &Path, stamp: &Path, install: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let wanted = fs::read(input).with_context(|| format!("{} could not be read", input.display()))?;
    if fs::read(stamp).is_ok_and(|done| done == wanted) {
        return Ok(());
    }
    install()?;
    fs::write(stamp, wanted).with_context(|| format!("{} could not be written", stamp.display()))
}

/// Programs that npm and PyPI do not have, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 9] = [
    ("npm", "npm"),
    ("node", "nodejs"),
    ("python3", "python3"),
    ("nginx", "nginx-light"),
    ("redis-server", "redis-server"),
    ("ip", "iproute2"),
    ("dockerd", "docker.io"),
    ("podman", "podman"),
    ("busybox", "busybox-static"),
];

fn debian_packages() -> anyhow::Result<()> {
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    let venv = Command::new("python3").args(["-c", "import ensurepip"]).stderr(Stdio::null()).status();
    let missing: Vec<&str> = if venv.is_ok_and(|status| status.success()) {
        missing
    } else {
        [missing, vec!["python3-venv"]].concat()
    };
    if missing.is_empty() {
        return Ok(());
    }
    if !is_there("apt-get") {
        bail!(
            "these programs are needed, and only on Debian are they installed here: {}",
            missing.join(", ")
        );
    }
    println!("installing {}", missing.join(", "));
    let prefix: &[&str] = if is_root() { &[] } else { &["sudo"] };
    let apt = |args: &[&str]| {
        let words = [prefix, &["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"], args].concat();
        run(Command::new(words[0])
            .args(&words[1..])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null()))
    };
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"], missing.as_slice()].concat())?;
    if missing.contains(&"nginx-light") {
        // Debian starts it at once; here it is only a program to compare with.
        let _ = Command::new("service")
            .args(["nginx", "stop"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
    Ok(())
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    found || Path::new("/usr/sbin").join(program).is_file()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.starts_with(b"0\n"))
}
