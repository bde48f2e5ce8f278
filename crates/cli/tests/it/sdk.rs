//! Official SDKs as clients, and servers nobody here wrote. The scripts are in `conformance/`; `cargo xtask test`
//! installs what they need.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::Program;

use crate::harness::{example, peer, proxy, run};

/// A tour takes a few seconds, unless something hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is installed.
pub(crate) struct Peers {
    node: String,
    pub(crate) python: String,
    folder: PathBuf,
}

impl Peers {
    pub(crate) fn find() -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance").canonicalize().unwrap();
        Some(Self { node: peer("SKEP_TEST_NODE")?, python: peer("SKEP_TEST_PYTHON")?, folder })
    }

    fn everything(&self) -> String {
        let path = self.folder.join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
        path.to_str().unwrap().to_owned()
    }

    /// The server with everything, over HTTP, and where it is.
    pub(crate) fn start_everything(&self) -> (Program, String) {
        let port = crate::harness::free_port();
        let preload = format!("--require={}", self.folder.join("loopback.cjs").display());
        let mut command = Command::new(&self.node);
        command.args([self.everything().as_str(), "streamableHttp"]);
        command.env("PORT", port.to_string()).env("NODE_OPTIONS", preload);
        let server = Program::start(command).unwrap();
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        (server, format!("http://127.0.0.1:{port}/mcp"))
    }

    fn typescript(&self, url: &str, profile: &str) -> Vec<String> {
        let mut command = Command::new(&self.node);
        command.arg(self.folder.join("client_ts.mjs")).args([url, profile]);
        tour(command)
    }

    fn python(&self, url: &str, profile: &str, mode: &str) -> Vec<String> {
        let mut command = Command::new(&self.python);
        command.arg(self.folder.join("client_py.py")).args([url, profile, mode]);
        tour(command)
    }
}

/// Runs a tour; the steps it took.
fn tour(command: Command) -> Vec<String> {
    let what = format!("{command:?}");
    let (out, err, status) = testkit::program::run(command, PATIENCE).unwrap();
    let told: Value = out.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    assert!(status.success() && told["ok"] == true, "{what}: {status}\n{out}\n{err}");
    let steps = told["steps"].as_array().unwrap();
    steps.iter().map(|step| step.as_str().unwrap().to_owned()).collect()
}

/// The steps that every full tour takes.
const FULL: [&str; 6] = ["lists", "call", "progress", "subscription", "elicitation", "cancellation"];

fn is_full(steps: &[String]) {
    assert!(FULL.iter().all(|step| steps.iter().any(|taken| taken == step)), "{steps:?}");
}

#[test]
fn sdk_clients_tour_the_example_through_bridge_and_proxy() {
    let Some(peers) = Peers::find() else { return };
    let (_bridge, bridge) = run(&["example"]);
    let (_backend, target) = example("a");
    let (_proxy, proxy) = proxy(&[&target], &[]);
    for url in [&bridge, &proxy] {
        is_full(&peers.typescript(url, "example"));
        for mode in ["legacy", "auto", "2026-07-28"] {
            is_full(&peers.python(url, "example", mode));
        }
    }
    is_full(&peers.typescript(&bridge.replace("/mcp", "/sse"), "example"));
}

#[test]
fn an_npm_server_is_run_by_command() {
    let Some(peers) = Peers::find() else { return };
    let folder = peers.folder.to_str().unwrap();
    let command = ["--cwd", folder, "--", "npx", "-y", "@modelcontextprotocol/server-everything", "stdio"];
    let (_skep, url) = run(&command);
    is_full(&peers.typescript(&url, "everything"));
    is_full(&peers.python(&url, "everything", "legacy"));
    is_full(&peers.typescript(&url.replace("/mcp", "/sse"), "everything"));
}

#[test]
fn a_python_server_is_run_by_command() {
    let Some(peers) = Peers::find() else { return };
    let (_skep, url) = run(&["--", &peers.python, "-m", "mcp_server_time"]);
    peers.typescript(&url, "time");
    for mode in ["legacy", "auto", "2026-07-28"] {
        peers.python(&url, "time", mode);
    }
}

#[test]
fn a_streamable_http_server_is_reached_by_url() {
    let Some(peers) = Peers::find() else { return };
    let (_server, server) = peers.start_everything();
    let (_skep, url) = run(&[&server]);
    is_full(&peers.typescript(&url, "everything"));
    is_full(&peers.python(&url, "everything", "legacy"));
}
