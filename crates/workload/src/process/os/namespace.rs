//! The system calls that a sandbox is made with and that have no safe wrapper elsewhere. Linux only.
//!
//! INVARIANT: [`fork`], [`fork_beside`] and everything that changes the whole process is called in the helper mode only, a process with
//! one thread ([`has_one_thread`] is asked first). What is decided is in `crate::sandbox`; here is only how it is said
//! to the kernel.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null;

use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use rustix::process::Pid;

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Takes a descriptor that this process was started with. `None` when there is none with this number.
pub(crate) fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: the system call takes a number and touches no memory.
    let is_open = number > 2 && unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
    // SAFETY: the descriptor is open, and whoever started this process passed it on for us to own.
    is_open.then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether this process has one thread, so that a fork is a whole copy of it.
pub(crate) fn has_one_thread() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// Forks. `None` is the child.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the process has one thread (see the module), so no lock is held by a thread that the child lacks.
    let pid = succeed(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(pid))
}

/// Forks a child of this process's parent. `None` is the child.
pub(crate) fn fork_beside() -> io::Result<Option<Pid>> {
    let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
    let none: libc::c_long = 0;
    // SAFETY: as for `fork`, whose work this is: no flag shares memory, and without a stack the child goes on on its
    // copy of this one. What the C library's wrapper would do besides is for processes with threads, and to keep the
    // number of the thread, which only its signals to itself and its locks use.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    let pid = succeed(libc::c_int::try_from(pid).unwrap_or(-1))?;
    Ok(Pid::from_raw(pid))
}

/// Moves this process (a PID namespace: its next children) into new namespaces.
pub(crate) fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: touches no memory. The flags given are those of namespaces only, never CLONE_FILES.
    succeed(unsafe { libc::unshare(namespaces) }).map(drop)
}

/// Sets flags (`MOUNT_ATTR_…`) of a mount, or of all mounts of a tree.
pub(crate) fn set_mount_flags(tree: BorrowedFd<'_>, flags: u64, recursive: bool) -> io::Result<()> {
    let attr = MountAttr { set: flags, ..MountAttr::default() };
    let at = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string, `attr` lives through the call and its size is told.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            at,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn raise_loopback() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which lives through the call.
    succeed(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &raw const request) })
        .map(drop)
}

/// The ABI of Landlock that the kernel has, if it has it and it is on.
pub(crate) fn landlock_abi() -> io::Result<i64> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the system call takes no attributes and only answers.
    let abi = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION)
    };
    if abi < 0 { Err(io::Error::last_os_error()) } else { Ok(abi) }
}

/// Marks every descriptor but the standard streams close-on-exec.
pub(crate) fn close_all_on_exec() -> io::Result<()> {
    // SAFETY: the system call changes flags of descriptors and touches no memory.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A descriptor that can be read when a child has ended. SIGCHLD is held back from now on.
pub(crate) fn child_ended() -> io::Result<OwnedFd> {
    // SAFETY: `set` is initialised by `sigemptyset` before it is read, and lives through the calls; the descriptor is
    // new and nobody else's.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        succeed(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let number = succeed(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(number))
    }
}

/// A child that has ended and is not reaped yet, if there is one.
pub(crate) fn ended_child() -> Option<Pid> {
    // SAFETY: all-zero bytes are a valid `siginfo_t`, which lives through the call; of what waitid(2) fills in only the
    // process id is read, which it always does, with zero where there is none.
    let pid = unsafe {
        let mut about: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        if libc::waitid(libc::P_ALL, 0, &raw mut about, options) == -1 {
            return None;
        }
        about.si_pid()
    };
    Pid::from_raw(pid)
}

/// The program that is pid 1 of a sandbox, from when its command runs. `init/main.rs` is its source.
static INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// Becomes that program, with its name and arguments, and without an environment.
///
/// Its file may be run and not be read. The kernel then keeps everybody else from looking into the process
/// (`PR_SET_DUMPABLE` of prctl(2)), from its first instruction on.
pub(crate) fn become_init(args: &[String]) -> io::Result<Infallible> {
    let args: Vec<CString> = args.iter().map(|arg| Ok(CString::new(&**arg)?)).collect::<io::Result<_>>()?;
    let pointers: Vec<_> = args.iter().map(|arg| arg.as_ptr()).chain([null()]).collect();
    let mut program = File::from(memfd_create(c"init", MemfdFlags::CLOEXEC)?);
    program.write_all(INIT)?;
    fchmod(&program, Mode::XUSR)?;
    // SAFETY: the lists end with a null pointer, and they and the texts in them live through the call.
    unsafe { libc::fexecve(program.as_raw_fd(), pointers.as_ptr(), [null()].as_ptr()) };
    Err(io::Error::last_os_error())
}

/// Ends this process at once, without destructors or what is buffered.
pub(crate) fn leave(status: i32) -> ! {
    // SAFETY: ends the process; nothing is run afterwards.
    unsafe { libc::_exit(status) }
}

/// Leaves every supplementary group, where this user may.
pub(crate) fn leave_groups() {
    // SAFETY: an empty list is not read. Only root may; for others the kernel refuses and nothing is changed.
    unsafe { libc::setgroups(0, std::ptr::null()) };
}

fn succeed(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
