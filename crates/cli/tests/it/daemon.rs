//! The daemon: servers that go on when the command that began them has ended, and whatever becomes of the daemon.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::mcp::Session;

use crate::harness::{is_alive, until};
use crate::home::Home;

#[tokio::test]
async fn a_server_is_run_listed_stopped_started_and_removed() {
    let home = Home::new();
    assert_eq!(home.skep(&["daemon", "status"]).code, Some(1), "nobody has asked for it yet");
    let url = home.run(&["example", "--label", "team=a"]);
    let mut session = Session::open(&url).await.unwrap();
    assert_eq!(session.call("counter", json!({})).await.unwrap(), "1");
    let listed = home.list(&[]);
    assert_eq!(listed.len(), 1);
    let expect = json!({"name": "example", "package": "skep example", "url": url, "status": "running",
        "transport_type": "stdio", "proxy_mode": "streamable-http", "group": "default", "labels": {"team": "a"}});
    for (key, value) in expect.as_object().unwrap() {
        assert_eq!(listed[0][key], *value, "{key}");
    }
    assert!(home.skep(&["list"]).ok().starts_with("NAME      PACKAGE"));
    let entries: Value = serde_json::from_str(&home.skep(&["list", "--format", "mcpservers"]).ok()).unwrap();
    assert_eq!(entries, json!({"mcpServers": {"example": {"url": url, "type": "streamable-http"}}}));
    assert!(home.list(&["--label", "team=b"]).is_empty() && home.list(&["--group", "other"]).is_empty());

    home.skep(&["stop", "example"]).ok();
    assert!(home.list(&[]).is_empty());
    assert_eq!(home.find("example").unwrap()["status"], "stopped");
    assert!(testkit::Connection::open(&session.address).await.is_err(), "nobody listens there");
    home.skep(&["start", "example"]).ok();
    let again = home.find("example").unwrap();
    assert_eq!(
        (&again["status"], &again["url"]),
        (&json!("running"), &json!(url)),
        "where its clients look for it"
    );
    // The session outlives that, too.
    session.connection = testkit::Connection::open(&session.address).await.unwrap();
    session.call("echo", json!({"message": "x"})).await.unwrap();

    home.skep(&["rm", "example"]).ok();
    assert!(home.find("example").is_none());
    for left in [
        "state/skep/runconfigs/example.json",
        "data/skep/statuses/example.json",
        "state/skep/sessions/example.redb",
        "data/skep/homes/example",
    ] {
        assert!(!home.path(left).exists(), "{left}");
    }
    let pid = home.daemon().unwrap();
    home.skep(&["daemon", "stop"]).ok();
    until("the daemon has ended", || !is_alive(pid)).await;
    assert!(home.processes().is_empty(), "{:?}", home.processes());
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_leaves_nothing() {
    let home = Home::new();
    home.run(&["example"]);
    for (args, parts) in [
        (&["run", "example"][..], &["'example' already exists", "skep rm example"][..]),
        (&["run", "--", "no-such-program-anywhere"], &["no program named", "PATH"]),
        (
            &["run", "--name", "dies", "--", "sh", "-c", "echo the database is away >&2; exit 3"],
            &["status 3", "the database is away"],
        ),
        (&["run", "--name", "mute", "--", "cat", "/etc/hostname"], &["ended", "mute"]),
        (
            &["run", "--name", "shown", "--permission-profile", "/no/such", "--", "cat"],
            &["/no/such", "profile"],
        ),
        (&["run", "--name", "shown", "-v", "/no/such:/x", "--", "cat"], &["/no/such does not exist"]),
        (
            &["run", "--name", "shown", "--secret", "nobody-knows,target=A", "--", "cat"],
            &["nobody-knows", "set it"],
        ),
        (&["run", "http://127.0.0.1:9/mcp"], &["127.0.0.1:9"]),
        (&["stop", "nobody"], &["no workload named \"nobody\"", "skep list --all"]),
        (&["start", "nobody"], &["no workload named \"nobody\""]),
        (&["rm", "nobody"], &["no workload named \"nobody\""]),
        (&["status", "nobody"], &["no workload named \"nobody\""]),
        (&["logs", "nobody"], &["no log of \"nobody\""]),
        (&["export", "nobody", "/tmp/never-written"], &["no workload named \"nobody\""]),
        (&["run", "--workers", "2", "--name", "w", "example"], &["--foreground"]),
        (
            &["run", "--store", "redis://u:secretpassword@127.0.0.1:1", "--name", "w", "example"],
            &["password"],
        ),
    ] {
        let said = home.skep(args);
        let error = if args[..3.min(args.len())].contains(&"mute") {
            format!("{}{}", said.err, "mute ended")
        } else {
            said.err.clone()
        };
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        for part in parts {
            assert!(error.contains(part), "{args:?}: {part:?} is not in {error}");
        }
        assert!(!error.contains("secretpassword"), "{error}");
    }
    let names: Vec<_> = home.list(&["--all"]).iter().map(|view| view["name"].clone()).collect();
    assert_eq!(names, ["example"]);
}

#[tokio::test]
async fn a_killed_daemon_takes_its_servers_along_and_the_next_one_brings_them_back_with_their_sessions() {
    let home = Home::new();
    let url = home.run(&["example"]);
    home.run(&["example", "--name", "other"]);
    home.skep(&["stop", "other"]).ok();
    let mut session = Session::open(&url).await.unwrap();
    session.call("echo", json!({"message": "x"})).await.unwrap();
    home.kill_daemon().await;
    // As after a reboot: nothing runs, and sockets are gone.
    until("its servers are dead", || home.processes().is_empty()).await;
    std::fs::remove_dir_all(home.path("state/skep/run")).unwrap();
    until("what ran runs again", || home.find("example").is_some_and(|view| view["status"] == "running"))
        .await;
    assert_eq!(home.find("example").unwrap()["url"], url);
    assert_eq!(home.find("other").unwrap()["status"], "stopped");
    let id = session.id.clone();
    session.connection = testkit::Connection::open(&session.address).await.unwrap();
    assert!(session.call("echo", json!({"message": "y"})).await.unwrap().contains('y'));
    assert_eq!(session.id, id);
}

#[tokio::test]
async fn commands_at_once_end_in_what_one_order_of_them_explains() {
    let home = Home::new();
    home.run(&["example", "--name", "a"]);
    let mut chance = fastrand::Rng::with_seed(5);
    let commands: Vec<_> = (0..50)
        .map(|_| {
            let name = ["a", "b", "c"][chance.usize(..3)];
            let args = match chance.usize(..4) {
                0 | 1 => vec!["run", "--format", "json", "--name", name, "example"],
                2 => vec!["stop", name],
                _ => vec!["rm", name],
            };
            let mut command = home.command(&args);
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            (name, args[0], command.spawn().unwrap())
        })
        .collect();
    // Of each name: how often it was made, and removed.
    let mut balance: BTreeMap<&str, i64> = BTreeMap::from([("a", 1), ("b", 0), ("c", 0)]);
    for (name, what, command) in commands {
        let said = command.wait_with_output().unwrap();
        // A server that somebody else stops or removes while it starts was made all the same.
        let was_made = String::from_utf8_lossy(&said.stderr).contains("meanwhile");
        *balance.get_mut(name).unwrap() += match what {
            "run" if said.status.success() || was_made => 1,
            "rm" if said.status.success() => -1,
            _ => 0,
        };
    }
    let views = home.list(&["--all"]);
    for (name, balance) in balance {
        let found = views.iter().filter(|view| view["name"] == name).count();
        assert_eq!(balance, i64::try_from(found).unwrap(), "{name}");
    }
    for view in &views {
        let status = view["status"].as_str().unwrap();
        assert!(["running", "stopped"].contains(&status), "{view}");
        let answers = Session::open(view["url"].as_str().unwrap()).await.is_ok();
        assert_eq!(answers, status == "running", "{view}");
    }
}

#[tokio::test]
async fn twenty_servers_are_one_process_of_skeps() {
    let home = Home::new();
    for number in 0..20 {
        home.run(&["example", "--isolation", "none", "--name", &format!("s{number}")]);
    }
    assert_eq!(home.list(&[]).len(), 20);
    let skeps = home.processes().into_iter().filter(|(_, line)| !line.contains("example")).count();
    assert_eq!(skeps, 1, "{:?}", home.processes());
    let began = Instant::now();
    home.skep(&["list"]).ok();
    println!("list took {:?}", began.elapsed());
    home.skep(&["stop", "--all"]).ok();
    assert!(home.list(&[]).is_empty());
    home.skep(&["start", "--all"]).ok();
    assert_eq!(home.list(&[]).len(), 20);
    home.skep(&["rm", "--group", "default"]).ok();
    assert!(home.list(&["--all"]).is_empty());
}

#[tokio::test]
async fn what_is_exported_runs_again_and_keeps_what_skep_does_not_know() {
    let home = Home::new();
    home.run(&["example", "--session-ttl", "90s", "--resend-tool", "add"]);
    let file = home.path("example.json");
    home.skep(&["export", "example", file.to_str().unwrap()]).ok();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((&config["session_ttl"], &config["skep"]["resend_tools"]), (&json!("1m30s"), &json!(["add"])));
    config["from_the_future"] = json!({"a": 1});
    config["name"] = json!("again");
    config["port"] = json!(0);
    std::fs::write(&file, config.to_string()).unwrap();
    let url = home.run(&["--from-config", file.to_str().unwrap()]);
    Session::open(&url).await.unwrap();
    home.skep(&["stop", "again"]).ok();
    home.skep(&["export", "again", file.to_str().unwrap()]).ok();
    let config: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(config["from_the_future"], json!({"a": 1}));
    assert!(config["port"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_file_that_nobody_can_read_is_put_aside_and_the_others_go_on() {
    let home = Home::new();
    home.run(&["example", "--name", "good"]);
    home.run(&["example", "--name", "bad"]);
    home.skep(&["daemon", "stop"]).ok();
    std::fs::write(home.path("state/skep/runconfigs/bad.json"), "{\"name\": ").unwrap();
    until("the other one runs", || home.find("good").is_some_and(|view| view["status"] == "running")).await;
    assert!(home.find("bad").is_none());
    let log = std::fs::read_to_string(home.path("data/skep/logs/daemon/daemon.log")).unwrap();
    assert!(log.contains("bad.json") && log.contains("could not be read"), "{log}");
    let files = std::fs::read_dir(home.path("state/skep/runconfigs")).unwrap().flatten();
    let aside = files.filter(|file| file.file_name().to_str().unwrap().starts_with("bad.json.corrupt"));
    assert_eq!(aside.count(), 1, "what was in it is kept");
}

#[tokio::test]
async fn logs_are_shown_followed_and_pruned() {
    let home = Home::new();
    let script = "echo one >&2; echo two >&2; exec \"$0\" example";
    let skep = home.command(&[]).get_program().to_str().unwrap().to_owned();
    let args = ["--isolation", "none", "--name", "talks", "--", "sh", "-c", script, &skep];
    home.run(&args);
    let lines = home.skep(&["logs", "talks"]).ok();
    assert!(lines.starts_with("one\ntwo\n"), "{lines}");
    assert_eq!(home.skep(&["logs", "talks", "--tail", "1"]).ok(), "two\n");
    assert_eq!(home.skep(&["logs", "talks", "--since", "2030-01-01T00:00:00Z"]).ok(), "");
    assert!(home.skep(&["logs", "talks", "-t"]).ok().starts_with("20"));
    assert!(home.skep(&["logs", "--proxy", "talks"]).ok().contains("status=running"));
    let mut command = home.command(&["logs", "--follow", "--tail", "0", "talks"]);
    command.stderr(Stdio::null());
    let mut following = testkit::Program::start(command).unwrap();
    // Another session's process says the same again.
    let url = home.find("talks").unwrap()["url"].as_str().unwrap().to_owned();
    let more = async {
        for _ in 0..20 {
            Session::open(&url).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    more.await;
    assert_eq!(following.line().unwrap(), "one");
    assert_eq!(home.skep(&["logs", "prune"]).ok(), "No orphaned log files found to prune\n");
    home.skep(&["rm", "talks"]).ok();
    assert!(home.skep(&["logs", "prune"]).ok().contains("talks.log"));
    assert!(!home.path("data/skep/logs/talks.log").exists());
}

#[tokio::test]
async fn a_server_that_starts_can_be_stopped_and_one_that_never_answers_takes_no_minute_of_others() {
    let home = Home::new();
    let mut starting = home.command(&["run", "--name", "slow", "--", "sleep", "1000"]);
    let mut starting = starting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("it starts", || home.find("slow").is_some_and(|view| view["status"] == "starting")).await;
    let began = Instant::now();
    home.skep(&["stop", "slow"]).ok();
    assert_eq!(home.find("slow").unwrap()["status"], "stopped");
    home.skep(&["rm", "slow"]).ok();
    assert!(!starting.wait().unwrap().success(), "who started it is told");
    assert!(began.elapsed() < Duration::from_secs(40), "nobody waited for it: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_run_that_fails_takes_nothing_of_others_along() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let kept = home.path("data/skep/homes/example/kept");
    std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
    std::fs::write(&kept, "").unwrap();
    let error = home.skep(&["run", "--proxy-port", &port, "example"]).error();
    assert!(error.contains("in use"), "{error}");
    assert!(kept.exists() && home.find("example").is_none());
}

#[tokio::test]
async fn what_a_removal_left_that_was_cut_short_is_no_workload_and_in_nobodys_way() {
    let home = Home::new();
    let left = home.path("data/skep/statuses/left.json");
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    let status = json!({"status": "removing", "created_at": "2026-01-01T00:00:00Z"});
    std::fs::write(&left, status.to_string()).unwrap();
    assert!(home.list(&["--all"]).is_empty() && !left.exists());
    std::fs::write(&left, status.to_string()).unwrap();
    home.run(&["example", "--name", "left"]);
    home.skep(&["daemon", "stop"]).ok();
    assert_eq!(home.find("left").map(|view| view["name"].clone()), Some(json!("left")));
}

#[tokio::test]
async fn another_login_of_the_same_user_has_the_same_daemon() {
    let home = Home::new();
    home.run(&["example"]);
    let mut other = home.command(&["list", "--format", "json"]);
    let (out, _, _) = testkit::program::run(
        {
            other.env("XDG_RUNTIME_DIR", home.path("elsewhere"));
            other
        },
        Duration::from_secs(60),
    )
    .unwrap();
    let views: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(views.len(), 1);
    assert_eq!(home.find("example").unwrap()["status"], "running");
}

#[tokio::test]
async fn a_name_that_is_none_asks_for_nothing() {
    let home = Home::new();
    home.run(&["example"]);
    for name in ["a/b", "", "a b", "example?x", "../example"] {
        let error = home.skep(&["status", name]).error();
        assert!(error.contains("there is no workload named"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_brought_back_is_tried_again_and_given_up_visibly_only_then() {
    let home = Home::new();
    let needed = home.path("needed");
    std::fs::write(&needed, "").unwrap();
    let command = home.command(&[]);
    let skep = command.get_program().to_str().unwrap();
    let script =
        format!("test -e {} || {{ echo it is away >&2; exit 3; }}; exec {skep} example", needed.display());
    home.run(&["--name", "needy", "--isolation", "none", "--", "sh", "-c", &script]);
    home.kill_daemon().await;
    std::fs::remove_file(&needed).unwrap();
    let mut seen = String::new();
    until("it is tried again", || {
        seen = home.find("needy").map_or_else(String::new, |view| view.to_string());
        seen.contains("of 10 failed")
    })
    .await;
    assert!(seen.contains(r#""status":"starting""#) && seen.contains("it is away"), "{seen}");
    std::fs::write(&needed, "").unwrap();
    until("it runs", || home.find("needy").is_some_and(|view| view["status"] == "running")).await;
    // Whoever stops it while it is tried again has it stopped.
    home.kill_daemon().await;
    std::fs::remove_file(&needed).unwrap();
    until("it is tried again", || home.find("needy").is_some_and(|view| view.to_string().contains("failed")))
        .await;
    home.skep(&["stop", "needy"]).ok();
    assert_eq!(home.find("needy").unwrap()["status"], "stopped");
    assert!(home.skep(&["start", "needy"]).error().contains("it is away"));
}

/// The limits of a process, as the kernel tells them.
fn open_files(pid: u32) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().skip(3).map(str::to_owned);
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[tokio::test]
async fn the_daemon_opens_as_many_files_as_it_may_and_its_servers_as_many_as_they_were_given() {
    let home = Home::new();
    let run = home.command(&["run", "example", "--isolation", "none"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -Sn 512; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    limited.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (_, error, status) = testkit::program::run(limited, Duration::from_secs(60)).unwrap();
    assert!(status.success(), "{error}");
    let daemon = home.daemon().unwrap();
    let (soft, hard) = open_files(daemon);
    assert!(soft == hard && soft != "512", "{soft} {hard}");
    let servers = home.processes().into_iter().filter(|(pid, _)| *pid != daemon);
    let limits: Vec<_> = servers.map(|(pid, _)| open_files(pid)).collect();
    assert_eq!(limits, [("512".to_owned(), hard)]);
}

#[tokio::test]
async fn each_change_is_told_to_whoever_listens() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    let home = Home::new();
    home.run(&["example"]);
    let socket = home.path("state/skep/run/daemon.sock");
    let mut listener = BufReader::new(tokio::net::UnixStream::connect(socket).await.unwrap());
    listener.write_all(b"GET /v1/events HTTP/1.1\r\nHost: skep\r\n\r\n").await.unwrap();
    let mut line = String::new();
    while line.trim() != "" || line.is_empty() {
        line.clear();
        listener.read_line(&mut line).await.unwrap();
    }
    home.skep(&["stop", "example"]).ok();
    let mut told = Vec::new();
    while told.last().is_none_or(|status| status != "stopped") {
        line.clear();
        listener.read_line(&mut line).await.unwrap();
        // Between them are the lengths of the chunks.
        if let Ok(view) = serde_json::from_str::<Value>(&line)
            && view["name"] == "example"
        {
            told.push(view["status"].as_str().unwrap().to_owned());
        }
    }
    told.dedup();
    assert_eq!(told, ["stopping", "stopped"]);
}
