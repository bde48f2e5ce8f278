//! Starting `skep`, and what every test needs of it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::mcp::Session;
use testkit::wire::{Head, Response};
use testkit::{Connection, Program, mcp};

/// A `skep` with these arguments, its files in a folder of the tests.
pub(crate) fn command(args: &[&str]) -> Command {
    let binary = testkit::program::binary().unwrap_or_else(|| env!("CARGO_BIN_EXE_skep").into());
    let mut command = Command::new(binary);
    command.args(args).env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
    command
}

/// Starts `skep` and waits for its endpoint.
pub(crate) fn skep(args: &[&str]) -> (Program, String) {
    let mut program = Program::start(command(args)).unwrap();
    let url = program.url().unwrap_or_else(|error| panic!("skep {}: {error:#}", args.join(" ")));
    (program, url)
}

/// The example server over HTTP.
pub(crate) fn example(instance: &str) -> (Program, String) {
    skep(&["example", "--http", "127.0.0.1:0", "--instance", instance])
}

/// `skep run` in the foreground, with more arguments. The command is not isolated: tests look at its processes, by the ids
/// that they know themselves.
pub(crate) fn run(args: &[&str]) -> (Program, String) {
    // A server that runs elsewhere is not for skep to isolate.
    let isolation: &[&str] =
        if args.iter().any(|arg| arg.starts_with("http")) { &[] } else { &["--isolation", "none"] };
    skep(&[&["run", "--foreground", "--format", "json"], isolation, args].concat())
}

/// `skep proxy` in front of these, with more arguments.
pub(crate) fn proxy(targets: &[&str], args: &[&str]) -> (Program, String) {
    let mut all = vec!["proxy", "test", "--format", "json"];
    targets.iter().for_each(|target| all.extend(["--target-uri", target]));
    skep(&[all.as_slice(), args].concat())
}

/// Runs `skep` to its end: stdout, stderr, exit code.
pub(crate) fn output(args: &[&str]) -> (String, String, Option<i32>) {
    let (out, err, status) = testkit::program::run(command(args), Duration::from_secs(60)).unwrap();
    (out, err, status.code())
}

/// One POST on a connection of its own. `headers` are whole lines.
pub(crate) async fn post(url: &str, headers: &str, body: &str) -> Response {
    let (address, path) = mcp::split_url(url).unwrap();
    raw(url, &mcp::post(&address, &path, headers, body)).await
}

/// Sends bytes on a connection of their own and reads one response.
pub(crate) async fn raw(url: &str, bytes: &[u8]) -> Response {
    let (address, _) = mcp::split_url(url).unwrap();
    Connection::open(&address).await.unwrap().ask(bytes).await.unwrap()
}

/// An `initialize` of this id.
pub(crate) fn initialize(id: i64) -> String {
    let params = json!({
        "protocolVersion": mcp::VERSION, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}
    });
    json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": params}).to_string()
}

/// Status, JSON-RPC code and id of an error answer; `null` for what is not there.
pub(crate) fn error_of(response: &Response) -> (u16, Value, Value) {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
    (response.status, body["error"]["code"].clone(), body["id"].clone())
}

/// Waits for something to become true; how long is a matter of the machine, that it does is the test.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within half a minute: {what}");
}

/// Kilobytes resident.
pub(crate) fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// The processes whose parent this is.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended; whoever should reap it is not the question here.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A Redis of this test alone, without persistence. `None` where it is not installed; with `CI=true` that is a failure.
pub(crate) fn redis(port: u16) -> Option<Program> {
    redis_with(port, &[])
}

/// As [`redis`], with more settings.
pub(crate) fn redis_with(port: u16, args: &[&str]) -> Option<Program> {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("redis-server").is_file()));
    let must = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(found || !must, "redis-server is not installed: run the tests with `cargo xtask test`");
    if !found {
        println!("skipped: redis-server is not installed; `cargo xtask test` installs it");
        return None;
    }
    let mut redis = Command::new("redis-server");
    redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
    redis.arg(env!("CARGO_TARGET_TMPDIR")).args(args).stdin(Stdio::null()).stdout(Stdio::null());
    let program = Program::start(redis).unwrap();
    for _ in 0..500 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(program);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("redis-server does not listen");
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program for tests that need somebody else's: its path, or `None` where it is not installed. With `CI=true` that is
/// a failure.
pub(crate) fn peer(variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok().filter(|path| Path::new(path).is_file());
    let must = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(found.is_some() || !must, "{variable} is not set: run the tests with `cargo xtask test`");
    if found.is_none() {
        println!("skipped: {variable} is not set; `cargo xtask test` installs what this needs");
    }
    found
}

/// A session's stream for what the server says unasked.
pub(crate) struct Listener {
    pub(crate) connection: Connection,
    pub(crate) head: Head,
    pub(crate) text: String,
    pub(crate) read: usize,
}

impl Listener {
    pub(crate) async fn open(session: &Session, more: &str) -> Self {
        let mut connection = Connection::open(&session.address).await.unwrap();
        connection.send(&session.bare("GET", more)).await.unwrap();
        let head = connection.head().await.unwrap();
        assert_eq!(head.status, 200);
        Self { connection, head, text: String::new(), read: 0 }
    }

    /// The next message, and the id of its event.
    pub(crate) async fn next(&mut self) -> (Value, String) {
        loop {
            let event = self.event().await;
            if let Ok(message) = serde_json::from_str(field(&event, "data:")) {
                return (message, field(&event, "id:").to_owned());
            }
        }
    }

    /// The id of the next event, whatever is in it.
    pub(crate) async fn cursor(&mut self) -> String {
        let event = self.event().await;
        field(&event, "id:").to_owned()
    }

    /// The address for messages that a stream of HTTP+SSE begins with.
    pub(crate) async fn endpoint(&mut self) -> String {
        let event = self.event().await;
        assert_eq!(field(&event, "event:"), "endpoint", "{event}");
        field(&event, "data:").to_owned()
    }

    /// Reads to the end of the stream, over which nothing may come any more.
    pub(crate) async fn ends(mut self) {
        while let Some(piece) = self.connection.piece(&self.head, self.read).await.unwrap() {
            self.read += piece.len();
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        assert!(!self.text.contains("data: {"), "{}", self.text);
    }

    async fn event(&mut self) -> String {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                return self.text.drain(..end + 2).collect();
            }
            let piece =
                self.connection.piece(&self.head, self.read).await.unwrap().expect("the stream goes on");
            self.read += piece.len();
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }
}

/// The value of an event's field.
fn field<'a>(event: &'a str, name: &str) -> &'a str {
    event.lines().find_map(|line| line.strip_prefix(name)).map_or("", str::trim)
}

/// Waits until something listens.
pub(crate) async fn listens(port: u16) {
    until("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
}

/// A session on another proxy, or on the same one after it was started again.
pub(crate) async fn at(session: &Session, url: &str) -> Session {
    let (address, path) = testkit::mcp::split_url(url).unwrap();
    let mut moved = session.beside(Connection::open(&address).await.unwrap());
    (moved.address, moved.path) = (address, path);
    moved
}
