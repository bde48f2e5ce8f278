//! Runs as people see them: names, times and states. What tools are given and say only where that is asked for.

use serde_json::Value;
use uuid::Uuid;

use super::super::Hub;
use crate::workflow::log::{Began, End, Event, FailureKind, Task, TaskEvent};
use crate::workflow::runs::Dated;

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunView {
    pub id: Uuid,
    /// The composite tool.
    pub workflow: String,
    /// The session of its client.
    pub session: Option<Uuid>,
    /// Unix milliseconds.
    pub began: u64,
    /// `running`, `completed`, `failed`, `cancelled` or `timed out`.
    pub state: &'static str,
    /// It goes on in this process.
    pub is_here: bool,
    /// What it was given, where that is asked for.
    pub arguments: Option<Value>,
    /// What has happened, in order.
    pub timeline: Vec<TaskLine>,
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskLine {
    /// Unix milliseconds.
    pub at: u64,
    /// `STEP`, or `STEP[NUMBER]` for one of its many calls; nothing for the run itself.
    pub task: Option<String>,
    pub what: &'static str,
    /// What it gave, or why it failed, where that is asked for.
    pub detail: Option<Value>,
}

impl Hub {
    /// All runs that are not forgotten, the oldest first.
    ///
    /// # Errors
    /// The place for runs is away.
    pub async fn runs(&self) -> Result<Vec<RunView>, String> {
        let mut views = Vec::new();
        for id in self.runs.kept.all().await.map_err(|error| error.to_string())? {
            views.extend(self.show_run(id, false).await?);
        }
        views.sort_by_key(|view| (view.began, view.id));
        Ok(views)
    }

    /// One of them. With `private`, what tools were given and said is there too.
    ///
    /// # Errors
    /// The place for runs is away.
    pub async fn show_run(&self, id: Uuid, private: bool) -> Result<Option<RunView>, String> {
        let events = self.runs.kept.timeline(id).await.map_err(|error| error.to_string())?;
        Ok(view(id, &events, private).map(|view| RunView { is_here: self.runs.here(id).is_some(), ..view }))
    }
}

fn view(id: Uuid, events: &[Dated], private: bool) -> Option<RunView> {
    let (first, last) = (events.first()?, events.last()?);
    let Event::Began(Began { workflow, params, caller, .. }) = &first.event else { return None };
    let state = match &last.event {
        Event::Ended(End::Completed(_)) => "completed",
        Event::Ended(End::Failed(_)) => "failed",
        Event::Ended(End::Cancelled) => "cancelled",
        Event::Ended(End::TimedOut) => "timed out",
        Event::Began(_) | Event::Task { .. } | Event::TakenOver => "running",
    };
    Some(RunView {
        id,
        workflow: workflow.to_string(),
        session: caller.as_ref().map(|caller| caller.session),
        began: first.at,
        state,
        is_here: false,
        arguments: private.then(|| json(params)),
        timeline: events.iter().map(|dated| line(dated, private)).collect(),
    })
}

fn json(data: &impl serde::Serialize) -> Value {
    serde_json::to_value(data).unwrap_or_default()
}

fn line(dated: &Dated, private: bool) -> TaskLine {
    let (task, what, detail) = match &dated.event {
        Event::Began(_) => (None, "began", None),
        Event::TakenOver => (None, "taken over", None),
        Event::Ended(end) => match end {
            End::Completed(output) => (None, "completed", Some(json(output))),
            End::Failed(why) => (None, "failed", Some(json(why))),
            End::Cancelled => (None, "cancelled", None),
            End::TimedOut => (None, "timed out", None),
        },
        Event::Task { task, event } => {
            let (what, detail) = of_task(event);
            (Some(task), what, detail)
        }
    };
    TaskLine { at: dated.at, task: task.map(Task::to_string), what, detail: detail.filter(|_| private) }
}

fn of_task(event: &TaskEvent) -> (&'static str, Option<Value>) {
    match event {
        TaskEvent::Skipped => ("skipped", None),
        TaskEvent::Sent => ("sent", None),
        TaskEvent::Lost => ("lost, and to be done again", None),
        TaskEvent::AttemptFailed(failure) => ("failed, and to be tried again", Some(json(&failure.message))),
        TaskEvent::Done(answer) => ("done", Some(json(&answer.output))),
        TaskEvent::Failed(failure) => {
            let what = match failure.kind {
                FailureKind::Unknown => "failed: its outcome is not known",
                FailureKind::TimedOut => "failed: it took too long",
                FailureKind::Declined => "declined by the user",
                FailureKind::Cancelled => "cancelled by the user",
                _ => "failed",
            };
            (what, Some(json(&failure.message)))
        }
    }
}
