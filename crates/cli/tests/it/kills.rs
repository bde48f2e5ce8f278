//! The daemon killed at any moment of what it is asked, over and over: what it keeps stays readable, the next command
//! finishes or undoes what was begun, and in the end nothing is left. With processes, and with a container among them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::mcp::Session;

use crate::containers::{IMAGE, User};
use crate::harness::{is_alive, until};
use crate::home::Home;

/// A server that is run, stopped and removed.
struct Server<'a> {
    name: &'a str,
    /// What it is, for `run`.
    what: &'a str,
    /// How long an order to it takes at most, in milliseconds, or a little longer.
    takes: u64,
}

/// How long a runtime may take until it has done all that it was asked.
const CATCHING_UP: Duration = Duration::from_secs(180);

/// How often the daemon is killed, unless the environment says it.
fn kills(unless_said: usize) -> usize {
    std::env::var("SKEP_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(unless_said)
}

#[tokio::test]
async fn a_daemon_that_is_killed_at_any_moment_leaves_what_the_next_one_repairs() {
    let home = Home::new();
    let servers = ["one", "two", "three"].map(|name| Server { name, what: "example", takes: 60 });
    let mut chance = fastrand::Rng::with_seed(4);
    for round in 0..kills(25) {
        kill_amid_an_order(&home, &servers, &mut chance, round).await;
    }
    all_is_settled(&home).await;
    remove(&home, &servers);
    nothing_is_left(&home).await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_at_any_moment_of_a_container_leaves_none_behind() {
    for user in User::each() {
        let home = &user.home;
        let image = Server { name: &user.name, what: IMAGE, takes: 2500 };
        let process = Server { name: "process", what: "example", takes: 60 };
        let servers = [image, process];
        let mut chance = fastrand::Rng::with_seed(6);
        for round in 0..kills(6) {
            kill_amid_an_order(home, &servers, &mut chance, round).await;
            // What those who were killed had asked of the runtime it does all the same.
            if round % 10 == 9 {
                all_is_settled(home).await;
            }
        }
        all_is_settled(home).await;
        let view = home.find(&user.name);
        let runs = view.as_ref().is_some_and(|view| view["status"] == "running");
        let is_there = |_: &[Value]| user.has_container() == runs;
        caught_up(home, "there is a container where one runs, and only there", is_there).await;
        if let Some(view) = view.filter(|_| runs) {
            Session::open(view["url"].as_str().unwrap()).await.unwrap();
        }
        remove(home, &servers);
        caught_up(home, "its container is gone", |_| !user.has_container()).await;
        nothing_is_left(home).await;
    }
}

/// Orders something at random, kills the daemon meanwhile, and looks what the next command finds.
async fn kill_amid_an_order(home: &Home, servers: &[Server<'_>], chance: &mut fastrand::Rng, round: usize) {
    let server = &servers[chance.usize(..servers.len())];
    let args = match chance.usize(..4) {
        0 | 1 => vec!["run", "--name", server.name, server.what],
        2 => vec!["stop", server.name],
        _ => vec!["rm", server.name],
    };
    let pid = home.daemon();
    let mut command = home.command(&args);
    let mut command = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(chance.u64(..server.takes)));
    if let Some(pid) = pid.or_else(|| home.daemon()) {
        let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
        until("the daemon is dead", || !is_alive(pid)).await;
    }
    command.wait().unwrap();
    // The next command finds everything readable: what was begun is finished, or as before.
    for view in home.list(&["--all"]) {
        let status = view["status"].as_str().unwrap();
        assert!(!["error", "unhealthy", "unknown"].contains(&status), "round {round}: {view}");
    }
}

async fn all_is_settled(home: &Home) {
    let is_settled = |view: &Value| ["running", "stopped"].contains(&view["status"].as_str().unwrap());
    caught_up(home, "what was begun is finished", |views| views.iter().all(is_settled)).await;
}

/// Waits for something to become true, longer than elsewhere: a runtime goes on with what it was asked by those who were
/// killed, one after the other.
async fn caught_up(home: &Home, what: &str, holds: impl Fn(&[Value]) -> bool) {
    let until = Instant::now() + CATCHING_UP;
    loop {
        let views = home.list(&["--all"]);
        if holds(&views) {
            return;
        }
        assert!(Instant::now() < until, "not within {CATCHING_UP:?}: {what}: {views:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn remove(home: &Home, servers: &[Server<'_>]) {
    for server in servers {
        if home.find(server.name).is_some() {
            home.skep(&["rm", server.name]).ok();
        }
    }
    assert!(home.list(&["--all"]).is_empty());
}

/// Ends the daemon, and looks for what is left.
async fn nothing_is_left(home: &Home) {
    home.skep(&["daemon", "stop"]).ok();
    until("no process is left", || home.processes().is_empty()).await;
    let left = |below: &str| {
        let entries = std::fs::read_dir(home.path(below)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert!(left("data/skep/homes").is_empty() && left("state/skep/sessions").is_empty());
    let states = [left("state/skep/runconfigs"), left("data/skep/statuses")].concat();
    assert!(states.iter().all(|file| file.ends_with(".lock")), "{states:?}");
}
