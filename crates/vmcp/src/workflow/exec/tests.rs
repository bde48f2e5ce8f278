//! Runs in a world of tools that do what their names say, in time that does not pass.

mod example;
mod simulation;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::super::log::{FailureKind, MemoryLog, Task, TaskEvent};
use super::super::plan::tests::plan;
use super::*;

/// What a test's host has done.
#[derive(Debug, Default)]
struct Done {
    calls: Vec<String>,
    attempts: BTreeMap<String, usize>,
    running: usize,
    most: usize,
    cancelled: usize,
    asked: Vec<String>,
    replies: VecDeque<Result<Reply, String>>,
}

/// Tools by name: `ok`, `echo`, `fail`, `slow`, `never`, `flaky` (fails twice), `unknown`, `safe` (unknown once, and may be
/// resent), `gone`.
#[derive(Debug, Default)]
struct World {
    done: Mutex<Done>,
}

/// Notes a call that is dropped before its end.
struct Guard<'w> {
    world: &'w World,
    is_over: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut done = self.world.done.lock();
        done.running -= 1;
        done.cancelled += usize::from(!self.is_over);
    }
}

impl World {
    fn begin(&self, tool: &str, arguments: &Data) -> (Guard<'_>, usize) {
        let mut done = self.done.lock();
        let call = format!("{tool}{}", serde_json::to_string(arguments).unwrap());
        let attempts = done.attempts.entry(call.clone()).or_default();
        *attempts += 1;
        let attempt = *attempts;
        done.calls.push(call);
        done.running += 1;
        done.most = done.most.max(done.running);
        (Guard { world: self, is_over: false }, attempt)
    }
}

fn structured(output: Data) -> ToolAnswer {
    ToolAnswer { structured: Some(output), ..ToolAnswer::default() }
}

impl Host for World {
    fn schema(&self, tool: &str) -> Option<Data> {
        let schema = r#"{"properties":{"n":{"type":"integer"},"l":{"type":"array"}}}"#;
        (tool == "echo").then(|| serde_json::from_str(schema).unwrap())
    }

    fn may_resend(&self, tool: &str) -> bool {
        tool == "safe"
    }

    fn call<'a>(&'a self, tool: &'a str, arguments: Data) -> Doing<'a, Result<ToolAnswer, CallError>> {
        Box::pin(async move {
            let (mut guard, attempt) = self.begin(tool, &arguments);
            sleep(Duration::from_secs(match tool {
                "never" => 1_000_000,
                "slow" => 100,
                _ => 1,
            }))
            .await;
            guard.is_over = true;
            match tool {
                "fail" => Ok(ToolAnswer { is_error: true, ..structured(Data::map([("error", "broken")])) }),
                "flaky" if attempt < 3 => Err(CallError::NotSent("refused".to_owned())),
                "unknown" => Err(CallError::Unknown("cut".to_owned())),
                "safe" if attempt == 1 => Err(CallError::Unknown("cut".to_owned())),
                "gone" => Err(CallError::NoTool),
                "echo" => Ok(structured(arguments)),
                _ => Ok(structured(Data::map([("said", tool)]))),
            }
        })
    }

    fn ask(&self, question: Question) -> Doing<'_, Result<Reply, String>> {
        Box::pin(async move {
            let reply = {
                let mut done = self.done.lock();
                done.asked.push(question.message);
                done.replies.pop_front()
            };
            match reply {
                Some(reply) => {
                    sleep(Duration::from_secs(5)).await;
                    reply
                }
                None => std::future::pending().await,
            }
        })
    }
}

/// What a run came to.
#[derive(Debug)]
struct Ran {
    result: Result<String, String>,
    seconds: u64,
    world: World,
    events: Vec<Event>,
}

impl Ran {
    fn calls(&self) -> Vec<String> {
        self.world.done.lock().calls.clone()
    }
}

async fn run_in(world: World, steps: &str, more: &str, params: &str, cancel_after: Option<Duration>) -> Ran {
    let plan = plan(steps, more).unwrap();
    let (log, cancel) = (MemoryLog::new(1), CancellationToken::new());
    let engine = Engine {
        plan: &plan,
        host: &world,
        log: &log,
        caller: None,
        cancel: cancel.clone(),
        pause: CancellationToken::new(),
        settings: Settings::new(7),
    };
    let (params, begun) = (serde_json::from_str(params).unwrap(), Instant::now());
    let running = engine.run("r", &params, "2024-01-01T12:00:00Z");
    let result = match cancel_after {
        None => running.await,
        Some(after) => {
            tokio::join!(running, async {
                sleep(after).await;
                cancel.cancel();
            })
            .0
        }
    };
    let result = result.map(|data| serde_json::to_string(&data).unwrap()).map_err(|error| told(&error));
    let (seconds, events) = (begun.elapsed().as_secs(), log.read("r").await.unwrap());
    Ledger::replay(&events).unwrap();
    Ran { result, seconds, world, events }
}

async fn run(steps: &str, more: &str) -> Ran {
    run_in(World::default(), steps, more, r#"{"x":"X","n":5,"l":[1,2,3]}"#, None).await
}

fn output(value: &str) -> String {
    format!("  output: {{properties: {{o: {{type: string, description: d, value: '{value}'}}}}}}")
}

#[tokio::test(start_paused = true)]
async fn runs_come_to_what_their_steps_give() {
    let ok = |text: &str| Ok(text.to_owned());
    let err = |text: &str| Err(text.to_owned());
    for (steps, more, expect, seconds) in [
        ("  - {id: a, tool: ok}", String::new(), ok(r#"{"said":"ok"}"#), 1),
        // Chains and what flows through them; values keep their types.
        (
            "  - {id: b, tool: echo, arguments: {n: '{{.steps.a.output.n}}', l: '{{.params.l}}'}}\n  - {id: a, tool: echo, arguments: {n: '{{.params.n}}'}}",
            String::new(),
            ok(r#"{"l":[1,2,3],"n":5}"#),
            2,
        ),
        (
            "  - {id: a, tool: ok}",
            output(
                "{{.steps.a.status}} {{.steps.a.output.said}} {{.workflow.status}} {{.workflow.step_count}} {{.workflow.duration_ms}} {{.workflow.start_time}} {{.workflow.id}}",
            ),
            ok(r#"{"o":"completed ok completed 1 1000 2024-01-01T12:00:00Z r"}"#),
            1,
        ),
        // What a step does not wait for, it does not see, and the slow one is not waited for by others' dependents.
        (
            "  - {id: s, tool: slow}\n  - {id: a, tool: ok}\n  - {id: b, tool: never, dependsOn: [a], timeout: 3s, onError: {action: continue}}",
            String::new(),
            ok(r#"{"said":"ok"}"#),
            100,
        ),
        (
            "  - {id: a, tool: ok}\n  - {id: b, tool: slow}\n  - {id: c, tool: echo, dependsOn: [b], arguments: {v: '{{len .steps}}'}}",
            String::new(),
            ok(r#"{"v":"1"}"#),
            101,
        ),
        // Conditions and defaults.
        (
            "  - {id: a, tool: ok, condition: 'false', defaultResults: {said: nothing}}\n  - {id: b, tool: echo, arguments: {v: '{{.steps.a.status}} {{.steps.a.output.said}}'}}",
            String::new(),
            ok(r#"{"v":"skipped nothing"}"#),
            1,
        ),
        (
            "  - {id: a, tool: ok, condition: 'maybe'}",
            String::new(),
            err(r#"step a failed: condition must evaluate to 'true' or 'false', got: "maybe""#),
            0,
        ),
        // Failures.
        (
            "  - {id: a, tool: fail}",
            String::new(),
            err("step a failed: tool fail: tool execution failed: broken"),
            1,
        ),
        (
            "  - {id: a, tool: gone}",
            String::new(),
            err("step a failed: tool call failed: tool gone: there is no such tool"),
            1,
        ),
        (
            "  - {id: a, tool: fail, onError: {action: continue}, defaultResults: {said: d}}\n  - {id: b, tool: echo, arguments: {v: '{{.steps.a.status}} {{.steps.a.output.said}} {{.steps.a.error}}'}}",
            String::new(),
            ok(r#"{"v":"failed d tool fail: tool execution failed: broken"}"#),
            2,
        ),
        (
            "  - {id: a, tool: ok, arguments: {x: '{{index .params.l 9}}'}, onError: {action: continue}, defaultResults: {said: d}}",
            output("{{.steps.a.output.said}}"),
            ok(r#"{"o":"d"}"#),
            0,
        ),
        (
            "  - {id: a, tool: never, timeout: 30s}",
            String::new(),
            err("step a failed: tool never took longer than 30s"),
            30,
        ),
        ("  - {id: a, tool: never}", "  timeout: 20s".to_owned(), err("workflow timed out"), 20),
        // Retries.
        (
            "  - {id: a, tool: flaky, onError: {action: retry, retryCount: 2, retryDelay: 10ms}}",
            String::new(),
            ok(r#"{"said":"flaky"}"#),
            3,
        ),
        (
            "  - {id: a, tool: flaky, onError: {action: retry, retryCount: 1, retryDelay: 10ms}}",
            String::new(),
            err("step a failed: tool call failed: tool flaky: the call was not made: refused"),
            2,
        ),
        (
            "  - {id: a, tool: fail, timeout: 4s, onError: {action: retry, retryCount: 10}}",
            String::new(),
            err("step a failed: tool fail took longer than 4s"),
            4,
        ),
        (
            "  - {id: a, tool: unknown, onError: {action: retry, retryCount: 5}}",
            String::new(),
            err("step a failed: tool call failed: tool unknown: its outcome is not known: cut"),
            1,
        ),
        (
            "  - {id: a, tool: safe, onError: {action: retry, retryCount: 5, retryDelay: 10ms}}",
            String::new(),
            ok(r#"{"said":"safe"}"#),
            2,
        ),
        // The answer cannot be made.
        (
            "  - {id: a, tool: ok}",
            output("{{index .params.l 9}}"),
            err("output construction failed: construct output property \"o\": render its value: "),
            1,
        ),
    ] {
        let ran = run(steps, &more).await;
        match (&ran.result, &expect) {
            (Err(found), Err(expect)) if expect.ends_with(": ") => {
                assert!(found.starts_with(expect), "{found}")
            }
            _ => assert_eq!(ran.result, expect, "{steps}"),
        }
        assert_eq!(ran.seconds, seconds, "{steps}");
    }
}

/// Whoever runs workflows does so on any thread.
#[test]
fn a_run_can_be_spawned() {
    fn is_send<T: Send>(_: T) {}
    let plan = plan("  - {id: a, tool: ok}", "").unwrap();
    let (log, host, cancel) = (MemoryLog::new(1), World::default(), CancellationToken::new());
    let engine = Engine {
        plan: &plan,
        host: &host,
        log: &log,
        caller: None,
        cancel,
        pause: CancellationToken::new(),
        settings: Settings::new(0),
    };
    is_send(engine.run("r", &Data::Null, "t"));
    is_send(engine.resume("r"));
}

#[tokio::test(start_paused = true)]
async fn steps_run_at_once_but_not_too_many() {
    let steps: Vec<_> = (0..25).map(|index| format!("  - {{id: s{index}, tool: ok}}")).collect();
    let ran = run(&steps.join("\n"), "").await;
    assert_eq!((ran.seconds, ran.world.done.lock().most), (3, 10));
}

#[tokio::test(start_paused = true)]
async fn a_failure_cancels_what_is_under_way() {
    let ran =
        run("  - {id: a, tool: never}\n  - {id: b, tool: fail}\n  - {id: c, tool: ok, dependsOn: [b]}", "")
            .await;
    assert_eq!(ran.result, Err("step b failed: tool fail: tool execution failed: broken".to_owned()));
    assert_eq!((ran.seconds, ran.calls().len(), ran.world.done.lock().cancelled), (1, 2, 1));
    assert!(matches!(ran.events.last(), Some(Event::Ended(End::Failed(_)))));
}

#[tokio::test(start_paused = true)]
async fn cancelling_reaches_calls() {
    let steps = "  - {id: a, tool: never}\n  - id: b\n    type: forEach\n    collection: '[1,2,3]'\n    maxParallel: 2\n    step: {type: tool, tool: never}";
    let ran = run_in(World::default(), steps, "", "{}", Some(Duration::from_secs(9))).await;
    assert_eq!(ran.result, Err("workflow cancelled".to_owned()));
    assert_eq!((ran.seconds, ran.calls().len(), ran.world.done.lock().cancelled), (9, 3, 3));
    assert_eq!(ran.events.last(), Some(&Event::Ended(End::Cancelled)));
}

#[tokio::test(start_paused = true)]
async fn many_calls_are_one_step() {
    let each = |collection: &str, more: &str, inner: &str| {
        format!(
            "  - id: f\n    type: forEach\n    collection: '{collection}'\n    itemVar: it\n{more}    step: {{type: tool, {inner}}}"
        )
    };
    let counts = output(
        "{{.steps.f.output.count}} {{.steps.f.output.completed}} {{.steps.f.output.failed}}{{range .steps.f.output.iterations}} {{.index}}:{{.status}}:{{json .output}}{{end}}",
    );
    let echo = "tool: echo, arguments: {n: '{{.forEach.it}}', i: '{{.forEach.index}}'}";
    let continues = "    onError: {action: continue}\n    defaultResults: {count: 0, completed: 0, failed: 0, iterations: []}\n";
    for (steps, expect, seconds) in [
        (
            each("{{json .params.l}}", "    maxParallel: 2\n", echo),
            Ok(
                r#"3 3 0 0:completed:{"i":"0","n":1} 1:completed:{"i":"1","n":2} 2:completed:{"i":"2","n":3}"#,
            ),
            2,
        ),
        (each("[]", "", echo), Ok("0 0 0"), 0),
        (each("{{json .params.gone}}", "", echo), Ok("0 0 0"), 0),
        (
            each("nonsense", "", echo),
            Err("step f failed: forEach step f: collection must resolve to a JSON array, got: \"nonsense\""),
            0,
        ),
        (
            each("[1,2,3]", "    maxIterations: 2\n", echo),
            Err("step f failed: forEach step f: collection size 3 exceeds maxIterations 2"),
            0,
        ),
        (
            each("[1,2]", "", "tool: fail"),
            Err("step f failed: forEach step f iteration 0: tool fail: tool execution failed: broken"),
            1,
        ),
        (each("[1,2]", continues, "tool: fail"), Ok("2 0 2 0:failed:null 1:failed:null"), 1),
        (
            each("[1]", "", "tool: fail, onError: {action: continue}, defaultResults: {d: 1}"),
            Ok(r#"1 0 1 0:failed:{"d":1}"#),
            1,
        ),
        (
            each("[1,2]", "", "tool: ok, condition: '{{eq .forEach.index 0}}'"),
            Ok(r#"2 1 0 0:completed:{"said":"ok"} 1:skipped:null"#),
            1,
        ),
        (
            each("[1]", "", "tool: never, timeout: 3s"),
            Err("step f failed: forEach step f iteration 0: tool never took longer than 3s"),
            3,
        ),
        (
            each("[1]", "    timeout: 2s\n", "tool: never"),
            Err("step f failed: forEach step f took longer than 2s"),
            2,
        ),
        (
            each("[1]", "    onError: {action: retry, retryCount: 2, retryDelay: 10ms}\n", "tool: flaky"),
            Ok(r#"1 1 0 0:completed:{"said":"flaky"}"#),
            3,
        ),
    ] {
        let ran = run(&steps, &counts).await;
        let expect = expect
            .map(|text| serde_json::to_string(&Data::map([("o", text)])).unwrap())
            .map_err(str::to_owned);
        assert_eq!((&ran.result, ran.seconds), (&expect, seconds), "{steps}");
    }
}

#[tokio::test(start_paused = true)]
async fn users_are_asked() {
    let ask = |more: &str| {
        format!(
            "  - {{id: q, type: elicitation, message: 'Do {{{{.params.x}}}}?', schema: {{type: object}}, timeout: 1m{more}}}\n  - {{id: b, tool: ok, dependsOn: [q]}}\n  - {{id: c, tool: slow}}"
        )
    };
    let answer = output("{{json .steps.q.output}} {{.steps.b.status}} {{.steps.c.status}}");
    let ok = |text: &str| Ok(serde_json::to_string(&Data::map([("o", text)])).unwrap());
    let err = |text: &str| Err(format!("step q failed: elicitation request {text}"));
    let accept = || Ok(Reply::Accept(Data::map([("note", "n")])));
    for (more, replies, expect) in [
        ("", vec![accept()], ok(r#"{"action":"accept","content":{"note":"n"}} completed completed"#)),
        ("", vec![Ok(Reply::Decline)], err("was declined by user: step q")),
        ("", vec![Ok(Reply::Cancel)], err("was cancelled by user: step q")),
        ("", vec![], err("timed out: step q")),
        (", onDecline: {action: abort}", vec![Ok(Reply::Decline)], err("was declined by user: step q")),
        (
            ", onDecline: {action: continue}",
            vec![Ok(Reply::Decline)],
            ok(r#"{"action":"decline"} completed completed"#),
        ),
        // What has begun ends, what has not is skipped.
        (
            ", onDecline: {action: skip_remaining}",
            vec![Ok(Reply::Decline)],
            ok(r#"{"action":"decline","skipped":true} skipped completed"#),
        ),
        (
            ", onCancel: {action: skip_remaining}",
            vec![],
            ok(r#"{"action":"cancel","skipped":true} skipped completed"#),
        ),
        (
            ", onCancel: {action: continue}",
            vec![Ok(Reply::Cancel)],
            ok(r#"{"action":"cancel"} completed completed"#),
        ),
        ("", vec![Err("no client".to_owned())], err("failed for step q: no client")),
        (
            ", onError: {action: retry, retryCount: 1}",
            vec![Err("no client".to_owned()), accept()],
            ok(r#"{"action":"accept","content":{"note":"n"}} completed completed"#),
        ),
        (
            "",
            vec![Ok(Reply::Accept(Data::from("x".repeat(2 << 20))))],
            Err("step q failed: response content too large for step q".to_owned()),
        ),
    ] {
        let world = World::default();
        world.done.lock().replies = replies.into();
        let ran = run_in(world, &ask(more), &answer, r#"{"x":"it"}"#, None).await;
        assert_eq!(ran.result, expect, "{more}");
        assert_eq!(ran.world.done.lock().asked[0], "Do it?");
    }
}

/// Goes on from the first events of a run, in a new world.
async fn resumed(plan: &Plan, events: &[Event], world: &World) -> (Result<Data, WorkflowError>, Vec<Event>) {
    let log = MemoryLog::new(1);
    for (position, event) in events.iter().enumerate() {
        log.append("r", position as u64, event).await.unwrap();
    }
    let cancel = CancellationToken::new();
    let engine = Engine {
        plan,
        host: world,
        log: &log,
        caller: None,
        cancel,
        pause: CancellationToken::new(),
        settings: Settings::new(1),
    };
    let result = engine.resume("r").await;
    let events = log.read("r").await.unwrap();
    Ledger::replay(&events).unwrap();
    (result, events)
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_not_done_again_and_what_is_unknown_only_where_it_may_be() {
    let of =
        |step: &str, iteration, event| Event::Task { task: Task { step: step.into(), iteration }, event };
    let done = |said: &str| {
        TaskEvent::Done(super::super::log::Answer {
            output: Data::map([("said", said)]),
            ..Default::default()
        })
    };
    let failure = || super::super::log::Failure { kind: FailureKind::Tool, message: "m".to_owned() };
    let call = |tool: &str| {
        format!(
            "  - {{id: a, tool: {tool}}}\n  - {{id: b, tool: echo, arguments: {{v: '{{{{.steps.a.output.said}}}}'}}}}"
        )
    };
    let each = "  - id: f\n    type: forEach\n    collection: '[1,2,3]'\n    step: {type: tool, tool: ok, arguments: {n: '{{.forEach.index}}'}}\n  - {id: b, tool: echo, arguments: {v: '{{eq .steps.f.output.count 3}} {{.steps.f.output.completed}}'}}";
    let sent = || TaskEvent::Sent;
    for (steps, tail, expect, calls) in [
        (call("ok"), vec![], Ok(r#"{"v":"ok"}"#), vec!["ok{}", r#"echo{"v":"ok"}"#]),
        (
            call("ok"),
            vec![of("a", None, sent()), of("a", None, done("before"))],
            Ok(r#"{"v":"before"}"#),
            vec![r#"echo{"v":"before"}"#],
        ),
        (
            call("ok"),
            vec![of("a", None, sent())],
            Err("step a failed: the outcome of calling tool ok is not known"),
            vec![],
        ),
        (
            call("safe"),
            vec![of("a", None, sent())],
            Err("step a failed: tool call failed: tool safe: its outcome is not known: cut"),
            vec!["safe{}"],
        ),
        (
            call("safe"),
            vec![of("a", None, sent()), of("a", None, TaskEvent::Lost), of("a", None, sent())],
            Err("step a failed: the outcome of calling tool safe is not known"),
            vec![],
        ),
        (
            call("ok"),
            vec![of("a", None, sent()), of("a", None, TaskEvent::AttemptFailed(failure()))],
            Ok(r#"{"v":"ok"}"#),
            vec!["ok{}", r#"echo{"v":"ok"}"#],
        ),
        (call("ok"), vec![of("a", None, TaskEvent::Failed(failure()))], Err("step a failed: m"), vec![]),
        (
            each.to_owned(),
            vec![
                of("f", None, sent()),
                of("f", Some(0), sent()),
                of("f", Some(0), done("x")),
                of("f", Some(2), TaskEvent::Skipped),
            ],
            Ok(r#"{"v":"true 2"}"#),
            vec![r#"ok{"n":"1"}"#, r#"echo{"v":"true 2"}"#],
        ),
        (
            each.to_owned(),
            vec![of("f", None, sent()), of("f", Some(0), sent())],
            Err("step f failed: forEach step f iteration 0: the outcome of calling tool ok is not known"),
            vec![],
        ),
    ] {
        let plan = plan(&steps, "").unwrap();
        let (params, started) = (Data::map::<&str, Data>([]), "2024-01-01T12:00:00Z".into());
        let mut events = vec![Event::Began(Began { workflow: "c".into(), params, started, caller: None })];
        events.extend(tail);
        let world = World::default();
        let (result, after) = resumed(&plan, &events, &world).await;
        let result = result.map(|data| serde_json::to_string(&data).unwrap()).map_err(|error| told(&error));
        assert_eq!(result.as_deref().map_err(String::as_str), expect, "{events:?}");
        let made = world.done.lock().calls.clone();
        let made: Vec<_> =
            made.into_iter().filter(|call| !calls.is_empty() || !call.starts_with("ok")).collect();
        assert_eq!(made, calls, "{events:?}");
        assert!(matches!(after.last(), Some(Event::Ended(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn only_one_goes_on_with_a_run() {
    let plan = plan("  - {id: a, tool: safe}", "").unwrap();
    let (log, world) = (MemoryLog::new(1), World::default());
    let engine = || Engine {
        plan: &plan,
        host: &world,
        log: &log,
        caller: None,
        cancel: CancellationToken::new(),
        pause: CancellationToken::new(),
        settings: Settings::new(1),
    };
    assert_eq!(engine().resume("r").await, Err(WorkflowError::UnknownRun("r".to_owned())));
    let (first, second) = (engine(), engine());
    let takes_over = async {
        sleep(Duration::from_millis(500)).await;
        second.resume("r").await
    };
    let params = Data::map::<&str, Data>([]);
    let (first, second) = tokio::join!(first.run("r", &params, "t"), takes_over);
    assert_eq!(first, Err(WorkflowError::Log(LogError::Moved)));
    assert_eq!(second, Ok(Data::map([("said", "safe")])));
    assert!(matches!(engine().resume("r").await, Err(WorkflowError::Over(End::Completed(_)))));
    assert_eq!(engine().run("r", &params, "t").await, Err(WorkflowError::Log(LogError::Moved)));
}
