//! Composite tools from outside: over servers that nobody here wrote, and when the process that runs them is killed.

use std::path::Path;

use serde_json::{Value, json};
use testkit::mcp::Session;
use testkit::{Connection, Program};

use crate::harness::{Listener, at, command, free_port, redis, run, skep, until};
use crate::sdk::Peers;
use crate::vmcp::{all_there, file_with as file, kill};

/// `skep vmcp` with its state in this folder.
pub(crate) fn vmcp(folder: &Path, args: &[&str]) -> std::process::Command {
    let mut vmcp = command(&[&["vmcp"], args].concat());
    vmcp.env("XDG_STATE_HOME", folder).env("XDG_RUNTIME_DIR", folder);
    vmcp
}

pub(crate) fn serve(folder: &Path, file: &str, args: &[&str]) -> (Program, String) {
    let all = [&["serve", "--config", file, "--port", "0", "--format", "json"], args].concat();
    let mut program = Program::start(vmcp(folder, &all)).unwrap();
    let url = program.url().unwrap_or_else(|error| panic!("{error:#}"));
    (program, url)
}

/// Calls a tool; the stream that it is answered on.
pub(crate) async fn begin(session: &Session, tool: &str, arguments: Value) -> Listener {
    let params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}});
    let message = json!({"jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": params});
    let mut connection = Connection::open(&session.address).await.unwrap();
    connection.send(&session.request(&message.to_string())).await.unwrap();
    let head = connection.head().await.unwrap();
    assert_eq!(head.status, 200);
    Listener { connection, head, text: String::new(), read: 0 }
}

/// The next message that is no progress.
async fn next(stream: &mut Listener) -> Value {
    loop {
        let (message, _) = stream.next().await;
        if message["method"] != "notifications/progress" {
            return message;
        }
    }
}

fn answered(message: &Value) -> &Value {
    assert_eq!(message["id"], "call", "{message}");
    &message["result"]
}

/// What a running skep tells of the runs it knows.
fn told(folder: &Path, args: &[&str]) -> Value {
    let all = [&["workflow"], args, &["--format", "json"]].concat();
    let (out, err, _) =
        testkit::program::run(vmcp(folder, &all), std::time::Duration::from_secs(60)).unwrap();
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"))
}

/// Waits until something happened to a step of the one run that there is; gives the run.
async fn happened(folder: &Path, step: &str, what: &str) -> Value {
    let mut run = Value::Null;
    until(&format!("{step} is {what}"), || {
        let runs = told(folder, &["list"]);
        let Some(id) = runs[0]["id"].as_str() else { return false };
        run = told(folder, &["show", id]);
        let timeline = run["timeline"].as_array().unwrap();
        timeline.iter().any(|entry| entry["task"] == step && entry["what"] == what)
    })
    .await;
    run
}

const TOUR: &str = "compositeTools:
- name: tour
  description: Asks for the time in many places, asks whether that will do, and says so
  timeout: 2m
  parameters:
    type: object
    properties:
      zones: {type: array, items: {type: string}}
      greet: {type: boolean, default: true}
    required: [zones]
  steps:
  - id: hello
    tool: everything.echo
    arguments: {message: 'hello from {{len .params.zones}} places'}
    condition: '{{.params.greet}}'
    defaultResults: {text: nobody}
  - id: times
    type: forEach
    collection: '{{json .params.zones}}'
    itemVar: zone
    maxParallel: 2
    step: {type: tool, tool: time.get_current_time, arguments: {timezone: '{{.forEach.zone}}'}}
    onError: {action: continue}
    defaultResults: {count: 0, completed: 0, failed: 0}
  - id: broken
    tool: time.convert_time
    arguments: {source_timezone: Nowhere/At_All, time: '12:00', target_timezone: UTC}
    onError: {action: continue}
    defaultResults: {text: none}
  - id: sure
    type: elicitation
    dependsOn: [times, broken]
    message: '{{.steps.times.output.completed}} of {{.steps.times.output.count}}, will that do?'
    schema: {type: object, properties: {will: {type: boolean}}, required: [will]}
    onDecline: {action: continue}
  - id: sum
    tool: everything_get-sum
    arguments: {a: '{{.steps.times.output.completed}}', b: '{{.steps.times.output.failed}}'}
  output:
    properties:
      hello: {type: string, description: what was said, value: '{{.steps.hello.output.text}}'}
      broken: {type: string, description: what failed, value: '{{.steps.broken.status}} {{.steps.broken.output.text}}'}
      will: {type: boolean, description: whether it will do, value: '{{.steps.sure.output.content.will}}', default: false}
      sum: {type: string, description: how many, value: '{{.steps.sum.output.text}}'}
";

#[tokio::test]
async fn a_workflow_over_servers_of_npm_and_pypi_calls_asks_and_goes_on_where_it_fails() {
    let Some(peers) = Peers::find() else { return };
    let (_everything, everything) = peers.start_everything();
    let (_time, time) = run(&["--", &peers.python, "-m", "mcp_server_time"]);
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), &[("everything", &everything), ("time", &time)], TOUR);
    let (_skep, url) = serve(folder.path(), &file, &[]);
    let mut session = Session::open_as(&url, json!({"elicitation": {}})).await.unwrap();
    let tools = all_there(&mut session, &["everything", "time"]).await;
    assert_eq!(tools.last().unwrap(), "tour", "{tools:?}");
    let zones = json!({"zones": ["UTC", "Europe/Berlin", "No/Such_Place"]});
    let mut stream = begin(&session, "tour", zones).await;
    let asked = next(&mut stream).await;
    assert_eq!(
        (&asked["method"], &asked["params"]["message"]),
        (&json!("elicitation/create"), &json!("2 of 3, will that do?"))
    );
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {"will": true}}});
    assert_eq!(session.send(&reply.to_string()).await.unwrap().status, 202);
    let answer = next(&mut stream).await;
    let output = &answered(&answer)["structuredContent"];
    assert_eq!(output["hello"], "Echo: hello from 3 places", "{answer}");
    assert_eq!((&output["broken"], &output["will"]), (&json!("failed none"), &json!(true)), "{answer}");
    assert!(output["sum"].as_str().unwrap().contains('3'), "2 and 1: {answer}");
    // Who says no, and wants no greeting.
    let quiet = json!({"zones": [], "greet": false});
    let mut stream = begin(&session, "tour", quiet).await;
    let asked = next(&mut stream).await;
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}});
    assert_eq!(session.send(&reply.to_string()).await.unwrap().status, 202);
    let answer = next(&mut stream).await;
    let output = &answered(&answer)["structuredContent"];
    assert_eq!((&output["hello"], &output["will"]), (&json!("nobody"), &json!(false)), "{answer}");
    let refused = session.ask("tools/call", json!({"name": "tour", "arguments": {"zones": "UTC"}})).await;
    // Refused before anything was begun, so it needs no stream.
    assert!(
        refused.unwrap()["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("arguments.zones must be array")
    );
}

/// Ten steps that leave a line each, with pauses between them that may be had again. The fourth is long enough to be seen.
fn ten() -> String {
    let mut steps = String::new();
    for number in 1..=10 {
        let needs = match number {
            1 => String::new(),
            _ => format!(", dependsOn: [pause{}]", number - 1),
        };
        let delay = if number == 4 { 3000 } else { 50 };
        steps.push_str(&format!(
            "  - {{id: line{number}, tool: s.record, arguments: {{text: 'line {number}'}}{needs}}}\n  \
               - {{id: pause{number}, tool: s.slow, arguments: {{steps: 1, delay_ms: {delay}}}, dependsOn: [line{number}]}}\n"
        ));
    }
    format!(
        "compositeTools:\n- name: ten\n  description: leaves ten lines\n  steps:\n{steps}  \
         output: {{properties: {{last: {{type: string, description: d, value: '{{{{.steps.line10.status}}}}'}}}}}}\n"
    )
}

fn lines(journal: &Path) -> Vec<String> {
    std::fs::read_to_string(journal).unwrap().lines().map(str::to_owned).collect()
}

fn all_lines() -> Vec<String> {
    (1..=10).map(|number| format!("line {number}")).collect()
}

/// What the tests of kills have: a server that leaves lines in a file.
struct World {
    folder: tempfile::TempDir,
    _server: Program,
    file: String,
}

impl World {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        let (server, url) =
            skep(&["example", "--http", "127.0.0.1:0", "--journal", journal.to_str().unwrap()]);
        let file = file(folder.path(), &[("s", &url)], &format!("{}{more}", ten()));
        Self { folder, _server: server, file }
    }

    fn journal(&self) -> std::path::PathBuf {
        self.folder.path().join("journal")
    }
}

#[tokio::test]
async fn a_workflow_whose_replica_is_killed_is_completed_by_the_other_and_each_step_is_done_once() {
    let port = free_port();
    let Some(_redis) = redis(port) else { return };
    let world = World::new(&format!("sessionStorage: {{provider: redis, address: '127.0.0.1:{port}'}}\n"));
    let keys = world.folder.path().join("keys");
    std::fs::write(&keys, "A".repeat(43) + "=\n").unwrap();
    let (one, two) = (world.folder.path().join("one"), world.folder.path().join("two"));
    let args = ["--trust-annotations", "--session-key-file", keys.to_str().unwrap()];
    let ((killed, url), (_other, other)) = (serve(&one, &world.file, &args), serve(&two, &world.file, &args));
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["s"]).await;
    let mut there = at(&session, &other).await;
    all_there(&mut there, &["s"]).await;
    let mut stream = begin(&session, "ten", json!({})).await;
    let cursor = stream.cursor().await;
    happened(&two, "pause4", "sent").await;
    kill(killed).await;
    // Nobody asks for it, and it is completed.
    let run = happened(&two, "line10", "done").await;
    let taken =
        run["timeline"].as_array().unwrap().iter().filter(|entry| entry["what"] == "taken over").count();
    assert_eq!((taken, lines(&world.journal())), (1, all_lines()), "{run}");
    let mut stream = Listener::open(&there, &format!("Last-Event-ID: {cursor}\r\n")).await;
    let answer = next(&mut stream).await;
    assert_eq!(answered(&answer)["structuredContent"]["last"], "completed", "{answer}");
    assert_eq!(lines(&world.journal()), all_lines());
}

#[tokio::test]
async fn a_workflow_goes_on_when_its_only_process_is_started_again() {
    let world = World::new("");
    let folder = world.folder.path().join("state");
    let (killed, url) = serve(&folder, &world.file, &["--trust-annotations"]);
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["s"]).await;
    let mut stream = begin(&session, "ten", json!({})).await;
    let cursor = stream.cursor().await;
    happened(&folder, "pause4", "sent").await;
    kill(killed).await;
    let (_next, url) = serve(&folder, &world.file, &["--trust-annotations"]);
    let there = at(&session, &url).await;
    let mut stream = Listener::open(&there, &format!("Last-Event-ID: {cursor}\r\n")).await;
    let answer = next(&mut stream).await;
    assert_eq!(answered(&answer)["structuredContent"]["last"], "completed", "{answer}");
    assert_eq!(lines(&world.journal()), all_lines());
}

#[test]
fn what_cannot_be_planned_is_said_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let circle = "compositeTools: [{name: c, description: d, steps: [{id: a, tool: t, dependsOn: [b]}, {id: b, tool: t, dependsOn: [a]}]}]\n";
    let file = file(folder.path(), &[("s", "http://127.0.0.1:1/mcp")], circle);
    for command in ["validate", "serve"] {
        let args = [command, "--config", &file];
        let (_, said, status) =
            testkit::program::run(vmcp(folder.path(), &args), std::time::Duration::from_secs(60)).unwrap();
        assert!(!status.success() && said.contains("dependency cycle: a -> b -> a"), "{said}");
    }
}
