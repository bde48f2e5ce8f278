//! What this machine can enforce, part by part, found out by trying in processes that live for a moment.

use std::fmt;
#[cfg(target_os = "linux")]
use std::io;

use serde::{Deserialize, Serialize};

/// A part of the isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Rights over the other namespaces, for a user without rights.
    UserNamespace,
    /// Files: a root of its own.
    Mounts,
    /// Processes: none but its own is seen, and all of them end with it.
    Pids,
    /// Shared memory, message queues, host name, control groups.
    Ipc,
    /// The network.
    Network,
    /// Files once more, TCP, and signals and abstract sockets to the outside.
    Landlock,
    /// System calls.
    Seccomp,
    /// How much memory.
    MemoryBound,
    /// How many processes.
    ProcessBound,
    /// How much of a processor.
    CpuBound,
}

impl Part {
    /// All of them, in the order they are told.
    pub const ALL: [Self; 10] = [
        Self::UserNamespace,
        Self::Mounts,
        Self::Pids,
        Self::Ipc,
        Self::Network,
        Self::Landlock,
        Self::Seccomp,
        Self::MemoryBound,
        Self::ProcessBound,
        Self::CpuBound,
    ];

    /// Whether a sandbox may go without it when the user says so: where something else still holds, or where only the
    /// machine's resources are at stake.
    #[must_use]
    pub fn can_be_waived(self) -> bool {
        match self {
            Self::Landlock | Self::ProcessBound | Self::CpuBound => true,
            Self::UserNamespace
            | Self::Mounts
            | Self::Pids
            | Self::Ipc
            | Self::Network
            | Self::Seccomp
            | Self::MemoryBound => false,
        }
    }

    /// What the system's error means for this part, where its text is about something else.
    #[cfg(target_os = "linux")]
    pub(crate) fn reason(self, error: io::Error) -> io::Error {
        match (self, error.raw_os_error()) {
            (
                Self::UserNamespace | Self::Mounts | Self::Pids | Self::Ipc | Self::Network,
                Some(libc::ENOSPC),
            ) => io::Error::other("no more namespaces are allowed here"),
            (Self::ProcessBound | Self::CpuBound, Some(libc::ENOSYS)) => {
                io::Error::other("no control group can be made, and nothing else holds it")
            }
            _ => error,
        }
    }

    /// What helps where it is missing, as sentences.
    #[must_use]
    pub fn what_helps(self) -> &'static str {
        match self {
            Self::UserNamespace | Self::Mounts | Self::Pids | Self::Ipc | Self::Network => {
                "Use Linux 5.14 or later and allow user namespaces: sysctl user.max_user_namespaces above 0, \
                 kernel.unprivileged_userns_clone=1 (Debian), kernel.apparmor_restrict_unprivileged_userns=0 or an \
                 AppArmor profile for this program (Ubuntu). In a container they need a seccomp profile that allows \
                 them and an unmasked /proc."
            }
            Self::Landlock => {
                "Use Linux 5.13 or later with Landlock in the `lsm=` list of the kernel's command line."
            }
            Self::Seccomp => "Use a kernel that is built with CONFIG_SECCOMP_FILTER.",
            Self::MemoryBound => "Use a kernel with resource limits.",
            Self::ProcessBound => {
                "Run as an ordinary user on Linux 5.14 or later, or where control groups may be made."
            }
            Self::CpuBound => {
                "Run where control groups with the cpu controller may be made, as in a systemd unit with Delegate=yes."
            }
        }
    }
}

/// Fits into "… is missing here".
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserNamespace => "the user namespace",
            Self::Mounts => "the mount namespace",
            Self::Pids => "the PID namespace",
            Self::Ipc => "the IPC and host name namespaces",
            Self::Network => "the network namespace",
            Self::Landlock => "Landlock",
            Self::Seccomp => "the system call filter",
            Self::MemoryBound => "the bound on memory",
            Self::ProcessBound => "the bound on processes",
            Self::CpuBound => "the bound on processor time",
        })
    }
}

/// Whether a part can be had here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It can.
    Enforced {
        /// By what, where there are several ways.
        by: Option<String>,
    },
    /// It cannot.
    Missing {
        /// What the system said, as a fragment.
        why: String,
        /// What helps, as sentences.
        what_helps: String,
    },
}

/// What was found out about one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The part.
    pub part: Part,
    /// Whether it can be had.
    pub standing: Standing,
}

/// Finds out what this machine can enforce. Starts processes and waits for them: not for a thread that must not block.
#[must_use]
pub fn check() -> Vec<Finding> {
    imp::check().unwrap_or_else(|why| {
        let missing = |part: Part| {
            let what_helps = part.what_helps().to_owned();
            Finding { part, standing: Standing::Missing { why: why.clone(), what_helps } }
        };
        Part::ALL.map(missing).into()
    })
}

#[cfg(target_os = "linux")]
mod imp {
    use super::super::{helper, helper_command};
    use super::Finding;

    /// This child is no workload: it is waited for right here, so it does not matter which thread forks it.
    pub(super) fn check() -> Result<Vec<Finding>, String> {
        let failed = |error: std::io::Error| format!("the check could not be started ({error})");
        let output = helper_command().arg(helper::PROBE).output().map_err(failed)?;
        serde_json::from_slice(&output.stdout).map_err(|_| format!("the check {}", output.status))
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::Finding;

    pub(super) fn check() -> Result<Vec<Finding>, String> {
        Err("there is no isolation of processes on this system".to_owned())
    }
}
