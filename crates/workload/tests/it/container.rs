//! Commands in containers, with each runtime that the tests were given: what they are, that they cannot get out, how they
//! and their containers end.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use testkit::NameServer;
use testkit::containers::{self, TestRuntime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use workload::container::{Container, ContainerConfig, Runtimes, Sockets};
use workload::egress::{EgressConfig, EgressPolicy};
use workload::process::Cause;
use workload::sandbox::{self, Bounds, Mount, Network, Sandbox, SandboxConfig};
use workload::{CommandSpec, LogTail, Pipes, Process};

use crate::parent_death::holder;
use crate::sandboxed::Scratch;
use crate::sh::{LIMIT, LONG_GRACE, line, until, until_gone};

const IMAGE: &str = "localhost/skep-test-shell:1";
const DOCKERFILE: &str = "FROM scratch\nCOPY root /\nUSER app\nENV OF_IMAGE=yes\nWORKDIR /home/app\n\
                          ENTRYPOINT [\"/bin/busybox\", \"sh\", \"-c\"]\nCMD [\"echo by default\"]\n";

/// A container with a shell in it, and where its files are.
struct World {
    container: Container,
    runtime: TestRuntime,
    name: String,
    _scratch: Scratch,
}

/// Does something with each runtime.
async fn with_each(change: impl Fn(&Scratch, &mut ContainerConfig), test: impl AsyncFn(&World)) {
    sandbox::set_helper(holder());
    for runtime in containers::runtimes() {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let scratch = Scratch::new();
        let busybox =
            ["/usr/bin/busybox", "/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists());
        let busybox = busybox.expect("busybox-static is installed");
        let context =
            containers::context(&scratch.dir("context"), DOCKERFILE, &[(busybox, "/bin/busybox".into())]);
        runtime.build(IMAGE, &context.unwrap()).unwrap();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("skep-test-{}-{count}", std::process::id());
        let mut config = ContainerConfig {
            name: name.clone(),
            owner: scratch.name().to_owned(),
            labels: [("toolhive-name".to_owned(), name.clone())].into(),
            image: IMAGE.to_owned(),
            sandbox: Sandbox::try_from(SandboxConfig::default()).unwrap(),
            egress: None,
            network: None,
            scratch: scratch.at("run"),
            runtimes: runtimes(&runtime),
        };
        change(&scratch, &mut config);
        let world = World { container: Container::new(config), runtime, name, _scratch: scratch };
        test(&world).await;
        world.container.end().await;
        until("the runtime has let go of it", || !world.runtime.has(&world.name)).await;
    }
}

fn runtimes(runtime: &TestRuntime) -> Runtimes {
    let env = [(runtime.variable.to_owned(), runtime.socket.clone())];
    Runtimes { sockets: Sockets::of(&env), ..Runtimes::default() }
}

fn nothing(_: &Scratch, _: &mut ContainerConfig) {}

fn shown(config: &mut ContainerConfig, sandbox: SandboxConfig) {
    config.sandbox = Sandbox::try_from(sandbox).unwrap();
}

impl World {
    fn spec(&self, args: &[&str]) -> CommandSpec {
        CommandSpec::of_image(self.container.clone(), args.iter().copied()).unwrap()
    }

    async fn spawn(&self, script: &str) -> (Process, Pipes) {
        Process::spawn_piped(&self.spec(&[script]), &LogTail::new("test")).await.unwrap()
    }

    /// All that a script says on stdout and stderr, and how it ended.
    async fn run(&self, script: &str) -> (String, Cause) {
        let log = LogTail::new("test");
        let (process, mut pipes) = Process::spawn_piped(&self.spec(&[script]), &log).await.unwrap();
        drop(pipes.stdin);
        let mut said = String::new();
        timeout(LIMIT, pipes.stdout.read_to_string(&mut said)).await.unwrap().unwrap();
        let exit = timeout(LIMIT, process.wait()).await.unwrap();
        (format!("{said}{}", log.tail(99).join("\n")), exit.cause)
    }
}

/// The parent of a process of this machine.
fn parent(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_command_is_what_the_image_says_and_has_no_rights() {
    with_each(nothing, async |world| {
        let script = "busybox id; echo $OF_IMAGE $HOME $PWD; busybox grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; \
                      busybox ls -l /proc/self/fd | busybox wc -l; echo said > /dev/stderr";
        let (said, cause) = world.run(&script.replace("busybox", "/bin/busybox")).await;
        assert_eq!(cause, Cause::Exited(0), "{said}");
        assert!(said.starts_with("uid=1000(app) gid=1000(app) groups=20(extra),1000(app)") || said.starts_with("uid=1000(app) gid=1000(app) groups=1000(app),20(extra)"), "{said}");
        assert!(said.contains("yes /home/app /home/app\n") && said.ends_with("said"), "{said}");
        for none in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(said.contains(&format!("{none}:\t0000000000000000")), "{said}");
        }
        assert!(said.contains("NoNewPrivs:\t1") && said.contains("Seccomp:\t2"), "{said}");
        let (process, mut pipes) = Process::spawn_piped(&world.spec(&[]), &LogTail::new("test")).await.unwrap();
        assert_eq!(line(&mut pipes.stdout).await, "by default");
        assert!(process.wait().await.is_success());
    })
    .await;
}

/// Attempts to get out, for busybox. An attempt ends with 0 when it got what it wanted.
const ATTEMPTS: [(&str, &str); 23] = [
    ("reach the metadata service", "wget -q -O - http://169.254.169.254/"),
    ("reach an address", "wget -q -O - http://1.1.1.1:443/"),
    ("ask another name server", "nslookup allowed.example 8.8.8.8"),
    ("look up what is not allowed", "nslookup denied.example"),
    ("write the image", "touch /x"),
    ("write skep's own", "touch /.skep/x"),
    ("replace skep", "rm /.skep/skep"),
    ("mount", "mount -t tmpfs none /tmp"),
    ("unmount what covers", "umount /etc/resolv.conf"),
    ("make a device", "mknod /tmp/disk b 254 0"),
    ("change the root", "chroot / /bin/busybox true"),
    ("make namespaces", "unshare -n /bin/busybox true"),
    ("make a user namespace", "unshare -U /bin/busybox true"),
    ("enter pid 1's namespaces", "nsenter -t 1 -m /bin/busybox true"),
    ("read pid 1's environment", "cat /proc/1/environ"),
    ("read pid 1's memory", "sh -c ': < /proc/1/mem'"),
    ("take pid 1's line", "ls /proc/1/fd/"),
    ("change the host's name", "hostname other"),
    ("read the kernel's log", "dmesg"),
    ("set the kernel", "sh -c 'read x < /proc/sys/kernel/printk; echo \"$x\" > /proc/sys/kernel/printk'"),
    ("give a file away", "sh -c ': > /tmp/a; /bin/busybox chown 0 /tmp/a'"),
    ("remove the redirect", "ip route flush table local"),
    ("change the network", "ip link set lo down"),
];

/// A machine in a container without walls: what the attempts want is there.
const WITHOUT_WALLS: &str = "
B=/bin/busybox
$B mkdir -p /tmp /.skep; echo x > /.skep/index.html; : > /.skep/skep
$B mount -o remount,bind,rw /proc/sys
echo nameserver 8.8.8.8 > /.skep/resolv.conf; : > /etc/resolv.conf; $B mount -o bind /.skep/resolv.conf /etc/resolv.conf
$B ip link set lo up; $B ip address add 8.8.8.8/32 dev lo
for address in 169.254.169.254:80 1.1.1.1:443; do
    $B ip address add ${address%:*}/32 dev lo; $B httpd -h /.skep -p $address
done
until $B test -e /results/name-server; do $B sleep 0.05; done
";

/// A socket for those who look names up, in the network of a process.
fn socket_beside(pid: u32) -> UdpSocket {
    let network = File::open(format!("/proc/{pid}/ns/net")).unwrap();
    // A thread of its own: none comes back from there.
    let bound = std::thread::spawn(move || {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        UdpSocket::bind(("0.0.0.0", 53)).unwrap()
    });
    bound.join().unwrap()
}

#[tokio::test]
async fn what_would_get_out_succeeds_where_nothing_holds_it() {
    with_each(nothing, async |world| {
        let results = world._scratch.dir("results");
        let attempts = ATTEMPTS.iter().map(|(what, command)| {
            format!("/bin/busybox {command} > /tmp/said 2>&1 < /dev/null || {{ echo \"{what}:\"; /bin/busybox cat /tmp/said; }} >> /results/failed\n")
        });
        let script = format!("{WITHOUT_WALLS}{}: > /results/over", attempts.collect::<String>());
        let name = format!("{}-free", world.name);
        world.runtime.run_without_walls(&name, IMAGE, &script, &results).unwrap();
        let _name_server = NameServer::on(socket_beside(world.runtime.pid(&name).unwrap()), &[[192, 0, 2, 1].into()]).unwrap();
        std::fs::write(results.join("name-server"), "").unwrap();
        until("all attempts were made", || results.join("over").exists()).await;
        let failed = std::fs::read_to_string(results.join("failed")).unwrap_or_default();
        assert_eq!(failed, "");
    })
    .await;
}

#[tokio::test]
async fn what_would_get_out_fails() {
    let all = |_: &Scratch, config: &mut ContainerConfig| {
        shown(config, SandboxConfig { network: Network::Egress, ..SandboxConfig::default() });
        let policy = EgressConfig {
            allow_host: Some(vec!["allowed.example".to_owned()]),
            allow_port: Some(vec![443]),
            insecure_allow_all: false,
        };
        config.egress = Some(EgressPolicy::try_from(&policy).unwrap());
    };
    with_each(all, async |world| {
        for (what, command) in ATTEMPTS {
            let (said, cause) = world.run(&format!("exec /bin/busybox {command} < /dev/null")).await;
            let is_tried = !said.contains("not found") && !said.contains("can't execute");
            assert!(is_tried && cause != Cause::Exited(0), "{what}: {cause} {said}");
        }
        // pid 1 is there and well after all of it, even after being shot at.
        let (said, _) = world.run("/bin/busybox kill -9 1; /bin/busybox kill -TERM 1; echo still").await;
        assert!(said.contains("still"), "{said}");
        // What is allowed has an address that stands for it.
        let (said, _) = world.run("/bin/busybox nslookup allowed.example").await;
        assert!(said.contains("198.18.") && said.contains("allowed.example"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn a_profile_shows_what_it_names_and_hides_what_is_ignored() {
    let change = |scratch: &Scratch, config: &mut ContainerConfig| {
        scratch.file("out/.env", "secret");
        scratch.file("out/sub/key", "secret");
        scratch.file("out/keys/a", "secret");
        scratch.file("out/.thvignore", ".env");
        scratch.file("in/a", "shown");
        for dir in ["out", "out/sub", "out/keys"] {
            let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(scratch.at(dir), everybody).unwrap();
        }
        let mount = |dir: &str, target: &str| Mount { source: scratch.at(dir), target: target.into() };
        shown(
            config,
            SandboxConfig {
                write: vec![mount("out", "/out")],
                read: vec![mount("in", "/in")],
                hide: ["/out/.env", "/out/sub/key", "/out/keys"].map(PathBuf::from).into(),
                fixed: vec!["/out/.thvignore".into()],
                ..SandboxConfig::default()
            },
        );
    };
    with_each(change, async |world| {
        let (said, _) = world.run("/bin/busybox cat /in/a /out/.env /out/sub/key; /bin/busybox ls /out/keys; echo written > /out/b").await;
        assert_eq!(said.trim(), "shown");
        assert_eq!(std::fs::read_to_string(world._scratch.at("out/b")).unwrap(), "written\n");
        for attempt in [
            "echo x > /in/b",
            "echo x > /out/.env",
            "/bin/busybox rm /out/.env",
            "/bin/busybox mv /out/sub /out/moved",
            "/bin/busybox umount /out/.env",
            "echo > /out/.thvignore",
            "/bin/busybox mv /out/.thvignore /out/x",
        ] {
            let (said, cause) = world.run(attempt).await;
            assert_ne!(cause, Cause::Exited(0), "{attempt}: {said}");
        }
        assert_eq!(std::fs::read_to_string(world._scratch.at("out/.env")).unwrap(), "secret");
    })
    .await;
}

#[tokio::test]
async fn a_cover_that_a_server_could_lead_elsewhere_is_refused() {
    let change = |scratch: &Scratch, config: &mut ContainerConfig| {
        scratch.file("out/real/key", "secret");
        std::os::unix::fs::symlink("real", scratch.at("out/sub")).unwrap();
        let write = vec![Mount { source: scratch.at("out"), target: "/out".into() }];
        shown(config, SandboxConfig { write, hide: vec!["/out/sub/key".into()], ..SandboxConfig::default() });
    };
    with_each(change, async |world| {
        let error = Process::spawn_piped(&world.spec(&["true"]), &LogTail::new("test")).await.unwrap_err();
        assert!(error.to_string().contains("cannot be hidden"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn commands_share_a_container_and_end_alone() {
    with_each(nothing, async |world| {
        let (first, mut of_first) = world.spawn("/bin/busybox sleep 1000 & echo $!; wait").await;
        let (second, mut of_second) = world.spawn("echo here; read x; echo $x").await;
        let left: u32 = line(&mut of_first.stdout).await.parse().unwrap();
        assert_eq!(line(&mut of_second.stdout).await, "here");
        assert_eq!(parent(first.pid()), parent(second.pid()), "one pid 1");
        drop(of_first);
        let exit = first.stop(LONG_GRACE).await;
        assert!(matches!(exit.cause, Cause::Signalled(_)), "{exit}");
        let (said, _) = world.run(&format!("/bin/busybox kill -0 {left} || echo gone")).await;
        assert!(said.contains("gone"), "what it started went with it: {said}");
        of_second.stdin.write_all(b"still here\n").await.unwrap();
        assert_eq!(line(&mut of_second.stdout).await, "still here");
        assert!(second.wait().await.is_success());
        let log = LogTail::new("test");
        let logged =
            Process::spawn_logged(&world.spec(&["echo out; echo err >&2; exit 3"]), &log).await.unwrap();
        assert_eq!(logged.wait().await.cause, Cause::Exited(3));
        assert_eq!(log.tail(9).len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_container_that_is_taken_away_ends_its_commands_and_the_next_gets_a_new_one() {
    with_each(nothing, async |world| {
        for take_away in [|world: &World, _| world.runtime.remove(&world.name), |_: &World, init| kill(init)]
        {
            let (process, mut pipes) = world.spawn("echo here; read x").await;
            assert_eq!(line(&mut pipes.stdout).await, "here");
            take_away(world, parent(process.pid()));
            let exit = timeout(LIMIT, process.wait()).await.unwrap();
            assert_eq!(exit.cause, Cause::ContainerEnded);
            let (said, _) = world.run("echo again").await;
            assert_eq!(said.trim(), "again");
        }
    })
    .await;
}

#[tokio::test]
async fn a_command_that_comes_while_its_container_ends_gets_a_new_one() {
    with_each(nothing, async |world| {
        let (process, mut pipes) = world.spawn("echo here; read x").await;
        assert_eq!(line(&mut pipes.stdout).await, "here");
        // Nobody has noticed yet.
        kill(parent(process.pid()));
        let (said, _) = world.run("echo again").await;
        assert_eq!(said.trim(), "again");
    })
    .await;
}

#[tokio::test]
async fn nothing_outlives_whoever_holds_it() {
    with_each(nothing, async |world| {
        // One that left its group and session, and is deaf to what can be ignored.
        let script = "trap '' TERM HUP INT; /bin/busybox setsid /bin/busybox sleep 1000 & echo here; wait";
        let (process, mut pipes) = world.spawn(script).await;
        assert_eq!(line(&mut pipes.stdout).await, "here");
        let init = parent(process.pid());
        let inside: Vec<u32> = [process.pid(), init].into_iter().chain(children(init)).collect();
        assert!(inside.len() >= 3, "{inside:?}");
        drop(process);
        world.container.end().await;
        until_gone(&inside).await;
    })
    .await;
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[tokio::test]
async fn however_the_holder_ends_the_container_ends() {
    for runtime in containers::runtimes() {
        let scratch = Scratch::new();
        let name = format!("skep-held-{}", std::process::id());
        let mut holder = tokio::process::Command::new(holder())
            .args(["--container", IMAGE, &name, scratch.dir("run").to_str().unwrap(), "echo here; read x"])
            .env(runtime.variable, &runtime.socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = timeout(Duration::from_secs(60), line(holder.stdout.as_mut().unwrap())).await.unwrap();
        assert_eq!(said, "here");
        assert!(runtime.has(&name));
        kill(holder.id().unwrap());
        holder.wait().await.unwrap();
        until("its container is gone", || !runtime.has(&name)).await;
    }
}

#[tokio::test]
async fn a_fork_bomb_stays_within_its_bound() {
    let change = |_: &Scratch, config: &mut ContainerConfig| {
        let bounds = Bounds { processes: Some(20), ..Bounds::default() };
        shown(config, SandboxConfig { bounds, ..SandboxConfig::default() });
    };
    with_each(change, async |world| {
        let bomb = "for i in $(/bin/busybox seq 60); do /bin/busybox sleep 100 & done; echo survived";
        let (said, _) = world.run(bomb).await;
        assert!(said.contains("fork"), "{said}");
        let (said, _) = world.run("echo well").await;
        assert_eq!(said.trim(), "well");
    })
    .await;
}

#[tokio::test]
async fn a_server_inside_is_reached_with_a_socket_from_there() {
    with_each(nothing, async |world| {
        let script = "echo hello | /bin/busybox nc -l -p 8080; echo over";
        let (process, mut pipes) = world.spawn(script).await;
        let connect = async || {
            let socket = std::net::TcpStream::from(process.socket_inside().await?);
            socket.set_nonblocking(true)?;
            tokio::net::TcpSocket::from_std_stream(socket).connect("127.0.0.1:8080".parse().unwrap()).await
        };
        let connected = async {
            loop {
                match connect().await {
                    Ok(stream) => break stream,
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused),
                }
            }
        };
        let mut stream = timeout(LIMIT, connected).await.unwrap();
        assert_eq!(line(&mut stream).await, "hello");
        drop(stream);
        assert_eq!(line(&mut pipes.stdout).await, "over");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_run_is_told() {
    with_each(nothing, async |world| {
        let spec = world.spec(&["true"]).with_cwd(Path::new("/no/such")).unwrap();
        let error = Process::spawn_piped(&spec, &LogTail::new("test")).await.unwrap_err();
        assert!(error.to_string().contains("/no/such cannot be entered"), "{error}");
    })
    .await;
    let none = Runtimes {
        sockets: Sockets::of(&[("DOCKER_HOST".to_owned(), "tcp://10.0.0.1:1".to_owned())]),
        ..Runtimes::default()
    };
    let config = ContainerConfig {
        name: "a".to_owned(),
        owner: "a".to_owned(),
        labels: Default::default(),
        image: IMAGE.to_owned(),
        sandbox: Sandbox::try_from(SandboxConfig::default()).unwrap(),
        egress: None,
        network: None,
        scratch: Scratch::new().at("run"),
        runtimes: none,
    };
    let spec = CommandSpec::of_image(Container::new(config), ["x"]).unwrap();
    let error = Process::spawn_piped(&spec, &LogTail::new("test")).await.unwrap_err();
    assert!(error.to_string().contains("only a runtime on this machine"), "{error}");
}
