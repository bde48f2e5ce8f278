//! Isolation of a command on Linux: what it may see, reach and use. Everything that is not named here is not there.
//!
//! A [`Sandbox`] is a wish that was checked; [`crate::CommandSpec::with_sandbox`] attaches it to a command. To carry it
//! out skep starts itself in a hidden mode ([`dispatch`], the first thing in `main`), which has one thread and may do
//! what a forked child of a threaded process may not: make namespaces, mounts and filters, and then exec the command.
//! `docs/design/isolation.md` has the picture and says which part holds what.
//!
//! - [`check`](check()) — what this machine can enforce.
//! - `system`, `installation` — which of the host's files a program needs to run at all.
//! - `overlap` — mounts that are in each other's way.
//! - `hiding` — where what is hidden has to be covered.
//! - `plan` — the sandbox and its command, as they are told to the helper.
//! - `report` — what the helper tells back: descriptors, that the command runs, or why it does not.
//! - `helper` — what happens inside.
//!
//! Absent on purpose: permission profiles and `.thvignore` as files (whoever reads them makes a [`SandboxConfig`]),
//! and the egress policy: a namespace's only way out is three sockets ([`NetworkSockets`]) that somebody else serves.

mod check;
#[cfg(target_os = "linux")]
pub(crate) mod helper;
#[cfg(target_os = "linux")]
pub(crate) mod hiding;
#[cfg(target_os = "linux")]
mod installation;
mod network;
mod overlap;
#[cfg(target_os = "linux")]
pub(crate) mod plan;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod system;

use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

pub use check::{Finding, Part, Standing, check};
pub use network::{DNS_SERVER, Network, NetworkSockets, PrepareNetwork};

#[cfg(target_os = "linux")]
pub(crate) use plan::{Invocation, prepare};
#[cfg(target_os = "linux")]
pub(crate) use report::{Ending, Outside, SetupError, Step};

/// The home directory inside.
pub const HOME: &str = "/home/sandbox";

/// The first argument that starts the helper mode.
#[cfg(target_os = "linux")]
const HELPER_MODE: &str = "__sandbox";

/// Where nothing of the host is ever shown and nothing is mounted over: these are made anew for each sandbox.
const OWN_DIRS: [&str; 3] = ["/proc", "/dev", "/sys"];

/// A path of the host and where it is inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub target: PathBuf,
}

impl Mount {
    /// The same path inside and outside.
    pub fn same(path: impl Into<PathBuf>) -> Self {
        let source = path.into();
        Self { target: source.clone(), source }
    }
}

/// How much a sandbox may use. `None` is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Bytes of memory: of the whole sandbox with a cgroup, otherwise of data of each process.
    pub memory: Option<u64>,
    /// Processes and threads of the whole sandbox.
    pub processes: Option<u64>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Hundredths of a processor. Needs a cgroup.
    pub cpu_percent: Option<u64>,
    /// Bytes in `/tmp`, `/dev/shm`, and a home directory that is not kept; in each of them.
    pub temporary: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            memory: None,
            processes: Some(512),
            open_files: Some(4096),
            cpu_percent: None,
            temporary: 256 << 20,
        }
    }
}

/// What a sandbox is to be, before it was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxConfig {
    /// What may be read.
    pub read: Vec<Mount>,
    /// What may be read and written.
    pub write: Vec<Mount>,
    /// What is covered by something empty. Paths inside; what they are in must exist there.
    pub hide: Vec<PathBuf>,
    /// Files that may only be read, though what is around them may be written. Paths inside.
    pub fixed: Vec<PathBuf>,
    /// A directory of the host that is the home directory inside ([`HOME`]), writable. Without one it is empty, and
    /// gone afterwards.
    pub home: Option<PathBuf>,
    /// The user's own home directory, where it is not in a usual place: it is never shown as part of a program's
    /// installation.
    pub user_home: Option<PathBuf>,
    /// What the command may reach.
    pub network: Network,
    /// How much it may use.
    pub bounds: Bounds,
    /// Parts that may be missing, by the user's own word. Only [`Part::can_be_waived`] ones.
    pub waived: Vec<Part>,
}

/// A sandbox that can be built as far as can be known beforehand. Its paths of the host are without links: whatever
/// somebody puts in their place later is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox(pub(crate) SandboxConfig);

/// Everything that is wrong with a [`SandboxConfig`].
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct BadSandbox(pub Vec<Problem>);

/// One thing that is wrong with a [`SandboxConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It has to begin with `/` and be without `..`.
    #[error("{} is not an absolute path", .0.display())]
    NotAbsolute(PathBuf),
    /// It is not there.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// This user may not read it.
    #[error("{} cannot be read by this user", .0.display())]
    Unreadable(PathBuf),
    /// This user may not write it.
    #[error("{} cannot be written by this user", .0.display())]
    Unwritable(PathBuf),
    /// The home directory has to be a directory.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// The whole root, or a directory that each sandbox has of its own.
    #[error("{} cannot be shown inside, nor can anything be put there", .0.display())]
    Reserved(PathBuf),
    /// Whoever writes the one could put a link to anything in place of the other.
    #[error("{} lies in {}, which can be written: show only one of them", inner.display(), outer.display())]
    InWritable {
        /// What is shown.
        inner: PathBuf,
        /// The writable path that it is in.
        outer: PathBuf,
    },
    /// It could be moved away together with what it is in.
    #[error("{} could not be kept read-only below {}, which can be written", inner.display(), outer.display())]
    BelowWritable {
        /// The place inside.
        inner: PathBuf,
        /// The writable place that it is below.
        outer: PathBuf,
    },
    /// Without this part there is no sandbox.
    #[error("{0} cannot be done without")]
    NotWaivable(Part),
}

impl TryFrom<SandboxConfig> for Sandbox {
    type Error = BadSandbox;

    fn try_from(mut config: SandboxConfig) -> Result<Self, BadSandbox> {
        let mut problems = Vec::new();
        for mount in &config.read {
            problems.extend(problem_with_target(&mount.target));
            problems.extend(problem_with_source(&mount.source, Access::READ_OK, Problem::Unreadable));
        }
        for mount in &config.write {
            problems.extend(problem_with_target(&mount.target));
            problems.extend(problem_with_source(&mount.source, Access::WRITE_OK, Problem::Unwritable));
        }
        problems.extend(config.hide.iter().chain(&config.fixed).filter_map(|path| problem_with_target(path)));
        if let Some(home) = &config.home {
            problems.extend(problem_with_source(home, Access::WRITE_OK, Problem::Unwritable));
            if home.exists() && !home.is_dir() {
                problems.push(Problem::NotADirectory(home.clone()));
            }
        }
        problems.extend(
            config.waived.iter().filter(|part| !part.can_be_waived()).map(|part| Problem::NotWaivable(*part)),
        );
        if problems.is_empty() {
            problems.extend(overlap::settle(&mut config));
            problems.extend(overlap::problems(&config));
        }
        if problems.is_empty() { Ok(Self(config)) } else { Err(BadSandbox(problems)) }
    }
}

fn problem_with_source(path: &Path, wanted: Access, refused: fn(PathBuf) -> Problem) -> Option<Problem> {
    if let Some(problem) = problem_with_target(path) {
        return Some(problem);
    }
    if let Err(error) = path.metadata() {
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        return Some(if is_missing { Problem::Missing(path.to_owned()) } else { refused(path.to_owned()) });
    }
    access(path, wanted).is_err().then(|| refused(path.to_owned()))
}

fn problem_with_target(path: &Path) -> Option<Problem> {
    let mut parts = path.components();
    if parts.next() != Some(Component::RootDir) || parts.any(|part| part == Component::ParentDir) {
        return Some(Problem::NotAbsolute(path.to_owned()));
    }
    let is_own = path == Path::new("/") || OWN_DIRS.iter().any(|dir| path.starts_with(dir));
    is_own.then(|| Problem::Reserved(path.to_owned()))
}

/// Names the program that is started as the helper, where it is not this program itself. To be called before anything
/// is started; a second call changes nothing. The program has to call [`dispatch`] first of all.
pub fn set_helper(program: PathBuf) {
    let _ = HELPER.set(program);
}

static HELPER: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();

/// The helper's program file, where it is not this one's.
#[cfg(target_os = "linux")]
pub(crate) fn helper_program() -> Option<&'static Path> {
    HELPER.get().map(PathBuf::as_path)
}

/// The helper, without arguments and environment. By default the very file that runs here, even if another one, of
/// another version, has taken its place by now.
#[cfg(target_os = "linux")]
fn helper_command() -> std::process::Command {
    use std::os::unix::process::CommandExt;
    let program = HELPER.get().map_or_else(|| Path::new("/proc/self/exe"), PathBuf::as_path);
    let mut command = std::process::Command::new(program);
    command.arg0("skep").arg(HELPER_MODE).env_clear();
    command
}

/// Removes what was made outside of a sandbox for it, once it has ended, by the process id of the helper that made it.
#[cfg(target_os = "linux")]
pub(crate) fn clean_up(maker: u32) {
    helper::remove_cgroups(maker);
}

/// Becomes the helper if this process was started as one, and is then gone. To be called first in `main`, before any
/// thread is started and any argument is read.
///
/// `prepare` makes the network of [`Network::Egress`]; without it such a sandbox does not start.
pub fn dispatch(prepare: Option<PrepareNetwork>) {
    #[cfg(target_os = "linux")]
    if std::env::args_os().nth(1).is_some_and(|mode| mode == HELPER_MODE) {
        helper::run(prepare);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = prepare;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_named() {
        let config = SandboxConfig {
            read: vec![Mount::same("/no/such/path"), Mount::same("usr"), Mount::same("/usr/../etc")],
            write: vec![
                Mount::same("/"),
                Mount { source: "/tmp".into(), target: "/proc/self".into() },
                Mount::same("/dev/shm"),
            ],
            hide: vec!["secret".into()],
            home: Some("/etc/hosts".into()),
            waived: vec![Part::Landlock, Part::Pids],
            ..SandboxConfig::default()
        };
        let BadSandbox(mut problems) = Sandbox::try_from(config).unwrap_err();
        // Whether it may be written depends on who runs the test.
        problems.retain(|problem| !matches!(problem, Problem::Unwritable(_)));
        let expect = [
            Problem::Missing("/no/such/path".into()),
            Problem::NotAbsolute("usr".into()),
            Problem::NotAbsolute("usr".into()),
            Problem::NotAbsolute("/usr/../etc".into()),
            Problem::NotAbsolute("/usr/../etc".into()),
            Problem::Reserved("/".into()),
            Problem::Reserved("/".into()),
            Problem::Reserved("/proc/self".into()),
            Problem::Reserved("/dev/shm".into()),
            Problem::Reserved("/dev/shm".into()),
            Problem::NotAbsolute("secret".into()),
            Problem::NotADirectory("/etc/hosts".into()),
            Problem::NotWaivable(Part::Pids),
        ];
        assert_eq!(problems, expect);
    }

    #[test]
    fn what_is_there_may_be_shown_elsewhere() {
        let moved = Mount { source: "/usr/share".into(), target: "/data".into() };
        let config = SandboxConfig { read: vec![moved], ..SandboxConfig::default() };
        assert!(Sandbox::try_from(config).is_ok());
    }
}
