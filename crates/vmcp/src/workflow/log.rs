//! What happened in a run of a workflow, in the order it did: a log that only grows, and is all that a run consists of.
//!
//! A call is written down before it is made, and what came of it after. Whoever reads the log from its beginning knows what
//! the one who wrote it knew ([`Ledger::replay`]): what is over is not done again, and what was begun and is not over has an
//! outcome that nobody knows.
//!
//! INVARIANT: every event of every run has passed the one `match` in [`TaskState::after`], when it was written and again
//! when it is read.
//!
//! Deliberately absent: where logs are kept (see [`RunLog`]), and what to do next.

mod memory;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

pub use memory::MemoryLog;

use super::template::Data;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// The run began. It is the first event and there is no second one.
    Began(Began),
    /// Something happened to a task.
    Task {
        /// Which.
        task: Task,
        /// What.
        event: TaskEvent,
    },
    /// Another engine goes on with it from here. What the one before still had to write does not fit any more.
    TakenOver,
    /// The run is over. Nothing comes after.
    Ended(End),
}

/// What a run begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Began {
    /// The composite tool.
    pub workflow: Arc<str>,
    /// What it was given, with defaults.
    pub params: Data,
    /// When, as RFC 3339.
    pub started: Arc<str>,
    /// For whom, where that is not only who waits for it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
}

/// Whose call a run answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    /// The client's session.
    pub session: Uuid,
    /// The digest of whose session that is.
    pub principal: [u8; 16],
    /// The id of the request, as the client wrote it.
    pub request: String,
    /// What it wants progress reported under, as it wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum End {
    /// With this answer.
    Completed(Data),
    /// With this error.
    Failed(String),
    /// Somebody did not want it any more.
    Cancelled,
    /// It took too long.
    TimedOut,
}

/// A step, or one of the many calls of a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// The step.
    pub step: Arc<str>,
    /// Which of its calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iteration: Option<usize>,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.step)?;
        self.iteration.map_or(Ok(()), |iteration| write!(f, "[{iteration}]"))
    }
}

/// What happens to a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskEvent {
    /// It is not to be done.
    Skipped,
    /// It is about to be done: the call is made, the question asked, the first of many begun.
    Sent,
    /// It failed and is to be tried again.
    AttemptFailed(Failure),
    /// Whoever did it is gone and the outcome is not known; it is to be done again.
    Lost,
    /// It is done.
    Done(Answer),
    /// It failed for good.
    Failed(Failure),
}

/// What a task gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Its output. That of a step with many calls is made of theirs, and null here.
    pub output: Data,
    /// The content that came with it, by names.
    pub content: Data,
    /// Whether what has not begun yet is to be skipped.
    pub skips_rest: bool,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{message}")]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Of what kind it is.
    pub kind: FailureKind,
    /// What happened, for people.
    pub message: String,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// What the task is given could not be made.
    Arguments,
    /// Its condition came to nothing.
    Condition,
    /// There is no such tool.
    NoTool,
    /// The call was not made.
    NotSent,
    /// The tool said that it failed.
    Tool,
    /// The call was made, and what came of it is not known.
    Unknown,
    /// It took too long.
    TimedOut,
    /// The user declined.
    Declined,
    /// The user cancelled.
    Cancelled,
    /// The user could not be asked, or answered what is not taken.
    Ask,
    /// One of many calls failed.
    Iteration,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskState {
    /// It is to be done.
    Waiting {
        /// How often it was begun.
        attempts: usize,
        /// Whether one of those has no known outcome.
        was_lost: bool,
    },
    /// It is being done, or was when whoever did it was lost.
    Running {
        /// How often it was begun, this time included.
        attempts: usize,
        /// Whether one of those before has no known outcome.
        was_lost: bool,
    },
    /// It is over.
    Over(Outcome),
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is done.
    Done(Answer),
    /// It was not to be done.
    Skipped,
    /// It failed.
    Failed(Failure),
}

impl TaskState {
    /// Before anything happened.
    pub const NEW: Self = Self::Waiting { attempts: 0, was_lost: false };

    /// The legal transitions, all of them.
    #[must_use]
    pub fn after(&self, event: &TaskEvent) -> Option<Self> {
        use TaskEvent::{AttemptFailed, Done, Failed, Lost, Sent, Skipped};
        match (self, event) {
            (Self::Waiting { attempts: 0, .. }, Skipped) => Some(Self::Over(Outcome::Skipped)),
            (Self::Waiting { attempts, was_lost }, Sent) => {
                Some(Self::Running { attempts: attempts + 1, was_lost: *was_lost })
            }
            (Self::Running { attempts, was_lost }, AttemptFailed(_)) => {
                Some(Self::Waiting { attempts: *attempts, was_lost: *was_lost })
            }
            (Self::Running { attempts, .. }, Lost) => {
                Some(Self::Waiting { attempts: *attempts, was_lost: true })
            }
            (Self::Running { .. }, Done(answer)) => Some(Self::Over(Outcome::Done(answer.clone()))),
            (Self::Waiting { .. } | Self::Running { .. }, Failed(failure)) => {
                Some(Self::Over(Outcome::Failed(failure.clone())))
            }
            (Self::Waiting { .. }, Skipped | AttemptFailed(_) | Lost | Done(_))
            | (Self::Running { .. }, Skipped | Sent)
            | (Self::Over(_), Skipped | Sent | AttemptFailed(_) | Lost | Done(_) | Failed(_)) => None,
        }
    }
}

/// An event that cannot come where it does.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("event {position} of the log cannot follow those before it: {what}")]
pub struct IllegalEvent {
    /// Where it is.
    pub position: u64,
    /// What it is.
    pub what: String,
}

/// What a log comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    began: Option<Began>,
    tasks: BTreeMap<Task, TaskState>,
    end: Option<End>,
    skips_rest: bool,
    taken_over: u64,
    length: u64,
}

impl Ledger {
    /// What these events come to.
    ///
    /// # Errors
    /// The first one that cannot be where it is.
    pub fn replay(events: &[Event]) -> Result<Self, IllegalEvent> {
        let mut ledger = Self::default();
        events.iter().try_for_each(|event| ledger.apply(event))?;
        Ok(ledger)
    }

    /// Takes note of one event more.
    ///
    /// # Errors
    /// When it cannot follow; then nothing is noted.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        let illegal = |what: String| IllegalEvent { position: self.length, what };
        match (event, &self.began, &self.end) {
            (_, _, Some(_)) => return Err(illegal("the run is over".to_owned())),
            (Event::Began(began), None, None) => self.began = Some(began.clone()),
            (Event::Began(_), Some(_), None) => return Err(illegal("it began twice".to_owned())),
            (_, None, None) => return Err(illegal("it has not begun".to_owned())),
            (Event::TakenOver, Some(_), None) => self.taken_over += 1,
            (Event::Ended(end), Some(_), None) => self.end = Some(end.clone()),
            (Event::Task { task, event }, Some(_), None) => {
                let step = Task { iteration: None, ..task.clone() };
                let is_open =
                    task.iteration.is_none() || matches!(self.state(&step), TaskState::Running { .. });
                let next = Some(self.state(task)).filter(|_| is_open).and_then(|state| state.after(event));
                let Some(next) = next else {
                    return Err(illegal(format!("{task} was {:?}, then {event:?}", self.state(task))));
                };
                self.skips_rest |= matches!(event, TaskEvent::Done(answer) if answer.skips_rest);
                self.tasks.insert(task.clone(), next);
            }
        }
        self.length += 1;
        Ok(())
    }

    /// What the run began with, if it did.
    #[must_use]
    pub fn began(&self) -> Option<&Began> {
        self.began.as_ref()
    }

    /// Where a task stands.
    #[must_use]
    pub fn state(&self, task: &Task) -> &TaskState {
        self.tasks.get(task).unwrap_or(&TaskState::NEW)
    }

    /// The tasks that anything happened to.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.keys()
    }

    /// How the run ended, if it did.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether steps that have not begun are skipped.
    #[must_use]
    pub fn skips_rest(&self) -> bool {
        self.skips_rest
    }

    /// How often another engine went on with it.
    #[must_use]
    pub fn taken_over(&self) -> u64 {
        self.taken_over
    }

    /// How many events there were.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// Why a log could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogError {
    /// Somebody else has written to it: the run goes on elsewhere.
    #[error("the run goes on elsewhere")]
    Moved,
    /// It cannot be reached, or is full.
    #[error("the log is not available: {0}")]
    Unavailable(String),
}

/// What a log is doing.
pub type Logging<'a, T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send + 'a>>;

/// Where logs of runs are kept.
pub trait RunLog: Send + Sync + fmt::Debug {
    /// Adds an event to a run's log, if that has exactly `position` events. It is there for all to read when this is done.
    fn append<'a>(&'a self, run: &'a str, position: u64, event: &'a Event) -> Logging<'a, ()>;

    /// A run's events from the first on; none where nothing is known of it.
    fn read<'a>(&'a self, run: &'a str) -> Logging<'a, Vec<Event>>;
}
