//! One run: starts steps, takes what they come to, and makes the answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::super::condition;
use super::super::log::{
    Began, End, Event, Failure, FailureKind, Ledger, Outcome, Task, TaskEvent, TaskState,
};
use super::super::output;
use super::super::template::Data;
use super::recorder::Recorder;
use super::schedule::Schedule;
use super::state::{self, Progress};
use super::{Engine, WorkflowError, told};
use crate::config::{Action, StepKind};

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) engine: &'a Engine<'a>,
    pub(super) recorder: Recorder,
    /// What was in the log when this engine took over.
    pub(super) before: Ledger,
    id: &'a str,
    began: Began,
    since: Instant,
    /// Calls whose outcome nobody would know if this was dropped now.
    calls: watch::Sender<BTreeSet<Task>>,
}

/// A step that is over.
pub(super) struct Over {
    place: usize,
    outcome: Outcome,
    /// What it gave, where that is not in the outcome.
    made: Option<Data>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        engine: &'a Engine<'a>,
        id: &'a str,
        began: Began,
        before: Ledger,
        recorder: Recorder,
    ) -> Self {
        Self {
            engine,
            recorder,
            before,
            id,
            began,
            since: Instant::now(),
            calls: watch::channel(BTreeSet::new()).0,
        }
    }

    pub(super) async fn finish(self) -> Result<Data, WorkflowError> {
        let settings = &self.engine.settings;
        let deadline = self.since + self.engine.plan.timeout.saturating_sub(settings.elapsed);
        let driven = tokio::select! {
            biased;
            () = self.engine.cancel.cancelled() => Err(WorkflowError::Cancelled),
            () = sleep_until(deadline) => Err(WorkflowError::TimedOut),
            () = self.is_quiet() => return Err(WorkflowError::Paused),
            driven = Box::pin(self.drive()) => driven,
        };
        let result = driven.and_then(|steps| self.answer(&steps));
        let end = match &result {
            Ok(answer) => End::Completed(answer.clone()),
            Err(WorkflowError::Cancelled) => End::Cancelled,
            Err(WorkflowError::TimedOut) => End::TimedOut,
            Err(error) => End::Failed(told(error)),
        };
        self.recorder.record(Event::Ended(end)).await;
        result
    }

    /// Comes back when it is to pause and no call is under way.
    async fn is_quiet(&self) {
        self.engine.pause.cancelled().await;
        // The sender is here.
        let _ = self.calls.subscribe().wait_for(BTreeSet::is_empty).await;
    }

    /// Something is about to be sent; never, when it is to pause. What may be done again is not waited for then.
    pub(super) async fn begin(&self, task: &Task, may_resend: bool) {
        if self.engine.pause.is_cancelled() {
            std::future::pending::<()>().await;
        }
        if !may_resend {
            self.calls.send_if_modified(|calls| calls.insert(task.clone()));
        }
    }

    /// Runs all steps. What they gave is by their places.
    async fn drive(&self) -> Result<Vec<Option<Data>>, WorkflowError> {
        let plan = self.engine.plan;
        let mut steps: Vec<Option<Data>> = vec![None; plan.steps.len()];
        let mut schedule = Schedule::new(plan, self.engine.settings.parallel.max(1));
        let mut running = FuturesUnordered::new();
        let mut skips_rest = self.before.skips_rest();
        for place in plan.order.iter().copied() {
            match self.before.state(&self.task(place)) {
                TaskState::Over(outcome) => {
                    let made = self.made_before(place, outcome, &self.seen(place, &steps));
                    schedule.over(place);
                    steps[place] = Some(self.settled(&Over { place, outcome: outcome.clone(), made })?);
                }
                state if *state != TaskState::NEW => {
                    schedule.begin(place);
                    running.push(Box::pin(self.step(place, self.seen(place, &steps))));
                }
                _ => {}
            }
        }
        loop {
            if skips_rest {
                for place in schedule.skip_rest() {
                    let over = self.over(place, Outcome::Skipped, None).await;
                    steps[place] = Some(self.settled(&over)?);
                }
            }
            for place in schedule.start() {
                running.push(Box::pin(self.step(place, self.seen(place, &steps))));
            }
            let Some(over) = running.next().await else { return Ok(steps) };
            schedule.over(over.place);
            skips_rest |= matches!(&over.outcome, Outcome::Done(answer) if answer.skips_rest);
            steps[over.place] = Some(self.settled(&over)?);
        }
    }

    pub(super) fn task(&self, place: usize) -> Task {
        Task { step: self.engine.plan.steps[place].step.id.as_str().into(), iteration: None }
    }

    /// The run as a step sees it.
    fn seen(&self, place: usize, steps: &[Option<Data>]) -> Data {
        let plan = self.engine.plan;
        let seen = plan.steps[place].sees.iter().filter_map(|other| {
            Some((Arc::from(plan.steps[*other].step.id.as_str()), steps[*other].clone()?))
        });
        state::of_run(self.id, &self.began, Progress::PENDING, seen)
    }

    /// A step that is over as others see it, unless the run is over with it.
    fn settled(&self, over: &Over) -> Result<Data, WorkflowError> {
        let step = &self.engine.plan.steps[over.place].step;
        match &over.outcome {
            Outcome::Failed(failure) if step.on_error.action != Action::Continue => {
                Err(WorkflowError::Step { step: step.id.as_str().into(), failure: failure.clone() })
            }
            outcome => Ok(state::of_step(step, outcome, over.made.clone())),
        }
    }

    /// Does a step, or goes on with it.
    async fn step(&self, place: usize, data: Data) -> Over {
        let step = &self.engine.plan.steps[place].step;
        let task = self.task(place);
        if *self.before.state(&task) == TaskState::NEW {
            match condition::holds(step.condition.as_ref(), &data, self.engine.settings.options) {
                Ok(true) => {}
                Ok(false) => return self.over(place, Outcome::Skipped, None).await,
                Err(error) => {
                    let failure = Failure { kind: FailureKind::Condition, message: told(&error) };
                    return self.over(place, Outcome::Failed(failure), None).await;
                }
            }
        }
        let mut made = None;
        let done = match &step.kind {
            StepKind::Tool(call) => self.call(&task, call, step, step.on_error, &data).await,
            StepKind::Elicitation { .. } => self.ask(&task, step, &data).await,
            StepKind::ForEach(each) => self.each(&task, step, each, &data).await.map(|(answer, output)| {
                made = Some(output);
                answer
            }),
        };
        let outcome = done.map_or_else(Outcome::Failed, Outcome::Done);
        self.over(place, outcome, made).await
    }

    async fn over(&self, place: usize, outcome: Outcome, made: Option<Data>) -> Over {
        self.record_outcome(self.task(place), &outcome).await;
        Over { place, outcome, made }
    }

    pub(super) async fn record_outcome(&self, task: Task, outcome: &Outcome) {
        let event = match outcome.clone() {
            Outcome::Done(answer) => TaskEvent::Done(answer),
            Outcome::Skipped => TaskEvent::Skipped,
            Outcome::Failed(failure) => TaskEvent::Failed(failure),
        };
        self.record(task, event).await;
    }

    pub(super) async fn record(&self, task: Task, event: TaskEvent) {
        let is_answered = event != TaskEvent::Sent;
        self.recorder.record(Event::Task { task: task.clone(), event }).await;
        if is_answered {
            self.calls.send_if_modified(|calls| calls.remove(&task));
        }
    }

    /// What the run answers.
    fn answer(&self, steps: &[Option<Data>]) -> Result<Data, WorkflowError> {
        let plan = self.engine.plan;
        let is_done =
            |step: &Data| matches!(step.get("status"), Some(Data::Text(status)) if &**status == "completed");
        let done: Vec<&Data> = plan
            .order
            .iter()
            .filter_map(|place| steps[*place].as_ref())
            .filter(|step| is_done(step))
            .collect();
        let Some(output) = &plan.output else {
            return Ok(done.last().and_then(|step| step.get("output")).cloned().unwrap_or_default());
        };
        let duration = self.engine.settings.elapsed + self.since.elapsed();
        let progress = Progress { status: "completed", duration, steps: done.len() };
        let named = plan.steps.iter().zip(steps);
        let named =
            named.filter_map(|(planned, step)| Some((planned.step.id.as_str().into(), step.clone()?)));
        let data = state::of_run(self.id, &self.began, progress, named);
        output::construct(output, &data, self.engine.settings.options).map_err(WorkflowError::Output)
    }
}
