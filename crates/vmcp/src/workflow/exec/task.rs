//! One call, or one question: sent, tried again, given up.

use tokio::time::{sleep, timeout};

use super::super::arguments;
use super::super::log::{Answer, Failure, FailureKind, Task, TaskEvent, TaskState};
use super::super::plan::is_deeper_than;
use super::super::template::Data;
use super::run::Run;
use super::{CallError, Doing, Question, Reply, backoff, told};
use crate::config::{Action, Choice, OnError, Step, StepKind, ToolCall};

/// How long a user is waited for at most.
const MAX_ASK: std::time::Duration = std::time::Duration::from_secs(10 * 60);
/// Bytes of a user's answer.
const MAX_REPLY: usize = 1024 * 1024;
/// Levels of one.
const MAX_REPLY_DEPTH: usize = 10;

/// How something is tried.
#[derive(Clone, Copy)]
struct Trying<'t> {
    task: &'t Task,
    on_error: OnError,
    /// How often it was tried before.
    attempts: usize,
    /// Whether what may have been done may be done again.
    may_resend: bool,
}

impl Run<'_> {
    /// Calls a tool. `step` says how long that may take.
    pub(super) async fn call(
        &self,
        task: &Task,
        call: &ToolCall,
        step: &Step,
        on_error: OnError,
        data: &Data,
    ) -> Result<Answer, Failure> {
        let (tool, host) = (call.tool.as_str(), self.engine.host);
        let may_resend = host.may_resend(tool);
        let attempts = self.attempts_before(task, tool, may_resend).await?;
        let schema = host.schema(tool);
        let arguments =
            arguments::expand(&call.arguments, schema.as_ref(), data, self.engine.settings.options).map_err(
                |error| {
                    let message = format!("template expansion failed: {}", told(&error));
                    Failure { kind: FailureKind::Arguments, message }
                },
            )?;
        let trying = Trying { task, on_error, attempts, may_resend };
        let once = || -> Doing<'_, Result<Answer, Failure>> {
            let called = host.call(tool, arguments.clone());
            Box::pin(async move {
                called.await.map_err(|error| not_answered(tool, &error)).and_then(|answer| answer.read(tool))
            })
        };
        match timeout(step.timeout, self.attempts(trying, &once)).await {
            Ok(done) => done,
            Err(_) => {
                let message = format!("tool {tool} took longer than {:?}", step.timeout);
                Err(Failure { kind: FailureKind::TimedOut, message })
            }
        }
    }

    /// How often it was tried before this engine. A call that was under way then may have been carried out: it is made again
    /// once, if at all.
    async fn attempts_before(&self, task: &Task, tool: &str, may_resend: bool) -> Result<usize, Failure> {
        match self.before.state(task) {
            TaskState::Running { was_lost: false, attempts } if may_resend => {
                self.record(task.clone(), TaskEvent::Lost).await;
                Ok(*attempts)
            }
            TaskState::Running { .. } => {
                let message = format!("the outcome of calling tool {tool} is not known");
                Err(Failure { kind: FailureKind::Unknown, message })
            }
            TaskState::Waiting { attempts, .. } => Ok(*attempts),
            TaskState::Over(_) => Ok(0),
        }
    }

    async fn attempts<'o>(
        &self,
        trying: Trying<'_>,
        once: &(dyn Fn() -> Doing<'o, Result<Answer, Failure>> + Sync),
    ) -> Result<Answer, Failure> {
        let OnError { action, retries, delay } = trying.on_error;
        let mut attempts = trying.attempts;
        loop {
            self.begin(trying.task, trying.may_resend).await;
            self.record(trying.task.clone(), TaskEvent::Sent).await;
            attempts += 1;
            let failure = match once().await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let is_last = action != Action::Retry || attempts > retries;
            if is_last || !may_try_again(failure.kind, trying.may_resend) {
                return Err(failure);
            }
            self.record(trying.task.clone(), TaskEvent::AttemptFailed(failure)).await;
            sleep(backoff::after(attempts, delay, self.chance(trying.task, attempts))).await;
        }
    }

    /// The same for the same task of the same seed, whatever else was drawn.
    fn chance(&self, task: &Task, attempts: usize) -> f64 {
        let mixed =
            task.to_string().bytes().fold(self.engine.settings.seed ^ attempts as u64, |mixed, byte| {
                (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        fastrand::Rng::with_seed(mixed).f64()
    }

    /// Asks the user.
    pub(super) async fn ask(&self, task: &Task, step: &Step, data: &Data) -> Result<Answer, Failure> {
        let StepKind::Elicitation { message: Some(message), schema, on_decline, on_cancel } = &step.kind
        else {
            let message = "there is nothing to ask".to_owned();
            return Err(Failure { kind: FailureKind::Arguments, message });
        };
        let attempts = match self.before.state(task) {
            TaskState::Running { attempts, .. } => {
                self.record(task.clone(), TaskEvent::Lost).await;
                *attempts
            }
            TaskState::Waiting { attempts, .. } => *attempts,
            TaskState::Over(_) => 0,
        };
        let message = message.render(data, self.engine.settings.options).map_err(|error| {
            let message = format!("template expansion failed: {}", told(&error));
            Failure { kind: FailureKind::Arguments, message }
        })?;
        let within = step.timeout.min(MAX_ASK);
        let schema = schema.clone().unwrap_or_default();
        let question = Question { step: step.id.clone(), message, schema, timeout: within };
        let once = || -> Doing<'_, Result<Answer, Failure>> {
            let asked = self.engine.host.ask(question.clone());
            Box::pin(async move {
                match timeout(within, asked).await {
                    Ok(Ok(reply)) => replied(&step.id, reply, *on_decline, *on_cancel),
                    Ok(Err(reason)) => Err(Failure {
                        kind: FailureKind::Ask,
                        message: format!("elicitation request failed for step {}: {reason}", step.id),
                    }),
                    Err(_) => refused(&step.id, "cancel", *on_cancel, FailureKind::TimedOut, "timed out"),
                }
            })
        };
        let trying = Trying { task, on_error: step.on_error, attempts, may_resend: true };
        self.attempts(trying, &once).await
    }
}

/// Trying again helps against what went wrong by chance, and must not do twice what may have been done.
fn may_try_again(kind: FailureKind, may_resend: bool) -> bool {
    match kind {
        FailureKind::NoTool | FailureKind::NotSent | FailureKind::Tool | FailureKind::Ask => true,
        FailureKind::Unknown => may_resend,
        FailureKind::Arguments
        | FailureKind::Condition
        | FailureKind::TimedOut
        | FailureKind::Declined
        | FailureKind::Cancelled
        | FailureKind::Iteration => false,
    }
}

fn not_answered(tool: &str, error: &CallError) -> Failure {
    let kind = match error {
        CallError::NoTool => FailureKind::NoTool,
        CallError::NotSent(_) => FailureKind::NotSent,
        CallError::Refused(_) => FailureKind::Tool,
        CallError::Unknown(_) => FailureKind::Unknown,
    };
    Failure { kind, message: format!("tool call failed: tool {tool}: {error}") }
}

fn replied(
    step: &str,
    reply: Reply,
    on_decline: Option<Choice>,
    on_cancel: Option<Choice>,
) -> Result<Answer, Failure> {
    match reply {
        Reply::Decline => refused(step, "decline", on_decline, FailureKind::Declined, "was declined by user"),
        Reply::Cancel => refused(step, "cancel", on_cancel, FailureKind::Cancelled, "was cancelled by user"),
        Reply::Accept(content) => {
            let bytes = serde_json::to_vec(&content).map_or(0, |json| json.len());
            if bytes > MAX_REPLY || is_deeper_than(&content, MAX_REPLY_DEPTH) {
                let message = format!("response content too large for step {step}");
                return Err(Failure { kind: FailureKind::Ask, message });
            }
            let output = Data::map([("action", Data::from("accept")), ("content", content)]);
            Ok(Answer { output, ..Answer::default() })
        }
    }
}

/// What becomes of a step whose question has no answer.
fn refused(
    step: &str,
    action: &str,
    choice: Option<Choice>,
    kind: FailureKind,
    what: &str,
) -> Result<Answer, Failure> {
    let mut members = vec![("action", Data::from(action))];
    let skips_rest = match choice {
        None | Some(Choice::Abort) => {
            return Err(Failure { kind, message: format!("elicitation request {what}: step {step}") });
        }
        Some(Choice::Continue) => false,
        Some(Choice::SkipRemaining) => {
            members.push(("skipped", Data::Bool(true)));
            true
        }
    };
    Ok(Answer { output: Data::map(members), skips_rest, ..Answer::default() })
}
