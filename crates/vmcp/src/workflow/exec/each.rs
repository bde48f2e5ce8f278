//! A call for each of many: a bounded number at once, all of them or until the first fails.
//!
//! What such a step gave is made of what its calls gave, here and again when a log is read; it is not written down twice.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use super::super::condition;
use super::super::log::{Answer, Failure, FailureKind, Outcome, Task, TaskEvent, TaskState};
use super::super::template::Data;
use super::run::Run;
use super::state::{of_step, with_item};
use super::told;
use crate::config::{Action, ForEach, OnError, Step, StepKind};

/// The calls of a step.
#[derive(Clone, Copy)]
struct Calls<'c> {
    task: &'c Task,
    inner: &'c Step,
    variable: &'c str,
    on_error: OnError,
    data: &'c Data,
}

impl Run<'_> {
    /// Calls for each, and gives what comes of all.
    pub(super) async fn each(
        &self,
        task: &Task,
        step: &Step,
        each: &ForEach,
        data: &Data,
    ) -> Result<(Answer, Data), Failure> {
        let items = self.items(step, each, data)?;
        let Some(inner) = &each.step else {
            return Err(Failure {
                kind: FailureKind::Arguments,
                message: "there is nothing to do".to_owned(),
            });
        };
        if matches!(self.before.state(task), TaskState::Waiting { .. }) {
            self.record(task.clone(), TaskEvent::Sent).await;
        }
        // A step that is to be tried again is so call by call.
        let inherits = inner.on_error.action == Action::Abort && step.on_error.action == Action::Retry;
        let on_error = if inherits { step.on_error } else { inner.on_error };
        let calls = Calls { task, inner, variable: &each.variable, on_error, data };
        let goes_on = [step, inner].iter().any(|step| step.on_error.action == Action::Continue);
        let all = self.all(calls, &items, each.max_parallel.max(1), goes_on);
        match timeout(step.timeout, Box::pin(all)).await {
            Ok(outcomes) => Ok((Answer::default(), aggregated(inner, &items, &outcomes?))),
            Err(_) => {
                let message = format!("forEach step {} took longer than {:?}", step.id, step.timeout);
                Err(Failure { kind: FailureKind::TimedOut, message })
            }
        }
    }

    fn items(&self, step: &Step, each: &ForEach, data: &Data) -> Result<Vec<Data>, Failure> {
        let Some(template) = &each.collection else { return Ok(Vec::new()) };
        let items = condition::collection(template, data, each.max_iterations, self.engine.settings.options);
        items.map(|items| items.to_vec()).map_err(|error| Failure {
            kind: FailureKind::Arguments,
            message: format!("forEach step {}: {}", step.id, told(&error)),
        })
    }

    async fn all(
        &self,
        calls: Calls<'_>,
        items: &[Data],
        most: usize,
        goes_on: bool,
    ) -> Result<Vec<Outcome>, Failure> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; items.len()];
        let mut todo = items.iter().enumerate();
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < most
                && let Some((index, item)) = todo.next()
            {
                running.push(Box::pin(self.one(calls, index, item)));
            }
            let Some((index, outcome)) = running.next().await else { break };
            if let (Outcome::Failed(failure), false) = (&outcome, goes_on) {
                let message = format!("forEach step {} iteration {index}: {failure}", calls.task.step);
                let kind =
                    if failure.kind == FailureKind::Unknown { failure.kind } else { FailureKind::Iteration };
                return Err(Failure { kind, message });
            }
            outcomes[index] = Some(outcome);
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    async fn one(&self, calls: Calls<'_>, index: usize, item: &Data) -> (usize, Outcome) {
        let task = Task { iteration: Some(index), ..calls.task.clone() };
        let before = self.before.state(&task);
        if let TaskState::Over(outcome) = before {
            return (index, outcome.clone());
        }
        let data = with_item(calls.data, calls.variable, item, index);
        let outcome = self.do_one(calls, &task, &data).await;
        self.record_outcome(task, &outcome).await;
        (index, outcome)
    }

    async fn do_one(&self, calls: Calls<'_>, task: &Task, data: &Data) -> Outcome {
        let StepKind::Tool(call) = &calls.inner.kind else { return Outcome::Skipped };
        if *self.before.state(task) == TaskState::NEW {
            match condition::holds(calls.inner.condition.as_ref(), data, self.engine.settings.options) {
                Ok(true) => {}
                Ok(false) => return Outcome::Skipped,
                Err(error) => {
                    let message = told(&error);
                    return Outcome::Failed(Failure { kind: FailureKind::Condition, message });
                }
            }
        }
        let done = self.call(task, call, calls.inner, calls.on_error, data).await;
        done.map_or_else(Outcome::Failed, Outcome::Done)
    }

    /// What a step gave that was over before this engine, where that is not in its outcome.
    pub(super) fn made_before(&self, place: usize, outcome: &Outcome, data: &Data) -> Option<Data> {
        let step = &self.engine.plan.steps[place].step;
        let (StepKind::ForEach(each), Outcome::Done(_)) = (&step.kind, outcome) else { return None };
        let items = self.items(step, each, data).ok()?;
        let task = self.task(place);
        let outcome = |index: usize| match self.before.state(&Task { iteration: Some(index), ..task.clone() })
        {
            TaskState::Over(outcome) => Some(outcome.clone()),
            TaskState::Waiting { .. } | TaskState::Running { .. } => None,
        };
        let outcomes: Option<Vec<Outcome>> = (0..items.len()).map(outcome).collect();
        Some(aggregated(each.step.as_ref()?, &items, &outcomes?))
    }
}

/// What many calls come to.
fn aggregated(inner: &Step, items: &[Data], outcomes: &[Outcome]) -> Data {
    let whole = |count: usize| Data::Int(i64::try_from(count).unwrap_or(i64::MAX));
    let iteration = |(index, (item, outcome)): (usize, (&Data, &Outcome))| {
        let over = of_step(inner, outcome, None);
        let mut members = vec![("index", whole(index)), ("item", item.clone())];
        for name in ["status", "output", "error"] {
            members.extend(over.get(name).map(|value| (name, value.clone())));
        }
        Data::map(members)
    };
    let count = |is: fn(&Outcome) -> bool| whole(outcomes.iter().filter(|outcome| is(outcome)).count());
    Data::map([
        ("iterations", Data::list(items.iter().zip(outcomes).enumerate().map(iteration))),
        ("count", whole(items.len())),
        ("completed", count(|outcome| matches!(outcome, Outcome::Done(_)))),
        ("failed", count(|outcome| matches!(outcome, Outcome::Failed(_)))),
    ])
}
