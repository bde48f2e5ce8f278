//! What is measured: the backend, the proxies in front of it, and how they are started.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use testkit::Program;
use testkit::mcp::{Session, split_url};

/// A server that takes longer to answer has not started.
const STARTING: Duration = Duration::from_secs(60);

/// Something that answers at a URL.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) url: String,
    program: Option<Program>,
    /// Its files, as long as it runs.
    _folder: Option<TempDir>,
}

impl Server {
    /// Its process, where it is ours.
    pub(super) fn pid(&self) -> Option<u32> {
        self.program.as_ref().map(Program::pid)
    }

    /// Has it take what it is told and answer nothing, until it ends.
    pub(super) fn hang(&self) -> anyhow::Result<()> {
        self.program.as_ref().context("it is not ours")?.signal(Signal::STOP)
    }

    /// One that was started elsewhere.
    pub(super) fn at(name: &str, url: &str) -> Self {
        Self { name: name.to_owned(), url: url.to_owned(), program: None, _folder: None }
    }

    fn running(name: &str, url: String, program: Program) -> Self {
        Self { name: name.to_owned(), url, program: Some(program), _folder: None }
    }
}

/// The example server over HTTP, on one thread.
pub(super) fn backend(binary: &Path) -> anyhow::Result<Server> {
    skep(binary, "direct", &["example", "--http", "127.0.0.1:0"])
}

/// `skep` with these arguments; it prints its URL.
pub(super) fn skep(binary: &Path, name: &str, args: &[&str]) -> anyhow::Result<Server> {
    let mut command = Command::new(binary);
    command.args(args).stdin(Stdio::null()).stderr(Stdio::null());
    let mut program = Program::start(command)?;
    let url = program.url().with_context(|| format!("skep {}", args.join(" ")))?;
    Ok(Server::running(name, url, program))
}

/// nginx as a plain reverse proxy that keeps its connections to the backend, a worker per core. `None` where it is not
/// installed.
pub(super) async fn nginx(target: &str) -> anyhow::Result<Option<Server>> {
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"].map(Path::new);
    let Some(nginx) = found.into_iter().find(|path| path.is_file()) else { return Ok(None) };
    let (address, _) = split_url(target)?;
    let port = free_port()?;
    let folder = TempDir::new()?;
    let mut config = String::new();
    write!(
        config,
        "daemon off; master_process on; worker_processes auto; pid {dir}/pid; error_log {dir}/log;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ access_log off; client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;\n\
         uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e; keepalive_requests 100000000; tcp_nodelay on;\n\
         upstream backend {{ server {address}; keepalive 512; keepalive_requests 100000000; }}\n\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://backend; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host {address}; proxy_buffering off;\n\
         proxy_read_timeout 3600s; }} }} }}\n",
        dir = folder.path().display()
    )?;
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, config)?;
    let mut command = Command::new(nginx);
    command.arg("-c").arg(&file).arg("-p").arg(folder.path()).stdin(Stdio::null()).stderr(Stdio::null());
    let program = Program::start(command)?;
    let mut server = Server::running("nginx", format!("http://127.0.0.1:{port}/mcp"), program);
    server._folder = Some(folder);
    until_it_answers(&mut server).await?;
    Ok(Some(server))
}

/// A Redis of our own. `None` where it is not installed.
pub(super) fn redis() -> anyhow::Result<Option<(Program, String)>> {
    let port = free_port()?;
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let Ok(program) = Program::start(command) else { return Ok(None) };
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(begun.elapsed() < STARTING, "redis-server does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(Some((program, format!("redis://127.0.0.1:{port}"))))
}

/// `NAME=URL`, or `NAME=COMMAND` with places for the port and others.
pub(super) async fn peer(text: &str, places: &[(&str, &str)]) -> anyhow::Result<Server> {
    let (name, what) = text.split_once('=').context("a peer is written NAME=URL or NAME=COMMAND")?;
    if what.starts_with("http://") {
        return Ok(Server::at(name, what));
    }
    let port = free_port()?.to_string();
    let mut line = what.replace("{port}", &port);
    for (place, value) in places {
        line = line.replace(place, value);
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec {line}")).stdin(Stdio::null()).stderr(Stdio::null());
    let program = Program::start(command)?;
    let mut server = Server::running(name, format!("http://127.0.0.1:{port}/mcp"), program);
    until_it_answers(&mut server).await.with_context(|| line)?;
    Ok(server)
}

async fn until_it_answers(server: &mut Server) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let answered = Session::open(&server.url).await;
        let Err(error) = answered else { return Ok(()) };
        if let Some(program) = &mut server.program
            && let Ok(status) = program.wait(Duration::ZERO)
        {
            bail!("{} ended: {status}", server.name);
        }
        ensure!(begun.elapsed() < STARTING, "{} does not answer: {error:#}", server.name);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
