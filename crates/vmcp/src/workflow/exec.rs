//! Runs a plan: steps start as soon as what they wait for is over, and everything that matters is in the log first.
//!
//! An [`Engine`] has one plan, a [`Host`] that calls tools and asks the user, and a [`RunLog`]. [`Engine::run`] begins a run;
//! [`Engine::resume`] goes on with one whose engine is gone, from its log alone: what is over is not done again. A call that
//! was under way then has an outcome that nobody knows. It is made again, once, if the host says that this tool may be called
//! twice; otherwise the step fails as [`FailureKind::Unknown`]. A question is simply asked again. Times of steps begin anew
//! with a new engine, that of the run does not. An engine that is to go away in order begins nothing more and waits for the
//! calls that are under way ([`Engine::pause`]), so that no outcome is unknown.
//!
//! A step sees what the steps that it waits for gave, and nothing else, so what a run comes to does not depend on which of
//! them was faster. There is one exception, which is what it is for: when a user's answer skips what remains, what has begun
//! by then ends, and nothing else begins.
//!
//! Where the contract's behaviour is a defect, it is not this one's: there are no levels that wait for their slowest step;
//! `skip_remaining` skips; a step of a forEach has its own condition, time and `continue`; a step that fails and goes on
//! always gives its `defaultResults`; tools that clients do not see are given arguments of the right types, too; without an
//! `output` the answer is that of the last step in order, and not of the last one to end.
//!
//! INVARIANT: dropping what is run drops the calls under way with it; that is how they are cancelled. Nothing is spawned.
//!
//! Deliberately absent: authorization and metering of single calls (the host's), clocks of the day, and who resumes what.

mod answer;
mod backoff;
mod each;
mod recorder;
mod run;
mod schedule;
mod state;
mod task;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use answer::ToolAnswer;

use super::arguments::with_defaults;
use super::log::{Began, Caller, End, Event, Failure, IllegalEvent, Ledger, LogError, RunLog};
use super::output::OutputError;
use super::plan::Plan;
use super::template::{Data, Options};
use recorder::{Recorder, Writer};
use run::Run;

/// Something that a host is doing. Dropping it cancels it.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a run does to the world.
pub trait Host: Send + Sync + fmt::Debug {
    /// The schema of a tool's arguments, by which they get their types.
    fn schema(&self, tool: &str) -> Option<Data>;

    /// Whether a call of this tool may be made twice, as far as anybody has said so.
    fn may_resend(&self, tool: &str) -> bool;

    /// Calls a tool.
    fn call<'a>(&'a self, tool: &'a str, arguments: Data) -> Doing<'a, Result<ToolAnswer, CallError>>;

    /// Asks the user.
    fn ask(&self, question: Question) -> Doing<'_, Result<Reply, String>>;

    /// Hears of everything that is in the log now.
    fn recorded(&self, _event: &Event) {}
}

/// A question to the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The step that asks.
    pub step: String,
    /// What is asked.
    pub message: String,
    /// What may be answered, as a JSON Schema.
    pub schema: Data,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// What a user says to a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// This.
    Accept(Data),
    /// No.
    Decline,
    /// Nothing.
    Cancel,
}

/// Why a call has no answer of its tool.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// There is no such tool.
    #[error("there is no such tool")]
    NoTool,
    /// It was not made.
    #[error("the call was not made: {0}")]
    NotSent(String),
    /// It was refused with an error.
    #[error("{0}")]
    Refused(String),
    /// It was made, and what came of it is not known.
    #[error("its outcome is not known: {0}")]
    Unknown(String),
}

/// How things are run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Steps that run at once.
    pub parallel: usize,
    /// How templates are rendered.
    pub options: Options,
    /// For how long the run has been going on already, elsewhere.
    pub elapsed: Duration,
    /// What waits before further attempts are drawn from.
    pub seed: u64,
}

impl Settings {
    /// As the contract has it, for a run that begins here.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { parallel: 10, options: Options::LIKE_GO, elapsed: Duration::ZERO, seed }
    }
}

/// Why a run has no answer.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum WorkflowError {
    /// A step failed.
    #[error("step {step} failed")]
    Step {
        /// Which.
        step: Arc<str>,
        /// Why.
        #[source]
        failure: Failure,
    },
    /// The answer could not be made.
    #[error("output construction failed")]
    Output(#[source] OutputError),
    /// It took too long.
    #[error("workflow timed out")]
    TimedOut,
    /// Somebody did not want it any more.
    #[error("workflow cancelled")]
    Cancelled,
    /// It was stopped, and another engine may go on.
    #[error("workflow paused")]
    Paused,
    /// The log does not do; what the run came to is in it, as far as it goes.
    #[error("the run cannot be recorded")]
    Log(#[source] LogError),
    /// The log says what cannot be.
    #[error("the run's log is not one")]
    Illegal(#[source] IllegalEvent),
    /// Nothing is known of the run.
    #[error("there is no run {0:?} of this workflow")]
    UnknownRun(String),
    /// The workflow is another one since the run began.
    #[error("the workflow has no step {0:?} any more")]
    Changed(Arc<str>),
    /// The run is over.
    #[error("the run is over")]
    Over(End),
}

/// Runs one plan.
#[derive(Clone, Debug)]
pub struct Engine<'a> {
    /// What is done.
    pub plan: &'a Plan,
    /// Who does it.
    pub host: &'a dyn Host,
    /// Where it is written down.
    pub log: &'a dyn RunLog,
    /// For whom, where that is written down.
    pub caller: Option<Caller>,
    /// Ends it, calls under way included.
    pub cancel: CancellationToken,
    /// Stops it where nothing is under way, for another engine to go on.
    pub pause: CancellationToken,
    /// How.
    pub settings: Settings,
}

/// Events that wait to be written. Whoever has one waits for it, so there are as many as there are tasks at most.
const QUEUE: usize = 64;

impl Engine<'_> {
    /// Begins a run with these parameters, at this time as RFC 3339, and sees it to its end.
    ///
    /// # Errors
    /// Why there is no answer. Unless the log failed, the log has it too.
    pub async fn run(&self, id: &str, params: &Data, started: &str) -> Result<Data, WorkflowError> {
        let params = with_defaults(&self.plan.parameters, params);
        let began = Began {
            workflow: Arc::clone(&self.plan.name),
            params,
            started: started.into(),
            caller: self.caller.clone(),
        };
        let event = Event::Began(began);
        let mut ledger = Ledger::default();
        ledger.apply(&event).map_err(WorkflowError::Illegal)?;
        self.log.append(id, 0, &event).await.map_err(WorkflowError::Log)?;
        self.host.recorded(&event);
        self.go_on(id, ledger).await
    }

    /// Goes on with a run that was begun elsewhere, from its log.
    ///
    /// # Errors
    /// Those of [`Self::run`], and when there is nothing to go on with.
    pub async fn resume(&self, id: &str) -> Result<Data, WorkflowError> {
        let events = self.log.read(id).await.map_err(WorkflowError::Log)?;
        let ledger = Ledger::replay(&events).map_err(WorkflowError::Illegal)?;
        if ledger.began().is_none_or(|began| began.workflow != self.plan.name) {
            return Err(WorkflowError::UnknownRun(id.to_owned()));
        }
        if let Some(end) = ledger.end() {
            return Err(WorkflowError::Over(end.clone()));
        }
        let is_gone = |step: &&Arc<str>| self.plan.position(step).is_none();
        if let Some(step) = ledger.tasks().map(|task| &task.step).find(is_gone) {
            return Err(WorkflowError::Changed(Arc::clone(step)));
        }
        let (event, position) = (Event::TakenOver, ledger.length());
        let mut ledger = ledger;
        ledger.apply(&event).map_err(WorkflowError::Illegal)?;
        self.log.append(id, position, &event).await.map_err(WorkflowError::Log)?;
        self.host.recorded(&event);
        self.go_on(id, ledger).await
    }

    async fn go_on(&self, id: &str, ledger: Ledger) -> Result<Data, WorkflowError> {
        let Some(began) = ledger.began().cloned() else {
            return Err(WorkflowError::UnknownRun(id.to_owned()));
        };
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writer = Writer { run: id, log: self.log, host: self.host, ledger: ledger.clone(), receiver };
        let run = Run::new(self, id, began, ledger, Recorder::new(sender));
        tokio::select! {
            biased;
            error = Box::pin(writer.write()) => Err(error),
            result = Box::pin(run.finish()) => result,
        }
    }
}

/// An error and what it comes from, in one line.
#[must_use]
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
