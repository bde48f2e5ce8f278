//! Tasks (2026-07-28, extension `io.modelcontextprotocol/tasks`): calls that go on after they were answered.
//!
//! States: working → input_required ⇄ working → completed | failed | cancelled, which are final. A task lives until its
//! time is over, whatever its state, and is then forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mcp::{ErrorReply, Method};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::call::{Call, Peer};
use crate::event_log::Outbox;
use crate::notices::Change;
use crate::question::{Answers, Kind, Question, missing_capability};
use crate::reply::{BoxFuture, Members, Outcome, Work};
use crate::server::Server;
use crate::timestamp::iso8601;

pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// How long a task can be asked for after it was made.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const MAX_TASKS: usize = 1024;

/// Whether a tool may be answered at once where the client knows no tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Optional,
    Required,
}

#[derive(Debug)]
enum Status {
    Working,
    InputRequired,
    /// The result's members.
    Completed(Value),
    Failed(Value),
    Cancelled,
}

impl Status {
    fn is_final(&self) -> bool {
        matches!(self, Self::Completed(_) | Self::Failed(_) | Self::Cancelled)
    }

    fn as_str(&self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired => "input_required",
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    created: SystemTime,
    ends: Instant,
    cancelled: CancellationToken,
    state: Mutex<State>,
    /// Rung with each answer.
    answered: Notify,
}

#[derive(Debug)]
struct State {
    status: Status,
    updated: SystemTime,
    open: Map<String, Value>,
    kinds: HashMap<String, Kind>,
    answers: Answers,
}

/// All tasks of one server.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<HashMap<String, Arc<Task>>>);

impl Tasks {
    fn get(&self, id: &str) -> Option<Arc<Task>> {
        self.0.lock().get(id).filter(|task| task.ends > Instant::now()).cloned()
    }

    /// Enters a new task; `None` where there are too many.
    fn create(&self) -> Option<Arc<Task>> {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut tasks = self.0.lock();
        if tasks.len() >= MAX_TASKS {
            tasks.retain(|_, task| task.ends > now);
        }
        if tasks.len() >= MAX_TASKS {
            return None;
        }
        let state = State {
            status: Status::Working,
            updated: wall,
            open: Map::new(),
            kinds: HashMap::new(),
            answers: Map::new(),
        };
        let task = Arc::new(Task {
            id: Uuid::new_v4().simple().to_string(),
            created: wall,
            ends: now + LIFETIME,
            cancelled: CancellationToken::new(),
            state: Mutex::new(state),
            answered: Notify::new(),
        });
        tasks.insert(task.id.clone(), Arc::clone(&task));
        Some(task)
    }
}

impl Task {
    /// What `tasks/get` says.
    fn detail(&self) -> Value {
        let state = self.state.lock();
        let mut detail = json!({
            "taskId": self.id,
            "status": state.status.as_str(),
            "createdAt": iso8601(self.created),
            "lastUpdatedAt": iso8601(state.updated),
            "ttlMs": LIFETIME.as_millis() as u64,
            "pollIntervalMs": POLL_INTERVAL.as_millis() as u64,
        });
        match &state.status {
            Status::InputRequired => detail["inputRequests"] = Value::Object(state.open.clone()),
            Status::Completed(result) => detail["result"] = result.clone(),
            Status::Failed(error) => detail["error"] = error.clone(),
            Status::Working | Status::Cancelled => {}
        }
        detail
    }

    /// Moves on, unless it is over already, and tells those who listen.
    fn enter(&self, server: &Server, status: Status) {
        {
            let mut state = self.state.lock();
            if state.status.is_final() {
                return;
            }
            state.status = status;
            state.updated = SystemTime::now();
            if state.status.is_final() {
                state.open.clear();
            }
        }
        server.announce(&Change::Task { id: self.id.clone(), detail: self.detail() });
    }

    /// Asks the client and waits until all questions are answered.
    pub(crate) async fn ask(&self, server: &Server, questions: &[Question]) -> Answers {
        {
            let mut state = self.state.lock();
            for question in questions {
                state.open.insert(question.key.to_owned(), question.request());
                state.kinds.insert(question.key.to_owned(), question.kind);
            }
        }
        self.enter(server, Status::InputRequired);
        loop {
            let answered = self.answered.notified();
            if let Some(answers) = self.take_answers() {
                self.enter(server, Status::Working);
                return answers;
            }
            answered.await;
        }
    }

    fn take_answers(&self) -> Option<Answers> {
        let mut state = self.state.lock();
        state.open.is_empty().then(|| std::mem::take(&mut state.answers))
    }

    /// Takes what fits an open question; the rest is ignored, as repeated answers may come.
    fn answer(&self, given: &Map<String, Value>) {
        let mut state = self.state.lock();
        for (key, answer) in given {
            let fits = state.kinds.get(key).is_some_and(|kind| kind.accepts(answer));
            if fits && state.open.remove(key).is_some() {
                state.answers.insert(key.clone(), answer.clone());
                state.updated = SystemTime::now();
            }
        }
        drop(state);
        self.answered.notify_waiters();
    }
}

/// Runs a call as a task where the client knows them; else at once, or not at all.
pub(crate) fn run_as_task<F>(
    call: &Call,
    need: Need,
    run: impl FnOnce(Call, Outbox) -> F + Send + 'static,
) -> Result<Work, Outcome>
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let call = call.clone();
    if !call.is_modern() {
        return Ok(Work::later(|outbox| run(call, outbox)));
    }
    if call.has_extension(EXTENSION) {
        return start(call, |call| Box::pin(run(call, Outbox::Nowhere))).map(Work::Done);
    }
    match need {
        Need::Optional => Ok(Work::later(|outbox| run(call, outbox))),
        Need::Required => Err(missing_capability(&json!({"extensions": {EXTENSION: {}}}))),
    }
}

fn start(mut call: Call, run: impl FnOnce(Call) -> BoxFuture<Outcome>) -> Result<Outcome, Outcome> {
    let server = Arc::clone(&call.server);
    let task = server.tasks.create().ok_or_else(|| Outcome::failure("too many tasks: try again later"))?;
    let created = Members::of(&task.detail());
    call.peer = Peer::Task(Arc::clone(&task));
    let work = run(call);
    tokio::spawn(async move {
        let status = tokio::select! {
            outcome = work => finished(outcome),
            () = task.cancelled.cancelled() => Status::Cancelled,
            () = server.stopping.cancelled() => Status::Cancelled,
            () = tokio::time::sleep_until(task.ends) => Status::Cancelled,
        };
        task.enter(&server, status);
    });
    Ok(Outcome::TaskCreated(created))
}

fn finished(outcome: Outcome) -> Status {
    match outcome {
        Outcome::Complete(members) | Outcome::InputRequired(members) | Outcome::TaskCreated(members) => {
            let result = serde_json::from_str(&format!("{{{}}}", members.0));
            Status::Completed(result.expect("members are JSON"))
        }
        Outcome::Error(ErrorReply { code, message, data }) => {
            let mut error = json!({"code": code.number(), "message": message});
            if let Some(data) = data {
                error["data"] = data;
            }
            Status::Failed(error)
        }
    }
}

/// `tasks/get`, `tasks/update` and `tasks/cancel`.
///
/// # Errors
/// The client did not declare the extension, or the task is unknown.
pub(crate) fn handle(call: &Call) -> Result<Outcome, Outcome> {
    if !call.has_extension(EXTENSION) {
        return Err(missing_capability(&json!({"extensions": {EXTENSION: {}}})));
    }
    let id = call.message.target().ok_or_else(|| Outcome::invalid_params("params.taskId is required"))?;
    let unknown = || Outcome::invalid_params(format!("task {id:?} is unknown"));
    let task = call.server.tasks.get(&id).ok_or_else(unknown)?;
    match call.message.method() {
        Method::TasksGet => return Ok(Outcome::Complete(Members::of(&task.detail()))),
        Method::TasksUpdate => {
            let params = call.params();
            let given = params["inputResponses"]
                .as_object()
                .ok_or_else(|| Outcome::invalid_params("params.inputResponses is required"))?;
            task.answer(given);
        }
        _ => {
            task.cancelled.cancel();
            task.enter(&call.server, Status::Cancelled);
        }
    }
    Ok(Outcome::Complete(Members::default()))
}
