//! Stores that replicas share: Redis alone, with sentinels, as a cluster, with a user of its own; away, and back.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::Program;
use testkit::mcp::Session;

use crate::harness::{Listener, at, error_of, free_port, listens, output, proxy, redis, redis_with, until};
use crate::recovery::{Backend, all_are_served_by_one, begun, whoami};

/// Two proxies that share a Redis and their keys, in front of these.
struct Replicas {
    _folder: tempfile::TempDir,
    proxies: [Program; 2],
    urls: [String; 2],
}

fn replicas(targets: &[&str], redis_port: u16) -> Replicas {
    replicas_with(targets, &format!("redis://127.0.0.1:{redis_port}"))
}

fn replicas_with(targets: &[&str], store: &str) -> Replicas {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "A".repeat(43) + "=\n").unwrap();
    let args = ["--store", store, "--session-key-file", keys.to_str().unwrap()];
    let ((one, first), (two, second)) = (proxy(targets, &args), proxy(targets, &args));
    Replicas { _folder: folder, proxies: [one, two], urls: [first, second] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_make_one_new_backend_session() {
    let port = free_port();
    let Some(_redis) = redis(port) else { return };
    let (mut a, mut b) = (Backend::start("a"), Backend::start("b"));
    let replicas = replicas(&[&a.url(), &b.url()], port);
    let mut session = Session::open(&replicas.urls[0]).await.unwrap();
    let home = whoami(&mut session).await;
    let mut others = Vec::new();
    for number in 0..64 {
        let mut other = at(&session, &replicas.urls[number % 2]).await;
        assert_eq!(whoami(&mut other).await["sessionId"], home["sessionId"], "any replica serves it");
        others.push(other);
    }
    if home["instance"] == "a" {
        a.kill()
    } else {
        b.kill()
    }
    all_are_served_by_one(others).await;
    assert_eq!(begun(&mut session).await, 1);
}

#[tokio::test]
async fn what_one_replica_ended_no_other_revives() {
    let port = free_port();
    let Some(_redis) = redis(port) else { return };
    let backend = Backend::start("a");
    let replicas = replicas(&[&backend.url()], port);
    let mut here = Session::open(&replicas.urls[0]).await.unwrap();
    let mut there = at(&here, &replicas.urls[1]).await;
    whoami(&mut there).await;
    let delete = here.bare("DELETE", "");
    assert!(here.connection.ask(&delete).await.unwrap().status < 300);
    let answer = there.send(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await.unwrap();
    assert_eq!(error_of(&answer), (404, json!(-32001), json!(1)));
}

#[tokio::test]
async fn sessions_go_on_while_redis_is_away_and_are_kept_when_it_is_back() {
    let port = free_port();
    let Some(mut server) = redis(port) else { return };
    let mut backend = Backend::start("a");
    let replicas = replicas(&[&backend.url()], port);
    let mut old = Session::open(&replicas.urls[0]).await.unwrap();
    server.signal(Signal::KILL).unwrap();
    server.wait(Duration::from_secs(10)).unwrap();
    assert_eq!(old.call("counter", json!({})).await.unwrap(), "1");
    let mut new = Session::open(&replicas.urls[0]).await.unwrap();
    backend.kill();
    backend.start_again();
    assert_eq!(new.call("counter", json!({})).await.unwrap(), "1", "rebuilt without the store");
    assert_eq!(old.call("counter", json!({})).await.unwrap(), "1");
    let _back = redis(port).unwrap();
    // What is kept now is where the session lives now.
    let id = new.id.clone();
    let kept = || {
        let mut connection = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        use std::io::{Read, Write};
        connection.write_all(b"DBSIZE\r\n").unwrap();
        let mut answer = [0; 16];
        let read = connection.read(&mut answer).unwrap();
        answer[..read].starts_with(b":2")
    };
    until("both sessions are kept", kept).await;
    assert!(!id.is_empty());
    backend.kill();
    backend.start_again();
    let mut there = at(&new, &replicas.urls[1]).await;
    assert_eq!(there.call("counter", json!({})).await.unwrap(), "1");
}

#[tokio::test]
async fn a_known_session_asks_the_store_nothing() {
    let port = free_port();
    let Some(_redis) = redis(port) else { return };
    let backend = Backend::start("a");
    let replicas = replicas(&[&backend.url()], port);
    let mut session = Session::open(&replicas.urls[0]).await.unwrap();
    let commands = || {
        use std::io::{Read, Write};
        let mut connection = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        connection.write_all(b"INFO stats\r\nQUIT\r\n").unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    let before = commands();
    for _ in 0..500 {
        session.call("echo", json!({"message": "x"})).await.unwrap();
    }
    // Those of this question, and of a round that says which sessions are in use.
    assert!(commands() - before < 20, "{} commands for 500 calls", commands() - before);
}

/// One replica begins a session and rebuilds it, the other goes on with it, and then rebuilds it too.
async fn is_shared(store: &str) {
    let mut backend = Backend::start("a");
    let replicas = replicas_with(&[&backend.url()], store);
    let mut here = Session::open(&replicas.urls[0]).await.unwrap();
    here.ask("resources/subscribe", json!({"uri": "test://watched-resource"})).await.unwrap();
    backend.kill();
    backend.start_again();
    assert_eq!(here.call("counter", json!({})).await.unwrap(), "1");
    let mut there = at(&here, &replicas.urls[1]).await;
    assert_eq!(there.call("counter", json!({})).await.unwrap(), "2", "the same backend session");
    backend.kill();
    backend.start_again();
    assert_eq!(there.call("counter", json!({})).await.unwrap(), "1");
    assert_eq!(here.call("counter", json!({})).await.unwrap(), "2", "and again");
}

#[tokio::test]
async fn a_stream_goes_on_at_another_replica_behind_its_last_event() {
    let port = free_port();
    let Some(_redis) = redis(port) else { return };
    let backend = Backend::start("a");
    let mut replicas = replicas(&[&backend.url()], port);
    let mut here = Session::open(&replicas.urls[0]).await.unwrap();
    here.ask("resources/subscribe", json!({"uri": "test://watched-resource"})).await.unwrap();
    let mut listener = Listener::open(&here, "").await;
    here.call("touch", json!({})).await.unwrap();
    let (told, last) = listener.next().await;
    assert_eq!(told["params"]["uri"], "test://watched-resource");
    replicas.proxies[0].signal(Signal::KILL).unwrap();
    replicas.proxies[0].wait(Duration::from_secs(10)).unwrap();
    let mut there = at(&here, &replicas.urls[1]).await;
    // While nobody listens.
    there.call("touch", json!({})).await.unwrap();
    let mut listener = Listener::open(&there, &format!("Last-Event-ID: {last}\r\n")).await;
    let (told, next) = listener.next().await;
    assert_eq!(told["params"]["uri"], "test://watched-resource", "nothing is missing");
    assert_ne!(next, last);
}

/// A command to a Redis, and what it answers.
fn redis_cli(port: u16, args: &[&str]) -> String {
    let mut cli = Command::new("redis-cli");
    cli.args(["-p", &port.to_string()]).args(args);
    testkit::program::run(cli, Duration::from_secs(60)).unwrap().0
}

#[tokio::test]
async fn a_user_with_few_rights_is_enough() {
    let port = free_port();
    let Some(_redis) = redis(port) else { return };
    // As docs/guide.md says.
    let rights = "~skep:* &skep:* +hget +hset +hmget +pexpire +get +set +eval +evalsha +script|load +publish +subscribe +ping +select";
    let user = ["ACL", "SETUSER", "skep", "on", ">pass"];
    let words: Vec<&str> = user.into_iter().chain(rights.split(' ')).collect();
    assert_eq!(redis_cli(port, &words).trim(), "OK");
    redis_cli(port, &["CONFIG", "SET", "requirepass", "other"]);
    is_shared(&format!("redis://skep:pass@127.0.0.1:{port}")).await;
}

#[tokio::test]
async fn a_cluster_is_a_store() {
    let ports = [free_port(), free_port(), free_port()];
    let mut nodes = Vec::new();
    for port in ports {
        let file = format!("cluster-{port}.conf");
        let bus = free_port().to_string();
        let args = ["--cluster-enabled", "yes", "--cluster-config-file", &file, "--cluster-port", &bus];
        let Some(node) = redis_with(port, &args) else { return };
        nodes.push(node);
    }
    let addresses = ports.map(|port| format!("127.0.0.1:{port}"));
    let mut create = vec!["--cluster", "create"];
    create.extend(addresses.iter().map(String::as_str));
    create.push("--cluster-yes");
    let created = redis_cli(ports[0], &create);
    assert!(created.contains("All 16384 slots covered"), "{created}");
    until("the cluster is one", || {
        ports.iter().all(|port| redis_cli(*port, &["CLUSTER", "INFO"]).contains("cluster_state:ok"))
    })
    .await;
    is_shared(&format!("redis-cluster://{},{}", addresses[0], addresses[1])).await;
}

#[tokio::test]
async fn sentinels_name_another_master_and_sessions_go_on() {
    let (master, replica, sentinel) = (free_port(), free_port(), free_port());
    let Some(mut first) = redis(master) else { return };
    let of = master.to_string();
    let Some(_second) = redis_with(replica, &["--replicaof", "127.0.0.1", &of]) else { return };
    until("the replica follows", || {
        redis_cli(replica, &["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    let file = format!("{}/sentinel-{sentinel}.conf", env!("CARGO_TARGET_TMPDIR"));
    let text = format!(
        "port {sentinel}\nbind 127.0.0.1\nsentinel monitor m 127.0.0.1 {master} 1\nsentinel down-after-milliseconds m 1000\nsentinel failover-timeout m 5000\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("redis-server");
    command.args([&*file, "--sentinel"]).stdin(Stdio::null()).stdout(Stdio::null());
    let _sentinel = Program::start(command).unwrap();
    listens(sentinel).await;
    let store = format!("redis-sentinel://127.0.0.1:{sentinel}/m");
    is_shared(&store).await;
    let mut backend = Backend::start("a");
    let replicas = replicas_with(&[&backend.url()], &store);
    let mut here = Session::open(&replicas.urls[0]).await.unwrap();
    until("the replica has it", || redis_cli(replica, &["DBSIZE"]).trim() != "0").await;
    first.signal(Signal::KILL).unwrap();
    first.wait(Duration::from_secs(10)).unwrap();
    until("there is another master", || {
        redis_cli(sentinel, &["SENTINEL", "get-master-addr-by-name", "m"]).contains(&replica.to_string())
    })
    .await;
    backend.kill();
    backend.start_again();
    assert_eq!(here.call("counter", json!({})).await.unwrap(), "1");
    // What could not be written when nobody was master is written when somebody is.
    let id = redis_cli(replica, &["KEYS", "skep:test:session:*"]);
    let keys: Vec<&str> = id.lines().collect();
    until("it is written", || {
        keys.iter().all(|key| redis_cli(replica, &["HGET", key, "epoch"]).trim() != "0")
    })
    .await;
    let mut there = at(&here, &replicas.urls[1]).await;
    assert_eq!(there.call("counter", json!({})).await.unwrap(), "2");
}

#[tokio::test]
async fn what_one_replica_does_the_other_hears_of() {
    let port = free_port();
    let Some(_redis) = redis(port) else { return };
    let mut backend = Backend::start("a");
    let replicas = replicas(&[&backend.url()], port);
    let mut here = Session::open(&replicas.urls[0]).await.unwrap();
    let mut there = at(&here, &replicas.urls[1]).await;
    whoami(&mut there).await;
    let epoch_there = || {
        let (lists, _, _) = output(&["sessions", "list", "--format", "json"]);
        let lists: Vec<Value> = serde_json::from_str(&lists).unwrap();
        let own = lists.iter().find(|list| list["pid"] == replicas.proxies[1].pid()).unwrap();
        own["sessions"].as_array().unwrap().first().map(|line| line["epoch"].as_u64().unwrap())
    };
    assert_eq!(epoch_there(), Some(0));
    backend.kill();
    backend.start_again();
    whoami(&mut here).await;
    until("the other knows where it lives", || epoch_there() == Some(1)).await;
    let delete = here.bare("DELETE", "");
    assert!(here.connection.ask(&delete).await.unwrap().status < 300);
    until("the other knows that it has ended", || epoch_there().is_none()).await;
}
