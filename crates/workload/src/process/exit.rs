//! How a process ended: why, and what had been asked of it by then.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Why it ended.
    pub cause: Cause,
    /// What had been asked of it when it ended.
    pub asked: Asked,
}

/// Why a process ended. `Display` fits after "the server …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It ended by itself with this status.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
    /// The container that it ran in ended, and everything in it.
    ContainerEnded,
    /// The system did not tell (somebody else reaped it, or the runtime went away).
    Unknown,
}

/// The strongest thing asked of a process before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// Nothing: it left unasked.
    Nothing,
    /// To leave because its stdin had ended.
    ToLeave,
    /// SIGTERM.
    ToTerminate,
    /// SIGKILL: it had not left in its grace period, or nobody wanted it any more.
    NothingMore,
}

impl Exit {
    /// Whether it ended by itself with status 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.cause == Cause::Exited(0)
    }

    /// Whether it ended without being asked to.
    #[must_use]
    pub fn is_unasked(&self) -> bool {
        self.asked == Asked::Nothing
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Signalled(signal) => match signal_name(signal) {
                Some(name) => write!(f, "was killed by {name}"),
                None => write!(f, "was killed by signal {signal}"),
            },
            Self::ContainerEnded => f.write_str("ended with its container, which was removed or killed"),
            Self::Unknown => f.write_str("ended in an unknown way"),
        }
    }
}

impl From<ExitStatus> for Cause {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signal)) => Self::Signalled(signal),
            (None, None) => Self::Unknown,
        }
    }
}

/// The names of the signals that commonly end a process.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_reads_as_a_sentence() {
        for (raw, text) in [
            (0, "exited with status 0"),
            (3 << 8, "exited with status 3"),
            (libc::SIGKILL, "was killed by SIGKILL"),
            (libc::SIGSEGV | 0x80, "was killed by SIGSEGV"),
            (40, "was killed by signal 40"),
        ] {
            assert_eq!(Cause::from(ExitStatus::from_raw(raw)).to_string(), text);
        }
    }
}
