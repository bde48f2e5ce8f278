//! Why a command could not be started, and what to do about it.
//!
//! The system says no more than "no such file" for a missing program, a missing interpreter and a missing directory
//! alike; which of them it was is looked up after the fact, for the message only. A file that is neither a program nor
//! a script with a `#!` line is no error here: the C library has the shell try it, and the shell says what it thinks.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::command::CommandSpec;
#[cfg(target_os = "linux")]
use crate::sandbox::{SetupError, Step};

/// A command that was not started. `Display` fits after "failed to start the server: "; [`Self::hint`] says what helps.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A bare name that no directory of `PATH` has.
    #[error("there is no program named {program:?} on PATH")]
    NotOnPath { program: String },
    /// A path that leads nowhere.
    #[error("there is no program at {}", path.display())]
    NoSuchFile { path: PathBuf },
    /// The file exists, what its first line says to run it with does not.
    #[error("{} names an interpreter that does not exist", path.display())]
    NoInterpreter { path: PathBuf },
    /// It exists and may not be executed.
    #[error("{program:?} is not executable by this user")]
    NotExecutable { program: String },
    /// The working directory is missing, is no directory, or may not be entered.
    #[error("the working directory {} cannot be entered", path.display())]
    NoDirectory { path: PathBuf },
    /// Out of processes, file descriptors or memory; may pass.
    #[error("the system is out of processes, file descriptors or memory")]
    OutOfResources(#[source] io::Error),
    /// Anything else the system refused.
    #[error("the system refused to start {program:?}")]
    Refused {
        program: String,
        #[source]
        source: io::Error,
    },
    /// Its container cannot be had, or does not run it.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Container(#[from] crate::container::ContainerError),
    /// A part of its isolation cannot be had, or the sandbox cannot be built as wished.
    #[error("{what}")]
    Unisolated {
        what: String,
        hint: Option<&'static str>,
        #[source]
        source: io::Error,
    },
}

impl SpawnError {
    /// What the reader can do, as a sentence; `None` when the source says all there is.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotOnPath { .. } => "Install it, or give the full path of the program.",
            Self::NoSuchFile { .. } => "Check the path; a relative one starts at the working directory.",
            Self::NoInterpreter { .. } => "Install the interpreter, or correct the first line of the script.",
            Self::NotExecutable { .. } => {
                "Make it executable with chmod +x, or run it through its interpreter."
            }
            Self::NoDirectory { .. } => "Create the directory, or choose another one.",
            Self::OutOfResources(_) => "Raise the limits (ulimit -u, ulimit -n) or stop other programs.",
            Self::Unisolated { hint, .. } => return *hint,
            #[cfg(target_os = "linux")]
            Self::Container(error) => return error.hint(),
            Self::Refused { .. } => return None,
        })
    }

    /// Whether trying again later may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::OutOfResources(_))
    }

    /// Finds out what the system's error was about.
    pub(super) fn explain(spec: &CommandSpec, source: io::Error) -> Self {
        let program = || spec.program().to_string_lossy().into_owned();
        let directory = spec.cwd().filter(|path| !can_enter(path));
        match (source.raw_os_error(), directory) {
            (Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE), _) => {
                Self::OutOfResources(source)
            }
            (Some(libc::ENOENT | libc::EACCES | libc::ENOTDIR), Some(path)) => {
                Self::NoDirectory { path: path.to_owned() }
            }
            (Some(libc::ENOENT | libc::ENOTDIR), None) => explain_missing(spec),
            (Some(libc::EACCES), None) => Self::NotExecutable { program: program() },
            _ => Self::Refused { program: program(), source },
        }
    }
}

#[cfg(target_os = "linux")]
impl SpawnError {
    /// Says which step inside the helper failed. For running the command itself it is what it would be without.
    pub(super) fn explain_setup(spec: &CommandSpec, SetupError { step, errno }: SetupError) -> Self {
        let source = match errno {
            0 => io::Error::other("the system gave no reason"),
            errno => io::Error::from_raw_os_error(errno),
        };
        if matches!(errno, libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) {
            return Self::OutOfResources(source);
        }
        let (what, hint) = match step {
            Step::Exec => return Self::explain(spec, source),
            Step::Enter(path) if !can_enter(&path) => return Self::NoDirectory { path },
            Step::Enter(path) => (
                format!("the working directory {} is not visible in the sandbox", path.display()),
                Some("Let it be read or written there."),
            ),
            Step::Part(part) => {
                let (what, hint) = (format!("{part} is missing here"), Some(part.what_helps()));
                return Self::Unisolated { what, hint, source: part.reason(source) };
            }
            Step::Show(path) => (
                format!("{} cannot be shown in the sandbox", path.display()),
                Some("Check that it exists and that this user may read it."),
            ),
            Step::Place(path) => (
                format!("nothing can be put at {} in the sandbox", path.display()),
                Some("Choose another path inside, or create it in the directory that is shown there."),
            ),
            Step::Hide(path) => (
                format!("{} cannot be hidden in the sandbox", path.display()),
                Some(if errno == libc::ELOOP {
                    "In a writable directory nothing is hidden that is behind a symbolic link: name what it leads to."
                } else {
                    "Only what is visible in the sandbox can be hidden."
                }),
            ),
            Step::Other(what) => (format!("the sandbox could not be built: {what}"), None),
        };
        Self::Unisolated { what, hint, source }
    }
}

fn explain_missing(spec: &CommandSpec) -> SpawnError {
    let program = spec.program();
    if !program.as_bytes().contains(&b'/') {
        return SpawnError::NotOnPath { program: program.to_string_lossy().into_owned() };
    }
    let path = spec.cwd().map_or_else(|| PathBuf::from(program), |cwd| cwd.join(program));
    if path.exists() { SpawnError::NoInterpreter { path } } else { SpawnError::NoSuchFile { path } }
}

/// Whether a process of ours may change into the directory.
fn can_enter(path: &Path) -> bool {
    path.is_dir() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
