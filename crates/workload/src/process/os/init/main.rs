//! pid 1 of a sandbox, from when its command runs: a program of its own, a few kilobytes, without the standard library
//! or any other. `build.rs` compiles it, and `sandbox::helper::init` becomes it.
//!
//! Why: what is loaded by its addresses, as skep is, has a megabyte that no two processes share, and each sandbox has a
//! pid 1. Nor is there anything of skep left in the memory of a process that stands beside somebody else's program.
//!
//! It reaps; when the command has ended it writes how, and ends, and everything in the sandbox with it; and it answers
//! each message on its line with a TCP socket of its network namespace.
//!
//! Arguments: the command's process id; the descriptors of a signalfd(2) for SIGCHLD, of the line, and where the ending
//! is written; the message that the command runs, which is sent first; the message that carries a socket. Whoever starts
//! it gives these as they are to be: nothing is checked.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::mem::MaybeUninit;
use core::ptr::null;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const SOCKET: usize = 41;
    pub const SENDMSG: usize = 46;
    pub const WAIT4: usize = 61;
    pub const PRCTL: usize = 157;
    pub const EXIT_GROUP: usize = 231;
    pub const PPOLL: usize = 271;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const CLOSE: usize = 57;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const PPOLL: usize = 73;
    pub const EXIT_GROUP: usize = 94;
    pub const PRCTL: usize = 167;
    pub const SOCKET: usize = 198;
    pub const SENDMSG: usize = 211;
    pub const WAIT4: usize = 260;
}

const AF_INET: usize = 2;
const SOCK_STREAM_CLOEXEC: usize = 0o2000001;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const MSG_NOSIGNAL: usize = 0x4000;
const POLLIN: i16 = 1;
const WNOHANG: usize = 1;
const PR_SET_NAME: usize = 15;

// The kernel starts a program with its arguments on the stack.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {}", sym begin);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "mov x0, sp", "bl {}", sym begin);

/// `struct pollfd` of poll(2).
#[repr(C)]
struct PollFd {
    descriptor: i32,
    events: i16,
    revents: i16,
}

/// `struct iovec` of sendmsg(2).
#[repr(C)]
struct Piece {
    start: *const u8,
    length: usize,
}

/// `struct cmsghdr` of cmsg(3) with one descriptor.
#[repr(C)]
struct Rights {
    length: usize,
    level: i32,
    kind: i32,
    descriptor: i32,
    padding: i32,
}

/// `struct msghdr` of sendmsg(2).
#[repr(C)]
struct Message {
    name: *const u8,
    name_length: usize,
    pieces: *const Piece,
    piece_count: usize,
    control: *const Rights,
    control_length: usize,
    flags: usize,
}

/// Any system call with at most five arguments.
///
/// # Safety
/// Whatever the kernel reads or writes at an argument must be there.
unsafe fn call(number: usize, args: [usize; 5]) -> isize {
    let result: isize;
    let [a, b, c, d, e] = args;
    // SAFETY: the kernel's convention of this architecture; the memory is the caller's promise.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
             in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
             in("x4") e, options(nostack));
    }
    result
}

/// # Safety
/// `stack` is where the kernel has put the number of arguments, and then each argument.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the caller's promise; whoever started this has given six arguments after the name.
    let argument = |index: usize| unsafe { *stack.add(1 + index) as *const u8 };
    let command = decimal(argument(1));
    let [children, line, ending] = [2, 3, 4].map(|index| decimal(argument(index)));
    let (started, with_socket) = (argument(5), argument(6));
    // SAFETY: the name is there to read, and ends with a zero.
    unsafe { call(number::PRCTL, [PR_SET_NAME, c"skep-pid-1".as_ptr() as usize, 0, 0, 0]) };
    let mut is_heard = send(line, started, None);
    // Nobody is there to use it.
    if !is_heard {
        leave(1);
    }
    loop {
        // A descriptor below zero is passed over.
        let mut waited = [
            PollFd { descriptor: children, events: POLLIN, revents: 0 },
            PollFd { descriptor: if is_heard { line } else { -1 }, events: POLLIN, revents: 0 },
        ];
        // SAFETY: the array is there and has two elements. Without a time or a set of signals the rest is not read.
        unsafe { call(number::PPOLL, [waited.as_mut_ptr() as usize, 2, 0, 0, 0]) };
        if waited[1].revents != 0 {
            is_heard = answer(line, with_socket);
        }
        if waited[0].revents != 0 {
            drain(children);
            reap(command, ending);
        }
    }
}

/// Answers one message. False: nobody will ask any more.
fn answer(line: i32, with_socket: *const u8) -> bool {
    let mut asked = MaybeUninit::<[u8; 64]>::uninit();
    // SAFETY: there are 64 bytes to write to; the rest of a longer message is dropped.
    if unsafe { call(number::READ, [line as usize, asked.as_mut_ptr() as usize, 64, 0, 0]) } <= 0 {
        return false;
    }
    // SAFETY: takes numbers only.
    let socket = unsafe { call(number::SOCKET, [AF_INET, SOCK_STREAM_CLOEXEC, 0, 0, 0]) };
    if socket < 0 {
        return send(line, with_socket, None);
    }
    let is_sent = send(line, with_socket, Some(socket as i32));
    // SAFETY: takes a number only; the descriptor is this function's.
    unsafe { call(number::CLOSE, [socket as usize, 0, 0, 0, 0]) };
    is_sent
}

/// Sends a text, with a descriptor.
fn send(line: i32, text: *const u8, descriptor: Option<i32>) -> bool {
    let piece = Piece { start: text, length: length(text) };
    let rights = Rights {
        length: size_of::<Rights>() - size_of::<i32>(),
        level: SOL_SOCKET,
        kind: SCM_RIGHTS,
        descriptor: descriptor.unwrap_or(-1),
        padding: 0,
    };
    let message = Message {
        name: null(),
        name_length: 0,
        pieces: &raw const piece,
        piece_count: 1,
        control: if descriptor.is_some() { &raw const rights } else { null() },
        control_length: if descriptor.is_some() { size_of::<Rights>() } else { 0 },
        flags: 0,
    };
    // SAFETY: the message and all that it points to live through the call, with the lengths it says.
    unsafe { call(number::SENDMSG, [line as usize, &raw const message as usize, MSG_NOSIGNAL, 0, 0]) >= 0 }
}

/// Reads what tells that children have ended. How many did is for [`reap`] to find out.
fn drain(children: i32) {
    let mut signals = MaybeUninit::<[u8; 1024]>::uninit();
    // SAFETY: there are 1024 bytes to write to.
    unsafe { call(number::READ, [children as usize, signals.as_mut_ptr() as usize, 1024, 0, 0]) };
}

/// Reaps what has ended. Tells how the command did and leaves, if it was among them.
fn reap(command: i32, ending: i32) {
    loop {
        let mut status = 0_i32;
        // SAFETY: the status is there to write to, and nothing is wanted about resources.
        let pid = unsafe { call(number::WAIT4, [usize::MAX, &raw mut status as usize, WNOHANG, 0, 0]) };
        if pid <= 0 {
            return;
        }
        if pid == command as isize {
            let signal = (status & 0x7f) as u8;
            let told = if signal == 0 { [0, (status >> 8) as u8] } else { [1, signal] };
            // SAFETY: there are two bytes to read.
            unsafe { call(number::WRITE, [ending as usize, told.as_ptr() as usize, 2, 0, 0]) };
            leave(0);
        }
    }
}

fn leave(status: usize) -> ! {
    loop {
        // SAFETY: ends the process.
        unsafe { call(number::EXIT_GROUP, [status, 0, 0, 0, 0]) };
    }
}

/// The number in a text of digits.
fn decimal(text: *const u8) -> i32 {
    let mut number = 0_i32;
    for index in 0..length(text) {
        // SAFETY: the text is that long.
        let digit = unsafe { *text.add(index) };
        number = number.wrapping_mul(10).wrapping_add(i32::from(digit.wrapping_sub(b'0')));
    }
    number
}

/// Bytes before the zero that ends a text.
fn length(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: an argument ends with a zero. Volatile, so that this loop is not made a call of `strlen`.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    leave(101)
}
