//! Addresses that change: one is taken by another server, and a name has others than before.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::mcp::{Session, split_url};
use testkit::{Connection, NameServer, Program, Tap};

use crate::harness::{
    Listener, command, error_of, free_port, initialize, listens, peer, post, proxy, raw, skep,
};
use crate::recovery::{begun, whoami};

/// An example server that writes a journal, and calls itself something.
fn server(address: &str, instance: &str, name: &str, journal: &Path) -> (Program, String) {
    let journal = journal.to_str().unwrap();
    let hosts = ["--allowed-hosts", "backend.test"];
    let named = ["example", "--http", address, "--instance", instance, "--server-name", name];
    skep(&[named.as_slice(), &hosts, &["--journal", journal]].concat())
}

fn kill(mut program: Program) {
    program.signal(Signal::KILL).unwrap();
    program.wait(Duration::from_secs(10)).unwrap();
}

/// The lines of a journal.
fn lines(journal: &Path) -> Vec<String> {
    let mut lines: Vec<_> = std::fs::read_to_string(journal).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Has the tool `record` write a line, with a secret of this session in the request's head.
async fn record(session: &Session, text: &str) -> Value {
    let secret = format!("Mcp-Session-Id: {}\r\nAuthorization: Bearer secret-{text}\r\n", session.id);
    let params = json!({"name": "record", "arguments": {"text": text}});
    let call = json!({"jsonrpc": "2.0", "id": text, "method": "tools/call", "params": params});
    post(&format!("http://{}{}", session.address, session.path), &secret, &call.to_string())
        .await
        .json()
        .unwrap()
}

#[tokio::test]
async fn a_server_that_takes_the_address_of_an_instance_serves_none_of_its_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let (own, strange) = (folder.path().join("own"), folder.path().join("strange"));
    let (a, a_url) = server("127.0.0.1:0", "a", "skep-example", &own);
    let (_b, b_url) = server("127.0.0.1:0", "b", "skep-example", &own);
    let (_skep, url) = proxy(&[&a_url, &b_url], &[]);
    let mut at_a = Vec::new();
    while at_a.len() < 6 {
        let mut session = Session::open(&url).await.unwrap();
        if whoami(&mut session).await["instance"] == "a" {
            at_a.push(session);
        }
    }
    let mut listener = Listener::open(&at_a[0], "").await;
    kill(a);
    let (_other, other_url) = server("127.0.0.1:0", "c", "another", &strange);
    let (other, _) = split_url(&other_url).unwrap();
    let (address, _) = split_url(&a_url).unwrap();
    let tap = Tap::start(&address, other.parse().unwrap()).await.unwrap();
    // The listener is the first to notice, and hears on.
    assert_eq!(listener.next().await.0["method"], "notifications/tools/list_changed");
    for (number, session) in at_a.iter_mut().enumerate() {
        let answer = record(session, &number.to_string()).await;
        assert!(answer["result"].is_object(), "{answer}");
        assert_eq!(whoami(session).await["instance"], "b");
    }
    assert_eq!(lines(&own), ["0", "1", "2", "3", "4", "5"], "once each");
    assert_eq!(lines(&strange), [""; 0]);
    // Who is at an address that was given is not known before it is asked to begin a session, which is when the other
    // instance has more to do: after three sessions at the latest. Then it hears no more.
    let heard = tap.heard().await;
    let told: Vec<_> = (0..6).filter(|number| heard.contains(&format!("Bearer secret-{number}"))).collect();
    assert!(told.iter().all(|number| *number < 3), "secrets of {told:?}");
}

#[tokio::test]
async fn where_only_another_server_is_left_clients_are_to_begin_again() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    for python in [None, peer("SKEP_TEST_PYTHON")] {
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let (own, own_url) = server(&address, "a", "skep-example", &journal);
        let (_skep, url) = proxy(&[&own_url], &[]);
        let session = Session::open(&url).await.unwrap();
        kill(own);
        let _other = match python {
            None => server(&address, "b", "another", &journal).0,
            Some(python) => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/server_py.py");
                let mut command = Command::new(python);
                command.arg(script).arg(port.to_string()).stdin(Stdio::null());
                let program = Program::start(command).unwrap();
                listens(port).await;
                program
            }
        };
        let header = format!("Mcp-Session-Id: {}\r\n", session.id);
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"record","arguments":{"text":"x"}}}"#;
        assert_eq!(error_of(&post(&url, &header, call).await), (404, json!(-32001), json!(1)));
        let answer = post(&url, "", &initialize(2)).await.json().unwrap();
        let name = &answer["result"]["serverInfo"]["name"];
        assert!(name.is_string() && name != "skep-example", "{answer}");
    }
    assert_eq!(lines(&journal), [""; 0], "nobody carried it out");
}

/// Runs a test once more in a network and a mount namespace of its own. True for the test that is in there; the other
/// has nothing more to do.
fn is_alone(test: &str) -> bool {
    if std::env::var("SKEP_TEST_ALONE").is_ok_and(|alone| alone == test) {
        return true;
    }
    let namespaces = ["--net", "--mount"];
    let can = Command::new("unshare").args(namespaces).arg("true").stderr(Stdio::null()).status();
    let can = can.is_ok_and(|status| status.success());
    let must = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(can || !must, "network namespaces cannot be made here: run the tests as root");
    if !can {
        println!("skipped: network namespaces cannot be made here; root can");
        return false;
    }
    let mut inside = Command::new("unshare");
    inside.args(namespaces).arg(std::env::current_exe().unwrap());
    inside.args(["--exact", test, "--nocapture"]).env("SKEP_TEST_ALONE", test);
    let (out, err, status) = testkit::program::run(inside, Duration::from_secs(120)).unwrap();
    assert!(status.success(), "{out}\n{err}");
    false
}

/// In a namespace of our own: what is needed to ask the name server at 127.0.0.1 for names, and nothing else.
fn ask_here(folder: &Path) {
    let file = folder.join("resolv.conf");
    std::fs::write(&file, "nameserver 127.0.0.1\noptions timeout:1\n").unwrap();
    let run = |program: &str, args: &[&str]| {
        let status = Command::new(program).args(args).status().unwrap();
        assert!(status.success(), "{program} {args:?}");
    };
    run("ip", &["link", "set", "lo", "up"]);
    run("mount", &["--bind", file.to_str().unwrap(), "/etc/resolv.conf"]);
}

/// What a gauge says.
async fn gauge(metrics: &str, name: &str) -> String {
    let (address, _) = split_url(metrics).unwrap();
    let text =
        raw(metrics, format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_default().to_owned()
}

/// Waits until the proxy knows so many instances.
async fn instances(metrics: &str, count: &str) {
    for _ in 0..3000 {
        if gauge(metrics, "skep_instances").await == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not {count} instances within half a minute");
}

/// Asks a session where it lives, on connections of their own, all at once; nobody is told of an error.
async fn all_at_once(session: &Session) -> Vec<Value> {
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut beside = session.beside(Connection::open(&session.address).await.unwrap());
        running.spawn(async move { whoami(&mut beside).await });
    }
    running.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_whose_addresses_change_is_followed_and_loses_no_session() {
    if !is_alone("places::a_name_whose_addresses_change_is_followed_and_loses_no_session") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    ask_here(folder.path());
    let journal = folder.path().join("journal");
    let ip = |last: u8| Ipv4Addr::new(127, 0, 0, last);
    let start = |last: u8| server(&format!("127.0.0.{last}:7000"), &last.to_string(), "s", &journal).0;
    let names = NameServer::start(([127, 0, 0, 1], 53).into(), &[ip(2)]).unwrap();
    let two = start(2);
    let mut skep = Program::start(command(&[
        "proxy",
        "test",
        "--format",
        "json",
        "--target-uri",
        "http://backend.test:7000/mcp",
        "--metrics",
        "127.0.0.1:0",
        "--store",
        "memory",
    ]))
    .unwrap();
    let told: Value = serde_json::from_str(&skep.line().unwrap()).unwrap();
    let (url, metrics) = (told["url"].as_str().unwrap(), told["metrics_url"].as_str().unwrap());
    let mut old = [Session::open(url).await.unwrap(), Session::open(url).await.unwrap()];
    for session in &mut old {
        assert_eq!(whoami(session).await["instance"], "2");
        assert_eq!(session.call("counter", json!({})).await.unwrap(), "1");
    }

    // More: new sessions go there, those that are stay.
    let three = start(3);
    names.now(&[ip(2), ip(3)]);
    instances(metrics, "2").await;
    let mut new = Session::open(url).await.unwrap();
    assert_eq!(whoami(&mut new).await["instance"], "3");

    // Less: an address that is withdrawn gets nothing new, and what it holds goes on until it is gone.
    names.now(&[ip(3)]);
    instances(metrics, "1").await;
    for session in &mut old {
        assert_eq!(session.call("counter", json!({})).await.unwrap(), "2");
        assert_eq!(whoami(&mut Session::open(url).await.unwrap()).await["instance"], "3");
    }
    let before = begun(&mut new).await;
    kill(two);
    for session in &mut old {
        let answers = all_at_once(session).await;
        assert!(answers.iter().all(|who| *who == answers[0] && who["instance"] == "3"), "{answers:?}");
        assert_eq!(session.call("counter", json!({})).await.unwrap(), "1");
    }
    assert_eq!(begun(&mut new).await, before + 2, "each moved once");

    // All gone, and the name with them: requests wait, and are answered from where it is then.
    names.now(&[]);
    kill(three);
    let waiting = tokio::spawn(async move { (old[0].call("counter", json!({})).await, old) });
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!waiting.is_finished());
    let _four = start(4);
    names.now(&[ip(4)]);
    let (count, mut old) = waiting.await.unwrap();
    assert_eq!(count.unwrap(), "1");
    for session in old.iter_mut().chain([&mut new]) {
        assert_eq!(whoami(session).await["instance"], "4");
    }
}
