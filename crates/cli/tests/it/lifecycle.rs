//! From start to end: what cannot start says why, what runs is kept running, and nothing is left behind however skep
//! ends.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use testkit::mcp::Session;

use crate::harness::{children, is_alive, output, run, until};

#[test]
fn a_command_that_cannot_start_says_why() {
    for (args, parts) in [
        (&["run", "--foreground", "--", "no-such-program-anywhere"][..], &["no program named", "PATH"][..]),
        (&["run", "--foreground", "--", "/no/such/file"], &["no program at /no/such/file"]),
        (
            &["run", "--foreground", "--cwd", "/no/such/folder", "--", "cat"],
            &["/no/such/folder does not exist"],
        ),
        (
            &["run", "--foreground", "--isolation", "none", "--cwd", "/no/such/folder", "--", "cat"],
            &["/no/such/folder", "cannot be entered"],
        ),
        (
            &["run", "--foreground", "--", "sh", "-c", "echo first; echo the database is away >&2; exit 3"],
            &["exited with status 3", "the database is away"],
        ),
        (
            &[
                "run",
                "--foreground",
                "--transport",
                "streamable-http",
                "--target-port",
                "1",
                "--",
                "no-such-program-anywhere",
            ],
            &["no program named"],
        ),
    ] {
        let (out, err, code) = output(args);
        assert_eq!(code, Some(1), "{args:?}: {err}");
        // One that ends right after its start may have been told of by then.
        assert!(out.is_empty() || args.contains(&"sh"), "{args:?}: {out}");
        assert!(err.contains("Error: "), "{err}");
        for part in parts {
            assert!(err.contains(part), "{args:?}: {part:?} is not in {err}");
        }
    }
}

#[test]
fn arguments_that_make_no_sense_are_explained() {
    for (args, part) in [
        (&["run", "--foreground", "time"][..], "there is no server named \"time\""),
        (&["run", "--foreground", "npx://a;b"], "is no name of an npm package"),
        (&["run", "--foreground", "ftp://x/"], "http or https"),
        (&["run", "--foreground", "--name", "a b", "example"], "is not a workload name"),
        (&["run", "--foreground", "--transport", "sse", "--", "cat"], "--target-port"),
        (&["run", "--foreground", "--env", "NO_SUCH_VARIABLE_HERE", "--", "cat"], "no such variable"),
        (&["run", "--foreground", "--allowed-origins", "nonsense", "example"], "is not an origin"),
        (&["run", "--foreground", "--host", "no.such.host.invalid", "example"], "no.such.host.invalid"),
        (&["proxy", "x", "--target-uri", "localhost:1"], "scheme must be http or https"),
        (&["proxy", "x", "--target-uri", "http://no.such.host.invalid/mcp"], "no.such.host.invalid"),
        (&["proxy", "x", "--target-uri", "http://u:secret@h/mcp"], "user name or password"),
        (&["run", "--foreground", "--session-key-file", "/no/such/key", "example"], "openssl rand"),
        (&["run", "--foreground", "--tools-override", "/no/such/file", "example"], "could not be read"),
    ] {
        let (_, err, code) = output(args);
        assert_eq!(code, Some(1), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {part:?} is not in {err}");
        assert!(!err.contains("secret"), "{err}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_said_to_be() {
    let (_skep, url) = run(&["example"]);
    let port = url.rsplit_once(':').unwrap().1.trim_end_matches("/mcp").to_owned();
    let (_, err, code) = output(&["run", "--foreground", "example", "--port", &port]);
    assert_eq!(code, Some(1));
    assert!(err.contains("is in use") && err.contains("port 0"), "{err}");
}

#[tokio::test]
async fn nothing_is_left_behind_however_skep_ends() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::KILL] {
        let (mut skep, url) = run(&["example"]);
        let mut session = Session::open(&url).await.unwrap();
        session.call("echo", json!({"message": "x"})).await.unwrap();
        until("the next process is ready", || children(skep.pid()).len() == 2).await;
        let processes = children(skep.pid());
        skep.signal(signal).unwrap();
        drop(session);
        let status = skep.wait(Duration::from_secs(20)).unwrap();
        if signal != Signal::KILL {
            assert_eq!(status.code(), Some(0), "{signal:?}");
        }
        until("all processes are gone", || !processes.iter().any(|pid| is_alive(*pid))).await;
    }
}

#[tokio::test]
async fn a_stop_lets_a_call_under_way_end() {
    let (mut skep, url) = run(&["example"]);
    let mut session = Session::open(&url).await.unwrap();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "slow", "arguments": {"steps": 10, "delay_ms": 100}}});
    let request = session.request(&call.to_string());
    session.connection.send(&request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    skep.signal(Signal::TERM).unwrap();
    let answer = session.connection.response().await.unwrap();
    assert!(answer.json().unwrap()["result"].is_object(), "{}", answer.text());
    assert_eq!(skep.wait(Duration::from_secs(20)).unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_server_that_serves_http_itself_is_kept_running() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (skep, url) = run(&["example", "--transport", "streamable-http", "--target-port", &port]);
    let mut session = Session::open(&url).await.unwrap();
    assert_eq!(session.call("add", json!({"a": 1, "b": 1})).await.unwrap(), "2");
    let [server] = children(skep.pid())[..] else { panic!("one process") };
    kill_process(Pid::from_raw(i32::try_from(server).unwrap()).unwrap(), Signal::KILL).unwrap();
    until("another process runs", || children(skep.pid()).first().is_some_and(|pid| *pid != server)).await;
    for _ in 0..500 {
        if let Ok(mut session) = Session::open(&url).await {
            assert_eq!(session.call("add", json!({"a": 1, "b": 2})).await.unwrap(), "3");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the server does not come back");
}

#[tokio::test]
async fn a_command_gets_the_environment_and_directory_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("env");
    std::fs::write(&file, "FROM_FILE=one two\nBOTH=file\n").unwrap();
    let script =
        r#"printf '%s|%s|%s|%s|%s' "$FROM_FILE" "$BOTH" "$GITHUB_TOKEN" "$PASSED" "$PWD" >&2; exit 9"#;
    let mut command = crate::harness::command(&[
        "run",
        "--foreground",
        "--env-file",
        file.to_str().unwrap(),
        "--env",
        "BOTH=flag",
        "--env",
        "PASSED",
        "--cwd",
        folder.path().to_str().unwrap(),
        "--",
        "sh",
        "-c",
        script,
    ]);
    command.env("GITHUB_TOKEN", "top-secret").env("PASSED", "on");
    let (_, err, _) = testkit::program::run(command, Duration::from_secs(30)).unwrap();
    let expect = format!("one two|flag||on|{}", folder.path().canonicalize().unwrap().display());
    assert!(err.contains(&expect), "{expect:?} is not in {err}");
}
