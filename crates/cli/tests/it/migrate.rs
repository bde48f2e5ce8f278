//! What ToolHive has kept, taken over.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::mcp::Session;

use crate::harness::{example, until};
use crate::home::Home;
use crate::toolhive::{PASSWORD, SETTINGS, ToolHive, process_of};

fn verdicts(text: &str) -> BTreeMap<String, String> {
    let items: Vec<Value> = serde_json::from_str(text).unwrap();
    let told = |item: &Value| {
        let word = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        (format!("{} {}", word("kind"), word("name")), word("verdict"))
    };
    items.iter().map(told).collect()
}

#[tokio::test]
async fn everything_is_told_then_carried_once_and_the_source_is_not_touched() {
    let (home, there) = (Home::new(), tempfile::tempdir().unwrap());
    let (_server, url) = example("far");
    let process = process_of("wiki");
    let toolhive = ToolHive::in_home(there.path());
    toolhive.write(&url, &process);
    let before = toolhive.content();
    let password = home.path("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let from = ["--from", there.path().to_str().unwrap(), "--format", "json"];
    let with_password = [&from[..], &["--password-file", password.to_str().unwrap()]].concat();

    let told = home.skep(&[&["migrate"], &from[..]].concat());
    assert!(told.err.contains("Nothing was done"), "{told:?}");
    assert_eq!(verdicts(&told.out)["secret secrets_encrypted"], "refused");
    assert!(!home.path("state").exists() && !home.path("config").exists());
    let told = verdicts(&home.skep(&[&["migrate"], &with_password[..]].concat()).ok());

    let done = home.skep(&[&["migrate", "--apply"], &with_password[..]].concat());
    assert_eq!(done.code, Some(1), "something was refused: {done:?}");
    assert!(done.out.contains("it runs in ToolHive (process"), "{done:?}");
    let done = verdicts(&done.out);
    assert_eq!(done, told, "what was told is what was done");
    for (item, verdict) in [
        ("group default", "carried"),
        ("group my team", "carried"),
        ("secret github", "carried"),
        ("settings config.yaml", "carried"),
        ("ignore thvignore", "carried"),
        ("workload fetch", "carried"),
        ("workload docs", "carried"),
        ("workload wiki", "carried"),
        ("workload old", "carried"),
        ("workload guarded", "carried"),
        ("workload _odd", "refused"),
        ("workload broken", "refused"),
    ] {
        assert_eq!(done.get(item).map(String::as_str), Some(verdict), "{item}: {done:?}");
    }
    assert_eq!(toolhive.content(), before, "not a byte there, and no file more");

    until("what was to run runs", || home.find("docs").unwrap()["status"] == "running").await;
    for name in ["wiki", "old", "guarded", "fetch"] {
        assert_eq!(home.find(name).unwrap()["status"], "stopped", "{name}");
    }
    let docs = home.find("docs").unwrap();
    assert_eq!(
        (&docs["group"], &docs["created_at"]),
        (&json!("my team"), &json!("2026-01-02T03:04:05.123456789Z"))
    );
    let mut session = Session::open(docs["url"].as_str().unwrap()).await.unwrap();
    assert!(session.call("whoami", json!({})).await.unwrap().contains("\"far\""));
    let exported = home.path("exported.json");
    home.skep(&["export", "docs", exported.to_str().unwrap()]).ok();
    assert!(std::fs::read_to_string(exported).unwrap().contains("18446744073709551615"));
    assert_eq!(home.skep(&["secret", "get", "github"]).ok(), "ghp_example\n");
    assert_eq!(std::fs::read_to_string(home.path("config/skep/config.yaml")).unwrap(), SETTINGS);
    let team = std::fs::read_to_string(home.path("state/skep/groups/my team.json")).unwrap();
    assert!(team.contains("vscode") && team.contains("x_color"), "{team}");
    home.skep(&["start", "wiki"]).ok();

    // Once more, with a daemon that runs.
    let again = verdicts(&home.skep(&[&["migrate", "--apply"], &with_password[..]].concat()).out);
    let carried: Vec<_> = again.iter().filter(|(_, verdict)| *verdict == "carried").collect();
    assert!(carried.is_empty(), "{carried:?}");
    home.skep(&["rm", "docs"]).ok();
    home.skep(&[&["migrate", "--apply"], &with_password[..]].concat());
    assert!(home.find("docs").is_some(), "a daemon that runs takes it up");
}

#[test]
fn what_cannot_be_taken_over_at_all_is_said() {
    let (home, there) = (Home::new(), tempfile::tempdir().unwrap());
    let from = there.path().to_str().unwrap();
    assert!(home.skep(&["migrate", "--from", from]).error().contains("nothing of ToolHive's"));
    std::fs::create_dir_all(home.path("state/toolhive")).unwrap();
    assert!(home.thv(&["migrate"]).error().contains("used here already"));
    let process = process_of("x");
    ToolHive::in_home(there.path()).write("http://127.0.0.1:1/mcp", &process);
    let password = home.path("password");
    std::fs::write(&password, "another").unwrap();
    let args = ["migrate", "--from", from, "--password-file", password.to_str().unwrap()];
    let told = home.skep(&args).ok();
    assert!(told.contains("could not be opened") && !told.contains("ghp_example"), "{told}");
}
