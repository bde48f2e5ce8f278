//! Process runtime: starts a command, hands out its byte streams, keeps its stderr as its log, and sees to it that
//! nothing of it is left behind.
//!
//! - [`process`] — one run of a command: spawn, stop, wait; its whole process group is the unit.
//! - [`sandbox`] — what a run may see, reach and use, where that is less than skep itself may (Linux).
//! - [`container`] — a container of Docker or Podman as the place where a command runs (Linux).
//! - [`memory`] — how much of it process groups use.
//! - [`log`] — the last lines it wrote.
//! - [`supervisor`] — one command kept running, for servers that serve HTTP themselves.
//! - [`egress`] — what a workload in a network namespace of its own may reach (Linux).
//! - [`backoff`] — when the supervisor tries again, and when it gives up.
//!
//! The only crate that may contain `unsafe`, and only in `process::os`. Absent on purpose: HTTP, MCP, message framing
//! (whoever takes the pipes frames), configuration files and permission profiles.

pub mod backoff;
#[cfg(target_os = "linux")]
pub mod container;
#[cfg(target_os = "linux")]
pub mod egress;
#[cfg(target_os = "linux")]
mod line;
pub mod log;
pub mod memory;
pub mod process;
pub mod sandbox;
pub mod supervisor;

pub use log::LogTail;
pub use process::{CommandSpec, Exit, Pipes, Process, SpawnError};
pub use sandbox::{Sandbox, SandboxConfig};
pub use supervisor::{OnStart, RestartPolicy, State, Supervisor};
