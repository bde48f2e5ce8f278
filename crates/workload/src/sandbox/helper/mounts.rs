//! The files of a sandbox: a root of its own with what the plan shows, and nothing else.
//!
//! In three steps, because paths of the host and paths inside must not be mixed up: all that will be shown is opened as
//! detached copies of mounts; then the root is exchanged for an empty one and the host's is let go of; then the copies
//! are put in place. From the second step on no path can lead out, whatever links somebody has left in a directory that
//! is shown; in the first one links are not followed.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::process::{getegid, geteuid, pivot_root};

use super::super::hiding::Hidden;
use super::super::plan::Plan;
use super::super::report::{SetupError, Step};
use super::super::{HOME, Part, system};
use crate::process::os::namespace;

/// Devices that hold nothing and lead nowhere. There is no terminal.
pub(super) const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// What every sandbox may read of its own.
pub(super) const READABLE: [&str; 2] = ["/etc", "/proc"];
/// Exists everywhere and is covered only until the root is exchanged.
const STEPPING_STONE: &str = "/usr";
/// The root holds a few small files and places to mount at.
const ROOT_BYTES: u64 = 4 << 20;
/// Files in a temporary directory, by its bytes: one for each page.
const BYTES_PER_FILE: u64 = 4096;
/// Parts of `/proc` that tell of the host or of the kernel.
const COVERED: [&str; 26] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/cmdline",
    "/proc/driver",
    "/proc/fs",
    "/proc/iomem",
    "/proc/irq",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/mtrr",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/vmallocinfo",
];
/// What covers a file and a directory.
const EMPTY_FILE: &str = "/.empty";
const EMPTY_DIR: &str = "/.empty.d";

/// A copy of a mount that is not in any place yet.
struct Detached {
    mount: OwnedFd,
    is_dir: bool,
    target: PathBuf,
}

/// Builds all of it; afterwards this process's root is that of the sandbox. Needs fresh user, mount and PID namespaces.
pub(super) fn build(plan: &Plan) -> Result<(), SetupError> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(refused)?;
    let shown = open_shown(plan)?;
    let home = plan.home.as_ref().map(|home| open(Path::new(home), HOME, true)).transpose()?;
    let devices = DEVICES.iter().map(|name| open_device(name)).collect::<Result<Vec<_>, _>>()?;
    let proc = new_mount("proc", &[], MountAttrFlags::MOUNT_ATTR_RDONLY).map_err(refused)?;
    exchange_root().map_err(refused)?;
    furnish(plan).map_err(refused)?;
    place_at(&proc, Path::new("/proc"))?;
    for device in &devices {
        place(device, &[])?;
    }
    let home = home.map_or_else(|| temporary(plan, HOME, 0o700), Ok)?;
    let own = [temporary(plan, "/tmp", 0o1777)?, temporary(plan, "/dev/shm", 0o1777)?, home];
    for detached in &own {
        place(detached, &[])?;
    }
    let ours = own_file_systems(plan).map_err(refused)?;
    shown.iter().try_for_each(|detached| place(detached, &ours))?;
    cover(COVERED.iter().map(Path::new).filter(|path| path.exists()))?;
    plan.pinned.iter().try_for_each(|path| pin(Path::new(path)))?;
    plan.fixed.iter().try_for_each(|path| fix(Path::new(path)))?;
    plan.hidden.iter().try_for_each(hide)?;
    close_root().map_err(refused)
}

fn refused(error: impl Into<io::Error>) -> SetupError {
    Step::Part(Part::Mounts).failed(error)
}

fn open_shown(plan: &Plan) -> Result<Vec<Detached>, SetupError> {
    plan.shown.iter().map(|shown| open(Path::new(&shown.source), &shown.target, shown.is_writable)).collect()
}

/// Copies what is mounted at and below a path of the host.
fn open(source: &Path, target: impl AsRef<Path>, is_writable: bool) -> Result<Detached, SetupError> {
    let failed = |error: io::Error| match error.raw_os_error() {
        // It is not about this path.
        Some(libc::ENOSYS | libc::EPERM) => refused(error),
        _ => Step::Show(source.to_owned()).failed(error),
    };
    let opened = open_path(source, ResolveFlags::NO_SYMLINKS).map_err(failed)?;
    let is_dir = is_dir(&opened).map_err(failed)?;
    let mount = copy_of(&opened).map_err(failed)?;
    let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, !is_writable);
    namespace::set_mount_flags(mount.as_fd(), flags.bits().into(), true).map_err(failed)?;
    Ok(Detached { mount, is_dir, target: target.as_ref().to_owned() })
}

/// Whether a directory could be shown, read-only.
pub(super) fn try_show(path: &Path) -> io::Result<()> {
    let mount = copy(path)?;
    namespace::set_mount_flags(mount.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), true)?;
    in_memory(ROOT_BYTES, 0o755).map(drop)
}

fn open_device(name: &str) -> Result<Detached, SetupError> {
    let path = Path::new("/dev").join(name);
    let failed = |error: io::Error| Step::Show(path.clone()).failed(error);
    let mount = copy(&path).map_err(failed)?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    namespace::set_mount_flags(mount.as_fd(), flags.bits().into(), false).map_err(failed)?;
    Ok(Detached { mount, is_dir: false, target: path })
}

fn copy(path: &Path) -> io::Result<OwnedFd> {
    copy_of(&open_path(path, ResolveFlags::empty())?)
}

fn copy_of(opened: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(opened, "", flags)?)
}

/// Holds on to a path, so that nothing can be put in its place between two looks at it.
fn open_path(path: &Path, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    Ok(openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

fn is_dir(opened: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(opened)?.st_mode).is_dir())
}

/// A new file system, not in any place yet. Neither set-user-id programs nor devices work on it.
pub(super) fn new_mount(
    kind: &str,
    options: &[(&str, String)],
    flags: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(&context, *name, value.as_str())?;
    }
    fsconfig_create(&context)?;
    let flags = flags | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

fn temporary(plan: &Plan, target: &str, mode: u32) -> Result<Detached, SetupError> {
    let bytes = plan.bounds.temporary;
    let mount = in_memory(bytes, mode).map_err(refused)?;
    Ok(Detached { mount, is_dir: true, target: target.into() })
}

fn in_memory(bytes: u64, mode: u32) -> io::Result<OwnedFd> {
    let files = (bytes / BYTES_PER_FILE).max(64);
    let options =
        [("size", bytes.to_string()), ("nr_inodes", files.to_string()), ("mode", format!("{mode:o}"))];
    new_mount("tmpfs", &options, MountAttrFlags::empty())
}

/// Makes an empty file system the root, and the host's unreachable.
fn exchange_root() -> io::Result<()> {
    let root = in_memory(ROOT_BYTES, 0o755)?;
    attach(&root, Path::new(STEPPING_STONE))?;
    std::env::set_current_dir(STEPPING_STONE)?;
    // Puts the old root on top of the new one, from where it is taken away. See pivot_root(2).
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}

/// What is made anew: directories, links, the files of `/etc`.
fn furnish(plan: &Plan) -> io::Result<()> {
    for dir in ["/etc", "/proc", "/dev", "/dev/shm", "/tmp", HOME, EMPTY_DIR] {
        make_dir(Path::new(dir))?;
    }
    File::create(EMPTY_FILE)?;
    for (path, text) in &plan.links {
        make_dir(Path::new(path).parent().unwrap_or_else(|| Path::new("/")))?;
        symlink(text, path)?;
    }
    for (path, text) in system::own_settings(geteuid().as_raw(), getegid().as_raw(), plan.network) {
        fs::write(path, text)?;
    }
    for (path, text) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        symlink(text, Path::new("/dev").join(path))?;
    }
    Ok(())
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// The devices of file systems that are the sandbox's own, where places may be made.
fn own_file_systems(plan: &Plan) -> io::Result<Vec<u64>> {
    let own = ["/", "/tmp"].into_iter().chain(plan.home.is_none().then_some(HOME));
    own.map(|path| fs::metadata(path).map(|found| found.dev())).collect()
}

/// Puts a mount where it belongs. Where there is no place yet one is made, but only in these file systems (all, if none
/// are given: nothing of the host is in place yet), never in a directory of the host.
fn place(detached: &Detached, own: &[u64]) -> Result<(), SetupError> {
    let target = &detached.target;
    let failed = |error: io::Error| Step::Place(target.clone()).failed(error);
    if fs::metadata(target).is_err() {
        let is_ours = target.ancestors().find_map(|path| fs::metadata(path).ok());
        let is_ours = own.is_empty() || is_ours.is_some_and(|found: Metadata| own.contains(&found.dev()));
        if !is_ours {
            return Err(failed(io::Error::from_raw_os_error(libc::ENOENT)));
        }
        make_dir(if detached.is_dir { target } else { target.parent().unwrap_or(target) }).map_err(failed)?;
        if !detached.is_dir {
            File::create(target).map_err(failed)?;
        }
    }
    place_at(&detached.mount, target)
}

fn place_at(mount: &OwnedFd, target: &Path) -> Result<(), SetupError> {
    attach(mount, target).map_err(|error| Step::Place(target.to_owned()).failed(error))
}

fn attach(mount: &OwnedFd, target: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    Ok(move_mount(mount, "", CWD, target, flags)?)
}

/// Puts something empty and read-only over paths inside, which must exist.
fn cover<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<(), SetupError> {
    for path in paths {
        let opened = open_path(path, ResolveFlags::empty());
        opened.and_then(|opened| cover_opened(&opened)).map_err(|error| not_hidden(path, error))?;
    }
    Ok(())
}

fn cover_opened(opened: &OwnedFd) -> io::Result<()> {
    let empty = copy(Path::new(if is_dir(opened)? { EMPTY_DIR } else { EMPTY_FILE }))?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into();
    namespace::set_mount_flags(empty.as_fd(), flags, false)?;
    attach_to(&empty, opened)
}

/// Covers what is hidden. What is gone, while what it was in is there, needs no cover.
fn hide(hidden: &Hidden) -> Result<(), SetupError> {
    let path = Path::new(&hidden.path);
    match open_path(path, links(hidden.is_in_writable)) {
        Ok(opened) => cover_opened(&opened).map_err(|error| not_hidden(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_gone = hidden.is_elsewhere || path.parent().is_some_and(Path::is_dir);
            if is_gone { Ok(()) } else { Err(not_hidden(path, error)) }
        }
        Err(error) => Err(not_hidden(path, error)),
    }
}

/// Where the command can write, it could have put a link there.
fn links(is_in_writable: bool) -> ResolveFlags {
    if is_in_writable { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() }
}

/// Mounts a directory over itself: what something is mounted at can be neither renamed nor removed.
fn pin(path: &Path) -> Result<(), SetupError> {
    let pinned = open_path(path, links(true)).and_then(|opened| attach_to(&copy_of(&opened)?, &opened));
    match pinned {
        // What was to be hidden in it is gone as well.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        pinned => pinned.map_err(|error| not_hidden(path, error)),
    }
}

/// Mounts a file over itself, read-only.
fn fix(path: &Path) -> Result<(), SetupError> {
    let fixed = open_path(path, links(true)).and_then(|opened| {
        let copy = copy_of(&opened)?;
        let flags = MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into();
        namespace::set_mount_flags(copy.as_fd(), flags, false)?;
        attach_to(&copy, &opened)
    });
    match fixed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        fixed => fixed.map_err(|error| Step::Place(path.to_owned()).failed(error)),
    }
}

fn not_hidden(path: &Path, error: io::Error) -> SetupError {
    Step::Hide(path.to_owned()).failed(error)
}

fn attach_to(mount: &OwnedFd, opened: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", opened, "", flags)?)
}

/// Nothing more is put into the root.
fn close_root() -> io::Result<()> {
    let root = open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    namespace::set_mount_flags(root.as_fd(), flags.bits().into(), false)
}
