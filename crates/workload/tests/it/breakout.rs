//! Attempts to get out of a sandbox. Each is run twice: inside it must fail, and without isolation it must succeed, or
//! it would prove nothing. Where only root may do a thing anyway, the second run is for root only.
//!
//! An attempt is a script that exits with 0 when it got what it wanted. What a shell cannot say is said in Python.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::timeout;
use workload::process::Cause;
use workload::sandbox::{Bounds, Mount, Network, SandboxConfig};
use workload::{CommandSpec, LogTail, Process};

use crate::parent_death::holder;
use crate::sandboxed::{self, Scratch, is_root};
use crate::sh::{self, LIMIT, LONG_GRACE};

/// Who may do it without isolation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Anyone,
    Root,
    /// Root, on machines whose kernel has it and lets root: the second run is not looked at.
    SomeRoots,
}

/// In which language it is written.
#[derive(Clone, Copy)]
enum In {
    Shell,
    Python,
}
use By::{Anyone, Root, SomeRoots};
use In::{Python, Shell};

/// What Python attempts begin with: `allowed(call)` is whether the kernel did not refuse it out of hand.
const PRELUDE: &str = "
import ctypes, errno, fcntl, os, signal, socket, sys, termios
libc = ctypes.CDLL(None, use_errno=True)
def allowed(result):
    sys.exit(result == -1 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS, errno.EACCES))
";

const ATTEMPTS: &[(&str, By, In, &str)] = &[
    // Files outside of the profile.
    ("read a file of the host", Anyone, Shell, "cat $SECRET"),
    ("read it through a link in the profile", Anyone, Shell, "cat $SHOWN/link"),
    ("read it from the profile upwards", Anyone, Shell, "cat $SHOWN/../secret"),
    ("read it through the root of its parent", Anyone, Shell, "cat /proc/$PPID/root$SECRET"),
    ("read it through a process of its own", Anyone, Shell, "cat /proc/self/root$SECRET"),
    ("read what the profile hides", Anyone, Shell, "grep -q hidden $SHOWN/.env"),
    ("read in a directory that the profile hides", Anyone, Shell, "cat $SHOWN/private/key"),
    ("read what the profile hides by another name", Anyone, Shell, "
mv $WRITABLE/.env $WRITABLE/env; grep -q hidden $WRITABLE/env; s=$?; mv $WRITABLE/env $WRITABLE/.env; exit $s"),
    ("read what the profile hides in another place", Anyone, Shell, "
mv $WRITABLE/sub $WRITABLE/bus && grep -q hidden $WRITABLE/bus/key; s=$?; mv $WRITABLE/bus $WRITABLE/sub; exit $s"),
    ("put another directory around what the profile hides", Anyone, Shell, "
mv $WRITABLE/sub $WRITABLE/bus && mkdir $WRITABLE/sub; s=$?; rmdir $WRITABLE/sub; mv $WRITABLE/bus $WRITABLE/sub; exit $s"),
    ("read what the profile hides through a hard link", Anyone, Shell, "
ln $WRITABLE/.env $WRITABLE/link && grep -q hidden $WRITABLE/link; s=$?; rm -f $WRITABLE/link; exit $s"),
    ("remove what hides something", Anyone, Shell, "
cp -p $WRITABLE/.env $WRITABLE/copy && rm $WRITABLE/.env && mv $WRITABLE/copy $WRITABLE/.env"),
    ("list the home of another workload", Anyone, Shell, "ls $OTHER_HOME"),
    ("read /etc/shadow", Root, Shell, "cat /etc/shadow"),
    ("list /root", Root, Shell, "ls /root"),
    ("list /var", Anyone, Shell, "ls /var/lib"),
    ("list /run", Anyone, Shell, "ls /run"),
    ("list /sys", Anyone, Shell, "ls /sys/kernel"),
    ("see a file in the host's /tmp", Anyone, Shell, "cat $IN_TMP"),
    ("see a file in the host's /dev/shm", Anyone, Shell, "cat $IN_SHM"),
    (
        "find a disk",
        Anyone,
        Shell,
        "ls /dev/vda || ls /dev/sda || ls /dev/nvme0n1 || ls /dev/loop-control || ls /dev/tty",
    ),
    // Writing.
    ("write to /usr", Root, Shell, "touch /usr/.skep-breakout && rm /usr/.skep-breakout"),
    ("write to /etc", Root, Shell, "touch /etc/.skep-breakout && rm /etc/.skep-breakout"),
    ("write to the root", Root, Shell, "touch /.skep-breakout && rm /.skep-breakout"),
    ("write to what may be read", Anyone, Shell, "touch $SHOWN/new && rm $SHOWN/new"),
    ("change what may be read", Anyone, Shell, "echo >> $SHOWN/readable"),
    ("change its mode", Anyone, Shell, "chmod 600 $SHOWN/readable"),
    (
        "write kernel settings",
        Root,
        Shell,
        "x=$(cat /proc/sys/kernel/printk) && echo $x > /proc/sys/kernel/printk",
    ),
    ("make a program that runs as its owner", Anyone, Shell, "
cp /bin/true $WRITABLE/suid && chmod u+s $WRITABLE/suid; s=$?; rm -f $WRITABLE/suid; exit $s"),
    ("make a program that runs as its group", Anyone, Shell, "
cp /bin/true $WRITABLE/sgid && chmod 2755 $WRITABLE/sgid; s=$?; rm -f $WRITABLE/sgid; exit $s"),
    ("create a program that runs as its owner", Anyone, Python, "
path = os.environ['WRITABLE'] + '/created'
os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o4755)); os.unlink(path)"),
    ("create one without a name", Anyone, Python, "
os.close(os.open(os.environ['WRITABLE'], os.O_TMPFILE | os.O_WRONLY, 0o4755))"),
    ("open a file in a way that no filter can see", Anyone, Python, "allowed(libc.syscall(437, -100, b'/etc', None, 0))"),
    ("make a device", Root, Shell, "rm -f $WRITABLE/mem; mknod $WRITABLE/mem c 1 1"),
    // Processes.
    ("see a process of the host", Anyone, Shell, "ls /proc/$VICTIM"),
    ("signal a process of the host", Anyone, Shell, "kill -0 $VICTIM"),
    ("signal pid 1", Root, Shell, "kill -0 1"),
    ("read the environment of its parent", Anyone, Shell, "cat /proc/$PPID/environ"),
    ("read the memory of its parent", Anyone, Python, "open(f'/proc/{os.getppid()}/mem', 'rb')"),
    (
        "trace a child",
        Anyone,
        Python,
        "
pid = os.fork()
if pid == 0: signal.pause()
result = libc.ptrace(16, pid, None, None)
failed = ctypes.get_errno() if result else 0
os.kill(pid, signal.SIGKILL)
sys.exit(failed)",
    ),
    (
        "read another process's memory",
        Anyone,
        Python,
        "allowed(libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0))",
    ),
    // Network.
    (
        "reach a service on the host's loopback",
        Anyone,
        Python,
        "socket.create_connection(('127.0.0.1', int(os.environ['PORT'])), 5)",
    ),
    (
        "reach a socket of the host by its path",
        Anyone,
        Python,
        "socket.socket(socket.AF_UNIX).connect(os.environ['SOCKET'])",
    ),
    (
        "reach a socket of the host by its abstract name",
        Anyone,
        Python,
        "socket.socket(socket.AF_UNIX).connect('\\0' + os.environ['ABSTRACT'])",
    ),
    (
        "open a raw socket",
        Root,
        Python,
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
    ),
    ("open a packet socket", Root, Python, "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)"),
    ("talk to the audit system", Anyone, Python, "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)"),
    // The kernel.
    ("mount", Root, Shell, "mount -t tmpfs none $WRITABLE/sub && umount $WRITABLE/sub"),
    ("mount in the newer way", Root, Python, "allowed(libc.syscall(430, b'tmpfs', 0))"),
    ("clone with flags that no filter can see", Anyone, Python, "allowed(libc.syscall(435, None, 0))"),
    ("read the kernel's memory", SomeRoots, Shell, "head -c 1 /proc/kcore || head -c 1 /dev/mem || head -c 1 /dev/kmsg"),
    ("remount /usr writable", Root, Python, "allowed(libc.mount(b'', b'/no/such', b'', 32, b''))"),
    ("unshare a user namespace", Anyone, Shell, "unshare -U true"),
    (
        "clone into a user namespace",
        Anyone,
        Python,
        "
stack = ctypes.create_string_buffer(1 << 16)
top = ctypes.c_void_p(ctypes.addressof(stack) + (1 << 16))
run = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: 0)
allowed(libc.clone(run, top, 0x10000000 | 17, None))",
    ),
    (
        "enter a namespace of another process",
        Anyone,
        Python,
        "
allowed(libc.setns(os.open('/proc/self/ns/user', os.O_RDONLY) + 100, 0))",
    ),
    ("change the root", Root, Shell, "chroot / /bin/true"),
    ("load a module", SomeRoots, Python, "allowed(libc.init_module(None, 0, b'')) "),
    ("load another kernel", SomeRoots, Python, "allowed(libc.syscall(KEXEC, 0, 0, 0, 0))"),
    ("load a program into the kernel", Root, Python, "allowed(libc.syscall(BPF, 0, 0, 0))"),
    ("measure the system", Root, Python, "allowed(libc.syscall(PERF, 0, 0, -1, -1, 0))"),
    ("handle page faults", Anyone, Python, "allowed(libc.syscall(USERFAULTFD, 0x800 | 1))"),
    ("use a ring", Anyone, Python, "allowed(libc.syscall(425, 1, 0))"),
    ("use the keyring", Anyone, Python, "allowed(libc.syscall(KEYCTL, 0, -3, 0))"),
    ("open a file by its handle", Root, Python, "allowed(libc.open_by_handle_at(-100, None, 0))"),
    ("read the kernel's log", Root, Python, "allowed(libc.klogctl(10, None, 0))"),
    ("read the kernel's symbols", Anyone, Shell, "test -n \"$(head -c 9 /proc/kallsyms)\""),
    ("read the kernel's command line", Anyone, Shell, "test -n \"$(head -c 1 /proc/cmdline)\""),
    ("read where the kernel's memory is", SomeRoots, Shell, "
cd /proc; test -n \"$(head -qc 8 iomem slabinfo vmallocinfo pagetypeinfo kpageflags kpagecount kpagecgroup | tr -d '\\0')\""),
    ("set the host name", Root, Python, "allowed(libc.sethostname(None, 1 << 20))"),
    ("turn off randomised addresses", Anyone, Python, "allowed(libc.personality(0x0040000))"),
    // Terminals: a pipe is no terminal, but without isolation it is asked whether it is.
    (
        "write to a terminal's input",
        Anyone,
        Python,
        "
try: fcntl.ioctl(0, termios.TIOCSTI, b'x')
except OSError as error: sys.exit(error.errno != errno.ENOTTY)",
    ),
    ("make a terminal", Anyone, Python, "os.openpty()"),
    // Bounds.
    (
        "make more processes than it may",
        Anyone,
        Shell,
        "
i=0; while [ $i -lt 100 ]; do sleep 20 & pids=\"$pids $!\"; i=$((i+1)); done; kill $pids",
    ),
    (
        "use more memory than it may",
        Anyone,
        Shell,
        "test \"$(head -c 300000000 /dev/zero | tail -n 1 | wc -c)\" = 300000000",
    ),
    (
        "fill /tmp",
        Anyone,
        Shell,
        "f=/tmp/skep-fill-$$; head -c 20000000 /dev/zero > $f; s=$?; rm $f; exit $s",
    ),
    (
        "fill /dev/shm",
        Anyone,
        Shell,
        "f=/dev/shm/skep-fill-$$; head -c 20000000 /dev/zero > $f; s=$?; rm $f; exit $s",
    ),
    ("open more files than it may", Anyone, Python, "files = [open('/dev/null') for _ in range(300)]"),
];

/// What a sandboxed command may do after all; inside only.
const ALLOWED: &[(&str, In, &str)] = &[
    ("read what may be read", Shell, "grep -q yes $SHOWN/readable"),
    (
        "see that hidden files are there and empty",
        Shell,
        "test -e $SHOWN/.env && test -z \"$(cat $SHOWN/.env)\"",
    ),
    ("write what may be written", Shell, "echo new > $WRITABLE/file"),
    ("write its home", Shell, "echo x > $HOME/x && cd && pwd | grep -q sandbox"),
    ("write /tmp and /dev/shm", Shell, "echo x > /tmp/x && echo x > /dev/shm/x"),
    ("use devices without contents", Shell, "head -c 9 /dev/urandom > /dev/null && echo x > /dev/stderr"),
    ("list everything there is", Shell, "ls -l / /dev /etc /tmp $SHOWN > /dev/null"),
    (
        "start processes and threads",
        Python,
        "
import subprocess, threading
thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
subprocess.run(['/bin/true'], check=True)",
    ),
    ("know who it is", Shell, "test $(whoami) = sandbox && test $(id -u) != 0 && test $(hostname) = sandbox"),
    ("signal its own children", Shell, "sleep 100 & kill $!"),
    (
        "talk to itself over sockets",
        Python,
        "
a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'
server = socket.socket(socket.AF_UNIX); server.bind('/tmp/s'); server.listen()
socket.socket(socket.AF_UNIX).connect('/tmp/s')",
    ),
    ("know its interfaces", Python, "assert [name for _, name in socket.if_nameindex()] == ['lo']"),
];

/// The numbers of system calls that the C library has no function for.
const NUMBERS: &str = if cfg!(target_arch = "x86_64") {
    "KEXEC, BPF, PERF, USERFAULTFD, KEYCTL = 246, 321, 298, 323, 250\n"
} else {
    "KEXEC, BPF, PERF, USERFAULTFD, KEYCTL = 104, 280, 241, 282, 219\n"
};

/// The host as the attempts find it.
struct Host {
    scratch: Scratch,
    in_tmp: std::path::PathBuf,
    in_shm: std::path::PathBuf,
    victim: tokio::process::Child,
    port: TcpListener,
    _path: UnixListener,
    _abstract: UnixListener,
}

impl Host {
    fn new() -> Self {
        let scratch = Scratch::new();
        scratch.file("secret", "secret\n");
        scratch.file("shown/readable", "yes\n");
        scratch.file("shown/.env", "hidden\n");
        scratch.file("shown/private/key", "hidden\n");
        scratch.file("homes/other/file", "hidden\n");
        std::os::unix::fs::symlink("../secret", scratch.at("shown/link")).unwrap();
        scratch.file("writable/.env", "hidden\n");
        scratch.file("writable/sub/key", "hidden\n");
        let unique = scratch.name();
        let in_tmp = Path::new("/tmp").join(format!("{unique}-file"));
        let in_shm = Path::new("/dev/shm").join(unique);
        std::fs::write(&in_tmp, "x").unwrap();
        std::fs::write(&in_shm, "x").unwrap();
        let victim = Command::new("/bin/sleep").arg("1000").kill_on_drop(true).spawn().unwrap();
        let path = UnixListener::bind(scratch.at("socket")).unwrap();
        let name = SocketAddr::from_abstract_name(unique).unwrap();
        let by_name = UnixListener::bind_addr(&name).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { scratch, in_tmp, in_shm, victim, port, _path: path, _abstract: by_name }
    }

    fn profile(&self) -> SandboxConfig {
        let (shown, writable) = (self.scratch.at("shown"), self.scratch.at("writable"));
        SandboxConfig {
            read: vec![Mount::same(&shown)],
            hide: vec![
                shown.join(".env"),
                shown.join("private"),
                writable.join(".env"),
                writable.join("sub/key"),
            ],
            write: vec![Mount::same(writable)],
            bounds: Bounds {
                memory: Some(128 << 20),
                processes: Some(50),
                open_files: Some(200),
                cpu_percent: None,
                temporary: 10_000_000,
            },
            ..SandboxConfig::default()
        }
    }

    fn command(&self, language: In, script: &str) -> CommandSpec {
        let at = |name: &str| self.scratch.at(name).into_os_string().into_string().unwrap();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let env = [
            ("SECRET", at("secret")),
            ("SHOWN", at("shown")),
            ("WRITABLE", at("writable")),
            ("OTHER_HOME", at("homes/other")),
            ("IN_TMP", path(&self.in_tmp)),
            ("IN_SHM", path(&self.in_shm)),
            ("SOCKET", at("socket")),
            ("ABSTRACT", self.scratch.name().to_owned()),
            ("PORT", self.port.local_addr().unwrap().port().to_string()),
            ("VICTIM", self.victim.id().unwrap().to_string()),
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ];
        let spec = match language {
            Shell => CommandSpec::new("/bin/sh", ["-c", script]),
            Python => {
                let text = format!("{PRELUDE}{NUMBERS}{script}");
                CommandSpec::new("/usr/bin/python3", ["-c", text.as_str()])
            }
        };
        spec.unwrap().with_clear_env().with_env(env.map(|(name, value)| (name.to_owned(), value))).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.in_tmp);
        let _ = std::fs::remove_file(&self.in_shm);
    }
}

/// Whether the command got what it wanted, and what it wrote to stderr.
async fn succeeds(spec: &CommandSpec) -> (bool, String) {
    let log = LogTail::new("attempt");
    let process = Process::spawn_logged(spec, &log).await.unwrap();
    let exit = timeout(LIMIT, process.wait()).await.unwrap();
    (exit.is_success(), format!("{exit}: {}", log.tail(3).join(" / ")))
}

#[tokio::test]
async fn every_attempt_fails_inside_and_succeeds_without_isolation() {
    let host = Host::new();
    let mut wrong = Vec::new();
    for (name, by, language, script) in ATTEMPTS {
        let spec = host.command(*language, script);
        let (broke_out, _) = succeeds(&sandboxed::within(spec.clone(), host.profile())).await;
        if broke_out {
            wrong.push(format!("inside it could {name}"));
        }
        if *by == Anyone || (*by == Root && is_root()) {
            let (could, why) = succeeds(&spec).await;
            if !could {
                wrong.push(format!("without isolation it could not {name}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn what_a_server_needs_works_inside() {
    let host = Host::new();
    let mut wrong = Vec::new();
    for (name, language, script) in ALLOWED {
        let spec = sandboxed::within(host.command(*language, script), host.profile());
        let (could, why) = succeeds(&spec).await;
        if !could {
            wrong.push(format!("inside it could not {name}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(std::fs::read_to_string(host.scratch.at("writable/file")).unwrap(), "new\n");
}

#[tokio::test]
async fn the_hosts_network_does_not_open_its_abstract_sockets() {
    let host = Host::new();
    let by = |name: &str| {
        let (_, _, language, script) = *ATTEMPTS.iter().find(|attempt| attempt.0 == name).unwrap();
        let profile = SandboxConfig { network: Network::Host, ..host.profile() };
        sandboxed::within(host.command(language, script), profile)
    };
    let (reached, why) = succeeds(&by("reach a service on the host's loopback")).await;
    assert!(reached, "{why}");
    let (reached, _) = succeeds(&by("reach a socket of the host by its abstract name")).await;
    assert!(!reached);
}

/// Starts something in a session of its own, whose parent is gone, and stays.
fn daemon(marker: &str) -> String {
    format!("(setsid sh -c 'trap \"\" TERM HUP; sleep {marker}' &) ; echo started; exec cat")
}

fn running(marker: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.ends_with(format!("sleep\0{marker}\0").as_bytes()) && sh::is_alive(*pid)
    })
    .collect()
}

/// Ends what got away, and tells whether there was something.
async fn catch(marker: &str) -> bool {
    let found = running(marker);
    for pid in &found {
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    }
    if !found.is_empty() {
        sh::until_gone(&found).await;
    }
    !found.is_empty()
}

#[tokio::test]
async fn nothing_is_left_behind_by_a_stop() {
    for (number, is_isolated) in [(1, true), (2, false)] {
        let marker = format!("7{number}{}", std::process::id());
        let script = daemon(&marker);
        let (process, mut pipes) = if is_isolated {
            sandboxed::spawn(&script, sandboxed::bare()).await
        } else {
            sh::spawn(&script).await
        };
        assert_eq!(sh::line(&mut pipes.stdout).await, "started");
        sh::until("it runs", || !running(&marker).is_empty()).await;
        drop(pipes);
        let exit = process.stop(LONG_GRACE).await;
        assert_eq!(exit.cause, Cause::Exited(0));
        if is_isolated {
            sh::until("it is gone", || running(&marker).is_empty()).await;
        } else {
            assert!(catch(&marker).await, "without isolation it gets away");
        }
    }
}

#[tokio::test]
async fn nothing_is_left_behind_by_the_death_of_skep() {
    for (number, arguments) in [(3, &["--sandbox"][..]), (4, &[])] {
        let marker = format!("7{number}{}", std::process::id());
        let mut skep = Command::new(holder())
            .args(arguments)
            .args(["/bin/sh", "-c", &daemon(&marker)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        assert_eq!(sh::line(skep.stdout.take().unwrap()).await, "started");
        sh::until("it runs", || !running(&marker).is_empty()).await;
        skep.kill().await.unwrap();
        if arguments.is_empty() {
            assert!(catch(&marker).await, "without isolation it gets away");
        } else {
            sh::until("it is gone", || running(&marker).is_empty()).await;
        }
    }
}
