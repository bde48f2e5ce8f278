//! Sandboxed commands start, run and end as others do.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use workload::process::{Asked, Cause};
use workload::sandbox::{Bounds, HOME, Mount, Network, Part, SandboxConfig, Standing};
use workload::{CommandSpec, LogTail, Process};

use crate::parent_death::holder;
use crate::sandboxed::{self, Scratch, bare, is_root};
use crate::sh::{self, LIMIT, LONG_GRACE};

const NO_ARGS: [&str; 0] = [];

/// Everything it writes until it ends.
async fn output(spec: &CommandSpec) -> String {
    let log = LogTail::new("test");
    let (process, mut pipes) = Process::spawn_piped(spec, &log).await.unwrap();
    let mut text = String::new();
    timeout(LIMIT, pipes.stdout.read_to_string(&mut text)).await.unwrap().unwrap();
    let exit = timeout(LIMIT, process.wait()).await.unwrap();
    assert!(exit.is_success(), "{exit}: {:?}", log.tail(20));
    text.trim_end().to_owned()
}

#[test]
fn this_machine_can_do_all_that_cannot_be_waived() {
    workload::sandbox::set_helper(holder());
    let findings = workload::sandbox::check();
    assert_eq!(findings.iter().map(|finding| finding.part).collect::<Vec<_>>(), Part::ALL);
    for finding in findings {
        let is_there = matches!(finding.standing, Standing::Enforced { .. });
        assert!(is_there || finding.part.can_be_waived(), "{finding:?}");
    }
}

#[tokio::test]
async fn rights_are_given_up_whatever_else_would_hold() {
    let status = output(&sandboxed::spec("cat /proc/self/status", bare())).await;
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    };
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(value(name), "0000000000000000", "{name}");
    }
    assert_eq!((value("NoNewPrivs"), value("Seccomp")), ("1".to_owned(), "2".to_owned()));
    assert!(value("Uid").split_whitespace().all(|user| user != "0"));
    assert_eq!(value("SigBlk"), "0".repeat(16));
}

#[tokio::test]
async fn mounts_are_read_only_whatever_else_would_hold() {
    let scratch = Scratch::new();
    let writable = scratch.dir("writable");
    let config = SandboxConfig { write: vec![Mount::same(&writable)], ..bare() };
    let mounts = output(&sandboxed::spec("cat /proc/self/mountinfo", config)).await;
    let own = ["/tmp", "/dev/shm", HOME, writable.to_str().unwrap()];
    let mut roots = 0;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let (place, options) = (fields[4], fields[5]);
        let has = |option: &str| options.split(',').any(|other| other == option);
        let is_device = place.starts_with("/dev/") && place != "/dev/shm";
        assert!(has("nosuid") && (has("nodev") || is_device), "{line}");
        assert_eq!(has("ro"), !own.contains(&place) && !is_device, "{line}");
        roots += usize::from(place == "/");
    }
    assert_eq!(roots, 1, "the root of the host is gone: {mounts}");
}

#[tokio::test]
async fn nothing_of_skep_is_inherited() {
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let leaky = rustix::io::fcntl_dupfd_cloexec(&reader, 300).unwrap();
    rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).unwrap();
    // The fourth is what `ls` reads the directory with.
    assert_eq!(output(&sandboxed::spec("exec ls /proc/self/fd", bare())).await, "0\n1\n2\n3");
}

#[tokio::test]
async fn bytes_go_both_ways_and_the_end_of_stdin_is_seen() {
    let (process, mut pipes) = sandboxed::spawn("exec cat", bare()).await;
    pipes.stdin.write_all(b"hello\n").await.unwrap();
    assert_eq!(sh::line(&mut pipes.stdout).await, "hello");
    drop(pipes);
    assert!(process.stop(LONG_GRACE).await.is_success());
}

#[tokio::test]
async fn the_end_of_stdout_is_seen_while_it_runs() {
    let (_process, mut pipes) = sandboxed::spawn("exec >&-; exec sleep 1000", bare()).await;
    let mut rest = Vec::new();
    timeout(LIMIT, pipes.stdout.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn how_it_ends_is_told_as_without() {
    for (script, cause) in [
        ("exit 0", Cause::Exited(0)),
        ("exit 3", Cause::Exited(3)),
        ("exit 255", Cause::Exited(255)),
        ("kill -SEGV $$", Cause::Signalled(libc::SIGSEGV)),
        ("kill -KILL $$", Cause::Signalled(libc::SIGKILL)),
        ("kill -TERM $$", Cause::Signalled(libc::SIGTERM)),
    ] {
        let (process, _pipes) = sandboxed::spawn(script, bare()).await;
        let exit = timeout(LIMIT, process.wait()).await.unwrap();
        assert_eq!((exit.cause, exit.asked), (cause, Asked::Nothing), "{script}");
    }
}

#[tokio::test]
async fn sigterm_reaches_it_once_and_it_may_clean_up() {
    let script = "trap 'echo bye >&2; exit 7' TERM; echo ready; while :; do read x || wait; done";
    let (process, mut pipes) = sandboxed::spawn(script, bare()).await;
    assert_eq!(sh::line(&mut pipes.stdout).await, "ready");
    let exit = process.stop(LONG_GRACE).await;
    assert_eq!((exit.cause, exit.asked), (Cause::Exited(7), Asked::ToTerminate));
    assert_eq!(process.stderr_tail(9), ["bye"]);
}

#[tokio::test]
async fn what_is_deaf_is_killed() {
    let (process, mut pipes) =
        sandboxed::spawn("trap '' TERM; echo ready; sleep 1000 & wait; wait", bare()).await;
    assert_eq!(sh::line(&mut pipes.stdout).await, "ready");
    let exit = process.stop(Duration::from_millis(100)).await;
    assert_eq!((exit.cause, exit.asked), (Cause::Signalled(libc::SIGKILL), Asked::NothingMore));
}

#[tokio::test]
async fn what_cannot_start_is_explained_as_without() {
    let scratch = Scratch::new();
    let plain = scratch.file("plain", "#!/bin/sh\n").into_os_string().into_string().unwrap();
    let gone = scratch.at("gone");
    let cases = [
        ("no-such-program-here", None),
        ("/no/such/program", None),
        (plain.as_str(), None),
        ("/bin/sh", Some(gone)),
    ];
    for (program, cwd) in cases {
        let mut spec = CommandSpec::new(program, NO_ARGS).unwrap();
        if let Some(cwd) = cwd {
            spec = spec.with_cwd(cwd).unwrap();
        }
        let log = LogTail::new("test");
        let without = Process::spawn_piped(&spec, &log).await.unwrap_err();
        let within = Process::spawn_piped(&sandboxed::within(spec, bare()), &log).await.unwrap_err();
        assert_eq!((within.to_string(), within.hint()), (without.to_string(), without.hint()));
        assert!(within.hint().is_some());
    }
}

#[tokio::test]
async fn what_the_sandbox_cannot_do_is_named() {
    let scratch = Scratch::new();
    let shown = scratch.dir("shown");
    let below = Mount { source: scratch.dir("source"), target: shown.join("below") };
    let cases = [
        (
            SandboxConfig { hide: vec!["/no/such/file".into()], ..bare() },
            "/no/such/file cannot be hidden in the sandbox".to_owned(),
        ),
        (
            SandboxConfig { read: vec![Mount::same(&shown), below.clone()], ..bare() },
            format!("nothing can be put at {} in the sandbox", below.target.display()),
        ),
        (
            SandboxConfig { write: vec![Mount::same(&shown), below.clone()], ..bare() },
            format!("nothing can be put at {} in the sandbox", below.target.display()),
        ),
    ];
    for (config, expect) in cases {
        let spec = sandboxed::spec("exit 0", config);
        let error = Process::spawn_piped(&spec, &LogTail::new("test")).await.unwrap_err();
        assert_eq!(error.to_string(), expect);
        assert!(error.hint().is_some() && !error.is_transient());
    }
    assert!(!below.target.exists(), "nothing is made in a directory of the host");
    let elsewhere = sandboxed::spec("exit 0", bare()).with_cwd(scratch.dir("elsewhere")).unwrap();
    let error = Process::spawn_piped(&elsewhere, &LogTail::new("test")).await.unwrap_err();
    assert!(error.to_string().ends_with("is not visible in the sandbox"), "{error}");
}

#[tokio::test]
async fn runtimes_start() {
    let node = CommandSpec::new("node", ["-e", "console.log(6 * 7)"]).unwrap();
    let python = CommandSpec::new("python3", ["-c", "print(6 * 7)"]).unwrap();
    let mut tried = 0;
    for spec in [node, python] {
        let log = LogTail::new("test");
        if Process::spawn_piped(&spec, &log).await.is_ok() {
            tried += 1;
            assert_eq!(output(&sandboxed::within(spec, bare())).await, "42");
        }
    }
    assert!(tried > 0, "neither node nor python3 is here");
}

#[tokio::test]
async fn a_program_of_its_own_installation_finds_what_is_beside_it() {
    let scratch = Scratch::new();
    scratch.file("tool/lib/data", "found\n");
    let script = "#!/bin/sh\ncat \"${0%/*}/../lib/data\"\n";
    let program = scratch.file("tool/bin/tool", script);
    let made = std::process::Command::new("chmod").args(["755".as_ref(), program.as_os_str()]).status();
    assert!(made.unwrap().success());
    let spec = CommandSpec::new(&program, NO_ARGS).unwrap();
    assert_eq!(output(&sandboxed::within(spec, bare())).await, "found");
}

#[tokio::test]
async fn what_a_server_leaves_behind_shows_it_no_more_at_its_next_start() {
    let scratch = Scratch::new();
    let secret = scratch.file("elsewhere/secret", "secret\n");
    let (project, home) = (scratch.dir("project"), scratch.dir("homes/own"));
    let program = project.join("server");
    let config = || SandboxConfig {
        write: vec![Mount { source: project.clone(), target: "/inside".into() }],
        home: Some(home.clone()),
        ..bare()
    };
    let run = async |path: &str| {
        let ways = [path.to_owned(), format!("{}{}", home.join("e").display(), secret.display())];
        let spec = CommandSpec::new(&program, ways).unwrap();
        match Process::spawn_piped(&sandboxed::within(spec, config()), &LogTail::new("test")).await {
            Ok((process, mut pipes)) => {
                let mut text = String::new();
                timeout(LIMIT, pipes.stdout.read_to_string(&mut text)).await.unwrap().unwrap();
                process.wait().await;
                text
            }
            Err(error) => error.to_string(),
        }
    };
    let write = |interpreter: &str| {
        scratch.file("project/server", &format!("#!{interpreter}\necho ran; cat \"$@\"\n"));
        std::process::Command::new("chmod").arg("755").arg(&program).status().unwrap();
    };
    write("/bin/sh");
    let plant = "ln -s / ~/e; ln -s / /inside/e; ln -s ELSEWHERE /inside/.venv";
    let plant = plant.replace("ELSEWHERE", scratch.at("elsewhere").to_str().unwrap());
    output(&sandboxed::spec(&plant, config())).await;
    assert_eq!(run("/dev/null").await, "ran\n", "a program in a writable mount runs");
    let venv = project.join(".venv");
    std::os::unix::fs::symlink("/bin/sh", scratch.dir("elsewhere/bin").join("sh")).unwrap();
    for (link, below) in [(home.join("e"), &secret), (project.join("e"), &secret), (venv, &"/secret".into())]
    {
        write(&format!("{}/bin/sh", link.display()));
        let said = run(&format!("{}{}", link.display(), below.display())).await;
        assert!(!said.contains("secret\n"), "{said}");
    }
}

#[tokio::test]
async fn what_was_put_in_the_place_of_a_source_is_not_shown() {
    let scratch = Scratch::new();
    scratch.file("secret/key", "secret\n");
    let shown = scratch.dir("above/shown");
    let spec = sandboxed::spec("cat /data/key", {
        SandboxConfig { read: vec![Mount { source: shown.clone(), target: "/data".into() }], ..bare() }
    });
    for replaced in ["above/shown", "above"] {
        std::fs::rename(scratch.at(replaced), scratch.at("moved")).unwrap();
        let place = if replaced == "above" { "." } else { "secret" };
        std::os::unix::fs::symlink(scratch.at(place), scratch.at(replaced)).unwrap();
        let error = Process::spawn_piped(&spec, &LogTail::new("test")).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{} cannot be shown in the sandbox", shown.display()));
        std::fs::remove_file(scratch.at(replaced)).unwrap();
        std::fs::rename(scratch.at("moved"), scratch.at(replaced)).unwrap();
    }
}

#[tokio::test]
async fn what_is_hidden_is_so_wherever_it_is_shown() {
    let scratch = Scratch::new();
    scratch.file("project/.env", "secret\n");
    scratch.file("project/conf/key", "secret\n");
    let project = scratch.at("project");
    let script = "#!/bin/sh\ncd \"$1\" && cat .env conf/key /inside/.env /inside/conf/key && echo end\n";
    let program = scratch.file("project/bin/server", script);
    std::process::Command::new("chmod").arg("755").arg(&program).status().unwrap();
    let mount = || vec![Mount { source: project.clone(), target: "/inside".into() }];
    let hide = || vec!["/inside/.env".into(), "/inside/conf/key".into()];
    for config in [
        SandboxConfig { read: mount(), hide: hide(), ..bare() },
        SandboxConfig { write: mount(), hide: hide(), ..bare() },
    ] {
        let spec = CommandSpec::new(&program, [&project]).unwrap();
        assert_eq!(output(&sandboxed::within(spec, config)).await, "end");
    }
}

#[tokio::test]
async fn what_is_hidden_in_a_writable_directory_stays_so() {
    let scratch = Scratch::new();
    scratch.file("project/a/b/key", "secret\n");
    scratch.file("project/.thvignore", "a/b/key\n");
    let project = scratch.at("project");
    let config = || SandboxConfig {
        write: vec![Mount { source: project.clone(), target: "/inside".into() }],
        hide: vec!["/inside/a/b/key".into(), "/inside/gone".into()],
        fixed: vec!["/inside/.thvignore".into()],
        ..bare()
    };
    let script = "cd /inside; mv a c; mv a/b d; mv a/b/key e; rm -rf a; mkdir -p a/b; echo > a/b/key
        echo > .thvignore; rm -f .thvignore; mv .thvignore f; ln .thvignore g && echo linked; cat */key */*/key *; echo end";
    for _ in 0..2 {
        let said = output(&sandboxed::spec(&format!("({script}) 2>/dev/null"), config())).await;
        assert_eq!(said, "end");
        assert_eq!(std::fs::read_to_string(project.join("a/b/key")).unwrap(), "secret\n");
        assert_eq!(std::fs::read_to_string(project.join(".thvignore")).unwrap(), "a/b/key\n");
    }
    output(&sandboxed::spec(
        "echo new > /inside/a/b/file; rm /inside/a/b/file; cat /inside/.thvignore",
        config(),
    ))
    .await;
    std::fs::rename(project.join("a"), project.join("real")).unwrap();
    std::os::unix::fs::symlink("real", project.join("a")).unwrap();
    let spec = sandboxed::spec("cat /inside/real/b/key", config());
    let error = Process::spawn_piped(&spec, &LogTail::new("test")).await.unwrap_err();
    assert_eq!(error.to_string(), "/inside/a cannot be hidden in the sandbox");
}

#[tokio::test]
async fn a_working_directory_is_where_a_mount_shows_it() {
    let scratch = Scratch::new();
    let sub = scratch.dir("project/sub");
    let write = vec![Mount { source: scratch.at("project"), target: "/inside".into() }];
    let spec = sandboxed::spec("pwd", SandboxConfig { write, ..bare() }).with_cwd(sub).unwrap();
    assert_eq!(output(&spec).await, "/inside/sub");
}

#[tokio::test]
async fn the_home_is_kept_where_one_is_given() {
    let scratch = Scratch::new();
    let home = scratch.dir("home");
    let config = SandboxConfig { home: Some(home.clone()), ..bare() };
    let written = output(&sandboxed::spec("echo kept > ~/file; echo $HOME; pwd", config.clone())).await;
    assert_eq!(written, format!("{HOME}\n{HOME}"));
    assert_eq!(std::fs::read_to_string(home.join("file")).unwrap(), "kept\n");
    assert_eq!(output(&sandboxed::spec("cat ~/file", config)).await, "kept");
    assert_eq!(output(&sandboxed::spec("ls -A ~ | wc -l", bare())).await, "0");
}

#[tokio::test]
async fn paths_may_be_elsewhere_inside_and_the_host_sees_what_is_written() {
    let scratch = Scratch::new();
    scratch.file("in/a", "a\n");
    let out = scratch.dir("out");
    let config = SandboxConfig {
        read: vec![Mount { source: scratch.at("in"), target: "/data/in".into() }],
        write: vec![Mount { source: out.clone(), target: "/data/out".into() }],
        ..bare()
    };
    output(&sandboxed::spec("cp /data/in/a /data/out/b", config)).await;
    assert_eq!(std::fs::read_to_string(out.join("b")).unwrap(), "a\n");
}

#[tokio::test]
async fn the_sockets_of_its_network_come_out() {
    let config = sandboxed::with_network(Network::Egress);
    let script = "cat /etc/resolv.conf; exec cat";
    let (mut process, mut pipes) = sandboxed::spawn(script, config).await;
    assert_eq!(sh::line(&mut pipes.stdout).await, "nameserver 198.18.0.1");
    let network = process.take_network().unwrap();
    let listens = std::net::TcpListener::from(network.tcp);
    assert_ne!(listens.local_addr().unwrap().port(), 0);
    assert!(process.take_network().is_none(), "they are given once");
    let (mut without, _pipes) = sandboxed::spawn("exec cat", bare()).await;
    assert!(without.take_network().is_none());
}

/// A server that says hello on a port of its own, and tells which.
const SERVER: &str = "
import socket
server = socket.create_server(('127.0.0.1', 0))
print(server.getsockname()[1], flush=True)
while True:
    client, _ = server.accept()
    client.sendall(b'hello\\n')
    client.close()
";

#[tokio::test]
async fn a_server_inside_is_reached_through_a_socket_of_its_network() {
    let spec = CommandSpec::new("/usr/bin/python3", ["-c", SERVER]).unwrap();
    let spec = sandboxed::within(spec, bare());
    let (process, mut pipes) = Process::spawn_piped(&spec, &LogTail::new("test")).await.unwrap();
    let port: u16 = sh::line(&mut pipes.stdout).await.parse().unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    assert!(TcpStream::connect(address).await.is_err(), "it is not on the host");
    for _ in 0..3 {
        let socket = process.socket_inside().await.unwrap();
        let socket = std::net::TcpStream::from(socket);
        socket.set_nonblocking(true).unwrap();
        let stream = TcpSocket::from_std_stream(socket).connect(address).await.unwrap();
        assert_eq!(sh::line(stream).await, "hello");
    }
    process.stop(Duration::ZERO).await;
    assert!(process.socket_inside().await.is_err());
}

#[tokio::test]
async fn a_bound_that_nothing_can_hold_is_refused_unless_it_is_waived() {
    let bounds = Bounds { cpu_percent: Some(50), ..Bounds::default() };
    workload::sandbox::set_helper(holder());
    let here = workload::sandbox::check();
    let cpu = here.iter().find(|finding| finding.part == Part::CpuBound).unwrap();
    let can = matches!(cpu.standing, Standing::Enforced { .. });
    let spec = sandboxed::spec("exit 0", sandboxed::with_bounds(bounds));
    let started = Process::spawn_piped(&spec, &LogTail::new("test")).await;
    match started {
        Ok((process, _pipes)) => assert!(can && process.wait().await.is_success()),
        Err(error) => {
            assert!(!can);
            assert_eq!(error.to_string(), "the bound on processor time is missing here");
        }
    }
    let config = SandboxConfig { waived: vec![Part::CpuBound], ..sandboxed::with_bounds(bounds) };
    output(&sandboxed::spec("exit 0", config)).await;
}

#[tokio::test]
async fn where_a_part_is_forbidden_nothing_starts_and_it_is_named() {
    // In a user namespace of its own everybody may forbid the next one.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" --sandbox /bin/echo ran";
    let forbidden = std::process::Command::new("unshare")
        .args(["-U", "-r", "/bin/sh", "-c", script])
        .arg(holder())
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&forbidden.stderr);
    assert!(said.contains("the user namespace is missing here"), "{said}");
    assert!(forbidden.stdout.is_empty() && !forbidden.status.success());
}

#[tokio::test]
async fn nobody_stands_between_skep_and_pid_1_whose_death_is_the_end_of_all() {
    let script = "setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & echo started; exec cat";
    let (process, mut pipes) = sandboxed::spawn(script, bare()).await;
    assert_eq!(sh::line(&mut pipes.stdout).await, "started");
    let init = process.pid();
    let stat = std::fs::read_to_string(format!("/proc/{init}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let [_, parent, group, ..] = fields[..] else { panic!("{stat}") };
    assert_eq!(parent, std::process::id().to_string());
    sh::until("what made the sandbox is gone", || !std::path::Path::new("/proc").join(group).exists()).await;
    let inside = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
    let inside: Vec<u32> = inside.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let pid = rustix::process::Pid::from_raw(init.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let exit = timeout(LIMIT, process.wait()).await.unwrap();
    assert_eq!((exit.cause, exit.asked), (Cause::Signalled(libc::SIGKILL), Asked::Nothing));
    sh::until_gone(&[vec![init], inside].concat()).await;
}

/// However early it is given up.
#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_process() {
    let mine = || {
        let id = std::process::id();
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
        let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        children.map(|children| children.split_whitespace().count()).sum::<usize>()
    };
    for micros in (0..40).map(|step| step * 500) {
        let spec = sandboxed::spec("exec sleep 1000", bare());
        let log = LogTail::new("test");
        let started = timeout(Duration::from_micros(micros), Process::spawn_piped(&spec, &log));
        drop(started.await);
    }
    sh::until("none is left, dead or alive", || mine() == 0).await;
}

#[tokio::test]
async fn no_control_group_is_left() {
    let count = || {
        let out =
            std::process::Command::new("find").args(["/sys/fs/cgroup", "-name", "skep-*"]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).lines().count()
    };
    let before = count();
    let bounds = Bounds { memory: Some(64 << 20), ..Bounds::default() };
    for _ in 0..3 {
        output(&sandboxed::spec("exit 0", sandboxed::with_bounds(bounds))).await;
    }
    // Those of other tests come and go.
    sh::until("they are gone", || count() <= before || !is_root()).await;
}

/// Not an assertion but a measurement: `cargo nextest run -p workload overhead --no-capture`.
#[tokio::test]
async fn the_overhead_of_a_start_is_told() {
    let plain = CommandSpec::new("/bin/true", NO_ARGS).unwrap();
    let mut medians = Vec::new();
    for spec in [plain.clone(), sandboxed::within(plain, bare())] {
        let mut times = Vec::new();
        for _ in 0..50 {
            let begin = Instant::now();
            let (process, _pipes) = Process::spawn_piped(&spec, &LogTail::new("test")).await.unwrap();
            process.wait().await;
            times.push(begin.elapsed());
        }
        times.sort();
        medians.push(times[times.len() / 2]);
    }
    let _ = writeln!(
        std::io::stderr(),
        "median of 50 runs of /bin/true: {:?} without, {:?} in a sandbox",
        medians[0],
        medians[1]
    );
}
