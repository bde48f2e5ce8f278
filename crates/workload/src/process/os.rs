//! What differs between systems: tying a process group to the life of skep, noticing that its leader has ended, and
//! (Linux) what a sandbox is made of.
//!
//! Linux has the whole of it. Elsewhere a killed skep leaves its workloads behind (they see their stdin end); stopping
//! and dropping work the same, and there is no sandbox. All `unsafe` of the workspace is below this module.

#[cfg(target_os = "linux")]
#[path = "os/linux.rs"]
mod imp;
#[cfg(not(target_os = "linux"))]
#[path = "os/unix.rs"]
mod imp;
#[cfg(target_os = "linux")]
pub(crate) mod namespace;

#[cfg(target_os = "linux")]
pub mod netns;

pub(super) use imp::{ExitWatch, Leash, pass_on};
pub use imp::{let_go_of_program_file, raise_open_files};
