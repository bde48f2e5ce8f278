//! Groups: made, run in, left and removed; and what is told of servers as it happens.

use std::io::Write;
use std::process::Stdio;

use testkit::Program;

use crate::home::Home;

fn group_of(home: &Home, name: &str) -> String {
    home.find(name).unwrap()["group"].as_str().unwrap().to_owned()
}

#[test]
fn groups_are_made_run_in_and_removed_and_their_servers_move_or_go() {
    let home = Home::new();
    assert_eq!(home.skep(&["group", "list"]).ok(), "NAME\ndefault\n");
    let error = home.skep(&["run", "--group", "my team", "example"]).error();
    assert!(error.contains("'my team' does not exist") && error.contains("skep group create"), "{error}");
    assert!(home.find("example").is_none());
    home.skep(&["group", "create", "my team"]).ok();
    assert!(home.skep(&["group", "create", "my team"]).error().contains("already exists"));
    assert!(home.skep(&["group", "create", "Team"]).error().contains("lower-case"));
    for name in ["a", "b"] {
        home.run(&["--group", "my team", "--name", name, "example"]);
    }
    home.run(&["--name", "c", "example"]);
    assert_eq!(home.skep(&["group", "list"]).ok(), "NAME\ndefault\nmy team\n");
    assert_eq!(home.list(&["--group", "my team"]).len(), 2);
    home.skep(&["stop", "--group", "my team"]).ok();
    let running: Vec<_> = home.list(&[]).iter().map(|view| view["name"].clone()).collect();
    assert_eq!(running, ["c"]);
    home.skep(&["start", "--group", "my team"]).ok();
    assert_eq!(home.list(&[]).len(), 3);

    // Nobody says yes, then somebody does.
    assert!(home.skep(&["group", "rm", "my team"]).error().contains("nothing was removed"));
    let mut command = home.command(&["group", "rm", "my team"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"y\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!((group_of(&home, "a"), home.list(&[]).len()), ("default".to_owned(), 3));
    let kept = std::fs::read_to_string(home.path("state/skep/runconfigs/a.json")).unwrap();
    assert!(kept.contains("\"group\": \"default\""), "{kept}");

    home.skep(&["group", "create", "gone"]).ok();
    home.run(&["--group", "gone", "--name", "d", "example"]);
    home.skep(&["group", "rm", "gone", "--with-workloads", "--yes"]).ok();
    assert!(home.find("d").is_none() && !home.path("state/skep/groups/gone.json").exists());
    assert!(home.skep(&["group", "rm", "gone"]).error().contains("does not exist"));
    assert!(home.skep(&["group", "rm", "default", "--yes"]).error().contains("always there"));
    home.skep(&["rm", "a", "b", "c"]).ok();
    assert!(home.list(&["--all"]).is_empty());
}

#[test]
fn changes_are_told_as_they_happen_and_metrics_where_they_are() {
    let home = Home::new();
    home.list(&[]);
    let mut events = Program::start(home.command(&["events", "--format", "json"])).unwrap();
    // Whoever listens is told of changes from then on: of one of these at the latest.
    let first = std::thread::scope(|scope| {
        let told = scope.spawn(move || events.line().unwrap());
        let mut number = 0;
        while !told.is_finished() {
            number += 1;
            home.run(&["--name", &format!("n{number}"), "example"]);
        }
        told.join().unwrap()
    });
    let view: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert!(view["name"].as_str().unwrap().starts_with('n') && view["status"].is_string(), "{first}");
    let text =
        home.skep(&["run", "--format", "json", "--name", "m", "--metrics", "127.0.0.1:0", "example"]).ok();
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    let url = told["metrics_url"].as_str().unwrap();
    assert!(url.starts_with("http://127.0.0.1:") && !url.contains(":0/"), "{url}");
}
