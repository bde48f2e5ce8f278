//! Who the command is inside: a user of its own name and without rights over anything.
//!
//! Files are still judged by the user that skep runs as. For root that is root, which is why nothing that only root may
//! read is shown (`super::super::system`), and `/proc` is read-only.

use std::fs;
use std::io;

use rustix::process::{getegid, geteuid};

use crate::process::os::namespace;

/// Who root is inside. Not root: some programs behave otherwise then, and a kernel gives root rights on exec.
const INSTEAD_OF_ROOT: u32 = 1000;

/// The user and group inside, when outside they are these.
pub(super) fn inside(outside: u32) -> u32 {
    if outside == 0 { INSTEAD_OF_ROOT } else { outside }
}

/// Enters a user namespace, where this process may make the other namespaces given and more.
pub(super) fn enter(namespaces: libc::c_int) -> io::Result<()> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    namespace::unshare(libc::CLONE_NEWUSER | namespaces)?;
    // Without this an ordinary user may not map a group: leaving a group can give rights.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{} {user} 1", inside(user)))?;
    fs::write("/proc/self/gid_map", format!("{} {group} 1", inside(group)))
}
