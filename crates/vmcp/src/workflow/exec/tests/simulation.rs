//! Random workflows in a world of random delays and failures, some of them ended in the middle and taken up by another
//! engine. Everything comes from a seed, which is what a failure prints.

use std::collections::BTreeSet;

use super::super::super::log::Outcome;
use super::super::super::log::TaskState;
use super::*;

const SEEDS: u64 = 100;

/// A world whose tools are `t`, and `r`, which may be resent. How long a call takes, and whether it fails, is drawn.
#[derive(Debug)]
struct Chance {
    rng: Mutex<fastrand::Rng>,
    /// Out of a hundred calls, so many fail.
    failing: u8,
    /// The calls that were made, and those that were made to their end, by what they were given.
    begun: Mutex<Vec<String>>,
    ended: Mutex<Vec<String>>,
    /// What was in the log when a step was first begun.
    ledger: Mutex<Ledger>,
    plan: Plan,
}

impl Chance {
    fn new(seed: u64, failing: u8, plan: &Plan) -> Self {
        let (rng, plan) = (Mutex::new(fastrand::Rng::with_seed(seed)), plan.clone());
        Self {
            rng,
            failing,
            begun: Mutex::default(),
            ended: Mutex::default(),
            ledger: Mutex::default(),
            plan,
        }
    }
}

impl Host for Chance {
    fn schema(&self, _: &str) -> Option<Data> {
        None
    }

    fn may_resend(&self, tool: &str) -> bool {
        tool == "r"
    }

    fn call<'a>(&'a self, _: &'a str, arguments: Data) -> Doing<'a, Result<ToolAnswer, CallError>> {
        Box::pin(async move {
            let who = match arguments.get("who") {
                Some(Data::Text(who)) => who.to_string(),
                _ => String::new(),
            };
            self.begun.lock().push(who.clone());
            let (delay, fails) = {
                let mut rng = self.rng.lock();
                (rng.u64(0..500), rng.u8(0..100) < self.failing)
            };
            sleep(Duration::from_millis(delay)).await;
            self.ended.lock().push(who);
            if fails { Err(CallError::Refused("chance".to_owned())) } else { Ok(structured(arguments)) }
        })
    }

    fn ask(&self, _: Question) -> Doing<'_, Result<Reply, String>> {
        Box::pin(async {
            let delay = self.rng.lock().u64(0..500);
            sleep(Duration::from_millis(delay)).await;
            Ok(Reply::Accept(Data::Null))
        })
    }

    fn recorded(&self, event: &Event) {
        let mut ledger = self.ledger.lock();
        ledger.apply(event).unwrap();
        // INVARIANT: no step before what it waits for.
        if let Event::Task { task, event: TaskEvent::Sent | TaskEvent::Skipped } = event {
            let planned = &self.plan.steps[self.plan.position(&task.step).unwrap()];
            for need in &planned.needs {
                let need = Task { step: self.plan.steps[*need].step.id.as_str().into(), iteration: None };
                assert!(matches!(ledger.state(&need), TaskState::Over(_)), "{task} before {need}");
            }
        }
    }
}

/// A workflow that is as its seed says: up to twelve steps, each waiting for some before it, not in the order of their
/// places.
fn drawn(seed: u64, tool: &str) -> Plan {
    let mut rng = fastrand::Rng::with_seed(seed);
    let count = rng.usize(1..=12);
    let mut steps = Vec::new();
    for index in 0..count {
        let needs: Vec<_> = (0..index).filter(|_| rng.u8(0..100) < 30).collect();
        let (said, read): (Vec<_>, Vec<_>) = needs.into_iter().partition(|_| rng.bool());
        let said: Vec<_> = said.iter().map(|need| format!("s{need}")).collect();
        let read: String = read
            .iter()
            .map(|need| format!("{{{{.steps.s{need}.status}}}}{{{{len (json .steps.s{need})}}}} "))
            .collect();
        let common = format!("id: s{index}, dependsOn: [{}]", said.join(", "));
        let arguments = |who: &str| format!("arguments: {{who: '{who}', read: '{read}'}}");
        let on_error = match rng.u8(0..3) {
            0 => ", onError: {action: continue}",
            1 => ", onError: {action: retry, retryCount: 3, retryDelay: 20ms}",
            _ => "",
        };
        steps.push(match rng.u8(0..10) {
            0 => format!("  - {{{common}, type: elicitation, message: 'm{read}', schema: {{type: object}}}}"),
            1 | 2 => format!(
                "  - {{{common}, type: forEach, collection: '[1,2,3,4]', maxParallel: {}, step: {{type: tool, tool: {tool}, {}}}{on_error}}}",
                rng.usize(1..4),
                arguments(&format!("s{index}[{{{{.forEach.index}}}}]"))
            ),
            3 => format!(
                "  - {{{common}, tool: {tool}, condition: '{}', {}{on_error}}}",
                rng.bool(),
                arguments(&format!("s{index}"))
            ),
            _ => format!("  - {{{common}, tool: {tool}, {}{on_error}}}", arguments(&format!("s{index}"))),
        });
    }
    rng.shuffle(&mut steps);
    plan(&steps.join("\n"), "").unwrap()
}

fn engine<'a>(plan: &'a Plan, host: &'a Chance, log: &'a MemoryLog, seed: u64) -> Engine<'a> {
    let parallel = fastrand::Rng::with_seed(seed).usize(1..=10);
    let settings = Settings { parallel, ..Settings::new(seed) };
    Engine {
        plan,
        host,
        log,
        caller: None,
        cancel: CancellationToken::new(),
        pause: CancellationToken::new(),
        settings,
    }
}

fn params() -> Data {
    Data::map::<&str, Data>([])
}

async fn outcomes(log: &MemoryLog) -> Vec<(Task, TaskState)> {
    let ledger = Ledger::replay(&log.read("r").await.unwrap()).unwrap();
    ledger.tasks().map(|task| (task.clone(), ledger.state(task).clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_run_comes_to_the_same_whatever_is_faster() {
    for seed in 0..SEEDS {
        let plan = drawn(seed, "t");
        let mut all = Vec::new();
        for timing in [1, 2] {
            let (host, log) = (Chance::new(seed * 10 + timing, 0, &plan), MemoryLog::new(1));
            let result = engine(&plan, &host, &log, seed * 10 + timing).run("r", &params(), "t").await;
            assert!(result.is_ok(), "seed {seed}: {result:?}");
            let states = outcomes(&log).await;
            assert!(states.iter().all(|(_, state)| matches!(state, TaskState::Over(_))), "seed {seed}");
            let begun = host.begun.lock();
            assert_eq!(begun.len(), begun.iter().collect::<BTreeSet<_>>().len(), "seed {seed}: once each");
            all.push((result, states));
        }
        assert_eq!(all[0], all[1], "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_whatever_fails() {
    for seed in 0..SEEDS {
        let plan = drawn(seed, "t");
        let (host, log) = (Chance::new(seed, 40, &plan), MemoryLog::new(1));
        let result = engine(&plan, &host, &log, seed).run("r", &params(), "t").await;
        assert!(matches!(result, Ok(_) | Err(WorkflowError::Step { .. })), "seed {seed}: {result:?}");
        let ledger = Ledger::replay(&log.read("r").await.unwrap()).unwrap();
        assert_eq!(matches!(ledger.end(), Some(End::Completed(_))), result.is_ok(), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_engines_are_killed_does_what_is_over_once() {
    for seed in 0..SEEDS {
        // What may be resent: the run completes. What may not: it may end with an unknown outcome, and nothing is called
        // twice.
        for tool in ["r", "t"] {
            let plan = drawn(seed, tool);
            let (host, log) = (Chance::new(seed, 0, &plan), MemoryLog::new(1));
            let mut rng = fastrand::Rng::with_seed(seed + 1_000_000);
            let begun = engine(&plan, &host, &log, seed);
            let killed_after = Duration::from_millis(rng.u64(0..1500));
            let mut result = tokio::time::timeout(killed_after, begun.run("r", &params(), "t")).await;
            if result.is_err() {
                let over = over_before(&log).await;
                let before = host.begun.lock().len();
                result = Ok(engine(&plan, &host, &log, seed + 1).resume("r").await);
                let again = host.begun.lock()[before..].to_vec();
                assert!(again.iter().all(|who| !over.contains(who)), "seed {seed}: {again:?} {over:?}");
            }
            let is_unknown = |error: &WorkflowError| matches!(error, WorkflowError::Step { failure, .. } if failure.kind == FailureKind::Unknown);
            match result.unwrap() {
                Ok(_) => {}
                Err(error) => assert!(tool == "t" && is_unknown(&error), "seed {seed}: {error:?}"),
            }
            let ended = host.ended.lock();
            if tool == "t" {
                let begun = host.begun.lock();
                assert_eq!(begun.len(), begun.iter().collect::<BTreeSet<_>>().len(), "seed {seed}");
            }
            assert!(ended.len() <= host.begun.lock().len());
        }
    }
}

/// Who is over, in the words of the calls.
async fn over_before(log: &MemoryLog) -> BTreeSet<String> {
    let states = outcomes(log).await;
    let over = states.into_iter().filter(|(_, state)| matches!(state, TaskState::Over(Outcome::Done(_))));
    over.map(|(task, _)| task.to_string()).collect()
}
