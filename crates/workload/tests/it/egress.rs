//! Real programs in a namespace whose only way out is served here.

mod inside;
mod world;

use inside::{Inside, User, allow, bash, python, start};
use workload::egress::{EgressConfig, EgressCounts, EgressLimits};
use world::{Behaviour, World};

/// What is said of a thing that was tried: a name for it, `open` or the error, and whether that took long.
const TRY: &str = r#"
import socket, time
def attempt(name, action):
    begun = time.monotonic()
    try:
        said = action() or "open"
    except OSError as error:
        said = type(error).__name__
    quick = "" if time.monotonic() - begun < 1 else " SLOW"
    print(name + ": " + str(said) + quick, flush=True)
def tcp(host, port, family=socket.AF_INET, send=b"GET / HTTP/1.0\r\n\r\n"):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(5)
        s.connect((host, port))
        s.sendall(send)
        return s.recv(1000).rsplit(b"\n", 1)[-1].decode() or "nothing"
def udp(host, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect((host, port))
        s.send(b"x" * 30)
        s.recv(1000)
"#;

/// One name with a server, one whose name leads astray, one that is not allowed; all have servers behind them.
async fn world() -> World {
    let mut world = World::default()
        .name("good.example", &["1.2.3.4"])
        .name("bad.example", &["1.2.3.5"])
        .name("rebound.good.example", &["10.0.0.1", "169.254.169.254", "127.0.0.1", "::ffff:10.0.0.1"]);
    for address in ["1.2.3.4", "1.2.3.5", "10.0.0.1", "169.254.169.254", "127.0.0.1", "8.8.8.8"] {
        for port in [53, 80, 81] {
            world = world.server(&format!("{address}:{port}"), Behaviour::Http("hello")).await;
        }
    }
    world
}

#[tokio::test]
async fn an_allowed_name_is_reached_by_programs_that_know_nothing_of_it() {
    let script = "getent ahostsv4 good.example | head -1 | cut -d' ' -f1
        curl -sS --max-time 5 http://good.example/
        echo
        exec 3<>/dev/tcp/good.example/80 && echo GET >&3 && tail -1 <&3";
    let said = bash(&allow(&[".good.example"], &[80]), world().await, script).await;
    assert_eq!(said, "198.18.1.0\nhello\nhello");
}

#[tokio::test]
async fn what_is_not_allowed_fails_at_once() {
    let program = [TRY, DENIED].concat();
    let inside = start(
        User::Whoever,
        &allow(&[".good.example"], &[80]),
        EgressLimits::default(),
        world().await,
        &["/usr/bin/python3", "-c", &program],
    );
    let egress = inside.egress.clone();
    assert_eq!(inside.output().await, DENIED_SAYS);
    let EgressCounts { allowed, denied, failed } = egress.counts();
    assert_eq!((allowed, failed), (2, 0));
    assert!(denied >= 8, "{denied}");
}

#[tokio::test]
async fn an_ordinary_user_is_served_the_same() {
    let program = [TRY, DENIED].concat();
    let command = ["/usr/bin/python3", "-c", &program];
    let config = allow(&[".good.example"], &[80]);
    let inside = start(User::Nobody, &config, EgressLimits::default(), world().await, &command);
    assert_eq!(inside.output().await, DENIED_SAYS);
}

const DENIED: &str = r#"
attempt("allowed", lambda: tcp("good.example", 80))
attempt("other port", lambda: tcp("good.example", 81))
attempt("other name", lambda: tcp("bad.example", 80))
attempt("its address", lambda: tcp("1.2.3.4", 80))
attempt("name of private addresses", lambda: tcp("rebound.good.example", 80))
attempt("private address", lambda: tcp("10.0.0.1", 80))
attempt("metadata address", lambda: tcp("169.254.169.254", 80))
attempt("address that stands for nothing", lambda: tcp("198.18.200.1", 80))
attempt("name server, another port", lambda: tcp("198.18.0.1", 80))
attempt("other name server, tcp", lambda: tcp("8.8.8.8", 53))
attempt("other name server, udp", lambda: udp("8.8.8.8", 53))
attempt("udp", lambda: udp("1.2.3.4", 80))
attempt("udp to an allowed name", lambda: udp("good.example", 80))
attempt("ipv6", lambda: tcp("2606:4700::1111", 80, socket.AF_INET6))
attempt("ipv6, udp", lambda: udp("2606:4700::1111", 53, socket.AF_INET6))
attempt("ipv4 in ipv6", lambda: tcp("::ffff:1.2.3.4", 80, socket.AF_INET6))
def ping():
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.sendto(b"\x08\0\xf7\xff\0\0\0\0", ("1.2.3.4", 0))
attempt("icmp", ping)
attempt("allowed", lambda: tcp("good.example", 80))
"#;

const DENIED_SAYS: &str = "\
allowed: hello
other port: ConnectionResetError
other name: gaierror
its address: ConnectionResetError
name of private addresses: ConnectionResetError
private address: ConnectionResetError
metadata address: ConnectionResetError
address that stands for nothing: ConnectionResetError
name server, another port: ConnectionResetError
other name server, tcp: ConnectionResetError
other name server, udp: PermissionError
udp: PermissionError
udp to an allowed name: PermissionError
ipv6: OSError
ipv6, udp: OSError
ipv4 in ipv6: ConnectionResetError
icmp: PermissionError
allowed: hello
";

#[tokio::test]
async fn a_workload_that_breaks_its_own_network_reaches_nothing_more() {
    // It is root in its namespace here, which a sandboxed workload is not.
    let program = [
        TRY,
        r#"
import struct, subprocess
gate = next(int(line.split()[1].split(":")[1], 16) for line in open("/proc/net/tcp") if " 0100007F:" in line)
def all():
    attempt("gate", lambda: tcp("127.0.0.1", gate))
    for host in ["good.example", "1.2.3.4", "10.0.0.1", "127.0.0.1"]:
        attempt(host, lambda: tcp(host, 80))
    attempt("udp", lambda: udp("8.8.8.8", 53))
all()
def message(kind, body):
    return struct.pack("=IHHII", 16 + len(body), kind, 1, 1, 0) + body
print("without rules")
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as s:
    s.send(message(16, b"\0\0\0\x0a") + message(0x0a02, bytes(4)) + message(17, b"\0\0\0\x0a"))
all()
print("without routes")
subprocess.run("ip route del local default dev lo table local", shell=True, check=True)
all()"#,
    ];
    let said = python(&allow(&[".good.example"], &[80]), world().await, &program.concat()).await;
    let expect = "gate: ConnectionResetError\ngood.example: hello\n1.2.3.4: ConnectionResetError\n\
        10.0.0.1: ConnectionResetError\n127.0.0.1: ConnectionRefusedError\nudp: PermissionError\n\
        without rules\ngate: ConnectionResetError\ngood.example: ConnectionRefusedError\n\
        1.2.3.4: ConnectionRefusedError\n10.0.0.1: ConnectionRefusedError\n127.0.0.1: ConnectionRefusedError\n\
        udp: ConnectionRefusedError\n\
        without routes\ngate: ConnectionResetError\ngood.example: OSError\n1.2.3.4: OSError\n\
        10.0.0.1: OSError\n127.0.0.1: ConnectionRefusedError\nudp: OSError\n";
    assert_eq!(said, expect);
}

#[tokio::test]
async fn a_namespace_that_is_in_use_is_left_alone() {
    let script = format!("{} 2>&1; echo $?", inside::helper().display());
    let said = bash(&EgressConfig::default(), World::default(), &script).await;
    assert!(said.contains("the namespace is in use") && said.ends_with("\n1\n"), "{said}");
}

#[tokio::test]
async fn whether_a_namespace_can_be_prepared_is_found_out_by_trying() {
    let check = async |privileges: &[&str], expect: &str| {
        let mut unshare = tokio::process::Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--net"]).args(privileges).arg(inside::helper());
        let said = String::from_utf8(unshare.output().await.unwrap().stderr).unwrap();
        assert!(said.starts_with(expect) && said.is_empty() == expect.is_empty(), "{said}");
    };
    check(&[], "").await;
    let (up, bind) = ("bring the loopback interface up", "bind the name server's socket");
    check(&["setpriv", "--bounding-set=-net_admin"], &format!("Error: {up} in the network namespace")).await;
    check(&["setpriv", "--bounding-set=-net_bind_service"], &format!("Error: {bind} in the network")).await;
}

#[tokio::test]
async fn a_profile_that_says_nothing_opens_nothing() {
    let program = [
        TRY,
        r#"attempt("name", lambda: tcp("good.example", 80))
attempt("address", lambda: tcp("1.2.3.4", 80))"#,
    ];
    let said = python(&EgressConfig::default(), world().await, &program.concat()).await;
    assert_eq!(said, "name: gaierror\naddress: ConnectionResetError\n");
}

#[tokio::test]
async fn everything_is_the_internet_and_not_what_is_around_skep() {
    let program = [
        TRY,
        r#"
for host in ["good.example", "bad.example", "1.2.3.5", "rebound.good.example", "10.0.0.1", "169.254.169.254"]:
    attempt(host, lambda: tcp(host, 81))
attempt("udp", lambda: udp("8.8.8.8", 53))"#,
    ];
    let config = EgressConfig { insecure_allow_all: true, ..EgressConfig::default() };
    let said = python(&config, world().await, &program.concat()).await;
    let expect = "good.example: hello\nbad.example: hello\n1.2.3.5: hello\n\
        rebound.good.example: ConnectionResetError\n10.0.0.1: ConnectionResetError\n\
        169.254.169.254: ConnectionResetError\nudp: PermissionError\n";
    assert_eq!(said, expect);
}

#[tokio::test]
async fn a_private_address_opens_when_the_profile_names_it() {
    let program = [
        TRY,
        r#"
attempt("named", lambda: tcp("10.0.0.1", 80))
attempt("by a name", lambda: tcp("rebound.good.example", 80))"#,
    ];
    let config = allow(&["10.0.0.1", ".good.example"], &[80]);
    let said = python(&config, world().await, &program.concat()).await;
    assert_eq!(said, "named: hello\nby a name: ConnectionResetError\n");
}

#[tokio::test]
async fn the_workloads_own_loopback_is_its_own() {
    let program = [
        TRY,
        r#"
import threading
for family, host in [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.9.9.9"), (socket.AF_INET6, "::1")]:
    server = socket.create_server((host, 0), family=family)
    def answer():
        with server.accept()[0] as s: s.sendall(s.recv(100))
    threading.Thread(target=answer).start()
    attempt(host, lambda: tcp(host, server.getsockname()[1], family, b"own"))
a, b = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
b.bind(("127.0.0.1", 0))
a.sendto(b"datagram", b.getsockname())
print(b.recv(100).decode())"#,
    ];
    let said = python(&EgressConfig::default(), World::default(), &program.concat()).await;
    assert_eq!(said, "127.0.0.1: own\n127.9.9.9: own\n::1: own\ndatagram\n");
}

#[tokio::test]
async fn the_name_server_answers_over_tcp_and_survives_garbage() {
    let program = [
        TRY,
        r#"
import os, struct
query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04good\x07example\0\0\x01\0\x01"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    for n in range(500): s.sendto(os.urandom(n), ("198.18.0.1", 53))
with socket.create_connection(("198.18.0.1", 53), 5) as s:
    for _ in range(2):
        s.sendall(struct.pack(">H", len(query)) + query)
        length, = struct.unpack(">H", s.recv(2))
        print(socket.inet_ntoa(s.recv(length)[-4:]))
    s.sendall(b"\xff\xff" + b"x" * 100)
    attempt("too long", lambda: s.recv(10) and None)
attempt("allowed", lambda: tcp("good.example", 80))"#,
    ];
    let said = python(&allow(&["good.example"], &[80]), world().await, &program.concat()).await;
    assert_eq!(said, "198.18.1.0\n198.18.1.0\ntoo long: ConnectionResetError\nallowed: hello\n");
}

/// Sends and gets back as much at the same time; both ends must have seen the same.
const BULK: &str = r#"
import hashlib, random, socket, sys, threading, time
host, port, megabytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
block = random.Random(1).randbytes(1 << 20)
sent, got, count = hashlib.sha256(), hashlib.sha256(), 0
s = socket.create_connection((host, port))
def send():
    for n in range(megabytes):
        part = block[n:] + block[:n]
        sent.update(part)
        s.sendall(part)
    s.shutdown(socket.SHUT_WR)
thread = threading.Thread(target=send)
begun = time.monotonic()
thread.start()
while part := s.recv(1 << 18):
    got.update(part)
    count += len(part)
thread.join()
print(count, sent.digest() == got.digest(), flush=True)
"#;

#[tokio::test]
async fn much_passes_through_one_connection_intact() {
    let world =
        World::default().name("echo.example", &["1.2.3.4"]).server("1.2.3.4:7", Behaviour::Echo).await;
    let command = ["/usr/bin/python3", "-c", BULK, "echo.example", "7", "100"];
    let inside =
        start(User::Whoever, &allow(&["echo.example"], &[7]), EgressLimits::default(), world, &command);
    assert_eq!(inside.output().await, "104857600 True\n");
}

#[tokio::test]
async fn one_direction_may_end_before_the_other() {
    let world =
        World::default().name("count.example", &["1.2.3.4"]).server("1.2.3.4:9", Behaviour::Count).await;
    let program = "import socket
s = socket.create_connection(('count.example', 9))
s.sendall(b'x' * 300000)
s.shutdown(socket.SHUT_WR)
print(s.recv(100).decode(), len(s.recv(100)))";
    let said = python(&allow(&["count.example"], &[9]), world, program).await;
    assert_eq!(said, "300000 0\n");
}

/// Opens many, holds them, and counts those that are answered.
const MANY: &str = r#"
import socket, threading
def one(host):
    s = socket.create_connection((host, 7), 10)
    try:
        s.sendall(b"x")
        return s if s.recv(1) else None
    except ConnectionResetError:
        return None
def many(count, host="echo.example"):
    done = [None] * count
    def run(n): done[n] = one(host)
    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for t in threads: t.start()
    for t in threads: t.join()
    return [s for s in done if s]
def all_of(count):
    while True:
        got = many(count)
        if len(got) == count: return got
        for s in got: s.close()
first = many(300)
print(len(first), flush=True)
for s in first: s.close()
"#;

fn bounded(command: &[&str], world: World) -> Inside {
    let limits = EgressLimits { connections: 200, ..EgressLimits::default() };
    start(User::Whoever, &allow(&["echo.example"], &[7, 8]), limits, world, command)
}

#[tokio::test]
async fn connections_beyond_the_bound_are_reset_and_the_others_go_on() {
    let world =
        World::default().name("echo.example", &["1.2.3.4"]).server("1.2.3.4:7", Behaviour::Echo).await;
    let program = [MANY, "print(len(all_of(150)))"];
    let inside = bounded(&["/usr/bin/python3", "-c", &program.concat()], world);
    let egress = inside.egress.clone();
    assert_eq!(inside.output().await, "200\n150\n");
    assert!(egress.counts().denied >= 100, "{:?}", egress.counts());
}

#[tokio::test]
async fn one_port_of_the_workload_may_reach_two_of_a_server() {
    let world = World::default().name("echo.example", &["1.2.3.4"]);
    let world = world.server("1.2.3.4:7", Behaviour::Http("seven")).await;
    let world = world.server("1.2.3.4:8", Behaviour::Http("eight")).await;
    let program = [
        TRY,
        r#"
def from_one_port(port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(5)
    s.bind(("0.0.0.0", 7777))
    s.connect(("echo.example", port))
    return s
both = []
attempt("connect", lambda: both.extend([from_one_port(7), from_one_port(8)]))
for s in both: s.sendall(b"GET")
print([s.recv(1000).rsplit(b"\n", 1)[-1].decode() for s in both])"#,
    ];
    let inside = bounded(&["/usr/bin/python3", "-c", &program.concat()], world);
    assert_eq!(inside.output().await, "connect: open\n['seven', 'eight']\n");
}

#[tokio::test]
async fn stopping_ends_every_connection() {
    let world =
        World::default().name("echo.example", &["1.2.3.4"]).server("1.2.3.4:7", Behaviour::Echo).await;
    let program = "import socket
s = socket.create_connection(('echo.example', 7))
s.sendall(b'x'); s.recv(1)
print('connected', flush=True)
try: print(s.recv(1))
except ConnectionResetError: print('reset')";
    let mut inside = bounded(&["/usr/bin/python3", "-c", program], world);
    assert_eq!(inside.line().await, "connected");
    inside.tasks.stop();
    assert_eq!(inside.tasks.wait(crate::sh::LIMIT).await, 0);
    assert_eq!(inside.output().await, "reset\n");
}

/// Reads to the end, and says how long that took in milliseconds; then how long a connection takes in microseconds.
const MEASURE: &str = r#"
import socket, sys, time
host, port, small = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
socket.getaddrinfo(host, port)
buffer, count = bytearray(1 << 18), 0
s = socket.create_connection((host, port))
begun = time.monotonic()
while n := s.recv_into(buffer): count += n
took = time.monotonic() - begun
address, times = socket.gethostbyname(host), []
for n in range(500):
    begun = time.monotonic()
    with socket.create_connection((address, small)) as s:
        s.sendall(b"x")
        s.recv(1)
    times.append(time.monotonic() - begun)
print(count >> 20, int(took * 1000), int(sorted(times)[250] * 1e6), flush=True)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: cargo nextest run --profile release-dev, alone on the machine"]
async fn how_it_compares_with_loopback() {
    let world = World::default().name("fast.example", &["1.2.3.4"]);
    let world = world.server("1.2.3.4:9", Behaviour::Source(2 << 30)).await;
    let world = world.server("1.2.3.4:7", Behaviour::Echo).await;
    let [bulk, echo] = ["1.2.3.4:9", "1.2.3.4:7"].map(|address| world.truth(address).port().to_string());
    for _ in 0..3 {
        let direct = tokio::process::Command::new("/usr/bin/python3")
            .args(["-c", MEASURE, "127.0.0.1", &bulk, &echo])
            .output()
            .await
            .unwrap();
        let command = ["/usr/bin/python3", "-c", MEASURE, "fast.example", "9", "7"];
        let limits = EgressLimits::default();
        let inside =
            start(User::Whoever, &allow(&["fast.example"], &[7, 9]), limits, world.clone(), &command);
        println!("MiB, ms, us per connection: direct {}", String::from_utf8_lossy(&direct.stdout).trim());
        println!("MiB, ms, us per connection: inside {}", inside.output().await.trim());
    }
}
