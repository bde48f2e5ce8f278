//! Servers that are packages, from the real registries, as processes: found out once, installed once, and run from there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::mcp::Session;

use crate::harness::{is_alive, peer, until};
use crate::home::{Home, Said};

/// A server from npm, and one version of it that is not the newest.
const EVERYTHING: &str = "@modelcontextprotocol/server-everything";
const OLDER: &str = "2026.1.14";

/// Settings of no registry: whoever asks one fails.
const NOWHERE: [(&str, &str); 2] =
    [("npm_config_registry", "http://nowhere.invalid/"), ("PIP_INDEX_URL", "http://nowhere.invalid/")];

/// Runs a `skep` that reaches no registry.
fn offline(home: &Home, args: &[&str]) -> Said {
    let mut command = home.command(args);
    command.envs(NOWHERE);
    let (out, err, status) = testkit::program::run(command, Duration::from_secs(120)).unwrap();
    Said { out, err, code: status.code() }
}

/// Runs a `skep` with this program before all others of its name.
fn with_tool(home: &Home, folder: &Path, args: &[&str]) -> Said {
    let mut command = home.command(args);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path)));
    command.env("PATH", path.unwrap());
    let (out, err, status) = testkit::program::run(command, Duration::from_secs(280)).unwrap();
    Said { out, err, code: status.code() }
}

fn url(said: &str) -> String {
    let told: Value = serde_json::from_str(said).unwrap();
    told["url"].as_str().unwrap().to_owned()
}

fn cached(home: &Home) -> Vec<(String, String)> {
    let text = home.skep(&["cache", "list", "--format", "json"]).ok();
    let listed: Vec<Value> = serde_json::from_str(&text).unwrap();
    let pair =
        |cached: &Value| (cached["package"].as_str().unwrap().to_owned(), cached["used_by"].to_string());
    listed.iter().map(pair).collect()
}

fn run_config(home: &Home, name: &str) -> Value {
    let file = home.path(&format!("state/skep/runconfigs/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// What is being made of a package.
fn making(home: &Home) -> Vec<PathBuf> {
    let folder = home.path("cache/skep/packages/npx").join(EVERYTHING.replace('/', "+"));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_made = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(".making-");
    entries.filter(is_made).map(|entry| entry.path()).collect()
}

#[tokio::test]
async fn a_server_of_npm_is_installed_once_and_needs_the_registry_no_more() {
    let Some(_) = peer("SKEP_TEST_NODE") else { return };
    let home = Home::new();
    let package = format!("npx://{EVERYTHING}");
    let args = [
        "run",
        "--isolation",
        "process",
        "--format",
        "json",
        "--name",
        "e",
        "--permission-profile",
        "none",
        &package,
        "--",
        "stdio",
    ];
    let said = home.skep(&args);
    assert!(said.err.contains("looking up npx://") && said.err.contains("installing @model"), "{}", said.err);
    let mut session = Session::open(&url(&said.ok())).await.unwrap();
    assert!(session.call("echo", json!({"message": "hello"})).await.unwrap().contains("hello"));
    // It is pinned, and says so.
    let config = run_config(&home, "e");
    let pinned = config["skep"]["package"].as_str().unwrap().to_owned();
    assert_eq!(config["skep"]["package_asked"], package);
    assert!(pinned.starts_with(&format!("{package}@2")), "{pinned}");
    assert_eq!(home.find("e").unwrap()["package"], pinned);
    assert_eq!(cached(&home), [(pinned.clone(), r#"["e"]"#.to_owned())]);
    assert!(making(&home).is_empty());
    // Without a registry it is started again, and run once more by its version.
    home.skep(&["daemon", "stop"]).ok();
    offline(&home, &["restart", "e"]).ok();
    let again = offline(
        &home,
        &["run", "--isolation", "process", "--format", "json", "--name", "f", &pinned, "--", "stdio"],
    );
    assert!(!again.err.contains("installing"), "{}", again.err);
    Session::open(&url(&again.ok())).await.unwrap();
    // What is needed stays, what is not goes.
    home.skep(&["rm", "e"]).ok();
    assert_eq!(cached(&home), [(pinned.clone(), r#"["f"]"#.to_owned())]);
    assert!(home.skep(&["cache", "prune"]).err.starts_with("0 removed"));
    home.skep(&["rm", "f"]).ok();
    assert!(home.skep(&["cache", "prune"]).err.starts_with("1 removed"));
    assert!(cached(&home).is_empty());
}

#[test]
fn two_that_want_the_same_install_it_once() {
    let Some(_) = peer("SKEP_TEST_NODE") else { return };
    let home = Home::new();
    let package = format!("npx://{EVERYTHING}");
    let start = |name: &str| {
        let mut command = home.command(&[
            "run",
            "--isolation",
            "process",
            "--format",
            "json",
            "--name",
            name,
            &package,
            "--",
            "stdio",
        ]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start("a"), start("b")].map(|child| child.wait_with_output().unwrap());
    let said = both.map(|output| {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    });
    let count = |text: &str| said.iter().filter(|said| said.contains(text)).count();
    assert_eq!((count("installing @model"), cached(&home).len()), (1, 1), "{said:?}");
}

#[tokio::test]
async fn an_installation_that_is_killed_is_not_used_and_the_next_one_succeeds() {
    let Some(_) = peer("SKEP_TEST_NODE") else { return };
    let home = Home::new();
    let package = format!("npx://{EVERYTHING}");
    let args = ["run", "--isolation", "process", "--format", "json", "--name", "e", &package, "--", "stdio"];
    let mut command = home.command(&args);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let is_amidst = || making(&home).iter().any(|folder| folder.join("entry/node_modules").is_dir());
    until("packages are being fetched", is_amidst).await;
    let pid = child.id();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    child.wait().unwrap();
    until("nothing of it runs", || !is_alive(pid) && home.processes().is_empty()).await;
    assert_eq!(making(&home).len(), 1);
    assert!(cached(&home).is_empty());
    let mut session = Session::open(&url(&home.skep(&args).ok())).await.unwrap();
    session.call("echo", json!({"message": "hello"})).await.unwrap();
    assert!(making(&home).is_empty());
}

#[tokio::test]
async fn another_version_is_run_when_somebody_asks_for_it_and_not_before() {
    let Some(_) = peer("SKEP_TEST_NODE") else { return };
    let home = Home::new();
    let older = format!("npx://{EVERYTHING}@{OLDER}");
    home.run(&["--isolation", "process", "--name", "e", &older, "--", "stdio"]);
    // As if it had been the newest one when it was asked for.
    let file = home.path("e.json");
    let mut config = run_config(&home, "e");
    config["skep"]["package_asked"] = json!(format!("npx://{EVERYTHING}"));
    std::fs::write(&file, config.to_string()).unwrap();
    home.skep(&["rm", "e"]).ok();
    home.run(&["--from-config", file.to_str().unwrap()]);
    assert_eq!(run_config(&home, "e")["skep"]["package"], older);
    home.skep(&["restart", "--refresh", "e"]).ok();
    let view = home.find("e").unwrap();
    assert_eq!(view["status"], "running");
    assert_ne!(view["package"], older);
    assert_eq!(run_config(&home, "e")["skep"]["package"], view["package"]);
    Session::open(view["url"].as_str().unwrap()).await.unwrap();
}

#[test]
fn a_cache_that_is_gone_is_filled_with_the_same() {
    let Some(_) = peer("SKEP_TEST_NODE") else { return };
    let home = Home::new();
    let older = format!("npx://{EVERYTHING}@{OLDER}");
    home.run(&["--isolation", "process", "--name", "e", &older, "--", "stdio"]);
    std::fs::remove_dir_all(home.path("cache")).unwrap();
    home.skep(&["restart", "e"]).ok();
    assert_eq!(cached(&home), [(older, r#"["e"]"#.to_owned())]);
}

#[test]
fn what_cannot_be_installed_is_said_in_the_tool_s_own_words() {
    let Some(_) = peer("SKEP_TEST_NODE") else { return };
    let home = Home::new();
    let error =
        home.skep(&["run", "--isolation", "process", &format!("npx://{EVERYTHING}@0.0.0-none")]).error();
    assert!(error.contains("npm error code ETARGET") && error.contains("@0.0.0-none"), "{error}");
    assert!(making(&home).is_empty() && cached(&home).is_empty());
}

#[test]
fn a_dockerfile_is_of_one_version() {
    let home = Home::new();
    let dockerfile = home.skep(&["build", "--dry-run", "npx://@s/a@1.2.3", "--", "--stdio"]).ok();
    let ends = r#"ENTRYPOINT ["npx","--no","--","@s/a","--stdio"]"#;
    assert!(dockerfile.contains("-- @s/a@1.2.3") && dockerfile.trim_end().ends_with(ends), "{dockerfile}");
    let file = home.path("Dockerfile");
    home.skep(&["build", "-o", file.to_str().unwrap(), "npx://@s/a@1.2.3", "--", "--stdio"]).ok();
    assert_eq!(std::fs::read_to_string(file).unwrap(), dockerfile);
    assert!(home.skep(&["build", "--dry-run", "npx://a"]).error().contains("names no one version"));
}

#[test]
fn what_is_no_package_or_has_no_tool_is_refused() {
    let home = Home::new();
    for (args, expect) in [
        (&["npx://a;id"][..], "is no name of an npm package"),
        (&["npx://a@$(id)"], "is no version of an npm package"),
        (&["uvx://./a"], "only go:// builds folders"),
        (&["--build-with", "x", "npx://a"], "--build-with is for uvx://"),
        (&["--build-with", "a;b", "uvx://a"], "no requirement"),
        (&["--runtime-image", "a", "npx://a"], "builder_image is for images"),
        (&["--runtime-add-package", "a", "npx://a"], "additional_packages is for images"),
        (&["--program", "x", "--", "cat"], "--program: not for what is no package"),
    ] {
        let error = home.skep(&[&["run", "--isolation", "process"], args].concat()).error();
        assert!(error.contains(expect), "{args:?}: {error}");
    }
    for (package, expect) in
        [("npx://a", "install Node.js"), ("uvx://a", "install Python"), ("go://a.b/c", "install Go")]
    {
        let mut command = home.command(&["run", "--isolation", "process", package]);
        command.env("PATH", home.path("empty"));
        let (_, err, status) = testkit::program::run(command, Duration::from_secs(60)).unwrap();
        assert!(!status.success() && err.contains(expect), "{package}: {err}");
    }
}

/// Runs the server for the time, and asks it.
async fn time(home: &Home, said: Said) {
    let mut session = Session::open(&url(&said.ok())).await.unwrap();
    let said = session.call("get_current_time", json!({"timezone": "UTC"})).await.unwrap();
    assert!(said.contains("UTC"), "{said}");
    home.skep(&["daemon", "stop"]).ok();
    offline(home, &["restart", "t"]).ok();
}

#[tokio::test]
async fn a_server_of_pypi_is_installed_by_uv_with_what_it_is_to_be_installed_with() {
    let Some(python) = peer("SKEP_TEST_PYTHON") else { return };
    let home = Home::new();
    let bin = Path::new(&python).parent().unwrap();
    assert!(bin.join("uv").is_file());
    let package = "uvx://mcp-server-time>=2026";
    let args = [
        "run",
        "--isolation",
        "process",
        "--format",
        "json",
        "--name",
        "t",
        "--permission-profile",
        "none",
        "--build-with",
        "idna<4",
        package,
    ];
    time(&home, with_tool(&home, bin, &args)).await;
    let [(pinned, _)] = cached(&home).try_into().unwrap();
    assert!(pinned.starts_with("uvx://mcp-server-time@2026."), "{pinned}");
    assert_eq!(run_config(&home, "t")["runtime_config"]["build_with"], json!(["idna<4"]));
}

#[test]
fn a_package_of_pypi_is_installed_by_pip_where_there_is_no_uv() {
    let Some(python) = peer("SKEP_TEST_PYTHON") else { return };
    let home = Home::new();
    // A folder with Python alone, and the system's.
    let folder = home.path("tools");
    std::fs::create_dir_all(&folder).unwrap();
    let python = std::fs::canonicalize(python).unwrap();
    std::os::unix::fs::symlink(python, folder.join("python3")).unwrap();
    let mut command =
        home.command(&["run", "--isolation", "process", "uvx://sqlparse", "--", "--no-such-option"]);
    command.env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    let (_, err, _) = testkit::program::run(command, Duration::from_secs(120)).unwrap();
    // It is small, and no MCP server; it is run all the same.
    assert!(err.contains("installing sqlparse") && err.contains("usage: sqlformat"), "{err}");
    assert!(cached(&home)[0].0.starts_with("uvx://sqlparse@"));
}
