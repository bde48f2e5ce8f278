//! The program under the name `thv`: ToolHive's commands, folders, variables, output and exit codes.

use serde_json::{Value, json};
use testkit::Program;
use testkit::mcp::Session;

use crate::harness::{example, until};
use crate::home::{Home, said};
use crate::toolhive::{PASSWORD, SETTINGS, ToolHive, process_of};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn keys(json: &Value) -> Vec<&str> {
    json.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn it_says_what_scripts_look_for_and_ends_as_they_expect() {
    let home = Home::new();
    let version = parsed(&home.thv(&["version", "--format", "json"]).ok());
    assert_eq!(keys(&version), ["version", "commit", "build_date", "go_version", "platform"]);
    assert_eq!(home.thv(&["version", "--json"]).ok(), home.thv(&["version", "--format=json"]).ok());
    assert!(home.thv(&["--help"]).ok().contains("Usage: thv"));
    for args in [&["no-such-command"][..], &["list", "--no-such-flag"], &["status"]] {
        home.thv(args).error();
    }
    assert_eq!(home.skep(&["no-such-command"]).code, Some(2));
    assert_eq!(home.thv(&["list"]).ok(), "No MCP servers found\n");
    assert_eq!(home.thv(&["list", "--group", "g"]).ok(), "No MCP servers found in group 'g'\n");
    assert_eq!(home.thv(&["stop", "--all"]).ok(), "No running workloads to stop\n");
    let stopped = home.thv(&["stop", "nobody"]);
    assert!(
        stopped.err.contains("one or more workloads are not running") && stopped.code == Some(0),
        "{stopped:?}"
    );
    home.skep(&["stop", "nobody"]).error();
    let error = home.thv(&["status", "nobody"]).error();
    assert!(error.contains("`thv list --all`") && !error.contains("`skep"), "{error}");
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let home = Home::new();
    for (flag, name) in [
        ("--oidc-issuer=https://a.example", "--oidc-issuer"),
        ("--enable-audit", "--enable-audit"),
        ("--otel-endpoint=a", "--otel-endpoint"),
        ("--remote-auth", "--remote-auth"),
        ("--webhook-config=a", "--webhook-config"),
    ] {
        let error = home.thv(&["run", flag, "example"]).error();
        assert!(error.contains(&format!("{name}: not in this version")), "{error}");
    }
    let error = home.thv(&["run", "--isolate-netwrok=false", "example"]).error();
    assert!(error.contains("--isolate-netwrok"), "a slip is not passed over: {error}");
    assert!(home.thv(&["list", "--all", "--format", "json"]).ok().starts_with("[]"));
}

#[tokio::test]
async fn a_server_is_run_in_toolhives_folders() {
    let home = Home::new();
    let files = home.path("environment");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("a"), "A=\"quoted\"\n").unwrap();
    let run =
        ["run", "--name", "a", "--env-file-dir", files.to_str().unwrap(), "--enable-audit=false", "example"];
    home.thv(&run).ok();
    let listed = parsed(&home.thv(&["list", "--format", "json"]).ok());
    let view = &listed[0];
    let expect = [
        "name",
        "package",
        "url",
        "port",
        "transport_type",
        "proxy_mode",
        "status",
        "created_at",
        "group",
        "started_at",
    ];
    assert_eq!(keys(view), expect);
    let status = parsed(&home.thv(&["status", "a", "--format", "json"]).ok());
    assert_eq!(
        keys(&status),
        ["name", "status", "package", "url", "port", "transport", "proxy_mode", "group", "uptime"]
    );
    let text = home.thv(&["status", "a"]).ok();
    for title in [
        "Name:",
        "Status:",
        "Package:",
        "URL:",
        "Port:",
        "Transport:",
        "Proxy Mode:",
        "Group:",
        "Created:",
        "Uptime:",
    ] {
        assert!(text.lines().any(|line| line.starts_with(title)), "{title}: {text}");
    }
    let table = home.thv(&["list"]).ok();
    assert!(table.starts_with("NAME   PACKAGE        STATUS    URL"), "{table}");
    let config = parsed(&std::fs::read_to_string(home.path("state/toolhive/runconfigs/a.json")).unwrap());
    assert_eq!(config["env_vars"]["A"], "\"quoted\"");
    assert!(home.path("data/toolhive/statuses/a.json").exists());
    assert!(!home.path("state/skep").exists() && !home.path("data/skep").exists());
    assert!(home.skep(&["list", "--all", "--format", "json"]).ok().starts_with("[]"), "each has its own");

    let tools = parsed(&home.thv(&["mcp", "list", "tools", "--server", "a", "--format", "json"]).ok());
    assert!(tools["tools"].as_array().is_some_and(|tools| !tools.is_empty()), "{tools}");
    assert!(home.thv(&["mcp", "list", "--server", "nobody"]).error().contains("\"nobody\""));

    // From here instead of by the daemon.
    let mut served = Program::start(home.thv_command(&["start", "a", "--foreground"])).unwrap();
    let url = view["url"].as_str().unwrap();
    assert!(served.line().unwrap().contains(url));
    Session::open(url).await.unwrap();
    assert_eq!(parsed(&home.thv(&["status", "a", "--format", "json"]).ok())["status"], "stopped");
    drop(served);
    home.thv(&["restart", "a"]).ok();
    Session::open(url).await.unwrap();
    home.thv(&["rm", "a"]).ok();
    assert!(!home.path("state/toolhive/runconfigs/a.json").exists());
}

#[tokio::test]
async fn log_lines_are_json() {
    let home = Home::new();
    let log = home.path("log");
    let mut command =
        home.thv_command(&["run", "--foreground", "--format", "json", "--access-log", "example"]);
    command.env("TOOLHIVE_DEBUG", "true").stderr(std::fs::File::create(&log).unwrap());
    let mut served = Program::start(command).unwrap();
    Session::open(&served.url().unwrap()).await.unwrap();
    let is_json = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object());
    until("a request is logged", || std::fs::read_to_string(&log).unwrap().lines().any(is_json)).await;
}

#[test]
fn variables_have_toolhives_names() {
    let home = Home::new();
    let with = |name: &str, value: &str, args: &[&str]| {
        let mut command = home.thv_command(args);
        command.env("TOOLHIVE_SECRET_x", "1").env(name, value);
        said(command)
    };
    assert_eq!(with("A", "", &["secret", "get", "x"]).ok(), "1\n");
    assert!(
        with("TOOLHIVE_DISABLE_ENV_FALLBACK", "true", &["secret", "get", "x"]).error().contains("no secret")
    );
    assert!(
        with("TOOLHIVE_SECRETS_PROVIDER", "none", &["secret", "get", "x"])
            .error()
            .contains("TOOLHIVE_SECRETS_PROVIDER")
    );
    assert_eq!(with("TOOLHIVE_SECRETS_PROVIDER", "environment", &["secret", "get", "x"]).ok(), "1\n");
    let mut skep = home.command(&["secret", "get", "x"]);
    skep.env("TOOLHIVE_SECRET_x", "1");
    said(skep).error();
}

#[test]
fn who_keeps_secrets_is_in_the_settings() {
    let home = Home::new();
    std::fs::create_dir_all(home.path("config/toolhive")).unwrap();
    std::fs::write(home.path("config/toolhive/config.yaml"), SETTINGS).unwrap();
    home.thv(&["secret", "provider", "environment"]).ok();
    let text = std::fs::read_to_string(home.path("config/toolhive/config.yaml")).unwrap();
    assert_eq!(text, SETTINGS.replace("encrypted", "environment"));
    assert!(home.thv(&["secret", "list"]).error().contains("cannot be listed"));
    assert!(home.thv(&["secret", "provider", "keyring"]).error().contains("write encrypted"));
    assert!(home.thv(&["secret", "setup"]).error().contains("--provider"));
    home.thv(&["secret", "setup", "--provider", "encrypted"]).ok();
    assert!(home.thv(&["secret", "list"]).err.contains("there are no secrets"));
}

#[tokio::test]
async fn what_toolhive_has_left_goes_on_in_place() {
    let home = Home::new();
    let (_server, url) = example("far");
    let process = process_of("wiki");
    let toolhive = ToolHive {
        state: home.path("state/toolhive"),
        data: home.path("data/toolhive"),
        config: home.path("config/toolhive"),
    };
    toolhive.write(&url, &process);
    let views = |home: &Home| parsed(&home.thv(&["list", "--all", "--format", "json"]).ok());
    let find = |name: &str| {
        let views = views(&home);
        views.as_array().unwrap().iter().find(|view| view["name"] == name).cloned().unwrap()
    };
    // It is said to run from the first, as ToolHive has left it; its port it gets from skep.
    let runs = |view: Value| view["status"] == "running" && view["url"] != "";
    until("what was to run runs", || runs(find("docs"))).await;
    let mut session = Session::open(find("docs")["url"].as_str().unwrap()).await.unwrap();
    assert!(session.call("whoami", json!({})).await.unwrap().contains("\"far\""));

    // What ToolHive itself serves is not served twice.
    let pid = process.pid().to_string();
    assert!(find("wiki")["status_context"].as_str().unwrap().contains(&pid));
    for order in ["start", "stop", "rm"] {
        assert!(home.thv(&[order, "wiki"]).error().contains(&format!("process {pid}")), "{order}");
    }
    drop(process);
    home.thv(&["start", "wiki"]).ok();
    assert_eq!(find("wiki")["status"], "running");

    let exported = home.path("exported.json");
    home.thv(&["export", "docs", exported.to_str().unwrap(), "--format", "json"]).ok();
    let exported = std::fs::read_to_string(exported).unwrap();
    assert!(exported.contains("\"x_future\"") && exported.contains("18446744073709551615"), "{exported}");

    // Its password is in somebody's keyring, who takes it from there.
    assert!(home.thv(&["secret", "get", "github"]).error().contains("`thv secret setup`"));
    assert!(home.thv(&["secret", "setup", "--provider", "encrypted"]).error().contains("--password-file"));
    let password = home.path("password");
    std::fs::write(&password, "wrong").unwrap();
    let setup = ["secret", "setup", "--provider", "encrypted", "--password-file", password.to_str().unwrap()];
    assert!(home.thv(&setup).error().contains("could not be opened"));
    std::fs::write(&password, PASSWORD).unwrap();
    home.thv(&setup).ok();
    assert_eq!(home.thv(&["secret", "get", "github"]).ok(), "ghp_example\n");
    assert_eq!(std::fs::read_to_string(home.path("config/toolhive/config.yaml")).unwrap(), SETTINGS);
    assert_eq!(home.thv(&["group", "list"]).ok(), "NAME\ndefault\nmy team\n");
}
